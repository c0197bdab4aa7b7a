"""Burnt-in text and hands on a real face: frames of the sample with a hand, and letters drawn on them."""

from collections.abc import Iterator

import numpy as np
import pytest
from PIL import Image, ImageDraw, ImageFont

from emo_model import samples, weights
from emo_model.data.burnt_in_text import line_cores, text_area
from emo_model.data.clips import crop
from emo_model.data.hands import Hands
from emo_model.data.media import frames
from emo_model.data.quality import QUALITY_SCORES, picture_scores, sampled
from emo_model.data.records import TABLES
from emo_model.data.shards import run_step
from emo_model.data.store import DataRoot, write_rows

from .films import film

SQUARE = (270, 0, 360)  # around her head, in source pixels: x, y, side
FACE = [32.0, 35.0, 224.0, 250.0]  # in a crop of 256
SHOWS = {"hand": (4.0, 7.0), "laughs": (11.0, 14.0)}  # seconds of the sample
BOTH = ["hands_fraction", "text_area"]

pytestmark = pytest.mark.weights


@pytest.fixture(scope="module")
def pictures() -> dict[str, list[np.ndarray]]:
    """Crops of 256 of what SHOWS names, and `caption`: the laugh with a line of text below."""
    path = samples.default_folder() / "videos/actress/WolfgangLanger_Pexels.mp4"
    if not path.is_file():
        pytest.skip("no sample media; run: emo samples get")
    found: dict[str, list[np.ndarray]] = {name: [] for name in SHOWS}
    for t_s, picture in frames(path):
        for name, (start_s, end_s) in SHOWS.items():
            if start_s <= t_s < end_s:
                found[name].append(crop(picture, *SQUARE, 256))
    return {**found, "caption": [captioned(picture) for picture in found["laughs"]]}


def captioned(picture: np.ndarray) -> np.ndarray:
    image = Image.fromarray(picture)
    draw = ImageDraw.Draw(image)
    draw.text((30, 225), "and then he said", font=ImageFont.load_default(20), fill="white", stroke_width=2,
              stroke_fill="black")  # fmt: skip
    return np.array(image)


@pytest.fixture
def root(tmp_path, pictures) -> DataRoot:
    """A root whose one video offers the three as clips."""
    root = DataRoot(tmp_path / "root").create()
    proposals, crops = [], []
    for name, shown in pictures.items():
        path = root.media("1_clips", "s0000", f"{name}.mp4")
        path.parent.mkdir(parents=True, exist_ok=True)
        film(path, shown, fps=30)
        row = {
            "clip_id": name, "video_id": "v", "shard": "s0000", "num_frames": len(shown), "input_sha256": name,
            "step_version": 1,
        }  # fmt: skip
        proposals.append({
            **row, "shot": 0, "start_s": 0.0, "end_s": 2.4, "crop_x": 0, "crop_y": 0, "crop_size": 360,
            "min_face_px": 200.0,
        })  # fmt: skip
        crops.append({
            **row, "path": root.relative(path), "size": 256, "sha256": name, "union_box": FACE, "phash": "0",
            "blur": 1.0, "face_hash": "",
        })  # fmt: skip
    write_rows(root.part("proposals", "s0000"), TABLES["proposals"], proposals)
    write_rows(root.part("crops", "s0000"), TABLES["crops"], crops)
    return root


def scores(root: DataRoot) -> dict[str, dict]:
    return {row["clip_id"]: row for row in root.read("quality").to_pylist()}


def test_a_hand_before_the_face_and_a_caption_are_found_and_nothing_else(root):
    assert run_step(QUALITY_SCORES, root, "s0000").done == 1
    rows = scores(root)
    assert rows["hand"]["hands_fraction"] >= 0.5
    assert rows["laughs"]["hands_fraction"] == rows["caption"]["hands_fraction"] == 0
    assert rows["hand"]["text_area"] == rows["laughs"]["text_area"] == 0
    assert rows["caption"]["text_area"] > 0.01
    assert all(row["no_model"] == [] for row in rows.values())


