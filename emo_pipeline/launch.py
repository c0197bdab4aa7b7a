"""Start a training process, watch it, and see it end.

Here: one process a training run, its progress, its death. Not here: what it trains, how many ranks it starts or what
it says to Slurm (emo_model.train), or what is recorded about it (assets/training.py, tracking.py).

The trainer is a process of its own: it leads its group, so that a cancelled run reaches its children too; it is told
to stop (SIGTERM: finish the step, save) when we are cancelled or die, however we die; only then is it killed. Where it
starts ranks, or follows a job of Slurm, it passes that on.
"""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

import dagster as dg
from pydantic import Field

from emo_model.processes import signalled_with_parent

Rows = list[dict[str, Any]]
NOT_AGAIN = (2, 129, 130, 143)  # exit codes: an error of the user's making; stopped by SIGHUP, SIGINT or SIGTERM
MARGIN_S = 30  # of the grace, for the trainer to see its own ranks or job end


class Trainer(dg.ConfigurableResource):
    """Runs `python -m emo_model.train RUN.json` here or through Slurm, and waits for it."""

    engine: Literal["local", "slurm"] = Field(
        default="local", description="local: on this machine. slurm: a job, submitted where this runs and followed."
    )
    processes: int = Field(default=0, ge=0, description="GPUs (ranks) on a machine; 0: one, with Slurm all it gives.")
    slurm_options: str = Field(
        default="",
        description="sbatch's: --partition=gpu --nodes=2 --gpus-per-node=8 --cpus-per-task=64 --time=24:00:00",
    )
    # Below cancel_timeout_seconds of dagster.yaml, after which Dagster gives the run up.
    grace_s: float = Field(default=570, description="Seconds from SIGTERM to SIGKILL: the time to save.")
    observe_s: float = Field(default=10, description="Seconds between two looks at the progress that are reported.")
    # Not a RetryPolicy on the asset: Dagster applies that to a cancelled step too, and would start the trainer again.
    retries: int = Field(default=1, description="Times a crashed trainer is started again; it goes on where it saved.")

    def train(self, run_file: Path, report: Callable[[Rows], None]) -> None:
        """Train what the run file says; `report` hears the new lines of progress.jsonl. dg.Failure if it fails."""
        for left in reversed(range(self.retries + 1)):
            try:
                return self.run(self.command(run_file), run_file.parent, report)
            except dg.Failure as failure:
                if not left or not failure.allow_retries:
                    raise

    def command(self, run_file: Path) -> list[str]:
        """The trainer's command line."""
        grace = max(1, int(self.grace_s - MARGIN_S))
        given = [f"--processes={self.processes}", f"--grace={grace}"]
        if self.engine == "slurm":
            given.append(f"--slurm={self.slurm_options}")
        return [sys.executable, "-m", "emo_model.train", str(run_file), *given]

    def run(self, command: list[str], run_dir: Path, report: Callable[[Rows], None]) -> None:
        """Any command that writes `progress.jsonl` into run_dir; what it prints lands in `train.log` there."""
        log = run_dir / "train.log"
        progress = new_rows(run_dir / "progress.jsonl")
        with log.open("a") as output, _process(command, output, self.grace_s) as process:
            due = time.monotonic() + self.observe_s
            while process.poll() is None:
                time.sleep(0.2)
                if time.monotonic() >= due:
                    due += self.observe_s
                    _tell(report, next(progress))
        _tell(report, next(progress))
        if process.returncode:
            raise dg.Failure(
                f"the trainer ended with {process.returncode}: {_last_line(log)}",
                metadata={"log": dg.MetadataValue.path(str(log))},
                allow_retries=process.returncode not in NOT_AGAIN,
            )


def new_rows(path: Path) -> Iterator[Rows]:
    """Each `next` gives the rows whose step was not given before. A resumed trainer cuts the file back first."""
    offset, last = 0, 0
    while True:
        rows: Rows = []
        if path.exists():
            if path.stat().st_size < offset:
                offset = 0
            with path.open("rb") as file:
                file.seek(offset)
                text = file.read()
            whole = text[: text.rfind(b"\n") + 1]  # the last line may be half written
            offset += len(whole)
            rows = [row for row in map(json.loads, whole.splitlines()) if row["step"] > last]
            last = max([last, *(row["step"] for row in rows)])
        yield rows


def _tell(report: Callable[[Rows], None], rows: Rows) -> None:
    if rows:
        report(rows)


@contextmanager
def _process(command: list[str], output: Any, grace_s: float) -> Iterator[subprocess.Popen]:
    """The running command; on any exception of ours (a cancelled run raises one) it is stopped before we go on."""
    parent = os.getpid()
    process = subprocess.Popen(
        command,
        stdout=output,
        stderr=subprocess.STDOUT,
        start_new_session=True,
        preexec_fn=lambda: signalled_with_parent(signal.SIGTERM, parent),
    )
    try:
        yield process
    except BaseException:
        _stop(process, grace_s)
        raise


def _stop(process: subprocess.Popen, grace_s: float) -> None:
    if process.poll() is not None:
        return
    os.killpg(process.pid, signal.SIGTERM)
    try:
        process.wait(grace_s)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def _last_line(log: Path) -> str:
    lines = [line for line in log.read_text(errors="replace").splitlines() if line.strip()]
    return lines[-1] if lines else "it printed nothing"
