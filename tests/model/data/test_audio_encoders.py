"""Audio encoders: alignment in time, windows, the file reader; and, with weights, the real thing."""

import struct
from itertools import pairwise

import numpy as np
import pytest

from emo_model import weights
from emo_model.data.audio_encoders import (
    Encoder,
    at_positions,
    frame_positions,
    load_encoder,
    whisper_state,
    windows,
)
from emo_model.data.ctranslate2_file import read_arrays
from emo_model.errors import UserError


def loudness(samples: np.ndarray, num_frames: int) -> np.ndarray:
    """A stand-in encoder of one layer and one number: the loudest sample during each frame."""
    edges = np.arange(num_frames + 1) * 16000 // 30
    return np.array([[[np.abs(samples[a:b]).max()]] for a, b in pairwise(edges)], np.float32)


LOUDNESS = Encoder("loudness", "none", 1, 1, "", loudness)


def test_a_click_is_heard_in_the_frame_it_falls_into_also_in_long_sound():
    samples = np.zeros(16000 * 50, np.float32)
    clicks = [0, 17, 359, 360, 700, 1199, 1499]
    samples[[round((frame + 0.5) * 16000 / 30) for frame in clicks]] = 1
    features = LOUDNESS.features(samples, 1500)
    assert features.shape == (1500, 1, 1) and features.dtype == np.float16
    assert np.flatnonzero(features[:, 0, 0]).tolist() == clicks


