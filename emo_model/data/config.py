"""Numbers of data preparation: what is unusable in itself, and what a clip's crop looks like.

Quality is another matter: scores are stored for everything, and manifests hold them against thresholds. A data root
keeps its numbers in `0_raw/data_config.json`; changing them re-runs the steps that read them, and no others.
"""

import json
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from emo_model.data.store import DataRoot, text_sha256, write_json
from emo_model.errors import UserError


class DataConfig(BaseModel):
    """Numbers of the steps shots_and_faces and face_clips, and what audio_features does first."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    shot_detector: Literal["adaptive", "transnetv2"] = "adaptive"  # the second finds more dissolves, and takes time
    crop_size: int = Field(default=256, gt=0, multiple_of=2)  # pixels; section 4.1 trains at 512
    crop_expansion: float = Field(
        default=1.8, ge=1
    )  # side of the crop over the longer side of the face boxes' union; ours
    min_clip_s: float = Field(default=3.0, gt=0)  # EMO's third version: clips of 3 to 12 s
    max_clip_s: float = Field(default=12.0, gt=0)
    max_lost_frames: int = Field(default=5, ge=0)  # source frames; head_motion bridges as many
    max_still_s: float = Field(default=0.25, gt=0)  # seconds one source frame may stay on screen
    min_face_px: float = Field(default=40.0, ge=0)  # height of the landmarks' extent in the source; ours
    min_face_inside: float = Field(default=0.85, ge=0, le=1)  # share of the face box inside the picture; ours
    min_overlap: float = Field(
        default=0.3, ge=0, le=1
    )  # intersection over union of a face box with the one before; ours
    second_face: float = Field(
        default=0.35, ge=0, le=1
    )  # a second face counts from this share of the first's height; ours
    vocals: str = Field(  # package.module:function that takes the voice out of the sound before the audio encoder
        default="", pattern=r"^$|^[\w.]+:\w+$"
    )

    def digest(self, *names: str) -> str:
        """Hash of the named numbers, for the inputs of a step that reads them."""
        return text_sha256(*(f"{name}={getattr(self, name)}" for name in names))

    @classmethod
    def of(cls, root: DataRoot) -> "DataConfig":
        """The numbers this data root was prepared with; TINY's where none were set. UserError if they are bad."""
        path = _path(root)
        if not path.exists():
            return TINY_DATA
        try:
            return cls.model_validate(json.loads(path.read_text(encoding="utf-8")))
        except (ValidationError, ValueError) as error:
            raise UserError(f"{path} does not hold numbers of data preparation: {error}; mend or delete it") from error

    def save(self, root: DataRoot) -> None:
        """Make these the data root's numbers."""
        write_json(_path(root), self.model_dump())


def _path(root: DataRoot) -> Path:
    return root.folder("0_raw") / "data_config.json"


TINY_DATA = DataConfig()
PAPER_DATA = DataConfig(crop_size=512, min_face_px=80)
