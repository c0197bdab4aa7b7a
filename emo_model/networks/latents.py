"""Between pixels and the space the Backbone works in (section 3.1)."""

import torch.nn.functional as F
from diffusers import AutoencoderKL
from torch import Tensor, nn

from emo_model.networks.config import EMOConfig


class PixelLatents(nn.Module):
    """TINY: pixels folded into channels, nothing learned and nothing lost."""

    def __init__(self, config: EMOConfig) -> None:
        super().__init__()
        self.factor, self.scale = config.latent_factor, config.latent_scale

    def encode(self, pixels: Tensor) -> Tensor:
        """(B, 3, H, W) in [-1, 1] -> (B, 3 k k, H/k, W/k)."""
        return F.pixel_unshuffle(pixels, self.factor) * self.scale

    def decode(self, latents: Tensor) -> Tensor:
        """The way back, clipped to [-1, 1]."""
        return F.pixel_shuffle(latents / self.scale, self.factor).clamp(-1, 1)


class AutoencoderLatents(nn.Module):
    """PAPER: Stable Diffusion's VAE, frozen. Its mean is taken: a clip's frames must not differ by sampling noise."""

    def __init__(self, config: EMOConfig) -> None:
        super().__init__()
        self.vae = AutoencoderKL(
            block_out_channels=(128, 256, 512, 512),
            down_block_types=("DownEncoderBlock2D",) * 4,
            up_block_types=("UpDecoderBlock2D",) * 4,
            layers_per_block=2,
            latent_channels=config.latent_channels,
            sample_size=config.image_size,
            scaling_factor=config.latent_scale,
        ).requires_grad_(False)
        self.scale = config.latent_scale

    def encode(self, pixels: Tensor) -> Tensor:
        """(B, 3, H, W) in [-1, 1] -> (B, 4, H/8, W/8)."""
        return self.vae.encode(pixels).latent_dist.mode() * self.scale

    def decode(self, latents: Tensor) -> Tensor:
        """The way back, clipped to [-1, 1]."""
        return self.vae.decode(latents / self.scale).sample.clamp(-1, 1)


LATENTS = {"pixels": PixelLatents, "autoencoder_kl": AutoencoderLatents}
