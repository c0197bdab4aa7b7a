"""Sound scores: what each hears in sounds whose truth is known, and that each is its authors' own number."""

import numpy as np
import pytest

from emo_model import samples, weights
from emo_model.data.audio import read_wav
from emo_model.data.music import activation_sums, music_fraction
from emo_model.data.records import TABLES
from emo_model.data.shards import run_step
from emo_model.data.sound import SOUND_SCORES, sound_scores
from emo_model.data.voice_activity import speaks, speech_probability
from emo_model.data.voices import mel_power, other_voice_fraction, voice_embeddings
from emo_model.generate.sound import read_sound

from .test_labels import prepared

RATE = 16_000
SECONDS = np.arange(8 * RATE) / RATE


def chords() -> np.ndarray:
    """A chord of three notes with overtones every second: music as plain as it gets."""
    notes = 220 * 2 ** (np.array([[0, 4, 7], [5, 9, 12], [7, 11, 14], [0, 4, 7]]) / 12)
    out = np.zeros(len(SECONDS))
    for second in range(8):
        now = slice(second * RATE, (second + 1) * RATE)
        for note in notes[second % 4]:
            out[now] += sum(np.sin(2 * np.pi * note * k * SECONDS[now]) / k for k in (1, 2, 3, 4))
    return (0.03 * out).astype(np.float32)


def glide() -> np.ndarray:
    """A buzz whose pitch is never at rest, as a voice's: every eighth of a second on the way to another one."""
    pitches = np.random.default_rng(1).uniform(100, 200, 65)
    phase = 2 * np.pi * np.cumsum(np.interp(SECONDS, np.arange(65) / 8, pitches)) / RATE
    return (0.05 * sum(np.sin(k * phase) / k for k in range(1, 20))).astype(np.float32)


def noise(level: float = 0.05) -> np.ndarray:
    return np.random.default_rng(0).normal(0, level, len(SECONDS)).astype(np.float32)


def hum() -> np.ndarray:
    return (0.05 * sum(np.sin(2 * np.pi * 50 * k * SECONDS) / k for k in range(1, 8))).astype(np.float32)


def voice(name: str, seconds: slice = slice(None)) -> np.ndarray:
    """A sample's sound at 16 kHz."""
    sound = read_sound(samples.default_folder() / "voices" / name).mono_16k()
    return sound[(seconds.start or 0) * RATE : (seconds.stop or 8) * RATE]


def test_held_tones_are_music_and_gliding_ones_hum_noise_and_silence_are_not():
    assert music_fraction(chords()) == 1 and music_fraction(chords() + glide()) > 0.8
    for other in (glide(), noise(), hum(), hum() + noise(), 0 * noise()):
        assert music_fraction(other) == 0
    assert activation_sums(np.zeros(0, np.float32)).tolist() == [0]


def test_samples_at_full_scale_are_counted():
    loud = np.clip(2 * np.sin(2 * np.pi * 100 * SECONDS), -1, 1).astype(np.float32)
    assert sound_scores(loud)["clipped_fraction"] == pytest.approx(2 / 3, abs=0.01)
    assert sound_scores(loud / 2)["clipped_fraction"] == 0


def test_without_weights_a_score_is_null_and_named_and_weights_that_arrive_cause_a_re_run(tmp_path, monkeypatch):
    have = weights.have
    monkeypatch.setattr(weights, "have", lambda name: False)
    root = prepared(tmp_path)
    run_step(SOUND_SCORES, root, "s0000")
    rows = root.read("sound").to_pylist()
    assert [row["clip_id"] for row in rows] == ["one", "two"]
    for row in rows:
        assert row["speech_fraction"] is None and row["other_voice_fraction"] is None
        assert row["no_model"] == ["other_voice_fraction", "speech_fraction"]
        assert row["music_fraction"] == 0 and row["clipped_fraction"] < 0.01
    assert run_step(SOUND_SCORES, root, "s0000").done == 0
    monkeypatch.setattr(weights, "have", have)
    if have("silero_vad"):
        assert run_step(SOUND_SCORES, root, "s0000").done == 1
        assert all("speech_fraction" not in row["no_model"] for row in root.read("sound").to_pylist())


def test_every_score_of_the_sound_is_a_column_of_clips():
    own = set(TABLES["sound"].schema.names) - {"input_sha256", "step_version"}
    assert own <= set(TABLES["clip_rows"].schema.names)


