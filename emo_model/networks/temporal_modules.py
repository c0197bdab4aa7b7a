"""Temporal Modules (section 3.2): AnimateDiff's self-attention along frames, with the motion frames in front.

Shapes: B clips, N motion frames, F generated ones, C channels and h w cells of the map at a place.
"""

from collections.abc import Callable, Mapping

import torch
from diffusers.models.unets.unet_motion_model import AnimateDiffTransformer3D
from einops import rearrange
from torch import Tensor, nn

from emo_model.networks.config import EMOConfig
from emo_model.networks.unet import key, watching

SECOND_ATTENTION = "transformer_blocks.0.attn2"  # where the Speed Layers join in


class TemporalModules(nn.Module):
    """Section 3.2: an AnimateDiff module a place: every resolution, the middle and blocks without attention too."""

    def __init__(self, config: EMOConfig, places: Mapping[str, int]) -> None:
        super().__init__()
        self.modules_by_place = nn.ModuleDict({key(p): _animatediff(config, width) for p, width in places.items()})

    def forward(
        self, place: str, hidden: Tensor, motion: Tensor, speed: Callable[[str, Tensor], Tensor] | None = None
    ) -> Tensor:
        """Attend along the frames at one place.

        hidden (B F, C, h, w); motion (B, N, C, h, w) are ReferenceNet's maps of this place, at positions 0..N-1,
        cut off afterwards; speed(place, queries (B h w, N + F, C)) is what the Speed Layers add.
        Returns (B F, C, h, w).
        """
        batch, before = motion.shape[:2]
        clip = rearrange(hidden, "(b f) c h w -> b f c h w", b=batch)
        joined = torch.cat([motion.to(clip.dtype), clip], dim=1)
        module = self.modules_by_place[key(place)]
        edits = {} if speed is None else {SECOND_ATTENTION: lambda given, out: out + speed(place, given)}
        with watching(module, edits):
            attended = module(rearrange(joined, "b f c h w -> (b f) c h w"), num_frames=joined.shape[1])
        attended = rearrange(attended, "(b f) c h w -> b f c h w", b=batch)[:, before:]
        return rearrange(attended, "b f c h w -> (b f) c h w")


def _animatediff(config: EMOConfig, width: int) -> AnimateDiffTransformer3D:
    """As diffusers builds them for UNetMotionModel, so that its weights load."""
    return AnimateDiffTransformer3D(
        num_attention_heads=config.temporal_heads,
        attention_head_dim=width // config.temporal_heads,
        in_channels=width,
        norm_num_groups=config.norm_groups,
        positional_embeddings="sinusoidal",
        num_positional_embeddings=config.temporal_positions,
    )
