"""Damaged and odd files go through the real steps, from registering to a clip's sound: each comes to one end, nothing
is changed or done twice, and the good film among them keeps its clip.
"""

import contextlib
import os
import resource
import signal
import time
import zlib
from collections import Counter
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from emo_model import samples
from emo_model.data import clips, faces, fetch, probe
from emo_model.data.audio import CLIP_AUDIO, read_wav
from emo_model.data.config import DataConfig
from emo_model.data.media import MediaError, audio, decode
from emo_model.data.media import probe as probe_file
from emo_model.data.records import REASONS
from emo_model.data.shards import Item, Result, Step, StepReport, run_step
from emo_model.data.sources import add_folder, registered
from emo_model.data.store import DataRoot, file_sha256
from tests.model.data import menagerie
from tests.model.data.menagerie import GOOD, OK, SECONDS, Ends

STEPS = (fetch.STEP, probe.STEP, faces.STEP, clips.STEP, CLIP_AUDIO)
LONGEST_S, MOST_BYTES = 60, 3 * 2**30  # for hangs and bombs: of one step on one file; of all files together
NASTY = (
    "list.m3u8", "sound with a cover.mp4", "unknown codec.mp4", "unknown sound.mp4", "1x1.mov",
    "sizes change.mkv", "pixels like planks.mkv", "one frame.mp4", "sound of no number.mov",
    "a billion samples a second.avi", "sound changes.ts", "bytes behind the end.mp4",
)  # fmt: skip


