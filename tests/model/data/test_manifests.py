"""Policies: what they keep, and the reason of everything they leave out."""

import pytest
from click.testing import CliRunner

from emo_model.cli import main
from emo_model.data import pipeline
from emo_model.data.catalog import query
from emo_model.data.manifests import build_manifest, manifest_path
from emo_model.data.policy import Rule, choose_test_set, make_own, own_path, parse, policy, text
from emo_model.data.records import NEAR_DUPLICATES, TABLES
from emo_model.data.splits import build_splits
from emo_model.data.store import write_rows
from emo_model.errors import UserError

from .small_root import CLIPS, STAMP, small_root

PURPOSES = ("train_stage1", "train_stage2", "eval")


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
    for name in PURPOSES:
        report = build_manifest(root, policy(root, name))
        kept, left_out = _clips(root, name), _reasons(root, name)
        assert kept | set(left_out) == set(CLIPS) and not kept & set(left_out)
        assert report.clips == len(kept) and sum(report.rejects.values()) == len(left_out)


def test_no_person_of_the_test_split_is_trained_on(root):
    for name in PURPOSES:
        build_manifest(root, policy(root, name))
    held_out = {clip for clip, (video, who, *_) in CLIPS.items() if (who or f"unknown:{video}") in _test_people(root)}
    assert held_out and not held_out & (_clips(root, "train_stage1") | _clips(root, "train_stage2"))
    assert _clips(root, "held_out_stage1") <= held_out and _clips(root, "eval") <= held_out
    assert {_reasons(root, "train_stage1")[clip] for clip in held_out} == {"held_out"}
    assert set(_reasons(root, "eval").values()) >= {"train_only"}


def test_a_silent_clip_is_for_stage_1_only(tmp_path):
    clips = {**CLIPS, "a2": ("va", "Ada", 300, 0.5, False)}  # of a person with other clips
    root = small_root(tmp_path, clips)
    build_splits(root)
    build_manifest(root, policy(root, "train_stage1"))
    build_manifest(root, policy(root, "train_stage2"))
    trained = "Ada" not in _test_people(root)
    name = "train_stage1" if trained else "held_out_stage1"
    assert "a2" in _clips(root, name) and "a2" not in _clips(root, name.replace("1", "2"))
    if trained:
        assert _reasons(root, "train_stage2")["a2"] == "no_audio"


def test_a_clip_shorter_than_a_training_window_is_left_out_with_its_length_and_the_threshold(root):
    longer = (Rule(reason="fewer_frames_than_window", score="num_frames", below=301),)
    build_manifest(root, policy(root, "train_stage2").with_rules(longer))
    rows = [row for row in root.read("rejected").to_pylist() if row["reason"] == "fewer_frames_than_window"]
    assert rows and all(row["threshold"] in (16, 301) and row["score"] < row["threshold"] for row in rows)
    assert any(row["threshold"] == 301 for row in rows) and {row["detail"] for row in rows} >= {"num_frames"}


def test_sound_that_ended_too_early_is_not_called_missing_sound(root):
    row = {"kind": "clip", "id": "a0", "step": "clip_audio", "policy": None, "reason": "audio_too_short"}
    write_rows(root.part("rejected", "s0000", "clip_audio"), TABLES["rejected"], [{**row, **STAMP}])
    build_manifest(root, policy(root, "train_stage2").model_copy(update={"split": _split_of_ada(root)}))
    assert _reasons(root, "train_stage2")["a0"] == "audio_too_short"


def _split_of_ada(root) -> str:
    return "test" if "Ada" in _test_people(root) else "train"


