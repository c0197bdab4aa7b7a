"""Where a long take is parted into clips: where the voice pauses, and head and mouth are still.

effort of a frame = loudness around it + half of the movement around it, each from 0 (the video's quietest
twentieth of frames) to 1 (its loudest tenth)

The parts last 3 to 12 s and have the least effort where they begin, found by dynamic programming.
"""

import numpy as np
from numpy.typing import NDArray

from emo_model.data.media import SAME_S

Array = NDArray[np.float64]

AROUND_S = 0.1  # seconds on either side of a frame
MIN_RANGE_DB = 6.0  # a voice and its pauses are at least so far apart; steady noise has no pauses
STILL = 0.5  # weight of movement
UNKNOWN = 2.0  # effort of a frame without a face: nothing should start there
PER_PART = 0.5  # effort that must be saved to make one part more
UNEVEN = 0.2  # so that parts are even where nothing else counts


def effort(times: Array, loudness: Array, movement: Array) -> Array:
    """(N,) what it would cost to part a take at each frame.

    loudness (N,) dB around each frame, NaN without sound; movement (N,) of any unit, NaN where there is no face.
    """
    near = np.searchsorted(times, times[:, None] + [-AROUND_S, AROUND_S]) if len(times) else np.empty((0, 2), int)
    total = np.concatenate([[0.0], np.cumsum(np.nan_to_num(movement))])
    around = (total[near[:, 1]] - total[near[:, 0]]) / np.maximum(near[:, 1] - near[:, 0], 1)
    around[np.isnan(movement)] = np.nan
    return np.where(np.isnan(around), UNKNOWN, _scaled(loudness, MIN_RANGE_DB) + STILL * _scaled(around, 0.0))


def _scaled(values: Array, least: float) -> Array:
    """From 0 at the fifth percentile to 1 at the ninetieth; 0 where unknown, or where all are about the same."""
    known = values[np.isfinite(values)]
    low, high = np.percentile(known, [5, 90]) if known.size else (0.0, 0.0)
    if high - low <= least:
        return np.zeros(len(values))
    return np.clip((np.nan_to_num(values, nan=low, neginf=low) - low) / (high - low), 0, 1)


def parted(times: Array, stop_s: float, cost: Array, shortest_s: float, longest_s: float) -> list[int]:
    """First frames of the parts of a take: times (N,) of its frames, stop_s its end, cost (N,) of a part that starts
    there. Every part lasts shortest_s to longest_s; empty where no such parts are."""
    edges = np.append(times, stop_s)
    ideal_s = (stop_s - times[0]) / np.ceil((stop_s - times[0]) / longest_s - SAME_S)
    best, before = np.full(len(edges), np.inf), np.zeros(len(edges), int)
    best[0] = 0.0
    first, last = (np.searchsorted(edges, edges - reach) for reach in (longest_s + SAME_S, shortest_s - SAME_S))
    for edge in np.flatnonzero(last > first):
        at = slice(first[edge], last[edge])
        whole = best[at] + UNEVEN * ((edges[edge] - edges[at]) / ideal_s - 1) ** 2
        least = int(np.argmin(whole))
        here = cost[edge] + PER_PART if edge < len(cost) else 0.0
        best[edge], before[edge] = whole[least] + here, first[edge] + least
    if not np.isfinite(best[-1]):
        return []
    starts = [int(before[-1])]
    while starts[-1]:
        starts.append(int(before[starts[-1]]))
    return starts[::-1]
