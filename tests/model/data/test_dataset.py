"""Batches hold the frames, sounds, speeds and regions that their indices say, all from (seed, step)."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from emo_model.config import TINY
from emo_model.data import dataset, frames
from emo_model.data.dataset import ClipDataset, region_mask
from emo_model.data.store import DataRoot
from emo_model.errors import UserError
from emo_model.train.config import RunSpec
from emo_model.train.loop import train
from emo_model.train.stages import IMAGE, SPEED, VIDEO, Stage
from tests.model.clips_on_disk import LAYERS, WIDTH, face_box, grey, make_root

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


def test_a_remade_crop_is_not_read_from_the_old_copy(tmp_path):
    root = make_root(tmp_path, {"clip": 20})
    clips(root, IMAGE).batch(0, 1)
    crop = next((tmp_path / "1_clips").rglob("*.mp4"))
    copy = frames.Frames(crop, "another sha256", 20, 64, keep=True)
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
    assert "run: emo prepare" in refused(root, IMAGE)


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
