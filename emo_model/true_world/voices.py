"""What is heard: real recordings, as features of every frame and as the mouth opening that their loudness gives."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import gcd
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter1d
from scipy.signal import resample_poly

from emo_model.data.audio_encoders import FPS, RATE, load_encoder

TEMPI = (100, 88, 114)  # percent: a recording played slower and faster is other speech to learn from
RANGE_DB = 30.0  # from a shut mouth to a wide open one, which is as loud as the recording's loudest twentieth


@dataclass(frozen=True)
class Voice:
    """T frames at 30 fps. features (T, layers, width) float16 of the audio encoder, mouth (T,) in [0, 1]."""

    features: NDArray[np.float16]
    mouth: NDArray[np.float64]

    def __len__(self) -> int:
        return len(self.mouth)


def voices(recordings: Sequence[NDArray[np.float32]], tempi: Sequence[int] = TEMPI[:1]) -> list[Voice]:
    """Each recording ((N,) float in [-1, 1], 16 kHz mono) at each tempo."""
    encoder = load_encoder("whisper_tiny_encoder")
    found = []
    for samples in recordings:
        for tempo in tempi:
            played = resample_poly(samples, 100 // gcd(100, tempo), tempo // gcd(100, tempo)).astype(np.float32)
            count = len(played) * FPS // RATE
            found.append(Voice(encoder.features(played, count), mouth_of(played, count)))
    return found


def mouth_of(samples: NDArray[np.float32], count: int) -> NDArray[np.float64]:
    """(count,) loudness in 60 ms around each frame's middle, as an opening in [0, 1], smoothed over a frame."""
    middles = ((np.arange(count) + 0.5) * RATE / FPS).astype(int)
    half = int(0.03 * RATE)
    power = np.concatenate([[0.0], np.cumsum(np.square(samples, dtype=np.float64))])
    first, last = np.clip(middles - half, 0, len(samples)), np.clip(middles + half, 0, len(samples))
    level = 10 * np.log10((power[last] - power[first]) / (2 * half) + 1e-10)
    return gaussian_filter1d(np.clip((level - np.quantile(level, 0.95)) / RANGE_DB + 1, 0, 1), 1.0)


def recordings(folder: Path) -> tuple[list[NDArray[np.float32]], list[NDArray[np.float32]]]:
    """Of the sample folder (emo samples get): what is learned from, and what is kept for measuring."""
    from emo_model.generate.sound import read_sound

    long, short = (read_sound(folder / "voices" / f"{name}.wav").mono_16k() for name in ("silero_test", "obama_speech"))
    cut = 44 * RATE
    return [long[:cut]], [long[cut + RATE // 2 :], short]
