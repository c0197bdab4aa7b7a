"""Group training: base weights -> image -> video -> speed (section 3.3), each stage a process of its own.

    6_checkpoints/base_weights.json
    6_checkpoints/STAGE/RUN/{run.json, progress.jsonl, summary.json, train.log, checkpoints/step-*}

RUN is the Dagster run's root id: a new run has a new folder, a re-execution goes on in the old one, and in the same
MLflow run. What training is lives in emo_model.train.
"""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import dagster as dg
from pydantic import Field

from emo_pipeline import look
from emo_pipeline.assets.shards import OWNER
from emo_pipeline.checkpoints import checkpoint_of, run_spec
from emo_pipeline.checks import FROZEN_PARAMETERS_UNCHANGED, LOSS_FINITE
from emo_pipeline.failures import one_line
from emo_pipeline.launch import Rows, Trainer
from emo_pipeline.lineage import lineage
from emo_pipeline.resources import Data
from emo_pipeline.tracking import TrackedRun, Tracking
from emo_pipeline.versions import manifest_versions, trained_versions

if TYPE_CHECKING:
    from emo_model.data.store import DataRoot
    from emo_model.train.config import RunSpec

CODE_VERSION = "1"
CURVES = (
    "loss", "lr", "gradient_norm", "loss_train", "loss_heldout",
    "seconds", "data_s", "forward_s", "backward_s", "optimizer_s", "clips_per_s", "peak_bytes",
)  # fmt: skip
GUARDS = (LOSS_FINITE, FROZEN_PARAMETERS_UNCHANGED)


class BaseConfig(dg.Config):
    """What training starts from; the three stages follow its preset and seed."""

    preset: str = Field(default="TINY", description="TINY (2 CPU cores, minutes) or PAPER (SD 1.5 sizes).")
    seed: int = Field(default=0, description="Of the initial weights and of every random draw in training.")


class StageConfig(dg.Config):
    """A stage's numbers. Empty: the preset's, emo_model/train/config.py."""

    steps: int | None = Field(default=None, description="Optimizer steps.")
    batch_size: int | None = Field(default=None, description="Samples a step.")
    learning_rate: float | None = Field(default=None, description="AdamW's.")
    threads: int | None = Field(default=None, description="CPU threads; the same number gives the same bits.")
    changed: dict[str, Any] = Field(
        default={}, description="Any other number there, by name: {ema_decay: 0.999, accumulate: 4, sample_every: 500}."
    )


class ImageConfig(StageConfig):
    """The first stage can also go on from the champion."""

    noise: str | None = Field(default=None, description="sd15, velocity, clean or modern; the stages after it keep it.")
    continue_from: str = Field(default="base_weights", description="base_weights or champion.")
    only_if_changed: bool = Field(
        default=False, description="Stop, green, where the manifests are those of the last training."
    )


@dg.asset(group_name="training", kinds={"pytorch"}, owners=[OWNER], code_version=CODE_VERSION)
@one_line
def base_weights(context: dg.AssetExecutionContext, config: BaseConfig, data: Data) -> dg.MaterializeResult:
    """What training starts from: TINY from random weights of a seed, PAPER from Stable Diffusion 1.5 (section 3.2)."""
    from emo_model.config import preset
    from emo_model.data.store import text_sha256, write_json

    network, root = preset(config.preset).network, data.root
    record: dict[str, Any] = {"preset": config.preset, "seed": config.seed, "origin": _origin(config)}
    path = root.folder("6_checkpoints") / "base_weights.json"
    write_json(path, record)
    return dg.MaterializeResult(
        data_version=dg.DataVersion(text_sha256(record, network.model_dump_json())),
        metadata={**record, "path": dg.MetadataValue.path(str(path)), "network": network.model_dump(mode="json")},
    )


def _origin(config: BaseConfig) -> str:
    from emo_model import weights
    from emo_model.config import preset

    if preset(config.preset).network.latent == "autoencoder_kl":  # SD's VAE, and with it SD's UNet
        return f"sd15, {weights.path('sd15').name}"
    return f"random initialisation, seed {config.seed}"


def _stage_asset(
    stage: str, config_type: type[StageConfig], start: str, manifest: str, also: tuple[str, ...], text: str
) -> dg.AssetsDefinition:
    """The asset of one stage. `start`: the asset its weights come from; `manifest`: of its clips."""
    asset = f"{stage}_checkpoint"

    @dg.asset(
        name=asset,
        deps=[start, manifest, *also],
        group_name="training",
        kinds={"pytorch", "mlflow"},
        owners=[OWNER],
        code_version=CODE_VERSION,
        description=text,
        check_specs=[check.spec(asset) for check in GUARDS],
        pool="gpu",
        op_tags={"dagster/priority": "10"},
        output_required=stage != "image",  # not made where nothing changed: then the stages after it are skipped too
    )
    def checkpoint(
        context: dg.AssetExecutionContext,
        config: config_type,  # type: ignore[valid-type]  # Dagster reads it as the launchpad's schema
        data: Data,
        trainer: Trainer,
        tracking: Tracking,
    ) -> Iterator[dg.MaterializeResult | dg.AssetCheckResult]:
        if getattr(config, "only_if_changed", False) and _same_manifests(context.instance):
            context.log.info("the manifests hold what the last training read: nothing to train")
            yield from _guarded(asset, checkpoint_of(context, data.root, stage).parent.parent)  # of the one that stays
            return
        yield _make(context, stage, manifest.removeprefix("train_manifest_"), config, data, trainer, tracking)

    return checkpoint


