"""Memory for time: modules that keep only what they were given, and are computed again in the backward pass.

diffusers' own switch does not reach what runs in hooks (Temporal Modules, and with them the Speed Layers), nor whole
transformers, nor the Face Locator; and where it recomputes a module it wants the module's hooks again, which are gone.
"""

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from diffusers.models.resnet import ResnetBlock2D
from diffusers.models.transformers.transformer_2d import Transformer2DModel
from diffusers.models.upsampling import Upsample2D
from torch import nn
from torch.utils.checkpoint import checkpoint

from emo_model.networks.face_locator import FaceLocator
from emo_model.networks.temporal_modules import TemporalModules

# Reference- and audio-attention are inside the Transformer2DModels. A call of TemporalModules is one place's module.
RECOMPUTED = (ResnetBlock2D, Transformer2DModel, Upsample2D, TemporalModules, FaceLocator)


def enable(network: nn.Module) -> None:
    """Of a network, let each module of RECOMPUTED keep its inputs only. Outputs and gradients stay the same.

    `forward` is wrapped and not `__call__`, so hooks on such a module run once, outside: what `unet.watching` adds
    behind it need not be there again in the backward pass. Compile first (train/compiling.py), then this.
    """
    for module in network.modules():
        if isinstance(module, RECOMPUTED):
            module.forward = partial(_recomputed, module.forward)  # type: ignore[method-assign]


def _recomputed(forward: Callable, *args: Any, **kwargs: Any) -> Any:
    if not torch.is_grad_enabled():
        return forward(*args, **kwargs)
    return checkpoint(forward, *args, use_reentrant=False, **kwargs)
