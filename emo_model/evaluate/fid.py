"""FID and KID: distances of single frames' features (Heusel et al. 2017; Bińkowski et al. 2018).

The reference is pytorch-fid's: Inception at 299, bilinear without antialiasing, 2x - 1, 2048-d pool3. `CleanFID` sees
the same network through clean-fid's resize (Parmar et al. 2022): PIL's bicubic in float, (x - 128) / 128; its numbers
have names of their own. The stand-in is EfficientNet-lite0 at 224, bilinear with antialiasing, (x - 127) / 128, 1280-d.
"""

from collections.abc import Callable, Sequence

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor, nn

from emo_model import weights

from .efficientnet_lite import load_efficientnet_lite0
from .extractors import Extractor
from .inception import load_inception
from .kid import BlockKID
from .scores import Observation, Score, counted, frechet_score
from .video import Video

BATCH, SIDE = 32, 299


class FID:
    """Observes (T, d) frame features."""

    prefix = ""

    def __init__(self, extractor: Extractor) -> None:
        self.network, self.prepare = NETWORKS[extractor.name]()
        self.kid = BlockKID()

    def observe(self, video: Video) -> Observation:
        return Observation.full(video.per_frame(self.features))

    @torch.inference_mode()
    def features(self, frames: np.ndarray) -> np.ndarray:
        """(T, H, W, 3) uint8 RGB -> (T, d) float32."""
        batches = (frames[start : start + BATCH] for start in range(0, len(frames), BATCH))
        return torch.cat([self.network(self.prepare(to_batch(batch))) for batch in batches]).numpy()

    def scores(self, real: Sequence[Observation], generated: Sequence[Observation]) -> dict[str, Score]:
        n = counted(generated)
        return {
            f"{self.prefix}fid": Score(frechet_score(real, generated, "frame"), *n),
            f"{self.prefix}kid": Score(self.kid.distance(real, generated), *n),
        }


class CleanFID(FID):
    """The same through clean-fid's resize."""

    prefix = "clean_"

    def __init__(self, extractor: Extractor) -> None:
        super().__init__(extractor)
        self.prepare = prepare_clean


def _inception() -> tuple[nn.Module, Callable[[Tensor], Tensor]]:
    return load_inception(weights.path("inception")), prepare_inception


def _lite0() -> tuple[nn.Module, Callable[[Tensor], Tensor]]:
    return load_efficientnet_lite0(weights.path("efficientnet_lite0")), prepare_lite0


def to_batch(frames: np.ndarray) -> Tensor:
    """(B, H, W, 3) uint8 -> (B, 3, H, W) float32 in 0..255."""
    return torch.from_numpy(np.require(frames, requirements=["C", "W"])).movedim(-1, 1).float()


def prepare_inception(x: Tensor) -> Tensor:
    """(B, 3, H, W) in 0..255 -> (B, 3, 299, 299) in [-1, 1]."""
    return F.interpolate(x / 255, (SIDE, SIDE), mode="bilinear", align_corners=False) * 2 - 1


def prepare_clean(x: Tensor) -> Tensor:
    """(B, 3, H, W) in 0..255 -> (B, 3, 299, 299), (x - 128) / 128."""
    resized = [[clean_resize(channel) for channel in picture] for picture in x.numpy()]
    return (torch.from_numpy(np.array(resized)) - 128) / 128


def clean_resize(channel: np.ndarray, side: int = SIDE) -> np.ndarray:
    """(H, W) in 0..255 -> (side, side) float32: PIL's antialiased bicubic, clipped, never rounded to 8 bits."""
    picture = Image.fromarray(channel.astype(np.float32))
    return np.asarray(picture.resize((side, side), Image.Resampling.BICUBIC)).clip(0, 255)


def prepare_lite0(x: Tensor) -> Tensor:
    """(B, 3, H, W) in 0..255 -> (B, 3, 224, 224), (x - 127) / 128."""
    return (F.interpolate(x, (224, 224), mode="bilinear", antialias=True, align_corners=False) - 127) / 128


NETWORKS = {"inception-2015-12-05": _inception, "efficientnet-lite0": _lite0}