def test_a_threshold_changes_the_manifest_and_its_version_but_an_unknown_score_is_not_held_against_a_clip(root):
    asked = policy(root, "eval")
    plain = build_manifest(root, asked)
    assert build_manifest(root, asked).data_version == plain.data_version
    unknown = Rule(reason="out_of_sync", score="sync_confidence", below=99)  # no clip has one
    assert build_manifest(root, asked.with_rules((unknown,))).data_version == plain.data_version
    strict = build_manifest(root, asked.with_rules((Rule(reason="low_quality", score="camera_motion", above=0),)))
    assert strict.clips == 0 and strict.rejects["low_quality"] == plain.clips
    assert strict.data_version != plain.data_version
    left_out = [row for row in root.read("rejected").to_pylist() if row["reason"] == "low_quality"]
    assert all((row["detail"], row["score"], row["threshold"]) == ("camera_motion", 0.1, 0.0) for row in left_out)


def test_the_data_roots_own_policy_is_in_force_and_mistakes_in_it_are_one_line(root):
    own = make_own(root, "train_stage1")
    assert policy(root, "train_stage1") == parse(own.read_text(), "train_stage1")
    before = build_manifest(root, policy(root, "train_stage1"))
    own.write_text(own.read_text() + '\n[[leave_out]]\nreason = "low_quality"\nscore = "mean_speed"\nabove = 0.0\n')
    after = build_manifest(root, policy(root, "train_stage1"))
    assert before.clips > 0 == after.clips
    for mistake, says in (
        ('split = "both"', "split"),
        ('split = "train"\n[[leave_out]]\nreason = "ugly"\nwhere = "true"', "leave_out.0.reason"),
        ('split = "train"\n[[leave_out]]\nreason = "low_quality"\nscore = "blur"', "wanted `where`"),
        ("split = ", "Invalid value"),
    ):
        own.write_text(mistake)
        with pytest.raises(UserError, match=says) as caught:
            policy(root, "train_stage1")
        assert str(own) in str(caught.value) and "mend it" in str(caught.value)


def test_a_rule_over_a_column_that_is_not_there_is_one_line_and_leaves_the_manifest_as_it_was(root):
    asked = policy(root, "eval")
    before = build_manifest(root, asked)
    with pytest.raises(UserError, match="policy eval.*beauty.*run: emo manifest"):
        build_manifest(root, asked.with_rules((Rule(reason="low_quality", score="beauty", below=1),)))
    assert build_manifest(root, asked).data_version == before.data_version


def test_a_changed_threshold_needs_one_command_and_no_video(root, monkeypatch):
    monkeypatch.setenv("EMO_DATA", str(root.path))
    emo = CliRunner()
    shown = emo.invoke(main, ["manifest", "train_stage1"])
    assert shown.output == text(root, "train_stage1")
    assert "then run: emo manifest" in emo.invoke(main, ["manifest", "train_stage1", "--own"]).output
    own = own_path(root, "train_stage1")
    own.write_text(own.read_text().replace("below = 2", "below = 250"))
    monkeypatch.setitem(pipeline.DATASET_STEPS, "identity_splits", lambda root: 1 / 0)  # people are as they were
    result = emo.invoke(main, ["manifest"])
    assert result.exit_code == 0, result.output
    left_out = {clip for clip, reason in _reasons(root, "train_stage1").items() if reason == "fewer_frames_than_window"}
    assert left_out and all(CLIPS[clip][2] < 250 for clip in left_out)
    assert emo.invoke(main, ["manifest", "nobody"]).exit_code == 2


def test_of_one_recording_the_best_clip_that_passes_stays_and_the_others_name_it(root):
    rows = [dict.fromkeys(NEAR_DUPLICATES.schema.names) | {"clip_id": clip, "recording": "a0"} for clip in ("a0", "a1")]
    write_rows(root.single(NEAR_DUPLICATES), NEAR_DUPLICATES, [rows[0], rows[1] | {"near_duplicate_of": "a0"}])
    name = "train_stage2" if _split_of_ada(root) == "train" else "eval"
    build_manifest(root, policy(root, name))
    left_out = {row["id"]: row for row in root.read("rejected").to_pylist() if row["policy"] == name}
    assert "a0" in _clips(root, name) and left_out["a1"]["reason"] == "near_duplicate"
    assert left_out["a1"]["detail"] == "a0"
    strict = policy(root, name).with_rules((Rule(reason="low_quality", where="clip_id = 'a0'"),))
    build_manifest(root, strict)  # the better one is left out for another reason: the other takes its place
    assert "a1" in _clips(root, name) and _reasons(root, name)["a0"] == "low_quality"


