"""A checkpoint as plain diffusers parts, for whoever has diffusers and not this project.

    unet/             UNet2DConditionModel: the Backbone's own layers (section 3.2)
    reference_unet/   UNet2DConditionModel: ReferenceNet's
    motion_adapter/   MotionAdapter: the Temporal Modules
    vae/              AutoencoderKL, where the network has one (PAPER)
    scheduler/        DDIMScheduler, which trained and samples
    emo/              what diffusers has no class for, as safetensors by our names, and the sizes to build it

A stock UNet reads text, EMO does not: both UNets have text cross-attentions of Stable Diffusion 1.5's width whose every
weight is zero, so that any text adds nothing. ReferenceNet has no last layers; there they are zero, and so is what that
UNet says: its self-attentions' inputs are what EMO reads. ReferenceAttention, which stands in the text's place, is in
emo/. So the parts load everywhere, and all of EMO is only this project's `EMO.from_pretrained(CHECKPOINT)`.
"""

import os
import shutil
from collections.abc import Mapping
from pathlib import Path

import torch
from diffusers import MotionAdapter, UNet2DConditionModel
from safetensors.torch import save_file
from torch import Tensor, nn

from emo_model.data.store import write_text
from emo_model.diffusion import load_schedule
from emo_model.errors import UserError
from emo_model.networks.config import EMOConfig
from emo_model.networks.emo import EMO
from emo_model.networks.weights import TEXT
from emo_model.train.checkpoint import load_network

State = Mapping[str, Tensor]
TEXT_WIDTH = 768  # of Stable Diffusion 1.5's text encoder, so that its pipelines take the UNet
LAST_LAYERS = ("conv_norm_out.", "conv_out.")


def export(checkpoint: Path, folder: Path) -> list[Path]:
    """Write the parts of a checkpoint into a new folder, whole or not at all; returns the folders in it.

    UserError where the folder is there already, or the checkpoint is none.
    """
    if folder.exists():
        raise UserError(f"{folder} is there already; choose another name, run: emo export CHECKPOINT NEW_FOLDER")
    emo, scheduler = load_network(checkpoint), load_schedule(checkpoint)
    temporary = folder.with_name(f".{folder.name}.{os.getpid()}")
    try:
        temporary.mkdir(parents=True)
        backbone = emo.backbone.unet.state_dict()
        unet(emo.config, {n: t for n, t in backbone.items() if not TEXT.search(n)}).save_pretrained(temporary / "unet")
        unet(emo.config, emo.reference_net.unet.state_dict()).save_pretrained(temporary / "reference_unet")
        motion_adapter(emo).save_pretrained(temporary / "motion_adapter")
        if emo.config.latent == "autoencoder_kl":
            emo.latents.get_submodule("vae").save_pretrained(temporary / "vae")
        scheduler.save_pretrained(temporary / "scheduler")
        _rest(emo, {n: t for n, t in backbone.items() if TEXT.search(n)}, temporary / "emo")
        shutil.copy(checkpoint / "provenance.json", temporary / "emo" / "provenance.json")
        write_text(temporary / "README.md", f"```\n{__doc__}```\n")
        os.rename(temporary, folder)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    return sorted(path for path in folder.iterdir() if path.is_dir())


def unet(config: EMOConfig, state: State) -> UNet2DConditionModel:
    """A stock UNet that holds these tensors; text cross-attentions, and last layers where they lack, are zero."""
    with torch.device("meta"):
        stock = UNet2DConditionModel(**config.unet() | {"cross_attention_dim": TEXT_WIDTH})
    absent = {n: t for n, t in stock.state_dict().items() if TEXT.search(n) or n.startswith(LAST_LAYERS)}
    stock.load_state_dict({n: torch.zeros(t.shape) for n, t in absent.items()} | dict(state), assign=True)
    return stock


def motion_adapter(emo: EMO) -> MotionAdapter:
    """The Temporal Modules by diffusers' names: `down_blocks.0.attentions.1` is `down_blocks.0.motion_modules.1`."""
    config = emo.config
    with torch.device("meta"):
        adapter = MotionAdapter(
            config.channels,
            config.layers_per_block,
            motion_num_attention_heads=config.temporal_heads,
            motion_norm_num_groups=config.norm_groups,
            motion_max_seq_length=config.temporal_positions,
        )
    state: dict[str, Tensor] = {}
    for place, module in emo.temporal_modules.modules_by_place.items():
        block, _, layer = place.replace("-", ".").rsplit(".", 2)
        state |= {f"{block}.motion_modules.{layer}.{name}": tensor for name, tensor in module.state_dict().items()}
    adapter.load_state_dict(state, assign=True)
    return adapter


def _rest(emo: EMO, reference_attention: State, folder: Path) -> None:
    folder.mkdir()
    parts: dict[str, nn.Module] = {n: getattr(emo, n) for n in ("face_locator", "audio_layers", "speed_layers")}
    states: dict[str, State] = {"reference_attention": reference_attention}
    for name, state in (states | {name: part.state_dict() for name, part in parts.items()}).items():
        save_file({n: tensor.contiguous() for n, tensor in state.items()}, folder / f"{name}.safetensors")
    write_text(folder / "config.json", emo.config.model_dump_json(indent=2) + "\n")
    write_text(folder / "speed_buckets.json", emo.buckets.model_dump_json(indent=2) + "\n")
