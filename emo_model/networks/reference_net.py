"""ReferenceNet (section 3.2): reads the portrait and the motion frames, once a clip.

Shapes: B images (portraits, or motion frames with the clips folded in), C channels and h w cells of a latent or a map.
"""

from dataclasses import dataclass

import torch
from diffusers import UNet2DConditionModel
from torch import Tensor, nn

from emo_model.networks.config import EMOConfig
from emo_model.networks.unet import places, transformer_blocks, watching


@dataclass(frozen=True)
class Maps:
    """What ReferenceNet saw in a batch of images."""

    attention: dict[str, Tensor]  # transformer block -> (B, h w, C), the normed input of its self-attention
    places: dict[str, Tensor]  # place of a Temporal Module -> (B, C, h, w), the hidden state there


class ReferenceNet(nn.Module):
    """Section 3.2: the Backbone's architecture with its own weights, without text, time or temporal layers."""

    def __init__(self, config: EMOConfig) -> None:
        super().__init__()
        self.unet = UNet2DConditionModel(**config.unet())
        for block in transformer_blocks(self.unet).values():
            block.attn2, block.norm2 = None, None  # no text: diffusers' block then skips the cross-attention
        # Only maps are read: the layers that would turn them into an image are left out.
        self.unet.conv_norm_out, self.unet.conv_out = None, nn.Identity()

    def forward(self, latents: Tensor) -> Maps:
        """latents (B, C, h, w), clean -> Maps. Nothing is kept in the module between calls."""
        attention: dict[str, Tensor] = {}
        hidden: dict[str, Tensor] = {}
        edits = {
            f"{name}.attn1": lambda given, _returned, name=name: attention.update({name: given})
            for name in transformer_blocks(self.unet)
        }
        edits |= {
            name: lambda _given, returned, name=name: hidden.update({name: returned}) for name in places(self.unet)
        }
        with watching(self.unet, edits):
            clean = torch.zeros(latents.shape[0], dtype=torch.long, device=latents.device)
            self.unet(latents, clean, encoder_hidden_states=None)
        return Maps(attention, hidden)
