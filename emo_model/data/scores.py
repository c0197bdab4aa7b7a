"""Every score of a clip: what it is to find, how it is measured, and how often it is right.

A score is a column of `clips`. It finds its thing where `finds` holds, a line of SQL that a policy may use as it stands
or move. Precision and recall are those of that line on the labelled handful of `benchmarks/scores_*.py`; null where
nothing was there to count. Where the line was fitted on those same clips, `labelled` says so. Without its model a score
is null, and the clip's `no_model` names it: never a constant.
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
    Score(
        "blur", "sharpness of the face", "variance of the Laplacian inside the face box, median over frames",
        finds="blur < 60", precision=1.0, recall=0.96,
        labelled="17 real clips, the 2 soft ones missed; 60 made: blurred by 2 to 4 pixels of 256, or not; fitted",
    ),
    Score(
        "min_face_px", "size of the face", "height of the 478 landmarks' extent in source pixels, smallest",
        finds="min_face_px < 100", precision=1.0, recall=0.98,
        labelled="68 made: 17 real clips made smaller, held against their own faces at full size",
    ),
    Score(
        "brightness", "too dark or too bright a picture", "mean luma of 24 frames",
        finds="brightness < 45 OR brightness > 190", precision=1.0, recall=0.96,
        labelled="17 real clips, none dark; 85 made: light times 0.15 to 4; fitted",
    ),
    Score(
        "camera_motion", "movement of the camera", "flow of background corners, mean over 24 pairs",
        finds="camera_motion > 0.5", precision=1.0, recall=0.97,
        labelled="14 real clips of 256 pixels, 2 moving, the slower missed; 28 made: shaken; fitted",
    ),
    Score(
        "text_area", "burnt-in text", "lines of PP-OCRv4's detector that stay in three of five frames",
        finds="text_area > 0.003", model="text_detector", precision=1.0, recall=0.86,
        labelled="17 real clips, 1 with lettering; 128 made: 7 captions (the smallest missed), checked shirts; fitted",
    ),
    Score(
        "hands_fraction", "hands on or beside the face", "MediaPipe's hand landmarker, three frames a second",
        finds="hands_fraction > 0.05", model="hand_landmarker", precision=0.99, recall=0.77,
        labelled="17 real clips, 1 with a hand; 128 made: its hand pasted in, checked shirts, mirrored; fitted",
    ),
    Score("sync_confidence", "sound and lips belong together", "SyncNet's LSE-C", model="syncnet"),
    Score(
        "near_duplicate_of",
        "the same recording in another file",
        "sound and face hashes, word by word",
        finds="near_duplicate_of IS NOT NULL",
        precision=1.0,
        recall=1.0,
        labelled="45 pairs of 3 films' copies among 28 clips, with sound; by pictures alone 30 of 45; fitted",
    ),
    Score("av_offset_frames", "sound and picture apart", "SyncNet's offset, frames at 25 fps", model="syncnet"),
    Score("av_offset_spread_frames", "an offset that changes", "SyncNet's offset, half against half", model="syncnet"),
    Score("rms_db", "loudness", "root mean square of the clip's sound"),
    Score("clipped_fraction", "sound recorded too loud", "share of samples at full scale"),
    Score(
        "speech_fraction", "hardly anybody speaks", "Silero VAD 6, share of 32 ms chunks from probability 0.5 on",
        finds="speech_fraction < 0.4", model="silero_vad", precision=1.0, recall=1.0,
        labelled="375 clips of 13 recordings of speech (also in music, noise, hum), 51 with hardly any; fitted",
    ),
    Score(
        "other_voice_fraction", "more than one voice", "GE2E embeddings of 1.2 s of speech, grouped by mean distance",
        finds="other_voice_fraction > 0.2", model="resemblyzer", precision=0.90, recall=0.95,
        labelled="18 clips of 12 people alone, 168 of two, in turns or over each other; weighed alike; fitted",
    ),
    Score(
        "music_fraction", "music, under speech too", "Continuous Frequency Activation: tones that are held",
        finds="music_fraction > 0.3", precision=0.94, recall=0.89,
        labelled="318 clips of 3 pieces alone, 0-15 dB under speech; 108 of speech, noise, hum; weighed alike; fitted",
    ),
)  # fmt: skip
