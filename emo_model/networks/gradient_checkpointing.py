"""Memory for time: modules that keep less than autograd would, and compute the rest again in the backward pass.

    full        each module keeps its inputs alone
    selective   and, of what it computes, that which is dear to compute for its size

diffusers' own switch does not reach what runs in hooks (Temporal Modules, and with them the Speed Layers), nor whole
transformers, nor the Face Locator; and where it recomputes a module it wants the module's hooks again, which are gone.
"""

from collections.abc import Callable
from functools import partial
from typing import Any, Literal

import torch
from diffusers.models.resnet import ResnetBlock2D
from diffusers.models.transformers.transformer_2d import Transformer2DModel
from diffusers.models.upsampling import Upsample2D
from torch import nn
from torch.utils.checkpoint import (
    CheckpointPolicy,
    SelectiveCheckpointContext,
    checkpoint,
    create_selective_checkpoint_contexts,
    noop_context_fn,
)

from emo_model.networks.face_locator import FaceLocator
from emo_model.networks.temporal_modules import TemporalModules

Mode = Literal["full", "selective"]

# Reference- and audio-attention are inside the Transformer2DModels. A call of TemporalModules is one place's module.
RECOMPUTED = (ResnetBlock2D, Transformer2DModel, Upsample2D, TemporalModules, FaceLocator)
# Multiplications for each number of a result, from which on it is kept: all convolutions and attentions over a picture,
# and products from 640 numbers on. Chosen by counting (LOG.md): less keeps GEGLU's widest results, more gains little.
DEAR = 640
_MATRIX = {torch.ops.aten.mm.default, torch.ops.aten.addmm.default, torch.ops.aten.bmm.default}
_ATTENTION = {
    getattr(torch.ops.aten, f"_scaled_dot_product_{kind}").default
    for kind in ("flash_attention", "efficient_attention", "cudnn_attention", "flash_attention_for_cpu")
}


def enable(network: nn.Module, mode: Mode = "full") -> None:
    """Of a network, let each module of RECOMPUTED keep less. Outputs and gradients stay the same.

    `forward` is wrapped and not `__call__`, so hooks on such a module run once, outside: what `unet.watching` adds
    behind it need not be there again in the backward pass. Compile first (train/compiling.py), then this.
    """
    contexts = partial(create_selective_checkpoint_contexts, _policy) if mode == "selective" else noop_context_fn
    for module in network.modules():
        if isinstance(module, RECOMPUTED):
            module.forward = partial(_recomputed, module.forward, contexts)  # type: ignore[method-assign]


def _recomputed(forward: Callable, contexts: Callable, *args: Any, **kwargs: Any) -> Any:
    if not torch.is_grad_enabled():
        return forward(*args, **kwargs)
    return checkpoint(forward, *args, use_reentrant=False, context_fn=contexts, **kwargs)


def _policy(_context: SelectiveCheckpointContext, operation: Any, *args: Any, **_named: Any) -> CheckpointPolicy:
    return CheckpointPolicy.MUST_SAVE if work(operation, args) >= DEAR else CheckpointPolicy.PREFER_RECOMPUTE


def work(operation: Any, args: tuple) -> int:
    """Multiplications for each number of an operation's result; 0 for all but products, convolutions and attention."""
    if operation in _MATRIX:
        return args[-2].shape[-1]
    if operation is torch.ops.aten.convolution.default:
        return args[1][0].numel()  # input channels of a group, times the kernel
    if operation in _ATTENTION:
        return 2 * args[1].shape[-2]  # each query meets every key and every value
    return 0
