"""Face Locator (section 3.2): light convolutions over the face region, added to the noisy latent.

Shapes: B clips, H W pixels, C channels and h w cells of the Backbone's first map.
"""

from itertools import pairwise

from torch import Tensor, nn

from emo_model.networks.config import EMOConfig


class FaceLocator(nn.Module):
    """Section 3.2: the mask M in pixels -> a code as large as the Backbone's first feature map."""

    def __init__(self, config: EMOConfig) -> None:
        super().__init__()
        widths = config.locator_channels
        halvings = config.latent_factor.bit_length() - 1
        layers: list[nn.Module] = [nn.Conv2d(1, widths[0], 3, padding=1), nn.SiLU()]
        for i, (before, after) in enumerate(pairwise(widths)):
            layers += [nn.Conv2d(before, after, 3, stride=2 if i < halvings else 1, padding=1), nn.SiLU()]
        self.layers = nn.Sequential(*layers)
        self.out = nn.Conv2d(widths[-1], config.channels[0], 3, padding=1)

    def forward(self, mask: Tensor) -> Tensor:
        """mask (B, 1, H, W) in {0, 1}: union of the face boxes; all ones leaves the head free. -> (B, C, h, w)."""
        return self.out(self.layers(mask))
