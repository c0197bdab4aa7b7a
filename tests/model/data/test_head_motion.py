"""Head motion on paths whose answer is known."""

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from emo_model.data.head_motion import Track, angles, clip_times, poses_at, quaternions, smooth, speeds_at


def track(times, angle_deg, axis=(0, 1, 0), lost=()) -> Track:
    """A head at angle_deg(t) about a fixed axis, with a face in every source frame but the lost ones."""
    times = np.asarray(times, float)
    found = ~np.isin(np.arange(len(times)), list(lost))
    vectors = np.radians(angle_deg(times[found]))[:, None] * np.asarray(axis, float)
    matrices = np.tile(np.eye(4), (found.sum(), 1, 1))
    matrices[:, :3, :3] = Rotation.from_rotvec(vectors).as_matrix() * 1.02  # the landmarker's matrix has a scale
    matrices[:, :3, 3] = np.stack([times[found], 2 * times[found], -40 + 0 * times[found]], axis=1)
    return Track.from_matrices(times, found, matrices)


def steady(degrees_a_second):
    return lambda t: degrees_a_second * t


@pytest.mark.parametrize("fps", [12, 24, 25, 29.97, 30, 60])
@pytest.mark.parametrize("smoothed", [False, True])
def test_a_steadily_turning_head_has_its_speed_in_every_frame_at_any_frame_rate(fps, smoothed):
    moving = track(np.arange(0, 4, 1 / fps), steady(36))
    assert speeds_at(moving, clip_times(0, 110), smoothed=smoothed) == pytest.approx(np.full(110, 1.2), rel=1e-4)


def test_an_in_plane_turn_of_two_degrees_a_frame_measures_two_degrees_a_frame():
    moving = track(np.arange(60) / 30, steady(60), axis=(0, 0, 1))
    poses = poses_at(moving, clip_times(0, 40))
    assert speeds_at(moving, clip_times(0, 40), smoothed=False) == pytest.approx(np.full(40, 2.0), rel=1e-6)
    assert np.diff(poses.euler[:, 2]) == pytest.approx(np.full(39, 2.0), rel=1e-6)  # all of it is roll


def test_25_fps_footage_shown_at_30_fps_never_stops_the_head():
    moving = track(np.arange(100) / 25, steady(30))
    at = clip_times(0, 118)
    assert len(set(poses_at(moving, at).shown)) < 118  # some source frames are shown twice
    assert speeds_at(moving, at, smoothed=False).min() == pytest.approx(1.0, rel=1e-4)


def test_variable_frame_rate_is_measured_on_its_own_timestamps():
    rng = np.random.default_rng(0)
    times = np.cumsum(rng.choice([1 / 60, 1 / 30, 1 / 12], 120))
    moving = track(times, steady(45))
    at = clip_times(times[0], 90)
    assert speeds_at(moving, at, smoothed=False) == pytest.approx(np.full(90, 1.5), rel=1e-4)
    assert speeds_at(moving, at, smoothed=True) == pytest.approx(np.full(90, 1.5), rel=1e-3)
    assert np.degrees(Rotation.from_quat(poses_at(moving, at).quaternions, scalar_first=True).magnitude()) == (
        pytest.approx(45 * at, rel=1e-6)
    )


def test_five_lost_frames_are_bridged_and_six_are_unknown():
    source = np.arange(120) / 30
    at = clip_times(0, 110)
    bridged = track(source, steady(30), lost=range(40, 45))
    poses, speed = poses_at(bridged, at), speeds_at(bridged, at, smoothed=False)
    assert speed == pytest.approx(np.ones(110), rel=1e-4)
    assert not np.isnan(poses.quaternions).any()
    assert not poses.found[40:45].any() and poses.found[46:].all()

    broken = track(source, steady(30), lost=range(40, 46))
    poses, speed = poses_at(broken, at), speeds_at(broken, at, smoothed=True)
    assert np.flatnonzero(np.isnan(poses.quaternions[:, 0])).tolist() == list(range(40, 46))
    assert np.flatnonzero(np.isnan(speed)).tolist() == list(range(40, 47))  # 46 turned since an unknown 45
    assert speed[~np.isnan(speed)] == pytest.approx(np.ones(103), rel=1e-3)


def test_no_pose_is_made_up_before_the_face_enters_and_after_it_leaves():
    moving = track(np.arange(90) / 30, steady(30), lost=[*range(10), *range(60, 90)])
    poses, speed = poses_at(moving, clip_times(0, 90)), speeds_at(moving, clip_times(0, 90), smoothed=False)
    assert np.flatnonzero(~np.isnan(poses.quaternions[:, 0])).tolist() == list(range(10, 60))
    assert np.flatnonzero(~np.isnan(speed)).tolist() == list(range(11, 60))


def test_no_face_at_all_gives_no_pose_and_no_speed():
    nobody = track(np.arange(30) / 30, steady(0), lost=range(30))
    assert np.isnan(poses_at(nobody, clip_times(0, 20)).quaternions).all()
    assert np.isnan(speeds_at(nobody, clip_times(0, 20), smoothed=True)).all()


def test_quaternions_stay_in_one_hemisphere_over_a_full_turn():
    q = quaternions(Rotation.from_rotvec(np.outer(np.linspace(0, 4 * np.pi, 80), [0, 1, 0])).as_matrix())
    assert (np.sum(q[1:] * q[:-1], axis=1) > 0.9).all()


def test_a_hundredth_of_a_degree_is_not_lost_to_rounding():
    q = Rotation.from_rotvec(np.outer([0, 0.01], [0, 0, 1]), degrees=True).as_quat(scalar_first=True)
    assert angles(q.astype(np.float32)) == pytest.approx([0.01], rel=1e-2)


def test_smoothing_agrees_with_scipys_gaussian_filter_away_from_the_ends():
    from scipy.ndimage import gaussian_filter1d

    rng = np.random.default_rng(1)
    q = Rotation.from_rotvec(np.cumsum(rng.normal(0, 0.02, (60, 3)), axis=0)).as_quat(scalar_first=True)
    filtered = gaussian_filter1d(q, 1.0, axis=0, truncate=5)
    filtered /= np.linalg.norm(filtered, axis=1, keepdims=True)
    assert smooth(np.arange(60) / 30, q)[6:-6] == pytest.approx(filtered[6:-6], abs=1e-5)


def test_smoothing_lowers_the_speed_that_landmark_noise_adds_to_a_still_head():
    rng = np.random.default_rng(2)
    noise = rng.normal(0, 0.3, 300)
    still = track(np.arange(300) / 30, lambda t: noise)
    raw, smoothed = (speeds_at(still, clip_times(0, 290), smoothed=way).mean() for way in (False, True))
    assert smoothed < 0.5 * raw
