"""What a figure compares: videos (or pictures) with their names, and what is on screen at a time."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from emo_model.data import media
from emo_model.data.audio_encoders import FPS
from emo_model.data.media import Picture
from emo_model.errors import UserError
from emo_model.generate import synthetic
from emo_model.generate.picture import read_picture

EARLY_S = 1e-3  # a frame may be late by so much and still count as on screen: containers round their times
LATE_S = 0.1  # a video that ends so little before a time still counts as on screen then: files round their lengths


@dataclass(frozen=True, eq=False)
class Row:
    """A video with its name: a method, a style, a setting.

    video: a video or picture file, or (T, H, W, 3) uint8 RGB frames at 30 fps. portrait: what the generator was given,
    a picture, or a video that stands for its first frame.
    """

    label: str
    video: Path | NDArray[np.uint8]
    portrait: Path | Picture | None = None

    @cached_property
    def shown(self) -> "Footage":
        """The video, opened. UserError where it cannot be read."""
        return open_footage(self.video)

    def said(self) -> str:
        """The file's own statement that it is synthetic; empty where it makes none."""
        return synthetic.said(self.video) if isinstance(self.video, Path) and not self.shown.still else ""

    def reference(self) -> Picture | None:
        """The portrait as a picture (H, W, 3)."""
        if self.portrait is None or isinstance(self.portrait, np.ndarray):
            return self.portrait
        return next(open_footage(self.portrait).at([0.0]))


@dataclass(frozen=True, eq=False)
class Footage:
    """Pictures over time. seconds: until the last frame has been shown; of a still picture 0."""

    source: Path | NDArray[np.uint8]
    width: int
    height: int
    fps: float
    seconds: float

    @property
    def still(self) -> bool:
        """Is it a picture?"""
        return not self.seconds

    @property
    def last_s(self) -> float:
        """When its last frame appears."""
        return self.seconds - 1 / self.fps if self.fps else 0.0

    @property
    def facts(self) -> str:
        """Size, rate and length, for people."""
        size = f"{self.width}x{self.height}"
        return size if self.still else f"{size}, {self.fps:.4g}\xa0fps, {self.seconds:.1f}\xa0s"

    def ended(self, at_s: float) -> bool:
        """Is it over at this time? A still picture never is."""
        return not self.still and at_s >= self.seconds + LATE_S

    def at(self, times: Iterable[float]) -> Iterator[Picture]:
        """The frame (H, W, 3) on screen at each of the rising times; the last one after the end. One decode, one
        picture in memory, and none is converted that nobody sees."""
        if isinstance(self.source, np.ndarray):
            frames = self.source if self.source.ndim == 4 else self.source[None]
            yield from (frames[min(int(at * FPS + 1e-6), len(frames) - 1)] for at in times)
            return
        coming = media.decode(self.source)
        shown = next(coming, None)
        if shown is None:
            raise UserError(f"{self.source} holds no picture that can be decoded; run again with another video")
        later, picture = next(coming, None), shown.rgb()
        for at in times:
            late = shown
            while later is not None and later.t_s <= at + EARLY_S:
                late, later = later, next(coming, None)
            if late is not shown:
                shown, picture = late, late.rgb()
            yield picture


def differ(rows: Sequence[Row]) -> bool:
    """Are the videos of several sizes, rates or lengths?"""
    return len({row.shown.facts for row in rows if not row.shown.still}) > 1


def statements(rows: Sequence[Row]) -> dict[str, str]:
    """What the rows' files say of being synthetic, by name; empty where none of them does."""
    return {row.label: said for row in rows if (said := row.said())}


def open_footage(source: Path | NDArray[np.uint8]) -> Footage:
    """A file or frames as Footage. UserError where the file is missing, or neither a video nor a picture."""
    if isinstance(source, np.ndarray):
        height, width = source.shape[-3:-1]
        return Footage(source, width, height, FPS, len(source) / FPS if source.ndim == 4 else 0.0)
    if not source.is_file():
        raise UserError(f"no file {source}; run: emo compare LABEL=VIDEO ... --out SHEET.png")
    if _is_picture(source):
        return open_footage(read_picture(source)[0])
    try:
        known = media.probe(source)
    except (media.MediaError, OSError) as error:
        raise UserError(f"{source} cannot be shown: {error}; run again with another video") from error
    return Footage(source, known.width, known.height, known.fps, known.duration_s)


def _is_picture(path: Path) -> bool:
    try:
        with Image.open(path):
            return True
    except Exception:  # Pillow raises what it likes of a file that is none of its own
        return False
