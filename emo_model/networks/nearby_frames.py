"""Section 3.2: a frame's audio and speed are seen together with those of its m neighbours on either side.

Shapes: B clips, F frames, m neighbours, C numbers a frame.
"""

import torch
from einops import rearrange
from torch import Tensor


def nearby_frames(x: Tensor, m: int) -> Tensor:
    """A_gen(f) = A(f-m) ++ ... ++ A(f+m).

    x (B, F + 2m, C): the clip's frames with m real neighbours (or repeated edges, the data's business) at each end.
    Returns (B, F, (2m+1) C), the oldest neighbour first. ValueError where x has no frame left between its ends.
    """
    if x.shape[1] <= 2 * m:
        raise ValueError(f"{x.shape[1]} frames leave none between {m} neighbours on either side")
    return rearrange(x.unfold(1, 2 * m + 1, 1), "b f c k -> b f (k c)")


def with_edges(x: Tensor, m: int) -> Tensor:
    """(B, F, ...) -> (B, F + 2m, ...) by repeating the first and the last frame, for clips without neighbours."""
    return torch.cat([x[:, :1]] * m + [x] + [x[:, -1:]] * m, dim=1)
