"""Who is in training, who in test, and where the speed buckets come from."""

import json

import numpy as np
import pyarrow.parquet as pq
import pytest

from emo_model.data.manifests import build_manifest
from emo_model.data.near_duplicates import build_near_duplicates
from emo_model.data.policy import policy
from emo_model.data.records import TABLES
from emo_model.data.sources import finished_twice
from emo_model.data.splits import assign, build_speed_buckets, build_splits, speed_buckets, training_speeds
from emo_model.data.store import write_parquet, write_rows
from emo_model.errors import UserError
from emo_model.networks.config import SpeedBuckets

from .small_root import CLIPS, STAMP, small_root


@pytest.fixture
def root(tmp_path):
    return small_root(tmp_path)


def test_no_identity_is_in_both_splits_and_every_clip_has_one(root):
    report = build_splits(root)
    splits = {row["identity_id"]: row["split"] for row in root.read_single("splits").to_pylist()}
    people = {row["clip_id"]: row["identity_id"] for row in root.read_single("identities").to_pylist()}
    assert set(people) == set(CLIPS) and set(people.values()) == set(splits)
    assert len(root.read_single("splits")) == len(splits)  # one row a person: nobody is in two
    assert people["a0"] == people["a1"] == "Ada"
    assert report.people["test"] >= 1 and report.unknown_people == 1


def test_an_unnamed_video_is_one_unknown_person_named_by_the_video(root):
    build_splits(root)
    rows = {row["clip_id"]: row for row in root.read_single("identities").to_pylist()}
    assert rows["u0"]["identity_id"] == rows["u1"]["identity_id"] == "unknown:vu"
    assert "assumed" in rows["u0"]["method"]


def test_about_a_tenth_of_the_hours_is_held_out():
    hours = {f"person {number}": 1.0 for number in range(200)}
    test = [person for person, place in assign(hours, set()).items() if place["split"] == "test"]
    assert len(test) == 20


def test_two_people_give_one_each_and_one_person_is_trained_on():
    assert sorted(place["split"] for place in assign({"x": 5.0, "y": 1.0}, {"x", "y"}).values()) == ["test", "train"]
    assert assign({"x": 5.0, "y": 1.0}, {"x", "y"})["y"]["split"] == "test"  # the fewest hours
    assert [place["split"] for place in assign({"x": 5.0}, {"x"}).values()] == ["train"]
    assert assign({}, set()) == {}


def test_a_test_split_without_sound_gets_a_speaker_while_one_stays_in_training():
    hours = {"silent": 0.1, "x": 5.0, "y": 1.0}
    splits = {person: place["split"] for person, place in assign(hours, {"x", "y"}).items()}
    assert splits == {"silent": "test", "x": "train", "y": "test"}
    assert assign(hours, {"x"})["x"]["split"] == "train"  # the only one to learn from


def test_the_split_does_not_depend_on_the_order_of_the_clips():
    hours = {f"p{number}": float(number % 7 + 1) for number in range(40)}
    assert assign(hours, set(hours)) == assign(dict(sorted(hours.items(), reverse=True)), set(hours))


def test_buckets_are_quantiles_of_the_training_peoples_frames_only(root):
    build_splits(root)
    splits = {row["identity_id"]: row["split"] for row in root.read_single("splits").to_pylist()}
    frames = sum(n for _, who, n, *_ in CLIPS.values() if splits[who or "unknown:vu"] == "train")
    assert len(training_speeds(root)) == frames < sum(n for _, _, n, *_ in CLIPS.values())


def test_centres_are_the_quantiles_and_the_written_file_is_a_set_of_buckets(root):
    speeds = np.linspace(0, 1.8, 18001)
    buckets, source = speed_buckets(speeds)
    assert buckets.centres == pytest.approx(np.arange(0.1, 1.8, 0.2), abs=1e-3)
    assert buckets.radii == pytest.approx(np.full(9, 0.2), abs=1e-3)
    assert "18001" in source
    build_splits(root)
    report = build_speed_buckets(root)
    written = json.loads((root.path / "5_manifest" / "speed_buckets.json").read_text())
    assert SpeedBuckets.model_validate(written) == report.buckets and written["source"] == report.source


