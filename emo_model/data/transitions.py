"""Fades and dissolves: how one shot turns into the next by and by. PySceneDetect sees the black of a fade, and no more.

    fade       the picture's contrast falls to that of a single colour, any colour, or rises from it
    dissolve   I_t = (1 - share) I_a + share I_b: between its ends the picture is a mixture of both

Movement and light are no mixture: what moves is not half here and half there, and light leaves the picture itself (I_b
is I_a times a number, plus one). A mixture of two unlike pictures also has less detail than either, by
(1 - share)^2 E_a + share^2 E_b where E is the energy of the Laplacian; a head that moves keeps its detail.
Only the last seconds are kept. How often it is right: benchmarks/shots.py.
"""

from collections import deque
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float32]

LOOK_PX, DETAIL_PX = 48, 128  # longer side of the pictures that are compared, and of the one whose detail is measured
STEP_S = 0.036  # at most 28 pictures a second are looked at
WINDOWS_S = (0.4, 0.8, 1.4, 2.0)
MIXED = (0.25, 0.75)  # shares at which a picture is clearly a mixture
MIN_MIXED = 3  # such pictures in a dissolve; a cut has none
MIN_CHANGE = 12.0  # grey levels by which the ends differ (root mean square), beyond what light explains
MAX_RESIDUAL = 0.4  # of the mixtures, re the difference between the ends
MIN_LESS_DETAIL = 0.7  # of the loss of detail that a mixture has
MIN_DETAIL = 4.0  # squared grey levels of the Laplacian that a mixture would lose; smooth pictures say nothing
ENDS = (0.05, 0.95)  # shares from which a picture counts as mixed
CHANGED, CHANGED_MOST = 12.0, 60.0  # grey levels: where detail is measured, and how much one place counts
SINGLE_COLOUR = 6.0  # grey levels of contrast (standard deviation)
SLOPE = 0.2  # grey levels of contrast from one picture to the next: less is no fade
MIN_FADE, MAX_FADE = 3, 100  # pictures
MAX_UNLIKE = 0.7  # of the contrast of a picture that has faded halfway


@dataclass(frozen=True)
class Seen:
    """One picture: its frame number, grey values, and detail at the same places."""

    number: int
    grey: Array
    detail: Array

    @property
    def contrast(self) -> float:
        """Standard deviation of the grey values."""
        return float(self.grey.std())


class TransitionDetector:
    """Sees a video's frames in order; `found` are stretches [begin, end) of frames that belong to no shot."""

    def __init__(self) -> None:
        self._seen: deque[Seen] = deque(maxlen=round(max(WINDOWS_S) / STEP_S) + 1)
        self._times: deque[float] = deque(maxlen=self._seen.maxlen)
        self._number = 0
        self._looks = 0
        self._fade = _Fade()
        self.found: list[tuple[int, int]] = []

    def see(self, t_s: float, picture: NDArray[np.uint8]) -> None:
        """Take the next frame, (H, W, 3) RGB."""
        number, self._number = self._number, self._number + 1
        if self._times and t_s - self._times[-1] < STEP_S:
            return
        seen = _look(number, picture)
        if self._seen and seen.grey.shape != self._seen[-1].grey.shape:
            self._seen.clear()
            self._times.clear()
        self._seen.append(seen)
        self._times.append(t_s)
        self._looks += 1
        self.found += self._fade.see(seen)
        if self._looks % 2 == 0:
            self.found += self._dissolves(t_s)

    def end(self) -> list[tuple[int, int]]:
        """All stretches, in order and apart, once the last frame was seen."""
        joined: list[tuple[int, int]] = []
        for begin, end in sorted([*self.found, *self._fade.end(self._number)]):
            if joined and begin <= joined[-1][1]:
                joined[-1] = joined[-1][0], max(end, joined[-1][1])
            else:
                joined.append((begin, end))
        return joined

    def _dissolves(self, now_s: float) -> list[tuple[int, int]]:
        times, seen = np.array(self._times), list(self._seen)
        found = []
        for length in WINDOWS_S:
            first = int(np.searchsorted(times, now_s - length - STEP_S / 2))
            if times[0] <= now_s - length + STEP_S and len(seen) - first >= MIN_MIXED + 2:
                stretch = dissolve(seen[first:])
                found += [stretch] if stretch else []
        return found


