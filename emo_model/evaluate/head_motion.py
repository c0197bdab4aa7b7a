"""Table 2 and figure 7 on any videos: the small true world's measures (true_world/measures.py), read off real faces.

The pose is the data pipeline's own: MediaPipe's landmarker and the speed that every clip is labelled with. A frame in
which no face is found is left out and counted, and so is a video in which that is most of them, whose few faces would
speak for all: each number says of how many frames it speaks, or why there is none.

Shapes: T frames. Lengths in picture widths, speeds in degrees a frame at 30 fps.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from emo_model.data.audio_encoders import FPS
from emo_model.evaluate.bootstrap import intervals
from emo_model.evaluate.faces import track_faces
from emo_model.evaluate.motion import head_speed
from emo_model.evaluate.video import read_frames
from emo_model.true_world import measures
from emo_model.true_world.answers import SETTLED

Array = NDArray[np.float64]

SIZE = 256  # pixels a side at which faces are looked for, as in every other metric
DRAWS = 200  # of people, behind a 95 % interval
ENOUGH = 0.5  # of a video's frames
NO_FACE = "no video in which a face was found in half of the frames"
NO_TURN = "no video in which a face was found in half of the frames and in those before them"


@dataclass(frozen=True)
class Seen:
    """What the landmarker saw of one video: head speed (T,) and face box (T, 4), NaN where unknown."""

    speed: Array
    boxes: Array

    @property
    def found(self) -> NDArray[np.bool_]:
        """(T,) whether a face was."""
        return np.isfinite(self.boxes[:, 0])

    @property
    def centre(self) -> Array:
        """(N, 2) of the faces that were found."""
        boxes = self.boxes[self.found]
        return (boxes[:, :2] + boxes[:, 2:]) / 2


@dataclass(frozen=True)
class Number:
    """One number with its 95 % interval over people, or why there is none; of how many frames it speaks (where there is
    none: in how many something was found)."""

    value: float | None
    interval: tuple[float, float] | None
    frames: int
    of_frames: int
    reason: str = ""

    def __str__(self) -> str:
        if self.value is None:
            return "–"
        low_high = f" [{_digits(self.interval[0])}, {_digits(self.interval[1])}]" if self.interval else ""
        return f"{_digits(self.value)}{low_high}"


def _digits(value: float) -> str:
    return f"{round(value, 3) + 0.0:.3f}"  # as the paper prints them; no -0.000


def see(path: Path, seconds: float) -> Seen:
    """A video's first `seconds`. Unreadable (video.py) where it cannot be decoded."""
    frames = read_frames(path, fps=FPS, size=SIZE, seconds=seconds)
    faces = track_faces(frames, FPS)
    return Seen(head_speed(faces, FPS), faces.boxes / SIZE)


def table_2(films: Sequence[Seen], people: Sequence[str]) -> dict[str, Number]:
    """Mean velocity, variance within a clip, variance of the clips' means (VMV). people: who each film shows.

    As in the small true world, the first SETTLED turns of a video are left out: nothing came before them.
    """
    speeds = [film.speed[1 + SETTLED :] for film in films]  # a first frame has no turn of its own
    padded = np.full((len(films), max(map(len, speeds), default=0)), np.nan)
    for row, speed in zip(padded, speeds, strict=True):
        row[: len(speed)] = speed
    masked = np.ma.masked_invalid(padded)

    def statistic(chosen: Sequence[int]) -> dict[str, float]:
        return measures.table_2(masked[list(chosen)])

    names = ("mean velocity", "velocity variance", "VMV")
    found = _numbers(names, statistic, [[np.isfinite(speed)] for speed in speeds], people, NO_TURN)
    if sum(_enough(np.isfinite(speed)) for speed in speeds) == 1:
        found["VMV"] = replace(found["VMV"], value=None, interval=None, reason="VMV, a variance over videos, needs two")
    return found


def inside(films: Sequence[Seen], regions: Array, people: Sequence[str]) -> Number:
    """Share of the face's box within the region given, regions (V, 4): mean over frames, then over films."""

    def one(clip: int) -> float:
        return float(measures.inside(films[clip].boxes[films[clip].found][None], regions[clip : clip + 1])[0])

    return _mean("inside", one, films, people)


def sway(films: Sequence[Seen], people: Sequence[str]) -> Number:
    """How far the face wanders from its mean place."""
    return _mean("sway", lambda clip: _sway(films[clip]), films, people)


def follows(left: Sequence[Seen], right: Sequence[Seen], moved: float, people: Sequence[str]) -> Number:
    """How far the face moves for each picture width that the region moves; `moved`: from left to right."""

    def one(clip: int) -> float:
        return float((right[clip].centre.mean(0) - left[clip].centre.mean(0))[0]) / moved

    return _mean("follows", one, left, people, right)


def wider_sways_more(narrow: Sequence[Seen], wide: Sequence[Seen], people: Sequence[str]) -> Number:
    """Sway in the wide region less that in the narrow one."""
    return _mean("more", lambda clip: _sway(wide[clip]) - _sway(narrow[clip]), narrow, people, wide)


def _sway(film: Seen) -> float:
    return float(measures.sway(film.centre[None])[0])


def _mean(
    name: str, one: Callable[[int], float], films: Sequence[Seen], people: Sequence[str], *others: Sequence[Seen]
) -> Number:
    """Mean of a number a film, over the films (and their others) that show enough of a face."""
    found = [[side[clip].found for side in (films, *others)] for clip in range(len(films))]

    def statistic(chosen: Sequence[int]) -> dict[str, float]:
        return {name: float(np.mean([one(clip) for clip in chosen]))}

    return _numbers((name,), statistic, found, people, NO_FACE)[name]


def _enough(found: NDArray[np.bool_]) -> bool:
    return bool(found.size) and float(found.mean()) >= ENOUGH


def _numbers(
    names: Sequence[str],
    statistic: Callable[[Sequence[int]], Mapping[str, float]],
    found: Sequence[Sequence[NDArray[np.bool_]]],
    people: Sequence[str],
    nothing: str,
) -> dict[str, Number]:
    """The statistic of the clips that can be used, as numbers; found: of each clip, the frames of each of its films in
    which there is something; nothing: why where no clip can be used."""
    used = [clip for clip, films in enumerate(found) if all(map(_enough, films))]
    speaking = sum(int(film.sum()) for clip in used or range(len(found)) for film in found[clip])
    frames = speaking, sum(len(film) for films in found for film in films)
    if not used:
        return {name: Number(None, None, *frames, nothing) for name in names}
    values = statistic(used)
    drawn = intervals(
        lambda chosen: statistic([used[place] for place in chosen]), [people[clip] for clip in used], DRAWS, 0
    )
    return {name: Number(float(values[name]), drawn.get(name), *frames) for name in names}
