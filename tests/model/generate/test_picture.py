"""Any picture as 8-bit RGB, upright, over white: what Pillow hands out by itself is none of that for half of them."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from emo_model.errors import UserError
from emo_model.generate import picture
from emo_model.generate.picture import read_picture

GREY = np.linspace(0, 255, 64 * 32).reshape(32, 64).astype(np.uint8)
GREY3 = np.repeat(GREY[..., None], 3, axis=2)
COLOUR = np.stack([GREY, GREY[::-1], 255 - GREY], axis=2)
LEFT = np.arange(64)[None] < 32  # what is transparent
TURNED = Image.Exif()
TURNED[0x0112] = 6  # to be shown turned clockwise
ALPHA = np.where(LEFT, 0, 255).repeat(32, 0).astype(np.uint8)
OVER_WHITE = {"grey": np.where(LEFT[..., None], 255, GREY3), "colour": np.where(LEFT[..., None], 255, COLOUR)}


def image(array: np.ndarray, mode: str | None = None) -> Image.Image:
    return Image.fromarray(array).convert(mode) if mode else Image.fromarray(array)


CASES: dict[str, tuple[Callable[[Path], None], np.ndarray, int]] = {
    "plain.png": (image(COLOUR).save, COLOUR, 0),
    "plain.webp": (lambda path: image(COLOUR).save(path, lossless=True), COLOUR, 0),
    "turned.jpg": (lambda path: image(COLOUR).save(path, quality=100, subsampling=0, exif=TURNED), COLOUR, 4),
    "turned.tiff": (lambda path: image(COLOUR).save(path, exif=TURNED), COLOUR, 0),
    "grey.png": (image(GREY).save, GREY3, 0),
    "palette.gif": (image(COLOUR).quantize(255).save, np.asarray(image(COLOUR).quantize(255).convert("RGB")), 0),
    "bits.png": (image(GREY, "1").save, np.asarray(image(GREY, "1").convert("RGB")), 0),
    "print.jpg": (lambda path: image(COLOUR, "CMYK").save(path, quality=100, subsampling=0), COLOUR, 4),
    "alpha turned.png": (
        lambda path: image(np.dstack([COLOUR, ALPHA])).save(path, exif=TURNED),
        OVER_WHITE["colour"],
        0,
    ),
    "grey alpha.png": (image(np.dstack([GREY, ALPHA])).save, OVER_WHITE["grey"], 0),
    "16 bit turned.png": (lambda path: image(GREY.astype(np.uint16) * 257).save(path, exif=TURNED), GREY3, 0),
    "16 bit.tiff": (image(GREY.astype(np.uint16) * 257).save, GREY3, 0),
    "float.tiff": (image((GREY / 255).astype(np.float32)).save, GREY3, 1),
}


@pytest.mark.parametrize("name", CASES)
def test_a_picture_of_any_kind_is_what_it_shows(tmp_path, name):
    save, shown, tolerance = CASES[name]
    save(tmp_path / name)
    found, shrink = read_picture(tmp_path / name)
    wanted = np.rot90(shown, -1) if "turned" in name else shown
    assert found.dtype == np.uint8 and found.shape == wanted.shape and shrink == 1
    assert np.abs(found.astype(int) - wanted.astype(int)).max() <= tolerance


def test_colours_behind_a_transparent_palette_entry_are_white(tmp_path):
    image(COLOUR).quantize(8).save(tmp_path / "a.png", transparency=0)
    entries = np.asarray(image(COLOUR).quantize(8))
    found, _ = read_picture(tmp_path / "a.png")
    assert (found[entries == 0] == 255).all() and not (found[entries == 1] == 255).all()


@pytest.mark.parametrize("name", ["a.jpg", "a.png", "grey.png"])
def test_a_huge_picture_is_halved_until_it_fits_and_says_by_how_much(tmp_path, monkeypatch, name):
    """20,000 pixels a side as they are would be 1.2 GB of RGB, and Pillow refuses them."""
    monkeypatch.setattr(picture, "LARGEST", 100)
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 1000)  # of this test's picture Pillow would say that it is a bomb
    whole = np.zeros((301, 200, 3), np.uint8)
    whole[100:200, 50:100] = 240
    image(whole[..., 0].astype(np.uint16) * 257 if name == "grey.png" else whole).save(tmp_path / name)
    found, shrink = read_picture(tmp_path / name)
    assert shrink == 4 and found.shape == (76, 50, 3)
    assert (found[27:48, 14:24] > 230).all() and (found[:22] < 10).all() and (found[:, :10] < 10).all()
    assert Image.MAX_IMAGE_PIXELS == 1000


def refusal(path: Path) -> str:
    with pytest.raises(UserError) as error:
        read_picture(path)
    assert "\n" not in str(error.value) and path.name in str(error.value)
    return str(error.value)


def test_what_is_no_picture_is_refused_in_a_line_each(tmp_path, monkeypatch):
    assert "no picture" in refusal(tmp_path / "none.png")
    assert "no picture" in refusal(tmp_path)
    for name, content in {"text.png": b"a portrait", "empty.png": b"", "head.png": b"\x89PNG\r\n\x1a\n\0\0"}.items():
        (tmp_path / name).write_bytes(content)
        assert "cannot be read as a picture" in refusal(tmp_path / name)
    noise = np.random.default_rng(0).integers(0, 255, (64, 64, 3), dtype=np.uint8)
    for name in ("cut.jpg", "cut.png", "cut.webp"):
        image(noise).save(tmp_path / name)
        (tmp_path / name).write_bytes((tmp_path / name).read_bytes()[:900])
        assert "cannot be read as a picture" in refusal(tmp_path / name)
    monkeypatch.setattr(picture, "MOST", 1000)
    image(noise).save(tmp_path / "bomb.png")
    assert "64x64 pixels" in refusal(tmp_path / "bomb.png")
