"""Known answers for time: what was seen and heard together in the source is seen and heard together in its clip.

Every film is drawn on one clock. Its pictures say their own number, so each is a flash whose time is known; its sound
is silence but for beeps at known times. The steps face_clips and clip_audio cut a clip out of it, and each frame and
each beep of the clip must be what that clock had at start_s + j/30 and at start_s + k/16000.
"""

import os
import shutil
from fractions import Fraction
from functools import partial
from pathlib import Path

import av
import numpy as np
import pytest
from av.video.reformatter import Colorspace

from emo_model.data import clips, fetch, media, probe
from emo_model.data.audio import CLIP_AUDIO, read_wav
from emo_model.data.config import DataConfig
from emo_model.data.records import TABLES
from emo_model.data.shards import run_step
from emo_model.data.sources import add_folder
from emo_model.data.store import DataRoot, file_sha256, write_rows
from tests.model.data.films import clicks, film, number_of, numbered, turned

RATE = 16_000
SAMPLE_S = 1 / RATE
BEEPS = [0.5, 1.9, 3.3, 5.1]
LONG_S = 6.0
LONG = partial(pytest.param, marks=pytest.mark.long)


@pytest.fixture
def folder(tmp_path) -> Path:
    (tmp_path / "raw").mkdir()
    return tmp_path / "raw"


def cut(
    folder: Path, path: Path, first: int, frames: int, size: int = 64
) -> tuple[float, list[np.ndarray], np.ndarray]:
    """Offer a clip from source frame `first` on; its start_s, its pictures and its sound, as the steps wrote them."""
    root = DataRoot(folder / "data").create()
    DataConfig(crop_size=size).save(root)
    add_folder(root, path.parent)
    for step in (fetch.STEP, probe.STEP):
        run_step(step, root, "s0000")
    times = media.unrounded(np.array([frame.t_s for frame in media.decode(path)]))
    stamp = {"video_id": file_sha256(path), "shard": "s0000", "input_sha256": "x", "step_version": 1}
    box = [size / 4, size / 8, size * 3 / 4, size * 7 / 8]
    seen = [
        {"source_frame": number, "t_s": time, "shot": 0, "faces": 1, "box": box, **stamp}
        for number, time in enumerate(times)
    ]
    offer = {"clip_id": "clip", "shot": 0, "start_s": times[first], "end_s": times[first] + frames / 30}
    offer |= {"num_frames": frames, "crop_x": 0, "crop_y": 0, "crop_size": size, "min_face_px": size * 3 / 4}
    write_rows(root.part("landmarks", "s0000"), TABLES["landmarks"], seen)
    write_rows(root.part("proposals", "s0000"), TABLES["proposals"], [{**offer, **stamp}])
    for step in (clips.STEP, CLIP_AUDIO):
        assert run_step(step, root, "s0000").rejects == {}
    pictures = [picture for _, picture in media.frames(root.path / root.read("crops")["path"][0].as_py())]
    return float(times[first]), pictures, read_wav(root.path / root.read("clip_audio")["path"][0].as_py())


