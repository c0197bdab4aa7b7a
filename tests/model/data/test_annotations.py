"""CelebV-HQ's and VFHQ's lists, written by the test exactly as theirs are; their clips, and their whole videos."""

import json
from pathlib import Path

import cv2
import numpy as np
import pytest

from emo_model import samples
from emo_model.data import annotations, faces, fetch, pipeline, probe
from emo_model.data.annotations import Range
from emo_model.data.media import decode
from emo_model.data.shards import run_step
from emo_model.data.sources import add_folder, add_lists, registered, video_path
from emo_model.data.store import DataRoot
from emo_model.errors import UserError
from tests.model.data.films import film, numbered

FIRST, SECOND = "M2Ohb0FAaJU", "_0tf2n3rl-U"


@pytest.fixture
def root(tmp_path: Path) -> DataRoot:
    return DataRoot(tmp_path / "data").create()


def celebv_hq(path: Path, **changed: dict) -> Path:
    """The example of the data set's README, with a third clip."""

    def clip(id: str, start: float, end: float, top: float, bottom: float, left: float, right: float) -> dict:
        attributes = {"appearance": [0, 1], "action": [0], "emotion": {"sep_flag": False, "labels": "neutral"}}
        box = {"top": top, "bottom": bottom, "left": left, "right": right}
        duration = {"start_sec": start, "end_sec": end}
        return {"ytb_id": id, "duration": duration, "bbox": box, "attributes": attributes, "version": "v0.1"}

    clips = {
        f"{FIRST}_1": clip(FIRST, 81.62, 86.17, 0.0, 0.8815, 0.1964, 0.6922),
        f"{FIRST}_0": clip(FIRST, 84.0, 90.0, 0.1, 0.6, 0.5, 0.9),
        f"{SECOND}_0": clip(SECOND, 52.72, 56.1, 0.0, 0.8407, 0.5271, 1.0),
    } | changed
    mapping = {"appearance_mapping": ["Blurry", "Male"], "action_mapping": ["blow"]}
    path.write_text(json.dumps({"meta_info": mapping, "clips": clips}))
    return path


def vfhq(folder: Path, name: str, fps: str = "25.0", crop: str = "240 60 960 660", size: str = "720 1280") -> None:
    """One clip's file of meta_info: what stands in front of the last numbers of a line is not relied on."""
    folder.mkdir(exist_ok=True)
    height, width = size.split()
    head = [f"Video ID:\t{name.split('+')[1]}", f"H: {height}", f"W: {width}", f"FPS: {fps}", "", "FRAME INDEX X Y W H"]
    frames = [f"{number:08d} 0 300.0 100.0 200.0 250.0 1.0 2.0 3.0 4.0" for number in range(3)]
    (folder / f"{name}.txt").write_text("\n".join([*head, *frames, f"CROP: {crop}"]) + "\n")


# ---- CelebV-HQ ----


def test_celebv_hqs_clips_are_ranges_of_their_videos(tmp_path: Path) -> None:
    lists = annotations.read(celebv_hq(tmp_path / "celebvhq_info.json"))
    first, second = lists.by_name()[FIRST], lists.by_name()[SECOND]
    assert [(r.id, r.start_s, r.end_s) for r in first.ranges] == [
        (f"{FIRST}_1", 81.62, 86.17), (f"{FIRST}_0", 84.0, 90.0),
    ]  # fmt: skip
    assert first.url == f"https://www.youtube.com/watch?v={FIRST}" and second.person == f"youtube:{SECOND}"
    assert lists.defects == (f"{FIRST}_0 overlaps {FIRST}_1: the seconds of both are {FIRST}_1's",)
    assert "3 annotated ranges in 2 videos" in lists.summary() and lists.side(first.person) is None


def test_the_square_is_the_one_of_the_authors_script(tmp_path: Path) -> None:
    """download_and_process.py: expand by 0.02, denormalise, the centred square of the shorter side."""
    box = annotations.read(celebv_hq(tmp_path / "x.json")).by_name()[FIRST].ranges[0]
    # 1920 x 1080: bottom round(.9015 * 1080) = 974, left round(.1764 * 1920) = 339, right round(.7122 * 1920) = 1367
    assert box.square_in(1920, 1080) == (853 - 487, 0, 974)
    assert box.square_in(1280, 720) == (569 - 324, 0, 648)  # the same place in what the site serves
    assert Range("r", 0, 1, box=(0.5, 0.5, 0.5001, 0.9)).square_in(640, 480) is None


