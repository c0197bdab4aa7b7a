"""Shots: cuts are found on the frame, what moves is no cut, shots cover the video."""

import cv2
import numpy as np

from emo_model.data.shots import Boundaries, shot_detector, shots_between


def _scene(seed: int, count: int, shift: float = 0.0) -> list[np.ndarray]:
    """A textured picture of its own colours that moves sideways by `shift` pixels a frame."""
    rng = np.random.default_rng(seed)
    coarse = rng.integers(0, 255, (6, 8, 3), dtype=np.uint8)
    picture = cv2.resize(coarse, (480, 360), interpolation=cv2.INTER_CUBIC)
    return [np.roll(picture, round(shift * number), axis=1)[:, :320].copy() for number in range(count)]


def _cuts(pictures: list[np.ndarray]) -> list[int]:
    return _found(pictures).cuts


def _found(pictures: list[np.ndarray], fps: float = 25) -> Boundaries:
    detector = shot_detector("adaptive")
    for number, picture in enumerate(pictures):
        detector.see(number / fps, picture)
    return detector.end()


def test_a_cut_is_the_first_frame_of_the_new_scene():
    assert _cuts([*_scene(1, 30), *_scene(2, 25), *_scene(3, 30)]) == [30, 55]


def test_a_moving_camera_and_slow_light_are_no_cuts():
    moving = _scene(4, 60, shift=3.0)
    fading = [(picture * (0.4 + 0.01 * number)).astype(np.uint8) for number, picture in enumerate(_scene(5, 60))]
    assert _cuts(moving) == []
    assert _cuts(fading) == []


def test_movement_in_footage_whose_frames_repeat_is_no_cut():
    scene = _scene(6, 9, shift=-1.5)
    assert _cuts([scene[0]] * 20 + [scene[8]] * 20) == []  # 12 pixels at once, then nothing: a score of 18


def test_shots_cover_every_frame_once_and_the_whole_time():
    times = np.array([0.0, 0.04, 0.09, 0.2, 0.25])
    shots = shots_between(Boundaries([2, 4], []), times, end_s=0.3)
    assert [(shot.begin, shot.end) for shot in shots] == [(0, 2), (2, 4), (4, 5)]
    assert [(shot.start_s, shot.end_s) for shot in shots] == [(0.0, 0.09), (0.09, 0.25), (0.25, 0.3)]
    assert [shot.number for shot in shots] == [0, 1, 2]


def test_a_video_without_a_cut_is_one_shot():
    assert [(shot.begin, shot.end) for shot in shots_between(Boundaries([], []), np.arange(10) / 25, 0.4)] == [(0, 10)]
