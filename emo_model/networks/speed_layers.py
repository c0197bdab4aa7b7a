"""Speed Layers (section 3.2): how fast the head turns, as a feature map the temporal layers read along the frames.

Shapes: B clips, F frames, N motion frames in front, m neighbours on either side, D speed buckets, L numbers a frame
after the MLP, C channels and h w cells of the map at a place.
"""

from collections.abc import Mapping

import torch
from diffusers.models.attention_processor import Attention
from diffusers.models.embeddings import SinusoidalPositionalEmbedding
from einops import rearrange
from torch import Tensor, nn

from emo_model.networks.config import EMOConfig, SpeedBuckets
from emo_model.networks.nearby_frames import nearby_frames
from emo_model.networks.unet import key


def speed_vector(speed: Tensor, centres: Tensor, radii: Tensor) -> Tensor:
    """Section 3.2, s_i = tanh(3 (w - c_i) / r_i): how far a frame's head speed lies from each bucket.

    speed (B, F) degrees a frame, NaN where unknown; centres, radii (D,). Returns (B, F, D). An unknown speed is the
    zero vector, which no speed has: the centres differ.
    """
    s = torch.tanh(3 * (speed[..., None] - centres) / radii)
    return torch.where(speed.isnan()[..., None], torch.zeros_like(s), s)


class SpeedLayers(nn.Module):
    """Section 3.2: S = s(f-m) ++ ... ++ s(f+m) -> MLP -> (B, F, L) -> a cross-attention in each temporal layer."""

    def __init__(self, config: EMOConfig, places: Mapping[str, int], buckets: SpeedBuckets) -> None:
        super().__init__()
        if len(buckets.centres) != config.speed_buckets:
            raise ValueError(f"the network has {config.speed_buckets} speed buckets; got {len(buckets.centres)}")
        self.config = config
        self.register_buffer("centres", torch.tensor(buckets.centres), persistent=False)
        self.register_buffer("radii", torch.tensor(buckets.radii), persistent=False)
        self.mlp = nn.Sequential(
            nn.Linear((2 * config.nearby + 1) * config.speed_buckets, config.speed_width),
            nn.SiLU(),
            nn.Linear(config.speed_width, config.speed_width),
        )
        self.positions = SinusoidalPositionalEmbedding(config.speed_width, config.temporal_positions)
        self.attentions = nn.ModuleDict(
            {
                key(place): Attention(
                    query_dim=width,
                    cross_attention_dim=config.speed_width,
                    heads=config.temporal_heads,
                    dim_head=width // config.temporal_heads,
                )
                for place, width in places.items()
            }
        )

    def features(self, speed: Tensor, motion_frames: int) -> Tensor:
        """speed (B, F + 2m) degrees a frame -> (B, F, L), at the positions the clip has behind its motion frames."""
        vectors = nearby_frames(speed_vector(speed, self.centres, self.radii), self.config.nearby)
        features = self.mlp(vectors)
        front = features.new_zeros(features.shape[0], motion_frames, features.shape[2])
        return self.positions(torch.cat([front, features], dim=1))[:, motion_frames:]

    def attend(self, place: str, queries: Tensor, features: Tensor, known: Tensor) -> Tensor:
        """What the speed adds to a temporal layer's queries (B h w, N + F, C). known (B,): 0 where no speed is known.

        Every cell reads the same features: cells are folded into the queries, where the paper repeats the features.
        """
        batch = features.shape[0]
        folded = rearrange(queries, "(b l) f c -> b (l f) c", b=batch)
        added = self.attentions[key(place)](folded, encoder_hidden_states=features) * known[:, None, None]
        return rearrange(added, "b (l f) c -> (b l) f c", f=queries.shape[1])
