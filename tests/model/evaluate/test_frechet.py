"""The Fréchet distance against closed forms and against scipy's matrix square root."""

import warnings

import numpy as np
import pytest
import scipy.linalg

from emo_model.evaluate.frechet import Gaussian, frechet_distance


def samples(seed: int, n: int, d: int, shift: float = 0.0, decay: float = 0.5) -> np.ndarray:
    rng = np.random.default_rng(seed)
    mixing = np.linalg.qr(rng.standard_normal((d, d)))[0]
    return shift + rng.standard_normal((n, d)) * np.arange(1, d + 1) ** -decay @ mixing


def by_sqrtm(x: np.ndarray, y: np.ndarray) -> float:
    s1, s2 = np.cov(x.T), np.cov(y.T)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        root = scipy.linalg.sqrtm(s1 @ s2)
    return ((x.mean(0) - y.mean(0)) ** 2).sum() + np.trace(s1 + s2 - 2 * root).real


def distance(x: np.ndarray, y: np.ndarray) -> float:
    return frechet_distance(Gaussian.of(x), Gaussian.of(y))


@pytest.mark.parametrize("n", [20, 500], ids=["n<=d", "n>d"])
def test_a_shift_of_the_mean_costs_its_square(n: int) -> None:
    x, shift = samples(0, n, 64), np.linspace(-1, 2, 64)
    assert distance(x, x + shift) == pytest.approx((shift**2).sum(), rel=1e-9)


@pytest.mark.parametrize("n", [20, 40, 64, 65, 500])
def test_a_set_has_no_distance_to_itself(n: int) -> None:
    x = samples(1, n, 64)
    assert distance(x, x) == pytest.approx(0, abs=1e-6)


def test_commuting_covariances_have_the_closed_form() -> None:
    x = samples(2, 4000, 8)
    assert distance(x, 3 * x) == pytest.approx(4 * ((x.mean(0) ** 2).sum() + np.trace(np.cov(x.T))), rel=1e-9)


@pytest.mark.parametrize(("n", "m"), [(20, 30), (60, 60), (20, 500), (500, 20), (500, 400)])
def test_it_equals_the_matrix_square_root(n: int, m: int) -> None:
    x, y = samples(3, n, 64), samples(4, m, 64, shift=0.1)
    assert distance(x, y) == pytest.approx(by_sqrtm(x, y), rel=1e-6)


def test_constant_features_do_not_break_it() -> None:
    x, y = samples(5, 300, 16), samples(6, 300, 16)
    x[:, :4], y[:, 2:6] = 0, 1  # a dead ReLU: Cholesky alone would fail
    alive = distance(x, y)
    assert alive == pytest.approx(by_sqrtm(x, y), rel=1e-6)


def test_batches_give_what_the_whole_gives_also_over_the_switch_at_d() -> None:
    x, other = samples(7, 100, 32, shift=1000.0), Gaussian.of(samples(8, 90, 32, shift=1000.0))
    streamed = Gaussian()
    for batch in np.array_split(x, 9):
        streamed.add(batch)
    assert streamed.covariance == pytest.approx(np.cov(x.T), rel=1e-8, abs=1e-10)
    assert frechet_distance(streamed, other) == pytest.approx(frechet_distance(Gaussian.of(x), other), rel=1e-9)


def test_one_sample_has_no_covariance() -> None:
    with pytest.raises(ValueError, match="at least 2 samples, got 1 and 20"):
        distance(samples(9, 1, 4), samples(9, 20, 4))


def test_features_that_are_not_finite_are_refused() -> None:
    with pytest.raises(ValueError, match="not finite"):
        Gaussian.of(np.array([[1.0, np.nan], [0.0, 1.0]]))
