"""A network of TINY's shape that runs in milliseconds, for tests."""

import torch

from emo_model.networks.config import TINY_NETWORK, EMOConfig
from emo_model.networks.emo import EMO, seeded

SMALL = EMOConfig.model_validate(
    TINY_NETWORK.model_dump()
    | {"image_size": 32, "channels": (16, 16), "heads": 2, "temporal_heads": 2, "norm_groups": 4, "frames": 3}
    | {"motion_frames": 2, "nearby": 1, "audio_layers": 2, "audio_width": 8, "audio_hidden": 8}
    | {"audio_tokens": 2, "audio_token_width": 8, "speed_width": 8, "locator_channels": (4, 4, 4)}
)


def small(seed: int = 0, awake: bool = False, config: EMOConfig = SMALL) -> EMO:
    """The network as it starts; awake: with every zero-initialised output filled, as training would."""
    emo = seeded(config, seed).eval()
    if awake:
        generator = torch.Generator().manual_seed(seed)
        with torch.no_grad():
            for parameter in emo.parameters():
                if not parameter.any():
                    parameter.copy_(0.3 * torch.randn(parameter.shape, generator=generator))
    return emo


def inputs(
    seed: int = 0, batch: int = 2, frames: int = SMALL.frames, config: EMOConfig = SMALL
) -> dict[str, torch.Tensor]:
    """Random latents and conditions of a network's shapes."""
    generator = torch.Generator().manual_seed(seed)
    draw = lambda *shape: torch.randn(*shape, generator=generator)  # noqa: E731
    latent = (config.latent_channels, config.latent_size, config.latent_size)
    around = frames + 2 * config.nearby
    return {
        "noisy": draw(batch, frames, *latent),
        "t": torch.randint(1000, (batch,), generator=generator),
        "reference": draw(batch, *latent),
        "motion": draw(batch, config.motion_frames, *latent),
        "audio": draw(batch, around, config.audio_layers, config.audio_width),
        "speed": torch.rand(batch, around, generator=generator),
        "mask": (draw(batch, 1, config.image_size, config.image_size) > 0).float(),
    }
