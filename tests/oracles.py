"""The reference implementations of metrics, for parity tests: imported from a folder that nothing else looks into.

    pytorch_fid = oracle("pytorch_fid.inception")

Packages that import more than a test needs are entered past their own __init__.
"""

import importlib
import os
import sys
import types
from collections.abc import Callable
from importlib.machinery import PathFinder
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

FOLDER = Path(os.environ.get("EMO_ORACLES") or Path(sys.prefix, "oracles"))

# What torchvision registers fake versions of when it is imported; its own library declares them, but it is linked
# against CUDA and does not load beside a torch without it.
_OPERATORS = """
nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor
qnms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor
roi_align(Tensor x, Tensor rois, float scale, SymInt ph, SymInt pw, int ratio, bool aligned) -> Tensor
_roi_align_backward(Tensor grad, Tensor rois, float scale, SymInt ph, SymInt pw, SymInt n, SymInt c, SymInt h, SymInt w, int ratio, bool aligned) -> Tensor
ps_roi_align(Tensor x, Tensor rois, float scale, SymInt ph, SymInt pw, int ratio) -> (Tensor, Tensor)
_ps_roi_align_backward(Tensor grad, Tensor rois, Tensor mapping, float scale, SymInt ph, SymInt pw, int ratio, SymInt n, SymInt c, SymInt h, SymInt w) -> Tensor
roi_pool(Tensor x, Tensor rois, float scale, SymInt ph, SymInt pw) -> (Tensor, Tensor)
_roi_pool_backward(Tensor grad, Tensor rois, Tensor argmax, float scale, SymInt ph, SymInt pw, SymInt n, SymInt c, SymInt h, SymInt w) -> Tensor
ps_roi_pool(Tensor x, Tensor rois, float scale, SymInt ph, SymInt pw) -> (Tensor, Tensor)
_ps_roi_pool_backward(Tensor grad, Tensor rois, Tensor mapping, float scale, SymInt ph, SymInt pw, SymInt n, SymInt c, SymInt h, SymInt w) -> Tensor
deform_conv2d(Tensor x, Tensor weight, Tensor offset, Tensor mask, Tensor bias, SymInt sh, SymInt sw, SymInt ph, SymInt pw, SymInt dh, SymInt dw, SymInt g, SymInt og, bool use_mask) -> Tensor
_deform_conv2d_backward(Tensor grad, Tensor x, Tensor weight, Tensor offset, Tensor mask, Tensor bias, SymInt sh, SymInt sw, SymInt ph, SymInt pw, SymInt dh, SymInt dw, SymInt g, SymInt og, bool use_mask) -> (Tensor, Tensor, Tensor, Tensor, Tensor)
"""  # noqa: E501  (one operator a line)
_declared: list[torch.library.Library] = []  # a library that is collected takes its operators along


def oracle(module: str, *, bare: tuple[str, ...] = (), stubs: tuple[str, ...] = ()) -> Any:
    """A module of a reference implementation; skips, with the command, where they are not installed.

    `bare`: packages of it, outermost first, whose __init__ is not run. `stubs`: names of what the module imports
    and the test does not call.
    """
    if not FOLDER.is_dir():
        pytest.skip("run: make oracles")
    _declare_operators()
    with pytest.MonkeyPatch.context() as patch:
        # for now only: processes that later tests spawn inherit the path, and would take torchvision for installed
        patch.setattr(sys, "path", [*sys.path, str(FOLDER)])
        for package in bare:
            if package not in sys.modules:
                sys.modules[package] = _without_init(package)
        for name in stubs:  # other libraries ask whether these are installed
            stub = types.ModuleType(name)
            stub.__getattr__ = lambda attribute: object  # type: ignore[method-assign]
            patch.setitem(sys.modules, name, stub)
        return importlib.import_module(module)


def _without_init(package: str) -> types.ModuleType:
    parent, _, _ = package.rpartition(".")
    spec = PathFinder.find_spec(package, sys.modules[parent].__path__ if parent else [str(FOLDER)])
    assert spec is not None and spec.submodule_search_locations is not None
    module = types.ModuleType(package)
    module.__path__ = list(spec.submodule_search_locations)
    return module


def _declare_operators() -> None:
    if _declared:
        return
    try:
        torch.ops.load_library(str(FOLDER / "torchvision" / "_C.so"))
    except OSError:
        library = torch.library.Library("torchvision", "DEF")
        for operator in _OPERATORS.split("\n"):
            if operator:
                library.define(operator)
        _declared.append(library)


def agree(what: str, ours: Any, theirs: Any, within: float, *, relative: bool = False) -> None:
    """Assert that two results agree, and print by how much they do not (`pytest -s`)."""
    ours, theirs = np.asarray(ours, np.float64), np.asarray(theirs, np.float64)
    assert ours.shape == theirs.shape, f"{what}: {ours.shape} against {theirs.shape}"
    difference = float(np.abs(ours - theirs).max())
    if relative:
        difference /= float(np.abs(theirs).max())
    size = float(np.abs(theirs).max())
    kind = "relative" if relative else "absolute"
    print(f"\nparity | {what} | {kind} difference {difference:.2g} | allowed {within:g} | values up to {size:.4g}")
    assert size > 0, f"{what}: nothing but zeros shows no agreement"
    assert difference <= within, f"{what}: differ by {difference:.3g}, allowed {within:g}"


def randomise(network: torch.nn.Module, seed: int = 0) -> dict[str, torch.Tensor]:
    """Equal random weights for two builds of one network, at a scale that keeps activations alive: its state."""
    generator = torch.Generator().manual_seed(seed)
    rules: dict[str, Callable[[torch.Tensor], torch.Tensor]] = {
        "running_var": lambda v: torch.rand(v.shape, generator=generator) + 0.5,
        "running_mean": lambda v: 0.1 * torch.randn(v.shape, generator=generator),
        "num_batches_tracked": torch.ones_like,
        "bias": lambda v: 0.1 * torch.randn(v.shape, generator=generator),
    }
    state = {}
    for key, value in network.state_dict().items():
        rule = rules.get(key.rpartition(".")[2])
        if rule is None and value.ndim < 2:
            state[key] = torch.rand(value.shape, generator=generator) + 0.5  # a norm's scale
        elif rule is None:
            spread = (2 / value[0].numel()) ** 0.5  # He et al. 2015: variance is kept through ReLU
            state[key] = spread * torch.randn(value.shape, generator=generator)
        else:
            state[key] = rule(value)
    return state
