"""Hands near the face: MediaPipe's HandLandmarker (a palm detector, then 21 landmarks) on single pictures.

A hand in front of a face is cut off by the picture's edge and shows no palm, so palms are looked for with little
confidence asked; the landmarks then tell. What still passes for a hand, ears and strands of hair, is small.
"""

import os
from collections.abc import Sequence
from types import TracebackType
from typing import Self

import numpy as np

from emo_model import weights
from emo_model.data.media import Picture

MODEL = "hand_landmarker"
MIN_PALM, MIN_HAND = 0.1, 0.5  # confidence asked of the palm detector, and of the landmarks
MIN_SIZE = 0.35  # longer side of a hand over the face box's height
NEAR = 0.25  # a hand is near within this share of the face box's size


class Hands:
    """The landmarker, open. It remembers nothing: a picture's answer does not depend on those before it."""

    def __init__(self) -> None:
        os.environ.setdefault("GLOG_minloglevel", "2")
        from mediapipe.tasks.python import BaseOptions, vision

        options = vision.HandLandmarkerOptions(
            base_options=BaseOptions(model_asset_path=str(weights.path(MODEL))),
            num_hands=2,
            min_hand_detection_confidence=MIN_PALM,
            min_hand_presence_confidence=MIN_HAND,
        )
        self._landmarker = vision.HandLandmarker.create_from_options(options)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._landmarker.close()

    def near(self, picture: Picture, face: Sequence[float]) -> bool:
        """Whether a picture (H, W, 3) RGB shows a hand on or beside the face box x0 y0 x1 y1, in its pixels."""
        import mediapipe

        image = mediapipe.Image(image_format=mediapipe.ImageFormat.SRGB, data=np.ascontiguousarray(picture))
        size = picture.shape[1::-1]
        hands = [
            np.array([(point.x, point.y) for point in hand]) * size
            for hand in self._landmarker.detect(image).hand_landmarks
        ]
        return any(_near((*hand.min(axis=0), *hand.max(axis=0)), face) for hand in hands)


def _near(hand: Sequence[float], face: Sequence[float]) -> bool:
    width, height = face[2] - face[0], face[3] - face[1]
    return (
        max(hand[2] - hand[0], hand[3] - hand[1]) >= MIN_SIZE * height
        and face[0] - NEAR * width < hand[2]
        and hand[0] < face[2] + NEAR * width
        and face[1] - NEAR * height < hand[3]
        and hand[1] < face[3] + NEAR * height
    )
