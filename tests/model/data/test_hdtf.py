"""HDTF's lists, with every defect they have; and a video of which only the annotated seconds are used."""

import os
from pathlib import Path

import cv2
import numpy as np
import pytest

from emo_model import samples
from emo_model.data import faces, fetch, hdtf, probe
from emo_model.data.annotations import Range
from emo_model.data.config import DataConfig
from emo_model.data.shards import run_step
from emo_model.data.shots import Shot, annotated
from emo_model.data.sources import add_folder, add_lists, registered
from emo_model.data.splits import assign
from emo_model.data.store import DataRoot
from emo_model.errors import UserError
from tests.model.data.films import film

WATCH = "https://www.youtube.com/watch?v=video_id__"  # and one more letter
FILES = {
    "RD_video_url": f"Radio1 {WATCH}a\nRadio24 {WATCH}b\n",
    "RD_annotion_time": "Radio1.mp4 00:20-01:35\n",
    "RD_resolution": "Radio1.mp4 720\nRadio24.mp4 720\n",
    "RD_crop_wh": "Radio1_0.mp4 10 300 0 300\n",
    "WDA_video_url": f"\ufeffWhipJimClyburn {WATCH}c\nJamesClyburn1 {WATCH}c&t=5s\nAnnaEshoo {WATCH}d",
    "WDA_annotion_time": "WhipJimClyburn.mp4 00:05-04:40\nJamesClyburn1.mp4 00:05-04:40 \n"
    "AnnaEshoo.mp4 01:00-02:00 10:00-11:30",
    "WDA_resolution": "WhipJimClyburn.mp4 1080\nJamesClyburn1.mp4 1080\nAnnaEshoo.mp4 0\n",
    "WDA_crop_wh": "WhipJimClyburn_0.mp4 583 791 0 791\nJamesClyburn1_0.mp4 575 808 0 808\nAnnaEshoo_1.mp4 1 99 2 99\n",
    "WRA_video_url": f"MittRomney {WATCH}e\n",
    "WRA_annotion_time": "MittRomney.mp4 08:10-08:30 00:33-08:53\n",
    "WRA_resolution": "MittRomney.mp4 1080\n",
    "WRA_crop_wh": "MittRomney_0.mp4 614 964 0 964\n",
}


def write_lists(folder: Path, **changed: str) -> Path:
    folder.mkdir(exist_ok=True)
    for name, text in {**FILES, **changed}.items():
        (folder / f"{name}.txt").write_text(text, encoding="utf-8")
    return folder


@pytest.fixture
def lists(tmp_path: Path) -> Path:
    return write_lists(tmp_path / "lists")


def test_ranges_keep_the_numbers_of_the_annotation(lists: Path) -> None:
    videos = hdtf.read(lists).by_name()
    assert videos["WDA_AnnaEshoo"].ranges == (
        Range("WDA_AnnaEshoo_000", 60, 120),
        Range("WDA_AnnaEshoo_001", 600, 690, (1, 2, 99), None),
    )
    assert videos["RD_Radio1"].person is None and videos["RD_Radio1"].ranges[0].square == (10, 0, 300)
    assert {videos[name].person for name in ("WDA_WhipJimClyburn", "WDA_JamesClyburn1")} == {"JamesClyburn"}
    assert "RD_Radio24" not in videos


def test_every_defect_is_said(lists: Path) -> None:
    assert hdtf.read(lists).defects == (
        "RD_Radio24: a URL and no annotated time",
        "WDA_AnnaEshoo: no height; its squares cannot be used",
        "WDA_AnnaEshoo_000: no square; one of ours is used",
        "WRA_MittRomney_001: no square; one of ours is used",
        "WRA_MittRomney_001 overlaps WRA_MittRomney_000: the seconds of both are WRA_MittRomney_000's",
        "WDA_JamesClyburn1 is the same video as WDA_WhipJimClyburn",
    )


def test_the_split_is_by_person_and_radio_hosts_train(lists: Path) -> None:
    found = hdtf.read(lists)
    held = hdtf.split(found)
    people = {video.person for video in found.videos if video.person}
    assert 0 < len(held.test) < len(people) and held.hours * 3600 >= 0.1 * sum(v.seconds for v in found.videos)
    assert [found.side(person) for person in (None, *held.test)] == ["train"] + ["test"] * len(held.test)


@pytest.mark.parametrize(
    ("changed", "said"),
    [({"WRA_annotion_time": "MittRomney.mp4 8:10\n"}, "MM:SS-MM:SS"), ({"RD_video_url": "Radio1\n"}, "values")],
)
def test_a_line_that_is_not_understood_is_named(tmp_path: Path, changed: dict, said: str) -> None:
    with pytest.raises(UserError, match=said):
        hdtf.read(write_lists(tmp_path / "bad", **changed))


def test_a_missing_list_says_where_to_get_it(lists: Path) -> None:
    (lists / "WDA_crop_wh.txt").unlink()
    with pytest.raises(UserError, match=r"lacks WDA_crop_wh\.txt; get HDTF's lists: git clone"):
        hdtf.read(lists)


