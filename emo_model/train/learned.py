"""From what a model learned: the clips of its run, and of the runs it went on from."""

import json
from pathlib import Path

import pyarrow.parquet as pq


def learned_from(run_dir: Path, column: str) -> set[str]:
    """All values of a manifest's column (video_id, identity_id, ...) that training read, over the whole chain of runs.

    Empty for runs that kept no clips.parquet, as those on data of a test.
    """
    found: set[str] = set()
    for run in chain(run_dir):
        clips = run / "clips.parquet"
        if clips.exists():
            found |= set(pq.read_table(clips, columns=[column], partitioning=None)[column].to_pylist())
    return found


def chain(run_dir: Path) -> list[Path]:
    """The run, the one it started from, and so on."""
    runs = [run_dir]
    while (before := _start(runs[-1])) is not None and before not in runs:
        runs.append(before)
    return runs


def _start(run_dir: Path) -> Path | None:
    path = run_dir / "run.json"
    start = json.loads(path.read_text()).get("start") if path.exists() else None
    if not start:
        return None
    run = Path(start).parents[1]  # STAGE/RUN/checkpoints/step-N
    moved = run_dir.parents[1] / run.parent.name / run.name  # the data root may have moved since
    return moved if moved.exists() else run
