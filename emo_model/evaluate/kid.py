"""KID: the squared maximum mean discrepancy of features under a cubic kernel (Bińkowski et al. 2018, section 4).

k(x, y) = (x.y / d + 1)^3. The estimate is unbiased: it has no floor that falls with the number of samples, as a Fréchet
distance has, and may come out below zero.
"""

from collections.abc import Sequence

import numpy as np

from .scores import NotComputable, Observation, require_found


def kernel(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """(n, d), (m, d) -> (n, m)."""
    return (x @ y.T / x.shape[1] + 1) ** 3


def mmd2(x: np.ndarray, y: np.ndarray) -> float:
    """The unbiased estimate from all of (n, d) and (m, d). ValueError below two samples a side."""
    return _unbiased(_Sums.within(x), _Sums.within(y), float(kernel(x, y).sum()))


def kernel_distance(x: np.ndarray, y: np.ndarray, *, subsets: int = 100, size: int = 1000, seed: int = 0) -> float:
    """clean-fid's and torch-fidelity's KID: the mean of `mmd2` over random subsets of at most `size` a side.

    With the numbers of one numpy seed it draws what clean-fid draws: of `y` first.
    """
    draw, size = np.random.RandomState(seed), min(len(x), len(y), size)
    total = 0.0
    for _ in range(subsets):
        b = y[draw.choice(len(y), size, replace=False)]
        a = x[draw.choice(len(x), size, replace=False)]
        total += mmd2(a, b)
    return total / subsets


class BlockKID:
    """`mmd2` of clips' features. The sum of the kernel over each pair of clips is kept: a bootstrap then draws clips
    and adds a few numbers, where drawing features would multiply matrices of all samples anew.
    """

    def __init__(self) -> None:
        # the observation is kept beside its sums, so that its id stays its own
        self._within: dict[int, tuple[Observation, _Sums]] = {}
        self._across: dict[tuple[int, int], float] = {}

    def distance(self, real: Sequence[Observation], generated: Sequence[Observation]) -> float:
        """NotComputable where a side has no sample, or one."""
        x, y = require_found(real, "real"), require_found(generated, "generated")
        try:
            return _unbiased(self._side(x), self._side(y), sum(self._sum(a, b) for a in x for b in y))
        except ValueError as error:
            raise NotComputable(str(error)) from error

    def _side(self, clips: Sequence[Observation]) -> "_Sums":
        own = [self._own(clip) for clip in clips]
        pairs = sum(self._sum(a, b) for i, a in enumerate(clips) for j, b in enumerate(clips) if i != j)
        return _Sums(sum(s.n for s in own), sum(s.whole for s in own) + pairs, sum(s.diagonal for s in own))

    def _own(self, clip: Observation) -> "_Sums":
        if id(clip) not in self._within:
            self._within[id(clip)] = clip, _Sums.within(_float64(clip))
        return self._within[id(clip)][1]

    def _sum(self, a: Observation, b: Observation) -> float:
        if a is b:  # drawn twice
            return self._own(a).whole
        key = (id(a), id(b)) if id(a) < id(b) else (id(b), id(a))
        if key not in self._across:
            self._own(a), self._own(b)
            self._across[key] = float(kernel(_float64(a), _float64(b)).sum())
        return self._across[key]


class _Sums:
    """Of the kernel over all pairs of one side: how many samples, the whole sum, and the diagonal's."""

    def __init__(self, n: int, whole: float, diagonal: float) -> None:
        self.n, self.whole, self.diagonal = n, whole, diagonal

    @classmethod
    def within(cls, x: np.ndarray) -> "_Sums":
        matrix = kernel(x, x)
        return cls(len(x), float(matrix.sum()), float(np.trace(matrix)))


def _unbiased(x: _Sums, y: _Sums, across: float) -> float:
    if min(x.n, y.n) < 2:
        raise ValueError(f"KID needs at least 2 samples a side, got {x.n} and {y.n}")
    own = [(side.whole - side.diagonal) / (side.n * (side.n - 1)) for side in (x, y)]
    return sum(own) - 2 * across / (x.n * y.n)


def _float64(clip: Observation) -> np.ndarray:
    return clip.samples.astype(np.float64)