@pytest.mark.parametrize(
    ("size", "square"),
    [
        ((1920, 1080), (614, 0, 964)),
        ((1280, 720), (409, 0, 643)),  # the site serves another height than HDTF saw
        ((700, 720), None),  # a picture of another shape: the square lies outside
    ],
)
def test_squares_are_scaled_to_the_real_picture(size: tuple, square: tuple | None) -> None:
    assert Range("r", 0, 1, (614, 0, 964), 1080).square_in(*size) == square
    assert Range("r", 0, 1, (614, 0, 964), None).square_in(*size) is None


def test_parts_of_shots_lie_in_ranges_and_share_no_frame() -> None:
    times = np.arange(200) / 10
    shots = [Shot(0, 0, 120, 0.0, 12.0), Shot(1, 120, 200, 12.0, 20.0)]
    ranges = [Range("a", 10, 14), Range("b", 2, 11), Range("c", 30, 40)]
    parts = [(p.number, p.within.id, p.start_s, p.end_s) for p in annotated(shots, ranges, times) if p.within]
    assert parts == [(0, "b", 2.0, 10.0), (0, "a", 10.0, 12.0), (1, "a", 12.0, 14.0)]


def test_one_video_under_two_names_is_one_source(tmp_path: Path, lists: Path) -> None:
    root = DataRoot(tmp_path / "data").create()
    assert add_lists(root, lists).total == 4 == add_lists(root, lists).total
    rows = {row["uri"].removeprefix(WATCH): row for row in registered(root)}
    assert set(rows) == {"a", "c", "d", "e"}
    assert [stretch["id"] for stretch in rows["c"]["ranges"]] == ["WDA_WhipJimClyburn_000"]
    assert rows["a"]["split_hint"] == "train" and rows["a"]["identity_hint"] is None
    assert rows["e"]["ranges"][1]["square"] is None


def test_a_collections_split_counts_unless_the_person_had_a_side() -> None:
    dealt = assign(
        {"a": 1.0, "b": 1.0}, {"a", "b"}, {"b": {"split": "train", "rule": "x"}}, {"a": {"test"}, "b": {"test"}}
    )
    assert {person: place["split"] for person, place in dealt.items()} == {"a": "test", "b": "train"}


@pytest.mark.weights
def test_only_annotated_seconds_become_clips_in_the_annotated_square(tmp_path: Path) -> None:
    """13 s of a face; 00:01-00:05 with a square for a picture twice as high, 00:07-00:11 without one, and a
    range behind the end."""
    picture = cv2.imread(str(samples.default_folder() / "portraits" / "astronaut.png"))[:256, 100:356, ::-1]
    picture = cv2.resize(picture, (240, 240), interpolation=cv2.INTER_AREA)
    raw = tmp_path / "raw"
    raw.mkdir()
    film(raw / "MittRomney.mp4", (np.roll(picture, n % 3, axis=1) for n in range(13 * 12)), fps=12)
    lists = write_lists(
        tmp_path / "lists",
        WRA_annotion_time="MittRomney.mp4 00:01-00:05 00:07-00:11 00:20-00:25\n",
        WRA_resolution="MittRomney.mp4 480\n",
        WRA_crop_wh="MittRomney_0.mp4 20 440 10 440\n",
    )
    root = DataRoot(tmp_path / "data").create()
    add_folder(root, raw, annotations=lists)
    for step in (fetch.STEP, probe.STEP, faces.STEP):
        run_step(step, root, "s0000")
    first, second = root.read("proposals").to_pylist()
    assert (first["range_id"], second["range_id"]) == ("WRA_MittRomney_000", "WRA_MittRomney_001")
    assert (first["start_s"], first["num_frames"]) == (1.0, 120)
    assert (first["crop_x"], first["crop_y"], first["crop_size"]) == (10, 5, 220)
    assert second["start_s"] == 7.0 and second["crop_size"] <= 240 and DataConfig.of(root).crop_expansion > 1
    looked = {row["t_s"] for row in root.read("landmarks").to_pylist() if row["faces"]}
    assert min(looked) >= 1 and max(looked) < 11 and not any(5 <= t < 7 for t in looked)
    (gone,) = [row for row in root.read("rejected").to_pylist() if row["reason"] == "no_frames"]
    assert gone["id"].endswith(":WRA_MittRomney_002") and gone["detail"] == "20 to 25 s of a video of 13.0 s"
    shots = root.read("shots").to_pylist()
    assert [(shot["start_frame"], shot["end_frame"]) for shot in shots] == [(0, 156)]  # the video's, whole


def test_hdtfs_own_lists() -> None:
    """The published numbers. EMO_HDTF names a copy of HDTF_dataset."""
    folder = os.environ.get("EMO_HDTF")
    if not folder:
        pytest.skip("no HDTF lists; run: git clone https://github.com/MRzzm/HDTF, export EMO_HDTF=HDTF/HDTF_dataset")
    found = hdtf.read(Path(folder))
    assert found.summary() == (
        "436 annotated ranges in 369 videos, 17.07 h: 219 named people and 56 radio videos of unknown hosts "
        "(train only); test: 29 people, 46 ranges, 1.72 h"
    )
    assert sum(r.square is not None for video in found.videos for r in video.ranges) == 421
