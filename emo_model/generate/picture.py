"""A picture of any common format, as 8-bit RGB, upright, over white; huge ones at a fraction of their size."""

import struct
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

from emo_model.data.media import Picture
from emo_model.errors import UserError

LARGEST = 8192  # pixels a side that are kept; what is larger is halved until it fits
MOST = 25_000 * 25_000  # pixels of a file: decoded they take 2.5 GB; beyond, a header's slip or a bomb
# What Pillow raises of a file that is none or breaks off.
_UNREADABLE = (OSError, ValueError, SyntaxError, EOFError, struct.error, MemoryError, Image.DecompressionBombError)


def read_picture(path: Path) -> tuple[Picture, int]:
    """(H, W, 3) uint8, and how many pixels of the file one of its pixels is, a side. UserError where it is none."""
    if not path.is_file():
        raise UserError(f"no picture {path}; run: emo generate --portrait PICTURE")
    try:
        with _of_any_size(), Image.open(path) as image:
            if image.width * image.height > MOST:
                raise UserError(
                    f"{path} is {image.width}x{image.height} pixels, {MOST / 1e6:.0f} million at most are wanted; "
                    "make it smaller, then run again"
                )
            shrink = 1
            while max(image.size) > LARGEST * shrink:
                shrink *= 2
            return np.array(ImageOps.exif_transpose(_rgb(image, shrink))), shrink
    except _UNREADABLE as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise UserError(f"{path} cannot be read as a picture ({reason}); run again with a JPEG or PNG file") from error


def _rgb(image: Image.Image, shrink: int) -> Image.Image:
    width = -(-image.width // shrink)
    image.draft(None, (width, -(-image.height // shrink)))  # a JPEG need not be decoded whole
    if image.mode[0] in "IF":  # 16 and 32 bits a grey value, which Pillow would cut off at 255
        image = _eight_bits(image)
    elif image.mode not in ("L", "RGB", "RGBA", "LA"):
        image = image.convert("RGBA" if "A" in image.getbands() or "transparency" in image.info else "RGB")
    if image.width > width:
        image = image.reduce(round(image.width / width))
    if "A" not in image.getbands() and "transparency" not in image.info:
        return image.convert("RGB")
    pasted, exif = image.convert("RGBA"), image.getexif()
    image = Image.new("RGB", pasted.size, "white")
    image.paste(pasted, mask=pasted.getchannel("A"))
    image.info["exif"] = exif.tobytes()
    return image


def _eight_bits(image: Image.Image) -> Image.Image:
    """Grey values of 16 bits, or floats from 0 to 1."""
    values, exif = np.nan_to_num(np.asarray(image)), image.getexif()
    if values.dtype.kind == "f":
        values = values * (255 if values.max(initial=0) <= 1 else 1)
    elif values.max(initial=0) > 255:
        values = values >> 8
    grey = Image.fromarray(values.clip(0, 255).astype(np.uint8))
    grey.info["exif"] = exif.tobytes()
    return grey


@contextmanager
def _of_any_size() -> Iterator[None]:
    """Pillow warns of large pictures, and refuses larger ones: here MOST says what is too large."""
    before, Image.MAX_IMAGE_PIXELS = Image.MAX_IMAGE_PIXELS, None
    try:
        yield
    finally:
        Image.MAX_IMAGE_PIXELS = before
