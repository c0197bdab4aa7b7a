"""Sampling (section 4.1): clip after clip of f frames, each going on from the last n of the one before."""

from collections.abc import Callable, Iterator
from contextlib import nullcontext
from dataclasses import replace
from functools import partial
from typing import Protocol

import torch
from diffusers import DDIMScheduler
from einops import rearrange, repeat
from torch import Tensor

from emo_model import diffusion
from emo_model.data.audio_encoders import FPS
from emo_model.generate.guidance import CONDITIONS, Guidance, combined
from emo_model.generate.once import projected_once
from emo_model.networks.emo import EMO, FrameFeatures

Speed = (
    float | None | Callable[[float], float | None]
)  # degrees a frame; None: unknown; or that at a second of the video


CLIPS_A_SEED = 1_000_003  # seeds of a video's clips, and the last for what they share: 111 hours of video


class Features(Protocol):
    """What the encoder hears, a frame at 30 fps: a tensor (T, layers, width), or `Hearing`."""

    def __len__(self) -> int: ...

    def __getitem__(self, frames: Tensor) -> Tensor:
        """(len(frames), layers, width) of these frame numbers."""


@torch.no_grad()
def animate(
    emo: EMO,
    scheduler: DDIMScheduler,
    reference: Tensor,
    mask: Tensor,
    audio: Features,
    speed: Speed,
    *,
    steps: int,
    guidance: float | Guidance,
    seed: int,
    sampler: str = "ddim",
    shared: float = 0.0,
    first_clip: int = 0,
    before: Tensor | None = None,
    precision: torch.dtype = torch.float32,
) -> Iterator[Tensor]:
    """Yield the video's clips, (up to f, 3, H, W) in [-1, 1]; together they are as long as the audio.

    reference (3, H, W) in [-1, 1]; mask (1, H, W) in {0, 1}; audio (T, layers, width), one a frame at 30 fps;
    speed in degrees a frame, one a clip: where it changes, its value at the clip's middle; shared: of the noise, as the
    checkpoint learned (diffusion.load_shared). A video that was cut short
    goes on with `first_clip` and the n frames (n, 3, H, W) `before` it, to the same bits. precision: of the networks'
    matrices; latents are float32. The same arguments give the same video on one machine.
    """
    if first_clip and before is None:
        raise ValueError(f"clip {first_clip} goes on from the frames before it; none were given")
    config, total, guidance = emo.config, len(audio), Guidance.of(guidance)
    # A trainer that draws samples has its own autocast open: float32 leaves it be.
    half = partial(torch.autocast, reference.device.type, precision)
    autocast = nullcontext if precision == torch.float32 else half
    with autocast():  # zero maps stand for the motion frames of the first clip
        portrait = emo.encode_frames(emo.encode_pixels(reference[None]))
    for number, first in enumerate(range(first_clip * config.frames, total, config.frames), start=first_clip):
        heard = audio[nearby(first, config.frames, config.nearby, total)].to(reference)
        asked = speed((first + config.frames / 2) / FPS) if callable(speed) else speed
        pace = torch.full((1, len(heard)), torch.nan if asked is None else asked).to(heard)
        # A first clip has no motion frames to be held to.
        scales = replace(guidance, motion=1.0) if before is None else guidance
        with autocast(), projected_once(emo):  # never open while whoever takes the clips is at work
            features = portrait if before is None else replace(portrait, motion=_motion(emo, before))
            predict = guided(emo, features, heard[None], pace, mask[None], scales)
            z = noise(emo, seed, number, shared).to(reference)
            latents = diffusion.denoise(predict, z, scheduler, steps, sampler)
            pixels = emo.decode_latents(latents[0]).to(reference)
        yield pixels[: total - first]
        before = pixels[-config.motion_frames :]


def _motion(emo: EMO, before: Tensor) -> dict[str, Tensor]:
    return emo.encode_motion(emo.encode_pixels(before)[None])


