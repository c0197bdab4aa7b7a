"""The label steps on one real little film whose face track is written by hand, so no network is needed."""

from dataclasses import replace

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from emo_model.data import clips, fetch, probe, sources
from emo_model.data.audio import CLIP_AUDIO, read_wav
from emo_model.data.clip_rows import CLIP_ROWS_STEP
from emo_model.data.head_labels import HEAD_POSE, HEAD_SPEED
from emo_model.data.quality import QUALITY_SCORES, camera_motion
from emo_model.data.records import TABLES
from emo_model.data.shards import run_step
from emo_model.data.sound import SOUND_SCORES
from emo_model.data.store import DataRoot, write_rows
from emo_model.data.sync import SYNC_SCORES

from .films import clicks, film

FPS, SECONDS, TURN = 25, 8, 24.0  # a head that turns 24 degrees a second: 0.8 degrees a frame at 30 fps
BOX = [96.0, 80.0, 160.0, 176.0]
LABELS = (HEAD_POSE, HEAD_SPEED, CLIP_AUDIO, SYNC_SCORES, SOUND_SCORES, QUALITY_SCORES, CLIP_ROWS_STEP)
SOUND = clicks([1.0, 5.5], SECONDS)


def _pictures(shift: int = 0) -> list[np.ndarray]:
    """Still noise that the camera pans over by `shift` pixels a source frame."""
    noise = np.random.default_rng(0).integers(0, 255, (64, 128, 3), np.uint8)
    wide = np.kron(noise, np.ones((4, 4, 1), np.uint8))
    return [np.roll(wide, -shift * number, axis=1)[:, :256] for number in range(FPS * SECONDS)]


def prepared(path, *, sound: np.ndarray | None = SOUND, shift: int = 0) -> DataRoot:
    """A root with one video, its face track, and two clips of 3 and 4 s; all label steps run."""
    root = DataRoot(path).create()
    film(root.folder("0_raw") / "a.mp4", _pictures(shift), fps=FPS, sound=sound)
    sources.register(root)
    for step in (fetch.STEP, probe.STEP):
        run_step(step, root, "s0000")
    [video] = root.read("videos").to_pylist()
    track(root, video["video_id"])
    for step in (clips.STEP, *LABELS):
        run_step(step, root, "s0000")
    return root


def track(root: DataRoot, video_id: str) -> None:
    stamp = {"video_id": video_id, "shard": "s0000", "input_sha256": "x", "step_version": 1}
    rows = [{**_landmark(number), **stamp} for number in range(FPS * SECONDS)]
    write_rows(root.part("landmarks", "s0000"), TABLES["landmarks"], rows)
    offers = [{**_offer("one", 0.0, 90), **stamp}, {**_offer("two", 4.0, 120), **stamp}]
    write_rows(root.part("proposals", "s0000"), TABLES["proposals"], offers)


def _landmark(number: int) -> dict:
    matrix = np.eye(4)
    matrix[:3, :3] = Rotation.from_euler("y", TURN * number / FPS, degrees=True).as_matrix()
    return {
        "source_frame": number, "t_s": number / FPS, "shot": 0, "faces": 1, "box": BOX, "second_box": None,
        "matrix": matrix.ravel(), "mouth_open": number / 1000, "blendshapes": np.full(52, 0.5, np.float16),
    }  # fmt: skip


def _offer(name: str, start_s: float, frames: int) -> dict:
    return {
        "clip_id": name, "shot": 0, "start_s": start_s, "end_s": start_s + frames / 30, "num_frames": frames,
        "crop_x": 64, "crop_y": 64, "crop_size": 128, "min_face_px": 96.0,
    }  # fmt: skip


@pytest.fixture(scope="module")
def root(tmp_path_factory) -> DataRoot:
    return prepared(tmp_path_factory.mktemp("root"))


def test_every_frame_has_its_pose_its_speed_and_its_box_in_pixels_of_the_crop(root):
    rows = root.read("frames").to_pylist()
    assert [row["frame"] for row in rows] == [*range(90), *range(120)]
    assert np.array([row["speed_raw_deg"] for row in rows]) == pytest.approx(0.8, abs=1e-4)
    assert np.array([row["speed_deg"] for row in rows]) == pytest.approx(0.8, abs=1e-3)
    assert [row["yaw"] for row in rows[:88]] == pytest.approx([TURN * n / 30 for n in range(88)], abs=1e-3)
    assert rows[0]["box"] == pytest.approx([64, 32, 192, 224])  # crop of 128 at (64, 64), stored at 256
    assert rows[31]["mouth_open"] == pytest.approx(25 / 1000)  # 31/30 s: source frame 25 is on screen


