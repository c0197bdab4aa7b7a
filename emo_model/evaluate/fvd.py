"""FVD: Fréchet distance of I3D's Kinetics-400 logits over short windows (Unterthiner et al. 2018).

Windows of 16 frames, stride 16, at 25 fps; 224 x 224 bilinear without keeping the aspect; 2x/255 - 1;
unbiased covariance. A clip shorter than a window has none and says so.
"""

from collections.abc import Sequence

import numpy as np
import torch
import torch.nn.functional as F

from emo_model import weights

from .extractors import Extractor
from .i3d import load_i3d
from .scores import Observation, Score, counted, frechet_score
from .video import Video

FPS, WINDOW, STRIDE = 25, 16, 16


class FVD:
    """Observes (W, 400) window features."""

    def __init__(self, extractor: Extractor) -> None:
        self.network = load_i3d(weights.path(extractor.weights[0]))

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
        return torch.cat([self.network(prepare(window)) for window in windows]).numpy()

    def scores(self, real: Sequence[Observation], generated: Sequence[Observation]) -> dict[str, Score]:
        return {"fvd": Score(frechet_score(real, generated, "window"), *counted(generated))}


def cut_windows(frames: np.ndarray) -> np.ndarray:
    """(T, ...) -> (W, 16, ...), whole windows only."""
    starts = range(0, len(frames) - WINDOW + 1, STRIDE)
    return np.stack([frames[s : s + WINDOW] for s in starts]) if starts else frames[:0, None]


def prepare(window: np.ndarray) -> torch.Tensor:
    """(16, H, W, 3) uint8 -> (1, 3, 16, 224, 224) in [-1, 1]."""
    x = torch.from_numpy(np.ascontiguousarray(window)).movedim(-1, 1).float()
    x = F.interpolate(x, (224, 224), mode="bilinear", align_corners=False)
    return (x * 2 / 255 - 1).movedim(0, 1)[None]
