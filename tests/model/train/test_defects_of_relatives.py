"""Defects found in the published training code of EMO's open relatives, each as a test that it would not pass.

Paths are those of the relatives' own repositories.
"""

import json
import re
import runpy
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from emo_model import diffusion
from emo_model.errors import UserError
from emo_model.networks.emo import EMO
from emo_model.networks.weights import from_animatediff, from_base_weights, zero_started
from emo_model.train import checkpoint, loop
from emo_model.train.config import TINY_TRAIN, TrainConfig
from emo_model.train.objective import Draw, Objective, fixed_draw
from emo_model.train.stages import IMAGE, SPEED, STAGES, VIDEO, Stage
from tests.model.networks.small import SMALL, inputs, small
from tests.model.train.moving_faces import MovingFaces
from tests.model.train.test_loop import CONFIG, run, summary


def asked(stage: Stage, step: int = 0, clips: int = 2, noise: str = "sd15") -> tuple[dict, Draw, TrainConfig]:
    """A batch, its timesteps and noise, and the recipe they are drawn by."""
    config = TINY_TRAIN.model_copy(update={"noise": noise})
    frames = SMALL.frames if stage.video else 1
    shape = (clips, frames, SMALL.latent_channels, SMALL.latent_size, SMALL.latent_size)
    return MovingFaces(stage, SMALL).batch(step, clips), fixed_draw(shape, config, seed=step), config


def losses_of(emo: EMO, stage: Stage, step: int = 0, clips: int = 2, noise: str = "sd15") -> Tensor:
    """(B,), by the objective that the loop trains with."""
    batch, chance, config = asked(stage, step, clips, noise)
    return Objective(emo, diffusion.schedule(diffusion.RECIPES[noise]), stage, config)(batch, chance)


@torch.no_grad()
def test_min_snr_weighs_clip_by_clip_and_not_a_mean_by_a_mean(monkeypatch):
    """hallo, scripts/train_stage2.py and hallo2, scripts/train_stage2_long.py: mse_loss(reduction="mean") is a scalar,
    and a scalar times weights, averaged, weighs nothing."""
    emo = small(awake=True)
    weighted = losses_of(emo, IMAGE, clips=4, noise="modern")
    monkeypatch.setitem(
        diffusion.RECIPES, "modern", diffusion.NoiseRecipe(True, "v_prediction", "trailing", None, noise_offset=0.05)
    )
    plain = losses_of(emo, IMAGE, clips=4, noise="modern")
    alpha = diffusion.schedule(diffusion.RECIPES["modern"]).alphas_cumprod[asked(IMAGE, clips=4, noise="modern")[1].t]
    snr = alpha / (1 - alpha)
    torch.testing.assert_close(weighted / plain, snr.clamp(max=5) / (snr + 1), rtol=1e-4, atol=1e-6)
    weights = weighted / plain
    assert weights.max() > 3 * weights.min()
    assert weighted.mean() != pytest.approx((plain.mean() * weights.mean()).item(), rel=0.01)


@torch.no_grad()
def test_motion_frames_count_whether_or_not_gradients_are_checkpointed_and_in_training_as_in_eval_mode():
    """hallo, hallo/models/unet_3d_blocks.py: only `if self.training and self.gradient_checkpointing` reads them, so its
    inference enables checkpointing and never calls eval()."""
    given, other, outputs = inputs(), inputs(seed=1), []
    for recomputing in (False, True):
        emo = small(awake=True)
        if recomputing:
            emo.enable_gradient_checkpointing()
        for training in (False, True):
            for gradients in (False, True):
                with torch.set_grad_enabled(gradients):
                    found = [
                        emo.train(training)(
                            given["noisy"],
                            given["t"],
                            emo.encode_frames(given["reference"], motion),
                            speed=given["speed"],
                        ).detach()
                        for motion in (given["motion"], other["motion"])
                    ]
                assert (found[0] - found[1]).abs().max() > 1e-3, (recomputing, training, gradients)
                outputs.append(found[0])
    assert all(torch.equal(outputs[0], output) for output in outputs)


