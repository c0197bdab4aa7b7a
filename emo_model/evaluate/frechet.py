"""Fréchet distance between two sets of features: what FID, FVD and E-FID have in common.

d2 = |mu1 - mu2|^2 + tr S1 + tr S2 - 2 tr (S1 S2)^1/2 (Dowson and Landau 1982; Heusel et al. 2017).

The usual code takes a matrix square root of S1 S2. That is slow, and with fewer samples than dimensions it is
noise: the product is singular. With any factors S = L L^T the trace is a nuclear norm,
tr (S1 S2)^1/2 = |L1^T L2|_*, so

* up to d samples the centred samples themselves are the factor: as exact as they are, and as small as they
  are few;
* above that Cholesky gives L1, and the eigenvalues of L1^T S2 L1 are the squares of the singular values.

Everything is float64: in float32 the trace alone is off by 0.1 %.
"""

from dataclasses import dataclass

import numpy as np


class Gaussian:
    """Mean and covariance of features that arrive in batches.

    Rows are kept while there are at most d of them (they are the exact factor of their covariance); from then
    on only the sum and X^T X, both centred by the first batch's mean so that large means cancel before
    squaring. `biased` divides the covariance by n, as StyleGAN-V's statistics do, not by n - 1.
    """

    def __init__(self, biased: bool = False) -> None:
        self.n, self._biased = 0, biased
        self._rows: list[np.ndarray] | None = []
        self._centre = self._sum = self._scatter = np.zeros(0)

    @classmethod
    def of(cls, features: np.ndarray, biased: bool = False) -> "Gaussian":
        """The Gaussian of (n, d) features."""
        return cls(biased).add(features)

    def add(self, features: np.ndarray) -> "Gaussian":
        """Add (n, d) features. ValueError on another shape or on values that are not finite."""
        x = np.asarray(features, np.float64)
        if x.ndim != 2 or (self.n and x.shape[1] != len(self._centre)):
            raise ValueError(f"wanted features (n, {len(self._centre) if self.n else 'd'}), got {x.shape}")
        if not np.isfinite(x).all():
            raise ValueError("features are not finite")
        if not len(x):
            return self
        if not self.n:
            self._centre = x.mean(0)
            self._sum, self._scatter = np.zeros(x.shape[1]), np.zeros((x.shape[1], x.shape[1]))
        self.n += len(x)
        if self._rows is not None:
            self._rows.append(x)
            if self.n <= x.shape[1]:
                return self
            x, self._rows = np.concatenate(self._rows), None
        x = x - self._centre
        self._sum = self._sum + x.sum(0)
        self._scatter = self._scatter + x.T @ x
        return self

    @property
    def mean(self) -> np.ndarray:
        """(d,) mean."""
        if self._rows is not None:
            return np.concatenate(self._rows).mean(0)
        return self._centre + self._sum / self.n

    @property
    def factor(self) -> np.ndarray | None:
        """(n, d) matrix A with covariance A^T A while n <= d, else None."""
        if self._rows is None:
            return None
        x = np.concatenate(self._rows)
        return (x - x.mean(0)) / np.sqrt(self._freedom)

    @property
    def _freedom(self) -> int:
        return self.n if self._biased else self.n - 1

    @property
    def covariance(self) -> np.ndarray:
        """(d, d) covariance."""
        factor = self.factor
        if factor is not None:
            return factor.T @ factor
        return (self._scatter - np.outer(self._sum, self._sum) / self.n) / self._freedom


def frechet_distance(a: Gaussian, b: Gaussian) -> float:
    """Squared Fréchet distance of two Gaussians. ValueError where one has fewer than two samples."""
    if min(a.n, b.n) < 2:
        raise ValueError(f"a covariance needs at least 2 samples, got {a.n} and {b.n}")
    s1, s2 = _spread(a), _spread(b)
    shift = float(((a.mean - b.mean) ** 2).sum())
    return max(0.0, shift + s1.trace + s2.trace - 2 * _trace_of_root(s1, s2))


@dataclass(frozen=True)
class _Spread:
    """A covariance, whole or as its (n, d) factor."""

    matrix: np.ndarray
    is_factor: bool
    trace: float


def _spread(g: Gaussian) -> _Spread:
    factor = g.factor
    if factor is not None:
        return _Spread(factor, True, float((factor**2).sum()))
    covariance = g.covariance
    return _Spread(covariance, False, float(np.trace(covariance)))


def _trace_of_root(a: _Spread, b: _Spread) -> float:
    """tr (S1 S2)^1/2, by the cheapest form."""
    import scipy.linalg  # where it is used: every Dagster process would pay its 0.1 s

    if b.is_factor and not a.is_factor:
        a, b = b, a
    if a.is_factor:
        small = a.matrix @ (b.matrix.T if b.is_factor else _lower_root(b.matrix))
        if len(small) <= a.matrix.shape[1] // 2:
            return float(scipy.linalg.svdvals(small, overwrite_a=True, check_finite=False).sum())
        # above d / 2 samples, singular values cost four times these eigenvalues
        squares = scipy.linalg.blas.dsyrk(1.0, small.T, trans=1, lower=True)
    else:
        # L^T S2 L, its lower triangle. LAPACK reads columns: the transpose of a symmetric matrix has them at no cost
        squares, _ = scipy.linalg.lapack.dsygst(b.matrix.T, _lower_root(a.matrix), itype=2, lower=True)
    values = scipy.linalg.eigvalsh(squares, overwrite_a=True, check_finite=False)
    return float(np.sqrt(np.clip(values, 0, None)).sum())


def _lower_root(covariance: np.ndarray) -> np.ndarray:
    """Lower triangular L with L L^T = covariance.

    Where some features are constant or dependent Cholesky fails; then from eigenvectors, made triangular by
    QR.
    """
    import scipy.linalg

    try:
        return scipy.linalg.cholesky(covariance.T, lower=True, check_finite=False)
    except np.linalg.LinAlgError:
        values, vectors = np.linalg.eigh(covariance)
        root = vectors * np.sqrt(np.clip(values, 0, None))
        return scipy.linalg.qr(root.T, mode="r", check_finite=False)[0].T
