"""Group evaluation: the paper's two ablations, small and measured on really generated clips.

    7_generated/RUN/{speed_ablation, face_region_ablation}/VARIANT/CLIP.mp4

Here: which variants on how many clips. How head motion is measured: emo_model.evaluate.motion.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import dagster as dg
from pydantic import Field

from emo_pipeline.assets.generation import GenerationConfig, freeze, make_videos, test_clips
from emo_pipeline.assets.shards import OWNER
from emo_pipeline.checkpoints import checkpoint_of
from emo_pipeline.evaluation_rows import grid, version_of, write_rows
from emo_pipeline.failures import one_line
from emo_pipeline.lineage import lineage
from emo_pipeline.resources import Data

CODE_VERSION = "2"


class AblationConfig(dg.Config):
    """A small measurement: few clips, short, few denoising steps."""

    clips: int = Field(default=2, description="Test clips used; VMV, a variance over clips, needs two.")
    seconds: float = Field(default=3.0, description="Seconds of each.")
    steps: int = Field(default=20, description="Denoising steps.")
    guidance: float = Field(default=3.5, description="Classifier-free guidance; 1: none.")


class SpeedAblationConfig(AblationConfig):
    """Table 2's assigned speeds."""

    speeds: list[float] = Field(default=[0.1, 0.7, 1.3, 1.9], description="Degrees a frame at 30 fps, beside none.")


@dg.asset(
    deps=["speed_checkpoint", "eval_manifest"],
    group_name="evaluation",
    kinds={"pytorch"},
    owners=[OWNER],
    code_version=CODE_VERSION,
    pool="gpu",
)
@one_line
def speed_ablation(context: dg.AssetExecutionContext, config: SpeedAblationConfig, data: Data) -> dg.MaterializeResult:
    """Table 2: does the head turn as fast as it is told? Mean velocity, its variance within clips, and VMV (the
    variance of the clips' means), degrees a frame at 30 fps, by assigned speed."""
    speeds = _learned(context, checkpoint_of(context, data.root, "speed"), config.speeds)
    variants = {"speed none": {"speed": None}} | {f"speed {speed:g}": {"speed": speed} for speed in speeds}
    return _ablation(context, data, config, "speed_ablation", variants)


def _learned(context: dg.AssetExecutionContext, model: Path, speeds: list[float]) -> list[float]:
    """Those of the speeds that lie within the checkpoint's buckets: no other was ever shown in training."""
    centres = json.loads((model / "speed_buckets.json").read_text())["centres"]
    within = [speed for speed in speeds if min(centres) <= speed <= max(centres)]
    if left_out := [f"{speed:g}" for speed in speeds if speed not in within]:
        learned = f"{min(centres):g} to {max(centres):g} degrees a frame"
        context.log.warning(f"left out: {', '.join(left_out)}; {model.name} learned {learned}")
    return within


@dg.asset(
    deps=["speed_checkpoint", "eval_manifest"],
    group_name="evaluation",
    kinds={"pytorch"},
    owners=[OWNER],
    code_version=CODE_VERSION,
    pool="gpu",
)
@one_line
def face_region_ablation(context: dg.AssetExecutionContext, config: AblationConfig, data: Data) -> dg.MaterializeResult:
    """Figure 7: the face region given to the Face Locator bounds where the head may move. Head motion, degrees a frame
    at 30 fps, for the face's own box, one twice its size, and no bound."""
    regions = {"box": 1.0, "twice the box": 2.0, "free": "free"}
    variants = {f"region {name}": {"face_region": region} for name, region in regions.items()}
    return _ablation(context, data, config, "face_region_ablation", variants)


def _ablation(
    context: dg.AssetExecutionContext,
    data: Data,
    config: AblationConfig,
    asset: str,
    variants: Mapping[str, Mapping[str, Any]],
) -> dg.MaterializeResult:
    """Generate each variant and measure head motion: a face not found in a frame is counted, never guessed."""
    from emo_model.evaluate import COPY, GROUND_TRUTH, HALVES, evaluate_methods
    from emo_model.evaluate.clips import pair

    root = data.root
    folder, model = root.folder("7_generated") / lineage(context) / asset, checkpoint_of(context, root, "speed")
    clips = test_clips(root, config.clips)
    settings = GenerationConfig(
        clips=config.clips, seconds=config.seconds, steps=config.steps, guidance=config.guidance
    )
    for name, given in variants.items():
        make_videos(context, root, model, folder / name, settings, clips, config.seconds, **given)
    protocol = freeze(clips, settings, metrics=("motion",))
    methods = {
        name: [pair(root, clip, folder / name / f"{clip['clip_id']}.mp4", protocol) for clip in clips]
        for name in variants
    }
    rows = evaluate_methods(
        methods, protocol, root=root, metrics=("motion",), controls=(GROUND_TRUTH, HALVES, COPY),
        features=root.folder("8_evaluation") / "features", run_id=lineage(context),
    ).rows  # fmt: skip
    write_rows(root.folder("8_evaluation") / asset / f"{lineage(context)}.parquet", rows)
    shown = [row for row in rows if row.method in variants]
    return dg.MaterializeResult(
        data_version=version_of(rows),
        metadata={
            "table": grid(rows),
            "frames used": f"{max(row.n for row in shown)} of {max(row.n_total for row in shown)}",
            "clips": len(clips),
            "path": dg.MetadataValue.path(str(folder)),
        },
    )
