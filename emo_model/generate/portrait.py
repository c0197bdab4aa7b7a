"""The portrait as training saw people: the expanded square around the face, and the face region M."""

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

Box = tuple[float, float, float, float]  # x0 y0 x1 y1 in the picture's pixels
Region = str | float | Box | Path  # "auto", "free", a factor, a box, or a picture: white where the face may be
Square = tuple[int, int, int]  # x y side in the picture's pixels

AUTO = 1.2  # M is the union of a clip's face boxes, somewhat larger than the box of one frame
EXPANSION = DataConfig().crop_expansion  # side of the crop over the longer side of the face box, as in training


@dataclass(frozen=True)
class Portrait:
    """What the network reads: reference (3, S, S) in [-1, 1] and face region (1, S, S) in {0, 1}."""

    reference: Tensor
    mask: Tensor


def read_picture(path: Path) -> Picture:
    """An image file of any common format, upright. UserError where it is none."""
    from PIL import Image, ImageOps

    if not path.is_file():
        raise UserError(f"no picture {path}; run: emo generate CHECKPOINT PICTURE SOUND OUT.mp4")
    try:
        with Image.open(path) as image:
            return np.array(ImageOps.exif_transpose(image).convert("RGB"))
    except (OSError, ValueError) as error:
        raise UserError(f"{path} cannot be read as a picture; run again with a JPEG or PNG file") from error


def prepare(picture: Picture, size: int, region: Region = "auto") -> Portrait:
    """Crop a picture around its face as training crops are, and draw the face region.

    UserError where no face is found and the region does not say where it is.
    """
    face = find_face(picture, region)
    height, width = picture.shape[:2]
    square = crop_square(np.array(face), (width, height), EXPANSION)
    return Portrait(to_tensor(crop(picture, *square, size)), locate_face((height, width), size, square, face, region))


def to_tensor(picture: Picture) -> Tensor:
    """(H, W, 3) uint8 -> (3, H, W) in [-1, 1]."""
    return torch.from_numpy(picture).permute(2, 0, 1).float() / 127.5 - 1


def find_face(picture: Picture, region: Region) -> Box:
    """Extent of the largest face's 478 landmarks; else what the region says. UserError where neither does."""
    with Landmarker() as landmarker:
        box = landmarker.see(0.0, picture)["box"]
    if box is not None:
        x0, y0, x1, y1 = (float(edge) for edge in box)
        return x0, y0, x1, y1
    if isinstance(region, tuple):
        return region
    if isinstance(region, Path):
        return _extent(_white(region, picture.shape[:2]))
    if region == "free":  # nothing to centre on: the middle of the picture
        height, width = picture.shape[:2]
        return (0.0, 0.0, float(width), float(height))
    raise UserError("no face was found in the portrait; say where it is, run: emo generate --face-region X0,Y0,X1,Y1")


def locate_face(shape: tuple[int, int], size: int, square: Square, face: Box, region: Region) -> Tensor:
    """M (figure 7): the face box holds the head still, a wider or taller one lets it sway or nod.

    shape: (height, width) of the picture; returns (1, size, size), 1 where the face may be.
    """
    if region == "free":
        return torch.ones(1, size, size)
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
    if len(numbers) == 1 and numbers[0] > 0:
        return numbers[0]
    if len(numbers) == 4 and numbers[0] < numbers[2] and numbers[1] < numbers[3]:
        return numbers
    raise UserError(f"no face region {text!r}; run: emo generate --face-region auto|free|1.5|X0,Y0,X1,Y1|MASK.png")


def _white(path: Path, shape: tuple[int, int]) -> NDArray[np.uint8]:
    white = read_picture(path).max(axis=2)
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