def test_a_clip_that_ends_before_it_starts_is_left_out_and_said(tmp_path: Path) -> None:
    bad = {"ytb_id": FIRST, "duration": {"start_sec": 5, "end_sec": 5}, "bbox": dict.fromkeys(("top", "left"), 0.1)}
    bad["bbox"] |= {"bottom": 0.05, "right": 0.5}
    no_box = {**bad, "duration": {"start_sec": 5, "end_sec": 9}}
    lists = annotations.read(celebv_hq(tmp_path / "x.json", **{f"{FIRST}_7": bad, f"{FIRST}_8": no_box}))
    assert f"{FIRST}_7: wanted start_sec < end_sec, got 5.0 and 5.0; it is left out" in lists.defects
    assert f"{FIRST}_8: no box; a square of ours is used" in lists.defects
    assert {r.id for r in lists.by_name()[FIRST].ranges} == {f"{FIRST}_{k}" for k in (0, 1, 8)}


def test_another_file_is_said_to_be_none(tmp_path: Path) -> None:
    (tmp_path / "other.json").write_text('{"clips": {"a_1": {"ytb_id": "x"}}}')
    with pytest.raises(UserError, match=r"is not CelebV-HQ's list: .* at clips\.a_1\.ytb_id"):
        annotations.read(tmp_path / "other.json")
    with pytest.raises(UserError, match="is not there"):
        annotations.read(tmp_path / "none.json")


def test_single_clips_share_their_videos_person_and_whole_videos_have_ranges(tmp_path: Path, root: DataRoot) -> None:
    raw = tmp_path / "raw"
    raw.mkdir()
    for number, name in enumerate((f"{FIRST}_0", f"{FIRST}_1", SECOND, "holiday")):
        (raw / f"{name}.mp4").write_bytes(bytes(number + 1))
    add_folder(root, raw, annotations=celebv_hq(tmp_path / "celebvhq_info.json"))
    rows = {Path(row["uri"]).stem: row for row in registered(root)}
    assert {name: row["identity_hint"] for name, row in rows.items()} == {
        f"{FIRST}_0": f"youtube:{FIRST}",
        f"{FIRST}_1": f"youtube:{FIRST}",
        SECOND: f"youtube:{SECOND}",
        "holiday": None,
    }
    assert {name for name, row in rows.items() if row["ranges"]} == {SECOND}
    assert {row["licence"] for row in rows.values()} == {
        "videos: their owners'; list: non-commercial research only (CelebV-HQ)"
    }
    assert rows[SECOND]["ranges"][0]["box"] == pytest.approx([0.5071, 0.0, 1.0, 0.8607])


def test_listed_videos_are_downloaded_once_however_many_clips_they_have(tmp_path: Path, root: DataRoot) -> None:
    lists = celebv_hq(tmp_path / "celebvhq_info.json")
    assert add_lists(root, lists).by_collection == {"celebv-hq": 2}
    assert add_lists(root, lists).new == 0
    assert [len(row["ranges"]) for row in registered(root)] == [2, 1]


def test_a_video_of_two_collections_stays_as_the_first_has_it(tmp_path: Path, root: DataRoot) -> None:
    """A line in a URL list once took ranges and licence from a video of a data set's lists."""
    add_lists(root, celebv_hq(tmp_path / "celebvhq_info.json"))
    before = registered(root)
    vfhq(tmp_path / "meta_info", f"Clip+{FIRST}+P0+C0+F10-110")
    (root.folder("0_raw") / "web.urls.txt").write_text(f"https://youtu.be/{SECOND}")
    report = add_lists(root, tmp_path / "meta_info")
    assert registered(root) == before
    assert report.skipped == (
        ("vfhq", "1 of its videos are in celebv-hq already, as which they stay"),
        ("web", "1 of its videos are in celebv-hq already, as which they stay"),
    )