def test_a_policy_of_ones_own_has_a_manifest_and_a_held_out_one_of_its_own(root, monkeypatch):
    monkeypatch.setenv("EMO_DATA", str(root.path))
    own = own_path(root, "frontal")
    own.parent.mkdir()
    own.write_text('split = "train"\n')
    result = CliRunner().invoke(main, ["manifest", "frontal", "--build"])
    assert result.exit_code == 0, result.output
    assert not _clips(root, "frontal") & _clips(root, "held_out_frontal")
    assert _clips(root, "frontal") | _clips(root, "held_out_frontal") == set(CLIPS)
    assert query(root, "SELECT count(*) FROM frontal")[1] == [(len(_clips(root, "frontal")),)]


def test_the_chosen_test_set_stays_chosen_and_a_file_of_ones_own_is_not_overwritten(root):
    choose_test_set(root, "hdtf_test")
    assert policy(root, "eval").protocol == "HDTF"
    choose_test_set(root, "eval")
    assert policy(root, "eval").protocol == "held-out people"
    own_path(root, "eval").write_text('split = "test"\nprotocol = "mine"\n')
    with pytest.raises(UserError, match="a policy of your own"):
        choose_test_set(root, "hdtf_test")
    assert policy(root, "eval").protocol == "mine"


def test_hdtf_is_what_its_lists_annotate_and_clips_called_like_it(tmp_path):
    root = small_root(tmp_path)
    rows = root.read("clip_rows", "s0000").to_pylist()
    for row, name in zip(
        rows, ("WDA_KatieHill_000", "Clip+G0DGRma_p48+P0+C0+F1-2", None, None, None, None), strict=True
    ):
        row["range_id"] = name
    write_rows(root.part("clip_rows", "s0000"), TABLES["clip_rows"], rows)
    videos = root.read("videos", "s0000").to_pylist()
    for row in videos:
        if row["video_id"] == rows[2]["video_id"]:
            row["uri"] = "sub/RD_Radio31_004.mp4"
    write_rows(root.part("videos", "s0000"), TABLES["videos"], videos)
    build_splits(root)
    everybody = policy(root, "hdtf_test").model_copy(update={"leave_out": policy(root, "hdtf_test").leave_out[:1]})
    build_manifest(root, everybody)
    reasons = _reasons(root, "hdtf_test")
    others = {row["clip_id"] for row in rows if row["range_id"] != "WDA_KatieHill_000" and row is not rows[2]}
    assert {clip for clip, reason in reasons.items() if reason == "not_of_this_set"} <= others
    assert not {rows[0]["clip_id"], rows[2]["clip_id"]} & {c for c, r in reasons.items() if r == "not_of_this_set"}
    assert rows[1]["clip_id"] in reasons


def test_hdtf_is_a_test_set_of_its_own_in_the_same_manifest(root):
    report = build_manifest(root, policy(root, "hdtf_test"))
    assert report.path == manifest_path(root, "eval") and report.clips == 0  # no clip here comes from HDTF's lists
    assert "not_of_this_set" in report.rejects and set(_reasons(root, "hdtf_test")) == set(CLIPS)
    build_manifest(root, policy(root, "eval"))
    assert not _reasons(root, "hdtf_test")  # one test set at a time


def test_training_reads_every_column_it_needs(root):
    import pyarrow.parquet as pq

    build_manifest(root, policy(root, "train_stage1"))
    table = pq.read_table(manifest_path(root, "train_stage1"))
    assert table.schema.equals(TABLES["manifest"].schema)
