"""LSE-C, LSE-D and the offset: SyncNet's pipeline on arrays (joonson/syncnet_python, SyncNetInstance).

25 fps. Window i is video frames i..i+4 and MFCC frames 4i..4i+19. Every video window is compared with the
sound's windows shifted by -15..+15; the mean distance over windows is a curve over the shift, and
    LSE-D = its minimum,  LSE-C = median - minimum,  offset = 15 - argmin (positive: the sound leads).

`padding="reference"` fills shifts past the sound's end with zero vectors, as the published numbers do; that
biases LSE-C by the clip's length. `"valid"` averages over real overlap only; its numbers are `syncnet_valid` and
`lse_d_valid`. Faces are found by S3FD, as in the reference; with the landmarker's extent in its place the name is
`syncnet[mediapipe-crop]`. One deviation: frames arrive in memory ("clean"), not through JPEG and XVID, which cost
30 dB.
"""

from collections.abc import Callable, Sequence
from typing import Literal

import numpy as np
import torch
from scipy.fft import dct
from scipy.signal import medfilt

from emo_model import weights

from .extractors import Extractor
from .s3fd import load_s3fd, track
from .scores import Observation, Score, counted, require_found
from .syncnet import SyncNet, load_syncnet
from .video import SOUND_RATE, Video, resample_indices

FPS, MAX_SHIFT, WINDOW = 25, 15, 5
MFCC_PER_FRAME, MFCC_WINDOW = 4, 20
CROP_SCALE, CROP_PAD, CROP_SIZE = 0.40, 110, 224


class SyncNetScore:
    """Observes (W, 31) distances of every window to the shifted sound."""

    def __init__(self, extractor: Extractor) -> None:
        self.network = load_syncnet(weights.path("syncnet"))
        self.boxes = _s3fd_boxes() if extractor.is_reference else _landmarker_boxes

    def observe(self, video: Video) -> Observation:
        frames = video.at(FPS)
        windows = max(1, len(frames) - WINDOW)
        if video.sound is None:
            return Observation.nothing(windows, "no sound")
        boxes = self.boxes(video)
        seen = longest_run(np.isfinite(boxes[:, 0]))
        samples = SOUND_RATE // FPS
        sound = video.sound[seen.start * samples : seen.stop * samples]
        if window_count(seen.stop - seen.start, len(sound)) < 1:
            return Observation.nothing(windows, "no face for as long as a window of 0.2 s")
        table = score_crops(self.network, face_crops(frames[seen], boxes[seen]), sound)
        values = np.full((windows, 2 * MAX_SHIFT + 1), np.nan)
        values[seen.start : seen.start + len(table)] = table
        return Observation(values, np.isfinite(values[:, 0]), "no face, or the sound has ended")

    def scores(self, real: Sequence[Observation], generated: Sequence[Observation]) -> dict[str, Score]:
        del real
        tables = [o.samples for o in require_found(generated, "generated")]
        confidence, distance, offset = np.mean([lse(table) for table in tables], 0)
        valid_confidence, valid_distance, _ = np.mean([lse(valid(table)) for table in tables], 0)
        n = counted(generated)
        return {
            "syncnet": Score(float(confidence), *n),
            "lse_d": Score(float(distance), *n),
            "av_offset": Score(float(offset), *n),
            "syncnet_valid": Score(float(valid_confidence), *n),
            "lse_d_valid": Score(float(valid_distance), *n),
        }


def _s3fd_boxes() -> Callable[[Video], np.ndarray]:
    network = load_s3fd(weights.path("sfd"))

    def boxes(video: Video) -> np.ndarray:
        frames = video.at(FPS)
        return np.repeat(track(network, frames[:1]), len(frames), 0) if video.still else track(network, frames)

    return boxes


def _landmarker_boxes(video: Video) -> np.ndarray:
    return video.faces.boxes[resample_indices(len(video.frames), video.fps, FPS)]


def longest_run(known: np.ndarray) -> slice:
    """Where (T,) is true for longest: the reference scores a face's track, not the frames around it."""
    edges = np.flatnonzero(np.diff(known.astype(int), prepend=0, append=0))
    runs = edges.reshape(-1, 2)
    return slice(*map(int, runs[np.argmax(runs[:, 1] - runs[:, 0])])) if len(runs) else slice(0, 0)


@torch.inference_mode()
def score_crops(network: SyncNet, crops: np.ndarray, sound: np.ndarray) -> np.ndarray:
    """(T, 224, 224, 3) uint8 RGB at 25 fps, int16 sound at 16 kHz -> (W >= 1, 31) distances."""
    count = window_count(len(crops), len(sound))
    frames = torch.from_numpy(crops[..., ::-1].copy()).movedim(-1, 0)[None].float()  # the network was trained on BGR
    voice = network.voice(torch.from_numpy(mfcc_windows(mfcc(sound), count)).float())
    return distances(network.lips(frames)[:count].numpy(), voice.numpy())


