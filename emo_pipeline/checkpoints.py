"""Where checkpoints lie, which one a stage starts from, and a stage's run as a value (run.json).

    6_checkpoints/base_weights.json  champion.json  STAGE/RUN/{run.json, summary.json, checkpoints/step-*}

Here: finding and writing those files. Not here: the assets (assets/training.py) or what training is (emo_model.train).
"""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import dagster as dg

from emo_model.errors import UserError
from emo_model.train.finished import last_checkpoint
from emo_pipeline.lineage import find_latest, lineage

if TYPE_CHECKING:
    from emo_model.data.store import DataRoot
    from emo_model.networks.config import SpeedBuckets
    from emo_model.train.config import RunSpec


def champion_file(root: "DataRoot") -> Path:
    """The pointer to the champion."""
    return root.folder("6_checkpoints") / "champion.json"


def champion(root: "DataRoot") -> dict[str, Any] | None:
    """The champion's record: checkpoint (relative to the root), sha256, protocol, its rows. None before the first."""
    path = champion_file(root)
    return json.loads(path.read_text()) if path.exists() else None


def checkpoint_of(context: dg.AssetExecutionContext, root: "DataRoot", stage: str) -> Path:
    """A stage's checkpoint: of this run if it made one, else the last materialized one. UserError if there is none."""
    return find_latest(
        context, root, f"{stage}_checkpoint", "checkpoint", root.folder("6_checkpoints") / stage, last_checkpoint
    )


def run_spec(
    context: dg.AssetExecutionContext,
    root: "DataRoot",
    stage: Any,
    clips: str,
    run_dir: Path,
    numbers: dict[str, Any],
    begin: str = "base_weights",
) -> "RunSpec":
    """The run as a value, written to run.json. `clips`: stage1 or stage2; `numbers`: what replaces the preset's.

    UserError where its inputs are missing, or this run folder was begun with other numbers or clips.
    """
    from emo_model.config import preset
    from emo_model.data.manifests import manifest_path
    from emo_model.train.begin import begin as begin_run
    from emo_model.train.begin import provenance
    from emo_model.train.config import RunSpec

    start, size, seed = _start(context, root, stage, begin)
    manifest, heldout = manifest_path(root, f"train_{clips}"), manifest_path(root, f"held_out_{clips}")
    spec = RunSpec(
        stage=stage,
        preset=size,
        seed=seed,
        start=start,
        manifest=manifest,
        heldout=heldout if _rows(heldout) else None,
        root=root.path,
        run_dir=run_dir,
        speed_buckets=_buckets(root) if stage == "speed" else None,
        provenance=provenance(manifest) | {"dagster_run": lineage(context)},
        **numbers,
    )
    spec.config(preset(spec.preset).train)  # a number that does not fit is told before anything is written
    begin_run(spec)
    return spec


def _start(context: dg.AssetExecutionContext, root: "DataRoot", stage: str, begin: str) -> tuple[Path | None, str, int]:
    """(checkpoint to start from, preset, seed). The preset is that of what the stage starts from."""
    from emo_model.train.config import RunSpec
    from emo_model.train.stages import STAGES

    before = STAGES[stage].follows
    if before is not None:
        start = checkpoint_of(context, root, before)
        spec = RunSpec.read(start.parent.parent / "run.json")
        return start, spec.preset, spec.seed
    base = root.folder("6_checkpoints") / "base_weights.json"
    if not base.exists():
        raise UserError(f"no {base.name} in {base.parent}; materialize base_weights first")
    record = json.loads(base.read_text())
    return _begin(root, begin), record["preset"], record["seed"]


def _begin(root: "DataRoot", begin: str) -> Path | None:
    if begin == "base_weights":
        return None
    if begin != "champion":
        raise UserError(f"continue_from: wanted base_weights or champion, got {begin!r}; mend it in the launchpad")
    record = champion(root)
    if record is None:
        raise UserError("there is no champion yet; launch train_all with continue_from: base_weights")
    return root.path / record["checkpoint"]


def _rows(manifest: Path) -> int:
    import pyarrow.parquet as pq

    return pq.read_metadata(manifest).num_rows if manifest.exists() else 0


def _buckets(root: "DataRoot") -> "SpeedBuckets":
    from emo_model.networks.config import SpeedBuckets

    path = root.folder("5_manifest") / "speed_buckets.json"
    if not path.exists():
        raise UserError("no speed_buckets.json; materialize speed_buckets first (job build_dataset)")
    values = json.loads(path.read_text())
    return SpeedBuckets(centres=values["centres"], radii=values["radii"])
