"""How far a number could have come out otherwise: 95 % bootstrap intervals, whole groups drawn with replacement."""

from collections.abc import Callable, Mapping, Sequence

import numpy as np


def intervals(
    statistic: Callable[[list[int]], Mapping[str, float]],
    groups: Sequence[str],
    draws: int,
    seed: int,
    around: Mapping[str, float] | None = None,
) -> dict[str, tuple[float, float]]:
    """The middle 95 % of what statistic gives over resampled groups (people, clips): they, not frames, are the sample.

    groups: of each observation; statistic: indices of observations, some of them repeated -> its numbers by name. A
    number that fewer than half of the draws have gets no interval, and nothing gets one where there is one group.
    `around`: values of numbers that resampling shifts: the draws' median is moved there.
    """
    names = sorted(set(groups))
    if len(names) < 2:
        return {}
    members = [[i for i, group in enumerate(groups) if group == name] for name in names]
    known: dict[tuple[int, ...], Mapping[str, float]] = {}  # few groups make few distinct draws
    values: dict[str, list[float]] = {}
    for draw in np.random.default_rng(seed).integers(len(names), size=(draws, len(names))):
        key = tuple(sorted(draw.tolist()))
        if key not in known:
            known[key] = statistic([i for group in key for i in members[group]])
        for name, value in known[key].items():
            values.setdefault(name, []).append(value)
    found = {}
    for name, drawn in values.items():
        if len(drawn) >= draws / 2:
            low, middle, high = (float(v) for v in np.percentile(drawn, (2.5, 50, 97.5)))
            shift = around[name] - middle if around and name in around else 0.0
            found[name] = low + shift, high + shift
    return found
