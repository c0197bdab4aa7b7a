"""Krippendorff's alpha: how far raters agree, beyond what equal use of the scale by chance would give."""

import numpy as np


def krippendorff_alpha(ratings: np.ndarray) -> float | None:
    """1 - observed / expected disagreement of ratings (raters, units) on an ordinal scale; NaN: not rated.

    1: all agree; 0: as by chance; below: they disagree on purpose. None where nothing can disagree: no unit with two
    ratings, or all ratings equal. Krippendorff, Computing Krippendorff's Alpha-Reliability (2011).
    """
    ratings = np.asarray(ratings, float)
    values, found = np.unique(ratings[np.isfinite(ratings)], return_inverse=True)
    place = np.full(ratings.shape, -1)
    place[np.isfinite(ratings)] = found
    counts = np.stack([(place == value).sum(0) for value in range(len(values))]) if len(values) else np.zeros((0, 0))
    counts = counts[:, counts.sum(0) >= 2].astype(float)  # (values, units): a single rating pairs with nothing
    if not counts.size:
        return None
    pairs = counts / (counts.sum(0) - 1)
    coincidences = pairs @ counts.T - np.diag(pairs.sum(1))
    totals = coincidences.sum(1)
    expected = np.outer(totals, totals) - np.diag(totals)
    distance = _ordinal(totals)
    most = (expected * distance).sum()
    return float(1 - (totals.sum() - 1) * (coincidences * distance).sum() / most) if most > 0 else None


def _ordinal(totals: np.ndarray) -> np.ndarray:
    """delta^2 of each two ranks: the ratings from one to the other, the ends by half, squared."""
    upto = np.cumsum(totals)
    middle = upto - totals / 2
    return (middle[:, None] - middle[None, :]) ** 2
