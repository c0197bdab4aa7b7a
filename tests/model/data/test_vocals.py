"""Vocal separation: a function of the user's between stored sound and encoder, and what happens when it is bad."""

import numpy as np
import pytest
from scipy.signal import butter, sosfiltfilt

from emo_model.data import audio
from emo_model.data.audio import AUDIO_FEATURES, read_wav
from emo_model.data.audio_encoders import Encoder
from emo_model.data.config import DataConfig
from emo_model.data.shards import run_step
from emo_model.data.vocals import separator
from emo_model.errors import UserError

from .test_labels import LABELS, SOUND, prepared

HERE = __name__


def telephone(samples, rate):
    """300 to 3400 Hz: a small real separator."""
    return sosfiltfilt(butter(4, (300, 3400), "bandpass", fs=rate, output="sos"), samples)


def half_as_long(samples, rate):
    return samples[::2]


def not_finite(samples, rate):
    return samples * np.nan


LEVEL = Encoder("level", "none", 1, 1, "", lambda samples, frames: np.full((frames, 1, 1), np.abs(samples).mean()))


def test_the_voice_is_taken_out_before_the_encoder_and_the_stored_sound_stays(tmp_path, monkeypatch):
    monkeypatch.setattr(audio, "load_encoder", lambda: LEVEL)
    monkeypatch.setattr(audio, "encoder_identity", lambda: ("level", ""))
    rumble = 0.1 * np.sin(2 * np.pi * 60 * np.arange(len(SOUND)) / 16000)
    root = prepared(tmp_path, sound=SOUND + rumble.astype(np.float32))
    run_step(AUDIO_FEATURES, root, "s0000")
    [plain, _] = root.read("audio").to_pylist()
    sound = (root.path / root.read("clip_audio").to_pylist()[0]["path"]).read_bytes()
    before = np.load(root.path / plain["path"])
    assert plain["vocals"] is None

    DataConfig(vocals=f"{HERE}:telephone").save(root)
    assert {step.name: run_step(step, root, "s0000").done for step in (*LABELS[:3], AUDIO_FEATURES)} == {
        "head_pose": 0, "head_speed": 0, "clip_audio": 0, "audio_features": 1,
    }  # fmt: skip
    [separated, _] = root.read("audio").to_pylist()
    stored = root.read("clip_audio").to_pylist()[0]["path"]
    assert separated["vocals"] == f"{HERE}:telephone" and separated["sha256"] != plain["sha256"]
    wanted = np.abs(telephone(read_wav(root.path / stored), 16000)).mean()
    assert np.load(root.path / separated["path"])[0, 0, 0] == pytest.approx(wanted, rel=1e-2)
    assert before[0, 0, 0] > 2 * wanted
    assert (root.path / stored).read_bytes() == sound
    assert run_step(AUDIO_FEATURES, root, "s0000").done == 0


def test_landmarks_depend_neither_on_it_nor_on_whether_the_numbers_were_saved(tmp_path):
    from emo_model.data import faces

    root = prepared(tmp_path)
    before = [item.inputs for item in faces.STEP.items(root, "s0000")]
    DataConfig(vocals="a:b").save(root)
    assert before and [item.inputs for item in faces.STEP.items(root, "s0000")] == before


@pytest.mark.parametrize("name", ["no.such.module:f", f"{HERE}:no_such_function"])
def test_a_function_that_is_not_there_is_one_line_before_any_work(tmp_path, name):
    with pytest.raises(UserError, match="cannot be imported"):
        separator(name)
    root = prepared(tmp_path)
    DataConfig(vocals=name).save(root)
    with pytest.raises(UserError, match="data_config.json"):
        run_step(AUDIO_FEATURES, root, "s0000")
    assert root.read("audio").num_rows == 0


@pytest.mark.parametrize("function", [half_as_long, not_finite])
def test_an_answer_that_is_no_sound_of_the_same_length_is_refused(function):
    with pytest.raises(UserError, match="48000 finite float samples"):
        separator(f"{HERE}:{function.__name__}")(np.ones(48000, np.float32), 16000)


def test_only_module_and_function_can_be_named():
    for bad in ("rm -rf /", "module", "a:b; c"):
        with pytest.raises(ValueError, match="vocals"):
            DataConfig(vocals=bad)
