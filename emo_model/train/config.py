"""Numbers of a training run, and the run itself as a value (RUN.json)."""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from emo_model.errors import UserError
from emo_model.networks.config import SpeedBuckets

Count = Annotated[int, Field(ge=1)]
Often = Annotated[int, Field(ge=0)]  # steps between two; 0: never
Share = Annotated[float, Field(ge=0, le=1)]
Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]


def _as_named(value: Any) -> Any:
    """Checkpoints of before there were two ways say true or false."""
    return {True: "full", False: "no", "true": "full", "false": "no"}.get(value, value)


class Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class StageTraining(Frozen):
    """One stage's numbers."""

    steps: Count
    batch_size: Count  # of one micro-batch, a rank
    learning_rate: Positive
    accumulate: Count = 1  # micro-batches a step
    # Projections that start at zero (networks/weights.py) learn this many times faster: among layers already trained
    # their output must first grow to the size of what it is added to, which took a short run all its steps.
    zero_started_rate: Positive = 1.0
    recolour: bool = False  # other colours and mirror images of every clip (train/augment.py)


class TrainConfig(Frozen):
    """Numbers of training. PAPER's are section 4.1's where it gives any; the rest are choices (emo_model/PAPER.md)."""

    image: StageTraining
    video: StageTraining
    speed: StageTraining
    weight_decay: Annotated[float, Field(ge=0)] = 0.01
    beta2: Annotated[float, Field(ge=0, lt=1)] = 0.999  # AdamW's; a short run forgets sooner with less
    # train/optimizer.py: 8 bits a moment need a quarter; muon learns in fewer steps where networks are small
    optimizer: Literal["adamw", "adamw_8bit", "muon"] = "adamw"
    gradient_norm: Positive = 1.0
    warmup_steps: Often = 0  # learning rate rises linearly
    final_rate: Share = 1.0  # and falls along a cosine to this share of itself; 1: constant, as the paper
    # Shares of clips without reference, without audio, without speed, and without all three: four times this.
    drop: Annotated[float, Field(ge=0, le=0.25)] = 0.05
    first_clip: Share = 0.1  # share of clips whose motion maps are zero, as a generated video's first clip
    # emo_model/diffusion.py: of the first stage. A stage that follows keeps its start checkpoint's.
    noise: Literal["sd15", "velocity", "clean", "modern"] = "sd15"
    mixed_precision: Literal["no", "bf16"] = "no"  # fp16 would want its loss scaled
    # networks/gradient_checkpointing.py: "full" needs the least memory, "selective" a fifth less work than that
    gradient_checkpointing: Annotated[Literal["no", "full", "selective"], BeforeValidator(_as_named)] = "no"
    # Over ranks (train/sharding.py): gradients, moments and average ("zero2"), the weights that learn as well ("full").
    shard: Literal["no", "zero2", "full"] = "no"
    compile: Literal["no", "default", "max-autotune-no-cudagraphs"] = "no"  # train/compiling.py: torch.compile's mode
    highest_loss: Positive = 10.0  # the target has unit variance: predicting nothing costs 1, so 10 has exploded
    ema_decay: Annotated[float, Field(ge=0, lt=1)] = 0.0  # of the weights a checkpoint offers to others; 0: the newest
    cache_latents: bool = False  # of the training clips, on disk (train/latents.py); not where pixels are recoloured
    loader_workers: Annotated[int, Field(ge=0)] = 0  # processes that read batches ahead; 0: in the step itself
    checkpoint_every: Count = 1000
    keep_checkpoints: Count = 2
    milestone_every: Often = 0  # steps whose checkpoints are kept for good
    validate_every: Often = 0  # steps between two looks at the validation loss; at the start and the end always
    validation_batches: Count = 8
    validation_batch_size: Count = 4
    sample_every: Often = 0  # steps between two sets of sample videos or stills (train/samples.py)
    sample_clips: Count = 2  # held-out clips that are sampled
    sample_seconds: Positive = 2.0  # of each
    sample_steps: Count = 40  # of DDIM, section 4.1

    def of(self, stage: str) -> StageTraining:
        """The numbers of a stage."""
        return getattr(self, stage)

    def with_changes(self, stage: str, given: Mapping[str, Any]) -> "TrainConfig":
        """With other numbers, by name: of training as a whole, or of this stage. Text as from a command line will do.

        UserError where a name is unknown or a value does not fit.
        """
        own = set(StageTraining.model_fields)
        possible = own | set(TrainConfig.model_fields) - {"image", "video", "speed"}
        for name in given:
            if name not in possible:
                raise UserError(
                    f"training has no number {name!r}: wanted one of {', '.join(sorted(possible))}; "
                    f"run: emo train --set NAME=VALUE"
                )
        of_stage = self.of(stage).model_dump() | {name: given[name] for name in given if name in own}
        whole = {name: given[name] for name in given if name not in own}
        try:
            return TrainConfig.model_validate(self.model_dump() | whole | {stage: of_stage})
        except ValidationError as error:
            first = error.errors()[0]
            name = str(first["loc"][-1])
            raise UserError(
                f"{name} of training: {first['msg']}, got {first['input']!r}; run: emo train --set {name}=VALUE"
            ) from None


