"""Between pixels and the space the Backbone works in (section 3.1).

Shapes: B images of H W pixels, k pixels to a cell, C channels of a latent.
"""

import math

import torch
from diffusers import AutoencoderKL
from einops import rearrange
from torch import Tensor, nn

from emo_model.networks.config import EMOConfig


class PatchLatents(nn.Module):
    """TINY's stand-in for section 3.1's VAE: the low frequencies of each patch's cosine transform, nothing learned.

    Predicting noise means handing every latent channel through the network: 48 channels of folded pixels did not fit
    through layers 64 wide (emo_model/LOG.md), 8 do, and keep real pictures at 30 dB.
    """

    def __init__(self, config: EMOConfig) -> None:
        super().__init__()
        self.side = config.latent_factor
        basis, degree = _patch_basis(self.side, config.latent_channels)
        # Natural images fall off with frequency; undone, every channel has about unit variance.
        scale = config.latent_scale * (1.0 + degree) ** 1.5
        self.register_buffer("encoder", basis * scale[:, None], persistent=False)  # (C, 3 k k)
        self.register_buffer("decoder", (basis / scale[:, None]).T.contiguous(), persistent=False)  # (3 k k, C)

    def encode(self, pixels: Tensor) -> Tensor:
        """(B, 3, H, W) in [-1, 1] -> (B, C, H/k, W/k)."""
        patches = rearrange(pixels, "b c (h i) (w j) -> b h w (c i j)", i=self.side, j=self.side)
        return rearrange(patches @ self.encoder.T, "b h w c -> b c h w")

    def decode(self, latents: Tensor) -> Tensor:
        """The way back, without the high frequencies, clipped to [-1, 1]."""
        patches = rearrange(latents, "b c h w -> b h w c") @ self.decoder.T
        pixels = rearrange(patches, "b h w (c i j) -> b c (h i) (w j)", i=self.side, j=self.side)
        return pixels.clamp(-1, 1)


def _patch_basis(side: int, count: int) -> tuple[Tensor, Tensor]:
    """The `count` coarsest orthonormal patterns of a patch, as (count, 3 side side) rows, and each one's degree.
    Colour differences count as one degree finer than brightness: eyes and codecs agree on that."""
    places = (torch.arange(side) + 0.5) / side
    waves = torch.stack([torch.cos(math.pi * k * places) for k in range(side)])
    waves = waves / waves.norm(dim=1, keepdim=True)
    colours = torch.tensor([[1.0, 1.0, 1.0], [1.0, 0.0, -1.0], [-1.0, 2.0, -1.0]])
    colours = colours / colours.norm(dim=1, keepdim=True)
    patterns = torch.einsum("ac,ui,vj->auvcij", colours, waves, waves).reshape(3 * side * side, -1)
    fine = torch.arange(side)[:, None] + torch.arange(side)
    degree = torch.stack([fine, fine + 1, fine + 1]).flatten()
    coarsest = torch.sort(degree, stable=True).indices[:count]
    return patterns[coarsest], degree[coarsest].float()


class AutoencoderLatents(nn.Module):
    """Section 3.1: Stable Diffusion's VAE, frozen. Its mean is taken: a clip's frames must not differ by chance."""

    def __init__(self, config: EMOConfig) -> None:
        super().__init__()
        self.vae = AutoencoderKL(
            block_out_channels=config.vae_channels,
            down_block_types=("DownEncoderBlock2D",) * len(config.vae_channels),
            up_block_types=("UpDecoderBlock2D",) * len(config.vae_channels),
            layers_per_block=2,
            norm_num_groups=config.norm_groups,
            latent_channels=config.latent_channels,
            sample_size=config.image_size,
            scaling_factor=config.latent_scale,
        ).requires_grad_(False)
        self.scale = config.latent_scale

    def encode(self, pixels: Tensor) -> Tensor:
        """(B, 3, H, W) in [-1, 1] -> (B, C, H/k, W/k), with k = 8 and C = 4."""
        return self.vae.encode(pixels).latent_dist.mode() * self.scale

    def decode(self, latents: Tensor) -> Tensor:
        """The way back, clipped to [-1, 1]."""
        return self.vae.decode(latents / self.scale).sample.clamp(-1, 1)


LATENTS: dict[str, type[PatchLatents | AutoencoderLatents]] = {
    "patches": PatchLatents,
    "autoencoder_kl": AutoencoderLatents,
}
