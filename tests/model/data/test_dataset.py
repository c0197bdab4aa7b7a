"""Batches hold the frames, sounds, speeds and regions that their indices say, all from (seed, step)."""

import json
from collections.abc import Iterator
from pathlib import Path

import av
import numpy as np
import pyarrow.parquet as pq
import pytest
import torch

from emo_model.config import TINY
from emo_model.data import dataset, frames, media
from emo_model.data.dataset import ClipDataset, region_mask
from emo_model.data.store import DataRoot, file_sha256
from emo_model.errors import UserError
from emo_model.train.config import RunSpec
from emo_model.train.loop import train
from emo_model.train.stages import IMAGE, SPEED, VIDEO, Stage
from tests.model.clips_on_disk import LAYERS, WIDTH, face_box, grey, make_root, write_video

NETWORK = TINY.network.model_copy(
    update={"audio_layers": LAYERS, "audio_width": WIDTH, "audio_encoder": "whisper_tiny_encoder"}
)
F, N, M = NETWORK.frames, NETWORK.motion_frames, NETWORK.nearby


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> DataRoot:
    return make_root(tmp_path_factory.mktemp("root"), {"long": 60, "short": F + N}, lost=range(40, 46))


def clips(root: DataRoot, stage: Stage, seed: int = 0) -> ClipDataset:
    return ClipDataset(root.path / "5_manifest" / "train.parquet", root, stage, NETWORK, seed)


def frame_shown(picture: torch.Tensor) -> int:
    """The frame number painted as grey into a picture (3, H, W)."""
    shade = float((picture[:, -4:, :4].mean() + 1) * 127.5)
    return round((shade - grey(0) + 1) / (grey(1) - grey(0)))


def all_batches(root: DataRoot, stage: Stage, count: int = 12):
    data = clips(root, stage)
    return [data.batch(step, 4) for step in range(count)]


def test_stage_1_pairs_are_two_different_frames_of_one_clip_and_say_which(root):
    for batch in all_batches(root, IMAGE):
        assert batch["pixels"].shape == (4, 1, 3, 64, 64) and batch["reference"].shape == (4, 3, 64, 64)
        for i in range(4):
            assert frame_shown(batch["pixels"][i, 0]) == batch["frame"][i]
            assert frame_shown(batch["reference"][i]) == batch["reference_frame"][i]
            assert batch["frame"][i] != batch["reference_frame"][i]


def test_windows_show_motion_frames_then_consecutive_frames(root):
    for batch in all_batches(root, VIDEO):
        for i, first in enumerate(batch["frame"].tolist()):
            shown = [frame_shown(p) for p in torch.cat([batch["motion"][i], batch["pixels"][i]])]
            assert shown == list(range(first - N, first + F))


def test_windows_hear_and_turn_with_real_neighbours_and_repeat_only_the_clips_edge(root):
    lengths, at_edge = {"long": 60, "short": F + N}, 0
    for batch in all_batches(root, SPEED):
        for i, (name, first) in enumerate(zip(batch["clip_id"], batch["frame"].tolist(), strict=True)):
            near = np.clip(np.arange(first - M, first + F + M), 0, lengths[name] - 1)
            at_edge += near[-1] == near[-2]
            assert batch["audio"][i].shape == (F + 2 * M, LAYERS, WIDTH)
            assert (batch["audio"][i, :, 0, 0].numpy() == near).all()
            lost = (near >= 40) & (near < 46)
            assert np.allclose(batch["speed"][i].numpy(), np.where(lost, np.nan, near / 100), equal_nan=True)
    assert at_edge  # the case above did come up


@pytest.mark.parametrize("shift", [-6, 5])
def test_shifted_sound_belongs_to_the_drawn_frames_and_windows_without_their_own_are_not_drawn(tmp_path, shift):
    root = make_root(tmp_path, {"clip": F + N + 8}, shift=shift)
    firsts = set()
    for batch in all_batches(root, SPEED, 30):
        for i, first in enumerate(batch["frame"].tolist()):
            firsts.add(first)
            near = np.arange(first - M, first + F + M)
            heard = np.clip(near + shift, 0, F + N + 7)
            assert (batch["audio"][i, :, 0, 0].numpy() == heard).all()
            assert (heard[M : M + F] == near[M : M + F] + shift).all()  # no edge is repeated for a drawn frame
            assert np.allclose(batch["speed"][i].numpy(), np.clip(near, 0, F + N + 7) / 100)
    assert firsts == set(range(max(N, -shift), N + 9 - max(shift, 0)))
    assert {int(i) for batch in all_batches(root, IMAGE) for i in batch["frame"]} >= {0, F + N + 7}  # hears nothing
    with pytest.raises(UserError, match=f"wants {F + N + abs(shift)} or more"):
        clips(make_root(tmp_path / "brief", {"clip": F + N + abs(shift) - 1}, shift=shift), SPEED)


