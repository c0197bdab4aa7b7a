"""Precision and recall of the sound scores (`scores.py`), counted on sounds whose truth is known.

    python benchmarks/scores_sound.py

Speech is the samples' and, where EMO_DEVELOPMENT_VIDEOS names a folder, that of its videos and of `../audio`; music is
two instrumental pieces out of arcade and a loop out of pygame, fetched once; noise, hum and the mixtures are made here.
A clip is 8 s. Prints what share of each kind of clip a score's line marks, then precision and recall, then the cost.
"""

import contextlib
import os
import time
from collections.abc import Iterator
from itertools import permutations
from pathlib import Path

import duckdb
import numpy as np
import pyarrow as pa

from emo_model import samples
from emo_model.data.scores import SCORES
from emo_model.data.sound import sound_scores
from emo_model.errors import UserError
from emo_model.generate.sound import read_sound
from emo_model.packages import Package, PackagedFile, bring

RATE, SECONDS = 16_000, 8
LENGTH = RATE * SECONDS
COUNTED = ("speech_fraction", "music_fraction", "other_voice_fraction")
MUSIC = {
    "1918.mp3": (
        PackagedFile(Package("arcade", "3.3.3"), ("arcade/resources/assets/music/1918.mp3",)),
        "5ea4cebdb521ed9310398e835fb05e0a532abde7bb8426da800b6bfa5a15f6fe",
    ),
    "funkyrobot.mp3": (
        PackagedFile(Package("arcade", "3.3.3"), ("arcade/resources/assets/music/funkyrobot.mp3",)),
        "4d048536f8c3ed539c38ac9a9bf844858914d4d11a0bd22822c273e46062d918",
    ),
    "house_lo.ogg": (
        PackagedFile(Package("pygame", "2.6.1"), ("pygame/examples/data/house_lo.ogg",)),
        "eb8162435663abe70e8fa066c9afefdd98c45a605a199953975f6e74a6b3eac5",
    ),
}
Sound = np.ndarray


def main() -> None:
    """Print the counts."""
    rng = np.random.default_rng(0)
    voices, music = speech(), tunes()
    clips = list(made(voices, music, rng))
    print(f"{len(voices)} recordings of speech, {len(music)} of music, {len(clips)} clips of {SECONDS} s")
    started = time.process_time()
    rows = [{"kind": kind, "truth": truth, **sound_scores(clip)} for kind, truth, clip in clips]
    seconds = (time.process_time() - started) / len(clips) / SECONDS
    scored = pa.Table.from_pylist(rows)
    for name in COUNTED:
        finds = next(score.finds for score in SCORES if score.name == name)
        count(scored, name, finds)
    print(f"cost: {1000 * seconds:.1f} ms a second of sound, {250 * seconds:.2f} core-hours for 250 h")


def count(scored: pa.Table, name: str, finds: str) -> None:
    """Print what share of each kind is marked, and precision and recall over the clips this score is asked about.

    Both sides weigh alike in the precision: how many were made of each says nothing.
    """
    with duckdb.connect() as connection:
        connection.register("clips", scored)
        marked = f"coalesce({finds}, false)"
        told = f"truth.{name} IS NOT NULL"
        print(f"\n{name}: {finds}")
        kinds = connection.sql(
            f"SELECT kind, any_value(truth.{name}) AS truth, count(*) AS n, avg(CAST({marked} AS INT)) AS share "
            f"FROM clips WHERE {told} GROUP BY kind ORDER BY truth, kind"
        ).fetchall()
        for kind, truth, n, share in kinds:
            print(f"  {'there' if truth else 'not there':10}{kind:32}{n:5} clips, marked {share:6.1%}")
        found, false = connection.sql(
            f"SELECT avg(CAST({marked} AS INT)) FILTER (truth.{name}), "
            f"avg(CAST({marked} AS INT)) FILTER (NOT truth.{name}) FROM clips WHERE {told}"
        ).fetchall()[0]
        print(f"  precision {found / (found + false):.2f}, recall {found:.2f}")


# ---- the clips ----


