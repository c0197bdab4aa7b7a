"""The loop: who moves, what a kill costs, what stops it. A SMALL network on clips made by formula."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from emo_model.errors import UserError
from emo_model.networks.config import SpeedBuckets
from emo_model.networks.emo import EMO, PARTS
from emo_model.train import checkpoint, loop, stages
from emo_model.train.config import PAPER_TRAIN, TINY_TRAIN, RunSpec, TrainConfig
from emo_model.train.loop import Interrupted, LossStopped, learning_rate, train
from emo_model.train.run_folder import Interruption, locked
from tests.model.networks.small import SMALL
from tests.model.train.moving_faces import MovingFaces

CONFIG = TrainConfig.model_validate(
    TINY_TRAIN.model_dump()
    | {name: {"steps": 4, "batch_size": 2, "learning_rate": 1e-3} for name in ("image", "video", "speed")}
    | {
        "checkpoint_every": 2,
        "validation_batches": 1,
        "validation_batch_size": 2,
        "drop": 0.0,
        "warmup_steps": 0,
        "final_rate": 1.0,
    }
)
OUT = {"speed_layers.attentions": "to_out.0.bias", "temporal_modules.modules_by_place": "proj_out.bias"}
WORKER = (
    "import sys; from tests.model.train.test_loop import run; run(sys.argv[1], int(sys.argv[2]), float(sys.argv[3]))"
)


class Slow(MovingFaces):
    """Clips that take a while, so that a signal falls between two steps of a known run."""

    pause = 0.0

    def batch(self, step: int, batch_size: int) -> dict:
        time.sleep(self.pause)
        return super().batch(step, batch_size)


def spec(folder: Path, stage: str = "image", **changed) -> RunSpec:
    return RunSpec(stage=stage, manifest="none", root="none", run_dir=folder, threads=1, **changed)


def run(folder, steps: int = 4, pause: float = 0.0, stage: str = "image", start=None, report=lambda row: None, **other):
    data = Slow(stages.STAGES[stage], SMALL)
    data.pause = pause
    return train(
        spec(Path(folder), stage, steps=steps, start=start), report, network=SMALL, config=other.get("config", CONFIG),
        dataset=other.get("dataset", data), heldout=MovingFaces(stages.STAGES[stage], SMALL, 1, (900, 902)),
    )  # fmt: skip


@pytest.fixture(scope="module")
def trained(tmp_path_factory) -> dict[str, Path]:
    """One step of each stage, each from the one before: run folders by stage."""
    folders, start = {}, None
    for name in stages.STAGES:
        folders[name] = tmp_path_factory.mktemp(name)
        start = run(folders[name], 1, stage=name, start=start)
    return folders


def summary(folder: Path) -> dict:
    return json.loads((folder / "summary.json").read_text())


def losses(folder: Path) -> list[float]:
    return [json.loads(line)["loss"] for line in (folder / "progress.jsonl").read_text().splitlines()]


@pytest.mark.parametrize(
    "stage, parts",
    [
        ("image", {"backbone", "reference_net", "face_locator"}),
        ("video", {"temporal_modules", "audio_layers"}),
        ("speed", {"temporal_modules", "speed_layers"}),
    ],
)
def test_a_stage_moves_exactly_the_papers_parts(trained, stage, parts):
    found = summary(trained[stage])
    assert set(found["moved"]) == parts
    assert {p for p in PARTS if found["parts_before"][p] != found["parts_after"][p]} == parts
    assert found["frozen_unchanged"] is True


def test_a_stage_that_moves_a_frozen_part_fails_loudly(tmp_path, trained, monkeypatch):
    def everything(emo, stage):
        emo.requires_grad_(True)
        return dict(emo.named_parameters())

    monkeypatch.setattr(loop, "freeze", everything)
    with pytest.raises(RuntimeError, match="video trains .* but .*backbone.* moved"):
        run(tmp_path, 1, stage="video", start=final(trained["image"]))
    assert summary(tmp_path)["frozen_unchanged"] is False


def test_projections_that_start_at_zero_learn_faster_by_the_stages_factor(tmp_path):
    """AdamW's first step is the learning rate, whatever the gradient."""
    numbers = CONFIG.image.model_copy(update={"zero_started_rate": 8.0})
    run(tmp_path, 1, config=CONFIG.model_copy(update={"image": numbers}))
    before, after = loop.seeded(SMALL, 0), EMO.from_pretrained(final(tmp_path))
    fresh, other = (
        "backbone.unet.mid_block.attentions.0.transformer_blocks.0.attn2.attention.to_out.0",
        ("backbone.unet.conv_out"),
    )
    for module, rate in ((fresh, 8e-3), (other, 1e-3)):
        moved = after.get_submodule(module).bias - before.get_submodule(module).bias
        assert moved.abs().max().item() == pytest.approx(rate, rel=0.05)


