"""SyncNet's pipeline on embeddings and sounds whose answer is known, and mouth against voice."""

import numpy as np
import pytest

from emo_model.evaluate import sync
from emo_model.evaluate.motion import correlation_and_lag, loudness


def embeddings(windows: int, lead: int, noise: float = 0.1, width: int = 64) -> tuple[np.ndarray, np.ndarray]:
    """Lips and voice of one underlying sequence; the sound leads the picture by `lead` frames."""
    rng = np.random.default_rng(windows + lead)
    truth = rng.standard_normal((windows + 40, width))
    lips, voice = truth[20 : 20 + windows], truth[20 + lead : 20 + lead + windows]
    return lips + noise * rng.standard_normal(lips.shape), voice + noise * rng.standard_normal(voice.shape)


@pytest.mark.parametrize("lead", [-15, -7, 0, 3, 15])
@pytest.mark.parametrize("padding", ["reference", "valid"])
def test_a_known_lead_of_the_sound_is_the_offset(lead: int, padding: str) -> None:
    confidence, distance, offset = sync.lse(sync.distances(*embeddings(200, lead), padding=padding))
    assert offset == lead
    assert confidence > 8 and distance < 2


def test_unrelated_sound_has_no_confidence() -> None:
    lips, _ = embeddings(200, 0)
    voice, _ = embeddings(201, 1)
    confidence, *_ = sync.lse(sync.distances(lips, voice[:200]))
    assert confidence < 0.5


def test_zero_padding_biases_by_length_and_valid_overlap_does_not() -> None:
    lse_c = {
        (padding, windows): sync.lse(sync.distances(*embeddings(windows, 0), padding=padding))[0]
        for padding in ("reference", "valid")
        for windows in (20, 400)
    }
    assert abs(lse_c["valid", 20] - lse_c["valid", 400]) < 0.3
    assert lse_c["reference", 400] - lse_c["reference", 20] > 0.5


def test_mfcc_equals_python_speech_features() -> None:
    t = np.arange(4000)
    chirp = (8000 * np.sin(2 * np.pi * (200 + 0.1 * t) * t / 16000)).astype(np.int16)
    # python_speech_features 0.6, mfcc(chirp, 16000): rows 0, 10, -1, columns 0, 1, 6, 12
    golden = [
        [17.926363872857614, 23.56497870186541, -15.466042073807673, -9.657954704506633],
        [19.535252599423487, 17.110914534000358, -11.997317893587347, -11.921490817275266],
        [20.379079920262377, 8.454265374935469, 28.249282811539974, 14.735678863856714],
    ]
    assert sync.mfcc(chirp).shape == (24, 13)
    np.testing.assert_allclose(sync.mfcc(chirp)[[0, 10, -1]][:, [0, 1, 6, 12]], golden, rtol=1e-9)


def test_windows_of_voice_and_picture_cover_the_same_fifth_of_a_second() -> None:
    features = np.arange(100)[:, None] * np.ones(13)
    windows = sync.mfcc_windows(features, 3)
    assert windows.shape == (3, 1, 13, 20)
    assert windows[:, 0, 0, 0].tolist() == [0, 4, 8] and windows[2, 0, 0, -1] == 27
    assert sync.window_count(frames=50, samples=16_000 * 2) == 45
    assert sync.window_count(frames=50, samples=16_000) == 20


def test_the_crop_follows_the_box_and_pads_with_grey() -> None:
    frames = np.zeros((20, 100, 100, 3), np.uint8)
    frames[:, 40:60, 70:90] = 255
    crops = sync.face_crops(frames, np.tile([70.0, 40, 90, 60], (20, 1)))
    assert crops.shape == (20, 224, 224, 3)
    assert crops[0, 30, 112].min() == 255  # rows: from the box's top; columns: 1.4 half boxes to either side
    assert crops[0, 200, 112].max() == 0
    outside = sync.face_crops(frames, np.tile([90.0, 40, 110, 60], (20, 1)))
    assert (outside[0, 100, 210] == 110).all()


def test_a_mouth_that_follows_the_voice_late_is_found_late() -> None:
    rng = np.random.default_rng(0)
    loud = np.convolve(rng.uniform(0, 1, 150), np.ones(5) / 5, "same")
    mouth = np.roll(loud, 4) + 0.02 * rng.standard_normal(150)
    mouth[60:70] = np.nan  # the face was lost for a while
    correlation, lag = correlation_and_lag(mouth, loud, 30)
    assert lag == pytest.approx(4000 / 30) and correlation > 0.9


def test_a_still_mouth_has_no_lag_at_all() -> None:
    assert correlation_and_lag(np.full(90, 0.3), np.random.default_rng(0).uniform(0, 1, 90), 30) is None
    assert correlation_and_lag(np.full(90, np.nan), np.random.default_rng(0).uniform(0, 1, 90), 30) is None


def test_loudness_is_per_frame_and_ends_with_the_sound() -> None:
    tone = 16384 * np.sin(2 * np.pi * 1000 * np.arange(1600) / 16_000)
    sound = np.concatenate([np.zeros(1600), tone]).astype(np.int16)
    loud = loudness(sound, 9, 30)
    np.testing.assert_allclose(loud, np.array([0, 0, 0, 0.5, 0.5, 0.5, 0, 0, 0]) / 2**0.5, atol=0.02)


def test_loudness_is_deaf_to_hum_and_hiss() -> None:
    t = np.arange(16_000) / 16_000
    hum, voice, hiss = (
        loudness((9000 * np.sin(2 * np.pi * hz * t)).astype(np.int16), 25, 25) for hz in (60, 900, 6000)
    )
    assert hum[2:-2].max() < 0.01 * voice.mean() > hiss[2:-2].max()