def test_too_few_frames_or_one_speed_fall_back_to_the_fixed_table_and_say_so():
    for speeds, why in ((np.linspace(0, 2, 100), "900 wanted"), (np.full(2000, 0.7), "coincide")):
        buckets, source = speed_buckets(speeds)
        assert buckets == SpeedBuckets() and source.startswith("the fixed table") and why in source


def test_a_person_keeps_their_side_when_hours_grow():
    hours = {f"p{k}": 1.0 + k for k in range(20)}
    first = assign(hours, set(hours))
    later = assign({**hours, **{f"q{k}": 3.0 for k in range(60)}}, set(hours), first)
    assert {person: later[person] for person in first} == first
    test_hours = sum(3.0 for person in later if person not in first and later[person]["split"] == "test")
    assert test_hours > 0, "new people are dealt too"


def test_a_person_whose_clips_are_gone_keeps_their_side():
    first = assign({"x": 5.0, "y": 1.0}, {"x", "y"})
    assert assign({"x": 5.0}, {"x"}, first)["y"] == first["y"]


def side(places: dict, person: str) -> str:
    return places[person]["split"]


def test_people_who_belong_together_are_dealt_together():
    hours = {f"p{k}": 1.0 for k in range(60)}
    together = {f"p{k}": f"p{k // 3 * 3}" for k in range(60)}
    places = assign(hours, set(hours), together=together)
    assert all(side(places, person) == side(places, first) for person, first in together.items())
    assert sum(side(places, person) == "test" for person in hours) == 6


def test_a_tested_person_who_turns_out_to_be_a_trained_one_trains_and_the_rule_says_why():
    before = {"x": {"split": "test", "rule": "r"}, "y": {"split": "train", "rule": "r"}}
    places = assign({"x": 1.0, "y": 5.0, "z": 1.0}, {"x", "y", "z"}, before, together={"x": "x", "y": "x"})
    assert places["x"] == {"split": "train", "rule": "train: one side with y"} and places["y"] == before["y"]
    assert side(places, "z") == "test", "somebody must be tested"


def test_a_part_of_a_person_keeps_the_side_that_its_videos_had():
    """A cluster that parts: the part with a new id is not dealt anew."""
    hours, before = {"old": 1.0, "new": 1.0, "big": 50.0}, {"old": {"split": "train", "rule": "r"}}
    assert side(assign(hours, set(hours), before, remembered={"new": {"train"}}), "new") == "train"
    assert side(assign(hours, set(hours), {}, remembered={"new": {"test"}}), "new") == "test"
    trained = assign(hours, set(hours), {"new": {"split": "test", "rule": "r"}}, remembered={"new": {"train"}})
    assert trained["new"] == {"split": "train", "rule": "train: their videos were there"}


def test_a_collections_side_counts_until_somebody_is_trained_on():
    fixed = {"x": {"test"}, "host": {"train"}}
    places = assign({"x": 1.0, "host": 1.0}, {"x"}, fixed=fixed)
    assert (side(places, "x"), side(places, "host")) == ("test", "train")
    assert side(assign({"x": 1.0, "host": 1.0}, {"x"}, fixed=fixed, together={"x": "host"}), "x") == "train"


def embedded(root, faces: dict[str, float]) -> None:
    """Embeddings on a line: one number a clip."""
    rows = [
        {"clip_id": clip, "video_id": CLIPS[clip][0], "embedding": [at, *[0.0] * 127], "spread": 0.1, "looks": 4,
         "network": "n", "network_sha256": "s", "no_model": [], **STAMP}
        for clip, at in faces.items()
    ]  # fmt: skip
    write_rows(root.part("face_embeddings", "s0000"), TABLES["face_embeddings"], rows)


