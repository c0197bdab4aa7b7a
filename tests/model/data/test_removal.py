"""Somebody is taken out: their rows, files and manifests' clips go; the raw file, and everybody else, stay."""

import json
import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest

from emo_model import samples
from emo_model.data import clips, faces, fetch, probe
from emo_model.data.config import DataConfig
from emo_model.data.records import IDENTITIES, MANIFEST
from emo_model.data.removal import Removed, remove
from emo_model.data.shards import run_step
from emo_model.data.sources import add_folder, register
from emo_model.data.store import DataRoot, write_rows
from emo_model.errors import UserError
from tests.model.data.films import film

STEPS = (fetch.STEP, probe.STEP, faces.STEP, clips.STEP)


@pytest.fixture
def root(tmp_path: Path) -> DataRoot:
    """Two people with a film each, named by their folders."""
    picture = cv2.imread(str(samples.default_folder() / "portraits" / "astronaut.png"))[:256, 100:356, ::-1]
    picture = cv2.resize(picture, (200, 200), interpolation=cv2.INTER_AREA)
    for name, shift in (("ann", 1), ("bob", 3)):
        folder = tmp_path / "raw" / name
        folder.mkdir(parents=True)
        film(folder / "talk.mp4", (np.roll(picture, n % shift, axis=1) for n in range(42)), fps=12)
    root = DataRoot(tmp_path / "data").create()
    DataConfig(crop_size=64).save(root)
    add_folder(root, tmp_path / "raw", identity="folder")
    prepare(root)
    return root


def prepare(root: DataRoot) -> None:
    register(root)
    for step in STEPS:
        run_step(step, root, "s0000")


def videos(root: DataRoot) -> dict[str, str]:
    """Person -> video, of those in use."""
    rows = root.read("videos").to_pylist()
    return {row["identity_hint"]: row["video_id"] for row in rows if row["status"] == "ok"}


def crops(root: DataRoot) -> dict[str, tuple[str, int]]:
    """Clip files that are there: name -> (their video's id, time of change)."""
    return {p.name: (p.stem[:12], p.stat().st_mtime_ns) for p in (root.path / "1_clips").rglob("*.mp4")}


def trained(root: DataRoot, run: str, video: str | None, start: str | None = None) -> None:
    """A training run's record of its clips."""
    folder = root.folder("6_checkpoints") / run
    folder.mkdir(parents=True)
    at = str(root.folder("6_checkpoints") / start / "checkpoints" / "step-0000001") if start else None
    (folder / "run.json").write_text(json.dumps({"start": at}))
    row = dict.fromkeys(MANIFEST.schema.names, "x") | {"video_id": video, "start_s": 0.0, "num_frames": 9, "size": 64}
    row |= {"union_box": [0.0] * 4, "sound_shift_frames": 0, "mean_speed": None}
    write_rows(folder / "clips.parquet", MANIFEST, [row] if video else [])


