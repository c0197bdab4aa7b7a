"""Who lives in the small true world: identities that differ in colour and shape."""

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
SKIN, HAIR, WALL = slice(0, 3), slice(3, 6), slice(6, 9)  # colours in [0, 1]
ASPECT, HAIRLINE = 9, 10  # of the head: width over height; how far down the hair reaches, in radii above the middle
TRAITS = 11


@dataclass(frozen=True)
class People:
    """N identities. traits (N, TRAITS): skin, hair and wall colours, aspect, hairline."""

    traits: Array

    def __len__(self) -> int:
        return len(self.traits)


@lru_cache(maxsize=16)
def people(count: int, seed: int, apart: float = 0.0) -> People:
    """Identities drawn by seed, any two of them at least `apart` in `distance`, where that is asked for."""
    rng = np.random.default_rng([11, seed])
    found: list[Array] = []
    while len(found) < count:
        drawn = _person(rng)
        if not apart or not found or distances(np.array(found), drawn[None]).min() >= apart:
            found.append(drawn)
    traits = np.array(found)
    traits.flags.writeable = False  # everyone who asks gets these
    return People(traits)


def distances(some: Array, others: Array) -> Array:
    """(N, TRAITS), (M, TRAITS) -> (N, M): how unlike two heads are. The wall is no part of a head."""
    a, b = (np.concatenate([t[:, :6], 2 * t[:, 9:]], axis=1) for t in (some, others))
    return np.linalg.norm(a[:, None] - b[None], axis=2)


def _person(rng: np.random.Generator) -> Array:
    skin = _colour(rng, (0.35, 0.75), (0.75, 1.0))
    hair = _colour(rng, (0.3, 0.9), (0.15, 0.6))
    wall = _colour(rng, (0.0, 0.35), (0.3, 0.8))
    return np.array([*skin, *hair, *wall, rng.uniform(0.72, 1.0), rng.uniform(0.25, 0.6)])


def _colour(rng: np.random.Generator, saturation: tuple[float, float], value: tuple[float, float]) -> Array:
    hue, s, v = rng.uniform(), rng.uniform(*saturation), rng.uniform(*value)
    wheel = np.clip(np.abs((6 * hue + np.array([0.0, 4.0, 2.0])) % 6 - 3) - 1, 0, 1)
    return v * (1 - s * (1 - wheel))
