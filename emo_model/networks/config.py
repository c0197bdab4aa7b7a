"""Sizes of the network: what a checkpoint needs to be rebuilt. Two presets: TINY (2 CPU cores) and PAPER (SD 1.5)."""

from typing import Literal

from pydantic import BaseModel, ConfigDict, model_validator

LEVELS = {True: ("CrossAttnDownBlock2D", "CrossAttnUpBlock2D"), False: ("DownBlock2D", "UpBlock2D")}


class SpeedBuckets(BaseModel):
    """Section 3.2: centre c and radius r of each head-speed bucket, degrees a frame at 30 fps."""

    model_config = ConfigDict(frozen=True)

    # Used until the training set's own quantiles are known; the paper gives no numbers.
    centres: tuple[float, ...] = (0.0, 0.25, 0.5, 0.75, 1.0, 1.3, 1.7, 2.2, 3.0)
    radii: tuple[float, ...] = (0.25, 0.25, 0.25, 0.25, 0.25, 0.3, 0.4, 0.5, 0.8)

    @model_validator(mode="after")
    def _paired(self) -> "SpeedBuckets":
        if len(self.centres) != len(self.radii) or not self.centres:
            raise ValueError(f"one radius a centre is wanted: {len(self.centres)} centres, {len(self.radii)} radii")
        if min(self.centres) < 0 or min(self.radii) <= 0:
            raise ValueError(f"speeds are magnitudes: centres >= 0, radii > 0; got {self.centres}, {self.radii}")
        return self


class EMOConfig(BaseModel):
    """Every size of EMO. Symbols in brackets are the paper's."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    # Latent space (section 3.1)
    image_size: int  # pixels a side
    latent: Literal["patches", "autoencoder_kl"]  # patches: fixed cosine transform, nothing learned
    latent_channels: int
    latent_factor: int  # pixels to one latent cell, a side
    vae_channels: tuple[int, ...] = (128, 256, 512, 512)  # of autoencoder_kl: Stable Diffusion's
    latent_scale: float  # brings latents to about unit variance, as SD's 0.18215

    # Both UNets (diffusers' UNet2DConditionModel)
    channels: tuple[int, ...]
    attention: tuple[bool, ...]  # has this level transformer blocks?
    layers_per_block: int
    heads: int  # diffusers calls this attention_head_dim, and means the number of heads
    norm_groups: int

    # Frames
    frames: int = 12  # [F = f] generated in one clip, section 4.1
    motion_frames: int = 4  # [N = n] taken from the clip before, section 4.1
    nearby: int = 2  # [m] neighbours on either side, section 3.2

    # Audio Layers
    audio_encoder: str  # named in the checkpoint, so that generation feeds the features it learned
    audio_layers: int  # hidden states of the encoder a frame
    audio_width: int
    audio_hidden: int
    audio_tokens: int  # tokens a frame after the MLP
    audio_token_width: int

    # Temporal Modules
    temporal_heads: int = 8
    temporal_positions: int = 32  # AnimateDiff's table length; at least n + f

    # Speed Layers
    speed_buckets: int = 9  # [D]
    speed_width: int  # [L]

    # Face Locator
    locator_channels: tuple[int, ...]  # light convolutions; log2(latent_factor) of them halve the mask

    @model_validator(mode="after")
    def _consistent(self) -> "EMOConfig":
        if self.latent == "patches" and self.latent_channels > 3 * self.latent_factor**2:
            raise ValueError(f"a patch has {3 * self.latent_factor**2} numbers, not {self.latent_channels}")
        if self.frames + self.motion_frames > self.temporal_positions:
            raise ValueError(f"{self.motion_frames}+{self.frames} frames, but {self.temporal_positions} positions")
        if 2 ** (len(self.locator_channels) - 1) < self.latent_factor:
            raise ValueError(
                f"locator_channels {self.locator_channels} cannot halve the mask to a {self.latent_factor}th"
            )
        return self

    @property
    def latent_size(self) -> int:
        """Latent cells a side."""
        return self.image_size // self.latent_factor

    def unet(self) -> dict:
        """Arguments of diffusers' UNet2DConditionModel; with PAPER's numbers these are SD 1.5's."""
        return dict(
            sample_size=self.latent_size,
            in_channels=self.latent_channels,
            out_channels=self.latent_channels,
            block_out_channels=self.channels,
            down_block_types=tuple(LEVELS[has][0] for has in self.attention),
            up_block_types=tuple(LEVELS[has][1] for has in reversed(self.attention)),
            layers_per_block=self.layers_per_block,
            attention_head_dim=self.heads,
            norm_num_groups=self.norm_groups,
            cross_attention_dim=8,  # text's width; its attention is taken out, so the number only has to be small
        )


TINY_NETWORK = EMOConfig(
    image_size=64, latent="patches", latent_channels=8, latent_factor=4, latent_scale=0.5,
    channels=(48, 48), attention=(True, False), layers_per_block=1, heads=4, norm_groups=8,
    audio_encoder="whisper_tiny_encoder", audio_layers=4, audio_width=384, audio_hidden=32, audio_tokens=4,
    audio_token_width=48, temporal_heads=4, speed_width=32, locator_channels=(8, 16, 16),
)  # fmt: skip

PAPER_NETWORK = EMOConfig(
    image_size=512, latent="autoencoder_kl", latent_channels=4, latent_factor=8, latent_scale=0.18215,
    channels=(320, 640, 1280, 1280), attention=(True, True, True, False), layers_per_block=2, heads=8, norm_groups=32,
    audio_encoder="wav2vec2_base", audio_layers=12, audio_width=768, audio_hidden=512, audio_tokens=32,
    audio_token_width=768, speed_width=256, locator_channels=(16, 32, 64, 128),
)  # fmt: skip
