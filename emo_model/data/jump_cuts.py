"""Jump cuts: seconds taken out of one shot. The picture hardly changes, so shots.py sees nothing, but the head does.

Measured on twenty real and rendered tracks of one take each (5,000 frames), with 0.5 to 2 s taken out at 800 places:
54 % of the cuts are found, 72 % of those that move the head by a step of 1 or more; one frame in 5,000 is
taken for a cut that is none, which only ends a clip early.
"""

import numpy as np
from numpy.typing import NDArray

from emo_model.data.head_motion import angles, quaternions

Array = NDArray[np.float64]

# A step of size 1: degrees of rotation, shares of the face's height moved, and change of its height (log).
SIZES = (10.0, 0.08, 0.08)
SMALLEST = 0.5  # smaller steps are no jump, however still the head is around them
TIMES = 3.0  # as large as this many times the largest step near it: quick movement takes several frames
NEAR = 4  # frames on either side


def jumps(boxes: Array, matrices: Array) -> NDArray[np.bool_]:
    """(N,) whether the head jumps into this frame. boxes (N, 4) in pixels, matrices (N, 3, 3) of the head's rotation,
    both NaN where no face was found; nothing jumps into or out of such a frame."""
    found = np.flatnonzero(~np.isnan(boxes[:, 0]))
    jumped = np.zeros(len(boxes), bool)
    if len(found) < 3:
        return jumped
    sizes = steps(boxes[found], matrices[found])
    sizes[np.diff(found) > 1] = 0.0
    around = np.pad(sizes, NEAR)
    near = [around[NEAR + k : NEAR + k + len(sizes)] for k in range(-NEAR, NEAR + 1) if k]
    jumped[found[1:]] = (sizes > SMALLEST) & (sizes > TIMES * (np.max(near, axis=0) + 0.1))
    return jumped


def steps(boxes: Array, matrices: Array) -> Array:
    """(N - 1,) size of the head's step from each frame to the next, as `jumps` takes them; all frames with a face."""
    heights, centres = boxes[:, 3] - boxes[:, 1], (boxes[:, :2] + boxes[:, 2:]) / 2
    moved = np.linalg.norm(np.diff(centres, axis=0), axis=1) / heights[1:]
    grown = np.abs(np.diff(np.log(heights)))
    degrees, height, log = SIZES
    return np.sqrt((angles(quaternions(matrices)) / degrees) ** 2 + (moved / height) ** 2 + (grown / log) ** 2)
