"""`python -m emo_model.train RUN.json`: one training run, in this process, in several, or as a job of Slurm.

Exit codes, wherever it runs: 0 done, 2 an error of the user's making, 143 / 130 / 129 after SIGTERM / SIGINT / SIGHUP
(saved; the same command goes on).
"""

import argparse
import os
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any

from emo_model.errors import UserError, disk_errors_told
from emo_model.train import ranks
from emo_model.train.config import RunSpec
from emo_model.train.ranks import Group


def main(arguments: list[str]) -> int:
    """Train what RUN.json says and print the final checkpoint's folder."""
    given = _parsed(arguments)
    group = Group(given.processes or 1, given.nodes, given.node, given.rendezvous, given.grace)
    try:
        RunSpec.read(given.run)  # a wrong file is told at once, and not by every rank or after a wait in Slurm's queue
        if given.slurm is not None:
            from emo_model.train import slurm

            return slurm.follow(slurm.submit(given.run, given.slurm, given.processes, given.grace).job, given.grace)
        return _train(given.run) if group.alone or ranks.on_a_rank() else ranks.launch(given.run, group)
    except UserError as error:
        print(error, file=sys.stderr)
        return 2


def _parsed(arguments: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser("python -m emo_model.train", description=__doc__)
    parser.add_argument("run", type=Path, metavar="RUN.json")
    parser.add_argument("--processes", type=int, default=0, help="ranks on a node; 0: one, on Slurm one a GPU")
    parser.add_argument(
        "--slurm", metavar="OPTIONS", help="sbatch's: submit a job, or find the one that runs; follow it"
    )
    parser.add_argument("--grace", type=int, default=ranks.GRACE_S, help="seconds to save in, once told to stop")
    parser.add_argument("--nodes", type=int, default=1)
    parser.add_argument("--node", type=int, default=0, help="this node's number")
    parser.add_argument("--rendezvous", default="localhost:0", help="HOST:PORT of node 0")
    return parser.parse_args(arguments)


def _train(run_file: Path) -> int:
    """This process's share: all of it, or one rank's. The first rank speaks for all."""
    ranks.joined()
    from emo_model.train.loop import Interrupted, train

    first = os.environ.get("RANK", "0") == "0"
    try:
        with disk_errors_told():
            checkpoint = train(RunSpec.read(run_file), report=tell)
    except Interrupted as interrupted:
        if first:
            print(interrupted, file=sys.stderr)
        return interrupted.exit_code
    except Exception as error:
        if not ranks.on_a_rank():
            raise
        ranks.record(error)
        return ranks.USER_ERROR if isinstance(error, UserError) else 1
    if first:
        print(checkpoint)
    return 0


def tell(row: dict[str, Any]) -> None:
    """A line every ten steps."""
    if row["step"] % 10 == 0 or row["step"] == 1:
        with suppress(OSError):  # a terminal that was closed this moment ends no run
            print(f"step {row['step']:>7}  loss {row['loss']:.4f}  {row['seconds']:.2f} s", file=sys.stderr)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
