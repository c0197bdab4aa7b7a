"""How heads, eyes and mouths move: metrics that need no network but the landmarker.

Head motion is EMO's Table 2 over clips: mean velocity, mean of the within-clip variances, and VMV, the variance of the
clips' means. Velocity is the geodesic angle between successive head rotations in degrees a frame at 30 fps, unsmoothed.
"""

from collections.abc import Sequence

import numpy as np
from scipy.ndimage import gaussian_filter1d, uniform_filter1d
from scipy.signal import butter, find_peaks, sosfiltfilt

from emo_model.data.head_motion import Track, quaternions, speeds_at

from .extractors import Extractor
from .faces import NO_FACE, FaceTrack
from .scores import Observation, Score, counted, require_found
from .video import SOUND_RATE, Video

MAX_LAG_S = 0.6  # SyncNet's 15 frames at 25 fps
VOICE_HZ = (300.0, 3000.0)  # vowels: what an open mouth lets through
SPEECH, PAUSE_S = 0.1, 0.3  # of the clip's loud moments; shorter pauses belong to speech
BLINK, LONGEST_BLINK_S = 0.25, 0.5  # rise of the blink coefficient, seconds at half of it
BEAT_SIGMA_S, BEAT_APART_S = 0.1, 0.2


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
        return Observation(speed, np.isfinite(speed), "no face in two frames running", times(video))

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


class BlinkRate:
    """Observes (T,) blinks a minute: a frame in which a blink is deepest stands for all of it, the others are 0."""

    def __init__(self, extractor: Extractor) -> None:
        del extractor

    def observe(self, video: Video) -> Observation:
        faces = video.faces
        rate = np.zeros(len(faces.found))
        rate[blinks(faces.eyes_closed, video.fps)] = 60 * video.fps
        return Observation(np.where(faces.found, rate, np.nan), faces.found, NO_FACE, times(video))

    def scores(self, real: Sequence[Observation], generated: Sequence[Observation]) -> dict[str, Score]:
        del real
        rates = [o.samples.mean() for o in require_found(generated, "generated")]
        return {"blink_rate": Score(float(np.mean(rates)), *counted(generated))}


def blinks(closed: np.ndarray, fps: float) -> np.ndarray:
    """Frames at which an eye that was open closes deepest, of its closure (T,) in 0..1, NaN without a face: peaks that
    rise by a quarter and are over within half a second. A closed eye that stays closed is no blink.
    """
    known = np.isfinite(closed)
    if known.sum() < 3:
        return np.zeros(0, int)
    whole = np.interp(np.arange(len(closed)), np.flatnonzero(known), closed[known])
    peaks, _ = find_peaks(whole, prominence=BLINK, width=(None, LONGEST_BLINK_S * fps))
    return peaks[known[peaks]]


class MouthSync:
    """Observes one (correlation, lag) a clip."""

    def __init__(self, extractor: Extractor) -> None:
        del extractor

    def observe(self, video: Video) -> Observation:
        if video.sound is None:
            return Observation.nothing(1, "no sound")
        loud = loudness(video.sound, len(video.frames), video.fps)
        best = correlation_and_lag(video.faces.mouth_open, loud, video.fps, in_speech(loud, video.fps))
        if best is None:
            return Observation.nothing(1, "no face for a second of speech, or the mouth or the loudness never changes")
        return Observation.full(np.array([best]))

    def scores(self, real: Sequence[Observation], generated: Sequence[Observation]) -> dict[str, Score]:
        del real
        correlation, lag = np.mean([o.samples.mean(0) for o in require_found(generated, "generated")], 0)
        n = counted(generated)
        return {"mouth_correlation": Score(float(correlation), *n), "mouth_lag": Score(float(lag), *n)}


def loudness(sound: np.ndarray, count: int, fps: float) -> np.ndarray:
    """(count,) root mean square between 300 and 3000 Hz of the sound of each frame, of int16 at 16 kHz; 0 past its end.

    Below lie hum and the voice's pitch, above the hiss of closed teeth: neither opens a mouth.
    """
    band = butter(4, VOICE_HZ, "bandpass", fs=SOUND_RATE, output="sos")
    voice = sosfiltfilt(band, sound / 32768.0) if len(sound) > 100 else sound / 32768.0
    edges = np.round(np.arange(count + 1) / fps * SOUND_RATE).astype(int)
    power = np.concatenate([[0.0], np.cumsum(voice**2)])
    edges = np.minimum(edges, len(sound))
    return np.sqrt(np.diff(power[edges]) / (SOUND_RATE / fps))


