"""Shards on a cluster: a Slurm array with a task a shard, and behind it one job for the data set.

    emo prepare FOLDER --slurm "--partition=cpu --cpus-per-task=8 --mem=16G"

A task is `emo prepare --shard SHARD`, the job behind the array `emo prepare --dataset`: nothing here does any work. The
data root and this environment must lie where every node sees them, on a file system whose locks reach across nodes.
"""

import shlex
import sys
from dataclasses import dataclass
from pathlib import Path

from emo_model import slurm
from emo_model.data.pipeline import unfinished
from emo_model.data.store import DataRoot
from emo_model.errors import UserError

# exec: Slurm's signals then reach the work itself. The names of shards and `python` are quoted, and ours.
_SHARD = """#!/bin/sh
set -- {shards}
shift "$SLURM_ARRAY_TASK_ID"
exec {python} -m emo_model prepare --shard "$1" --workers "${{SLURM_CPUS_PER_TASK:-{workers}}}"
"""
_DATASET = """#!/bin/sh
exec {python} -m emo_model prepare --dataset
"""


@dataclass(frozen=True)
class Submission:
    """What was handed to Slurm. `array` is None where no shard had work left."""

    shards: list[str]
    array: str | None
    dataset: str
    logs: Path

    def lines(self) -> list[str]:
        """What a person wants to know now."""
        jobs = [job for job in (self.array, self.dataset) if job]
        tasks = f"array {self.array}: a task a shard, {' '.join(self.shards)}"
        return [
            tasks if self.array else "no shard has work left",
            f"job {self.dataset}: manifests, catalog and card, after the array, whatever became of its tasks",
            f"follow: squeue -j {','.join(jobs)}; what they print: {self.logs}",
            f"cancel: scancel {' '.join(jobs)}; the same emo prepare again submits what is missing",
        ]


def submit(root: DataRoot, options: str, workers: int) -> Submission:
    """Submit an array over the registered shards that have work left, and the data set's job after it.

    options: more options of sbatch, for both. workers: processes of a task where `options` has no --cpus-per-task.
    UserError where there is no Slurm or it refuses.
    """
    chosen, shards, logs = slurm.options(options), unfinished(root), root.path / "slurm"
    logs.mkdir(exist_ok=True)
    pattern = str(logs).replace("%", "%%")
    words = {"python": shlex.quote(sys.executable), "shards": shlex.join(shards), "workers": workers}
    array, here = None, {"EMO_DATA": str(root.path)}
    if shards:
        ours = [f"--array=0-{len(shards) - 1}", "--job-name=emo-shard", f"--output={pattern}/%x-%A_%a.txt"]
        array = slurm.sbatch([*chosen, *ours], _SHARD.format(**words), here)
    after = [f"--dependency=afterany:{array}"] if array else []
    try:
        ours = ["--job-name=emo-dataset", f"--output={pattern}/%x-%j.txt"]
        dataset = slurm.sbatch([*chosen, *after, *ours], _DATASET.format(**words), here)
    except UserError:
        if array:
            slurm.cancel(array)
        raise
    return Submission(shards, array, dataset, logs)
