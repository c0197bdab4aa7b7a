"""Latents made once: the same losses as with the encoder in the step, and nothing old is ever read."""

from pathlib import Path

import numpy as np
import pytest
import torch
from accelerate.state import AcceleratorState

from emo_model.data.store import DataRoot, file_sha256
from emo_model.errors import UserError
from emo_model.networks.emo import EMO, seeded
from emo_model.train import latents, loop
from emo_model.train.config import RunSpec
from tests.model.clips_on_disk import LAYERS, WIDTH, make_root
from tests.model.networks.small import SMALL
from tests.model.train.test_loop import CONFIG, losses

NETWORK = SMALL.model_copy(update={"audio_layers": LAYERS, "audio_width": WIDTH})
CACHED = CONFIG.model_copy(update={"cache_latents": True})


@pytest.fixture(scope="module")
def root(tmp_path_factory) -> DataRoot:
    return make_root(tmp_path_factory.mktemp("data"), {"one": 20, "two": 12, "three": 25})


@pytest.fixture(scope="module")
def image(tmp_path_factory, root) -> Path:
    return trained(tmp_path_factory.mktemp("image"), root, "image", config=CONFIG)


def trained(folder: Path, root: DataRoot, stage: str, start: Path | None = None, config=CACHED, steps: int = 3) -> Path:
    manifest = root.folder("5_manifest") / "train.parquet"
    spec = RunSpec(
        stage=stage, manifest=manifest, heldout=manifest, root=root.path, run_dir=folder, threads=1, steps=steps,
        start=start,
    )  # fmt: skip
    return loop.train(spec, network=NETWORK, config=config)


def made(root: DataRoot) -> dict[Path, int]:
    return {path: path.stat().st_mtime_ns for path in root.path.rglob("latents-*/*.npy")}


@pytest.mark.parametrize("stage", ["image", "video"])
def test_losses_are_those_of_the_encoder_in_the_step_to_float16(tmp_path, root, image, stage, monkeypatch):
    start = None if stage == "image" else image
    trained(tmp_path / "pixels", root, stage, start, config=CONFIG)
    encode, calls = EMO.encode_pixels, []
    monkeypatch.setattr(EMO, "encode_pixels", lambda self, pixels: calls.append(len(pixels)) or encode(self, pixels))
    trained(tmp_path / "cached", root, stage, start)
    np.testing.assert_allclose(losses(tmp_path / "cached"), losses(tmp_path / "pixels"), rtol=2e-3)
    files = made(root)
    assert len(files) == 3 and max(calls) <= max(latents.AT_ONCE, 2 * NETWORK.frames)
    calls.clear()
    trained(tmp_path / "again", root, stage, start, steps=2)
    assert losses(tmp_path / "again") == losses(tmp_path / "cached")[:2] and made(root) == files
    looked = len(calls)  # validation alone reads pixels: before step 1 and after the last
    calls.clear()
    trained(tmp_path / "longer", root, stage, start, steps=3)
    assert len(calls) == looked


def test_a_resumed_run_on_latents_repeats_an_uninterrupted_one(tmp_path, root):
    trained(tmp_path / "whole", root, "image", steps=4)
    trained(tmp_path / "cut", root, "image", steps=2)
    trained(tmp_path / "cut", root, "image", steps=4)
    assert losses(tmp_path / "cut") == losses(tmp_path / "whole")


def test_latents_of_bfloat16_training_are_kept_as_float16(tmp_path, root):
    """Autocast gives bfloat16, which numpy does not know."""
    AcceleratorState._reset_state(reset_partial_state=True)  # one precision a process
    before = set(made(root))
    half = {"mixed_precision": "bf16"}
    trained(tmp_path / "cached", root, "image", config=CACHED.model_copy(update=half))
    trained(tmp_path / "pixels", root, "image", config=CONFIG.model_copy(update=half))
    AcceleratorState._reset_state(reset_partial_state=True)
    files = set(made(root)) - before
    assert len(files) == 3 and {np.load(path).dtype for path in files} == {np.dtype(np.float16)}
    np.testing.assert_allclose(losses(tmp_path / "cached"), losses(tmp_path / "pixels"), rtol=2e-2)


