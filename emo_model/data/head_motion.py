"""Head pose and head rotation speed w of every frame (sections 3.2 "Speed Layers" and 4.1).

    4x4 face transforms at the source's own timestamps
      -> rotations (SVD) -> quaternions in one hemisphere
      -> pose of the clip's 30 fps frames: slerp                                        step head_pose
      -> w = 2 atan2(|Im q|, |Re q|) between successive source frames -> 30 fps frames   step head_speed

Speeds are measured between source frames and then brought to 30 fps: where 25 fps footage shows a frame twice, the
head did not stop. Where a face is lost for more than 5 source frames the pose and the speed are unknown (null).
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

FPS = 30.0
MAX_LOST = 5  # source frames without a face that slerp may bridge
SIGMA_S = 1 / FPS  # smoothing: gaussian, sigma of one frame
TICK_S = 1e-6  # timestamps closer than this are the same instant

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Track:
    """Head poses of one shot at the source's own timestamps; only frames with a face have a pose.

    times (N,) seconds of all source frames, increasing; found (N,) bool; quaternions (K, 4) w x y z, unit, one
    hemisphere; translations (K, 3) cm, for the K found frames.
    """

    times: Array
    found: NDArray[np.bool_]
    quaternions: Array
    translations: Array

    @classmethod
    def from_matrices(cls, times: Array, found: NDArray[np.bool_], matrices: Array) -> "Track":
        """From the landmarker's face transforms, matrices (K, 4, 4) of the K found frames."""
        return cls(times, found, quaternions(matrices[:, :3, :3]), matrices[:, :3, 3])

    @property
    def known_times(self) -> Array:
        """(K,) seconds of the frames with a face."""
        return self.times[self.found]

    @property
    def bridged(self) -> NDArray[np.bool_]:
        """(K - 1,) whether at most MAX_LOST frames are missing between one found frame and the next."""
        return np.diff(np.flatnonzero(self.found)) <= MAX_LOST + 1


@dataclass(frozen=True)
class Poses:
    """Head poses of a clip's F frames. quaternions (F, 4) w x y z and translations (F, 3) cm are NaN where unknown."""

    quaternions: Array
    translations: Array
    found: NDArray[np.bool_]  # a face in the source frames on either side
    shown: NDArray[np.int64]  # index of the source frame on screen: the last one not after the clip's frame

    @property
    def euler(self) -> Array:
        """(F, 3) pitch, yaw, roll in degrees (scipy 'xyz'), NaN where unknown."""
        from scipy.spatial.transform import Rotation  # where it is used: 0.3 s that every Dagster process would pay

        angles = np.full((len(self.quaternions), 3), np.nan)
        known = ~np.isnan(self.quaternions[:, 0])
        if known.any():
            rotations = Rotation.from_quat(self.quaternions[known], scalar_first=True)
            angles[known] = rotations.as_euler("xyz", degrees=True)
        return angles


def quaternions(matrices: Array) -> Array:
    """Nearest rotations (SVD) of (K, 3, 3) matrices as (K, 4) quaternions w x y z in one hemisphere."""
    from scipy.spatial.transform import Rotation

    if len(matrices) == 0:
        return np.empty((0, 4))
    left, _, right = np.linalg.svd(matrices)
    left[:, :, 2] *= np.sign(np.linalg.det(left @ right))[:, None]  # a rotation, never a reflection
    return continuous(Rotation.from_matrix(left @ right).as_quat(scalar_first=True))


def continuous(q: Array) -> Array:
    """Flip signs so that successive quaternions lie in one hemisphere: q and -q are the same rotation."""
    flips = np.where(np.sum(q[1:] * q[:-1], axis=1) < 0, -1.0, 1.0)
    return q * np.cumprod(np.concatenate([[1.0], flips]))[:, None]


def angles(q: Array) -> Array:
    """(K - 1,) degrees between successive unit quaternions (K, 4).

    2 atan2(|Im|, |Re|) of the relative rotation. The arccos of a trace would return 0 below 0.02 degrees in float32.
    """
    from scipy.spatial.transform import Rotation

    rotations = Rotation.from_quat(q, scalar_first=True)
    relative = (rotations[1:] * rotations[:-1].inv()).as_quat(scalar_first=True)
    return np.degrees(2 * np.arctan2(np.linalg.norm(relative[:, 1:], axis=1), np.abs(relative[:, 0])))


