"""Many videos of the small true world at once: what generation does (emo_model/generate/sampler.py), with a batch in
front.

Shapes: V videos, T frames, S pixels a side.
"""

from dataclasses import asdict, dataclass, replace
from typing import Literal

import numpy as np
import torch
from diffusers import DDIMScheduler
from torch import Tensor

from emo_model import diffusion
from emo_model.generate.guidance import CONDITIONS, Guidance
from emo_model.generate.sampler import guided, nearby, noise
from emo_model.networks.emo import EMO

Without = Literal["nothing", "reference", "audio", "speed", "motion", "mask"]
GUIDANCE = Guidance.of(1.0)  # none: the paper read literally; 2 for voice and speed gains nothing (emo_model/LOG.md)


@dataclass(frozen=True)
class Asked:
    """What V videos are to be: portraits (V, 3, S, S) in [-1, 1], masks (V, 1, S, S), home (V, 1, S, S) those of the
    heads where the portraits have them, audio (V, T, layers, width), speed (V,) degrees a frame, NaN: unknown."""

    portraits: Tensor
    masks: Tensor
    home: Tensor
    audio: Tensor
    speed: Tensor

    def __len__(self) -> int:
        return len(self.portraits)

    def of(self, rows: slice) -> "Asked":
        """Some of them."""
        return Asked(self.portraits[rows], self.masks[rows], self.home[rows], self.audio[rows], self.speed[rows])


@dataclass(frozen=True)
class How:
    """Sampling, and which condition is left out of it (an ablation): each is then what training calls dropped. Without
    "motion" every clip starts from zero maps, as a video's first; without "mask", which training never drops, the
    region is the portrait's own, wherever another is asked for."""

    steps: int = 6
    guidance: Guidance = GUIDANCE
    seed: int = 0
    at_once: int = 10
    shared: float = 0.0  # of the noise, as the model learned
    without: Without = "nothing"

    def scales(self) -> Guidance:
        """Of what is given; 0 for what is left out."""
        return Guidance(**{**asdict(self.guidance), self.without: 0.0}) if self.without in CONDITIONS else self.guidance


@torch.no_grad()
def videos(emo: EMO, scheduler: DDIMScheduler, asked: Asked, how: How) -> Tensor:
    """(V, T, 3, S, S) in [-1, 1]. Each video's noise is its own, whatever it is batched with."""
    found = [
        _together(emo, scheduler, asked.of(slice(first, first + how.at_once)), how, first)
        for first in range(0, len(asked), how.at_once)
    ]
    return torch.cat(found)


def _together(emo: EMO, scheduler: DDIMScheduler, asked: Asked, how: How, first: int) -> Tensor:
    f, n, m, total = emo.config.frames, emo.config.motion_frames, emo.config.nearby, asked.audio.shape[1]
    reference, motion, parts, scales = emo.encode_pixels(asked.portraits), None, [], how.scales()
    speed = asked.speed[:, None].expand(-1, f + 2 * m)
    masks = asked.home if how.without == "mask" else asked.masks
    for number, start in enumerate(range(0, total, f)):
        features = emo.encode_frames(reference, motion)
        heard = asked.audio[:, nearby(start, f, m, total)].float()
        predict = guided(emo, features, heard, speed, masks, replace(scales, motion=1.0) if motion is None else scales)
        z = torch.cat([noise(emo, _seed(how.seed, first + k), number, how.shared) for k in range(len(asked))])
        pixels = emo.decode_latents(diffusion.denoise(predict, z, scheduler, how.steps).flatten(0, 1))
        pixels = pixels.unflatten(0, (len(asked), f))
        parts.append(pixels[:, : total - start])
        motion = emo.encode_pixels(pixels[:, -n:].flatten(0, 1)).unflatten(0, (len(asked), n))
    return torch.cat(parts, dim=1)


def _seed(seed: int, video: int) -> int:
    return int(np.random.SeedSequence([seed, video]).generate_state(1)[0])