def test_a_latent_is_its_frames_and_a_kill_costs_one_clip(tmp_path):
    root = make_root(tmp_path / "data", {"one": 20, "two": 12})
    trained(tmp_path / "first", root, "image", steps=1)
    emo, files = seeded(NETWORK, 0), sorted(made(root))
    clips = loop._clips(
        RunSpec(stage="image", manifest=root.folder("5_manifest") / "train.parquet", root=root.path,
                run_dir=tmp_path / "first"),
        Path("gone"), "clips", NETWORK,
    )  # fmt: skip
    for clip in clips.clips:
        numbers = np.array([0, 7, clip.num_frames - 1])
        (folder,) = {path.parent.name.removeprefix("latents-") for path in files}
        exact = emo.encode_pixels(clip.pixels(numbers))
        shape = exact.shape[1:]
        torch.testing.assert_close(clip.latents(numbers, folder, shape).float(), exact, rtol=1e-3, atol=1e-3)
    before = made(root)
    files[0].unlink()
    trained(tmp_path / "second", root, "image", steps=1)
    after = made(root)
    assert sorted(after) == files and after[files[1]] == before[files[1]]


def test_another_encoder_has_files_of_its_own():
    emo = seeded(NETWORK, 0)
    other = seeded(NETWORK.model_copy(update={"latent_scale": 0.25}), 0)
    keys = {latents.encoder_key(emo, "no"), latents.encoder_key(emo, "bf16"), latents.encoder_key(other, "no")}
    assert len(keys) == 3 and latents.encoder_key(seeded(NETWORK, 1), "no") in keys  # nothing but the encoder counts


def test_a_latent_lies_where_emo_remove_looks_for_copies_of_a_crop(tmp_path):
    root = make_root(tmp_path / "data", {"one": 12})
    trained(tmp_path / "run", root, "image", steps=1)
    crop = next(root.folder("1_clips").rglob("one.mp4"))
    (latent,) = made(root)
    assert latent.stem == file_sha256(crop)[:32] and latent.is_relative_to(crop.parent)


@pytest.mark.parametrize("workers", [0, pytest.param(1, marks=pytest.mark.long)])
def test_a_damaged_latent_is_one_line_from_a_loaders_process_too_and_nothing_is_lost(tmp_path, workers, capfd):
    root = make_root(tmp_path / "data", {"one": 12})
    trained(tmp_path / "run", root, "image", steps=1)
    (latent,) = made(root)
    latent.write_bytes(latent.read_bytes()[:200])
    before = {path: path.read_bytes() for path in (tmp_path / "run").rglob("*") if path.is_file()}
    capfd.readouterr()
    with pytest.raises(UserError) as error:
        trained(tmp_path / "run", root, "image", steps=2, config=CACHED.model_copy(update={"loader_workers": workers}))
    assert str(error.value).startswith(f"{latent} is gone or damaged (")
    assert str(error.value).endswith(f"run: rm {latent}, then the same command") and "\n" not in str(error.value)
    assert "Traceback" not in capfd.readouterr().err
    assert {path: path.read_bytes() for path in before} == before
    latent.unlink()
    trained(tmp_path / "run", root, "image", steps=2)
    assert len(losses(tmp_path / "run")) == 2


def test_what_does_not_go_together_or_does_not_fit_is_one_line(tmp_path, root, monkeypatch):
    image = CACHED.image.model_copy(update={"recolour": True})
    with pytest.raises(UserError, match="recolour changes the pixels.*--set cache_latents=false"):
        trained(tmp_path / "colour", root, "image", config=CACHED.model_copy(update={"image": image}))
    room = make_root(tmp_path / "data", {"one": 12})
    monkeypatch.setattr(latents.shutil, "disk_usage", lambda path: type("Disk", (), {"free": 10})())
    with pytest.raises(UserError, match=r"latents of 1 clips want .* GB, 0.0 GB are free in .*; make room"):
        trained(tmp_path / "full", room, "image")
