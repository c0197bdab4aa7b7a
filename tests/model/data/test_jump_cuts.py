"""Jump cuts in one take of a head that nods and sways: found where seconds were taken out, and nowhere else."""

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from emo_model.data.jump_cuts import jumps

FPS = 25


def take(seconds: float = 20, noise: float = 0.2, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """(N, 4) boxes 100 pixels high and (N, 3, 3) rotations, with the landmarker's noise of a few tenths of a degree."""
    t, rng = np.arange(seconds * FPS) / FPS, np.random.default_rng(seed)
    euler = np.stack([12 * np.sin(1.3 * t), 25 * np.sin(0.7 * t + 1), 4 * np.sin(2 * t)], axis=1)
    matrices = Rotation.from_euler("xyz", euler + noise * rng.normal(size=euler.shape), degrees=True).as_matrix()
    centre = np.stack([200 + 30 * np.sin(0.7 * t), 150 + 8 * np.sin(1.3 * t)], axis=1)
    centre += noise * rng.normal(size=centre.shape)
    half = np.array([40.0, 50.0])
    return np.concatenate([centre - half, centre + half], axis=1), matrices


def test_one_take_has_no_jumps() -> None:
    assert not any(jumps(*take(seed=seed)).any() for seed in range(5))


@pytest.mark.parametrize("gone", [(100, 130), (220, 260), (300, 350)])
def test_seconds_taken_out_are_found_at_their_frame(gone: tuple[int, int]) -> None:
    boxes, matrices = (np.delete(x, slice(*gone), axis=0) for x in take())
    assert np.flatnonzero(jumps(boxes, matrices)).tolist() == [gone[0]]


def test_a_quick_turn_is_no_jump() -> None:
    """30 degrees within five frames: the frames between are there."""
    yaw = np.interp(np.arange(200), [0, 100, 105, 200], [0, 0, 30, 30])
    matrices = Rotation.from_euler("y", yaw[:, None], degrees=True).as_matrix()
    assert not jumps(np.tile([0.0, 0.0, 80.0, 100.0], (200, 1)), matrices).any()


def test_nothing_jumps_over_frames_without_a_face() -> None:
    boxes, matrices = (np.delete(x, slice(100, 150), axis=0) for x in take())
    boxes[98:101], matrices[98:101] = np.nan, np.nan
    assert not jumps(boxes, matrices).any()


@pytest.mark.parametrize("found", [0, 1, 2])
def test_a_face_or_two_are_no_track(found: int) -> None:
    boxes, matrices = take(1)
    boxes[found:] = np.nan
    assert not jumps(boxes, matrices).any()
