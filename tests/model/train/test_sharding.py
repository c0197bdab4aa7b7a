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

from emo_model.networks.emo import EMO
from emo_model.train import checkpoint, loop, sharding, stages
from tests.model.networks.small import SMALL
from tests.model.train.moving_faces import MovingFaces
from tests.model.train.test_loop import CONFIG, final, losses, run
from tests.model.train.test_scaling_up import rows

ROOT = Path(__file__).parents[3]
# Gradients are cut, weights are averaged, looked at on the way: all that sharding could get wrong.
PLAIN = CONFIG.model_copy(update={"ema_decay": 0.9, "gradient_norm": 0.5, "validate_every": 2})


def sharded(how: str, **changed):
    return PLAIN.model_copy(update={"shard": how, **changed})


def on_a_rank(folder: str) -> None:
    """One of two ranks, through all runs: starting processes takes longer than they do."""
    folder, held = Path(folder), {}
    share_out = sharding.share_out

    def weighed(objective, *arguments, **named):
        share_out(objective, *arguments, **named)
        held[len(held)] = sum(sharding.local(p).numel() for p in objective.parameters() if p.requires_grad)

    loop.share_out = weighed
    data = {name: MovingFaces(stage, SMALL) for name, stage in stages.STAGES.items()}
    run(folder / "zero2", 3, config=sharded("zero2"), dataset=data["image"])
    run(folder / "one", 3, config=sharded("full"), dataset=data["image"])  # two steps of it are one process's
    run(folder / "zero2", 4, config=sharded("full", gradient_checkpointing=True), dataset=data["image"])
    start = final(folder / "start")
    run(folder / "speed", 3, stage="speed", start=start, config=sharded("full"), dataset=data["speed"])
    two = CONFIG.video.model_copy(update={"accumulate": 2})
    changed = {"gradient_checkpointing": True, "video": two}
    start = final(folder / "zero2")
    run(folder / "video", 3, stage="video", start=start, config=sharded("zero2", **changed), dataset=data["video"])
    AcceleratorState._reset_state()  # another precision
    half = sharded("full", mixed_precision="bf16", gradient_checkpointing=True)
    run(folder / "half", 2, stage="video", start=start, config=half, dataset=data["video"])
    if os.environ["RANK"] == "0":
        (folder / "held.json").write_text(json.dumps(list(held.values())))


def micro_batches(stage: str, count: int):
    """What two ranks do, in one process."""
    return PLAIN.model_copy(update={stage: PLAIN.of(stage).model_copy(update={"accumulate": count})})


@pytest.fixture(scope="module")
def shared_out(tmp_path_factory) -> Path:
    folder, start = tmp_path_factory.mktemp("two"), None
    for stage in ("image", "video"):
        start = run(folder / f"before_{stage}", 1, stage=stage, start=start)
    (folder / "start").symlink_to(folder / "before_video")
    run(folder / "one", 2, config=micro_batches("image", 2))
    command = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node=2", "--standalone", "--no-python"]
    code = "import sys; from tests.model.train.test_sharding import on_a_rank; on_a_rank(sys.argv[1])"
    done = subprocess.run(
        [*command, sys.executable, "-c", code, str(folder)],
        cwd=ROOT, env=os.environ | {"OMP_NUM_THREADS": "1"}, capture_output=True, text=True, timeout=240,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-6000:]
    return folder


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


def test_sharded_steps_are_those_of_one_process_also_when_the_sharding_changes_on_the_way(tmp_path, shared_out):
    run(tmp_path, 4, config=micro_batches("image", 2))
    assert_same(shared_out / "zero2", tmp_path)


def test_a_run_goes_on_sharded_and_then_in_one_process(tmp_path, shared_out):
    run(tmp_path, 4, config=micro_batches("image", 2))
    run(shared_out / "one", 4, config=micro_batches("image", 2))
    assert_same(shared_out / "one", tmp_path)


@pytest.mark.parametrize(("stage", "count", "start"), [("video", 4, "zero2"), ("speed", 2, "start")])
def test_modules_that_run_in_hooks_are_gathered_too(tmp_path, shared_out, stage, count, start):
    run(tmp_path, 3, stage=stage, start=final(shared_out / start), config=micro_batches(stage, count))
    assert_same(shared_out / stage, tmp_path)


def test_in_bfloat16_sharded_steps_are_nearly_those_of_one_process(tmp_path, shared_out):
    AcceleratorState._reset_state(reset_partial_state=True)
    half = micro_batches("video", 2).model_copy(update={"mixed_precision": "bf16"})
    run(tmp_path, 2, stage="video", start=final(shared_out / "zero2"), config=half)
    AcceleratorState._reset_state(reset_partial_state=True)
    assert losses(shared_out / "half") == pytest.approx(losses(tmp_path), rel=1e-3)


def test_each_rank_holds_half_of_what_learns(shared_out):
    image = sum(p.numel() for p in loop.freeze(EMO(SMALL), stages.IMAGE).values())
    assert json.loads((shared_out / "held.json").read_text())[0] == pytest.approx(image / 2, rel=0.02)
