"""A batch to its loss: what every stage minimises, as one module that accelerate can wrap."""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from diffusers import DDIMScheduler
from einops import pack, unpack
from torch import Tensor, nn

from emo_model import diffusion
from emo_model.networks.emo import EMO, FrameFeatures
from emo_model.train.config import TrainConfig
from emo_model.train.stages import Stage


@dataclass(frozen=True)
class Draw:
    """All that is random in one step, drawn on the CPU from (seed, step): a resumed run draws the same."""

    t: Tensor  # (B,)
    noise: Tensor  # (B, F, C, h, w)
    reference: Tensor  # (B,) 1: kept, 0: dropped; so the next three
    audio: Tensor
    speed: Tensor
    motion: Tensor


def draw(shape: tuple[int, ...], config: TrainConfig, generator: torch.Generator, steps: int = 1000) -> Draw:
    """Timesteps, noise and dropped conditions for latents of shape (B, F, C, h, w)."""
    batch = shape[0]
    t = torch.randint(steps, (batch,), generator=generator)
    noise = diffusion.draw_noise(torch.empty(shape), diffusion.RECIPES[config.noise], generator)
    lot = torch.rand(batch, generator=generator) / config.drop if config.drop else torch.full((batch,), torch.inf)
    # Four equal shares: each condition alone, and all at once, which is what guidance subtracts.
    kept = [~((lot < 4) & ((lot.floor() == share) | (lot.floor() == 3))) for share in range(3)]
    motion = torch.rand(batch, generator=generator) >= config.first_clip
    return Draw(t, noise, *(k.float() for k in (*kept, motion)))


def fixed_draw(shape: tuple[int, ...], config: TrainConfig, seed: int, steps: int = 1000) -> Draw:
    """For validation: timesteps spread evenly over the schedule, noise by seed, nothing dropped."""
    batch = shape[0]
    generator = torch.Generator().manual_seed(seed)
    spread = (torch.arange(batch) + torch.rand((), generator=generator)) / batch
    noise = diffusion.draw_noise(torch.empty(shape), diffusion.RECIPES[config.noise], generator)
    return Draw((spread * steps).long(), noise, *(torch.ones(batch) for _ in range(4)))


class Objective(nn.Module):
    """Equation 1 on a batch of the stage's data.

    Image stage: {"pixels": (B, 1, 3, H, W) in [-1, 1], "reference": (B, 3, H, W), "mask": (B, 1, H, W) in {0, 1},
    "clip_id": list[str], "frame": (B,), "reference_frame": (B,)}. Video and speed stages: pixels (B, F, 3, H, W), and
    "motion": (B, N, 3, H, W), "audio": (B, F + 2m, layers, width), "speed": (B, F + 2m) degrees a frame, NaN unknown.
    Any of the three pictures may come as latents made before (train/latents.py): "pixels_latents": (B, F, C, h, w), ...
    """

    def __init__(self, emo: EMO, scheduler: DDIMScheduler, stage: Stage, config: TrainConfig) -> None:
        super().__init__()
        self.emo, self.scheduler, self.stage, self.config = emo, scheduler, stage, config

    def latent_shape(self, batch: Mapping[str, Tensor]) -> tuple[int, ...]:
        """(B, F, C, h, w) of a batch."""
        size = self.emo.config.latent_size
        pictures = batch["pixels_latents"] if "pixels_latents" in batch else batch["pixels"]
        return (*pictures.shape[:2], self.emo.config.latent_channels, size, size)

    def forward(self, batch: Mapping[str, Tensor], draw: Draw) -> Tensor:
        """One loss a clip: (B,)."""
        latents = self._latents(batch, "pixels")
        features = self._features(batch, draw)
        conditions = {"mask": batch["mask"].to(latents)} | self._voice_and_speed(batch, draw)
        return diffusion.loss(
            lambda z, t: self.emo(z, t, features, **conditions),
            latents,
            draw.t.to(latents.device),
            draw.noise.to(latents),
            self.scheduler,
            diffusion.RECIPES[self.config.noise].min_snr,
        )

    def _features(self, batch: Mapping[str, Tensor], draw: Draw) -> FrameFeatures:
        reference = self._latents(batch, "reference")
        if not self.stage.video:
            return self.emo.encode_reference(reference).keep(draw.reference.to(reference))
        features = self.emo.encode_frames(reference, self._latents(batch, "motion"))
        return features.keep(draw.reference.to(reference), draw.motion.to(reference))

    def _voice_and_speed(self, batch: Mapping[str, Tensor], draw: Draw) -> dict[str, Tensor]:
        given = {}
        if "audio" in self.stage.reads:
            given["audio"] = batch["audio"].float() * draw.audio.to(batch["audio"].device)[:, None, None, None]
        if "speed" in self.stage.reads:
            dropped = draw.speed.to(batch["speed"].device)[:, None] == 0
            given["speed"] = batch["speed"].float().masked_fill(dropped, torch.nan)
        return given

    @torch.no_grad()
    def _latents(self, batch: Mapping[str, Tensor], name: str) -> Tensor:
        """(..., C, h, w) of a batch's pictures (..., 3, H, W), from the VAE or from the latents made before."""
        if (made := batch.get(f"{name}_latents")) is not None:
            return made.float()
        flat, packed = pack([batch[name]], "* c h w")
        return unpack(self.emo.encode_pixels(flat), packed, "* c h w")[0]
