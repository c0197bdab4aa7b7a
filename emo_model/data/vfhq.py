"""VFHQ's lists (Xie et al., CVPR Workshops 2022; liangbinxie.github.io/projects/vfhq), meta_info/, a file a clip:

    Clip+YOUTUBEID+P0+C2+F1537-1825.txt      person 0, clip 2, source frames 1538 to 1824
        H ... 1080    W ... 1920    FPS ... 25.0    CROP ... x0 y0 x1 y1      the last numbers of their lines
        (and the face and five landmarks of every frame, which we find anew)

VFHQ itself comes as folders of that name with the cropped frames as PNG, others share mp4s called by it. There is no
sound in either, so they serve stage 1. Person numbers tell people inside one video apart; whoever is in one YouTube
video stays on one side all the same, and counts as one person.
"""

import re
from pathlib import Path

from emo_model.data.annotations import Box, Lists, Range, Video, overlaps, youtube
from emo_model.errors import UserError

FILES = "Clip+*.txt"
LICENCE = "videos: their owners'; lists: research only (VFHQ)"
_NAME = re.compile(r"Clip\+([\w-]{11})\+P(\d+)\+C(\d+)(?:\+F(\d+)-(\d+))?")


def read(folder: Path) -> Lists:
    """The lists of a folder. A clip without a rate has no time and is left out, and said."""
    defects: list[str] = []
    of: dict[str, list[Range]] = {}
    fps: dict[str, float] = {}
    for file in sorted(folder.glob(FILES)):
        match = _NAME.fullmatch(file.stem)
        if match is None or match[4] is None:
            raise UserError(f"{file}: wanted Clip+YOUTUBEID+P0+C0+F1537-1825.txt; mend the name or take it away")
        numbers = _numbers(file)
        if not numbers.get("FPS", [0])[0]:
            defects.append(f"{file.stem}: no FPS, so no time; it is left out")
            continue
        fps[file.stem] = numbers["FPS"][0]
        # Half a frame from those outside: a time that is rounded the other way takes no frame of the next shot.
        start_s, end_s = ((int(at) + half) / fps[file.stem] for at, half in ((match[4], 0.5), (match[5], -0.5)))
        box = _box(numbers)
        if box is None:
            defects.append(f"{file.stem}: no CROP, H and W that fit; a square of ours is used")
        if start_s < end_s:
            of.setdefault(match[1], []).append(Range(file.stem, start_s, end_s, box=box))
        else:
            defects.append(f"{file.stem}: no frames in it; it is left out")
    videos = tuple(
        Video(id, *youtube(id), tuple(sorted(ranges, key=lambda r: (r.start_s, r.id)))) for id, ranges in of.items()
    )
    defects += [line for video in videos for line in overlaps(video.ranges)]
    return Lists("vfhq", LICENCE, videos, tuple(defects), fps=fps)


def is_clip(name: str) -> bool:
    """Whether a file or folder is called as VFHQ's clips are."""
    return _NAME.match(name) is not None


def person_of_file(stem: str) -> str | None:
    """`Clip+YOUTUBEID+P0+C2+F1537-1825` -> youtube:YOUTUBEID; what stands behind the name is passed over."""
    match = _NAME.match(stem)
    return youtube(match[1])[1] if match else None


def _numbers(file: Path) -> dict[str, list[float]]:
    """FPS, CROP, H and W: how many numbers each ends its line with, is known."""
    found: dict[str, list[float]] = {}
    for line in file.read_text(encoding="utf-8", errors="replace").splitlines():
        for key, count in (("FPS", 1), ("CROP", 4), ("H", 1), ("W", 1)):
            if line.startswith(key):
                values = line.split()[-count:]
                if all(re.fullmatch(r"\d+(\.\d+)?", value) for value in values):
                    found.setdefault(key, [float(value) for value in values])
    return found


def _box(numbers: dict[str, list[float]]) -> Box | None:
    if len(numbers.get("CROP", ())) < 4 or not numbers.get("H", [0])[0] or not numbers.get("W", [0])[0]:
        return None
    (height,), (width,), (x0, y0, x1, y1) = numbers["H"], numbers["W"], numbers["CROP"]
    inside = 0 <= x0 < x1 <= width and 0 <= y0 < y1 <= height
    return (x0 / width, y0 / height, x1 / width, y1 / height) if inside else None