def window_count(frames: int, samples: int) -> int:
    """Windows of a clip of `frames` at 25 fps with `samples` at 16 kHz; like the reference, one too few."""
    return min(frames, samples // (SOUND_RATE // FPS)) - WINDOW


def distances(lips: np.ndarray, voice: np.ndarray, padding: Literal["reference", "valid"] = "reference") -> np.ndarray:
    """(W, d), (W, d) -> (W, 31) Euclidean distances to sound shifted by -15..+15; NaN outside in "valid"."""
    pad = np.zeros((MAX_SHIFT, lips.shape[1]))
    padded = np.concatenate([pad, voice, pad])
    # the eps of torch's pairwise_distance
    curves = [np.linalg.norm(lips - padded[s : s + len(lips)] + 1e-6, axis=-1) for s in range(2 * MAX_SHIFT + 1)]
    table = np.stack(curves, 1)
    return table if padding == "reference" else valid(table)


def valid(table: np.ndarray) -> np.ndarray:
    """(W, 31) with NaN where a shift passes the sound's ends."""
    heard = np.arange(len(table))[:, None] + np.arange(-MAX_SHIFT, MAX_SHIFT + 1)
    return np.where((heard >= 0) & (heard < len(table)), table, np.nan)


def lse(table: np.ndarray) -> tuple[float, float, int]:
    """LSE-C, LSE-D and offset in frames at 25 fps of a (W, 31) table of distances."""
    known = np.isfinite(table)
    curve = np.where(known, table, 0).sum(0) / np.maximum(known.sum(0), 1)
    curve = np.where(known.any(0), curve, np.nan)
    best = float(np.nanmin(curve))
    return float(np.nanmedian(curve)) - best, best, MAX_SHIFT - int(np.nanargmin(curve))


def face_crops(frames: np.ndarray, boxes: np.ndarray) -> np.ndarray:
    """(T, H, W, 3) and boxes x0 y0 x1 y1 -> (T, 224, 224, 3): run_pipeline's crop_video, median-smoothed over
    13 frames.
    """
    import cv2

    half = _smooth(np.maximum(boxes[:, 3] - boxes[:, 1], boxes[:, 2] - boxes[:, 0]) / 2)
    x, y = _smooth((boxes[:, 0] + boxes[:, 2]) / 2), _smooth((boxes[:, 1] + boxes[:, 3]) / 2)
    out = np.empty((len(frames), CROP_SIZE, CROP_SIZE, 3), np.uint8)
    for t, frame in enumerate(frames):
        b, margin = half[t], int(half[t] * (1 + 2 * CROP_SCALE))
        padded = np.pad(frame, ((margin, margin), (margin, margin), (0, 0)), constant_values=CROP_PAD)
        my, mx = y[t] + margin, x[t] + margin
        rows = slice(int(my - b), int(my + b * (1 + 2 * CROP_SCALE)))
        columns = slice(int(mx - b * (1 + CROP_SCALE)), int(mx + b * (1 + CROP_SCALE)))
        out[t] = cv2.resize(padded[rows, columns], (CROP_SIZE, CROP_SIZE))
    return out


def _smooth(track: np.ndarray) -> np.ndarray:
    return medfilt(track, 13) if len(track) >= 13 else track


def mfcc_windows(features: np.ndarray, count: int) -> np.ndarray:
    """(T, 13) MFCC -> (count, 1, 13, 20)."""
    starts = range(0, count * MFCC_PER_FRAME, MFCC_PER_FRAME)
    return np.stack([features[s : s + MFCC_WINDOW].T for s in starts])[:, None]


def mfcc(sound: np.ndarray) -> np.ndarray:
    """(T, 13) of int16 sound at 16 kHz, equal to python_speech_features.mfcc with its defaults.

    25 ms windows each 10 ms, rectangular; pre-emphasis 0.97; 512-point power spectrum; 26 mel filters; log;
    DCT-II orthonormal; lifter 22; the first coefficient replaced by the log of the frame's energy.
    """
    length, step, points, filters, kept, lifter = 400, 160, 512, 26, 13, 22
    x = np.append(sound[0], sound[1:] - 0.97 * sound[:-1])
    count = 1 if len(x) <= length else 1 + -(-(len(x) - length) // step)
    x = np.concatenate([x, np.zeros(max(0, (count - 1) * step + length - len(x)))])
    frames = np.lib.stride_tricks.sliding_window_view(x, length)[::step][:count]
    power = np.abs(np.fft.rfft(frames, points)) ** 2 / points
    eps = np.finfo(float).eps
    energy = np.maximum(power.sum(1), eps)
    bank = np.maximum(power @ _mel_filters(filters, points).T, eps)
    cepstra = dct(np.log(bank), type=2, axis=1, norm="ortho")[:, :kept]
    cepstra *= 1 + lifter / 2 * np.sin(np.pi * np.arange(kept) / lifter)
    cepstra[:, 0] = np.log(energy)
    return cepstra


def _mel_filters(count: int, points: int) -> np.ndarray:
    """(count, points / 2 + 1) triangles between 0 and 8 kHz, their corners on whole bins."""
    mel = np.linspace(0, 2595 * np.log10(1 + SOUND_RATE / 2 / 700), count + 2)
    corners = np.floor((points + 1) * 700 * (10 ** (mel / 2595) - 1) / SOUND_RATE)
    bank, bins = np.zeros((count, points // 2 + 1)), np.arange(points // 2 + 1)
    for j, (low, middle, high) in enumerate(zip(corners[:-2], corners[1:-1], corners[2:], strict=True)):
        rising, falling = (bins >= low) & (bins < middle), (bins >= middle) & (bins < high)
        bank[j, rising] = (bins[rising] - low) / (middle - low)
        bank[j, falling] = (high - bins[falling]) / (high - middle)
    return bank