@pytest.mark.weights
def test_only_annotated_seconds_become_clips_in_the_annotated_box(tmp_path: Path, root: DataRoot) -> None:
    raw = tmp_path / "raw"
    raw.mkdir()
    picture = _face(240)
    film(raw / f"{SECOND}.mp4", (np.roll(picture, n % 3, axis=1) for n in range(9 * 12)), fps=12)
    clip = {"ytb_id": SECOND, "duration": {"start_sec": 2.5, "end_sec": 7.0}, "attributes": {}}
    clip["bbox"] = {"top": 0.02, "bottom": 0.9, "left": 0.02, "right": 0.98}
    add_folder(root, raw, annotations=celebv_hq(tmp_path / "x.json", **{f"{SECOND}_0": clip}))
    for step in (fetch.STEP, probe.STEP, faces.STEP):
        run_step(step, root, "s0000")
    (found,) = root.read("proposals").to_pylist()
    assert (found["range_id"], found["start_s"], found["num_frames"]) == (f"{SECOND}_0", 2.5, 135)
    assert (found["crop_x"], found["crop_y"], found["crop_size"]) == (10, 0, 220)


# ---- VFHQ ----


def test_vfhqs_clips_are_frames_between_those_of_their_names(tmp_path: Path) -> None:
    """F1537-1825: the authors' script takes frames 1538 to 1824."""
    name = f"Clip+{FIRST}+P0+C2+F1537-1825"
    vfhq(tmp_path / "meta_info", name)
    vfhq(tmp_path / "meta_info", f"Clip+{FIRST}+P1+C0+F100-300", fps="29.97002997002997")
    lists = annotations.read(tmp_path / "meta_info")
    (video,) = lists.videos
    times = np.arange(3000) / 25
    inside = np.flatnonzero((times >= video.ranges[1].start_s) & (times < video.ranges[1].end_s))
    assert (inside[0], inside[-1]) == (1538, 1824) and video.ranges[1].id == name
    assert video.ranges[1].square_in(1280, 720) == (300, 60, 600)  # the crop is wider than high
    assert video.ranges[1].square_in(640, 360) == (150, 30, 300)
    assert lists.fps == {name: 25.0, f"Clip+{FIRST}+P1+C0+F100-300": 29.97002997002997} and lists.defects == ()


def test_vfhqs_defects_are_said(tmp_path: Path) -> None:
    vfhq(tmp_path, f"Clip+{FIRST}+P0+C0+F1-90", fps="")
    vfhq(tmp_path, f"Clip+{FIRST}+P0+C1+F100-190", crop="")
    vfhq(tmp_path, f"Clip+{FIRST}+P0+C2+F150-250", crop="0 0 1281 720")
    lists = annotations.read(tmp_path)
    assert lists.defects == (
        f"Clip+{FIRST}+P0+C0+F1-90: no FPS, so no time; it is left out",
        f"Clip+{FIRST}+P0+C1+F100-190: no CROP, H and W that fit; a square of ours is used",
        f"Clip+{FIRST}+P0+C2+F150-250: no CROP, H and W that fit; a square of ours is used",
        f"Clip+{FIRST}+P0+C2+F150-250 overlaps Clip+{FIRST}+P0+C1+F100-190: the seconds of both are "
        f"Clip+{FIRST}+P0+C1+F100-190's",
    )


@pytest.mark.parametrize(
    "stem",
    [f"Clip+{SECOND}+P0+C0+F205-350", f"Clip+{SECOND}+P1+C3", f"Clip+{SECOND}+P0+C0+F205-350_206clip"],
)
def test_vfhqs_files_name_their_video(stem: str) -> None:
    assert annotations.person_of_file("vfhq", stem) == f"youtube:{SECOND}"
    assert annotations.person_of_file("vfhq", "Clip of my holiday") is None


def _pictures(folder: Path, count: int, first: int = 0) -> Path:
    folder.mkdir(parents=True)
    for number, picture in enumerate(numbered(count), start=first):
        cv2.imwrite(str(folder / f"{number:08d}.png"), picture[..., ::-1])
    return folder


