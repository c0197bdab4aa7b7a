"""What pixels alone say: PSNR and SSIM of self-reenactment, and the seams of a video made in windows."""

import itertools
from collections.abc import Sequence

import numpy as np

from .extractors import Extractor
from .scores import NotComputable, Observation, Score, counted, require_found
from .video import Unreadable, Video

SEAM_EVERY = 12  # frames: EMO's window
SSIM_SIGMA, SSIM_RADIUS, GREY = 1.5, 5, 127.5  # pixels, pixels, value


class Fidelity:
    """Observes (T - 1, 2) mean squared error and SSIM of every frame against the real clip's; without the first, which
    may be the reference itself."""

    def __init__(self, extractor: Extractor) -> None:
        del extractor

    def observe(self, video: Video) -> Observation:
        pairs = zip(video.frames[1:], answered(video).frames[1:], strict=True)
        return Observation.full(np.array([(mse(a, b), ssim(a, b)) for a, b in pairs]))

    def scores(self, real: Sequence[Observation], generated: Sequence[Observation]) -> dict[str, Score]:
        del real
        clips, n = [o.samples for o in require_found(generated, "generated")], counted(generated)
        same = any((clip[:, 0] == 0).any() for clip in clips)
        psnr = Score(None, *n, "a frame equals the real one: no error to take the logarithm of")
        if not same:
            psnr = Score(float(np.mean([decibels(clip[:, 0]).mean() for clip in clips])), *n)
        return {"psnr": psnr, "ssim": Score(float(np.mean([clip[:, 1].mean() for clip in clips])), *n)}


def answered(video: Video) -> Video:
    """The real clip this video answers, itself for a real one. Unreadable where they do not lie frame on frame."""
    truth = video.truth or video
    if truth.frames.shape != video.frames.shape:
        raise Unreadable(f"frames {video.frames.shape} against the real clip's {truth.frames.shape}")
    return truth


def mse(a: np.ndarray, b: np.ndarray) -> float:
    """Mean squared difference of two uint8 pictures."""
    return float(((a.astype(np.float32) - b) ** 2).mean())


def decibels(error: np.ndarray) -> np.ndarray:
    """PSNR of a mean squared error in 0..255 squared."""
    return 10 * np.log10(255**2 / error)


def ssim(a: np.ndarray, b: np.ndarray) -> float:
    """Structural similarity of two (H, W, 3) uint8 pictures (Wang et al. 2004): Gaussian windows of sigma 1.5 and 11
    pixels, K 0.01 and 0.03, mean over the whole windows of all channels. ValueError below 11 pixels.
    """
    import cv2

    if min(a.shape[:2]) < 2 * SSIM_RADIUS + 1:
        raise ValueError(f"SSIM wants at least {2 * SSIM_RADIUS + 1} pixels a side, got {a.shape[:2]}")
    inner = slice(SSIM_RADIUS, -SSIM_RADIUS)

    def blur(x: np.ndarray) -> np.ndarray:
        return cv2.GaussianBlur(x, (2 * SSIM_RADIUS + 1,) * 2, SSIM_SIGMA)[inner, inner]

    # About mid-grey: variances come out the same, and their squares small enough for single precision.
    x, y = a.astype(np.float32) - GREY, b.astype(np.float32) - GREY
    mx, my = blur(x), blur(y)
    spread, both = blur(x * x + y * y) - mx * mx - my * my, blur(x * y) - mx * my
    mx, my = mx + GREY, my + GREY
    c1, c2 = (0.01 * 255) ** 2, (0.03 * 255) ** 2
    similarity = (2 * mx * my + c1) * (2 * both + c2) / ((mx * mx + my * my + c1) * (spread + c2))
    return float(similarity.mean(dtype=np.float64))


class Seams:
    """Observes (T - 1,) mean absolute differences of neighbouring frames."""

    def __init__(self, extractor: Extractor) -> None:
        del extractor

    def observe(self, video: Video) -> Observation:
        if video.still or len(video.frames) <= SEAM_EVERY:
            return Observation.nothing(max(1, len(video.frames) - 1), "a still video, or too short for a seam")
        steps = differences(video.frames)
        return Observation(steps, steps > 0, "nothing moves", np.arange(1, len(video.frames)) / video.fps)

    def scores(self, real: Sequence[Observation], generated: Sequence[Observation]) -> dict[str, Score]:
        del real
        clips = require_found(generated, "generated")
        ratios = [ratio for o in clips if (ratio := seam_ratio(np.where(o.found, o.values, 0))) is not None]
        if not ratios:
            raise NotComputable("no clip has a seam between frames that differ")
        return {"seam_ratio": Score(float(np.mean(ratios)), *counted(generated))}


def differences(frames: np.ndarray) -> np.ndarray:
    """(T, H, W, 3) uint8 -> (T - 1,) mean absolute difference of each frame to the one before."""
    import cv2

    return np.array([cv2.absdiff(np.ascontiguousarray(a), np.ascontiguousarray(b)).mean()
                     for a, b in itertools.pairwise(frames)])  # fmt: skip


def seam_ratio(steps: np.ndarray, every: int = SEAM_EVERY) -> float | None:
    """Mean step into each `every`-th frame over the mean of all other steps, of (T - 1,) steps between frames; 1 means
    no seam. A frame shown twice (0: a slower video at this rate) is no step. None where a side has none.
    """
    into_window, moved = np.arange(1, len(steps) + 1) % every == 0, steps > 0
    at, within = steps[into_window & moved], steps[~into_window & moved]
    return float(at.mean() / within.mean()) if len(at) and len(within) else None
