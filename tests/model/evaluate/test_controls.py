"""Rows that need no model: each is what it says, and tells what it is there to tell."""

from pathlib import Path

import numpy as np

from emo_model.evaluate.controls import CONTROLS, is_control, others, reconstructed
from emo_model.evaluate.scores import Observation, drawn
from emo_model.evaluate.video import Video


def test_a_shuffled_clip_hears_somebody_else() -> None:
    people = ["ann", "ann", "bob", "eve", "eve"]
    for seed in range(5):
        assert all(people[j] != people[i] for i, j in enumerate(others(people, seed)))
    assert others(people, 3) == others(people, 3)
    assert others(["ann", "ann"], 0) == [1, 0]  # of one person, at least another sentence
    assert others(["ann"], 0) == [None]


def test_a_reconstruction_is_near_the_real_clip_and_loses_what_the_latent_space_does() -> None:
    x = np.linspace(0, 3, 128)
    smooth = (127 + 100 * np.sin(x)[None, :, None] * np.cos(x)[:, None, None] * np.ones(3)).astype(np.uint8)
    noise = np.random.default_rng(0).integers(0, 255, smooth.shape).astype(np.uint8)

    def error(picture: np.ndarray) -> float:
        video = Video(np.stack([picture] * 3), 25.0, picture, Path("voice.wav"))
        back = reconstructed(video, "TINY")
        assert back.frames.shape == video.frames.shape and back.truth is video and back.sound_path == video.sound_path
        return float(np.abs(back.frames.astype(int) - video.frames).mean())

    assert error(smooth) < 3 and error(noise) > 40


def test_another_voice_changes_the_sound_and_not_the_pictures(tmp_path: Path) -> None:
    video = Video(np.zeros((3, 8, 8, 3), np.uint8), 25.0, np.zeros((8, 8, 3), np.uint8), tmp_path / "own.wav")
    video.__dict__["faces"], video.__dict__["sound"] = "found once", "heard"
    other = video.with_sound(tmp_path / "other.wav")
    assert other.frames is video.frames and other.faces == "found once" and other.sound_path == tmp_path / "other.wav"
    assert "sound" not in other.__dict__ and video.sound == "heard"


def test_a_control_keeps_its_name_with_brackets_behind_it() -> None:
    assert all(is_control(name) for name in (*CONTROLS, "reconstruction [PAPER]"))
    assert not is_control("reconstructed") and not is_control("wav2lip [gan]")


def test_n_samples_are_drawn_of_each_clip_its_share_and_the_same_on_both_sides() -> None:
    sides = [[Observation.full(np.arange(n) + 100.0 * side) for n in (60, 30, 10)] for side in (0, 1)]
    real, generated = (drawn(side, 50, seed=1) for side in sides)
    assert [len(o.found) for o in real] == [30, 15, 5]
    for a, b in zip(real, generated, strict=True):
        np.testing.assert_array_equal(a.values + 100, b.values)
        assert len(set(a.values)) == len(a.values)
    assert drawn(sides[0], 100, seed=1) == sides[0]
