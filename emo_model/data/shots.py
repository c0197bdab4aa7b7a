"""Shots: where one continuous take ends and the next begins (PySceneDetect, fed frame by frame).

The detector is the adaptive one: a cut is a frame that differs far more from the one before than its neighbours do,
so a waving hand is no cut. Fades and dissolves, which it does not see, are stretches of their own (transitions.py).
The other detector, TransNetV2 (transnet.py), sees all three. Both look at small pictures and answer late.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from emo_model.data.annotations import Range
from emo_model.data.transitions import TransitionDetector

LOOK_PX = 256  # longer side of the picture the detector compares; PySceneDetect's own choice for large videos' width
MIN_SHOT_FRAMES = 5  # a flash is two cuts in a row, and none
# How much a cut differs from the frame before: the threshold of PySceneDetect's other detector. Its adaptive default,
# 15, takes fast movement in footage with repeated frames for cuts; on real films movement reached 24, cuts began at 32.
MIN_CHANGE = 27.0


@dataclass(frozen=True)
class Shot:
    """Source frames [begin, end) of one shot, shown from start_s to end_s on the video's clock."""

    number: int
    begin: int
    end: int
    start_s: float
    end_s: float
    is_transition: bool = False  # a fade or dissolve: the way from one shot to the next
    within: Range | None = None  # the annotated stretch, if only that part of the shot is used

    @property
    def name(self) -> str:
        """What its rejects are called, after their video."""
        return f"{self.number}" if self.within is None else f"{self.number}:{self.within.id}"

    @property
    def row(self) -> dict[str, Any]:
        """The shot's row in `shots`, without its video."""
        return {
            "shot": self.number,
            "start_frame": self.begin,
            "end_frame": self.end,
            "start_s": self.start_s,
            "end_s": self.end_s,
            "is_transition": self.is_transition,
        }


@dataclass(frozen=True)
class Boundaries:
    """What parts a video's shots: first frames after cuts, and stretches [begin, end) of fades and dissolves."""

    cuts: list[int]
    transitions: list[tuple[int, int]]


class ShotDetector(Protocol):
    """Sees a video's frames in order, (H, W, 3) RGB at t_s seconds, and in the end says what parts its shots."""

    def see(self, t_s: float, picture: NDArray[np.uint8]) -> None: ...

    def end(self) -> Boundaries: ...


def shot_detector(name: str) -> ShotDetector:
    """A new detector by its name in DataConfig. UserError where its weights are missing."""
    if name == "transnetv2":
        from emo_model.data.transnet import TransNetShots

        return TransNetShots()
    return AdaptiveShots()


class AdaptiveShots:
    """Cuts by PySceneDetect's adaptive detector, fades and dissolves by transitions.py."""

    def __init__(self) -> None:
        from scenedetect.detectors import AdaptiveDetector

        self._detector = AdaptiveDetector(min_scene_len=MIN_SHOT_FRAMES, min_content_val=MIN_CHANGE)
        self._transitions = TransitionDetector()
        self._seen = 0
        self._cuts: list[int] = []

    def see(self, t_s: float, picture: NDArray[np.uint8]) -> None:
        """Take the next frame."""
        import cv2
        from scenedetect import FrameTimecode

        height, width = picture.shape[:2]
        scale = min(1.0, LOOK_PX / max(width, height))
        size = (max(1, round(width * scale)), max(1, round(height * scale)))
        thinned = picture[:: (step := max(1, int(0.5 / scale))), ::step]  # still two pixels a side for each one
        small = cv2.resize(thinned, size, interpolation=cv2.INTER_AREA)
        # Frame numbers are all the detector uses of its clock: the rate is a formality. It wants BGR.
        now, turned = FrameTimecode(self._seen, fps=25.0), np.ascontiguousarray(small[..., ::-1])
        self._cuts += [cut.frame_num for cut in self._detector.process_frame(now, turned)]
        self._transitions.see(t_s, small)
        self._seen += 1

    def end(self) -> Boundaries:
        """All of them."""
        return Boundaries(self._cuts, self._transitions.end())


def shots_between(found: Boundaries, times: NDArray[np.float64], end_s: float) -> list[Shot]:
    """The shots, and the transitions between them: together they cover every source frame once. times (N,) seconds."""
    inside = {edge for begin, end in found.transitions for edge in range(begin + 1, end)}
    edges = sorted({0, *(set(found.cuts) - inside), *(edge for pair in found.transitions for edge in pair), len(times)})
    starts, transitions = [*times[edges[:-1]], end_s], set(found.transitions)
    return [
        Shot(number, begin, end, float(starts[number]), float(starts[number + 1]), (begin, end) in transitions)
        for number, (begin, end) in enumerate(pairwise(edges))
    ]


def annotated(shots: Sequence[Shot], ranges: Sequence[Range], times: NDArray[np.float64]) -> list[Shot]:
    """The parts of shots that lie in annotated stretches. Where two overlap, the first has the frames of both."""
    owner = np.full(len(times), -1)
    for number, stretch in reversed(list(enumerate(ranges))):
        owner[(times >= stretch.start_s) & (times < stretch.end_s)] = number
    parts = []
    for shot in shots:
        inside = owner[shot.begin : shot.end]
        edges = [0, *(np.flatnonzero(np.diff(inside)) + 1), len(inside)]
        for begin, end in pairwise(int(edge) + shot.begin for edge in edges):
            if owner[begin] >= 0:
                end_s = float(times[end]) if end < shot.end else shot.end_s
                parts.append(
                    replace(
                        shot,
                        begin=begin,
                        end=end,
                        start_s=float(times[begin]),
                        end_s=end_s,
                        within=ranges[owner[begin]],
                    )
                )
    return parts
