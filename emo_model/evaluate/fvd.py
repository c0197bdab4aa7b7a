"""FVD: Fréchet distance of I3D's Kinetics-400 logits over short windows (Unterthiner et al. 2018).

Windows of 16 frames, stride 16, at 25 fps; 224 x 224 bilinear without keeping the aspect; 2x/255 - 1;
unbiased covariance. A clip shorter than a window has none and says so.

Published numbers follow one of two other conventions, which bear names of their own:

* `fvd_styleganv` (StyleGAN-V, cd-fvd): weights i3d_torchscript, covariance divided by n;
* `fvd_videogpt` (VideoGPT, TATS): weights i3d_pretrained_400, shorter side to 224 and a central square.
"""

from collections.abc import Sequence

import numpy as np
import torch
import torch.nn.functional as F

from emo_model import weights

from .extractors import Extractor
from .i3d import SIDE, load_i3d, load_i3d_pytorch, load_i3d_torchscript
from .scores import Observation, Score, counted, frechet_score
from .video import Video

FPS, WINDOW, STRIDE = 25, 16, 16


def prepare(window: np.ndarray) -> torch.Tensor:
    """(T, H, W, 3) uint8 -> (1, 3, T, 224, 224) in [-1, 1]."""
    return _scaled(_resized(_pictures(window), (SIDE, SIDE)))


def prepare_central(window: np.ndarray) -> torch.Tensor:
    """The same of the central square, the shorter side brought to 224."""
    x = _pictures(window)
    height, width = x.shape[-2:]
    x = _resized(x, (-(-height * SIDE // min(height, width)), -(-width * SIDE // min(height, width))))
    top, left = (x.shape[-2] - SIDE) // 2, (x.shape[-1] - SIDE) // 2
    return _scaled(x[..., top : top + SIDE, left : left + SIDE])


class FVD:
    """Observes (W, 400) window features."""

    name, biased = "fvd", False
    load, prepare = staticmethod(load_i3d), staticmethod(prepare)

    def __init__(self, extractor: Extractor) -> None:
        self.network = self.load(weights.path(extractor.weights[0]))

    def observe(self, video: Video) -> Observation:
        frames = video.at(FPS)
        windows = cut_windows(frames)
        if not len(windows):
            return Observation.nothing(1, f"{len(frames)} frames at {FPS} fps, a window needs {WINDOW}")
        if video.still:
            return Observation.full(np.repeat(self.features(windows[:1]), len(windows), 0))
        return Observation.full(self.features(windows))

    @torch.inference_mode()
    def features(self, windows: np.ndarray) -> np.ndarray:
        """(W, 16, H, W, 3) uint8 RGB -> (W, 400) float32."""
        return torch.cat([self.network(self.prepare(window)) for window in windows]).numpy()

    def scores(self, real: Sequence[Observation], generated: Sequence[Observation]) -> dict[str, Score]:
        value = frechet_score(real, generated, "window", biased=self.biased)
        return {self.name: Score(value, *counted(generated))}


class StyleGANVFVD(FVD):
    """StyleGAN-V's convention."""

    name, biased = "fvd_styleganv", True
    load = staticmethod(load_i3d_torchscript)


class VideoGPTFVD(FVD):
    """VideoGPT's convention."""

    name = "fvd_videogpt"
    load, prepare = staticmethod(load_i3d_pytorch), staticmethod(prepare_central)


def cut_windows(frames: np.ndarray) -> np.ndarray:
    """(T, ...) -> (W, 16, ...), whole windows only."""
    starts = range(0, len(frames) - WINDOW + 1, STRIDE)
    return np.stack([frames[s : s + WINDOW] for s in starts]) if starts else frames[:0, None]


def _pictures(window: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(np.ascontiguousarray(window)).movedim(-1, 1).float()


def _resized(x: torch.Tensor, size: tuple[int, int]) -> torch.Tensor:
    return F.interpolate(x, size, mode="bilinear", align_corners=False)


def _scaled(x: torch.Tensor) -> torch.Tensor:
    return (x * 2 / 255 - 1).movedim(0, 1)[None]
