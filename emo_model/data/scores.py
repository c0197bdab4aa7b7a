"""Every score of a clip: what it is to find, how it is measured, and how often it is right.

A score is a column of `clips`. It finds its thing where `finds` holds, a line of SQL that a policy may use as it stands
or move. Precision and recall are those of that line on the labelled handful of `benchmarks/scores_*.py`; null where
nothing was there to count. Without its model a score is null, and the clip's `no_model` names it: never a constant.
"""

from dataclasses import dataclass


@dataclass(frozen=True)
class Score:
    """One score. `model` is an entry of the weights' registry, or "" where none is needed."""

    name: str  # column of `clips`
    about: str
    method: str
    finds: str = ""  # SQL over `clips`: true where the score says "this is one"; empty: a measure, not a finder
    model: str = ""
    precision: float | None = None
    recall: float | None = None
    labelled: str = ""  # what precision and recall were counted on


SCORES: tuple[Score, ...] = (
    Score("blur", "sharpness of the face", "variance of the Laplacian inside the face box, median over frames"),
    Score("min_face_px", "size of the face", "height of the 478 landmarks' extent in source pixels, smallest"),
    Score("brightness", "brightness of the picture", "mean luma of 48 frames"),
    Score("camera_motion", "movement of the camera", "flow of background corners, mean over 24 pairs"),
    Score("sync_confidence", "sound and lips belong together", "SyncNet's LSE-C", model="syncnet"),
    Score(
        "near_duplicate_of",
        "the same recording in another file",
        "sound and face hashes, word by word",
        finds="near_duplicate_of IS NOT NULL",
        precision=1.0,
        recall=1.0,
        labelled="45 pairs of 3 films and 5 copies of each, among 28 clips; the thresholds were set on them",
    ),
    Score("av_offset_frames", "sound and picture apart", "SyncNet's offset, frames at 25 fps", model="syncnet"),
)