def test_only_what_a_stage_begins_learns_faster(tmp_path, trained):
    """Stage 3 goes on with the Temporal Modules, whose output has grown: the plain rate, also after a resume."""
    assert [stages.STAGES[name].begins for name in stages.STAGES] == [
        ("backbone", "reference_net", "face_locator"), ("temporal_modules", "audio_layers"), ("speed_layers",),
    ]  # fmt: skip
    numbers = CONFIG.speed.model_copy(update={"zero_started_rate": 8.0})
    config, start = CONFIG.model_copy(update={"speed": numbers}), final(trained["video"])
    before = start
    for steps in (1, 2):
        run(tmp_path, steps, stage="speed", start=start, config=config)
        a, b = EMO.from_pretrained(before), EMO.from_pretrained(final(tmp_path))
        for module, rate in (("speed_layers.attentions", 8e-3), ("temporal_modules.modules_by_place", 1e-3)):
            name = next(n for n, _ in a.named_parameters() if n.startswith(module) and n.endswith(OUT[module]))
            moved = (b.get_parameter(name) - a.get_parameter(name)).abs().max().item()
            assert moved == pytest.approx(rate, rel=0.2), (name, steps)
        before = final(tmp_path)


def test_every_parameter_of_stage_1_learns_but_the_tail_of_reference_net(tmp_path):
    """What follows ReferenceNet's last self-attention input is read by nobody in stage 1."""
    run(tmp_path, 3)  # a zero output lets gradients through to what is before it from the second step on
    before, after = loop.seeded(SMALL, 0), EMO.from_pretrained(final(tmp_path))
    same = {
        name
        for (name, a), (_, b) in zip(before.named_parameters(), after.named_parameters(), strict=True)
        if name.startswith(stages.IMAGE.trains) and torch.equal(a, b)
    }
    assert same and all(name.startswith("reference_net.unet.up_blocks.1.attentions.1.") for name in same)


def final(folder: Path) -> Path:
    return folder / summary(folder)["checkpoint"]


def test_a_checkpoint_comes_back_as_it_was_and_holds_no_pickle(trained):
    folder = final(trained["speed"])
    emo = EMO.from_pretrained(folder)
    assert checkpoint.part_hashes(emo) == summary(trained["speed"])["parts_after"]
    assert emo.config == SMALL
    assert {path.suffix for path in folder.rglob("*") if path.is_file()} == {".safetensors", ".json"}
    assert loop.diffusion.load_schedule(folder).config.prediction_type == (
        loop.diffusion.RECIPES[CONFIG.noise].prediction
    )
    provenance = json.loads((folder / "provenance.json").read_text())
    assert (provenance["stage"], provenance["step"]) == ("speed", 1)


def test_a_checkpoint_keeps_the_speed_buckets_of_its_training_set(tmp_path, trained):
    buckets = SpeedBuckets(centres=tuple(i / 4 for i in range(9)), radii=(0.1,) * 9)
    given = spec(tmp_path, "speed", steps=1, start=final(trained["video"]), speed_buckets=buckets)
    data = MovingFaces(stages.SPEED, SMALL)
    folder = train(given, network=SMALL, config=CONFIG, dataset=data)
    assert EMO.from_pretrained(folder).buckets == buckets
    assert json.loads((folder / "speed_buckets.json").read_text())["centres"][3] == 0.75


