"""F-SIM: does the generated face stay the person of the reference image?

s_t = 100 cos(f(x_t), f(reference)); F-SIM is the mean over a clip's frames, then over clips. The first frame
is left out: it may be the reference itself. EMO reads the number against the ground truth's own value
(section 4.3: "not higher is better"), so the gap to it is given beside, and W1, the distance between the clips' means
of method and truth as distributions. Identity drift is the slope of s_t in points a minute: long videos of windows
that lean on each other wander off. Frames without a face stay in n of N.

The reference is ArcFace on SCRFD's five points (arcface.py); with the landmarker's points in their place the name says
so. The other stand-in is dlib's ResNet (CC0, 128-d), on chips aligned by five of the landmarker's points: the eyes'
corners and the base of the nose, in the order of dlib's own 5-point predictor.
"""

from collections.abc import Callable, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from emo_model import weights

from .arcface import ArcFace, Portrait, face_chip
from .extractors import Extractor
from .faces import NO_FACE, FaceTrack
from .scores import Observation, Score, counted, require_found
from .video import Video

FPS = 5  # identity changes slowly: five looks a second are enough
FIVE_POINTS = (263, 362, 33, 133, 2)
Describe = Callable[[Video, np.ndarray], list[np.ndarray | None]]  # indices (n,) of frames -> (d,) each, None: no face


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


def _arcface() -> Describe:
    portrait = Portrait(weights.path("scrfd"), weights.path("arcface"))
    return lambda video, frames: [portrait.describe(video.frames[t]) for t in frames]


def _on_landmarks(describe: Callable[[np.ndarray, FaceTrack], np.ndarray]) -> Describe:
    """A network that is shown a frame (H, W, 3) and the landmarker's face in it, a track of one."""

    def all_of(video: Video, frames: np.ndarray) -> list[np.ndarray | None]:
        faces = video.faces
        return [describe(video.frames[t], faces[t : t + 1]) if faces.found[t] else None for t in frames]

    return all_of


def _arcface_mediapipe() -> Describe:
    network = ArcFace(weights.path("arcface"))
    return _on_landmarks(lambda frame, face: network(face_chip(frame, face.five_points[0])[None])[0])


def _dlib() -> Describe:
    network = FaceNetwork(weights.path("dlib_face"))
    return _on_landmarks(
        lambda frame, face: network.describe(frame, face.boxes[0], face.landmarks[0, list(FIVE_POINTS)])
    )


NETWORKS = {"arcface": _arcface, "arcface-mediapipe": _arcface_mediapipe, "dlib-resnet": _dlib}


class FaceSimilarity:
    """Observes (T,) similarities to the reference, x 100."""

    def __init__(self, extractor: Extractor) -> None:
        self.describe = NETWORKS[extractor.name]()

    def observe(self, video: Video) -> Observation:
        looks = np.arange(1, len(video.frames), max(1, round(video.fps / FPS)))
        anchor = self.describe(Video(video.reference[None], video.fps, video.reference), np.zeros(1, int))[0]
        if anchor is None:
            return Observation.nothing(len(looks), "no face in the reference image")
        faces = self.describe(video, looks[:1]) * len(looks) if video.still else self.describe(video, looks)
        similarity = np.array([np.nan if face is None else 100 * cosine(face, anchor) for face in faces])
        return Observation(similarity, np.array([face is not None for face in faces], bool), NO_FACE, looks / video.fps)

    def scores(self, real: Sequence[Observation], generated: Sequence[Observation]) -> dict[str, Score]:
        from scipy.stats import wasserstein_distance  # 0.4 to 0.7 s of imports that every Dagster process would pay

        values, truths = clip_means(generated, "generated"), clip_means(real, "real")
        n = counted(generated)
        slopes = [slope for o in generated if (slope := drift_per_minute(o)) is not None]
        drift = Score(float(np.mean(slopes)), *n) if slopes else Score(None, *n, "no clip with two faces in time")
        return {
            "f_sim": Score(float(np.mean(values)), *n),
            "f_sim_gap": Score(float(abs(np.mean(values) - np.mean(truths))), *n),
            "f_sim_w1": Score(float(wasserstein_distance(values, truths)), *n),
            "identity_drift": drift,
        }


def cosine(a: np.ndarray, b: np.ndarray) -> float:
    """Of the angle between (d,) and (d,)."""
    return float(a @ b / (np.linalg.norm(a) * np.linalg.norm(b)))


def clip_means(observations: Sequence[Observation], whose: str) -> list[float]:
    """The mean over found samples, of each clip that has any."""
    return [float(o.samples.mean()) for o in require_found(observations, whose)]


def drift_per_minute(observation: Observation) -> float | None:
    """Slope of a clip's samples over their times by least squares, a minute; None below two samples with times."""
    if observation.t_s is None:
        return None
    times = observation.t_s[observation.found] / 60
    if len(times) < 2:
        return None
    return float(np.polyfit(times, observation.samples, 1)[0])
