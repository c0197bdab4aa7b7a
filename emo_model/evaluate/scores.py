"""What a metric sees of one clip, and what it says about a set of clips."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from .frechet import Gaussian, frechet_distance


class NotComputable(Exception):
    """A number that cannot be given, and why: it becomes a dash with a reason, never another number."""


@dataclass(frozen=True)
class Observation:
    """Features of one clip, (n, ...), a sample a row; `found` (n,) marks where there is something.

    `t_s` (n,) is the time of each sample where values are a number a moment: a line to plot.
    """

    values: np.ndarray
    found: np.ndarray
    reason: str = ""  # why samples are not found
    t_s: np.ndarray | None = None

    @classmethod
    def full(cls, values: np.ndarray) -> "Observation":
        """Every sample was found."""
        return cls(values, np.ones(len(values), bool))

    @classmethod
    def nothing(cls, count: int, reason: str) -> "Observation":
        """A clip in which nothing could be observed: its samples stay in the count of those offered."""
        return cls(np.full((count, 1), np.nan), np.zeros(count, bool), reason)

    @property
    def samples(self) -> np.ndarray:
        """The found rows. NotComputable where one is not finite: a broken network is not averaged away."""
        samples = self.values[self.found]
        if not np.isfinite(samples).all():
            raise NotComputable("features are not finite")
        return samples

    def part(self, samples: slice | np.ndarray) -> "Observation":
        """Some of its samples."""
        t_s = None if self.t_s is None else self.t_s[samples]
        return Observation(self.values[samples], self.found[samples], self.reason, t_s)

    def half(self, second: bool | int) -> "Observation":
        """The first or the second half in time."""
        middle = len(self.found) // 2
        return self.part(slice(middle, None) if second else slice(0, middle))


@dataclass(frozen=True)
class Score:
    """A number over clips, or None with the reason; n samples used of n_total offered."""

    value: float | None
    n: int
    n_total: int
    reason: str | None = None


def counted(observations: Sequence[Observation]) -> tuple[int, int]:
    """Samples found, samples offered."""
    return sum(int(o.found.sum()) for o in observations), sum(len(o.found) for o in observations)


def drawn(observations: Sequence[Observation], n: int, seed: int) -> list[Observation]:
    """About `n` samples, of each clip its share, by chance: the same ones of every list with the same counts."""
    total = sum(len(o.found) for o in observations)
    if total <= n:
        return list(observations)
    rng = np.random.default_rng(seed)
    edges = np.round(np.cumsum([0] + [len(o.found) for o in observations]) * n / total).astype(int)
    return [
        o.part(np.sort(rng.choice(len(o.found), share, replace=False)))
        for o, share in zip(observations, np.diff(edges), strict=True)
    ]


def require_found(observations: Sequence[Observation], whose: str) -> list[Observation]:
    """The clips with anything found; NotComputable with the first reason if there are none."""
    some = [o for o in observations if o.found.any()]
    if not some:
        reason = next((o.reason for o in observations if o.reason), "nothing found")
        raise NotComputable(f"{reason} ({whose}: 0 of {counted(observations)[1]})")
    return some


def frechet_score(
    real: Sequence[Observation], generated: Sequence[Observation], sample: str, *, biased: bool = False
) -> float:
    """Fréchet distance of all samples of `generated` to all of `real`, pooled over clips."""
    sides = []
    for whose, observations in (("real", real), ("generated", generated)):
        gaussian = Gaussian(biased)
        for observation in require_found(observations, whose):
            gaussian.add(observation.samples)
        if gaussian.n < 2:
            raise NotComputable(f"{gaussian.n} {whose} {sample}: a covariance needs at least 2")
        sides.append(gaussian)
    return frechet_distance(*sides)
