"""S3FD, the face detector of SyncNet's pipeline (Zhang et al. 2017), by the layer names of joonson/syncnet_python's
sfd_face.pth.
"""

import itertools
from functools import cache
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .boxes import largest, suppressed
from .state import loaded, read_state

CONFIDENCE, SCALE = 0.9, 0.25  # run_pipeline's
OVERLAPS = (0.3, 0.1)  # the network's suppression, then the pipeline's: not the same as the stricter one alone
MEAN = (123.0, 117.0, 104.0)  # RGB
SMALLEST, STRIDE, VARIANCES = 16, 4, (0.1, 0.2)  # box side and step of the first map; both double from map to map
_VGG = (64, 64, "pool", 128, 128, "pool", 256, 256, 256, "pool up", 512, 512, 512, "pool", 512, 512, 512, "pool")
_SOURCES = {16: "L2Norm3_3", 23: "L2Norm4_3", 30: "L2Norm5_3"}  # after so many layers of vgg
WIDTHS = (256, 512, 512, 1024, 512, 256)


class L2Norm(nn.Module):
    """Every pixel's features at length `weight`."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(width))

    def forward(self, x: Tensor) -> Tensor:
        return self.weight[:, None, None] * x / (x.pow(2).sum(1, keepdim=True).sqrt() + 1e-10)


class S3FD(nn.Module):
    """(1, 3, H, W) RGB without MEAN -> boxes (n, 4) as fractions of width and height, face probability (n,)."""

    def __init__(self) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        inputs = 3
        for width in _VGG:
            if isinstance(width, int):
                layers += [nn.Conv2d(inputs, width, 3, padding=1), nn.ReLU()]
                inputs = width
            else:
                layers.append(nn.MaxPool2d(2, ceil_mode=width == "pool up"))
        layers += [nn.Conv2d(512, 1024, 3, padding=6, dilation=6), nn.ReLU(), nn.Conv2d(1024, 1024, 1, 1), nn.ReLU()]
        self.vgg = nn.ModuleList(layers)
        self.L2Norm3_3, self.L2Norm4_3, self.L2Norm5_3 = L2Norm(256), L2Norm(512), L2Norm(512)
        self.extras = nn.ModuleList(
            [
                nn.Conv2d(1024, 256, 1),
                nn.Conv2d(256, 512, 3, 2, 1),
                nn.Conv2d(512, 128, 1),
                nn.Conv2d(128, 256, 3, 2, 1),
            ]
        )
        self.loc = nn.ModuleList([nn.Conv2d(width, 4, 3, padding=1) for width in WIDTHS])
        self.conf = nn.ModuleList([nn.Conv2d(w, 2 if i else 4, 3, padding=1) for i, w in enumerate(WIDTHS)])

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        size = x.shape[2:]
        boxes, scores = [], []
        for i, source in enumerate(self._sources(x)):
            offsets, logits = self.loc[i](source), self.conf[i](source)
            if i == 0:  # three ways of being no face: the likeliest stands for all
                logits = torch.cat([logits[:, :3].amax(1, keepdim=True), logits[:, 3:]], 1)
            boxes.append(_decode(offsets[0].flatten(1).T, _priors(source.shape[2:], size, i)))
            scores.append(logits[0].flatten(1).softmax(0)[1])
        return torch.cat(boxes), torch.cat(scores)

    def _sources(self, x: Tensor) -> list[Tensor]:
        sources = []
        for done, layer in enumerate(self.vgg, 1):
            x = layer(x)
            if done in _SOURCES:
                sources.append(getattr(self, _SOURCES[done])(x))
        sources.append(x)
        for i, layer in enumerate(self.extras):
            x = F.relu(layer(x))
            if i % 2:
                sources.append(x)
        return sources


def _priors(cells: torch.Size, size: torch.Size, level: int) -> Tensor:
    """(cells, 4): centre and side of a map's boxes, as fractions of width and height."""
    y, x = torch.meshgrid(*(torch.arange(n) + 0.5 for n in cells), indexing="ij")
    step, side = STRIDE * 2**level, SMALLEST * 2**level
    per = torch.tensor([size[1], size[0]])
    return torch.cat([torch.stack([x.flatten(), y.flatten()], 1) * step / per, (side / per).expand(x.numel(), 2)], 1)


def _decode(offsets: Tensor, priors: Tensor) -> Tensor:
    centre = priors[:, :2] + offsets[:, :2] * VARIANCES[0] * priors[:, 2:]
    half = priors[:, 2:] * (offsets[:, 2:] * VARIANCES[1]).exp() / 2
    return torch.cat([centre - half, centre + half], 1)


@cache
def load_s3fd(path: Path) -> S3FD:
    """The network with sfd_face.pth's weights; UserError where one is missing or of another shape."""
    return loaded(S3FD(), read_state(path), path)


@torch.inference_mode()
def detect(network: S3FD, frame: np.ndarray, scale: float = SCALE) -> tuple[np.ndarray, np.ndarray]:
    """(H, W, 3) uint8 RGB -> boxes (n, 4) in its pixels and confidences (n,), best first."""
    import cv2

    small = cv2.resize(frame, None, fx=scale, fy=scale, interpolation=cv2.INTER_LINEAR).astype(np.float32) - MEAN
    boxes, scores = (out.numpy() for out in network(torch.from_numpy(small).float().movedim(-1, 0)[None]))
    sure = scores > CONFIDENCE
    boxes, scores = boxes[sure] * np.tile(frame.shape[1::-1], 2), scores[sure]
    for overlap in OVERLAPS:
        kept = suppressed(boxes, scores, overlap)
        boxes, scores = boxes[kept], scores[kept]
    return boxes, scores


def track(network: S3FD, frames: np.ndarray, gap: int = 25) -> np.ndarray:
    """(T, 4) box of the largest face of every frame, NaN without one; up to `gap` lost frames are interpolated."""
    boxes = np.full((len(frames), 4), np.nan)
    for t, frame in enumerate(frames):
        found, _ = detect(network, frame)
        if len(found):
            boxes[t] = found[largest(found)]
    return bridged(boxes, gap)


def bridged(boxes: np.ndarray, gap: int) -> np.ndarray:
    """(T, 4) with every run of at most `gap` NaN rows between two boxes filled by straight lines."""
    known, out = np.flatnonzero(np.isfinite(boxes[:, 0])), boxes.copy()
    for before, after in itertools.pairwise(known):
        if 1 < after - before <= gap + 1:
            share = np.arange(1, after - before)[:, None] / (after - before)
            out[before + 1 : after] = boxes[before] + share * (boxes[after] - boxes[before])
    return out
