"""What published lists say of videos: which stretches are used, in which square of the picture, and whose they are.

One file a format beside this: hdtf.py, celebv_hq.py, vfhq.py. `read` tells them apart.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

Square = tuple[int, int, int]  # x, y, side
Box = tuple[float, float, float, float]  # left, top, right, bottom, as shares of the picture's width and height


@dataclass(frozen=True)
class Range:
    """One annotated stretch of a video, in seconds of its clock, and its place: a square in a picture `height` pixels
    high, or a box in shares of the picture."""

    id: str
    start_s: float
    end_s: float
    square: Square | None = None
    height: int | None = None
    box: Box | None = None

    def square_in(self, width: int, height: int) -> Square | None:
        """The square in a picture of this size; None where there is none, or it lies outside.

        Of a box it is the largest square around its centre, as CelebV-HQ's own download script has it.
        """
        if self.box is not None:
            left, top, right, bottom = (round(at * of) for at, of in zip(self.box, (width, height) * 2, strict=True))
            half = min(right - left, bottom - top) // 2
            return ((left + right) // 2 - half, (top + bottom) // 2 - half, 2 * half) if half > 0 else None
        if self.square is None or not self.height:
            return None
        x, y, side = (round(number * height / self.height) for number in self.square)
        room = min(side, width - x, height - y)
        return (x, y, room) if room >= 0.98 * side else None  # some of HDTF's squares are a pixel too large


@dataclass(frozen=True)
class Video:
    """One listed video. person None: nobody knows who it is, and who else is the same."""

    name: str  # of its file, without suffix, where somebody brings the whole video
    url: str
    person: str | None
    ranges: tuple[Range, ...]

    @property
    def seconds(self) -> float:
        """Annotated seconds."""
        return sum(r.end_s - r.start_s for r in self.ranges)


@dataclass(frozen=True)
class Lists:
    """A data set's lists as read. `defects` are lines for a person to see."""

    format: str  # hdtf, celebv-hq or vfhq: also how its files of single clips name their person
    licence: str
    videos: tuple[Video, ...]
    defects: tuple[str, ...]
    test: frozenset[str] | None = None  # people held out; None: identity_splits deals them
    fps: Mapping[str, float] = field(default_factory=dict)  # clip -> pictures a second, where clips come as pictures

    def by_name(self) -> dict[str, Video]:
        """The videos by the name of their file."""
        return {video.name: video for video in self.videos}

    def side(self, person: str | None) -> str | None:
        """train or test, where the lists fix it: who is unknown trains."""
        return None if self.test is None else "test" if person in self.test else "train"

    def summary(self) -> str:
        """What the lists hold, in one line."""
        ranges = sum(len(video.ranges) for video in self.videos)
        return f"{ranges} annotated ranges in {len(self.videos)} videos, {self.seconds / 3600:.2f} h"

    @property
    def seconds(self) -> float:
        """Annotated seconds of all videos."""
        return sum(video.seconds for video in self.videos)


def is_lists(path: Path) -> bool:
    """Whether a path is a data set's lists, rather than a folder of videos: also of ones with a list among them."""
    from emo_model.data import hdtf, vfhq

    if path.is_dir():
        return any(next(path.glob(pattern), None) is not None for pattern in (vfhq.FILES, hdtf.FILES))
    return path.suffix == ".json" and path.is_file()


def read(path: Path) -> Lists:
    """The lists at a path: celebvhq_info.json (or its folder), VFHQ's folder meta_info, or HDTF's folder of lists.

    UserError where they are none of these, or a line is not understood.
    """
    from emo_model.data import celebv_hq, hdtf, vfhq

    if path.suffix == ".json" or (path / celebv_hq.FILE).is_file():
        return celebv_hq.read(path if path.suffix == ".json" else path / celebv_hq.FILE)
    if next(path.glob(vfhq.FILES), None) is not None:
        return vfhq.read(path)
    return hdtf.read(path)  # its error says which files it wants


def person_of_file(format: str, stem: str) -> str | None:
    """Whom a single clip's file (without suffix) shows, by the names of that data set."""
    from emo_model.data import celebv_hq, hdtf, vfhq

    return {"hdtf": hdtf, "celebv-hq": celebv_hq, "vfhq": vfhq}[format].person_of_file(stem)


def youtube(id: str) -> tuple[str, str]:
    """(address, person) of a video whose people are not named: who is in one YouTube video stays on one side."""
    return f"https://www.youtube.com/watch?v={id}", f"youtube:{id}"


def overlaps(ranges: Sequence[Range]) -> list[str]:
    """A line for each pair of a video's ranges that share seconds."""
    return [
        f"{b.id} overlaps {a.id}: the seconds of both are {a.id}'s"
        for k, b in enumerate(ranges)
        for a in ranges[:k]
        if a.start_s < b.end_s and b.start_s < a.end_s
    ]
