"""Shots: cuts are found on the frame, what moves is no cut, shots cover the video."""

import cv2
import numpy as np
import pytest

from emo_model.data.shots import Boundaries, shot_detector, shots_between
from emo_model.data.transitions import TransitionDetector


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


def _detailed(seed: int, count: int, shift: float = 0.0) -> list[np.ndarray]:
    """A scene with the fine detail that real pictures have."""
    grain = np.kron(np.random.default_rng(seed).normal(0, 25, (90, 80, 1)), np.ones((4, 4, 1)))
    scenes = zip(range(count), _scene(seed, count, shift), strict=True)
    return [
        np.clip(picture + np.roll(grain, round(shift * number), axis=1), 0, 255).astype(np.uint8)
        for number, picture in scenes
    ]


def _mixed(before: list[np.ndarray], after: list[np.ndarray], frames: int) -> list[np.ndarray]:
    """`before`, then `frames` mixtures of its last pictures with the first of `after`, then the rest."""
    share = np.arange(1, frames + 1) / (frames + 1)
    pairs = zip(share, before[-frames:], after[:frames], strict=True)
    middle = [np.round(a * (1 - s) + b * s).astype(np.uint8) for s, a, b in pairs]
    return [*before[:-frames], *middle, *after[frames:]]


@pytest.mark.parametrize("frames", [8, 15, 38])
def test_a_dissolve_is_a_stretch_of_its_own(frames):
    found = _found(_mixed(_detailed(1, 80, 0.3), _detailed(2, 80, -0.3), frames))
    ((begin, end),) = found.transitions
    assert -10 <= begin - (80 - frames) <= 2 and -2 <= end - 80 <= 10  # rather too much than a mixed picture


@pytest.mark.parametrize("grey", [0, 255])
@pytest.mark.parametrize("frames", [8, 25, 50])
def test_a_fade_is_a_stretch_of_its_own_from_the_first_darker_picture_to_the_last(grey, frames):
    blank = [np.full((360, 320, 3), grey, np.uint8)] * (frames + 5)
    down = _mixed(_detailed(1, 90), blank, frames)
    up = _mixed(blank, _detailed(2, 90), frames)
    ((begin, end),) = _found(down + up).transitions
    assert 0 <= begin - (90 - frames) <= 2
    assert abs(len(down) + 5 + frames - end) <= 2


def test_a_film_that_fades_in_and_out_keeps_its_middle():
    blank = [np.zeros((360, 320, 3), np.uint8)] * 30
    scene = _detailed(3, 100, 0.2)
    shots = shots_between(_found(_mixed(_mixed(blank, scene, 25), blank, 25)), np.arange(110) / 25, 4.4)
    assert [shot.is_transition for shot in shots] == [True, False, True]
    assert abs(shots[1].begin - 30) <= 2 and abs(shots[1].end - 80) <= 2


def test_light_that_comes_and_goes_is_no_transition():
    for seconds in (0.3, 1.0, 2.0):
        light = np.interp(np.arange(125), [0, 50, 50 + 25 * seconds, 125], [1.0, 1.0, 0.4, 0.4])
        pairs = zip(_detailed(4, 125, 0.5), light, strict=True)
        lit = [np.round(picture * now).astype(np.uint8) for picture, now in pairs]
        assert _found(lit).transitions == []


def test_darkness_and_a_moving_camera_are_no_transitions():
    dark = [(picture * 0.08).astype(np.uint8) for picture in _detailed(4, 100, 0.5)]
    assert _found(dark) == _found([np.zeros((90, 160, 3), np.uint8)] * 60) == Boundaries([], [])
    assert _found(_detailed(5, 100, 6.0)).transitions == []


def test_transitions_are_found_by_the_clock_not_by_the_number_of_frames():
    film = _mixed(_detailed(1, 160, 0.1), _detailed(2, 160, -0.1), 30)
    ((begin, end),) = _found(film, fps=50).transitions
    assert abs(begin - 130) <= 4 and abs(end - 160) <= 4


def test_shots_and_transitions_cover_every_frame_once_and_a_cut_inside_a_transition_is_none():
    shots = shots_between(Boundaries([10, 33, 60], [(30, 40), (90, 100)]), np.arange(100) / 25, 4.0)
    assert [(shot.begin, shot.end) for shot in shots] == [(0, 10), (10, 30), (30, 40), (40, 60), (60, 90), (90, 100)]
    assert [shot.number for shot in shots if shot.is_transition] == [2, 5]


def test_what_is_kept_of_a_film_does_not_grow_with_it():
    detector = TransitionDetector()
    for number in range(400):
        detector.see(number / 25, np.full((36, 64, 3), number % 200, np.uint8))
    assert len(detector._seen) <= 57 and len(detector._fade._past) <= 100