TINY_TRAIN = TrainConfig(
    image=StageTraining(steps=300, batch_size=12, learning_rate=2e-3, recolour=True),
    video=StageTraining(steps=320, batch_size=2, learning_rate=2.5e-3, zero_started_rate=20.0),
    speed=StageTraining(steps=400, batch_size=2, learning_rate=1e-3, zero_started_rate=10.0),
    beta2=0.99, warmup_steps=20, final_rate=0.1, noise="velocity", checkpoint_every=100,
    validation_batches=4, validation_batch_size=4,
)  # fmt: skip

PAPER_TRAIN = TrainConfig(
    image=StageTraining(steps=30_000, batch_size=48, learning_rate=1e-5),
    video=StageTraining(steps=30_000, batch_size=4, learning_rate=1e-5),
    speed=StageTraining(steps=10_000, batch_size=4, learning_rate=1e-5),
    mixed_precision="bf16", gradient_checkpointing="selective", ema_decay=0.9999, cache_latents=True, loader_workers=6,
    milestone_every=10_000, validate_every=1000, sample_every=2000,
)  # fmt: skip


class RunSpec(Frozen):
    """One stage's training run: everything `python -m emo_model.train RUN.json` needs."""

    stage: Literal["image", "video", "speed"]
    preset: str = "TINY"
    start: Path | None = None  # checkpoint folder; None: from nothing (or base weights)
    manifest: Path  # parquet of training clips
    heldout: Path | None = None  # parquet of held-out clips, for the paired validation loss
    root: Path  # data root
    run_dir: Path
    steps: int | None = None  # these three replace the preset's
    batch_size: int | None = None
    learning_rate: float | None = None
    changed: dict[str, Any] = {}  # other numbers of TrainConfig or StageTraining, by name
    seed: int = 0
    threads: int | None = None  # of torch; the same number gives the same bits
    speed_buckets: SpeedBuckets | None = None  # of the training set; None: the start checkpoint's
    provenance: dict[str, Any] = {}  # data versions, git commit: written into the checkpoint as it is

    def config(self, preset: TrainConfig) -> TrainConfig:
        """The preset's numbers with this run's in their place. UserError where one does not fit."""
        named = {k: v for k in ("steps", "batch_size", "learning_rate") if (v := getattr(self, k)) is not None}
        return preset.with_changes(self.stage, self.changed | named)

    @classmethod
    def read(cls, path: Path) -> "RunSpec":
        """A RUN.json. UserError where it is missing or has a wrong field."""
        try:
            return cls.model_validate_json(path.read_text())
        except FileNotFoundError:
            raise UserError(f"no run file {path}; run: emo train --help") from None
        except ValidationError as error:
            first = error.errors()[0]
            where = ".".join(map(str, first["loc"])) or "the file"
            raise UserError(f"{path}: {where}: {first['msg']}; run: emo train --help") from None
