"""A training run on two clips on disk that takes a quarter of a second a step: its RUN.json, and what became of it."""

import json
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Literal

from emo_model.train.begin import begin, provenance
from emo_model.train.config import RunSpec
from tests.model.clips_on_disk import make_root

HOME = Path(__file__).parents[3]


def small_run(folder: Path, steps: int, stage: Literal["image", "video"] = "image") -> Path:
    """RUN.json of a new run; its clips lie beside it."""
    root = make_root(folder / "root", {"ann": 20, "bob": 20})
    manifest = root.folder("5_manifest") / "train.parquet"
    spec = RunSpec(
        stage=stage, manifest=manifest, root=root.path, run_dir=folder / "run", steps=steps, batch_size=1, threads=1,
        provenance=provenance(manifest),
    )  # fmt: skip
    return begin(spec)


def trainer(run_file: Path, *options: str, environment: dict[str, str]) -> subprocess.Popen[str]:
    """`python -m emo_model.train`, as Dagster starts it; what it says can be read."""
    return subprocess.Popen(
        [sys.executable, "-m", "emo_model.train", str(run_file), *options],
        cwd=HOME, env=environment | {"PYTHONPATH": str(HOME), "CUDA_VISIBLE_DEVICES": ""},
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, start_new_session=True,
    )  # fmt: skip


def losses(run_file: Path) -> dict[int, float]:
    """By step; every step must stand there once."""
    path = run_file.parent / "progress.jsonl"
    rows = [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []
    assert [row["step"] for row in rows] == list(range(1, len(rows) + 1))
    return {row["step"]: row["loss"] for row in rows}


def saved(run_file: Path) -> int:
    """The step of the newest checkpoint."""
    return max(int(path.name.removeprefix("step-")) for path in (run_file.parent / "checkpoints").glob("step-*"))


def wait_for(found: Callable[[], object], seconds: float = 120) -> None:
    """AssertionError where it does not come true in time."""
    end = time.monotonic() + seconds
    while not found():
        assert time.monotonic() < end, f"it did not come within {seconds} s"
        time.sleep(0.2)