@torch.no_grad()
def stills(
    emo: EMO,
    scheduler: DDIMScheduler,
    reference: Tensor,
    mask: Tensor,
    steps: int,
    guidance: float | Guidance,
    seed: int,
) -> Tensor:
    """Stage 1's pictures: reference (B, 3, H, W) in [-1, 1], mask (B, 1, H, W) -> (B, 3, H, W). No Temporal Modules."""
    features = emo.encode_reference(emo.encode_pixels(reference))
    nobody = features.without_reference()
    predict = diffusion.guided(
        lambda z, t: emo(z, t, features, mask=mask),
        lambda z, t: emo(z, t, nobody, mask=mask),
        Guidance.of(guidance).reference,
    )
    z = torch.cat([noise(emo, seed, number)[:, :1] for number in range(len(reference))]).to(reference)
    return emo.decode_latents(diffusion.denoise(predict, z, scheduler, steps)[:, 0])


def nearby(first: int, frames: int, m: int, total: int) -> Tensor:
    """(F + 2m,) indices of a clip's frames with their real neighbours; the video's own edges repeat."""
    return torch.arange(first - m, first + frames + m).clamp(0, total - 1)


def noise(emo: EMO, seed: int, number: int, shared: float = 0.0) -> Tensor:
    """(1, F, C, h, w) of the video's clip `number`, drawn on the CPU: the same on every device. What is shared, is so
    by all clips of the video: their seams are then like any other step from frame to frame."""
    config = emo.config
    shape = (1, config.frames, config.latent_channels, config.latent_size, config.latent_size)
    draw = lambda clip, *size: torch.randn(  # noqa: E731
        size, generator=torch.Generator().manual_seed(seed * CLIPS_A_SEED + clip)
    )
    own = draw(number, *shape)
    return diffusion.mixed(draw(CLIPS_A_SEED - 1, 1, 1, *shape[2:]), own, shared) if shared else own


def guided(
    emo: EMO, features: FrameFeatures, audio: Tensor, speed: Tensor, masks: Tensor | None, guidance: float | Guidance
) -> diffusion.Predict:
    """Classifier-free guidance (guidance.py), all branches in one batch.

    Of B clips: features, audio (B, F + 2m, layers, width), speed (B, F + 2m) degrees a frame or NaN, masks (B, 1, H, W)
    or None. What a branch does not know is not computed for it: those that know a condition are the last of the batch.
    """
    branches = Guidance.of(guidance).branches()
    count = len(branches)
    knowing = {name: sum(name in branch.known for branch in branches) for name in CONDITIONS}
    motion = _repeated(features.motion, count)
    seen = FrameFeatures(_repeated(features.reference, knowing["reference"]), motion)
    if knowing["motion"] < count:  # unlike the others they are never left out, only zero maps: Temporal Modules run
        knows = torch.tensor([float("motion" in branch.known) for branch in branches]).to(audio)
        seen = seen.keep(None, knows.repeat_interleave(len(audio)))
    heard = _rows(audio, knowing["audio"]) if knowing["audio"] else None
    pace = _rows(speed, knowing["speed"]) if knowing["speed"] else None
    where = None if masks is None else _rows(masks, count)

    given = emo.conditions(count * len(audio), emo.config.frames, seen, heard, pace, where)

    def predict(z: Tensor, t: Tensor) -> Tensor:
        found = emo.backbone(_rows(z, count), _rows(t, count), given).to(z)  # differences are taken in float32
        return combined(rearrange(found, "(k b) ... -> k b ...", k=count), branches)

    return predict


def _rows(each: Tensor, count: int) -> Tensor:
    """(B, ...) so many times, one after another. Of one clip that takes no memory."""
    return repeat(each, "b ... -> (k b) ...", k=count)


def _repeated(maps: dict[str, Tensor] | None, count: int) -> dict[str, Tensor] | None:
    return {name: _rows(each, count) for name, each in maps.items()} if maps and count else None
