"""A contact sheet in the manner of the paper's figures 3 to 6: methods (styles, settings) in rows, time in columns.

Every row shows the same instants, so what stands below each other can be compared; a long take goes on in lines below.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageDraw, ImageOps
from PIL.PngImagePlugin import PngInfo

from emo_model.data.media import Picture
from emo_model.data.store import atomic
from emo_model.errors import UserError
from emo_model.figures.lettering import font, small, wrapped
from emo_model.figures.rows import Row, differ, statements
from emo_model.generate import synthetic

INK, SOFT, PAPER, EMPTY = (28, 32, 36), (96, 100, 108), (255, 255, 255), (238, 239, 242)
ASPECTS = (0.5, 2.0)  # width of a cell over its height
LARGEST = 100_000_000  # pixels of a sheet


@dataclass(frozen=True)
class _Layout:
    """Measures of a sheet in pixels."""

    height: int  # of a cell
    width: int
    letters: int
    labels: int  # width of the names' column
    portraits: bool

    @property
    def gap(self) -> int:
        return max(2, self.height // 40)

    @property
    def heading(self) -> int:
        return round(1.9 * self.letters)

    def left(self, column: int) -> int:
        """Where a column begins; -1: the portraits'."""
        step = self.width + self.gap
        return (
            self.labels + (step + 2 * self.gap if self.portraits else 0) + column * step - (column < 0) * 2 * self.gap
        )


def contact_sheet(
    rows: Sequence[Row],
    *,
    columns: int = 8,
    lines: int = 1,
    height: int = 160,
    seconds: float | None = None,
    heads: Sequence[str] | None = None,
) -> Image.Image:
    """The rows' frames at the same instants, from 0 to the longest video's last frame (at most `seconds`).

    columns x lines instants, line below line; height: pixels of a frame; heads: above the columns, instead of times.
    Where a video has ended its cells are empty, a still picture stands in the first column only, and sizes, rates and
    lengths are said beside the names where they differ. Returns an RGB picture. UserError where a file cannot be read,
    ValueError without rows.
    """
    if not rows:
        raise ValueError("a contact sheet of no videos")
    if columns < 1 or lines < 1 or height < 16:
        raise UserError(f"{columns} columns, {lines} lines, {height} pixels: 1, 1 and 16 at least are wanted; "
                        "run: emo compare --columns 8 --lines 1 --height 160")  # fmt: skip
    end = max(row.shown.last_s for row in rows)
    times = np.linspace(0, end if seconds is None else min(end, seconds), columns * lines)
    layout = _layout(rows, height)
    block = layout.heading + len(rows) * (height + layout.gap)
    size = layout.left(columns), lines * block + layout.gap
    if size[0] * size[1] > LARGEST:
        raise UserError(f"a sheet of {size[0]}x{size[1]} pixels is too large; run: emo compare with a smaller --height")
    sheet = Image.new("RGB", size, PAPER)
    heads = [f"{at:.1f} s" for at in times] if heads is None else list(heads)
    for line in range(lines):
        _headings(sheet, layout, line * block, heads[line * columns : (line + 1) * columns])
    for number, row in enumerate(rows):
        for line in range(lines if len(rows) > 1 else 1):
            _name(sheet, layout, line * block + layout.heading + number * (height + layout.gap), row, differ(rows))
        for cell, (x, y) in zip(
            _cells(row, times, layout), _places(layout, number, columns, lines, block), strict=True
        ):
            sheet.paste(cell, (x, y))
    return sheet


def write_contact_sheet(path: Path, rows: Sequence[Row], **wanted: Any) -> None:
    """The sheet as PNG, whole or not at all. Where a row's file says that it is synthetic, so does the sheet."""
    sheet, notes = contact_sheet(rows, **wanted), PngInfo()
    if made := statements(rows):
        for name, text in {**synthetic.tags(made), "XML:com.adobe.xmp": synthetic.xmp(made)}.items():
            notes.add_itxt(name, text)
    with atomic(path) as temporary:
        sheet.save(temporary, "PNG", pnginfo=notes, optimize=True)


