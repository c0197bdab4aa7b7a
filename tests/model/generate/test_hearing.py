"""Long sound: read, brought to the encoder's rate and encoded piece by piece, as if it had been read whole."""

import tracemalloc
from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy.signal import resample_poly

from emo_model import samples
from emo_model.data.audio_encoders import FADE_S, FPS, OVERLAP_S, Encoder, load_encoder, windows
from emo_model.data.audio_encoders import RATE as HEARD
from emo_model.generate.hearing import Hearing
from emo_model.generate.sound import read_sound, resampled
from tests.model.generate.small import ENCODER, write_samples


def near(samples: np.ndarray, num_frames: int) -> np.ndarray:
    """An encoder that hears each frame and half a second to either side."""
    edges = np.arange(num_frames + 1) * HEARD // FPS
    loud = np.add.reduceat(np.abs(samples).astype(np.float64), edges[:-1])
    reach = np.convolve(loud, np.hanning(31), mode="same")
    return reach[:, None, None].astype(np.float32)


NEAR = Encoder("near", "none", 1, 1, "", near)


def sound_of(tmp_path, seconds: float, rate: int = 44100):
    noise = np.random.default_rng(0).integers(-9000, 9000, (round(seconds * rate), 2))
    return read_sound(write_samples(tmp_path / "long.wav", noise, rate))


def test_sound_piece_by_piece_is_to_the_bit_what_scipy_makes_of_the_whole(tmp_path):
    rng = np.random.default_rng(0)
    for rate in (8000, 22050, 44100, 48000, 96000, 16000):
        whole = rng.standard_normal(2 * rate + 17).astype(np.float32)
        pieces = np.split(whole, np.sort(rng.integers(0, len(whole), 9)))
        common = np.gcd(rate, 16000)
        wanted = whole if rate == 16000 else resample_poly(whole, 16000 // common, rate // common)
        np.testing.assert_array_equal(np.concatenate(list(resampled(pieces, rate))), wanted)


def test_a_frame_in_the_middle_hears_what_it_would_in_the_whole(tmp_path):
    """Exactly, of an encoder whose reach is less than the second of context that each window has at its ends."""
    sound = sound_of(tmp_path, 41.3)
    frames = torch.arange(sound.frames)
    whole = near(np.pad(sound.mono_16k(), (0, HEARD)), sound.frames)
    found = Hearing.of(NEAR, sound, tmp_path / "voice.f16")[frames].numpy()
    np.testing.assert_allclose(found, whole.astype(np.float16).astype(np.float32), rtol=2e-3)


def test_hearing_is_made_once_and_read_anywhere(tmp_path):
    sound = sound_of(tmp_path, 60)
    whole = ENCODER.features(sound.mono_16k(), sound.frames)
    hearing = Hearing.of(ENCODER, sound, tmp_path / "voice.f16")
    assert len(hearing) == sound.frames == 1800
    for frames in (torch.arange(-2, 14).clamp(0), torch.arange(1786, 1802).clamp(0, 1799), torch.arange(900, 916)):
        np.testing.assert_array_equal(hearing[frames].numpy(), whole[frames.numpy()])
    assert Hearing.of(replace(ENCODER, encode_window=None), sound, tmp_path / "voice.f16") == hearing


def test_memory_does_not_grow_with_the_sound(tmp_path):
    def peak(seconds: float) -> int:
        sound = replace(sound_of(tmp_path, 120), length=round(seconds * 44100))
        tracemalloc.start()
        hearing = Hearing.of(ENCODER, sound, tmp_path / f"{seconds}.f16")
        for first in range(0, sound.frames, 12):
            hearing[torch.arange(first, min(first + 12, sound.frames))]
        used = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return used

    assert peak(120) < 1.05 * peak(30)


@pytest.mark.weights
def test_no_frame_shows_where_the_windows_of_real_speech_meet():
    """Whisper's states carry the position in the window: cut from one window to the next they jump, up to twice as far
    as inside. While one turns into the other no step is a tenth larger than the two windows' own steps there."""
    encoder = load_encoder("whisper_tiny_encoder")
    speech = read_sound(samples.default_folder() / "voices/silero_test.wav").first(20).mono_16k()
    (_, first_stop), (second, frames) = windows(20 * FPS)
    apart = [
        encoder.encode_window(speech[start * HEARD // FPS : stop * HEARD // FPS], stop - start)
        for start, stop in ((0, first_stop), (second, frames))
    ]
    begin, end = second + (OVERLAP_S - FADE_S) * FPS // 2 - 1, first_stop - (OVERLAP_S - FADE_S) * FPS // 2 + 1

    def steps(features: np.ndarray, at: int) -> np.ndarray:
        return np.linalg.norm(np.diff(features[begin - at : end - at].astype(np.float32), axis=0), axis=-1)

    allowed = 1.1 * np.maximum(steps(apart[0], 0), steps(apart[1], second))
    assert (steps(encoder.features(speech, frames), 0) < allowed).all()
    middle = (begin + end) // 2
    cut = np.concatenate([apart[0][:middle], apart[1][middle - second :]])
    assert (steps(cut, 0)[middle - begin - 1] > 1.5 * allowed[middle - begin - 1]).any()  # what it was


@pytest.mark.weights
def test_what_the_encoder_hears_of_a_long_voice_does_not_depend_on_how_it_is_read(tmp_path):
    encoder = load_encoder("whisper_tiny_encoder")
    sound = read_sound(samples.default_folder() / "voices/silero_test.wav").first(15)
    whole = encoder.features(sound.mono_16k(), sound.frames).astype(np.float32)
    hearing = Hearing.of(encoder, sound, tmp_path / "voice.f16")
    np.testing.assert_array_equal(hearing[torch.arange(sound.frames)].numpy(), whole)
