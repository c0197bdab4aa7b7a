"""Group evaluation: the paper's two ablations, small and measured on really generated clips.

    7_generated/RUN/{speed_ablation, face_region_ablation}/{VARIANT/CLIP.mp4, sheets/CLIP.png}
    8_evaluation/{speed_ablation, face_region_ablation}/RUN/{table.md, numbers.json, plot.png}

Here: of which model, and what becomes of the numbers. What is generated and measured: emo_model.evaluate.ablations.
"""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import dagster as dg
from pydantic import Field

from emo_pipeline import look
from emo_pipeline.assets.generation import GUIDANCE, SAMPLER, SEED
from emo_pipeline.assets.shards import OWNER
from emo_pipeline.checkpoints import checkpoint_of
from emo_pipeline.failures import one_line
from emo_pipeline.lineage import lineage
from emo_pipeline.resources import Data
from emo_pipeline.tracking import Tracking

if TYPE_CHECKING:
    from emo_model.data.store import DataRoot
    from emo_model.evaluate.ablations import Ablation, Sample

CODE_VERSION = "3"


class AblationConfig(dg.Config):
    """A small measurement: few clips, short, few denoising steps. The same choices as `emo ablation` has."""

    checkpoint: str | None = Field(
        default=None,
        description="Folder of a checkpoint or a finished run, absolute or below the data root; empty: the newest.",
    )
    manifest: str | None = Field(
        default=None,
        description="Another test set, a parquet file, absolute or below the data root; empty: eval_manifest.",
    )
    clips: int = Field(default=2, description="Test clips used; VMV, a variance over clips, needs two.")
    seconds: float = Field(default=3.0, description="Seconds of each.")
    steps: int = Field(default=20, description="Denoising steps.")
    sampler: str = Field(default="ddim", description=SAMPLER)
    guidance: str = Field(default="3.5", description=GUIDANCE)
    seed: int = Field(default=0, description=SEED)

    def sample(self) -> "Sample":
        """The same as the work wants it."""
        from emo_model.evaluate.ablations import Sample
        from emo_model.generate import Settings
        from emo_model.generate.guidance import Guidance

        guidance = Guidance.parse(self.guidance)
        settings = Settings(steps=self.steps, sampler=self.sampler, guidance=guidance, seed=self.seed)
        return Sample(self.clips, self.seconds, settings)


class SpeedAblationConfig(AblationConfig):
    """Table 2's assigned speeds."""

    speeds: list[float] = Field(
        default=[0.1, 0.7, 1.3, 1.9],
        description="Degrees a frame at 30 fps, beside none; those that the checkpoint did not learn are left out.",
    )


@dg.asset(
    deps=["speed_checkpoint", "eval_manifest"], group_name="evaluation", kinds={"pytorch", "mlflow"}, owners=[OWNER],
    code_version=CODE_VERSION, pool="gpu",
)  # fmt: skip
@one_line
def speed_ablation(
    context: dg.AssetExecutionContext, config: SpeedAblationConfig, data: Data, tracking: Tracking
) -> dg.MaterializeResult:
    """Table 2: does the head turn as fast as it is told? Mean velocity, its variance within clips, and VMV (the
    variance of the clips' means), degrees a frame at 30 fps, by assigned speed."""
    from emo_model.evaluate.ablations import speed_ablation as measure

    return _ablation(context, data, tracking, config, partial(measure, speeds=config.speeds))


@dg.asset(
    deps=["speed_checkpoint", "eval_manifest"], group_name="evaluation", kinds={"pytorch", "mlflow"}, owners=[OWNER],
    code_version=CODE_VERSION, pool="gpu",
)  # fmt: skip
@one_line
def face_region_ablation(
    context: dg.AssetExecutionContext, config: AblationConfig, data: Data, tracking: Tracking
) -> dg.MaterializeResult:
    """Figure 7: the face region given to the Face Locator bounds where the head may move. Share of the face inside the
    region, whether the face goes where the region goes, and its sway (picture widths) in a narrow and a wide one."""
    from emo_model.evaluate.ablations import face_region_ablation as measure

    return _ablation(context, data, tracking, config, measure)


def _ablation(
    context: dg.AssetExecutionContext,
    data: Data,
    tracking: Tracking,
    config: AblationConfig,
    measure: "Callable[..., Ablation]",
) -> dg.MaterializeResult:
    """Generate and measure; the table, plot and pictures in the UI and in MLflow."""
    from emo_model.data.store import text_sha256
    from emo_model.train.finished import checkpoint_in

    root, asset, made = data.root, context.asset_key.path[-1], lineage(context)
    chosen = config.checkpoint
    model = checkpoint_in(root.path / chosen) if chosen else checkpoint_of(context, root, "speed")
    manifest = root.path / config.manifest if config.manifest else None
    videos, out = root.folder("7_generated") / made / asset, root.folder("8_evaluation") / asset / made
    found = measure(model, root, videos, out, config.sample(), manifest=manifest, say=context.log.info)
    run = tracking.run(asset, made)
    run.params({**config.model_dump(exclude_none=True), "checkpoint": _named(root, model)})
    run.numbers({name: number.value for name, number in found.numbers.items() if number.value is not None})
    run.files([found.path / "table.md", found.plot, *found.sheets])
    run.finish()
    return dg.MaterializeResult(
        data_version=dg.DataVersion(text_sha256(*(f"{name} {number}" for name, number in found.numbers.items()))),
        metadata={
            "checkpoint": _named(root, model),
            "test set": _named(root, manifest) if manifest else "eval_manifest",
            "table": dg.MetadataValue.md(found.table),
            "plot": look.picture(found.plot.read_bytes(), "png", asset.replace("_", " ")),
            "frames": look.rows(found.rows, config.seconds, "the first clip in each variant"),
            "path": dg.MetadataValue.path(str(found.path)),
            "videos": dg.MetadataValue.path(str(videos)),
            "MLflow": run.link,
        },
    )


def _named(root: "DataRoot", path: Path) -> str:
    """Below the data root as there, else in full."""
    return root.relative(path) if path.is_relative_to(root.path) else str(path)
