"""Long takes are parted where the voice pauses and the head is still; lengths and coverage hold whatever goes on."""

import tracemalloc
import wave

import numpy as np
import pytest

from emo_model import samples
from emo_model.data import media
from emo_model.data.config import DataConfig
from emo_model.data.pauses import effort, parted
from emo_model.data.tracks import Faces, pieces
from tests.model.data.films import film, numbered

FPS, CONFIG = 25, DataConfig()


def faces(cost: np.ndarray) -> Faces:
    count = len(cost)
    box = np.tile([200.0, 150, 300, 270], (count, 1))
    return Faces(
        np.arange(count) / FPS, count / FPS, box, np.zeros(count), (640, 480), np.zeros(count, bool), np.asarray(cost)
    )


def test_a_take_is_parted_at_its_one_pause() -> None:
    cost = np.ones(20 * FPS)
    cost[8 * FPS : 8 * FPS + 5] = 0.0
    first, second = pieces(faces(cost), 0, len(cost), CONFIG)
    assert 8.0 <= second[1] < 8.2 and first == (0, 0.0, second[1]) and second[2] == 20.0


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("seconds", [12.04, 17.0, 24.0, 61.3, 600.0])
def test_parts_keep_their_bounds_and_cover_every_frame(seed: int, seconds: float) -> None:
    cost = np.random.default_rng(seed).uniform(0, 1.5, round(seconds * FPS))
    parts = pieces(faces(cost), 0, len(cost), CONFIG)
    lengths = np.array([stop - start for _, start, stop in parts])
    assert (lengths > CONFIG.min_clip_s - 1e-6).all() and (lengths < CONFIG.max_clip_s + 1e-6).all()
    assert [start for _, start, _ in parts[1:]] == [stop for _, _, stop in parts[:-1]]
    assert parts[0][1] == 0.0 and parts[-1][2] == pytest.approx(seconds, abs=1 / FPS)
    assert parts == pieces(faces(cost), 0, len(cost), CONFIG)


def test_where_no_parts_are_long_enough_the_take_is_split_evenly() -> None:
    narrow = DataConfig(min_clip_s=10, max_clip_s=12)
    assert parted(np.arange(15 * FPS) / FPS, 15.0, np.zeros(15 * FPS), 10, 12) == []
    assert [round(part[1], 2) for part in pieces(faces(np.zeros(15 * FPS)), 0, 15 * FPS, narrow)] == [0.0, 7.48]


def test_without_sound_the_still_moment_counts_and_without_a_face_none() -> None:
    times, nothing = np.arange(500) / FPS, np.full(500, np.nan)
    movement = np.ones(500)
    movement[230:270] = 0.0
    assert 231 <= int(effort(times, nothing, movement).argmin()) <= 268
    movement[230:270] = np.nan
    assert effort(times, nothing, movement)[230:270].min() > effort(times, nothing, movement)[:200].max()


def test_steady_noise_has_no_pauses() -> None:
    times, noise = np.arange(500) / FPS, -30 + np.random.default_rng(0).normal(size=500)
    assert not effort(times, noise, np.zeros(500)).any()


def test_loudness_is_that_of_the_sound_around_each_frame(tmp_path) -> None:
    beep = np.where(np.abs(np.arange(48_000) / 16_000 - 1.5) < 0.25, 0.5, 0.0) * np.sin(np.arange(48_000) * 0.4)
    path = film(tmp_path / "beep.mp4", numbered(75), sound=beep.astype(np.float32))
    loud = media.loudness(path, np.arange(75) / FPS)
    assert loud[36:40] == pytest.approx(20 * np.log10(0.5 / 2**0.5), abs=0.5)
    assert loud[:25].max() < -50 and loud[50:].max() < -50
    assert np.isnan(media.loudness(film(tmp_path / "mute.mp4", numbered(25)), np.arange(25) / FPS)).all()


def test_a_clock_that_jumps_by_weeks_costs_no_memory(tmp_path) -> None:
    path = film(tmp_path / "beep.mp4", numbered(75), sound=np.full(48_000, 0.5, np.float32))
    tracemalloc.start()
    loud = media.loudness(path, np.append(np.arange(75) / FPS, 4e6))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert np.isfinite(loud[:70]).all() and np.isnan(loud[-1]) and peak < 50e6


def test_parts_of_a_real_voice_begin_in_pauses_far_more_often_than_even_ones(tmp_path) -> None:
    """A minute of speech, every stretch of 20 to 56 s of it: a pause is 20 dB below the loud tenth of the voice."""
    voice = samples.default_folder() / "voices/silero_test.wav"
    if not voice.exists():
        pytest.skip("run: emo samples get")
    with wave.open(str(voice)) as file:
        sound = np.frombuffer(file.readframes(file.getnframes()), "<i2") / np.float32(32768)
    count = len(sound) * FPS // 16_000
    path = film(tmp_path / "voice.mp4", numbered(count), sound=sound)
    times = np.arange(count) / FPS
    cost = effort(times, media.loudness(path, times), np.zeros(count))
    around = [sound[max(0, round((t - 0.1) * 16_000)) : round((t + 0.1) * 16_000)] for t in times]
    level = 20 * np.log10([np.sqrt(np.mean(near**2)) + 1e-6 for near in around])
    pause = level < np.percentile(level, 90) - 20
    ours, even = [], []
    for seconds in range(20, 57, 4):
        for begin in range(0, count - seconds * FPS, 2 * FPS):
            end = begin + seconds * FPS
            ours += [pause[first] for first, _, _ in pieces(faces(cost), begin, end, CONFIG)[1:]]
            even += [pause[first] for first, _, _ in pieces(faces(0 * cost), begin, end, CONFIG)[1:]]
    print(f"in a pause: {np.mean(ours):.0%} of {len(ours)} parts, {np.mean(even):.0%} of even ones")
    assert np.mean(ours) > 0.9 and np.mean(even) < 0.5
