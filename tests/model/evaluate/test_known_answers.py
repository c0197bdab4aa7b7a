"""Metrics on arrays whose answer is known."""

import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from emo_model.evaluate import motion, pictures, sync
from emo_model.evaluate.expression import Expression, HeadPose, centred
from emo_model.evaluate.extractors import FAMILIES
from emo_model.evaluate.faces import FaceTrack
from emo_model.evaluate.frechet import Gaussian
from emo_model.evaluate.identity import FaceSimilarity, drift_per_minute
from emo_model.evaluate.kid import BlockKID, kernel, mmd2
from emo_model.evaluate.scores import NotComputable, Observation
from emo_model.evaluate.video import Unreadable, Video, open_video

PIXELS = FAMILIES["pictures"].extractors[0]


def normal(n: int, d: int, seed: int, shift: float = 0.0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal((n, d)) + shift


# KID


def test_kid_of_two_samples_is_their_kernels() -> None:
    x, y = np.array([[1.0, 0.0], [0.0, 2.0]]), np.array([[1.0, 1.0], [2.0, 0.0]])
    own = kernel(x, x)[0, 1] + kernel(y, y)[0, 1]  # the unbiased mean leaves the diagonal out
    assert own == 1.0 + 8.0
    assert mmd2(x, y) == pytest.approx(own - 2 * kernel(x, y).mean())


def test_kid_of_one_law_has_no_floor_and_a_shift_is_seen() -> None:
    same = [mmd2(normal(60, 16, 2 * s), normal(60, 16, 2 * s + 1)) for s in range(60)]
    assert abs(np.mean(same)) < 3 * np.std(same) / 60**0.5  # zero within its own error: unbiased
    assert min(same) < 0 < mmd2(normal(60, 16, 0), normal(60, 16, 1, shift=0.5))


def test_kid_by_blocks_of_clips_is_kid_of_all_frames() -> None:
    real = [Observation.full(normal(n, 8, n)) for n in (3, 7, 1)]
    ours = [Observation.full(normal(n, 8, n, shift=0.3)) for n in (5, 6)]
    blocks = BlockKID()

    def pooled(clips: list[Observation]) -> np.ndarray:
        return np.concatenate([clip.values for clip in clips])

    for x, y in ((real, ours), (real[::-1], ours), ([real[1], real[1], real[0]], [ours[0], ours[0]])):
        assert blocks.distance(x, y) == pytest.approx(mmd2(pooled(x), pooled(y)), rel=1e-9)
    with pytest.raises(NotComputable, match="at least 2 samples a side, got 1 and 5"):
        blocks.distance(real[2:], ours[:1])


# Fréchet


@pytest.mark.parametrize("n", [10, 500], ids=["n<=d", "n>d"])
def test_the_biased_covariance_is_divided_by_n(n: int) -> None:
    x = normal(n, 32, 0)
    np.testing.assert_allclose(Gaussian.of(x, biased=True).covariance, np.cov(x.T, bias=True), atol=1e-12)


# SyncNet


def test_valid_distances_are_those_of_the_overlap() -> None:
    rng = np.random.default_rng(0)
    lips, voice = rng.standard_normal((2, 40, 16))
    whole = sync.distances(lips, voice)
    part = sync.valid(whole)
    assert np.isnan(part).sum() == 2 * sum(range(16))  # 1 + ... + 15 at either end
    assert part[20].tolist() == whole[20].tolist()
    assert np.isnan(part[0, :15]).all() and np.isfinite(part[0, 15:]).all()
    np.testing.assert_array_equal(part, sync.distances(lips, voice, padding="valid"))


def test_the_longest_run_is_a_faces_track() -> None:
    assert sync.longest_run(np.array([1, 0, 1, 1, 1, 0, 1, 1], bool)) == slice(2, 5)
    assert sync.longest_run(np.ones(4, bool)) == slice(0, 4)
    assert sync.longest_run(np.zeros(4, bool)) == slice(0, 0)


# F-SIM


def looks(values: list[float]) -> Observation:
    return Observation(np.array(values), np.isfinite(values), "no face", np.arange(len(values)) / 5)


def test_identity_drift_is_the_slope_a_minute() -> None:
    assert drift_per_minute(looks([90.0, 89.9, np.nan, 89.7])) == pytest.approx(-0.1 * 5 * 60)
    assert drift_per_minute(looks([90.0, np.nan])) is None


def test_w1_tells_apart_what_the_means_do_not() -> None:
    real, ours = [looks([70.0]), looks([90.0])], [looks([80.0, 80.0]), looks([80.0, 80.0])]
    scores = FaceSimilarity.scores(None, real, ours)  # type: ignore[arg-type]
    assert scores["f_sim_gap"].value == 0.0
    assert scores["f_sim_w1"].value == pytest.approx(10.0)
    alone = FaceSimilarity.scores(None, real[:1], [looks([75.0])])  # type: ignore[arg-type]
    assert alone["f_sim_w1"].value == 5.0
    assert alone["identity_drift"].value is None and alone["identity_drift"].reason == "no clip with two faces in time"


# Expression and pose


def test_centring_takes_off_who_somebody_is_and_keeps_what_they_do() -> None:
    acted = normal(80, 4, 0)
    first, second = Observation.full(acted + 5), Observation.full(acted - 3)
    scores = Expression.scores(None, [first], [second])  # type: ignore[arg-type]
    assert scores["e_fid"].value == pytest.approx(4 * 8**2)
    assert scores["e_fid_centred"].value == pytest.approx(0, abs=1e-9)
    with pytest.raises(NotComputable, match="two faces"):
        centred([Observation.full(acted[:1])])


def test_p_fid_sees_a_head_that_sits_elsewhere() -> None:
    turns = Rotation.from_euler("xyz", np.random.default_rng(0).normal(0, 0.1, (60, 3)))
    video = Video(np.zeros((60, 2, 2, 3), np.uint8), 30.0, np.zeros((2, 2, 3), np.uint8))
    place = np.random.default_rng(1).normal(0, 1, (60, 3))
    found = np.arange(60) != 7
    sides = []
    for offset in (0.0, 2.0):
        shown = np.where(found[:, None], place + offset, np.nan)
        video.__dict__["faces"] = FaceTrack(found, np.zeros((60, 478, 2)), turns.as_matrix(), shown, np.zeros((60, 52)))
        sides.append(HeadPose(FAMILIES["p_fid"].extractors[1]).observe(video))
    score = HeadPose.scores(None, sides[:1], sides[1:])["p_fid"]  # type: ignore[arg-type]
    assert score.value == pytest.approx(3 * 2**2) and (score.n, score.n_total) == (59, 60)
    np.testing.assert_allclose(sides[0].values[0, :3], turns[0].as_euler("xyz"))


# Blinks


def eyes(seconds: float, at: list[float], length: float = 0.2, fps: float = 30.0) -> np.ndarray:
    """A closure of 0.1 with bumps of `length` seconds up to 0.9."""
    t = np.arange(round(seconds * fps)) / fps
    return 0.1 + 0.8 * sum((np.exp(-(((t - s) / (length / 2)) ** 4)) for s in at), np.zeros_like(t))


def test_blinks_are_counted_and_closed_eyes_are_not_one() -> None:
    assert motion.blinks(eyes(4, [0.5, 1.7, 3.2]), 30).tolist() == pytest.approx([15, 51, 96], abs=1)
    assert len(motion.blinks(eyes(4, [2.0], length=1.5), 30)) == 0
    assert len(motion.blinks(np.full(60, 0.9), 30)) == 0
    assert len(motion.blinks(np.full(60, np.nan), 30)) == 0
    lost = eyes(4, [0.5, 1.7])
    lost[30:40] = np.nan
    assert len(motion.blinks(lost, 30)) == 2


def test_a_rate_is_over_the_time_a_face_was_seen() -> None:
    found = np.arange(120) < 60
    closed = np.where(found, eyes(4, [0.5, 1.5]), np.nan)
    shapes = np.zeros((120, 52))
    shapes[:, 9] = shapes[:, 10] = closed
    video = Video(np.zeros((120, 2, 2, 3), np.uint8), 30.0, np.zeros((2, 2, 3), np.uint8))
    nothing = np.zeros((120, 478, 2)), np.zeros((120, 3, 3)), np.zeros((120, 3))
    video.__dict__["faces"] = FaceTrack(found, *nothing, shapes)
    metric = motion.BlinkRate(FAMILIES["blink"].extractors[0])
    score = metric.scores([], [metric.observe(video)])["blink_rate"]
    assert score.value == pytest.approx(60.0) and (score.n, score.n_total) == (60, 120)  # two in two seconds


# Mouth against voice


def delayed(sound: np.ndarray, samples: int) -> np.ndarray:
    """Later by so many samples (earlier below 0), silence where none is left."""
    moved = np.zeros_like(sound)
    moved[max(samples, 0) : len(sound) + min(samples, 0)] = sound[max(-samples, 0) : len(sound) - max(samples, 0)]
    return moved


def talk(seconds: float, fps: float, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Speech (int16 at 16 kHz): syllables of a voice under hiss, a pause in the middle; and a mouth that follows it."""
    rng = np.random.default_rng(seed)
    t = np.arange(round(seconds * 16_000)) / 16_000
    syllables = np.interp(t, np.arange(0, seconds + 1, 0.12), rng.uniform(0, 1, int(seconds / 0.12) + 9)[: len(
        np.arange(0, seconds + 1, 0.12))])  # fmt: skip
    syllables[(t > seconds * 0.4) & (t < seconds * 0.55)] = 0
    sound = 6000 * syllables * np.sin(2 * np.pi * 700 * t) + 1500 * np.sin(2 * np.pi * 50 * t)
    sound += 300 * rng.standard_normal(len(t))
    at = (np.arange(round(seconds * fps)) * 16_000 / fps).astype(int)
    return sound.astype(np.int16), 0.05 + 0.2 * syllables[at] + 0.03 * rng.standard_normal(len(at))


@pytest.mark.parametrize(("shift", "fps"), [(0, 25.0), (5, 25.0), (-5, 25.0), (6, 30.0)])
def test_a_sound_shifted_by_frames_is_found_to_the_frame(shift: int, fps: float) -> None:
    sound, mouth = talk(8, fps)
    loud = motion.loudness(delayed(sound, round(shift * 16_000 / fps)), len(mouth), fps)
    correlation, lag = motion.correlation_and_lag(mouth, loud, fps, motion.in_speech(loud, fps)) or (0, 0)
    assert lag == pytest.approx(-shift * 1000 / fps, abs=1.1 * 1000 / fps) and correlation > 0.7


def test_speech_is_where_the_voice_is_not_where_the_hum_is() -> None:
    sound, mouth = talk(8, 25)
    speech = motion.in_speech(motion.loudness(sound, len(mouth), 25), 25)
    assert not speech[88:104].any() and speech[:75].mean() > 0.9  # the pause is 3.2 to 4.4 s


@pytest.mark.parametrize("name", ["WDA_AlexandriaOcasioCortez_000.mp4", "WDA_KatieHill_000.mp4"])
def test_the_shift_is_found_in_an_hdtf_clip(name: str, need_weights: Callable[[str], Path]) -> None:
    """Two clips of HDTF, of OpenTalker/SadTalker, in the folder that EMO_DEVELOPMENT_VIDEOS names: the sound moved by 5
    frames moves the lag by as many.
    """

    class View:
        fps, size, seconds = 25.0, 512, 8.0

    need_weights("face_landmarker")
    file = Path(os.environ.get("EMO_DEVELOPMENT_VIDEOS", ".")) / name
    if not file.exists():
        pytest.skip(f"{name} is not in the folder that EMO_DEVELOPMENT_VIDEOS names")
    video = open_video(file, None, None, View)
    mouth, lags = video.faces.mouth_open, {}
    for shift in (0, 5, -5):
        loud = motion.loudness(delayed(video.sound, shift * 640), len(mouth), 25)
        lags[shift] = motion.correlation_and_lag(mouth, loud, 25, motion.in_speech(loud, 25))[1]
    print(f"\n{name}: lag in ms by shift of the sound in frames: {lags}")
    assert lags[5] - lags[0] == pytest.approx(-200, abs=40)
    assert lags[-5] - lags[0] == pytest.approx(200, abs=40)


# Beats


def test_beats_on_the_beat_score_one_and_far_ones_nothing() -> None:
    sound = np.array([0.5, 1.5, 2.5])
    assert motion.beat_alignment(sound, sound) == 1.0
    assert motion.beat_alignment(sound + 0.1, sound) == pytest.approx(np.exp(-0.5))
    assert motion.beat_alignment(sound + 0.5, sound) < 1e-5
    assert motion.beat_alignment(np.zeros(0), sound) is None and motion.beat_alignment(sound, np.zeros(0)) is None


def test_beats_are_found_where_they_were_put() -> None:
    t = np.arange(120) / 30
    loud = 0.01 + sum(np.where(t >= s, np.exp(-(t - s) / 0.1), 0) for s in (0.5, 1.5, 2.5))
    np.testing.assert_allclose(motion.sound_beats(loud, 30), [0.5, 1.5, 2.5], atol=0.04)
    rests = motion.motion_beats(1 + np.cos(2 * np.pi * t), 30)  # still at 0.5, 1.5, ...
    np.testing.assert_allclose(rests, [0.5, 1.5, 2.5, 3.5], atol=0.04)
    assert len(motion.motion_beats(np.zeros(90), 30)) == 0


# Pixels


def clip(frames: np.ndarray, truth: np.ndarray | None = None) -> Video:
    real = None if truth is None else Video(truth, 30.0, truth[0])
    return Video(frames, 30.0, frames[0], truth=real)


def texture(count: int, seed: int = 0) -> np.ndarray:
    picture = np.random.default_rng(seed).integers(40, 200, (32, 32, 3)).astype(np.uint8)
    return np.stack([np.roll(picture, t, axis=1) for t in range(count)])


def test_psnr_of_a_known_error() -> None:
    truth = texture(4)
    metric = pictures.Fidelity(PIXELS)
    answer = truth + 5
    answer[0] = truth[0]  # the reference itself: it is no answer
    scores = metric.scores([], [metric.observe(clip(answer, truth))])
    assert scores["psnr"].value == pytest.approx(20 * np.log10(255 / 5)) and scores["psnr"].n == 3
    same = metric.scores([], [metric.observe(clip(truth))])
    assert same["ssim"].value == pytest.approx(1.0)
    assert same["psnr"].value is None and "equals the real one" in (same["psnr"].reason or "")
    with pytest.raises(Unreadable, match="against the real clip's"):
        metric.observe(clip(truth[:3], truth))


def test_a_jump_every_twelve_frames_is_a_seam() -> None:
    steps = np.ones(60)
    assert pictures.seam_ratio(steps) == 1.0
    steps[11::12] = 3.0  # the step into frames 12, 24, ...
    assert pictures.seam_ratio(steps) == 3.0
    steps[4::6] = 0.0  # every sixth frame shown twice
    assert pictures.seam_ratio(steps) == 3.0
    assert pictures.seam_ratio(np.zeros(60)) is None


def test_a_smooth_video_has_no_seam_and_a_cut_one_has() -> None:
    metric = pictures.Seams(FAMILIES["seams"].extractors[0])
    smooth = metric.scores([], [metric.observe(clip(texture(60)))])["seam_ratio"].value
    assert smooth == pytest.approx(1.0, abs=0.1)
    windows = np.concatenate([np.minimum(texture(12, seed) // 4 + 80, 255).astype(np.uint8) for seed in range(5)])
    windows[:, :, ::2] = 100  # half of the picture stands still
    assert metric.scores([], [metric.observe(clip(windows))])["seam_ratio"].value > 1.0
    with pytest.raises(NotComputable, match="still video"):
        metric.scores([], [metric.observe(clip(texture(5)))])
