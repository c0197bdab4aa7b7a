"""torch.compile of what repeats and is bound by memory: residual blocks and feed-forwards of both UNets and the VAE.

The UNets as a whole are left alone: what other boxes of figure 2 read and add there goes through hooks
(networks/unet.py: `watching`), which change with every call. A module's `forward` is compiled, not the module: hooks
run around it, names in checkpoints stay, and gradient checkpointing calls it like any other. Attentions are left as
they are: SDPA is one kernel, and compiling the projections around it gained 3 % (emo_model/LOG.md).
"""

import os
import shutil
from contextlib import AbstractContextManager, nullcontext

import torch
from diffusers.models.attention import FeedForward
from diffusers.models.resnet import ResnetBlock2D
from torch import nn

from emo_model.errors import UserError

REPEATED = (ResnetBlock2D, FeedForward)
VARIANTS = 256  # widths x resolutions of one class; torch stops compiling after 8


def compile_repeated(network: nn.Module, mode: str, backend: str = "inductor") -> None:
    """Compile in place. mode: "no", or one of torch.compile's. UserError where this machine has no C++ compiler.

    Shapes are static, so that a resumed run compiles what an uninterrupted one did, in whatever order.
    """
    if mode == "no":
        return
    _require_compiler()
    torch._dynamo.config.recompile_limit = VARIANTS
    torch._dynamo.config.accumulated_recompile_limit = 4 * VARIANTS
    for module in network.modules():
        if isinstance(module, REPEATED):
            options = {} if backend != "inductor" else {"mode": mode}
            module.forward = torch.compile(module.forward, dynamic=False, backend=backend, **options)


def uncompiled(mode: str) -> AbstractContextManager[None]:
    """While this is open the modules run as written: a look at other shapes is not worth compiling for them."""
    return nullcontext() if mode == "no" else torch.compiler.set_stance("force_eager")


def _require_compiler() -> None:
    found = [name for name in (os.environ.get("CXX"), "g++", "clang++", "c++") if name and shutil.which(name)]
    if not found:
        raise UserError(
            "torch.compile wants a C++ compiler, and there is none; install g++ (apt-get install g++), or run: "
            "emo train --set compile=no, emo generate without --compile"
        )