def test_a_clips_sound_is_the_sound_of_its_own_time(root):
    rows = {row["clip_id"]: row for row in root.read("clip_audio").to_pylist()}
    assert {name: row["samples"] for name, row in rows.items()} == {"one": 48000, "two": 64000}
    for name, at_s in (("one", 1.0), ("two", 1.5)):
        loudest = int(np.abs(read_wav(root.path / rows[name]["path"])).argmax())
        assert abs(loudest - at_s * 16000) <= 1
    assert not rows["one"]["is_silent"] and -60 < rows["one"]["rms_db"] < -10


def test_a_new_version_of_the_crops_leaves_sound_pose_and_speed_fresh(root, tmp_path):
    root = prepared(tmp_path)
    run_step(replace(clips.STEP, version=clips.STEP.version + 1), root, "s0000")
    done = {step.name: run_step(step, root, "s0000").done for step in LABELS}
    assert done == {
        "head_pose": 0, "head_speed": 0, "clip_audio": 0, "sync_scores": 1, "sound_scores": 0,
        "quality_scores": 1, "clip_rows": 1,
    }  # fmt: skip


def test_a_second_run_does_nothing_and_changes_no_byte(root):
    before = {path: path.read_bytes() for path in root.path.rglob("*.parquet")}
    assert [run_step(step, root, "s0000").done for step in (clips.STEP, *LABELS)] == [0] * (len(LABELS) + 1)
    assert before == {path: path.read_bytes() for path in root.path.rglob("*.parquet")}


def test_sound_that_ends_before_the_picture_is_rejected_and_the_clip_stays_for_stage_1(tmp_path):
    root = prepared(tmp_path, sound=SOUND[: 16000 * 5])
    [reject] = [row for row in root.read("rejected").to_pylist() if row["step"] == "clip_audio"]
    assert (reject["id"], reject["reason"], reject["policy"]) == ("two", "audio_too_short", None)
    assert reject["score"] == pytest.approx(1.0, abs=0.1) and reject["threshold"] == 4.0
    rows = {row["clip_id"]: row["has_audio"] for row in root.read("clip_rows").to_pylist()}
    assert rows == {"one": True, "two": False}


def test_a_film_without_sound_has_clips_but_no_sound_rows(tmp_path):
    root = prepared(tmp_path, sound=None)
    assert root.read("clip_audio").num_rows == 0 and root.read("rejected").num_rows == 0
    assert [row["has_audio"] for row in root.read("clip_rows").to_pylist()] == [False, False]


def test_digital_silence_keeps_its_wav_and_counts_as_no_sound(tmp_path):
    root = prepared(tmp_path, sound=0 * SOUND)
    assert [(row["is_silent"], row["rms_db"]) for row in root.read("clip_audio").to_pylist()] == [(True, None)] * 2
    assert [row["has_audio"] for row in root.read("clip_rows").to_pylist()] == [False, False]


def test_a_clips_row_sums_up_its_frames(root):
    rows = {row["clip_id"]: row for row in root.read("clip_rows").to_pylist()}
    row = rows["two"]
    assert row["mean_speed"] == pytest.approx(0.8, abs=1e-3) and row["speed_p90"] == pytest.approx(0.8, abs=1e-2)
    assert sum(row["speed_histogram"]) == 120 and sum(row["speed_histogram"][7:9]) == 120
    assert (row["start_s"], row["end_s"], row["num_frames"], row["crop_size"]) == (4.0, 8.0, 120, 128)
    assert row["av_offset_frames"] is None and row["sync_confidence"] is None  # no weights: unknown, never 0
    assert row["camera_motion"] == pytest.approx(0, abs=0.02)


class _Network:
    """SyncNet's shapes without its cost (the network itself is tested with the evaluation)."""

    def lips(self, frames):
        assert frames.shape[:2] == (1, 3) and frames.shape[3:] == (224, 224)
        return frames.mean(dim=(0, 3, 4)).T.unfold(0, 5, 1).flatten(1)

    def voice(self, mfcc):
        assert mfcc.shape[1:] == (1, 13, 20)
        return mfcc.flatten(1)[:, :15]


