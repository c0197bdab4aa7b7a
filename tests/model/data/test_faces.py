"""The real landmarker on films drawn from real portraits: every bad input of a folder, and the good one beside it."""

import cv2
import numpy as np
import pytest

from emo_model import samples
from emo_model.data import clips, faces, fetch, probe
from emo_model.data.config import DataConfig
from emo_model.data.media import frames
from emo_model.data.shards import run_step
from emo_model.data.sources import add_folder, registered
from emo_model.data.store import DataRoot
from tests.model.data.films import clicks, film

FPS, SIZE = 12, (320, 240)
BACKGROUND = np.full((SIZE[1], SIZE[0], 3), (90, 110, 100), np.uint8)


def _portrait(name: str, height: int, part: tuple[slice, slice]) -> np.ndarray:
    picture = cv2.imread(str(samples.default_folder() / "portraits" / name))[part]
    width = round(picture.shape[1] * height / picture.shape[0])
    return cv2.resize(picture, (width, height), interpolation=cv2.INTER_AREA)[..., ::-1]


def _picture(*placed: tuple[np.ndarray, int, int]) -> np.ndarray:
    """Portraits (picture, x, y) on a plain background; what lies outside is cut off."""
    canvas = BACKGROUND.copy()
    for portrait, x, y in placed:
        height, width = portrait.shape[:2]
        left, right = max(0, x), min(SIZE[0], x + width)
        if left < right:
            canvas[y : y + height, left:right] = portrait[:, left - x : right - x]
    return canvas


@pytest.fixture(scope="module")
def woman() -> np.ndarray:
    return _portrait("astronaut.png", 200, (slice(0, 256), slice(100, 356)))


@pytest.fixture(scope="module")
def root(tmp_path_factory, woman) -> DataRoot:
    """A folder with one of everything, taken through every step as `emo prepare` does."""
    raw = tmp_path_factory.mktemp("raw")
    small = cv2.resize(woman, (44, 44), interpolation=cv2.INTER_AREA)
    second = cv2.resize(woman, (130, 130), interpolation=cv2.INTER_AREA)

    def write(name: str, seconds: float, at, sound_s: float | None = None) -> None:
        pictures = (_picture(*at(number / FPS)) for number in range(round(seconds * FPS)))
        sound = None if sound_s is None else clicks([0.5], sound_s)
        film(raw / name, pictures, fps=FPS, sound=sound)

    write("good.mp4", 3.5, lambda t: [(woman, 60 + round(4 * t), 20)], sound_s=3.5)
    write("silent.mp4", 3.5, lambda t: [(woman, 50 + round(4 * t), 20)])
    write("nobody.mp4", 3.5, lambda t: [])
    write("two people.mp4", 3.5, lambda t: [(second, 10, 40), (second, 180 + round(3 * t), 40)])
    write("leaves.mp4", 6.0, lambda t: [(woman, 60 + round(180 * max(0, t - 3.7)), 20)])
    write("brief.mp4", 4.0, lambda t: [(woman, 60 + round(180 * max(0, t - 1)), 20)])
    write("small.mp4", 3.5, lambda t: [(small, 140 + round(3 * t), 90)])
    (raw / 'zweite Größe "it\'s" – 名前.mp4').write_bytes((raw / "good.mp4").read_bytes())
    (raw / "empty.mp4").touch()
    (raw / "text.mp4").write_text("no video\n" * 50)
    (raw / "truncated.mp4").write_bytes((raw / "good.mp4").read_bytes()[:9000])
    root = DataRoot(tmp_path_factory.mktemp("data")).create()
    DataConfig(crop_size=128).save(root)
    add_folder(root, raw)
    for step in (fetch.STEP, probe.STEP, faces.STEP, clips.STEP):
        run_step(step, root, "s0000")
    return root


def _video_of(root: DataRoot) -> dict[str, str]:
    return {row["uri"]: row["video_id"] for row in root.read("videos").to_pylist()}


def _reasons(root: DataRoot, uri: str) -> set[str]:
    """Reasons of all rejects of one source, its video, its shots and its clips."""
    source = next(row["source_id"] for row in registered(root) if row["uri"] == uri)
    video = _video_of(root)[uri] or "none"
    names = (source, video, video[:12])
    return {row["reason"] for row in root.read("rejected").to_pylist() if row["id"].startswith(names)}


def _clips(root: DataRoot, uri: str) -> list[dict]:
    return [row for row in root.read("proposals").to_pylist() if row["video_id"] == _video_of(root)[uri]]


@pytest.mark.weights
@pytest.mark.parametrize(
    ("uri", "count", "reasons"),
    [
        ("good.mp4", 1, set()),
        ("silent.mp4", 1, set()),
        ("nobody.mp4", 0, {"no_face"}),
        ("two people.mp4", 0, {"two_faces"}),
        ("leaves.mp4", 1, {"face_lost"}),
        ("brief.mp4", 0, {"face_lost", "too_short"}),
        ("empty.mp4", 0, {"empty_file"}),
        ("text.mp4", 0, {"unreadable"}),
        ("truncated.mp4", 0, {"truncated"}),
    ],
)
def test_each_kind_of_film_ends_with_its_clips_or_its_reason(root, uri, count, reasons):
    assert len(_clips(root, uri)) == count
    assert _reasons(root, uri) == reasons


