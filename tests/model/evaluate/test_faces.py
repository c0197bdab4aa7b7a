"""Metrics that look at faces: on constructed tracks always, on real faces where weights and samples are."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from emo_model.evaluate.expression import Expression
from emo_model.evaluate.extractors import FAMILIES, Extractor
from emo_model.evaluate.faces import FaceTrack
from emo_model.evaluate.identity import FaceSimilarity
from emo_model.evaluate.motion import HeadMotion, head_speed
from emo_model.evaluate.scores import NotComputable, Observation
from emo_model.evaluate.video import Video, open_video

DLIB: Extractor = FAMILIES["f_sim"].extractors[2]
SHAPES: Extractor = FAMILIES["e_fid"].extractors[1]
MOTION: Extractor = FAMILIES["motion"].extractors[0]


class View:
    """The part of a protocol that reading needs."""

    fps, size, seconds = 30.0, 256, 1.0


def track(rotations: Rotation) -> FaceTrack:
    count = len(rotations)
    still = np.zeros((count, 478, 2)), rotations.as_matrix(), np.zeros((count, 3)), np.zeros((count, 52))
    return FaceTrack(np.ones(count, bool), *still)


def turn_by(degrees: float, frames: int) -> Rotation:
    """A nod by `degrees` more in every frame."""
    return Rotation.from_rotvec(np.arange(frames)[:, None] * [degrees, 0, 0], degrees=True)


def test_a_steady_turn_has_its_own_speed_at_any_rate() -> None:
    turn = track(turn_by(1.5, 30))
    np.testing.assert_allclose(head_speed(turn, 30), 1.5, rtol=1e-6)
    np.testing.assert_allclose(head_speed(turn, 25), 1.5 * 25 / 30, rtol=1e-6)


def test_a_tiny_turn_is_not_rounded_to_zero() -> None:
    np.testing.assert_allclose(head_speed(track(turn_by(1e-3, 9)), 30), 1e-3, rtol=1e-4)


def test_table_2s_trio_of_known_clips() -> None:
    slow, fast = Observation.full(np.array([1.0, 1.0])), Observation.full(np.array([2.0, 4.0]))
    scores = HeadMotion(MOTION).scores([], [slow, fast])
    assert scores["head_velocity"].value == 2.0  # mean of 1 and 3
    assert scores["velocity_variance"].value == 0.5  # mean of 0 and 1
    assert scores["vmv"].value == 1.0  # variance of 1 and 3
    alone = HeadMotion(MOTION).scores([], [fast])["vmv"]
    assert alone.value is None and alone.reason == "VMV needs at least 2 clips"


def similarity(values: list[float], found: list[bool]) -> Observation:
    return Observation(np.where(found, values, np.nan), np.array(found), "no face in the frames")


def test_f_sim_counts_lost_frames_and_gives_the_gap_to_the_truth() -> None:
    real = [similarity([80.0, 80.0], [True, True])]
    ours = [similarity([90.0, 0.0], [True, False]), similarity([70.0, 80.0], [True, True])]
    scores = FaceSimilarity.scores(None, real, ours)  # type: ignore[arg-type]
    assert (scores["f_sim"].value, scores["f_sim"].n, scores["f_sim"].n_total) == (82.5, 3, 4)
    assert scores["f_sim_gap"].value == 2.5


def test_no_face_anywhere_is_a_dash_with_its_count() -> None:
    with pytest.raises(NotComputable, match=r"no face in the frames \(generated: 0 of 2\)"):
        FaceSimilarity.scores(None, [similarity([1.0], [True])], [similarity([0, 0], [False, False])])  # type: ignore[arg-type]


@pytest.fixture
def real(need_weights: Callable[[str], Path], need_sample: Callable[[str], Path]) -> Callable[[str], Video]:
    for name in ("face_landmarker", "dlib_face"):
        need_weights(name)
    return lambda name: open_video(need_sample(name), None, None, View)


def test_a_real_face_is_found_and_stays_the_same_person(
    real: Callable[[str], Video], need_sample: Callable[[str], Path]
) -> None:
    video = real("videos/ben/single_face.mp4")
    metric = FaceSimilarity(DLIB)
    seen = metric.observe(video)
    assert seen.found.all() and seen.samples.min() > 90
    still = metric.observe(video.as_still())
    np.testing.assert_allclose(still.samples, 100)
    stranger = open_video(
        need_sample("videos/ben/single_face.mp4"), need_sample("videos/actress/WolfgangLanger_Pexels.mp4"), None, View
    )
    assert metric.observe(stranger).samples.max() < seen.samples.min()


def test_a_still_face_neither_moves_nor_acts(real: Callable[[str], Video]) -> None:
    still = real("videos/ben/single_face.mp4").as_still()
    np.testing.assert_allclose(HeadMotion(MOTION).observe(still).samples, 0, atol=1e-4)
    assert np.ptp(Expression(SHAPES).observe(still).samples, axis=0).max() == 0


def test_a_video_without_a_face_is_counted_not_scored(real: Callable[[str], Video]) -> None:
    video = real("videos/nobody/no_face.mp4")
    seen = Expression(SHAPES).observe(video)
    assert (seen.found.sum(), len(seen.found)) == (0, len(video.frames))
    assert FaceSimilarity(DLIB).observe(video).reason == "no face in the reference image"


def test_a_found_sample_that_is_not_finite_is_never_averaged() -> None:
    with pytest.raises(NotComputable, match="features are not finite"):
        Observation.full(np.array([80.0, np.nan])).samples  # noqa: B018
