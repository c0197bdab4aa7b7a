"""E-FID and P-FID: Fréchet distances of per-frame expression and head pose, frames pooled over all clips.

The reference coefficients are Deep3DFaceRecon's (Deng et al. 2019), which EMO cites: 64 of expression; angles (radians)
and translation for the pose, as in FLOAT. It is shown the landmarker's five points: EMO names no detector. Who somebody
is leaks into an expression, so E-FID is given raw and with every clip's mean taken off (`e_fid_centred`).

The stand-ins are the landmarker's 52 blendshapes, and its Euler angles (radians) and translation (cm); their numbers
live on other scales and are never comparable with published ones.
"""

from collections.abc import Sequence
from typing import ClassVar
from weakref import WeakKeyDictionary

import numpy as np
import torch
from scipy.spatial.transform import Rotation

from emo_model import weights

from .deep3d import ANGLES, EXPRESSION, TRANSLATION, align, load_deep3d, load_mean_landmarks
from .extractors import Extractor
from .faces import NO_FACE
from .scores import NotComputable, Observation, Score, counted, frechet_score
from .video import Video

BATCH = 16


class Expression:
    """Observes (T, 64) expression coefficients, or (T, 52) blendshapes."""

    def __init__(self, extractor: Extractor) -> None:
        self.deep3d = Coefficients() if extractor.name == "deep3d" else None

    def observe(self, video: Video) -> Observation:
        values = self.deep3d(video)[:, EXPRESSION] if self.deep3d else video.faces.blendshapes
        return Observation(values, video.faces.found, NO_FACE)

    def scores(self, real: Sequence[Observation], generated: Sequence[Observation]) -> dict[str, Score]:
        n = counted(generated)
        return {
            "e_fid": Score(frechet_score(real, generated, "frame"), *n),
            "e_fid_centred": Score(frechet_score(centred(real), centred(generated), "frame"), *n),
        }


class HeadPose:
    """Observes (T, 6) angles and translation."""

    def __init__(self, extractor: Extractor) -> None:
        self.deep3d = Coefficients() if extractor.name == "deep3d" else None

    def observe(self, video: Video) -> Observation:
        if self.deep3d:
            all_of = self.deep3d(video)
            pose = np.concatenate([all_of[:, ANGLES], all_of[:, TRANSLATION]], 1)
        else:
            faces = video.faces
            pose = np.full((len(faces.found), 6), np.nan)
            if faces.found.any():
                pose[faces.found, :3] = Rotation.from_matrix(faces.rotation[faces.found]).as_euler("xyz")
            pose[:, 3:] = faces.translation
        return Observation(pose, video.faces.found, NO_FACE)

    def scores(self, real: Sequence[Observation], generated: Sequence[Observation]) -> dict[str, Score]:
        return {"p_fid": Score(frechet_score(real, generated, "frame"), *counted(generated))}


class Coefficients:
    """Deep3D's (T, 257) of a video, NaN where no face was found; each video is passed through the network once."""

    _seen: ClassVar[WeakKeyDictionary[Video, np.ndarray]] = WeakKeyDictionary()  # two metrics read other parts of it

    def __init__(self) -> None:
        self.network = load_deep3d(weights.path("deep3d"))
        self.mean = load_mean_landmarks(weights.path("deep3d_landmarks"))

    def __call__(self, video: Video) -> np.ndarray:
        if video not in self._seen:
            self._seen[video] = self._of(video)
        return self._seen[video]

    @torch.inference_mode()
    def _of(self, video: Video) -> np.ndarray:
        faces, out = video.faces, np.full((len(video.frames), 257), np.nan)
        shown = np.flatnonzero(faces.found)
        looked_at = shown[:1] if video.still else shown
        points = faces.five_points
        for batch in np.array_split(looked_at, -(-len(looked_at) // BATCH) or 1):
            if len(batch):
                pictures = np.stack([align(video.frames[t], points[t], self.mean) for t in batch])
                x = torch.from_numpy(pictures).movedim(-1, 1).float() / 255
                out[shown if video.still else batch] = self.network(x).numpy()
        return out


def centred(observations: Sequence[Observation]) -> list[Observation]:
    """Each clip's found samples less their mean. NotComputable where no clip has two: a lone frame is its own mean."""
    if all(o.found.sum() < 2 for o in observations):
        raise NotComputable("a clip's mean can only be taken off where it has two faces")
    return [
        Observation(o.values - o.samples.mean(0), o.found, o.reason, o.t_s) if o.found.any() else o
        for o in observations
    ]