# ---- parts ----


def _layout(rows: Sequence[Row], height: int) -> _Layout:
    aspects = [row.shown.width / row.shown.height for row in rows]
    letters = int(np.clip(height // 10, 11, 20))
    names = max(font(letters).getlength(line) for row in rows for line in [*row.label.split(), row.label[:18]])
    facts = max(font(small(letters)).getlength(row.shown.facts) for row in rows) / 2
    labels = int(min(max(names, facts if differ(rows) else 0), 1.5 * height)) + letters
    width = round(height * float(np.clip(max(aspects), *ASPECTS)))
    return _Layout(height, width, letters, labels, any(row.portrait is not None for row in rows))


def _headings(sheet: Image.Image, layout: _Layout, y: int, texts: Sequence[str]) -> None:
    pencil, letters = ImageDraw.Draw(sheet), font(small(layout.letters))
    for column, text in [*enumerate(texts), *([(-1, "portrait")] if layout.portraits else [])]:
        middle = layout.left(column) + layout.width // 2, y + layout.heading // 2
        pencil.text(middle, text, SOFT, letters, anchor="mm")


def _name(sheet: Image.Image, layout: _Layout, y: int, row: Row, facts: bool) -> None:
    pencil, letters = ImageDraw.Draw(sheet), layout.letters
    width = layout.labels - letters
    lines = [(line, letters, INK) for line in wrapped(row.label, width, letters)]
    if facts:
        lines += [(line, small(letters), SOFT) for line in wrapped(row.shown.facts, width, small(letters))]
    y += (layout.height - sum(round(1.25 * size) for _, size, _ in lines)) // 2
    for text, size, colour in lines:
        pencil.text((letters // 2, y), text, colour, font(size))
        y += round(1.25 * size)


def _places(layout: _Layout, row: int, columns: int, lines: int, block: int) -> Iterator[tuple[int, int]]:
    """Corners of a row's cells: the portrait's, then those over time."""
    for line in range(lines):
        y = line * block + layout.heading + row * (layout.height + layout.gap)
        if layout.portraits and line == 0:
            yield layout.left(-1), y
        yield from ((layout.left(column), y) for column in range(columns))


def _cells(row: Row, times: np.ndarray, layout: _Layout) -> Iterator[Image.Image]:
    if layout.portraits:
        reference = row.reference()
        yield fitted(reference, layout.width, layout.height) if reference is not None else _blank(layout, PAPER)
    told = False
    for at, picture in zip(times, row.shown.at(times), strict=True):
        if row.shown.still and at > 0:
            yield _blank(layout, PAPER)
        elif row.shown.ended(at):
            yield _blank(layout, EMPTY, "" if told else f"ended at {row.shown.seconds:.1f} s")
            told = True
        else:
            yield fitted(picture, layout.width, layout.height)


def _blank(layout: _Layout, colour: tuple[int, int, int], text: str = "") -> Image.Image:
    cell, size = Image.new("RGB", (layout.width, layout.height), colour), small(layout.letters)
    written = "\n".join(wrapped(text, layout.width - size, size))
    middle = layout.width // 2, layout.height // 2
    ImageDraw.Draw(cell).multiline_text(middle, written, SOFT, font(size), anchor="mm", align="center")
    return cell


def fitted(picture: Picture, width: int, height: int, ground: tuple[int, int, int] = EMPTY) -> Image.Image:
    """The whole picture (H, W, 3) in a cell, its aspect kept, on the ground's colour."""
    image = Image.fromarray(picture)
    larger = min(width / image.width, height / image.height) > 1
    return ImageOps.pad(
        image, (width, height), Image.Resampling.BICUBIC if larger else Image.Resampling.LANCZOS, ground
    )