def dissolve(seen: list[Seen]) -> tuple[int, int] | None:
    """The mixed frames [begin, end) between the first and the last of these pictures, if they are a dissolve."""
    a, b = seen[0].grey, seen[-1].grey
    change = b - a
    size = float(change @ change)
    if size < MIN_CHANGE**2 * len(a) or _unlike(a, b) < MIN_CHANGE:
        return None
    moved = np.stack([each.grey for each in seen]) - a
    share = moved @ change / size
    mixed = (share > MIXED[0]) & (share < MIXED[1])
    if mixed.sum() < MIN_MIXED or np.abs(np.diff(share)).sum() > 1.5:  # to and fro is movement
        return None
    left = moved[mixed] - share[mixed, None] * change
    if np.sqrt((left**2).sum(axis=1) / size).mean() > MAX_RESIDUAL:
        return None
    if _less_detail(seen, np.abs(change), share, mixed) < MIN_LESS_DETAIL:
        return None
    before, after = np.flatnonzero(share < ENDS[0]), np.flatnonzero(share > ENDS[1])
    middle = int(np.flatnonzero(mixed)[0])
    begin = seen[int(before[before < middle].max(initial=0))].number + 1
    return begin, seen[int(after[after > middle].min(initial=len(seen) - 1))].number


def _less_detail(
    seen: list[Seen], change: NDArray[np.floating], share: NDArray[np.floating], mixed: NDArray[np.bool_]
) -> float:
    """Detail lost in the mixed pictures where the ends differ, as a share of what unlike pictures lose when mixed."""
    places = np.where(change > CHANGED, np.minimum(change, CHANGED_MOST), 0)
    detail = np.array([float(each.detail @ places) for each in seen])
    kept = (1 - share) * detail[0] + share * detail[-1]
    lost = share * (1 - share) * (detail[0] + detail[-1])
    if lost[mixed].mean() < MIN_DETAIL * places.sum():
        return 0.0  # too little detail to tell
    return float(((kept - detail)[mixed] / lost[mixed]).mean())


def _unlike(a: Array, b: Array) -> float:
    """How much two pictures differ beyond light: what is left of b after the best number times a, plus one."""
    a, b = a - a.mean(), b - b.mean()
    gain = float(a @ b) / max(float(a @ a), 1e-6)
    return float(np.sqrt(((b - gain * a) ** 2).mean()))


def _look(number: int, picture: NDArray[np.uint8]) -> Seen:
    import cv2

    height, width = picture.shape[:2]
    grey = cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY)
    fine = cv2.resize(grey, _fit(width, height, DETAIL_PX), interpolation=cv2.INTER_AREA)
    size = _fit(width, height, LOOK_PX)
    detail = cv2.resize(cv2.Laplacian(fine, cv2.CV_32F) ** 2, size, interpolation=cv2.INTER_AREA)
    coarse = cv2.resize(fine, size, interpolation=cv2.INTER_AREA)
    return Seen(number, coarse.ravel().astype(np.float32), detail.ravel())


def _fit(width: int, height: int, longer: int) -> tuple[int, int]:
    return max(8, round(width * longer / max(width, height))), max(8, round(height * longer / max(width, height)))


class _Fade:
    """Contrast that falls to a single colour, or rises from it, while the picture stays the same."""

    def __init__(self) -> None:
        self._past: deque[Seen] = deque(maxlen=MAX_FADE)
        self._begin = 0
        self._legs = 0  # pictures in the fall and the rise
        self._rise: list[Seen] = []
        self._state = "picture"

    def see(self, seen: Seen) -> list[tuple[int, int]]:
        """The stretch that ended with the picture before this one, if one did."""
        found: list[tuple[int, int]] = []
        if self._state == "rising" and (seen.contrast < self._rise[-1].contrast + SLOPE or len(self._rise) == MAX_FADE):
            found, self._state = self._close(seen.number), "picture"
        if seen.contrast <= SINGLE_COLOUR:
            if self._state == "picture":
                self._begin, self._legs = self._fell_from(seen)
            self._state, self._rise = "single", []
        elif self._state != "picture":
            self._state = "rising"
            self._rise.append(seen)
        self._past.append(seen)
        return found

    def end(self, count: int) -> list[tuple[int, int]]:
        """The stretch that lasts to the end of the video's `count` frames."""
        return [] if self._state == "picture" else self._close(count)

    def _close(self, number: int) -> list[tuple[int, int]]:
        legs = self._legs
        if self._rise and _same(self._rise[-1], self._rise[len(self._rise) // 2]):
            legs += len(self._rise)
        return [(self._begin, number)] if legs >= MIN_FADE else []

    def _fell_from(self, seen: Seen) -> tuple[int, int]:
        """(first frame of the fall to this one, pictures in it)."""
        fall = [seen]
        for before in reversed(self._past):
            if before.grey.shape != seen.grey.shape or before.contrast < fall[-1].contrast + SLOPE:
                break
            fall.append(before)
        if len(fall) < 2 or not _same(fall[-1], fall[len(fall) // 2]):
            return seen.number, 0
        return fall[-1].number + 1, len(fall) - 1


def _same(bright: Seen, dim: Seen) -> bool:
    """Whether the dimmer picture is the other one in another light: somebody who leaves takes contrast along too."""
    return _unlike(bright.grey, dim.grey) < MAX_UNLIKE * max(dim.contrast, 1.0)