def test_the_reference_of_a_window_is_another_frame(root):
    for batch in all_batches(root, VIDEO):
        for first, reference in zip(batch["frame"].tolist(), batch["reference_frame"].tolist(), strict=True):
            assert not first <= reference < first + F


def test_the_mask_holds_the_face_boxes_of_exactly_the_sampled_frames(root, monkeypatch):
    monkeypatch.setattr(dataset, "WIDEST", 0.0)
    for batch in all_batches(root, VIDEO):
        for i, first in enumerate(batch["frame"].tolist()):
            faces = [face_box(k) for k in range(first, first + F) if not 40 <= k < 46]
            x0, y0, x1, y1 = (*np.min(faces, 0)[:2] / 2, *np.max(faces, 0)[2:] / 2)
            inside = batch["mask"][i, 0].bool()
            columns, rows = inside.any(0).nonzero(), inside.any(1).nonzero()
            assert abs(columns.min() - x0) <= 0.5 and abs(columns.max() + 1 - x1) <= 0.5
            assert abs(rows.min() - y0) <= 0.5 and abs(rows.max() + 1 - y1) <= 0.5


def test_training_widens_the_region_and_never_cuts_the_face(root, monkeypatch):
    widened = all_batches(root, VIDEO)
    monkeypatch.setattr(dataset, "WIDEST", 0.0)
    plain = all_batches(root, VIDEO)
    assert all((w["mask"] >= p["mask"]).all() for w, p in zip(widened, plain, strict=True))
    assert sum(w["mask"].sum() for w in widened) > 1.1 * sum(p["mask"].sum() for p in plain)


def test_region_mask_is_one_inside_the_box_only():
    mask = region_mask(np.array([2.0, 4.0, 5.0, 8.0]), 10)
    assert mask.shape == (1, 10, 10) and mask.sum() == 12 and mask[0, 4:8, 2:5].all()


def test_a_batch_depends_on_seed_and_step_alone(root):
    first, again = clips(root, VIDEO), clips(root, VIDEO)
    first.batch(0, 2), first.fixed_batches(1, 2)
    for name, value in first.batch(5, 2).items():
        assert np.array_equal(value, again.batch(5, 2)[name], equal_nan=name == "speed")
    assert not torch.equal(first.batch(5, 2)["pixels"], first.batch(6, 2)["pixels"])
    assert not torch.equal(first.batch(5, 4)["frame"], clips(root, VIDEO, seed=1).batch(5, 4)["frame"])


def test_validation_batches_are_the_same_for_every_seed(root):
    one, other = (clips(root, IMAGE, seed).fixed_batches(2, 3) for seed in (0, 9))
    for a, b in zip(one, other, strict=True):
        assert a["clip_id"] == b["clip_id"] and torch.equal(a["pixels"], b["pixels"])


def test_kept_and_sought_frames_are_the_same_pictures(root, monkeypatch):
    kept = clips(root, VIDEO).batch(3, 2)
    monkeypatch.setattr(dataset, "KEPT_BYTES", 0)
    sought = clips(root, VIDEO).batch(3, 2)
    assert all(torch.equal(kept[name], sought[name]) for name in ("pixels", "motion", "reference"))


class Counted:
    """A container of PyAV that counts the pictures it decodes."""

    decoded = 0

    def __init__(self, path: Path) -> None:
        self.container = av.container.open(path)
        self.streams, self.seek = self.container.streams, self.container.seek

    def __enter__(self) -> "Counted":
        return self

    def __exit__(self, *_: object) -> None:
        self.container.close()

    def decode(self, stream: av.VideoStream) -> Iterator[av.VideoFrame]:
        for picture in self.container.decode(stream):
            Counted.decoded += 1
            yield picture


def test_a_shuffled_epoch_decodes_its_windows_and_what_lies_before_each_in_its_group(tmp_path, root, monkeypatch):
    """By count: a window at the end of a long crop costs what one at its start does."""
    group, length, crop = 15, 240, tmp_path / "crop.mp4"  # pictures between two key frames, as media.py has them
    noise = np.random.default_rng(0).integers(0, 255, (length, 32, 32, 3), np.uint8)
    media.write_video(crop, noise, 30, (32, 32))
    monkeypatch.setattr(frames.av, "open", Counted)
    film, costs = frames.Frames(crop, file_sha256(crop), length, 32), []
    for first in np.random.default_rng(0).permutation(length - F + 1):
        before = Counted.decoded
        film.read(np.arange(first, first + F))
        costs.append(Counted.decoded - before)
    assert F <= np.mean(costs) <= F + group / 2 and max(costs) <= F + group - 1
    monkeypatch.setattr(dataset, "KEPT_BYTES", 0)
    data, before = clips(root, VIDEO), Counted.decoded
    for step in range(10):  # motion frames, frames and a reference from elsewhere
        data.batch(step, 1)
    # This file's crops have B frames: the decoder gives some pictures later than it gets them.
    assert Counted.decoded - before <= 10 * (N + F + 1 + 3 * (group - 1))


