"""F-SIM's reference: SCRFD finds the face and five points of it, a similarity brings them to fixed places, ArcFace
describes it in 512 numbers (insightface: scrfd_10g_bnkps and glintr100 of the model zoo's antelopev2).

Both are ONNX files; cv2 runs them.
"""

from pathlib import Path
from typing import Any

import numpy as np

from emo_model.errors import UserError

from .boxes import largest, suppressed

SIDE = 112
# Where insightface puts the eyes, the nose and the corners of the mouth, in a picture of 112 pixels (x, y).
TEMPLATE = np.array(
    [[38.2946, 51.6963], [73.5318, 51.5014], [56.0252, 71.7366], [41.5493, 92.3655], [70.7299, 92.2041]]
)


def similarity_transform(points: np.ndarray, target: np.ndarray = TEMPLATE) -> np.ndarray:
    """(2, 3) matrix [s R | t] that takes (n, 2) points nearest to target by least squares (Umeyama 1991).

    ValueError where the points coincide.
    """
    p, q = points - points.mean(0), target - target.mean(0)
    u, singular, v = np.linalg.svd(q.T @ p)
    sign = np.array([1.0, np.sign(np.linalg.det(u) * np.linalg.det(v))])
    if (spread := (p**2).sum()) == 0:
        raise ValueError("five points at one place have no direction")
    matrix = (singular * sign).sum() / spread * (u * sign) @ v
    return np.c_[matrix, target.mean(0) - matrix @ points.mean(0)]


def face_chip(frame: np.ndarray, points: np.ndarray) -> np.ndarray:
    """(H, W, 3) uint8 and five points (5, 2) in its pixels -> (112, 112, 3) uint8; outside the frame is black."""
    import cv2

    return cv2.warpAffine(frame, similarity_transform(points), (SIDE, SIDE), borderValue=0.0)


def read_onnx(path: Path) -> Any:
    """cv2's network of an ONNX file. UserError where it is none."""
    import cv2

    try:
        return cv2.dnn.readNetFromONNX(str(path))
    except cv2.error as error:
        raise UserError(f"{path} could not be read as an ONNX network: {str(error).splitlines()[0]}") from error


class ArcFace:
    """(n, 112, 112, 3) uint8 RGB chips -> (n, 512) float32, not normalised. UserError on another network."""

    def __init__(self, path: Path) -> None:
        self._network = read_onnx(path)
        got = self(np.zeros((1, SIDE, SIDE, 3), np.uint8)).shape
        if got != (1, 512):
            raise UserError(f"{path} is not ArcFace: wanted (1, 512) for one face, got {got}")

    def __call__(self, chips: np.ndarray) -> np.ndarray:
        import cv2

        self._network.setInput(cv2.dnn.blobFromImages(list(chips), 1 / 127.5, (SIDE, SIDE), (127.5,) * 3))
        return np.array(self._network.forward())


class SCRFD:
    """Faces and their five points. UserError where the file's network has other outputs."""

    strides, anchors, confidence, overlap, size = (8, 16, 32), 2, 0.5, 0.4, 640

    def __init__(self, path: Path) -> None:
        self._network = read_onnx(path)
        self._outputs = self._network.getUnconnectedOutLayersNames()
        shapes = [out.reshape(-1, out.shape[-1]).shape for out in self._run(np.zeros((64, 64, 3), np.uint8))]
        counts = [self.anchors * (64 // stride) ** 2 for stride in self.strides]
        wanted = [(count, width) for width in (1, 4, 10) for count in counts]  # confidences, boxes, points
        if sorted(shapes) != sorted(wanted):
            raise UserError(f"{path} is not SCRFD with five points: wanted {wanted} for 64 pixels, got {shapes}")
        self._outputs = [self._outputs[shapes.index(shape)] for shape in wanted]

    def _run(self, picture: np.ndarray) -> list[np.ndarray]:
        import cv2

        height, width = picture.shape[:2]
        self._network.setInput(cv2.dnn.blobFromImage(picture, 1 / 128, (width, height), (127.5,) * 3))
        return [np.array(out) for out in self._network.forward(self._outputs)]

    def detect(self, frame: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """(H, W, 3) uint8 RGB -> boxes (n, 4), confidences (n,), points (n, 5, 2) in its pixels, best first.

        The frame is fitted into 640 x 640 pixels at the upper left, the rest is black.
        """
        import cv2

        height, width = frame.shape[:2]
        ratio = height / width
        w, h = (int(self.size / ratio), self.size) if ratio > 1 else (self.size, int(self.size * ratio))
        picture = np.zeros((self.size, self.size, 3), np.uint8)
        picture[:h, :w] = cv2.resize(frame, (w, h))
        outputs = [out.reshape(-1, out.shape[-1]) for out in self._run(picture)]
        parts = [self._decode(stride, *outputs[i::3]) for i, stride in enumerate(self.strides)]
        scores, boxes, points = (np.concatenate(part) for part in zip(*parts, strict=True))
        scale = h / height
        kept = suppressed(boxes / scale, scores, self.overlap, pixel=1)
        return boxes[kept] / scale, scores[kept], points[kept] / scale

    def _decode(
        self, stride: int, scores: np.ndarray, sides: np.ndarray, points: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        cells = np.arange(self.size // stride) * stride
        y, x = np.meshgrid(cells, cells, indexing="ij")
        centres = np.stack([x, y], -1).reshape(-1, 2).repeat(self.anchors, 0)
        sure = scores[:, 0] >= self.confidence
        c, d = centres[sure], sides[sure] * stride
        return scores[sure, 0], np.c_[c - d[:, :2], c + d[:, 2:]], c[:, None] + points[sure].reshape(-1, 5, 2) * stride


class Portrait:
    """The largest face of each frame as ArcFace sees it."""

    def __init__(self, detector: Path, recogniser: Path) -> None:
        self._detector, self._recogniser = SCRFD(detector), ArcFace(recogniser)

    def describe(self, frame: np.ndarray) -> np.ndarray | None:
        """(H, W, 3) uint8 RGB -> (512,), None without a face."""
        boxes, _, points = self._detector.detect(frame)
        return self._recogniser(face_chip(frame, points[largest(boxes)])[None])[0] if len(boxes) else None
