"""HDTF's annotation lists (Zhang et al., CVPR 2021; github.com/MRzzm/HDTF): which videos, which seconds, which square.

    SUBSET_video_url.txt      NAME URL
    SUBSET_annotion_time.txt  NAME.mp4 MM:SS-MM:SS ...        the k-th is the range SUBSET_NAME_00k
    SUBSET_resolution.txt     NAME.mp4 HEIGHT                 of the picture that the squares refer to
    SUBSET_crop_wh.txt        NAME_k.mp4 X WIDTH Y HEIGHT     WIDTH = HEIGHT

SUBSET is RD (radio hosts, unnamed), WDA or WRA (named people). A range without a square keeps its seconds, and its
clips get a square of ours. Squares are scaled to the height a video really has: sites serve others than HDTF saw.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from emo_model.data.annotations import Lists, Range, Video, overlaps
from emo_model.data.store import text_sha256
from emo_model.errors import UserError

SUBSETS = ("RD", "WDA", "WRA")
FILES = "*_annotion_time.txt"  # the spelling is theirs
LISTS = ("video_url", "annotion_time", "resolution", "crop_wh")
LICENCE = "videos: their sites'; lists: CC BY 4.0 (HDTF)"
SALT = "hdtf-v1:"
TEST_SHARE = 0.1  # of the hours, section 4.2
SAME_PERSON = {"WhipJimClyburn": "JamesClyburn"}  # one video is listed under both names


@dataclass(frozen=True)
class HdtfLists(Lists):
    """HDTF's lists: half of them name people."""

    def summary(self) -> str:
        """What the lists hold, in one line."""
        people = {video.person for video in self.videos if video.person}
        hosts, held = sum(video.person is None for video in self.videos), split(self)
        return (
            f"{super().summary()}: {len(people)} named people and {hosts} radio videos of unknown hosts (train only); "
            f"test: {len(held.test)} people, {held.ranges} ranges, {held.hours:.2f} h"
        )


@dataclass(frozen=True)
class Split:
    """Section 4.2's 90/10 over HDTF's people. Unnamed hosts train: nobody knows who is in two videos."""

    test: tuple[str, ...]  # people
    ranges: int  # of them
    hours: float


def person(name: str) -> str:
    """Whom a listed name stands for: numbers tell one person's videos apart."""
    stem = re.sub(r"\d+$", "", name)
    return SAME_PERSON.get(stem, stem)


def read(folder: Path) -> Lists:
    """The lists of a folder. UserError where one of the twelve files is missing or a line is not understood."""
    missing = [f"{s}_{name}.txt" for s in SUBSETS for name in LISTS if not (folder / f"{s}_{name}.txt").is_file()]
    if missing:
        raise UserError(
            f"{folder} lacks {', '.join(missing)}; get HDTF's lists: git clone https://github.com/MRzzm/HDTF, "
            "then name its folder HDTF_dataset"
        )
    defects: list[str] = []
    videos = tuple(video for subset in SUBSETS for video in _subset(folder, subset, defects))
    defects += _same_address(videos)
    lists = HdtfLists("hdtf", LICENCE, videos, tuple(defects))
    return replace(lists, test=frozenset(split(lists).test))


def split(lists: Lists) -> Split:
    """Named people in the order of sha256(SALT + name), until they hold TEST_SHARE of the annotated hours."""
    of: dict[str, list[Video]] = {}
    for video in lists.videos:
        if video.person:
            of.setdefault(video.person, []).append(video)
    total, test, seconds = lists.seconds, [], 0.0
    for name in sorted(of, key=lambda name: text_sha256(SALT + name)):
        if seconds >= TEST_SHARE * total:
            break
        test.append(name)
        seconds += sum(video.seconds for video in of[name])
    return Split(tuple(test), sum(len(video.ranges) for name in test for video in of[name]), seconds / 3600)


def person_of_file(stem: str) -> str | None:
    """`WDA_KatieHill_000` -> KatieHill. `RD_Radio31_000` -> Radio: nobody knows which hosts are the same, so that all
    of them stay on one side."""
    match = re.fullmatch(r"(?:RD|WDA|WRA)_(.*?\D\d*)(?:_\d+)?", stem)
    return person(match[1]) if match else None


# ---- lines ----


def _subset(folder: Path, subset: str, defects: list[str]) -> Iterator[Video]:
    def table(name: str) -> dict[str, list[str]]:
        return dict(_lines(folder / f"{subset}_{name}.txt"))

    urls, heights, squares = table("video_url"), table("resolution"), table("crop_wh")
    times = table("annotion_time")
    defects += [f"{subset}_{name}: a URL and no annotated time" for name in urls if name not in times]
    for name, ranges in times.items():
        if name not in urls:
            raise UserError(f"{folder}/{subset}_video_url.txt has no {name}, which the annotation times name")
        height = int(heights.get(name, ["0"])[0]) or None
        if height is None:
            defects.append(f"{subset}_{name}: no height; its squares cannot be used")
        found = []
        for number, text in enumerate(ranges):
            found.append(_range(f"{subset}_{name}_{number:03d}", text, squares.get(f"{name}_{number}"), height))
            if found[-1].square is None:
                defects.append(f"{found[-1].id}: no square; one of ours is used")
        defects += overlaps(found)
        who = None if subset == "RD" else person(name)
        yield Video(f"{subset}_{name}", urls[name][0], who, tuple(found))


def _lines(path: Path) -> Iterator[tuple[str, list[str]]]:
    for line in path.read_text(encoding="utf-8-sig").splitlines():
        name, *fields = line.split()
        if not fields:
            raise UserError(f"{path}: wanted a name and values, got {line!r}")
        yield name.removesuffix(".mp4"), fields


def _range(id: str, text: str, square: list[str] | None, height: int | None) -> Range:
    found = re.fullmatch(r"(\d+):(\d\d)-(\d+):(\d\d)", text)
    if found is None:
        raise UserError(f"{id}: wanted MM:SS-MM:SS, got {text!r}; mend the annotation times")
    minutes, seconds, until, end = map(int, found.groups())
    start_s, end_s = minutes * 60 + seconds, until * 60 + end
    if square is None:
        return Range(id, start_s, end_s)
    x, side, y, _ = map(int, square)
    return Range(id, start_s, end_s, (x, y, side), height)


def _same_address(videos: Sequence[Video]) -> list[str]:
    first: dict[str, str] = {}
    lines = []
    for video in videos:
        address = video.url.partition("&")[0]
        if address in first:
            lines.append(f"{video.name} is the same video as {first[address]}")
        first.setdefault(address, video.name)
    return lines
