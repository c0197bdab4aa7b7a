"""E-FID: Fréchet distance of per-frame expression coefficients, frames pooled over all clips.

The reference coefficients are Deep3DFaceRecon's 64 (Deng et al. 2019), which EMO cites. The stand-in is the
landmarker's 52 blendshapes; its numbers live on another scale and are never comparable with published ones.
"""

from collections.abc import Sequence

from .extractors import Extractor
from .scores import Observation, Score, counted, frechet_score
from .video import Video


class Expression:
    """Observes (T, 52) blendshapes."""

    def __init__(self, extractor: Extractor) -> None:
        del extractor  # the face pass is shared by all metrics and loads its own model

    def observe(self, video: Video) -> Observation:
        return Observation(video.faces.blendshapes, video.faces.found, "no face in the frames")

    def scores(self, real: Sequence[Observation], generated: Sequence[Observation]) -> dict[str, Score]:
        return {"e_fid": Score(frechet_score(real, generated, "frame"), *counted(generated))}
