"""What the other boxes of figure 2 hand the Backbone: for one call in training, for all steps of a clip in sampling.

Shapes: B clips, F frames, C channels and h w cells of the map at a block or place.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from torch import Tensor

At = Callable[[str, Tensor], Tensor]  # (module's name, its hidden state) -> what another box makes of it there


@dataclass(frozen=True)
class Conditions:
    """c of equation 1, as the Backbone's blocks read it. None where a box takes no part."""

    frames: int  # [F] frames a clip, folded into the batch
    reference: Mapping[str, Tensor] | None  # transformer block -> (B, h w, C) from ReferenceNet; fewer: of the last
    face: Tensor | None = None  # (B, C, h, w) from the Face Locator, added after conv_in
    audio: At | None = None  # (block, (B F, h w, C)) -> what audio-attention adds
    temporal: At | None = None  # (place, (B F, C, h, w)) -> the same, along frames
