"""Which checkpoint a finished run ended with, and the newest of a data root."""

import json
from pathlib import Path
from typing import TYPE_CHECKING

from emo_model.errors import UserError

if TYPE_CHECKING:
    from emo_model.data.store import DataRoot


def last_checkpoint(run_dir: Path) -> Path | None:
    """The last checkpoint of a run; None before it has finished."""
    summary = run_dir / "summary.json"
    found = json.loads(summary.read_text()) if summary.is_file() else {}
    return run_dir / found["checkpoint"] if found.get("loss_end") else None


def checkpoint_in(folder: Path) -> Path:
    """A checkpoint folder itself, or the last one of a run folder. UserError for a run that has not finished."""
    if not (folder / "run.json").is_file():
        return folder
    if (last := last_checkpoint(folder)) is None:
        raise UserError(f"the training run {folder} has not finished; go on with the command that began it")
    return last


def newest(root: "DataRoot", stage: str = "speed") -> Path:
    """The checkpoint of the run of a stage that finished last. UserError where none has."""
    if not (runs := finished_runs(root, stage)):
        raise UserError(
            f"no finished run of stage {stage} in {root.path}; run: emo train {stage}, or name a checkpoint"
        )
    last = last_checkpoint(runs[-1])
    assert last is not None, "it has finished"
    return last


def finished_runs(root: "DataRoot", stage: str) -> list[Path]:
    """Run folders of a stage that have finished, the last one last."""
    done = sorted((root.folder("6_checkpoints") / stage).glob("*/summary.json"), key=lambda path: path.stat().st_mtime)
    return [summary.parent for summary in done if last_checkpoint(summary.parent) is not None]
