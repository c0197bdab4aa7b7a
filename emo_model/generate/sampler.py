"""Sampling (section 4.1): clip after clip of f frames, each going on from the last n of the one before."""

from collections.abc import Iterator

import torch
from diffusers import DDIMScheduler
from torch import Tensor

from emo_model import diffusion
from emo_model.networks.emo import EMO, FrameFeatures


@torch.no_grad()
def animate(
    emo: EMO,
    scheduler: DDIMScheduler,
    reference: Tensor,
    mask: Tensor,
    audio: Tensor,
    speed: float | None,
    *,
    steps: int,
    guidance: float,
    seed: int,
) -> Iterator[Tensor]:
    """Yield the video's clips, (up to f, 3, H, W) in [-1, 1]; together they are as long as the audio.

    reference (3, H, W) in [-1, 1]; mask (1, H, W) in {0, 1}; audio (T, layers, width), one a frame at 30 fps;
    speed in degrees a frame, None: unknown. The same arguments give the same video on one machine.
    """
    config, total = emo.config, len(audio)
    reference_latent = emo.encode_pixels(reference[None])
    motion = None  # the first clip has zero maps in the place of motion frames
    for number, first in enumerate(range(0, total, config.frames)):
        features = emo.encode_frames(reference_latent, motion)
        heard = audio[nearby(first, config.frames, config.nearby, total)]
        predict = guided(emo, features, heard, speed, mask, guidance)
        latents = diffusion.denoise(predict, noise(emo, seed, number).to(reference), scheduler, steps)
        pixels = emo.decode_latents(latents[0])
        yield pixels[: total - first]
        motion = emo.encode_pixels(pixels[-config.motion_frames :])[None]


@torch.no_grad()
def stills(
    emo: EMO, scheduler: DDIMScheduler, reference: Tensor, mask: Tensor, steps: int, guidance: float, seed: int
) -> Tensor:
    """Stage 1's pictures: reference (B, 3, H, W) in [-1, 1], mask (B, 1, H, W) -> (B, 3, H, W). No Temporal Modules."""
    features = emo.encode_reference(emo.encode_pixels(reference))
    nobody = features.without_reference()
    predict = diffusion.guided(
        lambda z, t: emo(z, t, features, mask=mask), lambda z, t: emo(z, t, nobody, mask=mask), guidance
    )
    z = torch.cat([noise(emo, seed, number)[:, :1] for number in range(len(reference))]).to(reference)
    return emo.decode_latents(diffusion.denoise(predict, z, scheduler, steps)[:, 0])


def nearby(first: int, frames: int, m: int, total: int) -> Tensor:
    """(F + 2m,) indices of a clip's frames with their real neighbours; the video's own edges repeat."""
    return torch.arange(first - m, first + frames + m).clamp(0, total - 1)


def noise(emo: EMO, seed: int, number: int) -> Tensor:
    """(1, F, C, h, w) of the video's clip `number`, drawn on the CPU: the same on every device."""
    generator = torch.Generator().manual_seed(seed * 1_000_003 + number)
    config = emo.config
    shape = (1, config.frames, config.latent_channels, config.latent_size, config.latent_size)
    return torch.randn(shape, generator=generator)


def guided(
    emo: EMO, features: FrameFeatures, audio: Tensor, speed: float | None, mask: Tensor, scale: float
) -> diffusion.Predict:
    """Classifier-free guidance away from no portrait, no sound and no speed.

    Scale 1 is one branch: the paper read literally. Region and motion frames stay in both, as in training. Two calls
    and not one of twice the batch: what a branch does not read is then not computed, and half the memory is enough.
    """
    paces = torch.full((1, audio.shape[0]), torch.nan if speed is None else speed).to(audio)
    nothing = features.without_reference()
    return diffusion.guided(
        lambda z, t: emo(z, t, features, audio[None], paces, mask[None]),
        lambda z, t: emo(z, t, nothing, mask=mask[None]),
        scale,
    )
