"""The result set back into the portrait: where it was cut, faded at its edge, and nothing else changed."""

import numpy as np
import pytest

from emo_model.generate import Settings, generate, paste_back
from emo_model.generate.paste_back import PasteBack
from tests.model.generate.small import frames_of
from tests.model.generate.test_portrait import see

RED, BLUE = np.array([200, 0, 0], np.uint8), np.array([0, 0, 200], np.uint8)


def test_a_frame_lies_where_the_portrait_was_cut_and_fades_into_it():
    portrait = np.broadcast_to(RED, (100, 160, 3)).copy()
    whole = PasteBack.into(portrait, (40, 20, 48))(np.broadcast_to(BLUE, (16, 16, 3)))
    assert whole.shape == portrait.shape and (whole[30:58, 50:78] == BLUE).all()
    outside = np.ones((100, 160), bool)
    outside[20:68, 40:88] = False
    assert (whole[outside] == RED).all() and (portrait == RED).all()
    across = whole[44, 40:88, 0].astype(int)  # red falls into the frame and rises out of it, without a step
    assert across[0] > 190 and across[-1] > 190 and np.abs(np.diff(across)).max() < 80
    assert (np.diff(across[:24]) <= 0).all() and (np.diff(across[24:]) >= 0).all()


def test_a_frame_of_what_was_cut_changes_nothing():
    portrait = np.broadcast_to(np.linspace(0, 255, 160).astype(np.uint8)[None, :, None], (100, 160, 3)).copy()
    whole = PasteBack.into(portrait, (40, 20, 48))(portrait[20:68, 40:88])
    np.testing.assert_array_equal(whole, portrait)


@pytest.mark.parametrize("square", [(-10, -20, 60), (120, 60, 60), (-20, -20, 220)])
def test_a_square_beyond_the_portrait_fills_it_to_its_edge(square):
    """The crop repeats the edge's pixels there; the portrait has no place for them, and no fading towards nothing."""
    portrait = np.broadcast_to(RED, (100, 160, 3)).copy()
    whole = PasteBack.into(portrait, square)(np.broadcast_to(BLUE, (16, 16, 3)))
    corner = (0, 0) if square[0] < 0 else (-1, -1)
    assert whole.shape == portrait.shape and (whole[corner] == BLUE).all()


def test_an_odd_portrait_loses_its_last_row_and_a_large_one_its_size(monkeypatch):
    monkeypatch.setattr(paste_back, "LARGEST", 100)
    back = PasteBack.into(np.zeros((75, 51, 3), np.uint8), (1, 2, 31))
    assert back.portrait.shape == (74, 50, 3) and back.square == (1, 2, 31)
    back = PasteBack.into(np.zeros((400, 202, 3), np.uint8), (40, 80, 100))
    assert back.portrait.shape == (100, 50, 3) and back.square == (10, 20, 25)


def test_a_video_pasted_back_has_the_portraits_size_and_surroundings(model, voice, tmp_path, monkeypatch):
    monkeypatch.setattr("emo_model.generate.portrait.Landmarker", see((30, 30, 50, 50)))
    monkeypatch.setattr(paste_back, "LARGEST", 120)
    portrait, told = np.full((140, 181, 3), 90, np.uint8), []
    quick = Settings(steps=2, guidance=2.0)
    generate(model, portrait, voice, tmp_path / "out.mp4", settings=quick, paste_back=True, tell=told.append)
    frames = frames_of(tmp_path / "out.mp4").astype(int)
    assert frames.shape[1:] == (92, 120, 3) and "181x140" in told[0] and "120x92" in told[0]
    assert np.abs(frames[:, 60:] - 90).max() < 6 and np.ptp(frames[:, 15:35, 15:35]) > 60
