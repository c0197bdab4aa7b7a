"""Training shared out over two ranks against one process: the same numbers, the same checkpoints, to and fro."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from accelerate.state import AcceleratorState
from safetensors.torch import load_file

from emo_model.errors import UserError
from emo_model.networks.emo import EMO
from emo_model.train import loop, sharding, stages
from emo_model.train.loop import LossStopped
from emo_model.train.objective import Objective
from tests.model.networks.small import SMALL
from tests.model.train.moving_faces import MovingFaces
from tests.model.train.test_loop import CONFIG, final, losses, run, spec
from tests.model.train.test_scaling_up import rows

ROOT = Path(__file__).parents[3]
# Gradients are cut, weights are averaged, looked at on the way: all that sharding could get wrong.
PLAIN = CONFIG.model_copy(update={"ema_decay": 0.9, "gradient_norm": 0.5, "validate_every": 1})


def sharded(how: str, **changed):
    return PLAIN.model_copy(update={"shard": how, **changed})


def on_a_rank(folder: str, *which: str) -> None:
    """One of two ranks, through several runs: starting processes takes longer than they do."""
    for name in which:
        RUNS[name](Path(folder))


def image(folder: Path) -> None:
    """Shared out in one way, then in the other; what each rank holds."""
    held, share_out = [], sharding.share_out

    def weighed(objective, accelerator, keep_weights):
        share_out(objective, accelerator, keep_weights)
        held.append(sum(sharding.local(p).numel() for p in objective.parameters() if p.requires_grad))

    loop.share_out = weighed
    data, more = MovingFaces(stages.IMAGE, SMALL), {"sample_every": 2, "sample_steps": 2}
    run(folder / "image", 3, config=sharded("zero2", **more), dataset=data)
    run(folder / "image", 4, config=sharded("full", **more), dataset=data)
    loop.share_out = share_out
    if os.environ["RANK"] == "0":
        (folder / "held.json").write_text(json.dumps(held))


def speed(folder: Path) -> None:
    data, start = MovingFaces(stages.SPEED, SMALL), final(folder / "before_video")
    run(folder / "speed", 2, stage="speed", start=start, config=sharded("full"), dataset=data)


def lost(folder: Path) -> None:
    """On one rank the gradient is not a number, while the loss is."""
    forward, calls = Objective.forward, []

    def broken(self, batch, draw):
        calls.append(batch)
        loss = forward(self, batch, draw)
        return loss + (loss * 0).sqrt() if len(calls) == 4 and os.environ["RANK"] == "1" else loss

    Objective.forward = broken
    config = sharded("zero2", validate_every=0, image=CONFIG.image.model_copy(update={"accumulate": 2}))
    with pytest.raises(LossStopped, match="step 2: loss [0-9.]*, gradient norm nan"):
        loop.train(spec(folder / "lost", steps=3), network=SMALL, config=config, dataset=Unasked(stages.IMAGE, SMALL))
    Objective.forward = forward


class Unasked(MovingFaces):
    """Clips that validation has none of, so that every call of the objective is a step's."""

    def fixed_batches(self, count, batch_size):
        return []


def one(folder: Path) -> None:
    """Goes on where one process ended."""
    changed = {"gradient_checkpointing": "selective"}
    run(folder / "one", 3, config=sharded("full", **changed), dataset=MovingFaces(stages.IMAGE, SMALL))


def video(folder: Path) -> None:
    changed = {"gradient_checkpointing": "selective", "video": CONFIG.video.model_copy(update={"accumulate": 2})}
    data, start = MovingFaces(stages.VIDEO, SMALL), final(folder / "before_image")
    run(folder / "video", 3, stage="video", start=start, config=sharded("zero2", **changed), dataset=data)


def half(folder: Path) -> None:
    AcceleratorState._reset_state()  # another precision
    config = sharded("full", mixed_precision="bf16", gradient_checkpointing="full")
    data, start = MovingFaces(stages.VIDEO, SMALL), final(folder / "before_image")
    run(folder / "half", 2, stage="video", start=start, config=config, dataset=data)


RUNS = {each.__name__: each for each in (image, speed, lost, one, video, half)}


def micro_batches(stage: str, count: int):
    """What two ranks do, in one process."""
    return PLAIN.model_copy(update={stage: PLAIN.of(stage).model_copy(update={"accumulate": count})})


def two_ranks(folder: Path, *runs: str) -> None:
    command = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node=2", "--standalone", "--no-python"]
    code = "import sys; from tests.model.train.test_sharding import on_a_rank; on_a_rank(*sys.argv[1:])"
    done = subprocess.run(
        [*command, sys.executable, "-c", code, str(folder), *runs],
        cwd=ROOT, env=os.environ | {"OMP_NUM_THREADS": "1", "PYTHONFAULTHANDLER": "1"}, capture_output=True, text=True,
        timeout=240,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-6000:]