def test_a_remade_crop_is_not_read_from_the_old_copy(tmp_path):
    root = make_root(tmp_path, {"clip": 20})
    clips(root, IMAGE).batch(0, 1)
    crop = next((tmp_path / "1_clips").rglob("*.mp4"))
    write_video(crop, 21)
    copy = frames.Frames(crop, file_sha256(crop), 21, 64, keep=True)
    assert len(list(crop.parent.rglob("*.npy"))) == 1
    copy.read(np.array([0]))
    assert len(list(crop.parent.rglob("*.npy"))) == 2


def refused(root: DataRoot, stage: Stage) -> str:
    with pytest.raises(UserError) as error:
        clips(root, stage)
    assert "\n" not in str(error.value)
    return str(error.value)


def test_a_vanished_file_names_the_clip_and_the_command(tmp_path):
    root = make_root(tmp_path, {"here": 20, "gone": 20})
    root.media("1_clips", "s0000", "gone.mp4").unlink()
    assert "clip gone: 1_clips/media/s0000/gone.mp4 is gone" in refused(root, IMAGE)
    # Nothing less has them made again: `emo prepare` looks at its tables alone.
    crops = root.part("crops", "s0000").parent
    assert refused(root, IMAGE).endswith(f"run: rm -r {crops}, then: emo prepare")


def test_a_silent_clip_serves_stage_1_and_is_refused_by_stage_2(tmp_path):
    root = make_root(tmp_path, {"silent": 20}, silent=("silent",))
    assert clips(root, IMAGE).clip_ids == ["silent"]
    assert "clip silent has no audio features" in refused(root, VIDEO)


def test_a_clip_shorter_than_a_window_is_refused_by_stage_2(tmp_path):
    root = make_root(tmp_path, {"brief": F + N - 1})
    assert f"clip brief has {F + N - 1} frames, stage video wants {F + N}" in refused(root, VIDEO)


def test_features_of_another_encoder_are_refused(tmp_path):
    root = make_root(tmp_path, {"clip": 20})
    np.save(root.media("4_audio", "s0000", "clip.npy"), np.zeros((20, 12, 768), np.float16))
    assert "features of shape (20, 4, 8) are wanted" in refused(root, VIDEO)


def test_a_truncated_crop_is_a_one_line_error(tmp_path):
    root = make_root(tmp_path, {"clip": 20})
    with pytest.raises(UserError, match=r"clip.mp4 ends before frame 20"):
        frames.decode(root.media("1_clips", "s0000", "clip.mp4"), np.arange(21), 64)


