"""Training shared out over ranks: each holds a part of the gradients, of Adam's moments and of the average of what
learns; with "full" of the weights too. torch's fully_shard, block by block (ZeRO-2 and 3 of Rajbhandari et al. 2020).

What is frozen stays whole on every rank: it is held in bfloat16 and has neither gradients nor moments.
"""

from collections.abc import Iterator, Mapping

from accelerate import Accelerator, init_empty_weights
from diffusers.models.attention import BasicTransformerBlock
from diffusers.models.downsampling import Downsample2D
from diffusers.models.resnet import ResnetBlock2D
from diffusers.models.unets.unet_motion_model import AnimateDiffTransformer3D
from diffusers.models.upsampling import Upsample2D
from torch import Tensor, nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import FSDPModule, fully_shard
from torch.distributed.tensor import DTensor, distribute_tensor

from emo_model.networks.audio_layers import AudioAttention
from emo_model.networks.emo import EMO
from emo_model.networks.unet import transformer_blocks
from emo_model.train.objective import Objective

# The little that is in none of them is gathered for the whole step.
UNITS = (AnimateDiffTransformer3D, AudioAttention, BasicTransformerBlock, ResnetBlock2D, Downsample2D, Upsample2D)


def share_out(objective: Objective, accelerator: Accelerator, keep_weights: bool) -> None:
    """Leave this rank its part of what learns, in place; the trained parameters are new ones then.

    keep_weights: whole from a step's forward to its backward; else a unit's only while it runs.
    """
    mesh = init_device_mesh(accelerator.device.type, (accelerator.num_processes,))
    frozen = {parameter for parameter in objective.parameters() if not parameter.requires_grad}
    for parameter in frozen:  # the others follow unit by unit, and never stand there whole
        parameter.data = parameter.data.to(accelerator.device)
    for unit in (*units(objective.emo), objective):
        fully_shard(unit, mesh=mesh, reshard_after_forward=not keep_weights, ignored_params=frozen)


def units(emo: EMO) -> list[nn.Module]:
    """Blocks with something that learns: each is gathered, computed and reduced by itself."""
    # What ReferenceNet's last block returns is read by nobody, so nothing would gather it again for the backward of
    # what is read inside it: it stays with the little that is always there.
    last = [block for name, block in transformer_blocks(emo.reference_net.unet).items() if name.startswith("up_")][-1]
    return [unit for unit in _outermost(emo) if unit is not last and any(p.requires_grad for p in unit.parameters())]


def _outermost(module: nn.Module) -> Iterator[nn.Module]:
    for child in module.children():
        if isinstance(child, UNITS):
            yield child
        else:
            yield from _outermost(child)


def whole(tensor: Tensor) -> Tensor:
    """All ranks' parts as one tensor; every rank must ask."""
    return tensor.full_tensor() if isinstance(tensor, DTensor) else tensor


def gathered(tensors: Mapping[str, Tensor], accelerator: Accelerator) -> dict[str, Tensor]:
    """All of them whole, in the first rank's memory; every rank must ask, and the others get nothing."""
    found = {}
    for name, tensor in tensors.items():
        together = whole(tensor.detach())
        if accelerator.is_main_process:
            found[name] = together.cpu() if isinstance(tensor, DTensor) else together
    return found


def part_of(tensor: Tensor, like: Tensor) -> Tensor:
    """What this rank holds of a whole tensor, as it holds `like`."""
    if not isinstance(like, DTensor):
        return tensor.to(like.device)
    return distribute_tensor(tensor.to(like.device), like.device_mesh, like.placements, src_data_rank=None)


def local(tensor: Tensor) -> Tensor:
    """This rank's numbers of it, to be changed in place."""
    return tensor.to_local() if isinstance(tensor, DTensor) else tensor


def forget_whole(objective: nn.Module) -> None:
    """Gathered weights are thrown away: they are others now, or nobody asks for their gradients."""
    for unit in _shared_out(objective):
        unit.reshard()


def usable_alone(emo: EMO, accelerator: Accelerator) -> EMO | None:
    """The network for the first rank to run without the others; every rank must ask, and the others get nothing.

    Shared out, it is a copy with all weights: a forward of one rank alone would leave the order in which all gather.
    """
    if not _shared_out(emo):  # as it is
        return emo
    weights = gathered(emo.state_dict(), accelerator)
    if not accelerator.is_main_process:
        return None
    with init_empty_weights():
        copy = EMO(emo.config, emo.buckets)
    copy.load_state_dict(weights, assign=True)
    return copy.requires_grad_(False).to(accelerator.device).eval()


def _shared_out(module: nn.Module) -> list[FSDPModule]:
    return [unit for unit in module.modules() if isinstance(unit, FSDPModule)]
