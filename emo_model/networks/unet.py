"""diffusers' stock UNet, not forked: how to name its places, and how to read or add to them during one call."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager

from diffusers import UNet2DConditionModel
from diffusers.models.attention import BasicTransformerBlock
from torch import Tensor, nn

# (what the module was given first, what it returned) -> what it shall have returned; None leaves it
Edit = Callable[[Tensor, Tensor], Tensor | None]


def transformer_blocks(unet: nn.Module) -> dict[str, BasicTransformerBlock]:
    """Blocks with self-attention, by name. Names are the only safe pairing of two UNets:
    `named_modules` yields down, up, mid, but they run down, mid, up."""
    return {name: m for name, m in unet.named_modules() if isinstance(m, BasicTransformerBlock)}


def places(unet: UNet2DConditionModel) -> dict[str, int]:
    """Where a Temporal Module stands: after each resnet + attention layer, and after each resnet of the blocks
    without attention. Name of the module it follows -> its channels."""
    found = {}
    named = [(f"down_blocks.{i}", block) for i, block in enumerate(unet.down_blocks)]
    named += [("mid_block", unet.mid_block)]
    named += [(f"up_blocks.{i}", block) for i, block in enumerate(unet.up_blocks)]
    for name, block in named:
        kind = "attentions" if getattr(block, "has_cross_attention", False) else "resnets"
        for j in range(len(getattr(block, kind))):
            # resnets[-1] of a level and its attention are equally wide
            found[f"{name}.{kind}.{j}"] = block.resnets[j].out_channels
    return found


def key(name: str) -> str:
    """A module's name as a key of an nn.ModuleDict, which refuses dots."""
    return name.replace(".", "-")


@contextmanager
def watching(module: nn.Module, edits: Mapping[str, Edit]) -> Iterator[None]:
    """While this is open, each named submodule's output passes through its edit. Nothing stays behind."""
    handles = [
        module.get_submodule(name).register_forward_hook(_hook(edit), with_kwargs=True) for name, edit in edits.items()
    ]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def _hook(edit: Edit) -> Callable:
    def hook(_module: nn.Module, args: tuple, kwargs: dict, output: Tensor | tuple) -> Tensor | tuple | None:
        given = args[0] if args else kwargs["hidden_states"]
        returned = output[0] if isinstance(output, tuple) else output  # Transformer2DModel returns a 1-tuple
        edited = edit(given, returned)
        if edited is None:
            return None
        return (edited, *output[1:]) if isinstance(output, tuple) else edited

    return hook
