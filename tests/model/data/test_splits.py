"""Who is in training, who in test, and where the speed buckets come from."""

import json

import numpy as np
import pytest

from emo_model.data.splits import assign, build_speed_buckets, build_splits, speed_buckets, training_speeds
from emo_model.networks.config import SpeedBuckets

from .small_root import CLIPS, small_root


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
