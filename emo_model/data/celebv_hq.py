"""CelebV-HQ's list (Zhu et al., ECCV 2022; github.com/CelebV-HQ/CelebV-HQ), celebvhq_info.json:

    {"clips": {"M2Ohb0FAaJU_1": {"ytb_id": "M2Ohb0FAaJU", "duration": {"start_sec": 81.62, "end_sec": 86.17},
                                 "bbox": {"top": 0.0, "bottom": 0.8815, "left": 0.1964, "right": 0.6922}, ...}}}

Boxes are shares of the picture. Files of single clips are called by their key, `M2Ohb0FAaJU_1.mp4`. People are not
named: all clips of one YouTube video count as one person.
"""

import re
from pathlib import Path

from pydantic import BaseModel, Field, ValidationError

from emo_model.data.annotations import Box, Lists, Range, Video, overlaps, youtube
from emo_model.errors import UserError

FILE = "celebvhq_info.json"
LICENCE = "videos: their owners'; list: non-commercial research only (CelebV-HQ)"
MARGIN = 0.02  # of the picture on each side, as the authors' download_and_process.py widens every box


class _Duration(BaseModel):
    start_sec: float
    end_sec: float


class _Box(BaseModel):
    top: float
    bottom: float
    left: float
    right: float


class _Clip(BaseModel):
    ytb_id: str = Field(pattern=r"^[\w-]{11}$")
    duration: _Duration
    bbox: _Box


class _Info(BaseModel):
    clips: dict[str, _Clip]


def read(file: Path) -> Lists:
    """The list. A clip that ends before it starts is left out, and said; UserError where the file is none."""
    try:
        clips = _Info.model_validate_json(file.read_bytes()).clips
    except FileNotFoundError:
        raise UserError(
            f"{file} is not there; it is in the repository github.com/CelebV-HQ/CelebV-HQ or linked there"
        ) from None
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(map(str, first["loc"]))
        raise UserError(f"{file} is not CelebV-HQ's list: {first['msg']} at {place or 'its beginning'}") from error
    defects: list[str] = []
    of: dict[str, list[Range]] = {}
    for name, clip in clips.items():
        start_s, end_s = clip.duration.start_sec, clip.duration.end_sec
        if not 0 <= start_s < end_s:
            defects.append(f"{name}: wanted start_sec < end_sec, got {start_s} and {end_s}; it is left out")
            continue
        of.setdefault(clip.ytb_id, []).append(Range(name, start_s, end_s, box=_widened(clip.bbox)))
        if of[clip.ytb_id][-1].box is None:
            defects.append(f"{name}: no box; a square of ours is used")
    videos = tuple(Video(id, *youtube(id), tuple(ranges)) for id, ranges in sorted(of.items()))
    defects += [line for video in videos for line in overlaps(video.ranges)]
    return Lists("celebv-hq", LICENCE, videos, tuple(defects))


def person_of_file(stem: str) -> str | None:
    """`M2Ohb0FAaJU_1` -> youtube:M2Ohb0FAaJU."""
    match = re.fullmatch(r"([\w-]{11})_\d+", stem)
    return youtube(match[1])[1] if match else None


def _widened(box: _Box) -> Box | None:
    left, top = max(box.left - MARGIN, 0.0), max(box.top - MARGIN, 0.0)
    right, bottom = min(box.right + MARGIN, 1.0), min(box.bottom + MARGIN, 1.0)
    return (left, top, right, bottom) if box.left < box.right and box.top < box.bottom else None