def whole_and_resumed(folder: Path, **given) -> tuple[Path, Path]:
    """The checkpoints after four steps of folder/whole and of folder/cut, which lost its power in step 3 and went on.
    Losses and weights are the same to the bit."""

    def pull_the_plug(row):
        if row["step"] == 3:  # after the checkpoint of step 2
            raise KeyError("power")

    whole = run(folder / "whole", 4, **given)
    with pytest.raises(KeyError):
        run(folder / "cut", 4, report=pull_the_plug, **given)
    assert checkpoint.latest(folder / "cut" / "checkpoints").name == "step-0000002"
    resumed = run(folder / "cut", 4, **given)
    assert len(losses(folder / "whole")) == 4 and losses(folder / "cut") == losses(folder / "whole")
    assert checkpoint.part_hashes(EMO.from_pretrained(resumed)) == checkpoint.part_hashes(EMO.from_pretrained(whole))
    return whole, resumed


@pytest.mark.parametrize("stage", ["image", "video"])
def test_an_interrupted_and_resumed_run_repeats_an_uninterrupted_one_bit_for_bit(tmp_path, trained, stage):
    whole_and_resumed(tmp_path, stage=stage, start=None if stage == "image" else final(trained["image"]))
    ends = [summary(tmp_path / name) for name in ("whole", "cut")]
    assert ends[0]["loss_start"] == ends[1]["loss_start"] and ends[0]["loss_end"] == ends[1]["loss_end"]


def test_a_finished_run_is_not_repeated(trained):
    before = (trained["image"] / "progress.jsonl").stat().st_mtime_ns, summary(trained["image"])
    assert run(trained["image"], 1) == final(trained["image"])
    assert losses(trained["image"]) and summary(trained["image"]) == before[1]


def test_only_the_last_checkpoints_are_kept_and_half_written_ones_go(tmp_path):
    (tmp_path / "checkpoints" / ".step-0000009.tmp" / "backbone").mkdir(parents=True)
    run(tmp_path, 6)
    assert sorted(path.name for path in (tmp_path / "checkpoints").iterdir()) == ["step-0000004", "step-0000006"]


def test_a_loss_that_is_not_finite_stops_with_the_clips_named_and_the_checkpoint_untouched(tmp_path):
    class Broken(MovingFaces):
        def batch(self, step, batch_size):
            batch = super().batch(step, batch_size)
            if step == 2:  # the third
                batch["pixels"][0] = torch.nan
            return batch

    with pytest.raises(LossStopped, match="step 3: loss nan"):
        run(tmp_path, 4, dataset=Broken(stages.IMAGE, SMALL))
    stopped = json.loads((tmp_path / "stopped.json").read_text())
    assert stopped["clip_id"] == MovingFaces(stages.IMAGE, SMALL).batch(2, 2)["clip_id"]
    saved = checkpoint.latest(tmp_path / "checkpoints")
    assert saved.name == "step-0000002"
    assert all(p.isfinite().all() for p in EMO.from_pretrained(saved).parameters())


def test_an_exploding_loss_stops(tmp_path):
    config = CONFIG.model_copy(update={"highest_loss": 0.01})
    with pytest.raises(LossStopped, match="at most 0.01"):
        run(tmp_path, 4, config=config)


def test_a_signal_finishes_the_step_saves_and_the_next_call_goes_on(tmp_path):
    def stop(row):
        if row["step"] == 3:
            os.kill(os.getpid(), signal.SIGINT)

    with pytest.raises(Interrupted) as caught:
        run(tmp_path / "cut", 4, report=stop)
    assert caught.value.exit_code == 130
    run(tmp_path / "cut", 4)
    run(tmp_path / "whole", 4)
    assert losses(tmp_path / "cut") == losses(tmp_path / "whole")