@torch.no_grad()
@pytest.mark.parametrize("n", [1, 2, 5])
def test_zero_motion_maps_are_as_many_as_the_network_has_motion_frames(n):
    """hallo, hallo/models/unet_3d_blocks.py: zero maps of a hard-coded 4 frames, with n = 2 configured."""
    config = SMALL.model_copy(update={"motion_frames": n})
    emo, given = small(awake=True, config=config), inputs(config=config)
    first = emo.encode_frames(given["reference"])
    dropped = emo.encode_frames(given["reference"], given["motion"]).keep(torch.ones(2), torch.zeros(2))
    assert {maps.shape[1] for maps in (*first.motion.values(), *dropped.motion.values())} == {n}
    outputs = [emo(given["noisy"], given["t"], features, speed=given["speed"]) for features in (first, dropped)]
    assert torch.equal(*outputs) and outputs[0].shape == given["noisy"].shape


def test_no_micro_batch_reads_the_features_of_the_one_before():
    """hallo, scripts/train_stage2.py: reference banks are cleared only where gradients are synchronised, so with
    accumulation all micro-batches but the first attend to someone else's portrait too."""
    alone = [losses_of(small(awake=True).train(), VIDEO, step) for step in range(3)]
    one = small(awake=True).train()
    for step in range(3):  # backward passes, and no optimizer step in between
        losses = losses_of(one, VIDEO, step)
        losses.mean().backward()
        assert torch.equal(losses, alone[step]), step


@pytest.mark.parametrize("error, code", [(RuntimeError("out of memory"), None), (UserError("no such stage"), 2)])
def test_a_run_that_fails_does_not_exit_with_0(tmp_path, monkeypatch, capsys, error, code):
    """hallo, scripts/train_stage2.py: main() logs any exception and returns, so a scheduler sees success."""
    path = tmp_path / "run.json"
    path.write_text(json.dumps({"stage": "image", "manifest": "m", "root": "r", "run_dir": str(tmp_path / "run")}))

    def fail(spec, report):
        raise error

    monkeypatch.setattr(loop, "train", fail)
    monkeypatch.setattr(sys, "argv", ["emo_model.train", str(path)])
    with pytest.raises(RuntimeError if code is None else SystemExit) as caught:
        runpy.run_module("emo_model.train", run_name="__main__")
    if code is not None:
        assert caught.value.code == code and str(error) in capsys.readouterr().err


@pytest.mark.parametrize("noise", diffusion.RECIPES)
def test_a_checkpoint_samples_on_the_schedule_that_it_was_trained_on(tmp_path, noise):
    """Moore-AnimateAnyone, train_stage_2.py: training sets scaled_linear betas, the configuration for inference says
    linear. Here the schedule comes with the checkpoint: its first validation loss, asked again on the saved one."""
    config = CONFIG.model_copy(update={"noise": noise})
    folder = run(tmp_path, 1, config=config)
    saved = diffusion.load_schedule(folder)
    assert saved.config.timestep_spacing == diffusion.RECIPES[noise].spacing
    (batch,) = MovingFaces(IMAGE, SMALL).fixed_batches(1, config.validation_batch_size)
    objective = Objective(loop.seeded(SMALL, 0), saved, IMAGE, config)
    with torch.no_grad():
        again = objective(batch, fixed_draw(objective.latent_shape(batch), config, seed=0))
    assert float(np.mean(again.tolist())) == summary(tmp_path)["loss_start"]["train"]


def test_betas_are_named_in_one_place_only():
    """The same defect, where it starts: two lists of the same numbers."""
    sources = {path: path.read_text() for path in (Path(diffusion.__file__).parent).rglob("*.py")}
    naming = {
        path.name for path, text in sources.items() if re.search(r"beta_(start|end|schedule)|DDIMScheduler\(", text)
    }
    assert naming == {"diffusion.py"}


@pytest.mark.parametrize("stage", [VIDEO, SPEED], ids=["video", "speed"])
def test_a_stage_starts_from_what_the_one_before_has_learned(tmp_path, stage):
    """V-Express, train.py: stage 3 sets temporal_transformer.proj_out and attn2.to_out to zero after loading what
    stage 2 has learned."""
    emo = small(awake=True)  # as a stage before would leave it
    assert all(module.weight.any() for module in zero_started(emo))
    start = checkpoint.save(
        tmp_path / "start", emo, diffusion.schedule(diffusion.RECIPES[CONFIG.noise]), {"stage": stage.follows}
    )
    run(tmp_path / "run", 1, stage=stage.name, start=start)
    assert summary(tmp_path / "run")["parts_before"] == checkpoint.part_hashes(emo)