def _same_manifests(instance: dg.DagsterInstance) -> bool:
    return manifest_versions(instance) == trained_versions(instance)


@one_line
def _make(
    context: dg.AssetExecutionContext,
    stage: str,
    clips: str,
    config: StageConfig,
    data: Data,
    trainer: Trainer,
    tracking: Tracking,
) -> dg.MaterializeResult:
    asset, run_dir = f"{stage}_checkpoint", data.root.folder("6_checkpoints") / stage / lineage(context)
    numbers = config.model_dump(exclude={"continue_from", "only_if_changed", "noise"})
    if (noise := getattr(config, "noise", None)) is not None:
        numbers["changed"] = numbers["changed"] | {"noise": noise}
    begin = getattr(config, "continue_from", "base_weights")
    spec = run_spec(context, data.root, stage, clips, run_dir, numbers, begin)
    run = tracking.run(asset, lineage(context), f"{stage} stage")
    _train(context, asset, spec, trainer, run)
    return _result(asset, data.root, run_dir, run)


def _train(context: dg.AssetExecutionContext, asset: str, spec: "RunSpec", trainer: Trainer, run: TrackedRun) -> None:
    """Run the trainer; its progress goes to MLflow's curve and to the asset's page while it runs."""
    from emo_model.config import preset
    from emo_model.train.noise import with_recipe_of_start

    config = with_recipe_of_start(spec, spec.config(preset(spec.preset).train))
    numbers = config.model_dump(exclude={"image", "video", "speed"}) | config.of(spec.stage).model_dump()
    run.params(spec.model_dump(include={"stage", "preset", "seed", "threads"}) | numbers)
    run.tags({"manifest_version": spec.provenance["manifest_version"], "git_commit": spec.provenance["git_commit"]})

    def report(rows: Rows) -> None:
        run.curve(rows, CURVES)
        last = rows[-1]
        context.log.info(f"step {last['step']}: loss {last['loss']:.4f}")
        seen = {"step": last["step"], "loss": last["loss"], "learning rate": last["lr"], "MLflow": run.link}
        speed = {"seconds": "seconds a step", "clips_per_s": "clips a second"}
        seen |= {said: last[name] for name, said in speed.items() if name in last}
        context.log_event(dg.AssetObservation(asset_key=asset, metadata=seen))
        samples()

    def samples() -> None:
        for folder in run.folders(spec.run_dir / "samples"):
            if (folder / "failed.txt").exists():
                context.log.warning(f"no samples of {folder.name}; training goes on: {folder / 'failed.txt'}")

    try:
        trainer.train(spec.run_dir / "run.json", report)
        samples()
    except BaseException as error:
        run.finish("FAILED" if isinstance(error, dg.Failure) else "KILLED")
        raise


def _result(asset: str, root: "DataRoot", run_dir: Path, run: TrackedRun) -> dg.MaterializeResult:
    from emo_model.data.store import text_sha256
    from emo_model.generate.video import checkpoint_sha256

    summary, rows = _recorded(run_dir)
    checkpoint = run_dir / summary["checkpoint"]
    sha256 = checkpoint_sha256(checkpoint)
    losses = {
        f"loss {when} ({what})": summary[f"loss_{when}"][what]
        for what in summary["loss_start"]
        for when in ("start", "end")
    }
    run.tags({"checkpoint": checkpoint, "checkpoint_sha256": sha256})
    run.numbers({name.replace("(", "").replace(")", "").replace(" ", "_"): value for name, value in losses.items()})
    run.finish()
    return dg.MaterializeResult(
        data_version=dg.DataVersion(text_sha256(sorted(summary["parts_after"].items()))),
        metadata={
            "checkpoint": root.relative(checkpoint),
            "path": dg.MetadataValue.path(str(checkpoint)),
            "sha256": sha256,
            "steps": summary["steps"],
            "seconds": summary["seconds"],
            "trained parts": ", ".join(summary["moved"]),
            **losses,
            "loss": look.loss_curve(rows, f"{asset}: loss by step"),
            "MLflow": run.link,
        },
        check_results=_guarded(asset, run_dir),
    )


def _guarded(asset: str, run_dir: Path) -> list[dg.AssetCheckResult]:
    """The stage's checks on what a run folder holds."""
    summary, rows = _recorded(run_dir)
    return [LOSS_FINITE.result(asset, summary, rows), FROZEN_PARAMETERS_UNCHANGED.result(asset, summary)]


def _recorded(run_dir: Path) -> tuple[dict[str, Any], Rows]:
    """summary.json and the rows of progress.jsonl."""
    lines = (run_dir / "progress.jsonl").read_text().splitlines()
    return json.loads((run_dir / "summary.json").read_text()), [json.loads(line) for line in lines]


image_checkpoint = _stage_asset(
    "image", ImageConfig, "base_weights", "train_manifest_stage1", (),
    "Stage 1, image: Backbone, ReferenceNet and Face Locator learn from pairs of single frames.",
)  # fmt: skip
video_checkpoint = _stage_asset(
    "video", StageConfig, "image_checkpoint", "train_manifest_stage2", (),
    "Stage 2, video: Temporal Modules and Audio Layers learn from 12 frames behind 4 motion frames, with sound.",
)  # fmt: skip
speed_checkpoint = _stage_asset(
    "speed", StageConfig, "video_checkpoint", "train_manifest_stage2", ("speed_buckets",),
    "Stage 3, speed: Temporal Modules and Speed Layers learn (degrees a frame at 30 fps); Audio Layers stay frozen.",
)  # fmt: skip
