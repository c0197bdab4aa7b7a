"""Latents of the training clips, made once (section 3.1): the VAE is frozen, so no step need run it again.

    1_clips/.../latents-ENCODER/CROP.npy   float16 (frames, C, h, w), beside the crop and named by its sha256

ENCODER names the VAE's weights, its sizes and its precision: another crop or another VAE never reads an old file.
A window of 17 pictures of 512 pixels is 0.6 MB so, and neither H.264 nor the VAE stands between a step and its data.
"""

import shutil
import sys
from collections.abc import Callable

import numpy as np
import torch
from accelerate import Accelerator

from emo_model.data.dataset import Clip, ClipDataset
from emo_model.data.store import text_sha256, write_array
from emo_model.errors import UserError
from emo_model.networks.emo import EMO
from emo_model.train.checkpoint import tensors_sha256

AT_ONCE = 8  # pictures through the VAE: a frame of 512 pixels holds some 0.4 GB there
TOLD_EVERY = 50  # clips


def encoder_key(emo: EMO, precision: str) -> str:
    """Of what decides a latent beside its picture."""
    config = emo.config
    sizes = (config.latent, config.latent_channels, config.latent_factor, config.latent_scale, config.image_size)
    return text_sha256(*map(str, sizes), precision, tensors_sha256(emo.latents.state_dict()))[:16]


def encode_clips(
    emo: EMO, clips: ClipDataset, accelerator: Accelerator, told_to_stop: Callable[[], bool] = lambda: False
) -> None:
    """Make what latents are missing, and let the dataset's batches read them. Ranks share the clips.

    A kill, or being told to stop, loses one clip's work. UserError where the disk has no room.
    """
    key = encoder_key(emo, accelerator.mixed_precision)
    missing = [clip for clip in clips.clips if not clip.frames.latents(key).is_file()]
    _require_room(emo, missing)
    accelerator.wait_for_everyone()  # all have the same list before any writes
    mine = missing[accelerator.process_index :: accelerator.num_processes]
    for done, clip in enumerate(mine):
        if told_to_stop():
            break
        if done % TOLD_EVERY == 0 and accelerator.is_main_process:
            print(f"latents: {done} of {len(mine)} clips", file=sys.stderr)
        _encode(emo, clip, key, accelerator)
    accelerator.wait_for_everyone()
    clips.latents = key


@torch.no_grad()
def _encode(emo: EMO, clip: Clip, key: str, accelerator: Accelerator) -> None:
    parts = []
    for first in range(0, clip.num_frames, AT_ONCE):
        numbers = np.arange(first, min(first + AT_ONCE, clip.num_frames))
        with accelerator.autocast():
            parts.append(emo.encode_pixels(clip.pixels(numbers).to(accelerator.device)).cpu().half())
    write_array(clip.frames.latents(key), torch.cat(parts).numpy())


def _require_room(emo: EMO, missing: list[Clip]) -> None:
    if not missing:
        return
    frame = 2 * emo.config.latent_channels * emo.config.latent_size**2
    wanted = frame * sum(clip.num_frames for clip in missing)
    free = shutil.disk_usage(missing[0].frames.path.parent).free
    if wanted > free:
        raise UserError(
            f"latents of {len(missing)} clips want {wanted / 1e9:.1f} GB, {free / 1e9:.1f} GB are free in "
            f"{missing[0].frames.path.parent}; make room, or run: emo train --set cache_latents=false"
        )
