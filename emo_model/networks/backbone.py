"""Backbone (section 3.2): Stable Diffusion's UNet on several noisy frames, without text.

Shapes: B clips, F frames (folded into the batch inside), C channels and h w cells of a latent.
"""

from diffusers import UNet2DConditionModel
from einops import rearrange, repeat
from torch import Tensor, nn

from emo_model.networks.conditions import At, Conditions
from emo_model.networks.config import EMOConfig
from emo_model.networks.reference_attention import ReferenceAttention
from emo_model.networks.unet import Edit, places, transformer_blocks, watching


class Backbone(nn.Module):
    """epsilon_theta of equation 1 (section 3.2): a stock UNet whose text cross-attentions are ReferenceAttentions; the
    other boxes reach it through Conditions."""

    def __init__(self, config: EMOConfig) -> None:
        super().__init__()
        self.unet = UNet2DConditionModel(**config.unet())
        for name, block in transformer_blocks(self.unet).items():
            # The new attention norms by itself: the audio-attention after it wants the hidden state as it is.
            block.attn2, block.norm2 = ReferenceAttention(name, block), nn.Identity()

    def forward(self, noisy: Tensor, t: Tensor, conditions: Conditions) -> Tensor:
        """noisy (B, F, C, h, w), t (B,) diffusion steps -> prediction (B, F, C, h, w)."""
        frames = noisy.shape[1]
        with watching(self.unet, self._edits(conditions)):
            predicted = self.unet(
                rearrange(noisy, "b f c h w -> (b f) c h w"),
                repeat(t, "b -> (b f)", f=frames),
                encoder_hidden_states=conditions,
                return_dict=False,
            )[0]
        return rearrange(predicted, "(b f) c h w -> b f c h w", f=frames)

    def _edits(self, conditions: Conditions) -> dict[str, Edit]:
        edits: dict[str, Edit] = {}
        if conditions.face is not None:
            code = repeat(conditions.face, "b c h w -> (b f) c h w", f=conditions.frames)
            edits["conv_in"] = lambda _given, returned: returned + code
        if conditions.temporal is not None:
            edits |= {place: _at(place, conditions.temporal) for place in places(self.unet)}
        return edits


def _at(place: str, temporal: At) -> Edit:
    return lambda _given, returned: temporal(place, returned)