@pytest.fixture(scope="module")
def pictures() -> list[np.ndarray]:
    """A face that moves a little, 160 x 120."""
    portrait = samples.default_folder() / "portraits" / "astronaut.png"
    if not portrait.is_file():
        pytest.skip("no sample media; run: emo samples get")
    face = cv2.resize(cv2.imread(str(portrait))[:256, 100:356, ::-1], (110, 110), interpolation=cv2.INTER_AREA)
    background = np.full((120, 160, 3), (90, 110, 100), np.uint8)
    return [_placed(background, face, 20 + number // 4) for number in range(round(SECONDS * menagerie.FPS))]


def _placed(background: np.ndarray, face: np.ndarray, x: int) -> np.ndarray:
    picture = background.copy()
    picture[5:115, x : x + 110] = face
    return picture


@pytest.fixture
def raw(tmp_path) -> Path:
    (tmp_path / "raw").mkdir()
    return tmp_path / "raw"


def _root(path: Path, raw: Path) -> DataRoot:
    root = DataRoot(path).create()
    DataConfig(crop_size=64).save(root)
    add_folder(root, raw)
    return root


def _run(root: DataRoot, workers: int = 0) -> list[StepReport]:
    shards = sorted({row["shard"] for row in registered(root)})
    return [run_step(_bounded(step), root, shard, workers=workers) for shard in shards for step in STEPS]


def _bounded(step: Step) -> Step:
    return replace(step, work=partial(_timed, step.work))


def _timed(work: Any, root: DataRoot, shard: str, item: Item) -> Result:
    """Work that raises after LONGEST_S, so that a hang is a failed step and the test ends."""

    def ring(number: int, frame: object) -> None:
        raise TimeoutError(f"longer than {LONGEST_S} s")

    before, started = signal.signal(signal.SIGALRM, ring), time.monotonic()
    signal.alarm(LONGEST_S)
    try:
        result = work(root, shard, item)
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)
    assert time.monotonic() - started < LONGEST_S  # also where no signal got through
    return result


def _hashes(folder: Path, pattern: str) -> dict[str, str]:
    return {str(path.relative_to(folder)): file_sha256(path) for path in folder.rglob(pattern) if path.is_file()}


def _check(root: DataRoot, raw: Path, ends: Ends) -> None:
    """Run all steps, twice; every promise about bad input."""
    inputs, peak = _hashes(raw, "*"), _peak_bytes()
    _run(root)
    assert _peak_bytes() - peak < MOST_BYTES
    assert _hashes(raw, "*") == inputs
    _check_ends(root, ends)
    tables = _hashes(root.path, "*.parquet")
    assert [report.step for report in _run(root) if report.done] == []
    assert _hashes(root.path, "*.parquet") == tables


def _peak_bytes() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def _check_ends(root: DataRoot, ends: Ends) -> None:
    videos, rejected = root.read("videos").to_pylist(), root.read("rejected").to_pylist()
    assert [row for row in rejected if row["reason"] == "step_failed"] == []
    assert Counter(row["uri"] for row in videos) == Counter(list(ends))
    for video in videos:
        end = video["reason"] or OK
        assert (video["status"] == "ok") == (end == OK) and end in {OK, *REASONS}, video
        assert not ends[video["uri"]] or end in ends[video["uri"]], video
    offered, cut, heard = (root.read(table).to_pylist() for table in ("proposals", "crops", "clip_audio"))
    named = [row["id"] for row in rejected]
    has_sound = {video["video_id"]: video["has_audio"] for video in videos if video["status"] == "ok"}
    with_clips = {clip["video_id"] for clip in offered}
    for video in videos:  # a source without a clip has a reason: its own, or its shots'
        name = video["video_id"] if video["status"] == "ok" else video["source_id"]
        assert video["video_id"] in with_clips or any(str(reject).startswith((name, name[:12])) for reject in named)
    assert sorted(row["clip_id"] for row in cut) == sorted(clip["clip_id"] for clip in offered)
    sounds = {row["clip_id"] for row in heard}
    for clip in offered:
        assert clip["clip_id"] in sounds or clip["clip_id"] in named or not has_sound[clip["video_id"]], clip
    good = next(video["video_id"] for video in videos if video["uri"] == GOOD)
    assert [clip["num_frames"] for clip in offered if clip["video_id"] == good] == [round(30 * SECONDS)]
    assert [row["samples"] for row in heard if row["video_id"] == good] == [round(16_000 * SECONDS)]


@pytest.mark.weights
def test_the_nastiest_files_come_to_an_end_each_and_the_good_one_keeps_its_clip(tmp_path, raw, pictures):
    ends = menagerie.odd(raw, pictures, NASTY)
    assert set(NASTY) < set(ends)
    root = _root(tmp_path / "root", raw)
    _check(root, raw, ends)
    for row in root.read("clip_audio").to_pylist():
        assert np.isfinite([row["rms_db"], *read_wav(root.path / row["path"])]).all()


@pytest.mark.weights
@pytest.mark.long
@pytest.mark.parametrize("seed", range(3))
def test_every_damaged_and_odd_file_comes_to_an_end(tmp_path, raw, pictures, seed):
    (tmp_path / "whole").mkdir()
    films = menagerie.good_films(tmp_path / "whole", pictures)
    ends = menagerie.odd(raw, pictures) | menagerie.damaged(raw, films, seed)
    menagerie.no_files(raw)
    (raw / "out of the folder.mkv").symlink_to(films[3])
    ends["out of the folder.mkv"] = frozenset({OK})
    if os.geteuid() != 0:  # root may read everything
        menagerie.write(raw / "closed.mp4", pictures[:20]).chmod(0)
        ends["closed.mp4"] = frozenset({"unreadable"})
    assert len(ends) >= 200
    root = _root(tmp_path / "root", raw)
    _check(root, raw, ends)
    again = _root(tmp_path / "again", raw)
    _run(again, workers=2)
    assert _hashes(again.path, "*.parquet") == _hashes(root.path, "*.parquet")
    assert _hashes(again.path, "*.mp4") == _hashes(root.path, "*.mp4")


def test_what_is_no_file_is_named_with_the_reason_and_never_opened(tmp_path, raw):
    (raw / GOOD).write_bytes(b"bytes")
    menagerie.no_files(raw)
    report = add_folder(DataRoot(tmp_path / "root").create(), raw)
    assert report.total == 1
    assert {name.strip("'"): why for name, why in report.skipped} == {
        "a pipe.mp4": "neither a file nor a folder",
        "to itself.mp4": "it cannot be opened: Too many levels of symbolic links",
        "to my folder": "a link to a folder is not followed; add the folder it leads to",
        "to nowhere.mp4": "it cannot be opened: No such file or directory",
    }


@pytest.fixture
def broken_stream(tmp_path) -> Path:
    """H.264 with holes, on which decoding with threads by frame gave other pictures each time."""
    noise = np.random.default_rng(0).integers(0, 255, (40, 30, 40, 3), np.uint8)
    film = menagerie.write(tmp_path / "film.ts", (np.kron(picture, np.ones((8, 8, 1), np.uint8)) for picture in noise))
    data = bytearray(film.read_bytes())
    for at in range(20_000, len(data), 3001):
        data[at] ^= 0x10
    film.write_bytes(data)
    return film


def test_a_damaged_stream_decodes_the_same_every_time(broken_stream):
    seen = {tuple((frame.t_s, zlib.crc32(frame.rgb())) for frame in decode(broken_stream)) for _ in range(6)}
    assert len(seen) == 1 and 5 < len(seen.pop()) <= 40


def test_sound_beyond_a_break_is_silence_though_the_file_cannot_be_sought(tmp_path):
    film = menagerie.write(tmp_path / "film.mkv", menagerie.plain(160, 120))
    film.write_bytes(film.read_bytes()[: film.stat().st_size * 3 // 10])
    sound = audio(film, 2.5, 3.0)
    assert len(sound) == 8000 and not sound.any()


@pytest.mark.weights
def test_a_clock_beyond_64_bits_of_microseconds_is_seen_all_the_same(pictures):
    with faces.Landmarker() as landmarker:
        assert [landmarker.see(t_s, pictures[0])["faces"] for t_s in (0.0, 1e13, 2e13)] == [1, 1, 1]


@pytest.mark.long
def test_pictures_and_sound_of_any_damaged_film_can_be_asked_for(tmp_path):
    noise = np.random.default_rng(0).integers(0, 255, (32, 15, 20, 3), np.uint8)
    (tmp_path / "whole").mkdir()
    pictures = [np.kron(picture, np.ones((8, 8, 1), np.uint8)) for picture in noise]
    films = menagerie.good_films(tmp_path / "whole", pictures)
    for seed in range(6, 12):
        for name in menagerie.damaged(tmp_path, films, seed):
            with contextlib.suppress(MediaError):
                if probe_file(tmp_path / name).has_audio:
                    sound = audio(tmp_path / name, 2.5, 3.0)  # late enough to seek
                    assert len(sound) == 8000 and np.isfinite(sound).all(), (seed, name)
                assert all(frame.rgb().size for frame in decode(tmp_path / name)), (seed, name)