def made(voices: dict[str, Sound], music: dict[str, Sound], rng: np.random.Generator) -> Iterator[tuple]:
    """(kind, what is true of it by score, clip). A score that is not named is not asked about the clip."""
    spoken = [(name, clip) for name, sound in voices.items() for clip in cuts(sound)]
    alone = {"speech_fraction": False, "music_fraction": False, "other_voice_fraction": None}
    for name, clip in spoken:
        one = {**alone, "other_voice_fraction": None if name == "silero_test.wav" else False}  # that one is a talk
        yield "speech", one, clip
        yield "speech, white noise at 15 dB", alone, mix(clip, noise(rng), 15)
        yield "speech, mains hum at 20 dB", alone, mix(clip, hum(), 20)
        yield (
            "2 s of speech, then a quiet room",
            {**alone, "speech_fraction": True},
            np.concatenate([clip[: 2 * RATE], noise(rng)[2 * RATE :] * 0.005]),
        )
        for title, tune in music.items():
            for ratio in (0, 5, 10, 15):
                truth = {**alone, "music_fraction": True}
                yield f"speech, {title} at {ratio} dB", truth, mix(clip, some(tune, rng), ratio)
    nobody = {"speech_fraction": True, "music_fraction": False, "other_voice_fraction": None}
    for _ in range(6):
        yield "white noise", nobody, noise(rng) * 0.05
    yield "silence", nobody, np.zeros(LENGTH, np.float32)
    yield "mains hum", nobody, hum() * 0.05
    for title, tune in music.items():
        for _ in range(6):
            yield f"{title} alone", {**nobody, "music_fraction": True}, some(tune, rng)
    two = {"speech_fraction": None, "music_fraction": None, "other_voice_fraction": True}
    people = [(name, clip) for name, clip in spoken if name != "silero_test.wav"]
    for (name, first), (other, second) in permutations(people, 2):
        if name == other or rng.random() > 0.2:
            continue
        second = second * level(first) / level(second)
        for turn in (2, 3):
            whose = np.arange(LENGTH) // (turn * RATE) % 2 == 0
            yield f"two people, turns of {turn} s", two, np.where(whose, first, second)
        both = first.copy()
        both[LENGTH // 2 :] += second[: LENGTH - LENGTH // 2]
        yield "a second one talks into it", two, both


def speech() -> dict[str, Sound]:
    """Recordings of people talking, by file name."""
    places = [samples.default_folder() / "voices"]
    if development := os.environ.get("EMO_DEVELOPMENT_VIDEOS"):
        places += [Path(development), Path(development).parent / "audio"]
    files = [file for place in places for file in sorted(place.glob("*.*"))]
    sounds = {}
    for file in files:
        with contextlib.suppress(UserError):  # a video without sound
            sounds[file.name] = read_sound(file).mono_16k()
    return {name: sound for name, sound in sounds.items() if np.abs(sound).max() > 1e-3}


def tunes() -> dict[str, Sound]:
    """The pieces of music, by file name."""
    folder = samples.default_folder() / "music"
    bring((file, sha256, folder / name) for name, (file, sha256) in MUSIC.items() if not (folder / name).exists())
    return {name: read_sound(folder / name).mono_16k() for name in MUSIC}


def cuts(sound: Sound) -> list[Sound]:
    """Clips of a recording, end to end; one that lacks up to a half is repeated to its length."""
    starts = range(0, max(1, len(sound) - LENGTH // 2), LENGTH)
    return [np.resize(sound[start : start + LENGTH], LENGTH) for start in starts]


def some(tune: Sound, rng: np.random.Generator) -> Sound:
    """A clip's length from anywhere behind the intro."""
    start = rng.integers(3 * RATE, len(tune) - LENGTH) if len(tune) > 2 * LENGTH else 0
    return np.resize(tune[start : start + LENGTH], LENGTH)


def mix(clip: Sound, other: Sound, ratio_db: float) -> Sound:
    """The clip and, so many decibels below it, something else."""
    mixed = clip + other * (level(clip) / level(other) * 10 ** (-ratio_db / 20))
    return (mixed / max(1.0, np.abs(mixed).max())).astype(np.float32)


def level(clip: Sound) -> float:
    """Root mean square."""
    return float(np.sqrt(np.mean(clip.astype(np.float64) ** 2)))


def noise(rng: np.random.Generator) -> Sound:
    """White, of level 1."""
    return rng.normal(0, 1, LENGTH).astype(np.float32)


def hum() -> Sound:
    """Mains hum: 50 Hz and its overtones."""
    seconds = np.arange(LENGTH) / RATE
    return sum(np.sin(2 * np.pi * 50 * k * seconds) / k for k in range(1, 8)).astype(np.float32)


if __name__ == "__main__":
    main()