def test_text_area_is_the_share_that_the_line_covers(pictures):
    left, top, right, bottom = ImageFont.load_default(20).getbbox("and then he said", stroke_width=2)
    truth = (right - left) * (bottom - top) / 256**2
    assert text_area([line_cores(pictures["caption"][0])]) == pytest.approx(truth, rel=0.35)


def test_text_that_comes_and_goes_is_not_burnt_in(pictures):
    cores = [line_cores(pictures[name][0]) for name in ("caption", "caption", "laughs", "laughs", "laughs")]
    assert text_area(cores) == 0 and text_area(cores[:3]) > 0.01


def test_a_larger_crop_gives_the_same_answers(pictures):
    enlarged = [np.kron(picture, np.ones((2, 2, 1), np.uint8)) for picture in pictures["caption"]]
    assert text_area([line_cores(enlarged[0])]) == text_area([line_cores(pictures["caption"][0])])
    with Hands() as hands:
        large, small = (
            picture_scores(enumerate(shown), len(shown), [edge * scale for edge in FACE], hands, text=False)
            for shown, scale in ((pictures["hand"], 1), ([np.kron(p, np.ones((2, 2, 1), np.uint8))
                                                          for p in pictures["hand"]], 2))
        )  # fmt: skip
    assert abs(large["hands_fraction"] - small["hands_fraction"]) <= 0.25


def test_a_hand_counts_only_beside_the_face_and_at_a_hands_size(pictures):
    shown = pictures["hand"][30]
    with Hands() as hands:
        assert hands.near(shown, FACE)
        assert not hands.near(shown, [200.0, 0.0, 250.0, 50.0])  # another face, far from the hand
        assert not hands.near(shown, [0.0, -2000.0, 256.0, 256.0])  # beside a giant it is an ear's size


def test_without_weights_scores_are_null_and_named_and_are_made_when_the_weights_arrive(root, tmp_path, monkeypatch):
    there = weights.folder()
    monkeypatch.setenv("EMO_WEIGHTS", str(tmp_path / "none"))
    run_step(QUALITY_SCORES, root, "s0000")
    for row in scores(root).values():
        assert row["hands_fraction"] is None and row["text_area"] is None and row["no_model"] == BOTH
        assert 0 < row["brightness"] < 255
    (tmp_path / "one").mkdir()
    file = weights.REGISTRY["text_detector"].filename
    (tmp_path / "one" / file).symlink_to(there / file)
    monkeypatch.setenv("EMO_WEIGHTS", str(tmp_path / "one"))
    assert run_step(QUALITY_SCORES, root, "s0000").done == 1
    assert scores(root)["caption"]["text_area"] > 0 and scores(root)["hand"]["no_model"] == ["hands_fraction"]
    monkeypatch.setenv("EMO_WEIGHTS", str(there))
    assert run_step(QUALITY_SCORES, root, "s0000").done == 1
    assert scores(root)["hand"]["hands_fraction"] > 0 and scores(root)["hand"]["no_model"] == []
    assert run_step(QUALITY_SCORES, root, "s0000").done == 0


def test_scores_made_again_are_the_same_bytes(root):
    part = root.part("quality", "s0000")
    run_step(QUALITY_SCORES, root, "s0000")
    before = part.read_bytes()
    part.unlink()
    assert run_step(QUALITY_SCORES, root, "s0000").done == 1
    assert part.read_bytes() == before


def test_a_long_clip_is_looked_at_one_picture_at_a_time_and_no_more_than_a_hundred(tmp_path):
    grey = np.full((64, 64, 3), 90, np.uint8)
    found = sampled(film(tmp_path / "long.mp4", [grey] * 360, fps=30), 360)
    assert isinstance(found, Iterator)
    numbers = [number for number, _ in found]
    assert numbers == sorted(set(numbers)) and numbers[-1] == 359 and len(numbers) <= 100
