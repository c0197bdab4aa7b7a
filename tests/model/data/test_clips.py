"""Crops: frame j shows the right source frame, inside the right square, as the same bytes every time."""

import shutil

import numpy as np
import pytest

from emo_model.data import clips, fetch, probe
from emo_model.data.config import DataConfig
from emo_model.data.media import frames
from emo_model.data.records import TABLES
from emo_model.data.shards import run_step
from emo_model.data.sources import add_folder
from emo_model.data.store import DataRoot, file_sha256, write_rows
from tests.model.data.films import film, number_of, numbered

SIZE = 64


def _root(tmp_path, path, times: list[float], proposals: list[dict]) -> DataRoot:
    """A data root in which the film at `path` has a face on the whole picture, and offers the given clips."""
    root = DataRoot(tmp_path / "data").create()
    DataConfig(crop_size=SIZE).save(root)
    add_folder(root, path.parent)
    for step in (fetch.STEP, probe.STEP):
        run_step(step, root, "s0000")
    stamp = {"video_id": file_sha256(path), "shard": "s0000", "input_sha256": "x", "step_version": 1}
    seen = [
        {"source_frame": number, "t_s": time, "shot": 0, "faces": 1, "box": [16.0, 8, 48, 56], **stamp}
        for number, time in enumerate(times)
    ]
    write_rows(root.part("landmarks", "s0000"), TABLES["landmarks"], seen)
    square = {"shot": 0, "crop_x": 0, "crop_y": 0, "crop_size": 64, "min_face_px": 48.0}
    rows = [{"end_s": 0.0, **square, **row, **stamp} for row in proposals]
    write_rows(root.part("proposals", "s0000"), TABLES["proposals"], rows)
    return root


def _clip(name: str, start_s: float, num_frames: int, **more: int) -> dict:
    return {"clip_id": name, "start_s": start_s, "num_frames": num_frames, **more}


@pytest.fixture
def folder(tmp_path):
    folder = tmp_path / "raw"
    folder.mkdir()
    return folder


def _numbers(root: DataRoot, name: str) -> list[int]:
    return [number_of(picture) for _, picture in frames(root.path / f"1_clips/media/s0000/{name}.mp4")]


@pytest.mark.parametrize("fps", [12.0, 24.0, 25.0, 30.0, 60.0])
def test_frame_j_shows_the_source_frame_on_screen_at_start_plus_j_30ths(tmp_path, folder, fps):
    path = film(folder / "a.mp4", numbered(200), fps=fps)
    times = [number / fps for number in range(200)]
    first = round(0.4 * fps)
    root = _root(tmp_path, path, times, [_clip("a_0", first / fps, 50), _clip("a_1", (first + 100) / fps, 20)])
    run_step(clips.STEP, root, "s0000")
    for name, begin, count in (("a_0", first, 50), ("a_1", first + 100, 20)):
        assert _numbers(root, name) == [begin + int(j * fps / 30 + 1e-6) for j in range(count)]


def test_uneven_source_times_are_honoured(tmp_path, folder):
    times = [0.0, 0.05, 0.3, 0.31, 0.32, 0.6]
    path = film(folder / "a.mp4", numbered(6), times=times)
    root = _root(tmp_path, path, times, [_clip("a", 0.0, 19)])
    run_step(clips.STEP, root, "s0000")
    expected = [max(k for k, time in enumerate(times) if time <= j / 30 + 1e-4) for j in range(19)]
    assert _numbers(root, "a") == expected


def test_the_row_says_what_the_file_is(tmp_path, folder):
    path = film(folder / "a.mp4", numbered(60), fps=30)
    root = _root(tmp_path, path, [k / 30 for k in range(60)], [_clip("a", 0.0, 60, crop_x=0, crop_size=128)])
    run_step(clips.STEP, root, "s0000")
    (row,) = root.read("crops").to_pylist()
    written = root.path / row["path"]
    assert (row["num_frames"], row["size"], row["sha256"]) == (60, SIZE, file_sha256(written))
    assert row["union_box"] == pytest.approx([8, 4, 24, 28])  # half the source's pixels
    assert len(row["phash"]) == 16 and int(row["phash"], 16) > 0
    assert row["blur"] > 100  # sharp bars
    assert not row["path"].startswith("/")


def test_two_data_roots_hold_the_same_bytes(tmp_path, folder):
    path = film(folder / "a.mp4", numbered(100))
    made = []
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        root = _root(tmp_path / name, path, [k / 25 for k in range(100)], [_clip("a", 0.2, 90)])
        run_step(clips.STEP, root, "s0000")
        made.append((root.path / "1_clips/media/s0000/a.mp4").read_bytes())
    assert made[0] == made[1]


def test_another_crop_size_writes_the_clips_anew(tmp_path, folder):
    path = film(folder / "a.mp4", numbered(30))
    root = _root(tmp_path, path, [k / 25 for k in range(30)], [_clip("a", 0.0, 30)])
    run_step(clips.STEP, root, "s0000")
    assert run_step(clips.STEP, root, "s0000").done == 0
    DataConfig(crop_size=32).save(root)
    assert run_step(clips.STEP, root, "s0000").done == 1
    assert root.read("crops")["size"].to_pylist() == [32]


def test_a_crop_beyond_the_edge_repeats_the_edge():
    picture = np.zeros((40, 60, 3), np.uint8)
    picture[:, 50:] = 255
    out = clips.crop(picture, 30, -10, 60, 60)
    assert out.shape == (60, 60, 3)
    assert out[:, 21:].min() == 255  # 10 columns of white, then their repetition
    assert out[:, :19].max() == 0


def test_a_blurred_face_is_less_sharp_and_keeps_its_hash():
    import cv2

    rng = np.random.default_rng(0)
    picture = cv2.resize(rng.integers(0, 255, (16, 16, 3), dtype=np.uint8), (128, 128), interpolation=cv2.INTER_CUBIC)
    soft = cv2.GaussianBlur(picture, (0, 0), 3)
    box = np.array([20.0, 20, 100, 100])
    assert clips.blur(soft, box) < clips.blur(picture, box) / 2
    same = int(clips.phash(picture), 16) ^ int(clips.phash(soft), 16)
    other = int(clips.phash(picture), 16) ^ int(clips.phash(picture[::-1].copy()), 16)
    assert same.bit_count() <= 6 < other.bit_count()


def test_a_lost_crop_is_made_again_as_training_advises(tmp_path, folder):
    """emo_model/data/dataset.py: remove the shard's table. Without that nothing is left to do."""
    path = film(folder / "a.mp4", numbered(60))
    root = _root(tmp_path, path, [number / 25 for number in range(60)], [_clip("a_0", 0.0, 40)])
    run_step(clips.STEP, root, "s0000")
    crop = root.media("1_clips", "s0000", "a_0.mp4")
    before = file_sha256(crop)
    crop.unlink()
    run_step(clips.STEP, root, "s0000")
    assert not crop.exists()
    shutil.rmtree(root.part("crops", "s0000").parent)
    run_step(clips.STEP, root, "s0000")
    assert file_sha256(crop) == before
