"""F-SIM: does the generated face stay the person of the reference image?

s_t = 100 cos(f(x_t), f(reference)); F-SIM is the mean over a clip's frames, then over clips. The first frame
is left out: it may be the reference itself. EMO reads the number against the ground truth's own value
(section 4.3: "not higher is better"), so the gap to it is given beside. Frames without a face stay in n of N.

The stand-in is dlib's ResNet (CC0, 128-d), on chips aligned by five of the landmarker's points: the eyes'
corners and the base of the nose, in the order of dlib's own 5-point predictor.
"""

from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from emo_model import weights

from .extractors import Extractor
from .faces import FaceTrack, track_faces
from .scores import Observation, Score, counted, require_found
from .video import Video

FPS = 5  # identity changes slowly: five looks a second are enough
FIVE_POINTS = (263, 362, 33, 133, 2)


class FaceNetwork:
    """dlib's ResNet: what a face looks like as 128 numbers. Distances of one person's are mostly below 0.6."""

    def __init__(self, path: Path) -> None:
        import dlib

        self._dlib = dlib
        self._network = dlib.face_recognition_model_v1(str(path))

    def describe(self, picture: np.ndarray, box: np.ndarray, points: np.ndarray | None = None) -> np.ndarray:
        """(H, W, 3) uint8 RGB, box (4,), FIVE_POINTS (5, 2) in its pixels -> (128,) float64.

        Without points, dlib's own predictor looks for them in the box, of which it wants the square of its detector's.
        """
        dlib, picture = self._dlib, np.ascontiguousarray(picture)
        area = dlib.rectangle(*(round(float(v)) for v in box))
        if points is None:
            shape = self._predictor(picture, area)
        else:
            shape = dlib.full_object_detection(area, list(dlib.points([dlib.point(*map(round, p)) for p in points])))
        chip = dlib.get_face_chip(picture, shape, size=150, padding=0.25)
        return np.array(self._network.compute_face_descriptor(chip))

    @cached_property
    def _predictor(self) -> Any:
        return self._dlib.shape_predictor(str(weights.path("shape_predictor")))


class FaceSimilarity:
    """Observes (T,) similarities to the reference, x 100."""

    def __init__(self, extractor: Extractor) -> None:
        self.network = FaceNetwork(weights.path(extractor.weights[0]))

    def observe(self, video: Video) -> Observation:
        step = max(1, round(video.fps / FPS))
        frames, faces = video.frames[1::step], video.faces[np.arange(len(video.frames))[1::step]]
        anchor = self.features(video.reference[None], track_faces(video.reference[None], video.fps))[0]
        if np.isnan(anchor).any():
            return Observation.nothing(len(frames), "no face in the reference image")
        similarity = 100 * cosine(self.features(frames, faces), anchor)
        return Observation(similarity, faces.found, "no face in the frames")

    def features(self, frames: np.ndarray, faces: FaceTrack) -> np.ndarray:
        """(T, H, W, 3) uint8 RGB -> (T, 128) float64, NaN where no face was found."""
        out = np.full((len(frames), 128), np.nan)
        for t in np.flatnonzero(faces.found):
            out[t] = self.network.describe(frames[t], faces.boxes[t], faces.landmarks[t][list(FIVE_POINTS)])
        return out

    def scores(self, real: Sequence[Observation], generated: Sequence[Observation]) -> dict[str, Score]:
        value, truth = mean_of_clips(generated, "generated"), mean_of_clips(real, "real")
        n = counted(generated)
        return {"f_sim": Score(value, *n), "f_sim_gap": Score(abs(value - truth), *n)}


def cosine(features: np.ndarray, anchor: np.ndarray) -> np.ndarray:
    """(T, d), (d,) -> (T,) cosine; NaN rows stay NaN."""
    return features @ anchor / (np.linalg.norm(features, axis=-1) * np.linalg.norm(anchor))


def mean_of_clips(observations: Sequence[Observation], whose: str) -> float:
    """Mean over clips of the mean over found samples."""
    return float(np.mean([o.samples.mean() for o in require_found(observations, whose)]))