def in_speech(loud: np.ndarray, fps: float) -> np.ndarray:
    """(T,) whether somebody speaks: loudness (T,), averaged over short pauses, against the clip's loud moments."""
    smooth = uniform_filter1d(loud, max(1, round(PAUSE_S * fps)), mode="nearest")
    return smooth > SPEECH * np.quantile(loud, 0.95)


def correlation_and_lag(
    mouth: np.ndarray, loud: np.ndarray, fps: float, speech: np.ndarray | None = None
) -> tuple[float, float] | None:
    """Best Pearson correlation of mouth opening (T,) and loudness (T,) inside speech (T,), and its lag in ms, positive:
    the mouth is late.

    NaN marks frames without a face. None where one of them is constant or under a second overlaps.
    """
    speech = np.ones(len(loud), bool) if speech is None else speech
    best: tuple[float, float] | None = None
    for lag in range(-round(MAX_LAG_S * fps), round(MAX_LAG_S * fps) + 1):
        heard = slice(0, max(0, len(loud) - lag)) if lag >= 0 else slice(-lag, None)
        m, s = (mouth[lag:] if lag >= 0 else mouth[:lag]), loud[heard]
        both = np.isfinite(m) & speech[heard]
        if both.sum() < fps or m[both].std() < 1e-9 or s[both].std() < 1e-9:
            continue
        correlation = float(np.corrcoef(m[both], s[both])[0, 1])
        if best is None or correlation > best[0]:
            best = correlation, lag * 1000 / fps
    return best


class BeatAlignment:
    """Observes one score a clip."""

    def __init__(self, extractor: Extractor) -> None:
        del extractor

    def observe(self, video: Video) -> Observation:
        if video.sound is None:
            return Observation.nothing(1, "no sound")
        speed = head_speed(video.faces, video.fps)
        score = beat_alignment(
            motion_beats(speed, video.fps), sound_beats(loudness(video.sound, len(video.frames), video.fps), video.fps)
        )
        if score is None:
            return Observation.nothing(1, "no beat: the head never slows down, or the sound has no onset")
        return Observation.full(np.array([score]))

    def scores(self, real: Sequence[Observation], generated: Sequence[Observation]) -> dict[str, Score]:
        del real
        scores = [o.samples.mean() for o in require_found(generated, "generated")]
        return {"beat_align": Score(float(np.mean(scores)), *counted(generated))}


def motion_beats(speed: np.ndarray, fps: float) -> np.ndarray:
    """Seconds at which a head that moved comes to rest: minima of its speed (T,), NaN where unknown."""
    known = np.isfinite(speed)
    if known.sum() < 3:
        return np.zeros(0)
    whole = np.interp(np.arange(len(speed)), np.flatnonzero(known), speed[known])
    smooth = gaussian_filter1d(whole, 1.0)
    rests, _ = find_peaks(-smooth, distance=max(1, round(BEAT_APART_S * fps)), prominence=0.1 * max(smooth.std(), 1e-6))
    return rests[known[rests]] / fps


def sound_beats(loud: np.ndarray, fps: float) -> np.ndarray:
    """Seconds of the onsets of loudness (T,): peaks of its rise that stand out of the others."""
    rise = np.diff(loud, prepend=loud[:1]).clip(0)
    onsets, _ = find_peaks(rise, distance=max(1, round(BEAT_APART_S * fps)), prominence=max(rise.std(), 1e-6))
    return onsets / fps


def beat_alignment(motion_s: np.ndarray, sound_s: np.ndarray) -> float | None:
    """Bailando's beat align score (Siyao et al. 2022): the mean over the sound's beats of exp(-d^2 / 2 sigma^2), d the
    seconds to the nearest beat of the motion, sigma 0.1 s. 1: a beat of the head at each of the sound's. None without
    beats.
    """
    if not len(motion_s) or not len(sound_s):
        return None
    nearest = np.abs(sound_s[:, None] - motion_s).min(1)
    return float(np.exp(-(nearest**2) / (2 * BEAT_SIGMA_S**2)).mean())


def times(video: Video) -> np.ndarray:
    """(T,) seconds of a video's frames."""
    return np.arange(len(video.frames)) / video.fps
