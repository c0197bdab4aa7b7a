"""SyncNet (Chung and Zisserman 2016) with the layer names of joonson/syncnet_python, whose weights define
LSE-C and LSE-D.

Two towers that end in 1024 numbers: five mouth frames at 25 fps, and 20 MFCC frames, 0.2 s of sound.
"""

from functools import cache
from pathlib import Path

from torch import Tensor, nn

from .state import loaded, read_state


def _conv2(inputs: int, outputs: int, kernel: int | tuple[int, int], padding: int = 1) -> list[nn.Module]:
    return [nn.Conv2d(inputs, outputs, kernel, padding=padding), nn.BatchNorm2d(outputs), nn.ReLU()]


def _conv3(
    inputs: int, outputs: int, kernel: tuple[int, int, int], stride: int = 1, padding: int = 0
) -> list[nn.Module]:
    conv = nn.Conv3d(inputs, outputs, kernel, (1, stride, stride), (0, padding, padding))
    return [conv, nn.BatchNorm3d(outputs), nn.ReLU()]


def _head() -> nn.Sequential:
    return nn.Sequential(nn.Linear(512, 512), nn.BatchNorm1d(512), nn.ReLU(), nn.Linear(512, 1024))


class SyncNet(nn.Module):
    """lips: (1, 3, T, 224, 224) BGR in 0..255 -> (T - 4, 1024); voice: (B, 1, 13, 20) MFCC -> (B, 1024)."""

    def __init__(self) -> None:
        super().__init__()
        self.netcnnaud = nn.Sequential(
            *_conv2(1, 64, 3), nn.MaxPool2d(1, 1),
            *_conv2(64, 192, 3), nn.MaxPool2d(3, (1, 2)),
            *_conv2(192, 384, 3), *_conv2(384, 256, 3), *_conv2(256, 256, 3), nn.MaxPool2d(3, 2),
            *_conv2(256, 512, (5, 4), 0),
        )  # fmt: skip
        self.netfcaud = _head()
        self.netfclip = _head()
        self.netcnnlip = nn.Sequential(
            *_conv3(3, 96, (5, 7, 7), 2), nn.MaxPool3d((1, 3, 3), (1, 2, 2)),
            *_conv3(96, 256, (1, 5, 5), 2, 1), nn.MaxPool3d((1, 3, 3), (1, 2, 2), (0, 1, 1)),
            *_conv3(256, 256, (1, 3, 3), 1, 1), *_conv3(256, 256, (1, 3, 3), 1, 1),
            *_conv3(256, 256, (1, 3, 3), 1, 1),
            nn.MaxPool3d((1, 3, 3), (1, 2, 2)),
            *_conv3(256, 512, (1, 6, 6)),
        )  # fmt: skip

    def lips(self, frames: Tensor) -> Tensor:
        """All windows in one pass: only the first layer reaches across frames."""
        features = self.netcnnlip(frames)  # (1, 512, T - 4, 1, 1)
        return self.netfclip(features[0, :, :, 0, 0].T)

    def voice(self, mfcc: Tensor) -> Tensor:
        return self.netfcaud(self.netcnnaud(mfcc).flatten(1))


@cache
def load_syncnet(path: Path) -> SyncNet:
    """The network with syncnet_v2.model's weights; UserError where one is missing or of another shape."""
    return loaded(SyncNet(), read_state(path), path)
