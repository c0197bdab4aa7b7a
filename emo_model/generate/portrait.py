"""The portrait as training saw people: the expanded square around the face, and the face region M."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from emo_model.data.clips import crop
from emo_model.data.config import DataConfig
from emo_model.data.dataset import region_mask
from emo_model.data.faces import Landmarker
from emo_model.data.media import Picture
from emo_model.data.tracks import crop_square
from emo_model.errors import UserError
from emo_model.generate.picture import read_picture

Box = tuple[float, float, float, float]  # x0 y0 x1 y1 in the picture's pixels
Square = tuple[int, int, int]  # x y side in the picture's pixels

MOST_FACES = 10  # that are looked for
CLEARLY = 1.5  # the largest face is taken if it is so many times as tall as the next
AUTO = 1.2  # M is the union of a clip's face boxes, somewhat larger than the box of one frame
EXPANSION = DataConfig().crop_expansion  # side of the crop over the longer side of the face box, as in training


@dataclass(frozen=True)
class Place:
    """A face region as shares of the crop, x0 y0 x1 y1 in [0, 1]: the same place for every portrait of a test set."""

    box: Box


# "auto", "free", a factor of the face's box, a box, a picture that is white where the face may be, a place in the crop
Region = str | float | Box | Path | Place


@dataclass(frozen=True)
class Portrait:
    """What the network reads: reference (3, S, S) in [-1, 1] and face region (1, S, S) in {0, 1}; and which square of
    the picture that is, where it was cut from one."""

    reference: Tensor
    mask: Tensor
    square: Square | None = None


def prepare(picture: Picture, size: int, region: Region = "auto", shrink: int = 1) -> Portrait:
    """Crop a picture around its face as training crops are, and draw the face region.

    shrink: pixels of the region's to one of the picture's (`read_picture`). UserError where no face is found, or
    several, and the region does not say which; where the region is nowhere in the picture.
    """
    if isinstance(region, tuple):
        region = _inside(region, picture, shrink)
    face = find_face(picture, region, shrink)
    height, width = picture.shape[:2]
    square = crop_square(np.array(face), (width, height), EXPANSION)
    mask = locate_face((height, width), size, square, face, region)
    if not mask.any():
        raise UserError(f"the face region {region} is smaller than a pixel; run: emo generate --face-region 1.5")
    return Portrait(to_tensor(crop(picture, *square, size)), mask, square)


def to_tensor(picture: Picture) -> Tensor:
    """(H, W, 3) uint8 -> (3, H, W) in [-1, 1]."""
    return torch.from_numpy(picture).permute(2, 0, 1).float() / 127.5 - 1


def find_face(picture: Picture, region: Region, shrink: int = 1) -> Box:
    """Extent of a face's 478 landmarks: of the largest in a region that is drawn, else of the one that is clearly
    larger than all others. Where none is seen, what the region says. UserError where neither tells."""
    with _hushed(), Landmarker(MOST_FACES) as landmarker:
        faces = [_box(face) for face in landmarker.boxes(picture)]
    if isinstance(region, tuple | Path):
        drawn = region if isinstance(region, tuple) else _extent(_white(region, picture.shape[:2]))
        return next((face for face in faces if _holds(drawn, face)), drawn)
    if not faces and region == "free":  # nothing to centre on: the middle of the picture
        height, width = picture.shape[:2]
        return (0.0, 0.0, float(width), float(height))
    alike = [face for face in faces if CLEARLY * _height(face) > _height(faces[0])]
    if len(alike) == 1:
        return alike[0]
    if not alike:
        raise UserError(
            "no face was found in the portrait; say where it is, run: emo generate --face-region X0,Y0,X1,Y1"
        )
    boxes = [",".join(f"{edge * shrink:.0f}" for edge in face) for face in alike]
    raise UserError(
        f"{len(boxes)} faces of like size are in the portrait, at {' and '.join(boxes)}; say which one is to speak, "
        f"run: emo generate --face-region {boxes[0]}"
    )


@contextmanager
def _hushed() -> Iterator[None]:
    """Without mediapipe's start-up chatter, which its C++ writes past Python and past its own log level."""
    kept = os.dup(2)
    with open(os.devnull, "w") as nowhere:
        os.dup2(nowhere.fileno(), 2)
    try:
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)