def heard(sound: np.ndarray, near_s: float) -> float:
    """Seconds at which a beep is heard, to a fraction of a sample: the top of the parabola on its correlation."""
    begin = max(0, round((near_s - 0.1) * RATE))
    match = np.correlate(sound[begin : begin + RATE // 5], clicks([0.02], 0.04), "valid").astype(float)
    top = int(match.argmax())
    before, peak, after = match[top - 1 : top + 2]
    return (begin + top + 0.5 * (before - after) / (before - 2 * peak + after)) / RATE + 0.02


def assert_in_time(
    folder: Path,
    path: Path,
    times: list[float],
    first: int,
    frames: int,
    zero_s: float = 0.0,
    within_s: float = SAMPLE_S,
) -> None:
    """The clip that starts with picture `first` shows and sounds what the source's clock has.

    `times` in seconds on that clock, of every picture drawn; those before `zero_s` are hidden by an edit list.
    """
    hidden = sum(time < zero_s for time in times)
    start_s, pictures, sound = cut(folder, path, first - hidden, frames)
    begin_s = times[first]
    assert start_s == pytest.approx(begin_s - times[hidden], abs=SAMPLE_S)
    on_screen = np.searchsorted(times, begin_s + np.arange(frames) / 30 + 2e-5, side="right") - 1
    assert [number_of(picture) for picture in pictures] == on_screen.tolist()
    inside = [beep - begin_s for beep in BEEPS if 0.1 < beep - begin_s < frames / 30 - 0.1]
    assert inside and len(sound) == round(frames / 30 * RATE)
    assert [heard(sound, beep) for beep in inside] == pytest.approx(inside, abs=within_s)


@pytest.mark.parametrize("suffix", ["mp4", LONG("mkv")])
@pytest.mark.parametrize("fps", [Fraction(24000, 1001), 24, 25, Fraction(30000, 1001), 30, 50, 60])
def test_every_frame_rate(tmp_path, folder, fps, suffix):
    count = min(250, int(LONG_S * fps))
    path = film(folder / f"a.{suffix}", numbered(count), fps=fps, sound=clicks(BEEPS, LONG_S, 48_000), rate=48_000)
    times = [float(number / fps) for number in range(count)]
    assert_in_time(tmp_path, path, times, first=5, frames=min(100, int(count / fps * 30) - 10))


UNEVEN = {
    "variable": np.cumsum(np.random.default_rng(0).choice([1 / 60, 1 / 30, 1 / 12], 120)).tolist(),
    "frames dropped at 25": [k / 25 for k in range(150) if k % 7 and k not in range(40, 52)],
    "frames dropped at 30": [k / 30 for k in range(180) if k % 5 != 2],
    "frames doubled": sorted([k / 25 for k in range(150)] + [k / 25 + 0.001 for k in range(10, 150, 10)]),
}


@pytest.mark.parametrize("suffix", ["mp4", LONG("mkv")])
@pytest.mark.parametrize("name", UNEVEN)
def test_uneven_and_missing_frames_keep_their_own_times(tmp_path, folder, name, suffix):
    times = np.round(np.array(UNEVEN[name]) - UNEVEN[name][0], 3 if name == "variable" else 9).tolist()
    path = film(folder / f"a.{suffix}", numbered(len(times)), times=times, sound=clicks(BEEPS, LONG_S))
    assert_in_time(tmp_path, path, times, first=6, frames=90)


APART = {  # pictures start, sound starts
    "pictures late": (0.832, 0.0),
    "sound late": (0.0, 0.3),
    "pictures cut by an edit list": (-0.4, 0.0),
    "both cut by edit lists": (-0.4, -0.6),
}


@pytest.mark.parametrize(("name", "suffix"), [*((name, "mp4") for name in APART), ("pictures late", "mkv")])
def test_streams_that_start_apart_and_edit_lists(tmp_path, folder, name, suffix):
    pictures_s, sound_s = APART[name]
    sound = clicks(np.array(BEEPS) - sound_s, LONG_S - sound_s)
    path = film(folder / f"a.{suffix}", numbered(150), sound=sound, start_s=pictures_s, sound_start_s=sound_s)
    times = [round(pictures_s + k / 25, 6) for k in range(150)]
    assert_in_time(tmp_path, path, times, first=20, frames=90)


@pytest.mark.parametrize("rate", [8_000, 11_025, *map(LONG, (22_050, 32_000, 48_000)), 44_100, 96_000])
def test_every_sample_rate(tmp_path, folder, rate):
    """From a picture that no sample of the source coincides with: rounding must not add up."""
    fps = Fraction(30000, 1001)
    path = film(folder / "a.mp4", numbered(170), fps=fps, sound=clicks(BEEPS, LONG_S, rate), rate=rate)
    assert_in_time(tmp_path, path, [float(k / fps) for k in range(170)], first=7, frames=120)


CODECS = {
    "mov": ("libx264", "pcm_s16le", SAMPLE_S),
    "ts": ("libx264", "aac", SAMPLE_S),
    "flv": ("libx264", "aac", SAMPLE_S),
    "mkv": ("libx264", "flac", SAMPLE_S),
    "mp4": ("libx265", "libmp3lame", SAMPLE_S),
    "webm": ("libvpx-vp9", "libopus", 0.001),  # 20 ms packets, rounded to a millisecond all alike: it cannot be undone
}


@pytest.mark.parametrize("suffix", CODECS)
def test_containers_and_codecs(tmp_path, folder, suffix):
    codec, sound_codec, within_s = CODECS[suffix]
    sound = clicks(BEEPS, LONG_S, 48_000)
    path = film(folder / f"a.{suffix}", numbered(150), sound=sound, rate=48_000, codec=codec, sound_codec=sound_codec)
    assert_in_time(tmp_path, path, [k / 25 for k in range(150)], first=8, frames=120, within_s=within_s)


def test_a_fragmented_mp4(tmp_path, folder):
    flags = "frag_keyframe+delay_moov"
    path = film(folder / "a.mp4", numbered(150), sound=clicks(BEEPS, LONG_S, 44_100), rate=44_100, movflags=flags)
    assert_in_time(tmp_path, path, [k / 25 for k in range(150)], first=8, frames=120)


# ---- where there is no sound ----


def test_sound_that_starts_late_or_ends_early_is_silence_there_and_in_time_elsewhere(tmp_path):
    late = film(tmp_path / "late.mp4", numbered(75), sound=clicks([0.5], 1.0), sound_start_s=1.0)
    sound = media.audio(late, 0.0, 3.0)
    assert len(sound) == 3 * RATE
    assert np.abs(sound[: RATE * 9 // 10]).max() == 0 == np.abs(sound[RATE * 23 // 10 :]).max()
    assert heard(sound, 1.5) == pytest.approx(1.5, abs=SAMPLE_S)


@pytest.mark.parametrize("suffix", ["mp4", "mkv", "flv", "ts"])
def test_sound_that_starts_seconds_late_is_found_from_any_time_on(tmp_path, suffix):
    """Matroska refuses to seek before the first packet; in TS nothing says the rate of sound that starts late."""
    beeps, late_s = [12.5, 13.5], 12.0
    rate = 16_000 if suffix == "mp4" else 44_100  # AAC starts 1024 samples before; edit lists count whole milliseconds
    sound = clicks(np.array(beeps) - late_s, 2.5, rate)
    path = film(tmp_path / f"late.{suffix}", numbered(350), sound=sound, sound_start_s=late_s, rate=rate)
    assert media.probe(path).audio_rate == rate
    for start_s in (0.0, 8.0, 11.5, 12.2):
        sound = media.audio(path, start_s, 14.0)
        inside = [beep for beep in beeps if beep > start_s + 0.1]
        assert [start_s + heard(sound, beep - start_s) for beep in inside] == pytest.approx(inside, abs=SAMPLE_S)
        assert np.abs(sound[: max(0, round((late_s - 0.1 - start_s) * RATE))]).max(initial=0) == 0


def test_sound_longer_than_the_pictures_is_cut(tmp_path, folder):
    path = film(folder / "a.mp4", numbered(75), sound=clicks(BEEPS, LONG_S))
    assert_in_time(tmp_path, path, [k / 25 for k in range(75)], first=0, frames=89)


def test_a_hole_in_the_sound_stays_a_hole(tmp_path):
    """Packets are lost: what follows keeps its place."""
    whole = film(tmp_path / "whole.mp4", numbered(150), sound=clicks(BEEPS, LONG_S))
    with av.open(str(whole)) as source, av.open(str(tmp_path / "hole.mp4"), "w") as out:
        streams = {stream.index: out.add_stream_from_template(stream) for stream in source.streams}
        for packet in source.demux():
            lost = packet.stream.type == "audio" and packet.size and 2.2 < packet.pts * packet.time_base < 3.0
            if packet.size and not lost:
                packet.stream = streams[packet.stream.index]
                out.mux(packet)
    sound = media.audio(tmp_path / "hole.mp4", 0.0, LONG_S)
    assert np.abs(sound[round(2.4 * RATE) : round(2.9 * RATE)]).max() == 0
    assert [heard(sound, beep) for beep in BEEPS] == pytest.approx(BEEPS, abs=SAMPLE_S)


# ---- channels and tracks ----


@pytest.mark.parametrize("channels", [1, 2, 6])
def test_channels_are_mixed_without_clipping(tmp_path, channels):
    loud = 0.99 / 0.8 * clicks([1.0], 2.0, 48_000)  # the same in every channel: the loudest a sum can be
    path = film(
        tmp_path / "a.mkv", numbered(50), sound=np.tile(loud, (channels, 1)), rate=48_000, sound_codec="pcm_f32le"
    )
    sound = media.audio(path, 0.0, 2.0)
    assert 0.95 < np.abs(sound).max() <= 1.0
    assert heard(sound, 1.0) == pytest.approx(1.0, abs=SAMPLE_S)


def test_the_voice_in_the_centre_counts_most_and_the_rumble_of_the_lfe_not_at_all(tmp_path):
    peaks = {}
    for name, channel in (("left", 0), ("centre", 2), ("lfe", 3), ("surround", 4)):
        six = np.zeros((6, 2 * RATE), np.float32)
        six[channel] = clicks([1.0], 2.0)
        path = film(tmp_path / f"{name}.mkv", numbered(50), sound=six, sound_codec="flac")
        peaks[name] = np.abs(media.audio(path, 0.0, 2.0)).max()
    assert peaks["centre"] > peaks["left"] > peaks["surround"] > peaks["lfe"] == 0
    assert peaks["centre"] / peaks["left"] == pytest.approx(2**0.5, rel=1e-3)


@pytest.mark.parametrize(
    ("suffix", "defaults", "expected"), [("ts", (), 0.5), ("mp4", (0,), 0.5), ("mp4", (1,), 1.5), ("mp4", (0, 1), 0.5)]
)
def test_of_several_sound_tracks_the_first_default_one_is_heard_else_the_first(tmp_path, suffix, defaults, expected):
    """Even where a later one has more bits a second, which libav's own choice would take."""
    rng = np.random.default_rng(0)
    dull, rich = clicks([0.5], 2.0), clicks([1.5], 2.0) + 0.02 * rng.standard_normal(2 * RATE).astype(np.float32)
    path = film(tmp_path / f"a.{suffix}", numbered(50), sound=[dull, rich], default_sounds=defaults)
    assert np.abs(media.audio(path, 0.0, 2.0)).argmax() / RATE == pytest.approx(expected, abs=0.01)


def test_a_broadcast_that_changes_from_mono_to_stereo_is_heard_to_its_end(tmp_path):
    before = film(tmp_path / "1.ts", numbered(50), sound=clicks([0.5], 2.0), sound_codec="mp2")
    stereo = np.tile(clicks([0.5], 2.0), (2, 1))
    begin = {"start_s": 2.08, "sound_start_s": 2.08}  # the first file's pictures begin at 0.08, as B frames have it
    after = film(tmp_path / "2.ts", numbered(50), sound=stereo, sound_codec="mp2", **begin)
    (tmp_path / "both.ts").write_bytes(before.read_bytes() + after.read_bytes())
    sound = media.audio(tmp_path / "both.ts", 0.0, 4.0)
    assert [heard(sound, beep) for beep in (0.5, 2.5)] == pytest.approx([0.5, 2.5], abs=SAMPLE_S)


# ---- pictures ----


@pytest.mark.parametrize("degrees", [90, 180, 270])
def test_a_turned_camera_gives_upright_pictures(tmp_path, degrees):
    """White top left, grey top right, dark below, as they are stored."""
    stored = np.zeros((64, 128, 3), np.uint8)
    stored[:32, :64], stored[:32, 64:], stored[32:] = 255, 128, 20
    path = film(tmp_path / "a.mp4", [stored] * 4)
    turned(path, degrees)
    found, (_, picture) = media.probe(path), next(media.frames(path))
    expected = np.rot90(stored, -degrees // 90)
    assert (found.rotation, found.height, found.width) == (degrees, *expected.shape[:2])
    assert picture.shape == expected.shape and picture.flags.c_contiguous
    assert np.median(np.abs(picture.astype(int) - expected)) <= 2


BT709, BT2020 = 1, 9  # matrix and primaries
TRANSFERS = {"10 bit": 1, "HLG": 18, "PQ": 16}


def ramp(path: Path, transfer: int, colours: int) -> Path:
    """A horizontal grey ramp, black to white, in 10 bit HEVC with its colours named."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx265", rate=25, options={"crf": "4", "x265-params": "log-level=none"})
        stream.width, stream.height, stream.pix_fmt = 256, 64, "yuv420p10le"
        context = stream.codec_context
        context.colorspace = context.color_primaries = colours
        context.color_trc, context.color_range = transfer, 1
        grey = np.tile(np.linspace(64, 940, 256).round().astype(np.uint16), (64, 1))
        for number in range(3):
            frame = av.VideoFrame.from_ndarray(
                np.concatenate([grey, np.full((32, 256), 512, np.uint16)]), "yuv420p10le"
            )
            frame.colorspace = frame.color_primaries = colours
            frame.color_trc, frame.color_range = transfer, 1
            frame.pts, frame.time_base = number, Fraction(1, 25)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


@pytest.mark.parametrize("name", TRANSFERS)
def test_a_grey_ramp_of_10_bits_or_high_dynamic_range_stays_grey_rising_and_uncrushed(tmp_path, name):
    path = ramp(tmp_path / "a.mp4", TRANSFERS[name], BT709 if name == "10 bit" else BT2020)
    _, picture = next(media.frames(path))
    assert np.ptp(picture.astype(int), axis=2).max() <= 3  # grey
    levels = picture[16:48].mean(axis=(0, 2))
    assert (np.diff(levels) > -0.75).all() and (np.diff(levels[::8]) > 0.5).all()  # rising; noise of the codec aside
    assert levels[0] < 3 and levels[-1] > 252
    if name == "PQ":  # 203 nits, a sheet of white paper, is code 0.58
        assert 170 < levels[148] < 210
    else:
        assert levels[128] == pytest.approx(128, abs=3)


@pytest.mark.parametrize("named", [Colorspace.ITU709, Colorspace.ITU601, Colorspace.BT2020, None])
def test_colours_are_read_by_the_matrix_that_the_file_names_else_by_bt_601(tmp_path, named):
    matrix = Colorspace.ITU601 if named is None else named
    skin = np.broadcast_to(np.array([200, 120, 90], np.uint8), (64, 64, 3))
    with av.open(str(tmp_path / "a.mp4"), "w") as container:
        stream = container.add_stream("libx264", rate=25, options={"crf": "4"})
        stream.width, stream.height, stream.pix_fmt = 64, 64, "yuv420p"
        if named is not None:
            stream.codec_context.colorspace = {Colorspace.ITU709: 1, Colorspace.ITU601: 6, Colorspace.BT2020: 9}[named]
        picture = av.VideoFrame.from_ndarray(np.ascontiguousarray(skin), "rgb24")
        frame = picture.reformat(format="yuv420p", dst_colorspace=matrix)
        frame.pts, frame.time_base = 0, Fraction(1, 25)
        container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    _, shown = next(media.frames(tmp_path / "a.mp4"))
    assert shown.mean(axis=(0, 1)) == pytest.approx([200, 120, 90], abs=3)


# ---- real footage ----


def test_real_footage_whose_pictures_start_eight_seconds_after_its_sound(tmp_path):
    """moore_talkinghead_2.mp4 of MooreThreads/Moore-AnimateAnyone, in the folder that EMO_DEVELOPMENT_VIDEOS names.

    The clip's sound against a decode of the whole file, placed by its timestamps alone and resampled by FFT.
    """
    from scipy.signal import correlate, resample

    name = "moore_talkinghead_2.mp4"
    source = Path(os.environ.get("EMO_DEVELOPMENT_VIDEOS", ".")) / name
    if not source.exists():
        pytest.skip(f"{name} is not in the folder that EMO_DEVELOPMENT_VIDEOS names")
    (tmp_path / "raw").mkdir()
    path = Path(shutil.copy(source, tmp_path / "raw"))
    start_s, pictures, sound = cut(tmp_path, path, first=10, frames=90)
    with av.open(str(path)) as container:
        shown = [frame for frame in container.decode(video=0)][10]
        assert media.probe(path).video_start_s == pytest.approx(8.333, abs=1e-3)
        expected = shown.to_ndarray(format="rgb24")[:64, :64]
    assert np.abs(pictures[0].astype(int) - expected).mean() < 4
    with av.open(str(path)) as container:
        stream = container.streams.audio[0]
        native = np.zeros((int(stream.duration * stream.time_base) + 2) * stream.rate)
        for frame in container.decode(stream):
            at, samples = round(frame.time * stream.rate), frame.to_ndarray().mean(axis=0)
            native[at : at + len(samples)] = samples
        begin = round(float(shown.time) * stream.rate)
        independent = resample(native[begin : begin + 3 * stream.rate], 3 * RATE)
    match = correlate(sound, independent)
    top = int(match.argmax())
    before, peak, after = match[top - 1 : top + 2]
    lag = top - (3 * RATE - 1) + 0.5 * (before - after) / (before - 2 * peak + after)
    assert start_s == pytest.approx(shown.time - 8.333, abs=1e-3) and abs(lag) < 1
    assert peak / np.linalg.norm(sound) / np.linalg.norm(independent) > 0.99
