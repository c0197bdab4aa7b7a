"""Base weights in the layouts they are published in, as diffusers' state dicts. Nothing is looked up on a hub.

    Stable Diffusion 1.5    a diffusers folder (unet/, vae/), or the original single .safetensors
    AnimateDiff             a diffusers MotionAdapter folder, or the original .ckpt / .safetensors (v1, v2, v3)

Original files are renamed by diffusers' own converters, whose layout comes from the network's config: they leave out
what they do not know, so whoever loads the result has to count (weights.py does).
"""

from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from emo_model.errors import UserError
from emo_model.networks.config import EMOConfig

State = dict[str, Tensor]
FILES = ("diffusion_pytorch_model.safetensors", "diffusion_pytorch_model.fp16.safetensors")
ORIGINALS = ("*.safetensors", "*.ckpt")
_UNET, _VAE = "model.diffusion_model.", "first_stage_model."
_POSITIONS = (".pos_encoder.pe", ".pos_embed.pe")  # sinusoids: they follow from their length, so are not read


def stable_diffusion(path: Path, config: EMOConfig) -> tuple[State, State]:
    """(UNet, VAE) of a diffusers folder, a single file, or a folder that holds one. UserError where it is neither."""
    if (path / "unet").is_dir():
        return _folder(path / "unet"), _renamed(_folder(path / "vae"))
    from diffusers.loaders.single_file_utils import convert_ldm_unet_checkpoint, convert_ldm_vae_checkpoint

    file = _single(path, "a diffusers folder (unet/, vae/) or Stable Diffusion 1.5's single .safetensors")
    original = _read(file)
    if not any(name.startswith(_UNET) for name in original):
        raise UserError(f"{file} holds no Stable Diffusion UNet ({_UNET}*); run: emo weights list")
    unet = {**config.unet(), "class_embed_type": None, "addition_embed_type": None, "num_class_embeds": None}
    vae = dict.fromkeys(("down_block_types", "up_block_types"), config.vae_channels)  # only their number is read
    return convert_ldm_unet_checkpoint(original, unet), convert_ldm_vae_checkpoint(original, vae)


def animatediff(path: Path) -> State:
    """Motion modules by diffusers' names, without position tables. UserError where the file is none of AnimateDiff."""
    from diffusers.loaders.single_file_utils import convert_animatediff_checkpoint_to_diffusers

    if path.is_dir() and any((path / name).is_file() for name in FILES):
        state = _folder(path)
    else:
        file = _single(path, "a MotionAdapter folder or AnimateDiff's single .ckpt or .safetensors")
        original = {name.removeprefix("module."): tensor for name, tensor in _read(file).items()}
        if not any(".motion_modules." in name for name in original):
            raise UserError(f"{file} holds no motion modules; run: emo weights list")
        state = convert_animatediff_checkpoint_to_diffusers(original)
    return {name: tensor for name, tensor in state.items() if not name.endswith(_POSITIONS)}


def _renamed(vae: State) -> State:
    """Stable Diffusion 1.5's own folder still names the VAE's attention as diffusers did in 2022."""
    names = {".query.": ".to_q.", ".key.": ".to_k.", ".value.": ".to_v.", ".proj_attn.": ".to_out.0."}
    for old, new in names.items():
        vae = {name.replace(old, new): tensor for name, tensor in vae.items()}
    return vae


def _folder(folder: Path) -> State:
    found = next((folder / name for name in FILES if (folder / name).is_file()), None)
    if found is None:
        raise UserError(f"{folder} has no {FILES[0]} (a .bin is a pickle and is not read); run: emo weights list")
    return _read(found)


def _single(path: Path, wanted: str) -> Path:
    files = [path] if path.is_file() else [file for pattern in ORIGINALS for file in sorted(path.glob(pattern))]
    if len(files) != 1:
        raise UserError(f"{path}: wanted {wanted}, found {len(files)} such files; run: emo weights list")
    return files[0]


def _read(file: Path) -> State:
    try:
        if file.suffix == ".safetensors":
            return load_file(file)
        loaded = torch.load(file, map_location="cpu", weights_only=True)
    except (SafetensorError, RuntimeError, EOFError, OSError, ValueError) as error:
        raise UserError(f"{file} cannot be read ({error}); bring it again: run: emo weights list") from error
    except Exception as error:  # pickle's errors have no common parent; weights_only refuses what is not tensors
        raise UserError(f"{file} is no file of tensors ({type(error).__name__}); run: emo weights list") from error
    inner: Mapping[str, object] = loaded.get("state_dict", loaded) if isinstance(loaded, dict) else {}
    return {name: tensor for name, tensor in inner.items() if isinstance(tensor, Tensor)}
