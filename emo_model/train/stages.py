"""The paper's three training stages (section 3.3), as values."""

from dataclasses import dataclass

from emo_model.errors import UserError


@dataclass(frozen=True)
class Stage:
    """What learns, and from what."""

    name: str
    trains: tuple[str, ...]  # parts of EMO; every other parameter is frozen
    reads: tuple[str, ...]  # conditions taken from the batch beside the reference
    follows: str | None  # the stage whose checkpoint it starts from

    @property
    def video(self) -> bool:
        """Consecutive frames behind motion frames; else one frame."""
        return "motion" in self.reads

    @property
    def begins(self) -> tuple[str, ...]:
        """Parts that no stage before it has trained: their zero outputs must grow first."""
        before = STAGES[self.follows].trains if self.follows else ()
        return tuple(part for part in self.trains if part not in before)


IMAGE = Stage(
    "image", trains=("backbone", "reference_net", "face_locator"), reads=("mask",), follows=None
)  # fmt: skip
VIDEO = Stage("video", trains=("temporal_modules", "audio_layers"), reads=("mask", "motion", "audio"), follows="image")
# The Audio Layers stay frozen: training both weakens the audio's hold (section 3.3).
SPEED = Stage(
    "speed",
    trains=("temporal_modules", "speed_layers"),
    reads=("mask", "motion", "audio", "speed"),
    follows="video",
)
STAGES = {stage.name: stage for stage in (IMAGE, VIDEO, SPEED)}


def stage(name: str) -> Stage:
    """A stage by its name. UserError names the three."""
    if name not in STAGES:
        raise UserError(f"no training stage {name!r}: wanted one of {', '.join(STAGES)}; run: emo train --help")
    return STAGES[name]
