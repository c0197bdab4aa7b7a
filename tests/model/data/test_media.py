"""Files in and out: honest times, sound on the video's clock, what makes a file unusable, the same bytes again."""

import numpy as np
import pytest
from av.video.frame import PictureType

from emo_model.data import media
from emo_model.data.media import SAME_S, MediaError
from tests.model.data.films import clicks, film, number_of, numbered


def _times(path) -> np.ndarray:
    return np.array([time for time, _ in media.frames(path)])


def _heard_at(sound: np.ndarray, near_s: float, start_s: float = 0.0) -> float:
    """Seconds at which a click is heard: the peak of its envelope, by correlation with the click itself."""
    click = clicks([0.02], 0.04)
    begin = round((near_s - start_s - 0.1) * 16_000)
    part = sound[begin : begin + 3200]
    return start_s + (begin + np.correlate(part, click, "valid").argmax()) / 16_000 + 0.02


def test_frames_come_in_order_with_their_own_times_and_colours(tmp_path):
    path = film(tmp_path / "a.mp4", numbered(30))
    assert [number_of(picture) for _, picture in media.frames(path)] == list(range(30))
    np.testing.assert_allclose(_times(path), np.arange(30) / 25, atol=1e-4)
    red = np.zeros((64, 64, 3), np.uint8)
    red[..., 0] = 200
    _, shown = next(media.frames(film(tmp_path / "red.mp4", [red] * 3)))
    np.testing.assert_allclose(shown.mean(axis=(0, 1)), (200, 0, 0), atol=6)


def test_uneven_frame_times_are_kept_and_named_so(tmp_path):
    times = [0.0, 0.04, 0.2, 0.21, 0.5]
    path = film(tmp_path / "vfr.mp4", numbered(5), times=times)
    np.testing.assert_allclose(_times(path), times, atol=1e-4)
    assert media.probe(path).is_vfr
    assert not media.probe(film(tmp_path / "cfr.mp4", numbered(5))).is_vfr


def test_a_rate_that_milliseconds_cannot_hold_is_not_called_uneven(tmp_path):
    path = film(tmp_path / "ntsc.mkv", numbered(40), fps=30000 / 1001)
    found = media.probe(path)
    assert not found.is_vfr
    assert found.fps == pytest.approx(30000 / 1001, rel=1e-2)


def test_the_clock_starts_at_the_first_picture_though_sound_starts_eight_seconds_before(tmp_path):
    path = film(tmp_path / "late.mp4", numbered(50), start_s=8.33, sound=clicks([9.0, 9.5], 11.0))
    found = media.probe(path)
    assert (found.video_start_s, found.audio_start_s) == pytest.approx((8.33, 0.0), abs=1e-3)
    assert _times(path)[0] == 0
    sound = media.audio(path, 0.0, 2.0)
    assert _heard_at(sound, 9.0 - 8.33) == pytest.approx(9.0 - 8.33, abs=1.5 / 16_000)


@pytest.mark.parametrize("rate", [16_000, 44_100, 48_000])
@pytest.mark.parametrize("suffix", ["mp4", "mkv"])
def test_sound_is_where_it_was_within_one_sample_after_codec_and_resampling(tmp_path, rate, suffix):
    at = [0.5, 3.2, 6.3]
    path = film(tmp_path / f"a.{suffix}", numbered(175), sound=clicks(at, 7.0, rate), rate=rate)
    sound = media.audio(path, 0.0, 7.0)
    assert sound.shape == (112_000,) and sound.dtype == np.float32
    assert [_heard_at(sound, time) for time in at] == pytest.approx(at, abs=1.01 / 16_000)
    later = media.audio(path, 5.9, 7.0)  # found by seeking
    assert _heard_at(later, 6.3, start_s=5.9) == pytest.approx(6.3, abs=1.01 / 16_000)
    np.testing.assert_allclose(later, sound[94_400:], atol=2e-3)


def test_where_the_sound_has_ended_there_is_silence_of_the_right_length(tmp_path):
    path = film(tmp_path / "short.mp4", numbered(75), sound=clicks([0.5], 1.0))
    sound = media.audio(path, 0.0, 3.0)
    assert len(sound) == 48_000
    assert np.abs(sound[20_000:]).max() == 0
    with pytest.raises(ValueError, match="no audio stream"):
        media.audio(film(tmp_path / "mute.mp4", numbered(3)), 0.0, 0.1)