# SIGTERM is sent to ranks, too (test_ranks.py).
@pytest.mark.parametrize("how", [pytest.param(signal.SIGTERM, marks=pytest.mark.long), signal.SIGKILL])
def test_a_killed_process_resumes_where_its_last_checkpoint_is(tmp_path, how):
    root = Path(__file__).parents[3]
    command = [sys.executable, "-c", WORKER, str(tmp_path / "cut"), "40", "0.1"]
    process = subprocess.Popen(command, cwd=root, env=os.environ | {"OMP_NUM_THREADS": "1"}, stderr=subprocess.PIPE)
    progress = tmp_path / "cut" / "progress.jsonl"
    wait_for(lambda: progress.is_file() and len(progress.read_text().splitlines()) >= 5, process)
    with pytest.raises(UserError, match="another training run holds"):
        run(tmp_path / "cut", 2)
    process.send_signal(how)
    errors = process.communicate(timeout=60)[1].decode()
    saved = checkpoint.latest(tmp_path / "cut" / "checkpoints")
    done = int(saved.name.removeprefix("step-"))
    if how == signal.SIGTERM:
        assert "stopped by signal 15" in errors
        assert done == len(losses(tmp_path / "cut")) < 40  # the very step it was in
    else:
        assert 4 <= done < 40
    run(tmp_path / "cut", done + 2)
    run(tmp_path / "whole", done + 2, config=CONFIG)
    assert losses(tmp_path / "cut")[: done + 2] == pytest.approx(losses(tmp_path / "whole"), abs=0)


def wait_for(condition, process, seconds: float = 90.0) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < end
        time.sleep(0.05)


def test_one_run_folder_has_one_owner(tmp_path):
    with locked(tmp_path), pytest.raises(UserError, match="another training run holds"):
        run(tmp_path)


def test_handlers_are_given_back():
    before = signal.getsignal(signal.SIGTERM)
    with Interruption():
        assert signal.getsignal(signal.SIGTERM) != before
    assert signal.getsignal(signal.SIGTERM) == before


def test_under_nohup_a_closed_terminal_stays_ignored():
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with Interruption() as interruption:
            signal.raise_signal(signal.SIGHUP)
        assert interruption.signal == 0 and signal.getsignal(signal.SIGHUP) == signal.SIG_IGN
    finally:
        signal.signal(signal.SIGHUP, before)


def test_a_stage_refuses_the_wrong_start(tmp_path, trained):
    with pytest.raises(UserError, match="video starts from a checkpoint of stage image"):
        run(tmp_path / "a", stage="video")
    with pytest.raises(UserError, match="speed starts from video"):
        run(tmp_path / "b", stage="speed", start=final(trained["image"]))
    with pytest.raises(UserError, match="no checkpoint at"):
        run(tmp_path / "c", stage="video", start=tmp_path / "nothing")


def test_progress_says_where_the_time_went(trained):
    row = json.loads((trained["video"] / "progress.jsonl").read_text().splitlines()[0])
    assert {"step", "loss", "lr", "seconds"} <= row.keys()
    split = ("data_s", "forward_s", "backward_s", "optimizer_s")
    assert row["seconds"] == pytest.approx(sum(row[name] for name in split), abs=0.001)


def test_the_papers_numbers():
    assert [PAPER_TRAIN.of(name).batch_size for name in stages.STAGES] == [48, 4, 4]  # section 4.1
    assert {PAPER_TRAIN.of(name).learning_rate for name in stages.STAGES} == {1e-5}
    assert learning_rate(PAPER_TRAIN, PAPER_TRAIN.image, 1) == learning_rate(PAPER_TRAIN, PAPER_TRAIN.image, 30_000)


def test_the_command_says_what_is_wrong_in_one_line(tmp_path):
    from emo_model.train.__main__ import main

    (tmp_path / "run.json").write_text(json.dumps({"stage": "sound"}))
    assert main([str(tmp_path / "run.json")]) == 2
    assert main([str(tmp_path / "none.json")]) == 2
