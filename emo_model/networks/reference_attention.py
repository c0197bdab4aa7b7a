"""Reference-attention (section 3.2): stands where Stable Diffusion read its text, and reads the portrait.

Shapes: B clips, F frames, C channels and h w cells of the map in a transformer block.
"""

import torch
from diffusers.models.attention import BasicTransformerBlock
from diffusers.models.attention_processor import Attention
from einops import rearrange
from torch import Tensor, nn

from emo_model.networks.conditions import Conditions


class ReferenceAttention(nn.Module):
    """Section 3.2: replaces `attn2` of a stock transformer block; an audio-attention follows it.

    diffusers hands a block's `encoder_hidden_states` on to attn2 untouched, so one call's Conditions travel there.
    """

    def __init__(self, name: str, block: BasicTransformerBlock) -> None:
        super().__init__()
        self.name = name  # of the block, in both UNets: keys and values are found by it, never by position
        own = block.attn1
        self.norm = nn.LayerNorm(block.dim)
        self.attention = Attention(query_dim=block.dim, heads=own.heads, dim_head=block.dim // own.heads)

    def forward(
        self, hidden: Tensor, encoder_hidden_states: Conditions, attention_mask: Tensor | None = None
    ) -> Tensor:
        """hidden (B F, h w, C), not normed -> what the block adds to it."""
        seen, heard = self._see(hidden, encoder_hidden_states), encoder_hidden_states.audio
        return seen if heard is None else seen + heard(self.name, hidden + seen)

    def _see(self, hidden: Tensor, conditions: Conditions) -> Tensor:
        seen = 0 if conditions.reference is None else len(conditions.reference[self.name]) * conditions.frames
        blind, seeing = hidden.split([len(hidden) - seen, seen])
        parts = []
        if len(blind):
            # Values of zero maps are zero (to_v has no bias): the output projection's bias is all that is left.
            parts.append(self.attention.to_out[0](torch.zeros_like(hidden[:1, :1])).expand_as(blind))
        if conditions.reference is not None:
            # All frames of a clip read one portrait: fold them into the queries instead of copying keys and values.
            query = rearrange(self.norm(seeing), "(b f) l c -> b (f l) c", f=conditions.frames)
            found = self.attention(query, encoder_hidden_states=conditions.reference[self.name])
            parts.append(rearrange(found, "b (f l) c -> (b f) l c", f=conditions.frames))
        return torch.cat(parts) if len(parts) > 1 else parts[0]
