"""How a head turns, and where in the picture it is: smooth random paths of known speed."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter1d
from scipy.spatial.transform import Rotation

from emo_model.data.audio_encoders import FPS
from emo_model.talking_set.motion import speeds

Array = NDArray[np.float64]

CONE = np.array([32.0, 18.0])  # degrees of yaw and of pitch to either side that a head turns
SPEEDS = (0.3, 5.0)  # degrees a frame: a clip's own speed is drawn from here
RADIUS = (0.28, 0.33)  # of a head, in picture widths
SWAY = (0.0, 0.1)  # how far a head moves with its turning, in picture widths at the cone's edge
EDGE = 0.02


@dataclass(frozen=True)
class Path:
    """T frames. rotations: head to camera; centre (T, 2) x y and radius in picture widths; speed (T,) degrees a
    frame, the geodesic angle from the frame before (the first frame repeats the second)."""

    rotations: Rotation
    centre: Array
    radius: float
    speed: Array


def path(frames: int, rng: np.random.Generator) -> Path:
    """One clip's path. The speed wanders about the clip's own, so it is not known from a few frames alone."""
    wander = _smooth_noise(frames, 8.0, rng)
    aims = np.clip(rng.uniform(*SPEEDS) * np.exp(0.45 * wander), 0.05, 1.3 * SPEEDS[1])
    yaw_pitch = _orbit(aims, rng)
    roll = 0.25 * yaw_pitch[:, 0]
    rotations = Rotation.from_euler("zyx", np.stack([roll, yaw_pitch[:, 0], yaw_pitch[:, 1]], 1), degrees=True)
    radius = rng.uniform(*RADIUS)
    return Path(rotations, _centres(yaw_pitch, radius, rng), radius, speeds(rotations, FPS))


def _orbit(aims: Array, rng: np.random.Generator) -> Array:
    """(T, 2) yaw and pitch: round and round a loop that slowly changes its shape, each step as long as aimed."""
    frames = len(aims)
    wide, high = (c * np.clip(rng.uniform(0.5, 1.0) + 0.1 * _smooth_noise(frames, 45.0, rng), 0.3, 1.0) for c in CONE)
    phase, way = rng.uniform(0, 2 * np.pi), rng.choice((-1.0, 1.0))
    found = np.empty((frames, 2))
    for frame, aim in enumerate(aims):
        found[frame] = wide[frame] * np.cos(phase), high[frame] * np.sin(phase)
        phase += way * aim / np.hypot(wide[frame] * np.sin(phase), high[frame] * np.cos(phase))
    return found


def _centres(yaw_pitch: Array, radius: float, rng: np.random.Generator) -> Array:
    """(T, 2): a place that drifts through the picture in seconds, and about it the way of a head on its neck, which
    turns below it: so far a clip's heads sway that the four frames before tell where the next ones go."""
    sway = rng.uniform(*SWAY)
    room = 0.5 - radius - EDGE
    drift = 0.7 * room * np.stack([_smooth_noise(len(yaw_pitch), 45.0, rng) for _ in range(2)], 1)
    return 0.5 + np.clip(drift + sway * yaw_pitch / CONE, -room, room)


def _smooth_noise(frames: int, sigma: float, rng: np.random.Generator) -> Array:
    """(T,) of unit variance, smooth over `sigma` frames."""
    edge = int(4 * sigma)
    noise = gaussian_filter1d(rng.normal(size=frames + 2 * edge), sigma)[edge : edge + frames]
    return noise * np.sqrt(2 * sigma * np.sqrt(np.pi))
