"""The voice in the file: every sample where it was, from any file with sound; and what is no voice, in one line."""

from pathlib import Path

import av
import numpy as np
import pytest

from emo_model.errors import UserError
from emo_model.generate import mp4
from emo_model.generate.sound import read_sound
from tests.model.clips_on_disk import write_video
from tests.model.generate.small import frames_of, write_samples

SIZE = 32
BEEPS = (0.4, 3.9666, 4.0, 9.2, 10.9)  # seconds; around the joint of two films at 4 s, and near the end
LASTS = 11.03  # no whole number of frames, nor of AAC's


def beeps(rate: int, seconds: float = LASTS) -> np.ndarray:
    """(N, 1) int16: silence, and a sharp beep of 10 ms at each of BEEPS."""
    samples = np.zeros(round(seconds * rate))
    tone = 20000 * np.sin(2 * np.pi * 1500 * np.arange(rate // 100) / rate)
    for at in BEEPS:
        if at < seconds:
            samples[round(at * rate) :][: len(tone)] += tone
    return samples[:, None]


def flashes(frames: int) -> list[np.ndarray]:
    """A white frame where a beep begins, black ones elsewhere."""
    white = {int(at * 30) for at in BEEPS}
    return [np.full((SIZE, SIZE, 3), 255 * (number in white), np.uint8) for number in range(frames)]


def written(folder: Path, rate: int, made: dict | None = None) -> tuple[Path, np.ndarray]:
    """A video of flashes and beeps out of films of 120 frames, and the beeps."""
    samples = beeps(rate)
    sound = read_sound(write_samples(folder / "beeps.wav", samples, rate))
    pictures, films = flashes(sound.frames), []
    for first in range(0, len(pictures), 120):
        films.append(folder / f"film-{first}.mp4")
        mp4.write_film(films[-1], pictures[first : first + 120])
    mp4.join(folder / "out.mp4", films, sound, made or {})
    return folder / "out.mp4", samples[:, 0] / 32768


@pytest.mark.parametrize("rate", [48000, 44100, 16000, 8000])
def test_beeps_are_where_they_were_to_the_sample_and_flashes_to_the_frame(tmp_path, rate):
    out, original = written(tmp_path, rate)
    with av.open(out) as container:
        video, voice = container.streams.video[0], container.streams.audio[0]
        assert voice.start_time == 0
        assert float(voice.duration * voice.time_base) == len(original) / rate  # to the sample
        assert (video.start_time, float(video.duration * video.time_base)) == (0, 331 / 30)
        heard = np.concatenate([frame.to_ndarray() for frame in container.decode(audio=0)], axis=1)[0]
    for at in BEEPS:
        near = slice(round(at * rate) - rate // 50, round(at * rate) + rate // 50)
        lags = range(-30, 31)
        alike = [np.dot(original[near], heard[near.start + lag : near.stop + lag]) for lag in lags]
        assert lags[int(np.argmax(alike))] == 0
    bright = np.flatnonzero(frames_of(out).mean((1, 2, 3)) > 128)
    assert bright.tolist() == sorted({int(at * 30) for at in BEEPS})


def test_a_rate_that_aac_lacks_is_brought_to_one_it_has_in_the_same_time(tmp_path):
    out, original = written(tmp_path, 44101)
    with av.open(out) as container:
        voice = container.streams.audio[0]
        assert voice.rate == 48000
        assert float(voice.duration * voice.time_base) == pytest.approx(len(original) / 44101, abs=1e-4)
        heard = np.concatenate([frame.to_ndarray() for frame in container.decode(audio=0)], axis=1)[0]
    for at in BEEPS:
        loud = np.flatnonzero(np.abs(heard[round((at - 0.02) * 48000) :]) > 0.2)[0] / 48000 - 0.02
        assert loud == pytest.approx(0, abs=2e-3)


def test_films_joined_are_the_pictures_of_one_film(tmp_path):
    """Nothing is lost, doubled or moved where they meet, and every film begins with a picture of its own."""
    out, _ = written(tmp_path, 16000)
    with av.open(out) as container:
        times, keys = zip(*((frame.time, frame.key_frame) for frame in container.decode(video=0)), strict=True)
    assert times == pytest.approx(np.arange(331) / 30, abs=1e-6)
    assert {0, 120, 240} <= set(np.flatnonzero(keys).tolist())


ENCODED = [
    ("voice.mp3", "libmp3lame"), ("voice.m4a", "aac"), ("voice.flac", "flac"), ("voice.webm", "libopus"),
    ("voice.ogg", "libopus"), ("voice.mkv", "ac3"), ("voice.wav", "pcm_s24le"), ("voice.aiff", "pcm_s16be"),
]  # fmt: skip


@pytest.mark.parametrize(("name", "codec"), ENCODED)
def test_any_file_with_sound_is_read_from_its_first_sample(tmp_path, name, codec):
    rate = 48000
    samples = (beeps(rate, 2.0)[:, 0] / 32768).astype(np.float32)
    with av.open(str(tmp_path / name), "w") as container:
        stream = container.add_stream(codec, rate, layout="stereo")
        frame = av.AudioFrame.from_ndarray(np.stack([samples, samples]), format="fltp", layout="stereo")
        frame.rate, frame.pts = rate, 0
        resampler = av.AudioResampler(format=stream.format.name, layout="stereo", rate=rate)
        for piece in [*resampler.resample(frame), *resampler.resample(None)]:
            container.mux(stream.encode(piece))
        container.mux(stream.encode(None))
    sound = read_sound(tmp_path / name)
    heard = next(sound.blocks())[0]
    near = np.flatnonzero(np.abs(heard) > 0.2)[0] / rate
    assert near == pytest.approx(BEEPS[0], abs=1e-3) and sound.channels == 2
    assert 2.0 <= sound.length / rate < 2.06 and sound.frames in (60, 61)  # some codecs pad their last block


def test_the_beginning_of_a_sound_is_a_sound(tmp_path):
    sound = read_sound(write_samples(tmp_path / "a.wav", beeps(8000), 8000)).first(2.5)
    assert sound.length == 20000 and sum(block.shape[1] for block in sound.blocks()) == 20000
    assert len(sound.mono_16k()) == 40000 and sound.frames == 75
    assert sound.first(9).length == 20000


def test_51_becomes_stereo_and_a_mono_file_stays_one(tmp_path):
    with av.open(str(tmp_path / "six.wav"), "w") as container:
        stream = container.add_stream("pcm_s16le", 16000, layout="5.1")
        frame = av.AudioFrame.from_ndarray(np.full((1, 6 * 16000), 8000, np.int16), format="s16", layout="5.1")
        frame.rate = 16000
        container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    assert read_sound(tmp_path / "six.wav").channels == 2
    assert next(read_sound(write_samples(tmp_path / "one.wav", beeps(8000), 8000)).blocks()).shape[0] == 1


def refusal(path: Path) -> str:
    with pytest.raises(UserError) as error:
        read_sound(path)
    assert "\n" not in str(error.value) and path.name in str(error.value)
    return str(error.value)


def test_what_is_no_sound_is_refused_in_a_line_each(tmp_path):
    assert "no sound file" in refusal(tmp_path / "none.wav")
    assert "no sound file" in refusal(tmp_path)
    (tmp_path / "empty.wav").write_bytes(b"")
    assert "cannot be read" in refusal(tmp_path / "empty.wav")
    write_video(tmp_path / "mute.mp4", 10)
    assert "has no sound" in refusal(tmp_path / "mute.mp4")
    assert "holds no sound" in refusal(write_samples(tmp_path / "nothing.wav", np.zeros((0, 1)), 16000))


@pytest.mark.parametrize("wrong", [np.nan, np.inf])
def test_samples_that_are_no_numbers_are_found_wherever_they_are(tmp_path, wrong):
    samples = np.zeros(16000 * 3, np.float32)
    samples[40000] = wrong
    with av.open(str(tmp_path / "nan.wav"), "w") as container:
        stream = container.add_stream("pcm_f32le", 16000, layout="mono")
        frame = av.AudioFrame.from_ndarray(samples[None], format="flt", layout="mono")
        frame.rate = 16000
        container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    assert "no numbers, the first at 2.500 s" in refusal(tmp_path / "nan.wav")
