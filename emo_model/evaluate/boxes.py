"""Boxes of face detectors: (n, 4) x0 y0 x1 y1."""

import numpy as np


def suppressed(boxes: np.ndarray, scores: np.ndarray, overlap: float, pixel: float = 0.0) -> np.ndarray:
    """Indices that non-maximum suppression keeps, best first: those that overlap no better one by more than `overlap`
    of their union. `pixel` is added to every width and height: 1 where a box's last pixel counts as inside.
    """
    areas = (boxes[:, 2:] - boxes[:, :2] + pixel).prod(1)
    order, kept = np.argsort(-scores, kind="stable"), []
    while len(order):
        best, rest = order[0], order[1:]
        kept.append(best)
        sides = np.minimum(boxes[best, 2:], boxes[rest, 2:]) - np.maximum(boxes[best, :2], boxes[rest, :2]) + pixel
        shared = sides.clip(0).prod(1)
        order = rest[shared / (areas[best] + areas[rest] - shared) <= overlap]
    return np.array(kept, int)


def largest(boxes: np.ndarray) -> int:
    """Index of the largest of (n >= 1, 4)."""
    return int((boxes[:, 2:] - boxes[:, :2]).prod(1).argmax())