def test_every_clip_with_sound_is_scored_again_when_syncnets_weights_arrive(tmp_path, monkeypatch):
    from emo_model import weights
    from emo_model.evaluate import syncnet

    root = prepared(tmp_path)
    (tmp_path / "syncnet").write_bytes(b"")
    monkeypatch.setattr(weights, "have", lambda name: name == "syncnet")
    monkeypatch.setattr(weights, "path", lambda name: tmp_path / name)
    monkeypatch.setattr(syncnet, "load_syncnet", lambda path: _Network())
    assert run_step(SYNC_SCORES, root, "s0000").done == 1
    for row in root.read("sync").to_pylist():
        assert (
            row["method"] == "syncnet_v2"
            and row["no_model"] == []
            and row["sync_confidence"] >= 0
            and abs(row["av_offset_frames"]) <= 15
        )


class _Blinker:
    """A network of SyncNet's interface that sees how bright each of five frames is, and hears how loud."""

    def lips(self, frames):
        return (frames.mean(dim=(0, 1, 3, 4)) > 128).float().unfold(0, 5, 1)

    def voice(self, mfcc):
        return (mfcc[:, 0, 0].unfold(1, 4, 4).mean(dim=2) > 18).float()  # the first coefficient is log energy


@pytest.mark.parametrize("lead", [-4, 0, 6])
def test_sound_that_leads_by_so_many_frames_is_measured_from_film_to_row(tmp_path, monkeypatch, lead):
    from emo_model import weights
    from emo_model.evaluate import syncnet

    bits = np.random.default_rng(0).integers(0, 2, FPS * SECONDS)
    pictures = [np.full((256, 256, 3), 30 + 200 * bit, np.uint8) for bit in bits]
    buzz = 0.4 * np.sin(2 * np.pi * 440 * np.arange(SECONDS * 16000) / 16000)
    sound = (buzz * np.repeat(np.roll(bits, -lead), 640)).astype(np.float32)
    root = DataRoot(tmp_path).create()
    film(root.folder("0_raw") / "a.mp4", pictures, fps=FPS, sound=sound)
    (tmp_path / "syncnet").write_bytes(b"")
    have, path = weights.have, weights.path
    monkeypatch.setattr(weights, "have", lambda name: name == "syncnet" or have(name))
    monkeypatch.setattr(weights, "path", lambda name: tmp_path / name if name == "syncnet" else path(name))
    monkeypatch.setattr(syncnet, "load_syncnet", lambda path: _Blinker())
    sources.register(root)
    for step in (fetch.STEP, probe.STEP):
        run_step(step, root, "s0000")
    track(root, root.read("videos").to_pylist()[0]["video_id"])
    for step in (clips.STEP, HEAD_POSE, HEAD_SPEED, CLIP_AUDIO, SYNC_SCORES):
        run_step(step, root, "s0000")
    assert [(row["av_offset_frames"], row["av_offset_spread_frames"]) for row in root.read("sync").to_pylist()] == [
        (lead, 0), (lead, 0),
    ]  # fmt: skip


def test_a_panning_camera_is_measured_in_crop_pixels_a_frame(tmp_path):
    root = prepared(tmp_path, shift=1)  # a source pixel in 1/25 s is 2 crop pixels, at 30 fps 1.67
    for row in root.read("quality").to_pylist():
        assert row["camera_motion"] == pytest.approx(2 * FPS / 30, rel=0.15)


def test_a_moving_face_before_a_still_wall_is_no_camera_motion():
    rng = np.random.default_rng(3)
    wall = np.kron(rng.integers(0, 255, (64, 64), np.uint8), np.ones((4, 4), np.uint8))
    before, after = wall.copy(), wall.copy()
    before[100:180, 100:160] = 255
    after[100:180, 110:170] = 255
    assert camera_motion([(before, after)], [100, 100, 170, 180]) == pytest.approx(0, abs=0.02)


def test_a_plain_wall_has_too_little_background_to_tell():
    plain = np.full((256, 256), 90, np.uint8)
    assert camera_motion([(plain, plain)], [100, 100, 170, 180]) is None