def test_empty_text_and_broken_files_say_what_they_are(tmp_path):
    whole = film(tmp_path / "whole.mp4", numbered(50)).read_bytes()
    index_first = film(tmp_path / "first.mp4", numbered(50), movflags="+faststart").read_bytes()
    cases = {
        "empty.mp4": (b"", "empty_file"),
        "text.mp4": (b"these are words\n" * 200, "unreadable"),
        "noise.mp4": (np.random.default_rng(0).bytes(9000), "unreadable"),
        "no_index.mp4": (whole[: len(whole) * 2 // 3], "truncated"),
        "cut_off.mp4": (index_first[: len(index_first) - 700], "truncated"),
    }
    for name, (data, reason) in cases.items():
        (tmp_path / name).write_bytes(data)
        with pytest.raises(MediaError) as caught:
            media.probe(tmp_path / name)
        assert caught.value.reason == reason, name
    assert media.probe(tmp_path / "first.mp4").duration_s == pytest.approx(2.0)


def test_sound_alone_is_no_video(tmp_path):
    import wave

    path = tmp_path / "sound.mp4"
    with wave.open(str(path), "wb") as file:
        file.setparams((1, 2, 16_000, 0, "NONE", ""))
        file.writeframes(bytes(3200))
    with pytest.raises(MediaError) as caught:
        media.probe(path)
    assert caught.value.reason == "unreadable"


def test_a_name_with_a_colon_spaces_and_other_letters_opens(tmp_path):
    path = film(tmp_path / "plain.mp4", numbered(3))
    odd = path.rename(tmp_path / 'ein: "schöner" Tag\'s 名前 %03d.mp4')
    assert len(_times(odd)) == 3
    assert media.probe(odd).width == 64


def test_what_is_written_is_read_back_with_its_sound_and_twice_the_same_bytes(tmp_path):
    sound = clicks([0.7], 2.0)
    for name in ("a.mp4", "b.mp4"):
        assert media.write_video(tmp_path / name, numbered(60), 30, (64, 64), sound) == 60
    assert (tmp_path / "a.mp4").read_bytes() == (tmp_path / "b.mp4").read_bytes()
    assert [number_of(picture) for _, picture in media.frames(tmp_path / "a.mp4")] == list(range(60))
    np.testing.assert_allclose(_times(tmp_path / "a.mp4"), np.arange(60) / 30, atol=1e-4)
    assert _heard_at(media.audio(tmp_path / "a.mp4", 0, 2), 0.7) == pytest.approx(0.7, abs=1.01 / 16_000)


def test_every_group_of_a_written_video_is_closed_and_at_most_15_frames(tmp_path):
    media.write_video(tmp_path / "a.mp4", numbered(100), 30, (64, 64))
    frames = [frame.decoded for frame in media.decode(tmp_path / "a.mp4")]
    keys = [number for number, frame in enumerate(frames) if frame.key_frame]
    assert max(np.diff([*keys, len(frames)])) <= 15
    assert not any(frame.pict_type == PictureType.B for frame in frames)


def test_the_picture_on_screen_is_the_last_one_not_after_the_time():
    times = np.array([0.0, 0.04, 0.08])
    at = np.array([0.0, 0.039, 0.04 - 1e-9, 0.0400001, 0.3, -1.0])
    assert media.shown_at(times, at).tolist() == [0, 0, 1, 1, 2, 0]


@pytest.mark.parametrize("fps", [24000 / 1001, 24, 25, 30000 / 1001, 30, 50, 60, 60000 / 1001])
def test_a_steady_rate_that_milliseconds_rounded_is_given_back_and_dropped_frames_stay_gaps(fps):
    true = np.delete(np.arange(5000), [7, *range(1000, 1040)]) / fps
    rounded = np.round(true + 0.0137, 3)
    assert media.unrounded(rounded - rounded[0]) == pytest.approx(true, abs=SAME_S)


def test_times_of_no_steady_rate_or_finer_than_milliseconds_are_left_as_they_are():
    uneven = np.round(np.cumsum(np.random.default_rng(0).uniform(0.02, 0.06, 300)), 3)
    for times in (uneven - uneven[0], np.arange(50) / 30 + np.tile([0, 2e-4], 25), np.zeros(1), np.array([0.0, 5.0])):
        np.testing.assert_array_equal(media.unrounded(times), times)
