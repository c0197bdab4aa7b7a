"""Where music plays, under speech too: Continuous Frequency Activation (Seyerlehner, Pohle, Schedl, Widmer: Automatic
music detection in television productions, DAFx 2007).

A tone that an instrument holds is a line in the spectrogram that stays in its place; a voice's lines glide. The peaks
above their neighbours in frequency are marked, and how often each frequency is marked within a block of 2.3 s is that
frequency's activation. The sum of the five steepest peaks of the activation is high where tones are held.
"""

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray
from scipy.ndimage import uniform_filter1d
from scipy.signal import find_peaks, resample_poly

RATE = 11_025  # hertz
SIZE, HOP = 1024, 256  # samples of a window (Hann), and from one to the next
NEIGHBOURS = 21  # bins whose mean a peak must exceed
MARKED = 0.1  # by this much, in log10 of the magnitude; ours, as are HUM and MUSIC: see benchmarks/scores_sound.py
BLOCK = 100  # windows of a block; blocks overlap by half
PEAKS = 5
HUM = 0.8  # a line that stands for this share of the whole clip is mains hum or a fan, and is left out
MUSIC = 3.1  # from this sum on (of at most 5) a block is music


def activation_sums(samples: NDArray[np.float32], rate: int = 16_000) -> NDArray[np.float64]:
    """(blocks,) sum of the five steepest activation peaks, of blocks 1.16 s apart; one block where the sound is short.

    samples (N,) mono in [-1, 1].
    """
    sound = resample_poly(samples.astype(np.float64), RATE, rate)
    sound = np.pad(sound, (0, max(0, SIZE - len(sound))))
    windows = sliding_window_view(sound, SIZE)[::HOP] * np.hanning(SIZE)
    level = np.log10(np.maximum(np.abs(np.fft.rfft(windows)), 1e-3))  # -60 dB of one: what is below is silence
    marked = level - uniform_filter1d(level, NEIGHBOURS, axis=1) > MARKED
    marked[:, marked.mean(axis=0) > HUM] = False
    starts = range(0, max(len(marked) - BLOCK, 0) + 1, BLOCK // 2)
    return np.array([_steepest(marked[start : start + BLOCK].mean(axis=0)) for start in starts])


def _steepest(activation: NDArray[np.float64]) -> float:
    """Sum of the highest peaks, each measured from the higher of the valleys beside it (its prominence)."""
    _, found = find_peaks(activation, prominence=0)
    return float(np.sort(found["prominences"])[-PEAKS:].sum())


def music_fraction(samples: NDArray[np.float32]) -> float:
    """Share of the sound (N,), 16 kHz mono, in which music plays."""
    return float(np.mean(activation_sums(samples) >= MUSIC))