@pytest.mark.weights
def test_a_person_goes_with_all_that_was_made_of_them_and_stays_out(root: DataRoot, tmp_path: Path) -> None:
    ann, bob, before = videos(root)["ann"], videos(root)["bob"], crops(root)
    assert {name[:12] for name in before} == {ann[:12], bob[:12]}
    trained(root, "image/one", ann)
    trained(root, "video/two", bob, start="image/one")  # it learned from Bob only, but went on from Ann
    trained(root, "image/three", bob)
    for video in (ann, bob):
        clip = f"{video[:12]}_00000000.mp4"
        for made in (f"run/ours/{clip}", f"run/compared/{clip[:-4]}.png", f"run/ours/{clip}.partial/film-0000000.mp4"):
            (root.folder("7_generated") / made).parent.mkdir(parents=True, exist_ok=True)
            (root.folder("7_generated") / made).write_bytes(b"")
        (root.path / "methods" / "theirs").mkdir(parents=True, exist_ok=True)
        (root.path / "methods" / "theirs" / clip.replace("mp4", "webm")).write_bytes(b"")
        (root.folder("8_evaluation") / "truth").mkdir(exist_ok=True)
        (root.folder("8_evaluation") / "truth" / f"{video[:12]}_00000000-{'f' * 12}.mp4").write_bytes(b"")
    (root.folder("8_evaluation") / "features").mkdir()
    (root.folder("8_evaluation") / "features" / "seen.json").write_text("{}")
    done = remove(root, "ann")
    assert [path.name[:12] for path in root.folder("8_evaluation").rglob("*.*")] == [bob[:12]]
    of_ann = (
        f"7_generated/run/compared/{ann[:12]}_00000000.png",
        f"7_generated/run/ours/{ann[:12]}_00000000.mp4",
        f"7_generated/run/ours/{ann[:12]}_00000000.mp4.partial",
        f"methods/theirs/{ann[:12]}_00000000.webm",
    )
    assert done.generated == of_ann
    prepare(root)
    assert set(videos(root)) == {"bob"}
    assert crops(root) == {name: place for name, place in before.items() if place[0] == bob[:12]}
    for table in ("landmarks", "proposals", "crops"):
        assert set(root.read(table, columns=["video_id"])["video_id"].to_pylist()) == {bob}
    (reject,) = root.read("rejected").to_pylist()
    assert reject["reason"] == "removed_by_request"
    raw = tmp_path / "raw" / "ann" / "talk.mp4"
    assert done.raw == (raw,) and raw.exists() and done.files == 3
    assert done.runs == ("6_checkpoints/image/one", "6_checkpoints/video/two")
    # the same bytes under another name, and other bytes of the same person
    (tmp_path / "raw" / "carl").mkdir()
    shutil.copy(raw, tmp_path / "raw" / "carl" / "other.mp4")
    shutil.copy(tmp_path / "raw" / "bob" / "talk.mp4", tmp_path / "raw" / "ann" / "new.mp4")
    for _ in range(2):
        prepare(root)
        assert set(videos(root)) == {"bob"}
    assert run_step(fetch.STEP, root, "s0000").done == 0  # and that is settled


@pytest.mark.weights
def test_one_video_is_named_by_its_id_and_an_unknown_name_is_an_error(root: DataRoot) -> None:
    with pytest.raises(UserError, match="nobody and nothing is called 'dora'"):
        remove(root, "dora")
    assert not (root.path / "0_raw" / "removed.json").exists()
    bob = videos(root)["bob"]
    assert remove(root, bob[:12]).videos == (bob,)
    prepare(root)
    assert set(videos(root)) == {"ann"}


@pytest.mark.weights
def test_whoever_shows_the_same_face_under_another_name_goes_too(root: DataRoot) -> None:
    """The table of people says that Ann's videos and Bob's show one face; a third name with another face stays."""
    people = [
        {"clip_id": f"{name} {n}", "video_id": video, "identity_id": name, "method": "m", "face_id": face}
        for name, video in videos(root).items()
        for n, face in enumerate(["one", "one", f"guest of {name}"])
    ]
    write_rows(root.single("identities"), IDENTITIES, people)
    assert set(remove(root, "ann").videos) == set(videos(root).values())
    assert Removed.of(root).people == {"ann", "bob"}


@pytest.mark.weights
def test_a_guests_face_does_not_take_the_host_along(root: DataRoot) -> None:
    ann, bob = videos(root)["ann"], videos(root)["bob"]
    faces = {"ann": ["a", "a", "guest"], "bob": ["guest", "b", "b"]}
    people = [
        {"clip_id": f"{name} {n}", "video_id": {"ann": ann, "bob": bob}[name], "identity_id": name, "method": "m",
         "face_id": face}
        for name, found in faces.items() for n, face in enumerate(found)
    ]  # fmt: skip
    write_rows(root.single("identities"), IDENTITIES, people)
    assert remove(root, "ann").videos == (ann,)
