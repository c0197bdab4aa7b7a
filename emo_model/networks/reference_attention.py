"""Reference-attention (section 3.2): stands where Stable Diffusion read its text, and reads the portrait."""

from diffusers.models.attention import BasicTransformerBlock
from diffusers.models.attention_processor import Attention
from einops import rearrange
from torch import Tensor, nn

from emo_model.networks.conditions import Conditions


class ReferenceAttention(nn.Module):
    """Replaces `attn2` of a stock transformer block; an audio-attention follows it.

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
        frames = encoder_hidden_states.frames
        # All frames of a clip read one portrait: fold them into the queries instead of copying keys and values.
        query = rearrange(self.norm(hidden), "(b f) l c -> b (f l) c", f=frames)
        seen = self.attention(query, encoder_hidden_states=encoder_hidden_states.reference[self.name])
        seen = rearrange(seen, "b (f l) c -> (b f) l c", f=frames)
        heard = encoder_hidden_states.audio
        return seen if heard is None else seen + heard(self.name, hidden + seen)
