"""Fingerprints of a clip's sound and face that outlive re-encoding, resizing and another cut.

    sound_hash    a 32-bit word every 32 ms: does the energy of 33 bands rise or fall, against its neighbour and against
                  the word before (Haitsma and Kalker, ISMIR 2002)? No loudness, no absolute time
    face_hash     a 64-bit word every 1/6 s: perceptual hash of the face's surroundings, not of the crop, whose square
                  depends on where the clip was cut; 0 where no face was found

Both are little-endian words, so that two clips are compared word by word at any offset.
"""

import numpy as np
from numpy.typing import NDArray

RATE, HOP, WINDOW = 16_000, 512, 8192  # samples
BANDS, LOWEST_HZ, HIGHEST_HZ = 33, 300.0, 3000.0
FACE_EVERY = 5  # frames of a clip, at 30 fps
AROUND = 0.25  # of the face box's sides, added on each side
_QUIET = 1e-9  # mean square of a window in which only the codec speaks

Words32 = NDArray[np.uint32]
Words64 = NDArray[np.uint64]


def sound_words(samples: NDArray[np.float32]) -> Words32:
    """(N,) samples at 16 kHz in [-1, 1] -> (T,) words; word t stands for the window that starts at t * HOP.

    Digital silence gives words of 0, which `near_duplicates` never looks up.
    """
    if len(samples) < WINDOW + HOP:
        return np.zeros(0, np.uint32)
    windows = np.lib.stride_tricks.sliding_window_view(samples.astype(np.float64), WINDOW)[::HOP]
    power = np.abs(np.fft.rfft(windows * np.hanning(WINDOW), axis=1)) ** 2
    edges = np.geomspace(LOWEST_HZ, HIGHEST_HZ, BANDS + 1) * WINDOW / RATE
    energy = np.add.reduceat(power[:, : round(edges[-1])], np.round(edges[:-1]).astype(int), axis=1)
    slope = np.diff(energy, axis=1)
    bits = np.diff(slope, axis=0) > 0
    bits[(windows[1:] ** 2).mean(axis=1) < _QUIET] = False
    return np.packbits(bits, axis=1, bitorder="little").view("<u4").ravel()


def face_word(picture: NDArray[np.uint8], box: NDArray[np.float64]) -> np.uint64:
    """(H, W, 3) RGB and its face box (4,) in pixels -> a word: signs of the 8 x 8 lowest cosine frequencies."""
    height, width = picture.shape[:2]
    x0, y0, x1, y1 = box
    more_x, more_y = (x1 - x0) * AROUND, (y1 - y0) * AROUND
    left, top = int(max(round(x0 - more_x), 0)), int(max(round(y0 - more_y), 0))
    right, bottom = int(min(round(x1 + more_x), width)), int(min(round(y1 + more_y), height))
    if right - left < 8 or bottom - top < 8:
        return np.uint64(0)
    return np.packbits(signs(picture[top:bottom, left:right]), bitorder="little").view("<u8")[0]


def signs(picture: NDArray[np.uint8]) -> NDArray[np.bool_]:
    """(H, W, 3) RGB -> (64,) signs of the 8 x 8 lowest cosine frequencies against their median."""
    import cv2

    grey = cv2.cvtColor(np.ascontiguousarray(picture), cv2.COLOR_RGB2GRAY)
    low = cv2.dct(cv2.resize(grey, (32, 32), interpolation=cv2.INTER_AREA).astype(np.float32))[:8, :8].ravel()
    return low > np.median(low[1:])  # the first is the mean brightness


MIRROR = np.packbits(np.tile([False, True], 32), bitorder="little").view("<u8")[0]  # bits that a mirror turns round
