"""Clips out of face tracks: follow one person through a shot, and say why what is left out is left out.

    frames of a shot -> usable or not (no face, too small, cut off)
      -> stretches: usable frames with at most max_lost_frames missing in a row, no jump, no frozen picture
      -> clips of min_clip_s to max_clip_s; a long stretch is parted in pauses (pauses.py)
      -> one steady square crop a clip: the union of its face boxes, expanded

The person followed is the largest face of a frame. While a second one comes near it in size nothing is used, so the
largest is always the same person; a clip ends where another one becomes the largest, for that face is elsewhere.
"""

import math
from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from emo_model.data.config import DataConfig
from emo_model.data.media import SAME_S, shown_at
from emo_model.data.pauses import parted
from emo_model.data.shards import Reject
from emo_model.data.shots import Shot

FPS = 30  # of every clip (EMO's third version)
COMPANY_S = 1.0  # seconds for which the detector may lose sight of a second person
NEEDS_PX = 1.1  # a crop at least this much larger than the face boxes' union, if need be beyond the picture's edge

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Faces:
    """What the landmarker saw in a video's N frames.

    times (N,) seconds; end_s: end of the last frame; boxes (N, 4) x0 y0 x1 y1 in source pixels, NaN where no face was
    found; seconds (N,) height of the second face over the first's, 0 where there is none; size: (width, height);
    jumped (N,) whether the head jumps into the frame (jump_cuts.py).
    """

    times: Array
    end_s: float
    boxes: Array
    seconds: Array
    size: tuple[int, int]
    jumped: NDArray[np.bool_]
    effort: Array

    def of(self, shot: Shot) -> "Faces":
        """The same of one shot's frames."""
        inside = slice(shot.begin, shot.end)
        return replace(
            self,
            times=self.times[inside],
            end_s=shot.end_s,
            boxes=self.boxes[inside],
            seconds=self.seconds[inside],
            jumped=self.jumped[inside],
            effort=self.effort[inside],
        )

    @property
    def found(self) -> NDArray[np.bool_]:
        """(N,) whether a face was found."""
        return ~np.isnan(self.boxes[:, 0])

    @property
    def heights(self) -> Array:
        """(N,) height of the face in source pixels, NaN where there is none."""
        return self.boxes[:, 3] - self.boxes[:, 1]

    @property
    def inside(self) -> Array:
        """(N,) share of the face box that lies in the picture, NaN where there is none."""
        limits = np.array([*self.size, *self.size], float)
        return _area(np.clip(self.boxes, 0, limits)) / _area(self.boxes)


@dataclass(frozen=True)
class Clip:
    """One clip: frame 0 is shown at start_s; the square crop may reach beyond the picture."""

    shot: int
    start_s: float
    num_frames: int
    crop_x: int
    crop_y: int
    crop_size: int
    min_face_px: float
    range_id: str | None = None


def clip_id(video_id: str, start_s: float) -> str:
    """A clip's name: its video's content and its first frame in milliseconds."""
    return f"{video_id[:12]}_{round(start_s * 1000):08d}"


def clips_of_shot(video_id: str, shot: Shot, faces: Faces, config: DataConfig) -> tuple[list[Clip], list[Reject]]:
    """The clips one shot offers, and a reject for everything in it that could not become one."""
    name = f"{video_id}:{shot.name}"
    unusable = _whole_shot(name, shot, faces, config)
    if unusable:
        return [], [unusable]
    states = frame_states(faces, config)
    clips, rejects = [], _lost(name, faces, states, config)
    for begin, end in stretches(faces, states == "", config):
        for first, start_s, stop_s in pieces(faces, begin, end, config):
            clip = _clip(shot, faces, first, start_s, stop_s, config)
            seconds = faces.seconds[(faces.times >= start_s) & (faces.times < stop_s)]
            if (seconds >= config.second_face).sum() > config.max_lost_frames:
                rival, detail = _rival(seconds, config), "second face's height over the first's, now and then"
                rejects.append(
                    Reject("clip", clip_id(video_id, start_s), "two_faces", rival, config.second_face, detail)
                )
            elif clip.num_frames >= config.min_clip_s * FPS - SAME_S:
                clips.append(clip)
            else:
                rejects.append(_too_short("clip", clip_id(video_id, start_s), stop_s - start_s, config))
    return clips, rejects


