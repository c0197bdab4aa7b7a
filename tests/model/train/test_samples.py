"""Samples while training: what generation would make, at no cost to the run they are of."""

import json
import signal
from pathlib import Path

import numpy as np
import pytest
import torch
from accelerate.state import AcceleratorState
from PIL import Image

from emo_model.data.audio_encoders import Encoder
from emo_model.data.store import DataRoot
from emo_model.generate import Settings, generate_manifest
from emo_model.generate.video import to_uint8
from emo_model.train import loop, samples
from emo_model.train.config import RunSpec
from emo_model.train.loop import Interrupted, train
from tests.model.clips_on_disk import LAYERS, WIDTH, make_root
from tests.model.generate.small import frames_of, write_voice
from tests.model.networks.small import SMALL
from tests.model.train.moving_faces import MovingFaces
from tests.model.train.test_loop import CONFIG, losses, run

NETWORK = SMALL.model_copy(update={"audio_layers": LAYERS, "audio_width": WIDTH})
SAMPLED = CONFIG.model_copy(
    update={"sample_every": 2, "sample_clips": 2, "sample_steps": 2, "sample_seconds": 0.2, "ema_decay": 0.5}
)
PLAIN = SAMPLED.model_copy(update={"sample_every": 0})


def names(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


def test_the_image_stage_shows_reference_target_and_prediction_side_by_side(tmp_path):
    run(tmp_path / "sampled", 4, config=SAMPLED)
    run(tmp_path / "plain", 4, config=PLAIN)
    assert names(tmp_path / "sampled/samples") == ["step-0000002/stills.png", "step-0000004/stills.png"]
    assert losses(tmp_path / "sampled") == losses(tmp_path / "plain")  # to the bit
    two, four = (np.array(Image.open(tmp_path / f"sampled/samples/step-000000{k}/stills.png")) for k in (2, 4))
    side = SMALL.image_size
    assert two.shape == (2 * side, 3 * side, 3)
    assert np.array_equal(two[:, : 2 * side], four[:, : 2 * side])  # the same clips
    assert not np.array_equal(two[:, 2 * side :], four[:, 2 * side :])  # other weights
    batch = samples_batch()
    target = ((batch["pixels"][0, 0] + 1) * 127.5).round().byte().permute(1, 2, 0).numpy()
    assert np.array_equal(two[:side, side : 2 * side], target)


def samples_batch() -> dict:
    return MovingFaces(loop.stages.IMAGE, SMALL, 1, (900, 902)).fixed_batches(1, 2)[0]


@pytest.fixture(scope="module")
def image_checkpoint(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("image")
    given = RunSpec(stage="image", manifest="none", root="none", run_dir=folder, threads=1, steps=1)
    return train(given, network=NETWORK, config=CONFIG, dataset=MovingFaces(loop.stages.IMAGE, NETWORK))


@pytest.fixture
def video(tmp_path, image_checkpoint, monkeypatch) -> RunSpec:
    """A run of stage video on clips on disk, whose encoder hears loudness."""

    def hear(sound: np.ndarray, num_frames: int) -> np.ndarray:
        loud = np.array([np.abs(piece).mean() for piece in np.array_split(sound, num_frames)])
        return np.broadcast_to(loud[:, None, None], (num_frames, LAYERS, WIDTH)).astype(np.float32)

    encoder = Encoder("loudness", NETWORK.audio_encoder, LAYERS, WIDTH, "made", hear)
    for module in ("emo_model.generate.video", "emo_model.train.samples"):
        monkeypatch.setattr(f"{module}.encoder_for", lambda config: encoder)
    root = make_root(tmp_path / "data", {"one": 20, "two": 20, "three": 20}, sounds=write_voice)
    manifest = root.folder("5_manifest") / "train.parquet"
    return RunSpec(
        stage="video", manifest=manifest, heldout=manifest, root=root.path, run_dir=tmp_path / "run", threads=1,
        steps=2, start=image_checkpoint,
    )  # fmt: skip


def test_a_sample_video_is_what_generation_makes_of_that_steps_checkpoint(video, tmp_path, monkeypatch):
    drawn: list[np.ndarray] = []  # as handed to the encoder, which may round one and the same picture differently

    def spy(pixels: torch.Tensor) -> np.ndarray:
        drawn.append(to_uint8(pixels))
        return drawn[-1]

    monkeypatch.setattr("emo_model.generate.video.to_uint8", spy)
    final = train(video, network=NETWORK, config=SAMPLED)
    assert names(video.run_dir / "samples") == ["step-0000002/one.mp4", "step-0000002/three.mp4"]
    sampled = np.concatenate(drawn)
    drawn.clear()
    root, settings = DataRoot(video.root), Settings(steps=2)
    generate_manifest(
        final, video.manifest, root, root.folder("7_generated"), settings=settings, max_seconds=0.2, limit=2
    )
    assert len(frames_of(video.run_dir / "samples/step-0000002/one.mp4")) == 6
    assert len(sampled) == 12 and np.array_equal(sampled, np.concatenate(drawn))
    plain = video.model_copy(update={"run_dir": tmp_path / "plain"})
    train(plain, network=NETWORK, config=PLAIN)
    assert losses(video.run_dir) == losses(plain.run_dir)


def test_samples_are_drawn_where_frozen_parts_are_held_in_bfloat16(video):
    AcceleratorState._reset_state(reset_partial_state=True)  # one precision a process
    train(video, network=NETWORK, config=SAMPLED.model_copy(update={"mixed_precision": "bf16"}))
    AcceleratorState._reset_state(reset_partial_state=True)
    assert names(video.run_dir / "samples") == ["step-0000002/one.mp4", "step-0000002/three.mp4"]


def test_a_sample_that_fails_is_told_and_costs_the_run_nothing(video, monkeypatch, capsys, tmp_path):
    def no_sound(*_args, **_kwargs):
        torch.rand(3)  # a failure half way has drawn numbers, too
        raise RuntimeError("CUDA out of memory")

    monkeypatch.setattr("emo_model.train.samples.animate_clip", no_sound)
    final = train(video, network=NETWORK, config=SAMPLED)
    assert final.is_dir() and json.loads((video.run_dir / "summary.json").read_text())["loss_end"]
    failed = video.run_dir / "samples/step-0000002/failed.txt"
    assert "CUDA out of memory" in failed.read_text()
    assert "step 2: no samples: CUDA out of memory; training goes on" in capsys.readouterr().err
    train(plain := video.model_copy(update={"run_dir": tmp_path / "plain"}), network=NETWORK, config=PLAIN)
    assert losses(video.run_dir) == losses(plain.run_dir)


def test_a_signal_ends_the_sampling_and_then_the_run(video, monkeypatch):
    """A sample may take minutes, and who stops a run waits less."""
    animate, begun = samples.animate_clip, []

    def told_meanwhile(*args, **options):
        begun.append(args)
        signal.raise_signal(signal.SIGTERM)
        return animate(*args, **options)

    monkeypatch.setattr("emo_model.train.samples.animate_clip", told_meanwhile)
    with pytest.raises(Interrupted):
        train(video.model_copy(update={"steps": 6}), network=NETWORK, config=SAMPLED)
    assert len(begun) == 1 and not names(video.run_dir / "samples")
    assert len(losses(video.run_dir)) == 3


def test_samples_come_after_the_steps_checkpoint_and_a_kill_leaves_no_half_folder(video, monkeypatch):
    def killed(*_args, **_kwargs):
        raise SystemExit(9)

    with monkeypatch.context() as patch:
        patch.setattr("emo_model.train.samples.animate_clip", killed)
        with pytest.raises(SystemExit):
            train(video.model_copy(update={"steps": 4}), network=NETWORK, config=SAMPLED)
    assert (video.run_dir / "checkpoints/step-0000002").is_dir()
    assert not (video.run_dir / "samples/step-0000002").exists()
    train(video.model_copy(update={"steps": 4}), network=NETWORK, config=SAMPLED)
    assert names(video.run_dir / "samples") == ["step-0000004/one.mp4", "step-0000004/three.mp4"]
    assert not list((video.run_dir / "samples").glob(".*"))
