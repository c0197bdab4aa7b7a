"""Other colours and mirror images of a clip, the same for all of its pictures.

A handful of people in training can be learned by heart; then the reference is not needed, and a stranger comes out in
somebody else's colours. With new colours at every step the appearance can only come from the reference and the motion
frames (sections 3.2, 3.3). Not in the paper, which has ten thousand people: PAPER does without.
"""

from typing import Any

import torch
from torch import Tensor

PICTURES = ("pixels", "reference", "motion")
CONTRAST, BRIGHTNESS = 0.35, 0.3  # largest change of a channel's slope and offset, in units of [-1, 1] pixels


def recoloured(batch: dict[str, Any], generator: torch.Generator) -> dict[str, Any]:
    """The batch of `Objective` with every clip's channels shuffled and stretched, and half of the clips mirrored."""
    size = batch["pixels"].shape[0]
    order = torch.rand(size, 3, generator=generator).argsort(dim=1)
    slope = 1 + CONTRAST * (2 * torch.rand(size, 3, generator=generator) - 1)
    slope = slope * (1 - 2 * (torch.rand(size, 1, generator=generator) < 0.25).float())  # a quarter are negatives
    offset = BRIGHTNESS * (2 * torch.rand(size, 3, generator=generator) - 1)
    mirrored = torch.rand(size, generator=generator) < 0.5
    changed = dict(batch)
    for name in PICTURES:
        if name in batch:
            changed[name] = torch.stack(
                [_recolour(x, order[i], slope[i], offset[i]) for i, x in enumerate(batch[name])]
            )
    for name in (*PICTURES, "mask"):
        if name in batch:
            flip = mirrored.view(size, *[1] * (changed[name].dim() - 1))
            changed[name] = torch.where(flip, changed[name].flip(-1), changed[name])
    return changed


def _recolour(pictures: Tensor, order: Tensor, slope: Tensor, offset: Tensor) -> Tensor:
    """(..., 3, H, W) in [-1, 1] -> the same range."""
    return (pictures[..., order, :, :] * slope[:, None, None] + offset[:, None, None]).clamp(-1, 1)
