"""Videos side by side in one film with sound, each under its name: 30 frames a second, on screen what each shows then.

Streamed: a picture of each video is in memory, whatever their lengths.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from math import ceil, sqrt
from pathlib import Path
from tempfile import TemporaryDirectory

import av
import numpy as np
from PIL import Image, ImageDraw

from emo_model.data import media
from emo_model.data.audio_encoders import FPS
from emo_model.data.media import Picture
from emo_model.errors import UserError
from emo_model.figures.contact_sheet import ASPECTS, INK, PAPER, SOFT, fitted
from emo_model.figures.lettering import font, small, wrapped
from emo_model.figures.rows import Row, differ, statements
from emo_model.generate import mp4
from emo_model.generate.sound import Sound, read_sound

HEIGHTS = (256, 512)  # of a panel, where none is asked for: the tallest video's within these
LARGEST = (3840, 2160)  # pixels of the film: what players show
GAP = 4  # pixels between panels
IN_A_LINE = 4  # panels, before they are set in several lines


@dataclass(eq=False)
class _Panel:
    """A video's place in the film: its name in a strip, the picture below. A picture that stays is drawn once."""

    row: Row
    width: int  # with GAP
    height: int  # of the picture
    letters: int
    facts: bool
    _of: tuple[Picture, bool] | None = None
    _drawn: Image.Image = field(init=False)

    @property
    def strip(self) -> int:
        """Pixels of what is above the picture, even."""
        return round(1.6 * self.letters) * 2 if self.facts else 2 * self.letters

    def drawn(self, picture: Picture, ended: bool) -> Image.Image:
        """With its name above; dimmed and said so where the video has ended."""
        if self._of is None or self._of[0] is not picture or self._of[1] != ended:
            self._of, self._drawn = (picture, ended), self._draw(picture, ended)
        return self._drawn

    def _draw(self, picture: Picture, ended: bool) -> Image.Image:
        panel = Image.new("RGB", (self.width, self.strip + self.height), PAPER)
        shown, pencil, middle = fitted(picture, self.width - GAP, self.height), ImageDraw.Draw(panel), self.width // 2
        panel.paste(shown.point(lambda value: value // 3) if ended else shown, (GAP // 2, self.strip))
        lines = [(self.row.label, self.letters, INK)]
        if self.facts:
            lines.append((self.row.shown.facts, small(self.letters), SOFT))
        for number, (text, size, colour) in enumerate(lines):
            y = self.strip * (2 * number + 1) // (2 * len(lines))
            fits = "".join(wrapped(text, self.width - size, size, lines=1))
            pencil.text((middle, y), fits, colour, font(size), anchor="mm")
        if ended:
            at = middle, self.strip + self.height // 2
            pencil.text(at, f"ended at {self.row.shown.seconds:.1f} s", PAPER, font(self.letters), anchor="mm")
        return panel


def side_by_side(
    out: Path,
    rows: Sequence[Row],
    *,
    height: int | None = None,
    seconds: float | None = None,
    sound: Path | None = None,
) -> None:
    """Write `out` (mp4, 30 fps, as long as the longest video, at most `seconds`), whole or not at all.

    height: pixels of a panel. sound: the file whose sound is heard, of the first video that has any where none is
    given; it begins where that file's pictures do. A video that has ended stays on its last picture, dimmed; a still
    picture stays. Where a file says that it is synthetic, so does the film. UserError where a file cannot be read, or
    none is a video.
    """
    end = max((row.shown.seconds for row in rows), default=0.0)
    if not end:
        raise UserError("a film of no videos; run: emo compare LABEL=VIDEO LABEL=VIDEO --out FILM.mp4")
    count = max(1, round((end if seconds is None else min(end, seconds)) * FPS))
    voice = heard(rows, sound)
    with TemporaryDirectory(prefix=".film-", dir=out.parent) as folder:
        film = Path(folder) / "film.mp4"
        mp4.write_film(film, _frames(rows, count, *_panels(rows, height)))
        mp4.join(out, [film], voice and voice.first(count / FPS), statements(rows))


def _panels(rows: Sequence[Row], height: int | None) -> tuple[list[_Panel], int]:
    """The panels, and how many stand in a line."""
    in_line = len(rows) if len(rows) <= IN_A_LINE else ceil(sqrt(len(rows)))
    lines = ceil(len(rows) / in_line)
    aspect = float(np.clip(max(row.shown.width / row.shown.height for row in rows), *ASPECTS))
    wanted = height or int(np.clip(max(row.shown.height for row in rows), *HEIGHTS))
    letters = int(np.clip(wanted // 16, 12, 32))
    fits = min(wanted, int((LARGEST[0] / in_line - GAP) / aspect), LARGEST[1] // lines - 4 * letters)
    if height and fits < height:
        raise UserError(f"{len(rows)} videos {height} pixels tall make more than {LARGEST[0]}x{LARGEST[1]}; "
                        f"run: emo compare with --height {fits}")  # fmt: skip
    tall, wide = fits // 2 * 2, max(2, round(fits * aspect / 2) * 2) + GAP
    return [_Panel(row, wide, tall, letters, differ(rows)) for row in rows], in_line


def _frames(rows: Sequence[Row], count: int, panels: Sequence[_Panel], in_line: int) -> Iterator[Picture]:
    width, height = panels[0].width, panels[0].strip + panels[0].height
    lines = ceil(len(panels) / in_line)
    coming = [row.shown.at(number / FPS for number in range(count)) for row in rows]
    for number, pictures in enumerate(zip(*coming, strict=True)):
        frame = Image.new("RGB", (width * in_line, height * lines), PAPER)
        for place, (panel, picture) in enumerate(zip(panels, pictures, strict=True)):
            drawn = panel.drawn(picture, panel.row.shown.ended(number / FPS))
            frame.paste(drawn, (place % in_line * width, place // in_line * height))
        yield np.asarray(frame)


def heard(rows: Sequence[Row], path: Path | None) -> Sound | None:
    """The sound on the pictures' clock: one that begins later or earlier than they do stays where it is."""
    videos = (row.video for row in rows if isinstance(row.video, Path) and not row.shown.still)
    late = {file: _late(file) for file in ([path] if path else videos)}
    chosen = path or next((file for file in late if late[file] is not None), None)
    return None if chosen is None else read_sound(chosen).delayed(late[chosen] or 0.0)


def _late(file: Path) -> float | None:
    """Seconds from a file's first picture to its first sound; None where it has no sound, or nothing but sound."""
    try:
        with media.open_media(file) as container:
            stream = media.audio_stream(container)
            heard = next(iter(media.decoded(container, stream)), None) if stream is not None else None
    except av.FFmpegError:  # a container for sound alone
        return None
    if heard is None:
        return None
    seen = next(media.decode(file), None)
    return float(heard.time or 0.0) - seen.start_s if seen else 0.0