@pytest.mark.weights
def test_probabilities_are_those_of_sileros_own_code():
    """tinygrad_model.py of silero-vad 6.2.3, written down in torch: a chunk after the other, the state handed on."""
    import torch
    from safetensors.torch import load_file
    from torch.nn import functional as F

    w = load_file(weights.path("silero_vad"))
    cell = torch.nn.LSTMCell(128, 128)
    cell.load_state_dict({name[10:]: value for name, value in w.items() if name.startswith("lstm_cell.")})
    sound = read_wav(samples.default_folder() / "voices/silero_test.wav")[: 12 * RATE + 100]
    padded = torch.from_numpy(np.pad(sound, (64, -len(sound) % 512)))
    wanted, state = [], None
    with torch.inference_mode():
        for start in range(64, len(padded), 512):
            x = F.pad(padded[None, start - 64 : start + 512], (0, 64), "reflect")[:, None]
            x = F.conv1d(x, w["stft_conv.weight"], stride=128)
            x = (x[:, :129] ** 2 + x[:, 129:] ** 2).sqrt()
            x = F.conv1d(x, w["conv1.weight"], w["conv1.bias"], 1, 1).relu()
            x = F.conv1d(x, w["conv2.weight"], w["conv2.bias"], 2, 1).relu()
            x = F.conv1d(x, w["conv3.weight"], w["conv3.bias"], 2, 1).relu()
            x = F.conv1d(x, w["conv4.weight"], w["conv4.bias"], 1, 1).relu()
            state = cell(x.squeeze(-1), state)
            x = F.conv1d(state[0].unsqueeze(-1).relu(), w["final_conv.weight"], w["final_conv.bias"])
            wanted.append(float(x.sigmoid().mean()))
    assert speech_probability(sound) == pytest.approx(wanted, abs=1e-5) and 0.1 < np.mean(wanted) < 0.9
    assert len(speaks(sound[:1000])) == 1000 and len(speech_probability(sound[:0])) == 0


@pytest.mark.weights
def test_people_speak_where_they_speak_and_not_in_noise_silence_or_music():
    assert speaks(voice("obama_speech.wav")).mean() > 0.5
    for other in (noise(), hum(), 0 * noise(), chords()):
        assert speaks(other).mean() < 0.1
    half = np.concatenate([noise(1e-3), voice("obama_speech.wav", slice(1, 7))])
    spoken = speaks(half)
    assert spoken[: 8 * RATE].mean() < 0.05 and spoken[8 * RATE :].mean() > 0.5


# melspectrogram(n_fft=400, hop_length=160, n_mels=40) of librosa 0.11: every 80th window, every 13th band
LIBROSA = [
    [1.73116096e-05, 8.35428218e-05, 8.65772108e-07, 1.14735890e-07],
    [8.66601404e-05, 1.20311275e-01, 3.27796806e-05, 2.05744095e-06],
    [3.41105224e-05, 4.00049776e-01, 6.31608636e-05, 1.33725749e-07],
    [6.49654321e-05, 6.92951744e-06, 3.14390661e-07, 2.33622579e-08],
    [1.68786297e-04, 2.05092165e-05, 1.47227274e-05, 1.84785778e-04],
]


def test_mel_power_is_librosas():
    sound = read_wav(samples.default_folder() / "voices/silero_test.wav")[:51200]
    ours = mel_power(sound)
    assert ours.shape == (321, 40)
    assert ours[::80, ::13] == pytest.approx(np.array(LIBROSA), rel=1e-3)


@pytest.mark.weights
def test_one_voice_is_one_voice_and_two_are_two():
    one, other = voice("obama_speech.wav"), read_wav(samples.default_folder() / "voices/silero_test.wav")
    one = one[speaks(one)][: 4 * RATE]
    other = other[speaks(other)][: 4 * RATE]
    other *= np.sqrt(np.mean(one**2) / np.mean(other**2))
    assert other_voice_fraction(one) == 0
    assert other_voice_fraction(np.concatenate([one, other[: 2 * RATE]])) == pytest.approx(1 / 3, abs=0.15)
    assert other_voice_fraction(one[: int(1.2 * RATE)]) is None
    quiet = voice_embeddings(one * 0.001)
    assert np.sum(quiet * voice_embeddings(one), axis=1).min() > 0.99  # loudness says nothing about who it is