@pytest.mark.parametrize("names", ["none", "a wrapper's", "another layout's", "all but one"])
def test_temporal_layers_that_were_not_loaded_are_an_error(tmp_path, monkeypatch, names):
    """Moore-AnimateAnyone, train_stage_2.py (its issues 31 and 32): the motion module is loaded with strict=False, so a
    wrong path or name trains random temporal layers in silence."""
    right = animatediff_of(small(awake=True))
    wrong = {
        "none": {},
        "a wrapper's": {f"module.{name}": tensor for name, tensor in right.items()},
        "another layout's": {name.replace("motion_modules", "temporal"): tensor for name, tensor in right.items()},
        "all but one": dict(list(right.items())[1:]),
    }[names]
    with pytest.raises(ValueError, match="Temporal Modules: .* missing"):
        from_animatediff(small(), wrong)
    from_animatediff(small(), right)
    monkeypatch.setenv("EMO_WEIGHTS", str(tmp_path / "nowhere"))
    with pytest.raises(UserError, match="run: emo weights"):
        from_base_weights(small())


def animatediff_of(emo: EMO) -> dict[str, Tensor]:
    """Its Temporal Modules by diffusers' names."""
    state = emo.temporal_modules.modules_by_place.state_dict()
    return {
        re.sub(r"-(attentions|resnets)-(\d+)\.", r".motion_modules.\2.", name).replace("-", "."): tensor
        for name, tensor in state.items()
        if not name.endswith("pos_embed.pe")
    }


@torch.no_grad()
def test_a_temporal_layer_attends_along_the_frames_of_one_cell_of_one_clip():
    """LatentSync, docs/changelog_v1.5.md: "the temporal layer hurts lip sync" was a defect of its code. Frames that are
    folded wrongly mix cells or clips, which no shape shows."""
    emo = small(awake=True)
    modules, place = emo.temporal_modules, "down_blocks.0.attentions.0"
    modules.modules_by_place["down_blocks-0-attentions-0"].norm = nn.Identity()  # GroupNorm is what else joins cells
    generator = torch.Generator().manual_seed(0)
    b, n, f, c, h, w = 2, SMALL.motion_frames, SMALL.frames, SMALL.channels[0], 3, 4
    hidden, motion = (torch.randn(b * f, c, h, w, generator=generator), torch.randn(b, n, c, h, w, generator=generator))
    plain = modules(place, hidden, motion)
    changed = hidden.clone()
    changed[f + 1, :, 2, 3] += 1.0  # clip 1, frame 1, one cell
    before = motion.clone()
    before[1, 0, :, 2, 3] += 1.0
    for found in (modules(place, changed, motion), modules(place, hidden, before)):
        moved = (found - plain).abs().amax(1).reshape(b, f, h, w) > 1e-5
        assert moved[1, :, 2, 3].all()
        moved[1, :, 2, 3] = False
        assert not moved.any()


def test_a_temporal_layers_attention_is_plain_softmax_attention():
    """The same changelog replaced its attention library by torch's own; here is what any of them must compute."""
    attention = (
        small(awake=True).temporal_modules.modules_by_place["mid_block-attentions-0"].transformer_blocks[0].attn1
    )
    x = torch.randn(
        5, SMALL.motion_frames + SMALL.frames, SMALL.channels[-1], generator=torch.Generator().manual_seed(0)
    )
    q, k, v = (
        project(x).unflatten(2, (SMALL.temporal_heads, -1)).transpose(1, 2)
        for project in (attention.to_q, attention.to_k, attention.to_v)
    )
    weights = F.softmax(q @ k.transpose(2, 3) / q.shape[-1] ** 0.5, dim=-1)
    expected = attention.to_out[0]((weights @ v).transpose(1, 2).flatten(2))
    torch.testing.assert_close(attention(x), expected, rtol=1e-4, atol=1e-5)


def test_the_stages_are_the_papers():
    """Emote-hack, train_stage_3_speedlayers.py: freezes the temporal layers and trains speed and face, the reverse."""
    assert {name: set(stage.trains) for name, stage in STAGES.items()} == {
        "image": {"backbone", "reference_net", "face_locator"},
        "video": {"temporal_modules", "audio_layers"},
        "speed": {"temporal_modules", "speed_layers"},
    }
