"""The pixels: a painted ball, turned, seen from far in front.

Shapes: T pictures of S S pixels. Head coordinates: x right, y down, z out of the face; the ball has radius 1.
"""

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation
from torch import Tensor

from emo_model.true_world.people import ASPECT, HAIR, HAIRLINE, SKIN, WALL

EYES, EYE = ((-0.4, -0.14), (0.4, -0.14)), 0.2
MOUTH, MOUTH_WIDTH, MOUTH_SHUT, MOUTH_OPEN = 0.5, 0.5, 0.05, 0.38  # y, half width, half heights
INK, LIPS, NOSE = (0.05, 0.05, 0.1), (0.35, 0.0, 0.08), (0.0, 0.12)


def render(
    traits: NDArray[np.float64],
    rotations: Rotation,
    mouth: NDArray[np.float64],
    centre: NDArray[np.float64],
    radius: NDArray[np.float64] | float,
    size: int,
) -> Tensor:
    """(T, 3, S, S) in [-1, 1]. traits (TRAITS,) or (T, TRAITS); mouth (T,) in [0, 1]; centre (T, 2) and radius in
    picture widths."""
    count = len(rotations)
    who = torch.tensor(np.broadcast_to(traits, (count, np.shape(traits)[-1])), dtype=torch.float32)
    turned = torch.from_numpy(rotations.as_matrix()).float()
    r = torch.tensor(np.broadcast_to(radius, (count,)), dtype=torch.float32)[:, None, None]
    c = torch.from_numpy(centre).float()
    line = (torch.arange(size) + 0.5) / size
    x = (line[None, None, :] - c[:, 0, None, None]) / (r * who[:, ASPECT, None, None])
    y = (line[None, :, None] - c[:, 1, None, None]) / r
    x, y = torch.broadcast_tensors(x, y)
    z = (1 - x**2 - y**2).clamp(min=1e-6).sqrt()
    # camera -> head: the transpose of the rotation
    px, py, pz = torch.einsum("tji,tjhw->ithw", turned, torch.stack([x, y, z], 1))

    def inside(gap: Tensor) -> Tensor:
        """gap (T, S, S) in radii, positive inside -> coverage, with an edge of about a pixel."""
        return torch.sigmoid(3 * size * r * gap)

    picture = who[:, WALL, None, None].expand(-1, -1, size, size)
    ball = inside(1 - (x**2 + y**2).sqrt())
    skin = who[:, SKIN, None, None] * (0.75 + 0.25 * z)[:, None]
    face = _over(skin, who[:, HAIR, None, None], inside(torch.maximum(-who[:, HAIRLINE, None, None] - py, -0.25 - pz)))
    front = (pz > 0).float()
    for ex, ey in EYES:
        face = _over(face, _colour(INK), front * inside(EYE - torch.hypot(px - ex, py - ey)))
    face = _over(face, skin * 0.6, front * inside(0.13 - torch.hypot(px - NOSE[0], py - NOSE[1])))
    height = MOUTH_SHUT + MOUTH_OPEN * torch.from_numpy(mouth).float()[:, None, None]
    lips = torch.hypot(px / MOUTH_WIDTH, (py - MOUTH) / height)
    face = _over(face, _colour(LIPS), front * inside((1 - lips) * height))
    return _over(picture, face, ball) * 2 - 1


def box(centre: NDArray[np.float64], radius: NDArray[np.float64] | float, aspect: float) -> NDArray[np.float64]:
    """(T, 4) x0 y0 x1 y1 of heads, in picture widths."""
    half = np.stack(np.broadcast_arrays(np.asarray(radius) * aspect, radius), -1)
    return np.concatenate([centre - half, centre + half], axis=-1)


def _over(below: Tensor, above: Tensor, share: Tensor) -> Tensor:
    return below + (above - below) * share[:, None]


def _colour(rgb: tuple[float, float, float]) -> Tensor:
    return torch.tensor(rgb)[None, :, None, None]
