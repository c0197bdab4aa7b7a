"""Letters in figures: DejaVu Sans, which matplotlib carries and which knows umlauts, Greek and Cyrillic."""

from functools import cache
from pathlib import Path

from PIL import ImageFont


@cache
def font(size: int) -> ImageFont.FreeTypeFont:
    """DejaVu Sans, `size` pixels tall."""
    import matplotlib

    return ImageFont.truetype(str(Path(matplotlib.get_data_path()) / "fonts" / "ttf" / "DejaVuSans.ttf"), size)


def small(size: int) -> int:
    """Of what stands beside letters of a size, pixels."""
    return max(9, round(0.8 * size))


def wrapped(text: str, width: float, size: int, lines: int = 3) -> list[str]:
    """The text in at most `lines` lines of at most `width` pixels, broken at spaces (not at no-break ones) where it
    can be; what does not fit ends in an ellipsis."""
    found: list[str] = []
    rest = text.strip()
    while rest and len(found) < lines:
        fits = _fitting(rest, width, size)
        if fits < len(rest) and len(found) == lines - 1:
            return [*found, rest[: _fitting(rest, width - font(size).getlength("…"), size)].rstrip() + "…"]
        broken = rest.rfind(" ", 0, fits + 1) if fits < len(rest) else fits
        broken = broken if broken > 0 else fits  # a word longer than a line
        found.append(rest[:broken].rstrip())
        rest = rest[broken:].lstrip()
    return found


def _fitting(text: str, width: float, size: int) -> int:
    """How many letters of a text fit, at least one."""
    count = len(text)
    while count > 1 and font(size).getlength(text[:count]) > width:
        count -= 1
    return count
