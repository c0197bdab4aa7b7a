"""A stage's run begun: run.json in its folder, from which `python -m emo_model.train` repeats it."""

import subprocess
from pathlib import Path
from typing import Any

from emo_model.data.store import rows_sha256, write_text
from emo_model.errors import UserError
from emo_model.train.config import RunSpec

NUMBERS = {"steps", "batch_size", "learning_rate", "changed", "threads"}  # may change while a run goes on


def begin(spec: RunSpec, other_numbers: bool = False) -> Path:
    """Write run.json. UserError where the folder was begun with other clips, another start or seed, or (unless they may
    change) other numbers."""
    path = spec.run_dir / "run.json"
    if path.exists():
        before, now = _comparable(RunSpec.read(path)), _comparable(spec)
        may = NUMBERS if other_numbers else set()
        if other := [name for name in before if before[name] != now[name] and name not in may]:
            raise UserError(
                f"{spec.run_dir} was begun with other numbers or clips ({', '.join(other)}); give those of {path} "
                f"to go on, or begin another run: a new folder, in Dagster a new launch and no re-execution"
            )
    spec.run_dir.mkdir(parents=True, exist_ok=True)
    write_text(path, spec.model_dump_json(indent=2))
    return path


def _comparable(spec: RunSpec) -> dict[str, Any]:
    """Without where things lie, for a data root may move, and the commit: going on after a correction is allowed."""
    start = spec.start and spec.start.parts[-3:]  # RUN/checkpoints/STEP
    named = spec.model_dump(exclude={"root", "run_dir", "manifest", "heldout"})
    return named | {"start": start, "provenance": {**spec.provenance, "git_commit": None}}


def provenance(manifest: Path) -> dict[str, Any]:
    """Which clips and which code. UserError where there is no manifest."""
    import pyarrow.parquet as pq

    if not manifest.is_file():
        raise UserError(f"no {manifest.name} in {manifest.parent}; run: emo prepare FOLDER (in Dagster: build_dataset)")
    return {
        "manifest": manifest.stem,
        "manifest_version": rows_sha256(pq.ParquetFile(manifest).read()),
        "git_commit": _git_commit(),
    }


def _git_commit() -> str | None:
    found = subprocess.run(
        ["git", "rev-parse", "HEAD"], cwd=Path(__file__).parent, capture_output=True, text=True, check=False
    )
    return found.stdout.strip() or None
