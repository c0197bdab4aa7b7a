"""How a rendered head moves: a smooth path of known speed, and a mouth that follows the loudness of a voice."""

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter1d
from scipy.spatial.transform import Rotation

Array = NDArray[np.float64]

# Yaw, pitch, roll: amplitude in degrees and turns a second of a gentle head; two waves each, so that no path repeats.
WAVES = {
    "yaw": ((13.0, 0.31), (4.0, 0.83)),
    "pitch": ((5.0, 0.43), (2.0, 1.1)),
    "roll": ((4.0, 0.37), (1.5, 0.91)),
}
QUIET_DB, LOUD_DB = -45.0, -15.0  # loudness at which the mouth is closed, and fully open
HIGHEST_AMPLITUDE = 1.5  # of WAVES: beyond it the far cheek turns out of sight


def path(times: Array, speed: float, rng: np.random.Generator) -> Rotation:
    """Head rotations at the times (seconds), with a mean speed near `speed` degrees a frame at 30 fps.

    Faster heads first swing wider, up to HIGHEST_AMPLITUDE, then more often.
    """
    phases = rng.uniform(0, 2 * np.pi, 6)
    probe = np.arange(0, 20, 1 / 30)
    gentle = mean_speed(_waves(probe, 1.0, 1.0, phases), 30)
    amplitude = min(speed / gentle, HIGHEST_AMPLITUDE)
    return _waves(times, amplitude, speed / gentle / amplitude, phases)


def _waves(times: Array, amplitude: float, pace: float, phases: Array) -> Rotation:
    phase = iter(phases)
    yaw, pitch, roll = (
        amplitude * sum(a * np.sin(2 * np.pi * f * pace * times + next(phase)) for a, f in waves)
        for waves in WAVES.values()
    )
    return Rotation.from_euler("xyz", np.stack([pitch, yaw, roll], axis=1), degrees=True)


def speeds(turns: Rotation, fps: float) -> Array:
    """(F,) degrees a frame at 30 fps between successive rotations; the first frame repeats the second."""
    step = np.degrees((turns[1:] * turns[:-1].inv()).magnitude()) * fps / 30
    return np.concatenate([step[:1], step])


def mean_speed(turns: Rotation, fps: float) -> float:
    """Mean of `speeds`."""
    return float(speeds(turns, fps).mean())


def mouth(samples: NDArray[np.float32], rate: int, times: Array) -> Array:
    """(F,) mouth opening in [0, 1]: the voice's loudness around each time, from QUIET_DB to LOUD_DB, smoothed."""
    centres = np.round(times * rate).astype(int)
    half = rate // 50  # 40 ms windows
    padded = np.pad(samples.astype(np.float64), half)
    power = np.array([np.mean(padded[at : at + 2 * half] ** 2) for at in np.clip(centres, 0, len(samples))])
    level = (10 * np.log10(power + 1e-10) - QUIET_DB) / (LOUD_DB - QUIET_DB)
    frame = times[1] - times[0] if len(times) > 1 else 1.0
    return gaussian_filter1d(np.clip(level, 0, 1), 0.025 / frame)