def test_a_folder_of_pictures_is_a_video_of_the_listed_rate_and_nothing_is_lost(tmp_path: Path, root: DataRoot) -> None:
    name, unlisted = f"Clip+{FIRST}+P0+C0+F10-40", f"Clip+{FIRST}+P0+C9+F10-40"
    _pictures(tmp_path / "raw" / "train" / name, 29, first=11)
    _pictures(tmp_path / "raw" / "train" / unlisted, 3)
    (tmp_path / "raw" / "train" / "notes.txt").write_text("x")
    vfhq(tmp_path / "meta_info", name, fps="24.0")
    report = add_folder(root, tmp_path / "raw", annotations=tmp_path / "meta_info")
    assert [row["uri"] for row in registered(root)] == [f"train/{name}/"]
    assert report.skipped[0][0] == f"train/{unlisted}/" and "no list says how many a second" in report.skipped[0][1]
    for step in (fetch.STEP, probe.STEP):
        run_step(step, root, "s0000")
    (video,) = root.read("videos").to_pylist()
    assert (video["status"], video["fps"], video["has_audio"], video["width"]) == ("ok", 24.0, False, 64)
    assert video["identity_hint"] == f"youtube:{FIRST}"
    shown = list(decode(video_path(root, "s0000", video["video_id"])))
    assert np.allclose([frame.t_s for frame in shown], np.arange(29) / 24, atol=1e-4)
    assert all((frame.rgb() == picture).all() for frame, picture in zip(shown, numbered(29), strict=True))
    assert [run_step(step, root, "s0000").done for step in (fetch.STEP, probe.STEP)] == [0, 0]
    (tmp_path / "raw" / "train" / name / "00000039.png").unlink()
    assert [run_step(step, root, "s0000").done for step in (fetch.STEP, probe.STEP)] == [1, 1]
    assert len(list((tmp_path / "raw" / "train" / name).iterdir())) == 28  # theirs, as they were


@pytest.mark.parametrize("content", [b"", b"no picture", b"\x89PNG\r\n\x1a\n" + bytes(50)])
def test_a_folder_whose_first_picture_is_none_is_a_reject(tmp_path: Path, root: DataRoot, content: bytes) -> None:
    name = f"Clip+{FIRST}+P0+C0+F10-40"
    folder = _pictures(tmp_path / "raw" / name, 5)
    (folder / "00000000.png").write_bytes(content)
    vfhq(tmp_path / "meta_info", name)
    add_folder(root, tmp_path / "raw", annotations=tmp_path / "meta_info")
    for step in (fetch.STEP, probe.STEP):
        run_step(step, root, "s0000")
    assert [row["reason"] for row in root.read("videos").to_pylist()] == ["unreadable"]


@pytest.mark.weights
def test_vfhqs_silent_clips_serve_stage_1_and_not_stage_2(tmp_path: Path, root: DataRoot) -> None:
    name = f"Clip+{FIRST}+P0+C0+F10-110"
    folder, picture = tmp_path / "raw" / name, _face(200)
    folder.mkdir(parents=True)
    for number in range(100):
        cv2.imwrite(str(folder / f"{number:08d}.png"), np.roll(picture, number % 3, axis=1)[..., ::-1])
    vfhq(tmp_path / "meta_info", name)
    add_folder(root, tmp_path / "raw", annotations=tmp_path / "meta_info")
    report = pipeline.prepare(root)
    assert report.clips == 1
    assert report.dataset["train_manifest_stage1"].clips == 1 and report.dataset["train_manifest_stage2"].clips == 0
    assert report.dataset["train_manifest_stage2"].rejects == {"no_audio": 1}
    (clip,) = root.read("clip_rows").to_pylist()
    assert clip["identity_hint"] == f"youtube:{FIRST}" and not clip["has_audio"]


def _face(side: int) -> np.ndarray:
    picture = cv2.imread(str(samples.default_folder() / "portraits" / "astronaut.png"))[:256, 100:356, ::-1]
    return cv2.resize(picture, (side, side), interpolation=cv2.INTER_AREA)
