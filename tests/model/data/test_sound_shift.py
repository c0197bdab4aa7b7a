"""Sound that is off by the same time throughout a video is put right for training; what is not constant is left out."""

import numpy as np
import pyarrow.parquet as pq
import pytest

from emo_model.data.manifests import build_manifest, judge, manifest_path
from emo_model.data.policy import Policy, Rule, policy
from emo_model.data.records import TABLES
from emo_model.data.splits import build_splits
from emo_model.data.store import write_rows
from emo_model.data.sync import at_25_fps, in_sync
from emo_model.evaluate.sync import distances

from .small_root import small_root

Measured = tuple[float | None, float | None, float | None]  # offset, spread, confidence

CLIPS = {f"{video}{number}": (video, video, 120, 0.5, True) for video in "abcd" for number in range(3)}
SYNC: dict[str, list[Measured]] = {
    "a": [(5, 0, 7.0), (5, 0, 6.0), (-9, 12, 0.8)],  # constant; the third clip does not know
    "b": [(5, 0, 7.0), (-4, 0, 7.0), (5, 0, 7.0)],  # two takes of their own
    "c": [(-4, 0, 7.0), (-4, 6, 7.0), (-4, 0, 7.0)],  # drifts within a clip
    "d": [(5, 0, 1.0), (None, None, None), (5, 0, 2.0)],  # nobody knows
}


@pytest.fixture
def root(tmp_path):
    root = small_root(tmp_path, CLIPS)
    rows = root.read("clip_rows").to_pylist()
    for row in rows:
        offset, spread, confidence = SYNC[row["video_id"]][int(row["clip_id"][1])]
        row |= {"av_offset_frames": offset, "av_offset_spread_frames": spread, "sync_confidence": confidence}
    write_rows(root.part("clip_rows", "s0000"), TABLES["clip_rows"], rows)
    build_splits(root)
    return root


def stage2(root) -> Policy:
    return policy(root, "train_stage2")


def _judged(root, asked: Policy) -> dict[str, dict]:
    """Whatever side the people are on."""
    sides = [judge(root, asked.model_copy(update={"split": split})).to_pylist() for split in ("train", "test")]
    return {row["clip_id"]: row for rows in sides for row in rows if row["reason"] not in ("held_out", "train_only")}


def test_where_the_confident_clips_of_a_video_agree_all_its_clips_are_shifted(root):
    shifts = {clip: row["sound_shift_frames"] for clip, row in _judged(root, stage2(root)).items()}
    assert {shifts[clip] for clip in ("a0", "a1", "a2")} == {-6}  # the sound leads by 5/25 s: 6 frames at 30 fps
    assert {shift for clip, shift in shifts.items() if clip[0] != "a"} == {0}


def test_a_policy_leaves_out_only_what_a_constant_shift_does_not_put_right(root):
    unsure = Rule(reason="out_of_sync", score="sync_confidence", below=1.5)
    reasons = {clip: row["reason"] for clip, row in _judged(root, stage2(root).with_rules((unsure,))).items()}
    assert {clip for clip, reason in reasons.items() if reason is None} == {"a0", "a1", "d1"}
    assert set(reasons.values()) == {None, "out_of_sync"}


def test_a_shift_is_part_of_the_manifests_version_and_needs_no_shard_step(root):
    before = build_manifest(root, stage2(root))
    parts = {path: path.read_bytes() for path in root.path.rglob("shard=s0000/part.parquet")}
    rows = root.read("clip_rows").to_pylist()
    for row in rows:
        row |= {"av_offset_frames": 2.0, "av_offset_spread_frames": 0.0, "sync_confidence": 9.0}
    write_rows(root.part("clip_rows", "s0000"), TABLES["clip_rows"], rows)
    after = build_manifest(root, stage2(root))
    assert before.data_version != after.data_version
    table = pq.read_table(manifest_path(root, "train_stage2"))
    assert set(table["sound_shift_frames"].to_pylist()) == {-2} and table.schema.equals(TABLES["manifest"].schema)
    assert {path for path, content in parts.items() if path.read_bytes() != content} == {
        root.part("clip_rows", "s0000")
    }


def test_a_clip_with_too_few_frames_that_have_their_own_sound_is_too_short(root):
    longer = Rule(reason="fewer_frames_than_window", score="num_frames - abs(sound_shift_frames)", below=118)
    judged = _judged(root, stage2(root).model_copy(update={"leave_out": (longer,)}))
    assert judged["a0"]["reason"] == "fewer_frames_than_window" and judged["a0"]["score"] == 114
    assert judged["b0"]["reason"] is None


def test_the_frames_of_25_fps_footage_are_seen_again_each_at_its_time():
    crop = np.arange(90) * 25 // 30  # the source frame that each frame of a crop shows
    assert crop[at_25_fps(90)].tolist() == list(range(75))


@pytest.mark.parametrize("lead", [-7, 0, 4])
def test_the_offset_of_known_sound_is_found_and_a_jump_within_the_clip_shows_as_spread(lead):
    """Windows that are points on a random walk: a sound that leads by k frames holds at window i what lips show at
    i + k."""
    walk = np.cumsum(np.random.default_rng(0).normal(size=(160, 8)), axis=0)
    lips, voice = walk[20:140], walk[20 + lead : 140 + lead]
    steady = in_sync(distances(lips, voice))
    assert (steady["av_offset_frames"], steady["av_offset_spread_frames"]) == (lead, 0)
    jump = np.concatenate([walk[20 + lead : 80 + lead], walk[80 + lead + 6 : 140 + lead + 6]])
    assert in_sync(distances(lips, jump))["av_offset_spread_frames"] == pytest.approx(6, abs=1)
    assert in_sync(None) == dict.fromkeys(steady)
    assert in_sync(distances(lips[:1], voice[:1]))["av_offset_spread_frames"] == 0
