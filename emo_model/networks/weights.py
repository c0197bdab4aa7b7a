"""How every parameter starts: from Stable Diffusion and AnimateDiff where there is a source, else as no change."""

import re
from dataclasses import dataclass

import torch
from torch import nn

from emo_model.errors import UserError
from emo_model.networks.published import State, animatediff, stable_diffusion
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


@dataclass(frozen=True)
class Loaded:
    """What went into one part: how much of it came from the file, what of the file has no place, what starts fresh."""

    part: str
    tensors: int
    parameters: int
    left_out: tuple[str, ...] = ()  # by group: text cross-attentions and the like, which EMO does not have
    fresh: tuple[str, ...] = ()  # by group: starts as no change

    def line(self) -> str:
        """One line for a log."""
        out = f"; left out: {', '.join(self.left_out)}" if self.left_out else ""
        new = f"; not in the file, starts as no change: {', '.join(self.fresh)}" if self.fresh else ""
        return f"{self.part}: {self.tensors} tensors, {self.parameters / 1e6:.1f} M parameters{out}{new}"


def from_stable_diffusion(emo: nn.Module, unet: State, vae: State | None = None) -> list[Loaded]:
    """Both UNets (and the VAE) from Stable Diffusion (section 3.2), by diffusers' names.

    ValueError where any tensor is missing or has no place: nothing is left random in silence.
    """
    source = {name: tensor for name, tensor in unet.items() if not TEXT.search(name)}
    text = ("text cross-attentions",)
    missing, left = _load(emo.backbone.unet, source)
    _refuse("Backbone", [name for name in missing if not TEXT.search(name)], left)
    own = {name: tensor for name, tensor in source.items() if not name.startswith(("conv_norm_out.", "conv_out."))}
    _refuse("ReferenceNet", *_load(emo.reference_net.unet, own))
    start_reference_attention(emo)
    report = [
        _loaded("backbone", source, text),
        _loaded("reference_net", own, (*text, "the layers after the last map")),
    ]
    if vae is not None:
        _refuse("VAE", *_load(emo.latents.vae, vae))
        report.append(_loaded("latents", vae))
    return report


def from_animatediff(emo: nn.Module, adapter: State) -> list[Loaded]:
    """Temporal Modules from AnimateDiff (section 3.2), by diffusers' names, position tables left out.

    v1 and v3 have no module in the middle block: ours starts as no change then, and the report says so. ValueError
    where any other tensor is missing or has no place: a wrong file must not silently leave random layers.
    """
    source = dict(adapter)
    renamed: State = {}
    for place in (p.replace("-", ".") for p in emo.temporal_modules.modules_by_place):
        block, _, layer = place.rsplit(".", 2)
        prefix = f"{block}.motion_modules.{layer}."
        for name in [name for name in source if name.startswith(prefix)]:
            renamed[f"{key(place)}.{name.removeprefix(prefix)}"] = source.pop(name)
    missing, left = _load(emo.temporal_modules.modules_by_place, renamed)
    missing = [name for name in missing if not name.endswith(".pos_embed.pe")]
    no_middle = not any(name.startswith("mid_block.") for name in adapter)
    fresh = [name for name in missing if no_middle and name.startswith("mid_block-")]
    _refuse("Temporal Modules", [name for name in missing if name not in fresh], [*left, *source])
    return [_loaded("temporal_modules", renamed, fresh=("the middle block's",) if fresh else ())]


def from_base_weights(emo: nn.Module) -> list[Loaded]:
    """Stable Diffusion 1.5 and AnimateDiff from the weights registry. UserError names the command that gets them, or
    what in a file does not fit."""
    from emo_model import weights

    paths = {name: weights.path(name) for name in ("sd15", "animatediff")}
    report = []
    for name, load in (
        ("sd15", lambda path: from_stable_diffusion(emo, *stable_diffusion(path, emo.config))),
        ("animatediff", lambda path: from_animatediff(emo, animatediff(path))),
    ):
        try:
            report += load(paths[name])
        except ValueError as error:
            raise UserError(f"{paths[name]} does not fit: {error}; run: emo weights list") from error
    return report


def _load(module: nn.Module, state: State) -> tuple[list[str], list[str]]:
    """(names missing, names too many). A tensor of another shape counts as both."""
    expected = module.state_dict()
    fitting = {n: t for n, t in state.items() if n in expected and t.shape == expected[n].shape}
    module.load_state_dict(fitting, strict=False)
    return [name for name in expected if name not in fitting], [name for name in state if name not in fitting]


def _loaded(part: str, state: State, left_out: tuple[str, ...] = (), fresh: tuple[str, ...] = ()) -> Loaded:
    return Loaded(part, len(state), sum(tensor.numel() for tensor in state.values()), left_out, fresh)


def _refuse(part: str, missing: list[str], left: list[str]) -> None:
    if missing or left:
        raise ValueError(f"{part}: {len(missing)} tensors missing ({missing[:3]}), {len(left)} too many ({left[:3]})")


def _zero(layer: nn.Module) -> None:
    for parameter in layer.parameters():
        parameter.zero_()