@pytest.fixture(scope="module")
def before(tmp_path_factory) -> Path:
    """Where the stages start."""
    folder, start = tmp_path_factory.mktemp("two"), None
    for stage in ("image", "video"):
        start = run(folder / f"before_{stage}", 1, stage=stage, start=start)
    return folder


@pytest.fixture(scope="module")
def shared_out(before) -> Path:
    two_ranks(before, "image", "speed", "lost")
    return before


@pytest.fixture(scope="module")
def more_shared_out(before) -> Path:
    run(before / "one", 2, config=micro_batches("image", 2))
    two_ranks(before, "one", "video", "half")
    return before


def assert_same(found: Path, wanted: Path) -> None:
    assert losses(found) == pytest.approx(losses(wanted), rel=1e-5)
    for name in ("gradient_norm", "loss_train", "loss_heldout"):
        seen = [[row[name] for row in rows(folder) if name in row] for folder in (found, wanted)]
        assert seen[0] == pytest.approx(seen[1], rel=1e-4) and seen[1], name
    ends = [json.loads((folder / "summary.json").read_text()) for folder in (found, wanted)]
    assert ends[0]["moved"] == ends[1]["moved"] and ends[0]["frozen_unchanged"]
    assert ends[0]["loss_end"] == pytest.approx(ends[1]["loss_end"], rel=1e-5)
    for name in sorted(path.relative_to(final(wanted)) for path in final(wanted).rglob("*.safetensors")):
        tensors = [load_file(final(folder) / name) for folder in (found, wanted)]
        assert tensors[0].keys() == tensors[1].keys(), name
        for key, tensor in tensors[1].items():
            torch.testing.assert_close(tensors[0][key], tensor, rtol=1e-3, atol=1e-5, msg=f"{name} {key}")


@pytest.mark.long
def test_sharded_steps_are_those_of_one_process_also_when_the_sharding_changes_on_the_way(tmp_path, shared_out):
    run(tmp_path, 4, config=micro_batches("image", 2))
    assert_same(shared_out / "image", tmp_path)


@pytest.mark.long
def test_each_rank_holds_half_of_what_learns(shared_out):
    learns = sum(p.numel() for p in loop.freeze(EMO(SMALL), stages.IMAGE).values())
    assert json.loads((shared_out / "held.json").read_text()) == [pytest.approx(learns / 2, rel=0.02)] * 2


@pytest.mark.long
def test_one_rank_draws_samples_with_the_weights_of_all(shared_out):
    found = {str(path.relative_to(shared_out / "image/samples")) for path in shared_out.glob("image/samples/*/*")}
    assert found == {"step-0000002/stills.png", "step-0000004/stills.png"}


@pytest.mark.long
def test_modules_that_run_in_hooks_are_gathered_too(tmp_path, shared_out):
    run(tmp_path, 2, stage="speed", start=final(shared_out / "before_video"), config=micro_batches("speed", 2))
    assert_same(shared_out / "speed", tmp_path)


@pytest.mark.long
def test_a_gradient_that_one_rank_lost_stops_all_and_names_the_clips_of_all(shared_out):
    stopped = json.loads((shared_out / "lost/stopped.json").read_text())
    data = MovingFaces(stages.IMAGE, SMALL)
    wanted = [clip for number in range(4, 8) for clip in data.batch(number, CONFIG.image.batch_size)["clip_id"]]
    assert stopped["step"] == 2 and sorted(stopped["clip_id"]) == sorted(wanted)


@pytest.mark.long
def test_a_run_goes_on_sharded_and_then_in_one_process(tmp_path, more_shared_out):
    run(tmp_path, 4, config=micro_batches("image", 2))
    run(more_shared_out / "one", 4, config=micro_batches("image", 2))
    assert_same(more_shared_out / "one", tmp_path)


@pytest.mark.long
def test_sharded_micro_batches_are_those_of_one_process(tmp_path, more_shared_out):
    run(tmp_path, 3, stage="video", start=final(more_shared_out / "before_image"), config=micro_batches("video", 4))
    assert_same(more_shared_out / "video", tmp_path)


@pytest.mark.long
def test_in_bfloat16_sharded_steps_are_nearly_those_of_one_process(tmp_path, more_shared_out):
    AcceleratorState._reset_state(reset_partial_state=True)
    config = micro_batches("video", 2).model_copy(update={"mixed_precision": "bf16"})
    run(tmp_path, 2, stage="video", start=final(more_shared_out / "before_image"), config=config)
    AcceleratorState._reset_state(reset_partial_state=True)
    assert losses(more_shared_out / "half") == pytest.approx(losses(tmp_path), rel=1e-3)


def test_moments_of_8_bits_are_not_shared_out(tmp_path):
    with pytest.raises(UserError, match="adamw_8bit cannot be shared out"):
        run(tmp_path, 1, config=sharded("zero2", optimizer="adamw_8bit"))
