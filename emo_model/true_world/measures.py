"""Whether each control does its work: functions on what the estimator saw. One letter a bar of the proof.

Shapes: V videos, T frames. Lengths in picture widths, angles in degrees, speeds in degrees a frame.
"""

import numpy as np
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

from emo_model.data.audio_encoders import FPS
from emo_model.data.head_motion import angles, continuous, smooth
from emo_model.true_world.people import distances

Array = NDArray[np.float64]


def knows_person(seen: Array, portraits: Array, own: NDArray[np.int64]) -> NDArray[np.bool_]:
    """(a) Whether each video shows its own portrait rather than any other of the gallery.

    seen (V, TRAITS) by video, portraits (P, TRAITS) of the gallery, own (V,) index of each video's portrait.
    """
    return distances(seen, portraits).argmin(axis=1) == own


def mouth_follows(mouth: Array, voice: Array) -> Array:
    """(b) (V,) correlation of mouth opening (V, T) and what the voice asks for (V, T)."""
    m, v = (x - x.mean(axis=1, keepdims=True) for x in (mouth, voice))
    return (m * v).sum(1) / np.sqrt((m**2).sum(1) * (v**2).sum(1) + 1e-12)


def head_speed(euler: Array) -> Array:
    """(c) euler (V, T, 3) degrees (roll, yaw, pitch) -> (V, T - 1) degrees a frame, as the data's labels are made:
    rotations smoothed over a frame, then the angle between successive ones (data/head_motion.py)."""
    times = np.arange(euler.shape[1]) / FPS
    turned = [Rotation.from_euler("zyx", each, degrees=True).as_quat(scalar_first=True) for each in euler]
    return np.stack([angles(smooth(times, continuous(q))) for q in turned])


def table_2(speed: Array) -> dict[str, float]:
    """(c) Mean velocity, mean variance within a clip, variance of the clips' means. speed (V, T)."""
    return {
        "mean velocity": float(speed.mean()),
        "velocity variance": float(speed.var(axis=1).mean()),
        "VMV": float(speed.mean(axis=1).var()),
    }


def inside(boxes: Array, regions: Array) -> Array:
    """(d) (V,) share of the head's box within the region, mean over frames. boxes (V, T, 4), regions (V, 4)."""
    low = np.maximum(boxes[..., :2], regions[:, None, :2])
    high = np.minimum(boxes[..., 2:], regions[:, None, 2:])
    both = np.clip(high - low, 0, None).prod(-1)
    return (both / (boxes[..., 2:] - boxes[..., :2]).prod(-1)).mean(axis=1)


def sway(centre: Array) -> Array:
    """(d) (V,) how far the head wanders: root mean square distance from its mean place. centre (V, T, 2)."""
    return np.sqrt(((centre - centre.mean(axis=1, keepdims=True)) ** 2).sum(-1).mean(1))


def seam_ratio(pixels: NDArray[np.float32], frames: int) -> Array:
    """(e) (V,) mean jump from one frame to the next at seams of clips of `frames`, over the mean jump within them.

    pixels (V, T, ...); a jump is the root mean square difference.
    """
    flat = pixels.reshape(*pixels.shape[:2], -1)
    jumps = np.sqrt(((flat[:, 1:] - flat[:, :-1]) ** 2).mean(-1))
    seams = np.arange(1, flat.shape[1]) % frames == 0
    return jumps[:, seams].mean(1) / jumps[:, ~seams].mean(1)
