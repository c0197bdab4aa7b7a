"""Audio Layers (section 3.2): an audio-attention after each reference-attention hears the voice around a frame.

Shapes: B clips, F frames, m neighbours on either side, h w cells of a map, C its channels; K audio tokens a frame, each
W wide.
"""

from collections.abc import Mapping

import torch.nn.functional as F
from diffusers.models.attention import BasicTransformerBlock
from diffusers.models.attention_processor import Attention
from einops import rearrange
from torch import Tensor, nn

from emo_model.networks.config import EMOConfig
from emo_model.networks.nearby_frames import nearby_frames
from emo_model.networks.unet import key


class AudioLayers(nn.Module):
    """Section 3.2: A_gen, (2m+1) x layers x width numbers a frame -> MLP -> K tokens, read in every block."""

    def __init__(self, config: EMOConfig, blocks: Mapping[str, BasicTransformerBlock]) -> None:
        super().__init__()
        self.config = config
        window = (2 * config.nearby + 1) * config.audio_layers * config.audio_width
        self.project = nn.Sequential(
            nn.Linear(window, config.audio_hidden),
            nn.ReLU(),
            nn.Linear(config.audio_hidden, config.audio_hidden),
            nn.ReLU(),
            nn.Linear(config.audio_hidden, config.audio_tokens * config.audio_token_width),
        )
        self.norm = nn.LayerNorm(config.audio_token_width)
        self.attentions = nn.ModuleDict(
            {key(name): AudioAttention(block, config.audio_token_width) for name, block in blocks.items()}
        )

    def tokens(self, audio: Tensor) -> Tensor:
        """audio (B, F + 2m, layers, width) as the encoder gave it -> (B F, K, W).

        ValueError where layers and width are not those of this checkpoint's encoder.
        """
        config = self.config
        if audio.shape[2:] != (config.audio_layers, config.audio_width):
            raise ValueError(
                f"audio features of {config.audio_encoder} are {config.audio_layers} layers x {config.audio_width} "
                f"a frame; got {tuple(audio.shape[2:])}"
            )
        # Encoders differ in scale by orders of magnitude, and so do their layers.
        audio = F.layer_norm(audio, (config.audio_width,)).flatten(2)
        tokens = self.project(nearby_frames(audio, config.nearby))
        return self.norm(rearrange(tokens, "b f (k c) -> (b f) k c", k=config.audio_tokens))

    def attend(self, name: str, hidden: Tensor, tokens: Tensor, heard: Tensor) -> Tensor:
        """What the audio-attention of a block adds to hidden (B F, h w, C). heard (B F,): 0 where there is no sound."""
        return self.attentions[key(name)](hidden, tokens) * heard[:, None, None]


class AudioAttention(nn.Module):
    """Section 3.2: cross-attention from a frame's cells to its audio tokens."""

    def __init__(self, block: BasicTransformerBlock, token_width: int) -> None:
        super().__init__()
        heads = block.attn1.heads
        self.norm = nn.LayerNorm(block.dim)
        self.attention = Attention(
            query_dim=block.dim, cross_attention_dim=token_width, heads=heads, dim_head=block.dim // heads
        )

    def forward(self, hidden: Tensor, tokens: Tensor) -> Tensor:
        """hidden (B F, h w, C), tokens (B F, K, W) -> (B F, h w, C)."""
        return self.attention(self.norm(hidden), encoder_hidden_states=tokens)