@pytest.mark.weights
def test_a_face_of_a_few_pixels_gives_no_clip_and_a_reason(root):
    assert not _clips(root, "small.mp4")
    assert _reasons(root, "small.mp4") <= {"no_face", "face_too_small", "face_lost"}
    assert _reasons(root, "small.mp4")


@pytest.mark.weights
def test_the_same_film_under_an_odd_name_is_a_duplicate_and_keeps_one_clip(root):
    names = ["good.mp4", 'zweite Größe "it\'s" – 名前.mp4']
    outcomes = {row["uri"]: row["reason"] for row in root.read("videos").to_pylist()}
    assert sorted(outcomes[name] or "" for name in names) == ["", "duplicate_of"]
    assert len(_clips(root, "good.mp4")) == 1


@pytest.mark.weights
def test_every_source_is_a_clip_or_a_reject(root):
    for row in registered(root):
        assert _clips(root, row["uri"]) or _reasons(root, row["uri"]), row["uri"]


@pytest.mark.weights
def test_landmarks_say_where_the_face_is_in_every_frame(root, woman):
    video = _video_of(root)["good.mp4"]
    seen = [row for row in root.read("landmarks").to_pylist() if row["video_id"] == video]
    assert [row["source_frame"] for row in seen] == list(range(42))
    assert all(row["faces"] == 1 and row["shot"] == 0 for row in seen)
    np.testing.assert_allclose([row["t_s"] for row in seen], np.arange(42) / FPS, atol=1e-4)
    centres = np.array([[row["box"][0] + row["box"][2], row["box"][1] + row["box"][3]] for row in seen]) / 2
    assert centres[-1, 0] - centres[0, 0] == pytest.approx(14, abs=2)  # it was moved by 14 pixels
    assert np.ptp(centres[:, 1]) < 3
    for row in seen:
        rotation = np.array(row["matrix"]).reshape(4, 4)[:3, :3]
        np.testing.assert_allclose(rotation @ rotation.T, np.eye(3), atol=1e-3)
        assert row["matrix"][11] < -10  # centimetres in front of the camera
        assert len(row["blendshapes"]) == 52
        assert 0 <= row["mouth_open"] < 1


@pytest.mark.weights
def test_the_crop_shows_the_face_where_the_union_box_says(root):
    (clip,) = _clips(root, "good.mp4")
    row = next(row for row in root.read("crops").to_pylist() if row["clip_id"] == clip["clip_id"])
    assert (row["num_frames"], row["size"]) == (clip["num_frames"], 128) == (105, 128)
    x0, y0, x1, y1 = row["union_box"]
    assert 0 <= x0 < x1 <= 128 and 0 <= y0 < y1 <= 128
    assert max(x1 - x0, y1 - y0) == pytest.approx(128 / 1.8, rel=0.1)
    with faces.Landmarker() as landmarker:
        shown = [landmarker.see(time, picture)["box"] for time, picture in list(frames(root.path / row["path"]))[::20]]
    for box in shown:
        assert box is not None
        assert box[0] > x0 - 6 and box[1] > y0 - 6 and box[2] < x1 + 6 and box[3] < y1 + 6


@pytest.mark.weights
def test_a_frame_is_seen_the_same_wherever_the_run_began(woman):
    pictures = [_picture((woman, 50 + number, 20)) for number in range(14)]

    def seen(first: int) -> np.ndarray:
        with faces.Landmarker() as landmarker:
            rows = [landmarker.see(number / FPS, pictures[number]) for number in range(first, 14)]
        return rows[-1]["matrix"].reshape(4, 4)

    turn = seen(0)[:3, :3] @ seen(8)[:3, :3].T
    assert np.degrees(np.arccos(np.clip((np.trace(turn) - 1) / 2, -1, 1))) < 0.3


def test_mouth_open_is_the_lips_gap_over_the_eyes_distance():
    landmarks = np.zeros((478, 2))
    landmarks[13], landmarks[14], landmarks[33], landmarks[263] = (50, 60), (50, 85), (0, 0), (100, 0)
    assert faces.mouth_open(landmarks) == 0.25


def test_the_second_faces_size_is_a_share_of_the_firsts():
    box = np.array([0, 0, 50, 100], np.float32)
    seen = np.zeros(3, faces.SEEN)
    seen["t_s"], seen["box"], seen["second_box"] = [0.0, 0.04, 0.08], box, np.nan
    seen["second_box"][0], seen["box"][2], seen["matrix"] = box / 2, np.nan, np.eye(4).ravel()
    found = faces.faces_of(seen, (640, 480))
    assert found.seconds.tolist() == [0.5, 0.0, 0.0]
    assert found.found.tolist() == [True, True, False]
    assert found.end_s == pytest.approx(0.12)
