"""Deep3DFaceRecon's 257 coefficients of a face (Deng et al. 2019; sicxu/Deep3DFaceRecon_pytorch): what E-FID and P-FID
are distances of.

identity 80, expression 64, texture 80, angles 3, light 27, translation 3. No face model and no renderer is needed for
the coefficients themselves, only the five mean landmarks a picture is aligned by.
"""

from pathlib import Path

import numpy as np
import scipy.io
import torch
from PIL import Image
from torch import Tensor, nn

from emo_model.errors import UserError

from .state import loaded, read_state

SIDE, FACE = 224, 102.0  # pixels: the picture, and what one unit of the mean face is brought to
EXPRESSION, ANGLES, TRANSLATION = slice(80, 144), slice(224, 227), slice(254, 257)
HEADS = (80, 64, 80, 3, 27, 2, 1)


class Bottleneck(nn.Module):
    """1 x 1, 3 x 3 (with the stride), 1 x 1, and the way around them."""

    def __init__(self, inputs: int, width: int, stride: int) -> None:
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(inputs, width, 1, bias=False), nn.BatchNorm2d(width)
        self.conv2, self.bn2 = nn.Conv2d(width, width, 3, stride, 1, bias=False), nn.BatchNorm2d(width)
        self.conv3, self.bn3 = nn.Conv2d(width, 4 * width, 1, bias=False), nn.BatchNorm2d(4 * width)
        if stride != 1 or inputs != 4 * width:
            around = nn.Conv2d(inputs, 4 * width, 1, stride, bias=False)
            self.downsample: nn.Module = nn.Sequential(around, nn.BatchNorm2d(4 * width))
        else:
            self.downsample = nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        y = self.bn1(self.conv1(x)).relu()
        y = self.bn2(self.conv2(y)).relu()
        return (self.bn3(self.conv3(y)) + self.downsample(x)).relu()


class ResNet50(nn.Module):
    """(B, 3, H, W) -> (B, 2048, 1, 1), by torchvision's names."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(3, 64, 7, 2, 3, bias=False), nn.BatchNorm2d(64)
        self.maxpool = nn.MaxPool2d(3, 2, 1)
        self.layer1, self.layer2 = self._layer(64, 64, 3, 1), self._layer(256, 128, 4, 2)
        self.layer3, self.layer4 = self._layer(512, 256, 6, 2), self._layer(1024, 512, 3, 2)

    @staticmethod
    def _layer(inputs: int, width: int, count: int, stride: int) -> nn.Sequential:
        rest = (Bottleneck(4 * width, width, 1) for _ in range(count - 1))
        return nn.Sequential(Bottleneck(inputs, width, stride), *rest)

    def forward(self, x: Tensor) -> Tensor:
        x = self.maxpool(self.bn1(self.conv1(x)).relu())
        return self.layer4(self.layer3(self.layer2(self.layer1(x)))).mean((2, 3), keepdim=True)


class Deep3D(nn.Module):
    """(B, 3, 224, 224) RGB in [0, 1] -> (B, 257) coefficients."""

    def __init__(self) -> None:
        super().__init__()
        self.backbone = ResNet50()
        self.final_layers = nn.ModuleList([nn.Conv2d(2048, width, 1) for width in HEADS])

    def forward(self, x: Tensor) -> Tensor:
        x = self.backbone(x)
        return torch.cat([head(x) for head in self.final_layers], 1).flatten(1)


def load_deep3d(path: Path) -> Deep3D:
    """The network with epoch_20.pth's `net_recon`; UserError on another layout."""
    return loaded(Deep3D(), read_state(path, "net_recon"), path)


def load_mean_landmarks(path: Path) -> np.ndarray:
    """(5, 3) of similarity_Lm3D_all.mat: right eye, left eye, nose, right and left corner of the mouth (of the person).

    UserError where the file holds no 68 landmarks.
    """
    try:
        points = scipy.io.loadmat(path).get("lm")
    except (ValueError, TypeError, NotImplementedError, scipy.io.matlab.MatReadError) as error:
        raise UserError(f"{path} is not a MATLAB file: {error}") from error
    if points is None or points.shape != (68, 3):
        got = "no `lm`" if points is None else f"lm {points.shape}"
        raise UserError(f"{path} is not similarity_Lm3D_all.mat: wanted lm (68, 3), got {got}")
    return five_of_68(points)


def five_of_68(points: np.ndarray) -> np.ndarray:
    """(68, d) landmarks -> (5, d): the eyes as the mean of two lid points each, nose, corners of the mouth."""
    return np.stack([points[[36, 39]].mean(0), points[[42, 45]].mean(0), points[30], points[48], points[54]])


def fit_scale(points: np.ndarray, mean: np.ndarray) -> tuple[np.ndarray, float]:
    """Translation (2,) and scale of the affine camera that takes `mean` (5, 3) to `points` (5, 2) by least squares."""
    camera = np.linalg.lstsq(np.c_[mean, np.ones(len(mean))], points, rcond=None)[0]  # (4, 2)
    return camera[3], float(np.linalg.norm(camera[:3], axis=0).mean())


def align(frame: np.ndarray, points: np.ndarray, mean: np.ndarray) -> np.ndarray:
    """(H, W, 3) uint8 RGB and five points (5, 2) in its pixels, y down -> (224, 224, 3) uint8: align_img of the
    reference, whose y points up and whose sizes are cut to whole pixels.
    """
    height, width = frame.shape[:2]
    (x, y), scale = fit_scale(np.c_[points[:, 0], height - 1 - points[:, 1]], mean)
    s = FACE / scale
    w, h = int(width * s), int(height * s)
    left, up = int(w / 2 - SIDE / 2 + (x - width / 2) * s), int(h / 2 - SIDE / 2 + (height / 2 - y) * s)
    picture = Image.fromarray(frame).resize((w, h), Image.Resampling.BICUBIC)
    return np.asarray(picture.crop((left, up, left + SIDE, up + SIDE)))
