"""Share of a training step's time spent waiting for data, read from progress.jsonl. Bar: 5 %.

    python benchmarks/loader_wait.py                 short TINY runs on this data root, or on the sample videos
    python benchmarks/loader_wait.py RUN_DIR ...     runs that are there

Without RUN_DIR, stages 1 and 2 train for some steps on the data root (EMO_DATA) where it has clips, else on the sample
videos, prepared in a temporary root; batches are read in the step itself and by two processes ahead. The first steps
wait for those processes to start and are left out. A stage without clips is named: the sample videos hold none with a
voice that the policy of stage 2 takes.
"""

import argparse
import json
import os
import tempfile
from pathlib import Path

import pyarrow.parquet as pq

from emo_model import samples
from emo_model.data import pipeline, sources
from emo_model.data.manifests import manifest_path
from emo_model.data.store import DataRoot
from emo_model.train.config import TINY_TRAIN, RunSpec
from emo_model.train.loop import train

LEFT_OUT, STEPS = 5, 25
BAR = 0.05


def main() -> None:
    """Print a line a run."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("runs", nargs="*", type=Path, metavar="RUN_DIR")
    chosen = parser.parse_args()
    for run in chosen.runs:
        report(run.name, run)
    if not chosen.runs:
        with tempfile.TemporaryDirectory() as folder:
            own_runs(data_root(Path(folder) / "data"), Path(folder))


def report(title: str, run: Path) -> None:
    """The line of one run."""
    rows = [json.loads(line) for line in (run / "progress.jsonl").read_text().splitlines()][LEFT_OUT:]
    if not rows:
        print(f"{title}: fewer than {LEFT_OUT + 1} steps")
        return
    whole, data = (sum(row[name] for row in rows) for name in ("seconds", "data_s"))
    print(
        f"{title}: {data / whole:.3f} of a step's time is waiting for data (bar: {BAR}); "
        f"{1000 * data / len(rows):.1f} of {1000 * whole / len(rows):.0f} ms, {len(rows)} steps",
        flush=True,
    )


def data_root(fallback: Path) -> DataRoot:
    """EMO_DATA's where it has training clips; else the sample videos, prepared."""
    here = os.environ.get("EMO_DATA")
    if here and clips(DataRoot(Path(here)), "image"):
        return DataRoot(Path(here))
    root = DataRoot(fallback).create()
    sources.add_folder(root, samples.default_folder() / "videos", "samples", "see samples.py", "folder")
    pipeline.prepare(root, workers=2)
    return root


def clips(root: DataRoot, stage: str) -> int:
    """Rows of the stage's manifest."""
    path = manifest(root, stage)
    return pq.ParquetFile(path).metadata.num_rows if path.is_file() else 0


def manifest(root: DataRoot, stage: str) -> Path:
    """Of the stage's training clips."""
    return manifest_path(root, "train_stage1" if stage == "image" else "train_stage2")


def own_runs(root: DataRoot, folder: Path) -> None:
    """Stage 1, and stage 2 from it."""
    start = None
    for stage in ("image", "video"):
        count = clips(root, stage)
        if not count:
            print(f"{stage}: no clips in {root.path}")
            continue
        for workers in (0, 2):
            spec = RunSpec(
                stage=stage, start=start if stage == "video" else None, manifest=manifest(root, stage), root=root.path,
                run_dir=folder / f"{stage}-{workers}", steps=STEPS, seed=0,
            )  # fmt: skip
            quiet = {"loader_workers": workers, "validation_batches": 1, "checkpoint_every": STEPS}
            found = train(spec, config=TINY_TRAIN.model_copy(update=quiet))
            how = f"{workers} processes ahead" if workers else "in the step"
            report(f"{stage}, {count} clips, read {how}", spec.run_dir)
        start = found


if __name__ == "__main__":
    main()
