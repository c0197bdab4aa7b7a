"""Burnt-in text: captions, clocks, logos. PP-OCRv4's detector of text lines (DB, Liao et al. 2020), read by OpenCV.

The detector takes teeth, folds and hair for letters now and then, but never twice in the same place, while a caption
stays: a pixel counts where most pictures of the clip have text in it. Lettering of the scene that stays (a poster, a
backdrop) counts as well. Letters below a thirtieth of the picture's height are too small for it.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from emo_model import weights
from emo_model.data.media import Picture
from emo_model.data.workers import for_a_step

MODEL = "text_detector"
SIZE = 256  # side at which it looks; the same pictures enlarged make it see text in plain faces
TEXT = 0.3  # PP-OCRv4: probability from which a pixel belongs to a line's core
GROW = 1.5  # PP-OCRv4's unclip ratio: a line's core is smaller than the line
_MEAN, _STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # ImageNet's, as PP-OCRv4 was trained with

Mask = NDArray[np.bool_]  # (SIZE, SIZE)


def line_cores(picture: Picture) -> Mask:
    """Where a picture (H, W, 3) RGB has the cores of text lines. UserError where the weights are missing."""
    import cv2

    small = cv2.resize(picture, (SIZE, SIZE), interpolation=cv2.INTER_AREA)
    # Trained on OpenCV's order of channels with the means of the other: kept as it was trained.
    scaled = ((small[..., ::-1] / 255 - _MEAN) / _STD).astype(np.float32)
    network = _network(weights.path(MODEL))
    network.setInput(np.ascontiguousarray(scaled.transpose(2, 0, 1)[None]))
    return network.forward()[0, 0] > TEXT


def text_area(cores: Sequence[Mask]) -> float:
    """Share of the picture that lines cover, of those that stay: what more than half of the pictures have."""
    import cv2

    staying = (np.mean(cores, axis=0) > 0.5).astype(np.uint8)
    lines = np.zeros_like(staying)
    for core in cv2.findContours(staying, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_SIMPLE)[0]:
        centre, (width, height), angle = cv2.minAreaRect(core)
        grow = GROW * width * height / max(width + height, 1)  # twice the distance: both sides
        corners = cv2.boxPoints((centre, (width + grow, height + grow), angle))
        cv2.fillPoly(lines, [np.round(corners).astype(np.int32)], 1)
    return float(lines.mean())


@for_a_step
def _network(path: Path):  # type: ignore[no-untyped-def]  # cv2 has no types
    import cv2

    cv2.setNumThreads(1)  # a worker has one core, and sums come out the same every time
    return cv2.dnn.readNetFromONNX(str(path))