def test_growth_merging_and_parting_never_bring_a_trained_person_into_the_test(root):
    build_splits(root)
    first = {row["identity_id"]: row["split"] for row in root.read_single("splits").to_pylist()}
    assert set(first.values()) == {"train", "test"}
    trained = next(clip for clip, (video, who, *_) in CLIPS.items() if first[who or f"unknown:{video}"] == "train")
    tested = next(clip for clip, (video, who, *_) in CLIPS.items() if first[who or f"unknown:{video}"] == "test")
    embedded(root, {trained: 0.0, tested: 0.1})  # one face on both sides
    report = build_splits(root)
    people = {row["clip_id"]: row for row in root.read_single("identities").to_pylist()}
    splits = {row["identity_id"]: row["split"] for row in root.read_single("splits").to_pylist()}
    assert people[trained]["face_id"] == people[tested]["face_id"]
    assert splits[people[trained]["identity_id"]] == splits[people[tested]["identity_id"]] == "train"
    assert len(report.moved) == 1
    embedded(root, {})  # the weights are gone again: who trained stays there
    build_splits(root)
    splits = {row["identity_id"]: row["split"] for row in root.read_single("splits").to_pylist()}
    assert all(splits[row["identity_id"]] == "train" for row in root.read_single("identities").to_pylist()
               if row["clip_id"] in (trained, tested))  # fmt: skip


def test_two_names_of_one_face_are_in_the_report_and_in_a_table(root):
    embedded(root, {"a0": 0.0, "b0": 0.1})
    report = build_splits(root)
    assert report.conflicts == ("two names, one face: Ada, Ben (0.10)",)
    assert len(root.read_single("identity_conflicts")) == 1


def test_a_second_build_changes_no_byte(root):
    embedded(root, {"a0": 0.0, "b0": 2.0, "u0": 4.0, "u1": 6.0})
    report = build_splits(root)
    before = {path: path.read_bytes() for path in root.folder("5_manifest").glob("*.parquet")}
    assert build_splits(root) == report
    assert {path: path.read_bytes() for path in root.folder("5_manifest").glob("*.parquet")} == before
    people = {row["clip_id"]: row["identity_id"] for row in root.read_single("identities").to_pylist()}
    assert (people["u0"], people["u1"]) == ("unknown:vu", "unknown:vu:2")


def test_one_video_in_two_shards_is_refused_with_the_command_that_mends_it(tmp_path) -> None:
    root = small_root(tmp_path)
    rows = [{**row, "shard": "s0001"} for row in root.read("videos", "s0000").to_pylist() if row["status"] == "ok"]
    write_rows(root.part("videos", "s0001"), TABLES["videos"], rows[:1])
    assert finished_twice(root) == ["s0001"]
    for build in (build_splits, build_near_duplicates, lambda root: build_manifest(root, policy(root, "eval"))):
        with pytest.raises(UserError, match="run: emo prepare --shard s0001"):
            build(root)


def test_clips_whose_faces_nobody_looked_at_are_counted(root) -> None:
    assert build_splits(root).unseen_clips == len(CLIPS)
    row = dict.fromkeys(TABLES["face_embeddings"].schema.names) | {"clip_id": "a0", "video_id": "va", "looks": 0}
    rows = [{**row, "no_model": ["embedding"], **STAMP}]
    write_rows(root.part("face_embeddings", "s0000"), TABLES["face_embeddings"], rows)
    assert build_splits(root).unseen_clips == len(CLIPS) - 1


def test_a_part_of_another_version_is_named_with_the_command_that_makes_it_anew(root) -> None:
    part = root.part("clip_rows", "s0000")
    write_parquet(part, pq.read_table(part, partitioning=None).drop_columns(["brightness"]))
    with pytest.raises(UserError, match="clip_rows/shard=s0000/part.parquet.*run: emo prepare --shard s0000"):
        root.read("clip_rows")
    assert root.read("clip_rows", columns=["clip_id"]).num_rows == len(CLIPS)  # what is there can still be read