def _whole_shot(name: str, shot: Shot, faces: Faces, config: DataConfig) -> Reject | None:
    """Why a shot is of no use at all, if it is."""
    if shot.is_transition:
        return Reject("shot", name, "transition", round(shot.end_s - shot.start_s, 6), 0, "seconds of fade or dissolve")
    if not faces.found.any():
        return Reject("shot", name, "no_face", 0, 1, f"in {len(faces.times)} frames")
    if shot.end_s - shot.start_s < config.min_clip_s - SAME_S:
        return _too_short("shot", name, shot.end_s - shot.start_s, config)
    return None


def _rival(seconds: Array, config: DataConfig) -> float:
    """Height of the second face over the first's, median of the frames where it counts."""
    return float(np.median(seconds[seconds >= config.second_face]))


def _too_short(kind: str, name: str, seconds: float, config: DataConfig) -> Reject:
    return Reject(kind, name, "too_short", round(seconds, 6), config.min_clip_s, "seconds")


def frame_states(faces: Faces, config: DataConfig) -> NDArray[np.str_]:
    """(N,) "" where the frame is usable, else the reason it is not."""
    states = np.full(len(faces.times), "", dtype="<U16")
    states[_company(faces, config)] = "two_faces"
    states[faces.heights < config.min_face_px] = "face_too_small"
    states[faces.inside < config.min_face_inside] = "face_cut_off"
    states[~faces.found] = "face_lost"
    return states


def _company(faces: Faces, config: DataConfig) -> NDArray[np.bool_]:
    """(N,) where a second person is there: from the first to the last frame that shows one, gaps of COMPANY_S and less
    included. A few frames in all are a slip of the detector."""
    at = np.flatnonzero(faces.seconds >= config.second_face)
    there = np.zeros(len(faces.times), bool)
    for visit in np.split(at, np.flatnonzero(np.diff(faces.times[at]) > COMPANY_S) + 1):
        if len(visit) > config.max_lost_frames:
            there[visit[0] : visit[-1] + 1] = True
    return there


def _lost(name: str, faces: Faces, states: NDArray[np.str_], config: DataConfig) -> list[Reject]:
    """One reject for each reason that makes more than max_lost_frames in a row unusable."""
    edges = [0, *(np.flatnonzero(states[1:] != states[:-1]) + 1), len(states)]
    runs: dict[str, int] = {}
    for begin, end in pairwise(edges):
        if states[begin]:
            runs[str(states[begin])] = max(runs.get(str(states[begin]), 0), int(end - begin))
    scores = {
        "two_faces": lambda _: (_rival(faces.seconds, config), config.second_face),
        "face_lost": lambda run: (run, config.max_lost_frames),
        "face_too_small": lambda _: (float(np.nanmin(faces.heights)), config.min_face_px),
        "face_cut_off": lambda _: (float(np.nanmin(faces.inside)), config.min_face_inside),
    }
    return [
        Reject("shot", name, reason, *scores[reason](run), f"longest run: {run} of {len(states)} frames")
        for reason, run in sorted(runs.items())
        if run > config.max_lost_frames or reason == "two_faces"
    ]


def stretches(faces: Faces, usable: NDArray[np.bool_], config: DataConfig) -> list[tuple[int, int]]:
    """[begin, end) of the frames through which one person can be followed; each starts and ends on a usable frame."""
    at = np.flatnonzero(usable)
    if not at.size:
        return []
    still = np.concatenate([[0], np.cumsum(np.diff(faces.times) > config.max_still_s)])
    broken = (
        (np.diff(at) > config.max_lost_frames + 1)
        | (_overlap(faces.boxes[at[:-1]], faces.boxes[at[1:]]) < config.min_overlap)
        | (np.diff(still[at]) > 0)
        | faces.jumped[at[1:]]
    )
    first = [0, *(np.flatnonzero(broken) + 1)]
    last = [*np.flatnonzero(broken), len(at) - 1]
    return [(int(at[a]), int(at[b]) + 1) for a, b in zip(first, last, strict=True)]


