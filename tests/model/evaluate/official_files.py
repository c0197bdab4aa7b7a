"""Weight files in the layouts their authors publish, with random numbers inside: small where the layout allows."""

import warnings
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import scipy.io
import torch
from torch import nn

from emo_model.evaluate.deep3d import Deep3D
from emo_model.evaluate.i3d import I3D
from emo_model.evaluate.inception import Inception
from emo_model.evaluate.s3fd import S3FD
from emo_model.evaluate.syncnet import SyncNet
from tests.oracles import randomise


def inception(file: Path) -> Path:
    """pt_inception-2015-12-05: a state dict, 566 entries."""
    torch.save(randomise(Inception()), file)
    return file


def syncnet(file: Path) -> Path:
    """syncnet_v2.model: a state dict in torch's format before 1.6, older than num_batches_tracked."""
    state = {k: v for k, v in randomise(SyncNet()).items() if not k.endswith("num_batches_tracked")}
    for tower in ("aud", "lip"):  # published embeddings have lengths of about 10
        state[f"netfc{tower}.3.weight"] /= 3000
    torch.save(state, file, _use_new_zipfile_serialization=False)
    return file


def s3fd(file: Path) -> Path:
    """sfd_face.pth: a state dict; its scores are spread so that it is sure of some boxes."""
    state = randomise(S3FD())
    for i in range(6):
        state[f"loc.{i}.weight"] *= 0.05
        state[f"conf.{i}.bias"][-1] += 2.3 if i < 2 else -99.0  # large boxes would suppress all others
    torch.save(state, file)
    return file


def i3d_pretrained_400(file: Path) -> Path:
    """VideoGPT's: a state dict by pytorch-i3d's names."""
    names = {".conv.": ".conv3d.", ".norm.": ".bn.", "mixed.": "", ".branch_0.": ".b0.", ".branch_3.": ".b3b."}
    names |= {f".branch_{i}{part}.": f".b{i}{part}." for i in (1, 2) for part in "ab"}
    state = {}
    for key, value in randomise(I3D()).items():
        for ours, theirs in names.items():
            key = key.replace(ours, theirs)
        state[key.replace("logits.", "logits.conv3d.")] = value
    torch.save(state, file)
    return file


class _Scripted(nn.Module):
    """The arguments of StyleGAN-V's program around a network."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, x: torch.Tensor, rescale: bool, resize: bool, return_features: bool) -> torch.Tensor:
        assert not rescale and not resize and return_features
        return self.network(x)


def i3d_torchscript(file: Path, network: nn.Module) -> Path:
    """StyleGAN-V's: a TorchScript program (B, 3, T, 224, 224) -> (B, 400)."""
    torch.jit.script(_Scripted(network)).save(str(file))
    return file


def deep3d(file: Path) -> Path:
    """epoch_20.pth: the state of net_recon beside its optimiser's."""
    state = randomise(Deep3D())
    for i in range(7):
        state[f"final_layers.{i}.weight"] *= 1e-4  # published coefficients are of the order of 1
    torch.save({"net_recon": state, "opt_00": {"state": {}, "param_groups": [{"lr": 1e-4}]}}, file)
    return file


def mean_landmarks() -> np.ndarray:
    """68 landmarks of which the five that count look like a face, y up, about as large as BFM's."""
    points = np.random.default_rng(0).normal(0, 0.1, (68, 3))
    points[[36, 39]], points[[42, 45]] = [[-0.5, 0.4, 0.1], [-0.2, 0.4, 0.2]], [[0.2, 0.4, 0.2], [0.5, 0.4, 0.1]]
    points[30], points[48], points[54] = [0, 0, 0.6], [-0.25, -0.4, 0.2], [0.25, -0.4, 0.2]
    return points


def deep3d_landmarks(file: Path) -> Path:
    """similarity_Lm3D_all.mat: MATLAB 5, `lm` (68, 3)."""
    scipy.io.savemat(file, {"lm": mean_landmarks()})
    return file


def onnx(network: nn.Module, size: int, file: Path, outputs: Sequence[str]) -> Path:
    """An ONNX file of a network of pictures with free batch, height and width, as insightface's are."""
    from torch.onnx._internal.torchscript_exporter import onnx_proto_utils

    with pytest.MonkeyPatch.context() as patch, warnings.catch_warnings():
        patch.setattr(onnx_proto_utils, "_add_onnxscript_fn", lambda content, functions: content)  # wants package onnx
        warnings.simplefilter("ignore")
        torch.onnx.export(
            network.eval(), (torch.zeros(1, 3, size, size),), str(file), dynamo=False, input_names=["input.1"],
            output_names=list(outputs), dynamic_axes={"input.1": {0: "batch", 2: "height", 3: "width"}},
        )  # fmt: skip
    return file


class _Residual(nn.Module):
    """A block of ArcFace's iresnet: norm, convolution, norm, PReLU, convolution with the stride, norm."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.BatchNorm2d(inputs), nn.Conv2d(inputs, outputs, 3, 1, 1, bias=False), nn.BatchNorm2d(outputs),
            nn.PReLU(outputs), nn.Conv2d(outputs, outputs, 3, 2, 1, bias=False), nn.BatchNorm2d(outputs),
        )  # fmt: skip
        self.around = nn.Sequential(nn.Conv2d(inputs, outputs, 1, 2, bias=False), nn.BatchNorm2d(outputs))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.body(x) + self.around(x)


def arcface(file: Path) -> nn.Module:
    """glintr100.onnx: iresnet's layers, one block a stage and few channels, (B, 3, 112, 112) -> (B, 512)."""
    network = nn.Sequential(
        nn.Conv2d(3, 8, 3, 1, 1, bias=False), nn.BatchNorm2d(8), nn.PReLU(8),
        _Residual(8, 8), _Residual(8, 16), _Residual(16, 16), _Residual(16, 16),
        nn.BatchNorm2d(16), nn.Flatten(), nn.Linear(16 * 7 * 7, 512), nn.BatchNorm1d(512),
    )  # fmt: skip
    network.load_state_dict(randomise(network))
    onnx(network, 112, file, ["embedding"])
    return network


class _SmallSCRFD(nn.Module):
    """SCRFD's nine outputs, flattened as the official file's are, from one convolution a stride."""

    def __init__(self) -> None:
        super().__init__()
        self.maps = nn.ModuleList([nn.Conv2d(3, 2 * (1 + 4 + 10), stride, stride) for stride in (8, 16, 32)])

    def forward(self, x: torch.Tensor) -> list[torch.Tensor]:
        parts: list[list[torch.Tensor]] = [[], [], []]
        for level in self.maps:
            scores, sides, points = level(x).split([2, 8, 20], 1)
            for part, (out, width) in enumerate(((scores.sigmoid(), 1), (sides.relu() + 0.5, 4), (points, 10))):
                parts[part].append(out.permute(0, 2, 3, 1).reshape(-1, width))
        return [out for part in parts for out in part]


def scrfd(file: Path, confidence: float = -1.8) -> nn.Module:
    """scrfd_10g_bnkps.onnx: confidences (shifted by `confidence`), boxes, points at strides 8, 16 and 32."""
    network = _SmallSCRFD()
    state = randomise(network, seed=2)
    for level in range(3):
        state[f"maps.{level}.bias"][:2] = confidence
    network.load_state_dict(state)
    names = [f"{part}_{stride}" for part in ("score", "bbox", "kps") for stride in (8, 16, 32)]
    onnx(network, 64, file, names)
    return network