@pytest.mark.parametrize("keep", [0, dataset.KEPT_BYTES])
@pytest.mark.parametrize("became", ["shorter", "another", "half", "gone"])
def test_a_crop_that_is_not_the_manifests_is_refused_before_a_picture_of_it_is_used(
    tmp_path, monkeypatch, became, keep
):
    monkeypatch.setattr(dataset, "KEPT_BYTES", keep)
    root = make_root(tmp_path, {"clip": 20})
    data, crop = clips(root, IMAGE), root.media("1_clips", "s0000", "clip.mp4")
    if became == "gone":
        crop.unlink()
    elif became == "half":
        crop.write_bytes(crop.read_bytes()[: crop.stat().st_size // 2])
    else:
        write_video(crop, 12 if became == "shorter" else 25)
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*") if path.is_file()}
    wanted = "cannot be read: No such file" if became == "gone" else "has changed since the manifest was made"
    with pytest.raises(UserError, match=rf"^\S*/clip.mp4 {wanted}.*; to have .* run: rm -r .*, then: emo prepare$"):
        data.batch(0, 1)
    assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*") if path.is_file()} == before


def spoil(array: Path, how: str) -> None:
    """Damage a .npy file."""
    if how == "gone":
        array.unlink()
    elif how == "empty":
        array.write_bytes(b"")
    elif how == "half":
        array.write_bytes(array.read_bytes()[: array.stat().st_size // 2])
    else:
        array.write_bytes(b"no array at all")


@pytest.mark.parametrize("how", ["gone", "empty", "half", "text"])
def test_damaged_features_are_refused_at_the_start_and_on_the_way(tmp_path, how):
    root = make_root(tmp_path, {"clip": 20})
    data, features = clips(root, VIDEO), root.media("4_audio", "s0000", "clip.npy")
    spoil(features, how)
    line = refused(root, VIDEO)
    assert line.startswith(f"{features} is gone or damaged (")
    assert line.endswith(f"run: rm -r {root.part('audio', 's0000').parent}, then: emo prepare")
    with pytest.raises(UserError) as error:
        data.batch(0, 1)
    assert str(error.value) == line


def test_features_that_are_no_number_are_refused_with_their_clip(tmp_path):
    root = make_root(tmp_path, {"clip": 20})
    features = np.ones((20, LAYERS, WIDTH), np.float16)
    features[10, 0, 0] = np.nan
    np.save(root.media("4_audio", "s0000", "clip.npy"), features)
    with pytest.raises(UserError, match=r"clip clip: .*clip.npy holds features that are not finite, in frames \d+ to"):
        [clips(root, VIDEO).batch(step, 1) for step in range(9)]


@pytest.mark.parametrize("how", ["half", "text"])
def test_a_damaged_copy_of_the_frames_says_how_it_is_made_again(tmp_path, how):
    root = make_root(tmp_path, {"clip": 20})
    kept = clips(root, IMAGE).batch(0, 1)
    (copy,) = (tmp_path / "1_clips").rglob("*.npy")
    spoil(copy, how)
    with pytest.raises(UserError) as error:
        clips(root, IMAGE).batch(0, 1)
    assert str(error.value).endswith(f"run: rm {copy}, then the same command")
    copy.unlink()
    assert torch.equal(clips(root, IMAGE).batch(0, 1)["pixels"], kept["pixels"])


@pytest.mark.parametrize("left", [0, 19])
def test_missing_labels_name_the_clip_and_the_table(tmp_path, left):
    root = make_root(tmp_path, {"clip": 20})
    part = root.part("frames", "s0000")
    pq.write_table(pq.ParquetFile(part).read().slice(0, left), part)
    assert f"clip clip: 20 frames are wanted in the table frames, {left} are there" in refused(root, IMAGE)
    part.unlink()
    assert "20 frames are wanted in the table frames, 0 are there" in refused(root, IMAGE)


def test_a_shard_without_any_of_the_clips_changes_nothing(tmp_path):
    root = make_root(tmp_path, {"clip": 20})
    wanted = clips(root, IMAGE).batch(0, 1)
    other = root.part("frames", "s0001")
    other.parent.mkdir()
    rows = pq.ParquetFile(root.part("frames", "s0000")).read()
    pq.write_table(rows.set_column(rows.schema.get_field_index("clip_id"), "clip_id", [["held out"] * 20]), other)
    assert torch.equal(clips(root, IMAGE).batch(0, 1)["mask"], wanted["mask"])


@pytest.mark.parametrize("came", ["another version", "another table", "half", "text"])
def test_what_is_no_manifest_of_this_version_is_refused(tmp_path, came):
    root = make_root(tmp_path, {"clip": 20})
    manifest = root.folder("5_manifest") / "train.parquet"
    if came == "another version":
        pq.write_table(pq.ParquetFile(manifest).read().drop_columns(["sound_shift_frames"]), manifest)
    elif came == "another table":
        manifest.write_bytes(root.part("frames", "s0000").read_bytes())
    else:
        spoil(manifest, came)
    line = refused(root, IMAGE)
    assert str(manifest) in line and line.endswith("run: emo manifest")
    assert ("sound_shift_frames missing" in line) == (came == "another version")


@pytest.mark.parametrize("write", [False, True])
def test_no_manifest_or_an_empty_one_says_what_to_run(tmp_path: Path, write: bool):
    root = DataRoot(tmp_path)
    if write:
        root = make_root(tmp_path, {})
    assert "run: emo prepare" in refused(root, IMAGE)


def test_the_loop_trains_each_stage_on_clips_from_disk(root, tmp_path):
    small = NETWORK.model_copy(update={"image_size": 16, "channels": (16, 16), "norm_groups": 4})
    config = TINY.train.model_copy(update={"validation_batches": 1, "validation_batch_size": 2})
    start = None
    for stage in (IMAGE, VIDEO, SPEED):
        spec = RunSpec(
            stage=stage.name,
            start=start,
            manifest=root.path / "5_manifest" / "train.parquet",
            heldout=root.path / "5_manifest" / "train.parquet",
            root=root.path,
            run_dir=tmp_path / stage.name,
            steps=1,
            batch_size=2,
        )
        start = train(spec, network=small, config=config)
        losses = json.loads((tmp_path / stage.name / "summary.json").read_text())["loss_end"]
        assert all(0 < losses[name] < 10 for name in ("train", "heldout"))
