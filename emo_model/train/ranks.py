"""Several processes that train one model: torchrun's agent, with the ways of a single process.

`torchrun` itself ends with 1 and a page of text whatever happened, gives its ranks 30 s to save, and leaves them
behind when it is killed. Here the ranks' exit code comes through, an error is told once, they get the time they need,
and they save and end when the agent is gone.
"""

import logging
import os
import signal
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import NoReturn

from emo_model.processes import signalled_with_parent

AGENT = "EMO_AGENT"  # in a rank's environment: its agent's process
USER_ERROR = 2
GRACE_S = 540  # to save: PAPER's 30 GB take minutes on a network file system


@dataclass(frozen=True)
class Group:
    """Who trains together."""

    processes: int = 1  # on this node
    nodes: int = 1
    node: int = 0  # this node's number
    rendezvous: str = "localhost:0"  # HOST:PORT of the first node, which all nodes reach
    grace_s: int = GRACE_S

    @property
    def alone(self) -> bool:
        """One process needs nobody to meet."""
        return self.processes * self.nodes == 1


def launch(run_file: Path, group: Group) -> int:
    """Train RUN.json on the group's processes of this node; returns the exit code of the rank that failed first.

    SIGTERM and SIGINT go on to the ranks, which finish their step and save; 143 or 130 then.
    """
    from torch.distributed.elastic.multiprocessing import DefaultLogsSpecs, SignalException
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
    from torch.distributed.launcher.api import LaunchConfig, elastic_launch

    def stop(number: int, _frame: FrameType | None) -> NoReturn:
        for each in (signal.SIGTERM, signal.SIGINT):
            signal.signal(each, signal.SIG_IGN)  # a second one would end the agent before its ranks have saved
        raise SignalException(f"signal {number}", signal.Signals(number))

    logging.disable(logging.ERROR)  # torchrun's: what failed is told below
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, stop)
    os.environ[AGENT] = str(os.getpid())
    os.environ.setdefault("OMP_NUM_THREADS", str(max(1, len(os.sched_getaffinity(0)) // group.processes)))
    os.environ.setdefault("PYTHONFAULTHANDLER", "1")  # a rank that crashes outside of Python says where it was
    with tempfile.TemporaryDirectory(prefix="emo_ranks_") as logs:
        config = LaunchConfig(
            min_nodes=group.nodes,
            max_nodes=group.nodes,
            nproc_per_node=group.processes,
            run_id="emo",
            # Static: a node's ranks follow from its number, so the same nodes give the same bits again.
            rdzv_backend="c10d" if group.nodes == 1 else "static",
            rdzv_endpoint=group.rendezvous,
            rdzv_configs={} if group.nodes == 1 else {"rank": group.node},
            max_restarts=0,
            signals_to_handle="SIGQUIT",  # the rest is ours; a closed terminal kills the agent, and the ranks save
            shutdown_timeout=group.grace_s,
            logs_specs=DefaultLogsSpecs(log_dir=logs),
        )
        try:
            elastic_launch(config, sys.executable)("-m", "emo_model.train", str(run_file))
        except SignalException as stopped:
            return 128 + stopped.sigval
        except ChildFailedError as failed:
            return _told(failed)
    return 0


def _told(failed: "ChildFailedError") -> int:  # type: ignore[name-defined]  # noqa: F821  # torch is not imported here
    """Print what went wrong: the user's error alone, else every rank's traceback and the first one's line again."""
    order = lambda f: (f[1].exitcode != USER_ERROR, f[1].timestamp, f[1].exitcode > 0)  # noqa: E731  # killed ones first
    failures = sorted(failed.failures.items(), key=order)
    rank, first = failures[0]
    if first.exitcode == USER_ERROR:
        print(_recorded(first)["message"].partition(": ")[2], file=sys.stderr)
    elif first.exitcode not in (143, 130, 129):  # told to stop, a rank has said so itself
        for _, failure in reversed(failures):
            print(_recorded(failure)["extraInfo"]["py_callstack"], end="", file=sys.stderr)
        print(f"rank {rank}: {_recorded(first)['message']}", file=sys.stderr)
    return first.exitcode if first.exitcode > 0 else 128 - first.exitcode


def _recorded(failure: "ProcessFailure") -> dict:  # type: ignore[name-defined]  # noqa: F821
    """What a rank left in its error file; a killed one leaves none."""
    message = failure.error_file_data["message"]
    if isinstance(message, dict):
        return message
    return {"message": failure.message, "extraInfo": {"py_callstack": ""}}


def on_a_rank() -> bool:
    """Whether this process is one of several that an agent started."""
    return "TORCHELASTIC_ERROR_FILE" in os.environ


def joined() -> None:
    """In a rank, before anything else: save and end when the agent is gone."""
    if AGENT in os.environ:
        signalled_with_parent(signal.SIGTERM, int(os.environ[AGENT]))


def record(error: Exception) -> None:
    """In a rank: leave an error for the agent to tell."""
    from torch.distributed.elastic.multiprocessing.errors import get_error_handler

    get_error_handler().record_exception(error)