def smooth(times: Array, q: Array, sigma_s: float = SIGMA_S) -> Array:
    """Gaussian smoothing of quaternions at any timestamps, as a local line rather than a local mean.

    On a regular grid, away from the ends, the two are the same. A local mean pulls the ends, and the sides of a gap,
    inwards, and so slows a steadily turning head down there.
    """
    smoothed = np.empty_like(q)
    for row, now in enumerate(times):
        near = slice(*np.searchsorted(times, [now - 5 * sigma_s, now + 5 * sigma_s]))
        offset = times[near] - now
        weight = np.exp(-0.5 * (offset / sigma_s) ** 2)
        s0, s1, s2 = weight.sum(), (weight * offset).sum(), (weight * offset**2).sum()
        slope_known = s0 * s2 - s1 * s1 > 1e-6 * s0 * s0 * sigma_s**2
        line = weight * (s2 - s1 * offset) if slope_known else weight
        smoothed[row] = line @ q[near]
    return smoothed / np.linalg.norm(smoothed, axis=1, keepdims=True)


def clip_times(start_s: float, num_frames: int) -> Array:
    """(F,) seconds in the source at which a clip's frames are shown (the time rule)."""
    return start_s + np.arange(num_frames) / FPS


def poses_at(track: Track, at: Array) -> Poses:
    """The track's poses at the times `at` (F,), by slerp between the source frames on either side."""
    shown = np.clip(np.searchsorted(track.times, at + TICK_S, side="right") - 1, 0, len(track.times) - 1)
    exact = np.abs(at - track.times[shown]) <= TICK_S
    after = np.where(exact, shown, np.minimum(shown + 1, len(track.times) - 1))
    found = track.found[shown] & track.found[after]
    q, translation = np.full((len(at), 4), np.nan), np.full((len(at), 3), np.nan)
    known = found | _inside(track, at, track.bridged)
    if known.any():
        q[known] = continuous(_slerp(track, at[known]))
        translation[known] = np.stack(
            [np.interp(at[known], track.known_times, axis) for axis in track.translations.T], axis=1
        )
    return Poses(q, translation, found, shown)


def _slerp(track: Track, at: Array) -> Array:
    from scipy.spatial.transform import Rotation, Slerp

    times = track.known_times
    if len(times) == 1:
        return np.repeat(track.quaternions, len(at), axis=0)
    slerp = Slerp(times, Rotation.from_quat(track.quaternions, scalar_first=True))
    return slerp(np.clip(at, times[0], times[-1])).as_quat(scalar_first=True)


def _inside(track: Track, at: Array, segments: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """(F,) whether each time lies in one of the marked (K - 1,) stretches between found frames."""
    times = track.known_times
    if len(times) < 2:
        return np.zeros(len(at), bool)
    segment = np.searchsorted(times, at, side="right") - 1
    within = (segment >= 0) & (segment < len(segments))
    return within & segments[np.clip(segment, 0, len(segments) - 1)]


def speeds_at(track: Track, at: Array, *, smoothed: bool) -> Array:
    """Head rotation speed w at a clip's frames (F,), degrees a frame at 30 fps; NaN where unknown.

    The angle turned since the clip's frame before, along the source frames between the two; w_0 = w_1. At the ends of
    the track, where a frame's interval is covered only in part, the rate of the covered part counts.
    """
    times, segments = track.known_times, track.bridged
    if len(times) < 2:
        return np.full(len(at), np.nan)
    q = smooth(times, track.quaternions) if smoothed else track.quaternions
    turned = np.concatenate([[0.0], np.cumsum(np.where(segments, angles(q), 0.0))])
    covered = np.concatenate([[0.0], np.cumsum(np.where(segments, np.diff(times), 0.0))])
    turned_by, covered_by = np.interp(at, times, turned), np.interp(at, times, covered)
    inside = np.diff(np.clip(at, times[0], times[-1]))  # what was there to be covered
    seconds = np.diff(covered_by)
    known = (seconds > TICK_S) & (inside - seconds < TICK_S)
    speed = np.full(len(at), np.nan)
    speed[1:][known] = np.diff(turned_by)[known] / seconds[known] / FPS
    if len(speed) > 1:
        speed[0] = speed[1]
    return speed
