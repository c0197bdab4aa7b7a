"""FID: Fréchet distance of single frames' features (Heusel et al. 2017).

The reference is pytorch-fid's: Inception at 299, bilinear without antialiasing, 2x - 1, 2048-d pool3. The
stand-in is EfficientNet-lite0 at 224, bilinear with antialiasing, (x - 127) / 128, 1280-d.
"""

from collections.abc import Callable, Sequence

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from emo_model import weights

from .efficientnet_lite import load_efficientnet_lite0
from .extractors import Extractor
from .inception import load_inception
from .scores import Observation, Score, counted, frechet_score
from .video import Video

BATCH = 32


class FID:
    """Observes (T, d) frame features."""

    def __init__(self, extractor: Extractor) -> None:
        self.network, self.prepare = NETWORKS[extractor.name]()

    def observe(self, video: Video) -> Observation:
        return Observation.full(video.per_frame(self.features))

    @torch.inference_mode()
    def features(self, frames: np.ndarray) -> np.ndarray:
        """(T, H, W, 3) uint8 RGB -> (T, d) float32."""
        batches = torch.from_numpy(np.require(frames, requirements=["C", "W"])).split(BATCH)
        return torch.cat([self.network(self.prepare(b.movedim(-1, 1).float())) for b in batches]).numpy()

    def scores(self, real: Sequence[Observation], generated: Sequence[Observation]) -> dict[str, Score]:
        return {"fid": Score(frechet_score(real, generated, "frame"), *counted(generated))}


def _inception() -> tuple[nn.Module, Callable[[Tensor], Tensor]]:
    return load_inception(weights.path("inception")), prepare_inception


def _lite0() -> tuple[nn.Module, Callable[[Tensor], Tensor]]:
    return load_efficientnet_lite0(weights.path("efficientnet_lite0")), prepare_lite0


def prepare_inception(x: Tensor) -> Tensor:
    """(B, 3, H, W) in 0..255 -> (B, 3, 299, 299) in [-1, 1]."""
    return F.interpolate(x / 255, (299, 299), mode="bilinear", align_corners=False) * 2 - 1


def prepare_lite0(x: Tensor) -> Tensor:
    """(B, 3, H, W) in 0..255 -> (B, 3, 224, 224), (x - 127) / 128."""
    return (F.interpolate(x, (224, 224), mode="bilinear", antialias=True, align_corners=False) - 127) / 128


NETWORKS = {"inception-2015-12-05": _inception, "efficientnet-lite0": _lite0}
