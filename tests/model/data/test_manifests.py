"""Policies: what they keep, and the reason of everything they leave out."""

import pytest

from emo_model.data.manifests import EVAL, POLICIES, TRAIN_STAGE1, TRAIN_STAGE2, build_manifest, manifest_path
from emo_model.data.records import TABLES
from emo_model.data.splits import build_splits
from emo_model.data.store import write_rows

from .small_root import CLIPS, STAMP, small_root


@pytest.fixture
def root(tmp_path):
    root = small_root(tmp_path)
    build_splits(root)
    return root


def _reasons(root, policy: str) -> dict[str, str]:
    rows = root.read("rejected").to_pylist()
    return {row["id"]: row["reason"] for row in rows if row["policy"] == policy}


def _clips(root, name: str) -> set[str]:
    import pyarrow.parquet as pq

    return set(pq.read_table(manifest_path(root, name))["clip_id"].to_pylist())


def _test_people(root) -> set[str]:
    return {row["identity_id"] for row in root.read_single("splits").to_pylist() if row["split"] == "test"}


def test_every_clip_is_either_kept_or_left_out_with_a_reason(root):
    for policy in POLICIES.values():
        report = build_manifest(root, policy)
        kept, left_out = _clips(root, policy.name), _reasons(root, policy.name)
        assert kept | set(left_out) == set(CLIPS) and not kept & set(left_out)
        assert report.clips == len(kept) and sum(report.rejects.values()) == len(left_out)


def test_no_person_of_the_test_split_is_trained_on(root):
    for policy in POLICIES.values():
        build_manifest(root, policy)
    held_out = {clip for clip, (video, who, *_) in CLIPS.items() if (who or f"unknown:{video}") in _test_people(root)}
    assert held_out and not held_out & (_clips(root, "train_stage1") | _clips(root, "train_stage2"))
    assert _clips(root, "held_out_stage1") <= held_out and _clips(root, "eval") <= held_out
    assert {_reasons(root, "train_stage1")[clip] for clip in held_out} == {"held_out"}
    assert set(_reasons(root, "eval").values()) >= {"train_only"}


def test_a_silent_clip_is_for_stage_1_only(tmp_path):
    clips = {**CLIPS, "a2": ("va", "Ada", 300, 0.5, False)}  # of a person with other clips
    root = small_root(tmp_path, clips)
    build_splits(root)
    build_manifest(root, TRAIN_STAGE1)
    build_manifest(root, TRAIN_STAGE2)
    policy = TRAIN_STAGE1 if "Ada" not in _test_people(root) else None
    name = "train_stage1" if policy else "held_out_stage1"
    assert "a2" in _clips(root, name) and "a2" not in _clips(root, name.replace("1", "2"))
    if policy:
        assert _reasons(root, "train_stage2")["a2"] == "no_audio"


def test_a_clip_shorter_than_a_training_window_is_left_out_with_its_length_and_the_threshold(root):
    build_manifest(root, TRAIN_STAGE2.model_copy(update={"split": "train", "min_frames": 301}))
    rows = [row for row in root.read("rejected").to_pylist() if row["reason"] == "fewer_frames_than_window"]
    assert rows and all(row["threshold"] == 301 and row["score"] < 301 for row in rows)


def test_sound_that_ended_too_early_is_not_called_missing_sound(root):
    row = {"kind": "clip", "id": "a0", "step": "clip_audio", "policy": None, "reason": "audio_too_short"}
    write_rows(root.part("rejected", "s0000", "clip_audio"), TABLES["rejected"], [{**row, **STAMP}])
    build_manifest(root, TRAIN_STAGE2.model_copy(update={"split": _split_of_ada(root)}))
    assert _reasons(root, "train_stage2")["a0"] == "audio_too_short"


def _split_of_ada(root) -> str:
    return "test" if "Ada" in _test_people(root) else "train"


def test_a_threshold_changes_the_manifest_and_its_version_but_an_unknown_score_is_not_held_against_a_clip(root):
    plain = build_manifest(root, EVAL)
    assert build_manifest(root, EVAL).data_version == plain.data_version
    same = build_manifest(root, EVAL.model_copy(update={"min_sync_confidence": 99.0}))  # no clip has a score
    assert same.data_version == plain.data_version
    strict = build_manifest(root, EVAL.model_copy(update={"max_camera_motion": 0.05}))
    assert strict.clips == 0 and strict.rejects["low_quality"] == plain.clips
    assert strict.data_version != plain.data_version


def test_training_reads_every_column_it_needs(root):
    import pyarrow.parquet as pq

    build_manifest(root, TRAIN_STAGE1)
    table = pq.read_table(manifest_path(root, "train_stage1"))
    assert table.schema.equals(TABLES["manifest"].schema)
