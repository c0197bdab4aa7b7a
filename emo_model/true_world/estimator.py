"""The way back: pixels -> who, mouth, place and rotation. Fitted on rendered frames alone, and frozen before any
model is trained. Its own errors on people and poses it never saw are measured first (bars.estimator_errors).
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation
from torch import Tensor, nn

from emo_model.networks.emo import EMO
from emo_model.true_world.paths import CONE, RADIUS
from emo_model.true_world.people import TRAITS, people
from emo_model.true_world.render import render

ANGLE = 45.0  # degrees that one unit of the network's output means
CLOSE = 32  # pixels a side that the networks see
ROOM = 1.25  # of the close look, around the head
PLACE = TRAITS + 1  # centre, radius, then three angles
OUTPUTS = PLACE + 6


@dataclass(frozen=True)
class Seen:
    """Of T frames: traits (T, TRAITS), mouth (T,); centre (T, 2) and radius (T,) in picture widths; euler (T, 3):
    roll, yaw, pitch in degrees."""

    traits: NDArray[np.float64]
    mouth: NDArray[np.float64]
    centre: NDArray[np.float64]
    radius: NDArray[np.float64]
    euler: NDArray[np.float64]


class Estimator(nn.Module):
    """Finds the head in the whole picture, then looks at it closely: on (T, 3, S, S) in [-1, 1]."""

    def __init__(self) -> None:
        super().__init__()
        self.finder = _convolutions((5, 16, 32, 48), CLOSE, 3)  # centre x y, radius
        self.looker = _convolutions((3, 32, 64, 96), CLOSE, OUTPUTS)
        line = torch.linspace(-1, 1, CLOSE)
        self.register_buffer("where", torch.stack(torch.meshgrid(line, line, indexing="xy")), persistent=False)

    def find(self, pixels: Tensor) -> Tensor:
        """(T, 3): centre x y in [-1, 1] and radius in picture widths, roughly."""
        small = F.interpolate(pixels, size=(CLOSE, CLOSE), mode="area")
        return self.finder(torch.cat([small, self.where.expand(len(pixels), -1, -1, -1)], dim=1))

    def look(self, pixels: Tensor, head: Tensor) -> Tensor:
        """(T, OUTPUTS) of a head that is about where `head` (T, 3) says."""
        x, y, radius = head.T
        zero, scale = torch.zeros_like(x), 2 * ROOM * radius
        frame = torch.stack([torch.stack([scale, zero, x], 1), torch.stack([zero, scale, y], 1)], 1)
        grid = F.affine_grid(frame, [len(pixels), 3, CLOSE, CLOSE], align_corners=False)
        close = F.grid_sample(pixels, grid, padding_mode="border", align_corners=False)
        out = self.looker(close)
        moved = torch.stack(
            [x + out[:, PLACE] * scale, y + out[:, PLACE + 1] * scale, radius * (1 + out[:, PLACE + 2])], 1
        )
        return torch.cat([out[:, :PLACE], moved, out[:, PLACE + 3 :]], dim=1)

    @torch.no_grad()
    def see(self, pixels: Tensor, at_once: int = 256) -> Seen:
        """What is in the frames."""
        found = []
        for part in pixels.split(at_once):
            once = self.look(part, self.find(part))
            found.append(self.look(part, once[:, PLACE : PLACE + 3]))
        out = torch.cat(found).double().numpy()
        place = out[:, PLACE : PLACE + 3]
        return Seen(out[:, :TRAITS], out[:, TRAITS], 0.5 + place[:, :2] / 2, place[:, 2], out[:, PLACE + 3 :] * ANGLE)


def _convolutions(widths: Sequence[int], size: int, outputs: int) -> nn.Sequential:
    layers: list[nn.Module] = []
    for before, after in pairwise(widths):
        layers += [
            nn.Conv2d(before, after, 3, padding=1, stride=2),
            nn.SiLU(),
            nn.Conv2d(after, after, 3, padding=1),
            nn.SiLU(),
        ]
        size = -(-size // 2)
    return nn.Sequential(
        *layers, nn.Flatten(), nn.Linear(size * size * widths[-1], 128), nn.SiLU(), nn.Linear(128, outputs)
    )


def frames(count: int, rng: np.random.Generator, traits: NDArray[np.float64], size: int) -> tuple[Tensor, Tensor]:
    """Random frames of random people of `traits`: pixels (T, 3, S, S), targets (T, OUTPUTS)."""
    who = traits[rng.integers(len(traits), size=count)]
    mouth, radius = rng.uniform(0, 1, count), rng.uniform(RADIUS[0] * 0.9, RADIUS[1] * 1.1, count)
    room = 0.5 - radius[:, None] * 0.9
    centre = 0.5 + room * rng.uniform(-1, 1, (count, 2))
    yaw_pitch = 1.3 * CONE * rng.uniform(-1, 1, (count, 2))
    euler = np.concatenate([0.25 * yaw_pitch[:, :1] + rng.normal(0, 3, (count, 1)), yaw_pitch], axis=1)
    pixels = render(who, Rotation.from_euler("zyx", euler, degrees=True), mouth, centre, radius, size)
    truth = [who, mouth[:, None], 2 * centre - 1, radius[:, None], euler / ANGLE]
    return pixels, torch.from_numpy(np.concatenate(truth, axis=1)).float()


def worn(pixels: Tensor, emo: EMO, rng: np.random.Generator) -> Tensor:
    """As a model may give them: through its latents, noisy, some of them."""
    share = torch.from_numpy(rng.uniform(size=len(pixels))).float()[:, None, None, None]
    noise = torch.from_numpy(rng.normal(size=(len(pixels), *pixels.shape[1:]))).float()
    coded = emo.decode_latents(emo.encode_pixels(pixels))
    level = torch.from_numpy(rng.uniform(0, 0.06, len(pixels))).float()[:, None, None, None]
    return torch.where(share < 0.75, coded, pixels) + level * noise


def fit(
    emo: EMO,
    steps: int = 4000,
    batch: int = 64,
    seed: int = 0,
    report: Callable[[int, float], None] = lambda step, loss: None,
) -> Estimator:
    """Learn from rendered frames, as they are and as emo's latents keep them."""
    torch.manual_seed(seed)
    rng, known = np.random.default_rng([21, seed]), people(4000, seed=100 + seed).traits
    size = emo.config.image_size
    net = Estimator()
    optimizer = torch.optim.AdamW(net.parameters(), lr=1e-3, weight_decay=1e-4)
    rate = torch.optim.lr_scheduler.OneCycleLR(optimizer, 2e-3, total_steps=steps, pct_start=0.1)
    for step in range(1, steps + 1):
        pixels, truth = frames(batch, rng, known, size)
        pixels, head = worn(pixels, emo, rng), truth[:, PLACE : PLACE + 3]
        off = torch.from_numpy(rng.normal(0, (0.08, 0.08, 0.02), (batch, 3)) * rng.uniform(0, 1, (batch, 1))).float()
        loss = (net.find(pixels) - head).square().mean() + (net.look(pixels, head + off) - truth).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        rate.step()
        if step % 200 == 0:
            report(step, loss.item())
    return net.eval().requires_grad_(False)
