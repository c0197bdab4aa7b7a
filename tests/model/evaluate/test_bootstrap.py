"""Bootstrap intervals on numbers whose truth is known."""

import numpy as np
import pytest

from emo_model.evaluate.bootstrap import intervals


def mean_of(values: np.ndarray):
    return lambda drawn: {"mean": float(values[drawn].mean())}


def test_an_interval_covers_the_truth_about_as_often_as_it_says():
    """Sixty worlds of 25 groups: what groups differ by is drawn with them, as a person's loss is with the person."""
    covered = 0
    for world in range(60):
        rng = np.random.default_rng(world)
        groups = [f"clip{number}" for number in range(25) for _ in range(4)]
        values = 3 + np.repeat(rng.normal(0, 1, 25), 4) + rng.normal(0, 0.1, 100)
        low, high = intervals(mean_of(values), groups, 300, seed=0)["mean"]
        covered += low < 3 < high
    assert 52 <= covered <= 60  # 95 % of 60 is 57; samples taken for groups would cover 34


def test_whole_groups_are_drawn():
    """Two groups, each of one value: means are those of (a, a), (a, b) and (b, b), however many samples there are."""
    values = np.repeat([1.0, 3.0], 50)
    seen: set[float] = set()

    def statistic(drawn: list[int]) -> dict[str, float]:
        seen.add(float(values[drawn].mean()))
        return {"mean": float(values[drawn].mean())}

    assert intervals(statistic, ["a"] * 50 + ["b"] * 50, 100, seed=0)["mean"] == (1.0, 3.0)
    assert seen == {1.0, 2.0, 3.0}


def test_one_group_has_no_interval_and_a_number_mostly_missing_neither():
    values = np.arange(4.0)
    assert intervals(mean_of(values), ["a"] * 4, 100, seed=0) == {}

    def sometimes(drawn: list[int]) -> dict[str, float]:
        return {"always": 1.0} | ({"rare": 1.0} if set(drawn) == {0} else {})

    assert intervals(sometimes, list("abcd"), 100, seed=0) == {"always": pytest.approx((1.0, 1.0))}