def pieces(faces: Faces, begin: int, end: int, config: DataConfig) -> list[tuple[int, float, float]]:
    """(first source frame, start_s, stop_s) of the parts of a stretch, none longer than max_clip_s: parted where
    little goes on, or evenly where no such parts last min_clip_s."""
    start_s = float(faces.times[begin])
    stop_s = float(faces.times[end]) if end < len(faces.times) else faces.end_s
    stop_s = min(stop_s, float(faces.times[end - 1]) + config.max_still_s)  # a last picture that stays on for long
    count = max(1, math.ceil((stop_s - start_s) / config.max_clip_s - SAME_S))
    firsts = np.array([begin])
    if count > 1:
        inside = slice(begin, end)
        found = parted(faces.times[inside], stop_s, faces.effort[inside], config.min_clip_s, config.max_clip_s)
        ideal = start_s + np.arange(count) * (stop_s - start_s) / count
        firsts = begin + np.array(found) if found else shown_at(faces.times, ideal)  # a clip starts on a source frame
    edges = [*(float(faces.times[first]) for first in firsts), stop_s]
    return [(int(first), edges[k], edges[k + 1]) for k, first in enumerate(firsts)]


def _clip(shot: Shot, faces: Faces, first: int, start_s: float, stop_s: float, config: DataConfig) -> Clip:
    num_frames = math.floor((stop_s - start_s) * FPS + SAME_S * FPS)
    num_frames = min(num_frames, math.floor(config.max_clip_s * FPS + SAME_S))
    last = int(np.searchsorted(faces.times, stop_s - SAME_S))
    face = union(faces.boxes[first:last])
    listed = shot.within.square_in(*faces.size) if shot.within else None
    if listed is None or _inside(face, listed) < config.min_face_inside:
        listed = crop_square(face, faces.size, config.crop_expansion)
    smallest = float(np.nanmin(faces.heights[first:last]))
    return Clip(shot.number, start_s, num_frames, *listed, smallest, shot.within.id if shot.within else None)


def _inside(box: Array, square: tuple[int, int, int]) -> float:
    """Share of a box (4,) that lies in a square."""
    x, y, side = square
    seen = np.clip(box, [x, y, x, y], [x + side, y + side, x + side, y + side])
    return float(_area(seen[None])[0] / _area(box[None])[0])


def union(boxes: Array) -> Array:
    """(4,) extent of all boxes (N, 4), those of frames without a face left out."""
    return np.concatenate([np.nanmin(boxes[:, :2], axis=0), np.nanmax(boxes[:, 2:], axis=0)])


def crop_square(box: Array, size: tuple[int, int], expansion: float) -> tuple[int, int, int]:
    """(x, y, side) in whole source pixels of the square around a box (4,), its side `expansion` times the box's.

    It gives way to the picture: it shrinks to the picture's shorter side and moves inside, and reaches beyond the edge
    only where the face itself would not fit. Faces near the edge keep their size; nothing invented is shown.
    """
    x0, y0, x1, y1 = box
    face = max(x1 - x0, y1 - y0)
    side = max(min(expansion * face, min(size)), NEEDS_PX * face)
    side = max(2, round(side))
    corner = ((x0 + x1) / 2 - side / 2, (y0 + y1) / 2 - side / 2)
    x, y = (_moved_inside(round(at), side, limit) for at, limit in zip(corner, size, strict=True))
    return x, y, side


def _moved_inside(at: int, side: int, limit: int) -> int:
    return min(max(at, 0), limit - side) if side <= limit else at


def _area(boxes: Array) -> Array:
    return np.maximum(boxes[:, 2] - boxes[:, 0], 0) * np.maximum(boxes[:, 3] - boxes[:, 1], 0)


def _overlap(a: Array, b: Array) -> Array:
    """(N,) intersection over union of boxes (N, 4)."""
    common = _area(np.concatenate([np.maximum(a[:, :2], b[:, :2]), np.minimum(a[:, 2:], b[:, 2:])], axis=1))
    return common / (_area(a) + _area(b) - common)
