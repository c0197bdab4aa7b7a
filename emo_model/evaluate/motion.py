"""Head motion (EMO's Table 2) and mouth against voice: two metrics that need no network but the landmarker.

Table 2's trio over clips: mean velocity, mean of the within-clip variances, and VMV, the variance of the
clips' means. Velocity is the geodesic angle between successive head rotations in degrees a frame at 30 fps,
unsmoothed.
"""

from collections.abc import Sequence

import numpy as np

from emo_model.data.head_motion import Track, quaternions, speeds_at

from .extractors import Extractor
from .faces import FaceTrack
from .scores import Observation, Score, counted, require_found
from .video import SOUND_RATE, Video

MAX_LAG_S = 0.5


def head_speed(faces: FaceTrack, fps: float) -> np.ndarray:
    """(T,) degrees a frame at 30 fps, NaN where unknown: as the training data is labelled."""
    times = np.arange(len(faces.found)) / fps
    rotations = quaternions(faces.rotation[faces.found])
    track = Track(times, faces.found, rotations, np.zeros((len(rotations), 3)))
    return speeds_at(track, times, smoothed=False)


class HeadMotion:
    """Observes (T,) head speeds."""

    def __init__(self, extractor: Extractor) -> None:
        del extractor

    def observe(self, video: Video) -> Observation:
        speed = head_speed(video.faces, video.fps)
        return Observation(speed, np.isfinite(speed), "no face in two frames running")

    def scores(self, real: Sequence[Observation], generated: Sequence[Observation]) -> dict[str, Score]:
        del real
        clips = [o.samples for o in require_found(generated, "generated")]
        n, means = counted(generated), [float(c.mean()) for c in clips]
        vmv = Score(float(np.var(means)), *n) if len(means) > 1 else Score(None, *n, "VMV needs at least 2 clips")
        return {
            "head_velocity": Score(float(np.mean(means)), *n),
            "velocity_variance": Score(float(np.mean([c.var() for c in clips])), *n),
            "vmv": vmv,
        }


class MouthSync:
    """Observes one (correlation, lag) a clip."""

    def __init__(self, extractor: Extractor) -> None:
        del extractor

    def observe(self, video: Video) -> Observation:
        if video.sound is None:
            return Observation.nothing(1, "no sound")
        loud = loudness(video.sound, len(video.frames), video.fps)
        best = correlation_and_lag(video.faces.mouth_open, loud, video.fps)
        if best is None:
            return Observation.nothing(1, "no face for a second, or the mouth or the loudness never changes")
        return Observation.full(np.array([best]))

    def scores(self, real: Sequence[Observation], generated: Sequence[Observation]) -> dict[str, Score]:
        del real
        correlation, lag = np.mean([o.samples.mean(0) for o in require_found(generated, "generated")], 0)
        n = counted(generated)
        return {"mouth_correlation": Score(float(correlation), *n), "mouth_lag": Score(float(lag), *n)}


def loudness(sound: np.ndarray, count: int, fps: float) -> np.ndarray:
    """(count,) root mean square of the sound of each frame, of int16 at 16 kHz; 0 past its end."""
    edges = np.round(np.arange(count + 1) / fps * SOUND_RATE).astype(int)
    power = np.concatenate([[0.0], np.cumsum((sound / 32768.0) ** 2)])
    edges = np.minimum(edges, len(sound))
    return np.sqrt(np.diff(power[edges]) / (SOUND_RATE / fps))


def correlation_and_lag(mouth: np.ndarray, loud: np.ndarray, fps: float) -> tuple[float, float] | None:
    """Best Pearson correlation of mouth opening (T,) and loudness (T,), and its lag in ms, positive: the
    mouth is late.

    NaN marks frames without a face. None where one of them is constant or under a second overlaps.
    """
    best: tuple[float, float] | None = None
    for lag in range(-round(MAX_LAG_S * fps), round(MAX_LAG_S * fps) + 1):
        m, s = (mouth[lag:], loud[: len(loud) - lag]) if lag >= 0 else (mouth[:lag], loud[-lag:])
        both = np.isfinite(m)
        if both.sum() < fps or m[both].std() < 1e-9 or s[both].std() < 1e-9:
            continue
        correlation = float(np.corrcoef(m[both], s[both])[0, 1])
        if best is None or correlation > best[0]:
            best = correlation, lag * 1000 / fps
    return best
