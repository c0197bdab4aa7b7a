"""Whose face: on real faces of the samples, through the step as it runs over a shard."""

from pathlib import Path

import numpy as np
import pytest

from emo_model import samples, weights
from emo_model.data import clips, face_embeddings, faces, fetch, probe
from emo_model.data.face_embeddings import CANDIDATES, FACE_EMBEDDINGS, LOOKS, candidates
from emo_model.data.head_labels import HEAD_POSE, HEAD_SPEED
from emo_model.data.identities import Clip, people
from emo_model.data.shards import run_step
from emo_model.data.sources import add_folder, register
from emo_model.data.splits import embeddings
from emo_model.data.store import DataRoot
from tests.model.data.films import film

STEPS = (fetch.STEP, probe.STEP, faces.STEP, clips.STEP, HEAD_POSE, HEAD_SPEED)


def pose(frame: int, yaw: float | None = 0.0, height: float = 100) -> dict:
    return {"frame": frame, "yaw": yaw, "pitch": 0.0, "box": None if yaw is None else [0, 0, 80, height]}


def test_each_stretch_offers_its_most_frontal_frame_and_none_that_shows_no_face() -> None:
    poses = [pose(n, yaw=abs(n % 10 - 4) * 5) for n in range(60)]
    assert [row["frame"] for row in candidates(poses)] == [4, 14, 24, 34, 44, 54]
    assert len(candidates(poses)) == CANDIDATES
    assert candidates([pose(0, yaw=None), pose(1, yaw=80), pose(2, height=20)]) == []


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> DataRoot:
    """Two unnamed videos of one portrait, one of another person, and one of a man who talks."""
    import cv2

    from emo_model.data.config import DataConfig

    folder = tmp_path_factory.mktemp("raw")
    places = {name: samples.default_folder() / name for name in ("portraits/astronaut.png", "portraits/obama.jpg")}
    talk = samples.default_folder() / "videos/carphone/carphone_pristine.mp4"
    for path in (*places.values(), talk):
        if not path.exists():
            pytest.skip(f"wants {path.name}; run: emo samples get")
    for name, source, side in (("a", "portraits/astronaut.png", 512), ("b", "portraits/astronaut.png", 320),
                               ("c", "portraits/obama.jpg", 440)):  # fmt: skip
        picture = cv2.imread(str(places[source]))[:440, :440, ::-1]
        picture = cv2.resize(picture, (side, side), interpolation=cv2.INTER_AREA)
        film(folder / f"{name}.mp4", (np.roll(picture, n % 3, axis=1) for n in range(40)), fps=12)
    (folder / "d.mp4").write_bytes(talk.read_bytes())
    root = DataRoot(tmp_path_factory.mktemp("root")).create()
    DataConfig(crop_size=256).save(root)
    add_folder(root, folder)
    register(root)
    for step in (*STEPS, FACE_EMBEDDINGS):
        run_step(step, root, "s0000")
    return root


def names(root: DataRoot) -> dict[str, str]:
    """clip -> its video's file name."""
    uri = {row["video_id"]: Path(row["uri"]).stem for row in root.read("videos").to_pylist()}
    return {row["clip_id"]: uri[row["video_id"]] for row in root.read("crops").to_pylist()}


@pytest.mark.weights
def test_one_face_in_two_videos_lies_close_and_others_lie_apart(root: DataRoot) -> None:
    found, of = embeddings(root), names(root)
    assert set(of.values()) == {"a", "b", "c", "d"}
    faces_of = {name: found[clip] for clip, name in of.items()}
    assert np.linalg.norm(faces_of["a"] - faces_of["b"]) < 0.3
    for x, y in ("ac", "ad", "cd", "bc"):
        assert np.linalg.norm(faces_of[x] - faces_of[y]) > 0.6
    rows = people((Clip(clip, name, None) for clip, name in of.items()), found).rows
    person = {row["video_id"]: row["identity_id"] for row in rows}
    assert person["a"] == person["b"] and len(set(person.values())) == 3


@pytest.mark.weights
def test_a_row_says_how_many_frames_of_which_network_and_a_second_run_changes_nothing(root: DataRoot) -> None:
    for row in root.read("face_embeddings").to_pylist():
        assert 1 <= row["looks"] <= LOOKS and row["spread"] < 0.4 and row["no_model"] == []
        assert row["network_sha256"] == weights.lookup("dlib_face").sha256 and len(row["embedding"]) == 128
    before = root.part("face_embeddings", "s0000").read_bytes()
    assert run_step(FACE_EMBEDDINGS, root, "s0000").done == 0
    assert root.part("face_embeddings", "s0000").read_bytes() == before


@pytest.mark.weights
def test_without_the_weights_the_row_stays_and_names_them_and_their_arrival_is_noticed(
    root: DataRoot, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(face_embeddings, "_digests", tuple)
    assert run_step(FACE_EMBEDDINGS, root, "s0000").done == 4
    for row in root.read("face_embeddings").to_pylist():
        assert row["embedding"] is None and row["network"] is None and row["no_model"] == ["embedding"]
    assert embeddings(root) == {}
    monkeypatch.undo()
    assert run_step(FACE_EMBEDDINGS, root, "s0000").done == 4
    assert len(embeddings(root)) == 4