@pytest.mark.parametrize("num_frames", [1, 90, 359, 360, 361, 480, 481, 600, 601, 1800, 5000])
def test_windows_cover_every_frame_and_share_what_one_turns_into_the_other_over(num_frames):
    found = list(windows(num_frames))
    assert found[0][0] == 0 and found[-1][1] == num_frames
    assert all(stop - start <= 360 for start, stop in found)
    assert all(one[1] - other[0] == 120 and one[1] - one[0] == 360 for one, other in pairwise(found))
    assert LOUDNESS.features(np.ones(num_frames * 16000 // 30, np.float32), num_frames).all()


def test_one_window_turns_into_the_next_a_second_from_either_end():
    """An encoder that says which window it hears: no frame is taken from a window's first or last second."""
    number = iter(range(9))
    which = Encoder("which", "none", 1, 1, "", lambda _, count: np.full((count, 1, 1), next(number), np.float32))
    features = which.features(np.zeros(16000 * 20, np.float32), 600)[:, 0, 0]
    assert not features[: 240 + 30].any() and (features[360 - 30 :] == 1).all()
    assert np.diff(features[270:330]) == pytest.approx(1 / 60, abs=1e-3)


def test_frames_past_the_end_of_the_sound_hear_silence():
    features = LOUDNESS.features(np.ones(16000, np.float32), 60)
    assert features[:30].all() and not features[30:].any()


def test_stereo_is_refused_with_what_was_wanted():
    with pytest.raises(ValueError, match="mono"):
        LOUDNESS.features(np.zeros((2, 16000), np.float32), 30)


def test_features_at_50_hz_are_read_at_the_middle_of_each_frame():
    centres = ((np.arange(500) + 0.5) / 50).astype(np.float32)  # features that say what time it is
    times = at_positions(centres[:, None], frame_positions(290, rate=50, centre=0.5))[:, 0]
    assert times == pytest.approx((np.arange(290) + 0.5) / 30, abs=1e-5)
    assert at_positions(centres[:1], np.array([-3.0, 0.4, 9.0])).tolist() == [centres[0]] * 3


def _string(text: str) -> bytes:
    return struct.pack("<H", len(text) + 1) + text.encode() + b"\0"


def _model(version: int = 6, tail: bytes = b"") -> bytes:
    data = np.arange(6, dtype=np.float16).tobytes()
    array = _string("a/weight") + struct.pack("<BIIBI", 2, 2, 3, 4, len(data)) + data
    aliases = struct.pack("<I", 1) + _string("b/weight") + _string("a/weight")
    return struct.pack("<I", version) + _string("Spec") + struct.pack("<II", 3, 1) + array + aliases + tail


def test_a_ctranslate2_file_is_read_with_its_shapes_types_and_aliases(tmp_path):
    path = tmp_path / "model.bin"
    path.write_bytes(_model())
    arrays = read_arrays(path)
    assert arrays["b/weight"] is arrays["a/weight"] and arrays["a/weight"].tolist() == [[0, 1, 2], [3, 4, 5]]
    path.write_bytes(_model(version=5))
    with pytest.raises(ValueError, match="version 6 was wanted; got version 5"):
        read_arrays(path)
    path.write_bytes(_model(tail=b"more"))
    with pytest.raises(ValueError, match="belong to the model"):
        read_arrays(path)


def test_an_unknown_encoder_is_one_line_with_the_known_ones():
    with pytest.raises(UserError, match="whisper_tiny_encoder"):
        load_encoder("hubert")


@pytest.mark.weights
def test_whispers_weights_fill_transformers_encoder_exactly():
    from transformers import WhisperConfig
    from transformers.models.whisper.modeling_whisper import WhisperEncoder

    from emo_model.data.audio_encoders import WHISPER

    wanted = WhisperEncoder(WhisperConfig(**WHISPER)).state_dict()
    state = whisper_state(read_arrays(weights.path("whisper_tiny_encoder")))
    assert {name: tuple(value.shape) for name, value in state.items()} == {
        name: tuple(value.shape) for name, value in wanted.items()
    }


@pytest.mark.weights
def test_whisper_hears_when_a_tone_starts_and_repeats_itself_bit_for_bit():
    encoder = load_encoder("whisper_tiny_encoder")
    seconds = np.arange(16000 * 4) / 16000
    tone = (0.3 * np.sin(2 * np.pi * 300 * seconds) * (seconds >= 2)).astype(np.float32)
    with_tone, silence = encoder.features(tone, 120), encoder.features(0 * tone, 120)
    assert with_tone.shape == (120, 4, 384) and np.isfinite(with_tone).all()
    # attention carries a little of the tone everywhere; the jump is where it starts
    difference = with_tone.astype(float) - silence.astype(float)
    jump = np.linalg.norm(np.diff(difference, axis=0), axis=(1, 2))
    assert abs(int(np.argmax(jump)) + 1 - 60) <= 1
    assert (encoder.features(tone, 120) == with_tone).all()


def test_wav2vec_2_hears_a_click_in_the_frame_it_falls_into_also_behind_the_first_window(tmp_path, monkeypatch):
    import torch
    from transformers import Wav2Vec2Config, Wav2Vec2Model

    torch.manual_seed(0)
    sizes = {"hidden_size": 24, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 32}
    convolutions = {"conv_dim": (16,) * 7, "num_conv_pos_embeddings": 16, "num_conv_pos_embedding_groups": 2}
    model = Wav2Vec2Model(Wav2Vec2Config(**sizes, **convolutions))
    with torch.no_grad():  # nothing but the convolutions looks along time: what is heard can be placed
        model.encoder.pos_conv_embed.conv.parametrizations.weight.original0.zero_()
        for layer in model.encoder.layers:
            layer.attention.out_proj.weight.zero_()
    model.save_pretrained(tmp_path / "wav2vec2-base")
    monkeypatch.setenv("EMO_WEIGHTS", str(tmp_path))
    encoder = load_encoder.__wrapped__()
    noise = np.random.default_rng(0).normal(0, 0.01, 16000 * 20).astype(np.float32)
    plain = encoder.features(noise, 600).astype(np.float64)
    for frame in (1, 100, 239, 240, 300, 361, 480, 598):
        clicked = noise.copy()
        clicked[round((frame + 0.5) * 16000 / 30)] += 0.2
        heard = np.linalg.norm(encoder.features(clicked, 600) - plain, axis=(1, 2))
        assert heard.argmax() == frame


def test_wav2vec_2_reads_every_hidden_state_at_the_frame_rate(tmp_path, monkeypatch):
    import torch
    from transformers import Wav2Vec2Config, Wav2Vec2Model

    torch.manual_seed(0)
    sizes = {"hidden_size": 24, "num_hidden_layers": 3, "num_attention_heads": 2, "intermediate_size": 32}
    convolutions = {"conv_dim": (16,) * 7, "num_conv_pos_embeddings": 16, "num_conv_pos_embedding_groups": 2}
    model = Wav2Vec2Model(Wav2Vec2Config(**sizes, **convolutions)).eval()  # untrained: shapes and order only
    model.save_pretrained(tmp_path / "wav2vec2-base")
    monkeypatch.setenv("EMO_WEIGHTS", str(tmp_path))
    encoder = load_encoder.__wrapped__()
    assert (encoder.name, encoder.weights, encoder.layers, encoder.width) == (
        "wav2vec2-base", "wav2vec2_base", 3, 24,
    )  # fmt: skip
    sound = np.random.default_rng(0).normal(0, 0.1, 16000 * 2).astype(np.float32)
    features = encoder.features(sound, 60)
    assert features.shape == (60, 3, 24) and np.isfinite(features).all()

    # At 50 frames a second, read where its entries lie, nothing is interpolated: the states are the plain model's.
    with torch.inference_mode():
        normal = torch.from_numpy((sound - sound.mean()) / np.sqrt(sound.var() + 1e-7))[None]
        plain = model(normal, output_hidden_states=True).hidden_states
    monkeypatch.setattr("emo_model.data.audio_encoders.FPS", 50)
    monkeypatch.setattr("emo_model.data.audio_encoders.frame_positions", lambda frames, rate, centre: np.arange(frames))
    ours = encoder.encode_window(sound, plain[0].shape[1])
    assert ours == pytest.approx(torch.cat(plain[1:]).transpose(0, 1).numpy(), abs=1e-4)
