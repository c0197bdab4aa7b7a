"""How every parameter starts: from Stable Diffusion and AnimateDiff where there is a source, else as no change."""

import re

import torch
from diffusers import AutoencoderKL, MotionAdapter, UNet2DConditionModel
from torch import nn

from emo_model.networks.unet import key, transformer_blocks

# Of a stock transformer block, what reads text: ours has a ReferenceAttention there (resnets have a norm2 too).
TEXT = re.compile(r"transformer_blocks\.\d+\.(attn2|norm2)\.")


def zero_started(emo: nn.Module) -> list[nn.Module]:
    """The output of every branch that joins a UNet: zero at first, so that the branch changes nothing."""
    return [
        *(block.attn2.attention.to_out[0] for block in transformer_blocks(emo.backbone.unet).values()),
        *(attention.attention.to_out[0] for attention in emo.audio_layers.attentions.values()),
        *(module.proj_out for module in emo.temporal_modules.modules_by_place.values()),
        *(attention.to_out[0] for attention in emo.speed_layers.attentions.values()),
        emo.face_locator.out,
    ]


@torch.no_grad()
def start_as_no_change(emo: nn.Module) -> None:
    """The network starts as the UNet with its text cross-attentions skipped."""
    start_reference_attention(emo)
    for projection in zero_started(emo):
        _zero(projection)


@torch.no_grad()
def start_reference_attention(emo: nn.Module) -> None:
    """Queries, keys and values as the same block's self-attention (SD's text keys are 768 wide, these are layer wide);
    output zero."""
    for block in transformer_blocks(emo.backbone.unet).values():
        own, new = block.attn1, block.attn2
        new.norm.load_state_dict(block.norm1.state_dict())
        for part in ("to_q", "to_k", "to_v"):
            getattr(new.attention, part).load_state_dict(getattr(own, part).state_dict())
        _zero(new.attention.to_out[0])


def from_stable_diffusion(emo: nn.Module, unet: UNet2DConditionModel, vae: AutoencoderKL | None = None) -> None:
    """Both UNets (and the VAE) from Stable Diffusion (section 3.2). ValueError where any tensor has no place."""
    source = {name: tensor for name, tensor in unet.state_dict().items() if not TEXT.search(name)}
    missing, left = emo.backbone.unet.load_state_dict(source, strict=False)
    _refuse("Backbone", [name for name in missing if not TEXT.search(name)], left)
    missing, left = emo.reference_net.unet.load_state_dict(source, strict=False)
    _refuse(
        "ReferenceNet",
        missing,
        [name for name in left if not name.startswith(("conv_norm_out.", "conv_out."))],
    )
    start_reference_attention(emo)
    if vae is not None:
        emo.latents.vae.load_state_dict(vae.state_dict())


def from_animatediff(emo: nn.Module, adapter: MotionAdapter) -> None:
    """Temporal Modules from AnimateDiff (section 3.2). ValueError where any tensor has no place: a wrong file must not
    silently leave random layers."""
    source = adapter.state_dict()
    renamed = {}
    for place in (p.replace("-", ".") for p in emo.temporal_modules.modules_by_place):
        block, _, layer = place.rsplit(".", 2)
        prefix = f"{block}.motion_modules.{layer}."
        for name in [name for name in source if name.startswith(prefix)]:
            renamed[f"{key(place)}.{name.removeprefix(prefix)}"] = source.pop(name)
    missing, left = emo.temporal_modules.modules_by_place.load_state_dict(renamed, strict=False)
    _refuse("Temporal Modules", missing, [*left, *source])


def from_base_weights(emo: nn.Module) -> None:
    """Stable Diffusion 1.5 and AnimateDiff from the weights registry. UserError names the command that gets them."""
    from emo_model import weights

    diffusion = weights.path("sd15")
    from_stable_diffusion(
        emo,
        UNet2DConditionModel.from_pretrained(diffusion, subfolder="unet"),
        AutoencoderKL.from_pretrained(diffusion, subfolder="vae"),
    )
    from_animatediff(emo, MotionAdapter.from_pretrained(weights.path("animatediff")))


def _refuse(part: str, missing: list[str], left: list[str]) -> None:
    if missing or left:
        raise ValueError(f"{part}: {len(missing)} tensors missing ({missing[:3]}), {len(left)} too many ({left[:3]})")


def _zero(layer: nn.Module) -> None:
    for parameter in layer.parameters():
        parameter.zero_()