def _box(box: NDArray[np.floating]) -> Box:
    x0, y0, x1, y1 = (float(edge) for edge in box)
    return x0, y0, x1, y1


def _height(box: Box) -> float:
    return box[3] - box[1]


def _holds(box: Box, face: Box) -> bool:
    """Does the box hold the face's middle?"""
    x, y = (face[0] + face[2]) / 2, (face[1] + face[3]) / 2
    return box[0] <= x <= box[2] and box[1] <= y <= box[3]


def _inside(region: Box, picture: Picture, shrink: int) -> Box:
    """A box in the file's pixels as one in the picture's, cut off at its edges. UserError where nothing is left."""
    height, width = picture.shape[:2]
    x0, y0, x1, y1 = (edge / shrink for edge in region)
    if x0 >= width or y0 >= height or x1 <= 0 or y1 <= 0:
        raise UserError(
            f"the face region {','.join(f'{edge:g}' for edge in region)} lies outside the portrait of "
            f"{width * shrink}x{height * shrink} pixels; run: emo generate --face-region X0,Y0,X1,Y1"
        )
    return max(x0, 0.0), max(y0, 0.0), min(x1, float(width)), min(y1, float(height))


def locate_face(shape: tuple[int, int], size: int, square: Square, face: Box, region: Region) -> Tensor:
    """M (figure 7): the face box holds the head still, a wider or taller one lets it sway or nod.

    shape: (height, width) of the picture; returns (1, size, size), 1 where the face may be.
    """
    if region == "free":
        return torch.ones(1, size, size)
    if isinstance(region, Place):
        return region_mask(np.array(region.box) * size, size)
    if isinstance(region, Path):
        return torch.from_numpy(crop(_white(region, shape), *square, size) > 127).float()[None]
    box = region if isinstance(region, tuple) else scaled(face, AUTO if region == "auto" else float(region))
    x, y, side = square
    return region_mask((np.array(box) - [x, y, x, y]) * size / side, size)


def scaled(box: Box, factor: float) -> Box:
    """The box about its middle, its sides times the factor."""
    x0, y0, x1, y1 = box
    dx, dy = (factor - 1) * (x1 - x0) / 2, (factor - 1) * (y1 - y0) / 2
    return (x0 - dx, y0 - dy, x1 + dx, y1 + dy)


def parse_region(text: str) -> Region:
    """auto, free, a factor, X0,Y0,X1,Y1 or a picture's path, as typed. UserError for anything else."""
    if text in ("auto", "free"):
        return text
    if Path(text).is_file():
        return Path(text)
    try:
        numbers = tuple(float(number) for number in text.split(","))
    except ValueError:
        numbers = ()
    if not np.isfinite(numbers).all():
        numbers = ()
    if len(numbers) == 1 and numbers[0] > 0:
        return numbers[0]
    if len(numbers) == 4 and numbers[0] < numbers[2] and numbers[1] < numbers[3]:
        return numbers
    raise UserError(f"no face region {text!r}; run: emo generate --face-region auto|free|1.5|X0,Y0,X1,Y1|MASK.png")


def _white(path: Path, shape: tuple[int, int]) -> NDArray[np.uint8]:
    white = read_picture(path)[0].max(axis=2)
    if white.shape != tuple(shape):
        raise UserError(
            f"the mask {path} is {white.shape[1]}x{white.shape[0]}, the portrait {shape[1]}x{shape[0]}; "
            "draw the mask over the portrait, then run the same command"
        )
    if not (white > 127).any():
        raise UserError(f"the mask {path} has no white; paint white where the face may be, then run again")
    return white


def _extent(white: NDArray[np.uint8]) -> Box:
    rows, columns = np.flatnonzero((white > 127).any(1)), np.flatnonzero((white > 127).any(0))
    return (float(columns[0]), float(rows[0]), float(columns[-1] + 1), float(rows[-1] + 1))
