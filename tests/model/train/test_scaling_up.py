"""What a long run on a large machine needs: averaged weights, micro-batches, ranks, batches read ahead, milestones."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from emo_model.networks.emo import EMO
from emo_model.train import checkpoint, stages
from tests.model.networks.small import SMALL
from tests.model.train.moving_faces import MovingFaces
from tests.model.train.test_loop import CONFIG, final, losses, run, spec, wait_for, whole_and_resumed

ROOT = Path(__file__).parents[3]
RANK = "import sys; from tests.model.train.test_scaling_up import on_a_rank; on_a_rank(*sys.argv[1:])"


def with_image(**changed):
    return CONFIG.model_copy(update={"image": CONFIG.image.model_copy(update=changed)})


def rows(folder: Path) -> list[dict]:
    return [json.loads(line) for line in (folder / "progress.jsonl").read_text().splitlines()]


def test_a_checkpoint_offers_the_average_of_the_weights_and_resumes_from_the_newest(tmp_path):
    averaged = CONFIG.model_copy(update={"ema_decay": 0.9, "keep_checkpoints": 9, "checkpoint_every": 1})
    plain = CONFIG.model_copy(update={"keep_checkpoints": 9, "checkpoint_every": 1})
    run(tmp_path / "average", 3, config=averaged)
    run(tmp_path / "plain", 3, config=plain)
    assert losses(tmp_path / "average") == losses(tmp_path / "plain")  # averaging changes no step
    name, offered = "face_locator.out.bias", None
    for step in range(4):
        newest = _weight(tmp_path / "plain", step, name)
        decay = min(0.9, (1 + step) / (10 + step))
        offered = newest if offered is None else offered.lerp(newest, 1 - decay)
        if step:
            found = EMO.from_pretrained(tmp_path / "average/checkpoints" / f"step-{step:07d}").state_dict()[name]
            torch.testing.assert_close(found, offered, rtol=1e-6, atol=1e-9)
            assert not torch.equal(found, newest)


def _weight(folder: Path, step: int, name: str) -> torch.Tensor:
    from emo_model.networks.emo import seeded

    emo = seeded(SMALL, 0) if step == 0 else EMO.from_pretrained(folder / "checkpoints" / f"step-{step:07d}")
    return emo.state_dict()[name].clone()


def test_a_run_with_every_option_resumes_bit_for_bit(tmp_path):
    config = with_image(accumulate=2).model_copy(update={"ema_decay": 0.99, "validate_every": 2})

    whole_and_resumed(tmp_path, config=config)
    looks = [{k: v for k, v in row.items() if k.startswith("loss_")} for row in rows(tmp_path / "cut")]
    assert looks[1].keys() == {"loss_train", "loss_heldout"} and looks[0] == {}
    ends = [json.loads((tmp_path / name / "summary.json").read_text())["loss_end"] for name in ("whole", "cut")]
    assert ends[0] == ends[1] == {name.removeprefix("loss_"): value for name, value in looks[3].items()}


@pytest.mark.long
def test_batches_read_ahead_by_other_processes_are_the_same_batches(tmp_path):
    run(tmp_path / "here", 3)
    run(tmp_path / "ahead", 3, config=CONFIG.model_copy(update={"loader_workers": 2}))
    assert losses(tmp_path / "ahead") == losses(tmp_path / "here")


def with_loaders(folder: str) -> None:
    """A run long enough to be stopped, its batches read by another process."""
    run(folder, 4000, config=CONFIG.model_copy(update={"loader_workers": 1}))


def test_a_signal_to_the_whole_group_finishes_the_step_although_another_reads_the_batches(tmp_path):
    code = "import sys; from tests.model.train.test_scaling_up import with_loaders; with_loaders(sys.argv[1])"
    process = subprocess.Popen(
        [sys.executable, "-c", code, str(tmp_path)],
        cwd=ROOT, env=os.environ | {"OMP_NUM_THREADS": "1"}, stderr=subprocess.PIPE, start_new_session=True,
    )  # fmt: skip
    progress = tmp_path / "progress.jsonl"
    wait_for(lambda: progress.is_file() and len(progress.read_text().splitlines()) >= 3, process)
    os.killpg(process.pid, signal.SIGTERM)
    assert "stopped by signal 15" in process.communicate(timeout=60)[1].decode()
    assert int(checkpoint.latest(tmp_path / "checkpoints").name.removeprefix("step-")) == len(rows(tmp_path))


def test_milestones_stay(tmp_path):
    config = CONFIG.model_copy(update={"checkpoint_every": 1, "keep_checkpoints": 1, "milestone_every": 2})
    run(tmp_path, 5, config=config)
    assert [path.name[-1] for path in sorted((tmp_path / "checkpoints").iterdir())] == ["2", "4", "5"]


def on_a_rank(folder: str, steps: str) -> None:
    """One rank of two."""
    run(folder, int(steps), dataset=MovingFaces(stages.IMAGE, SMALL))


def two_ranks(folder: Path, steps: int) -> None:
    command = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node=2", "--standalone", "--no-python"]
    environment = os.environ | {"OMP_NUM_THREADS": "1", "ACCELERATE_USE_CPU": "true", "CUDA_VISIBLE_DEVICES": ""}
    done = subprocess.run(
        [*command, sys.executable, "-c", RANK, str(folder), str(steps)],
        cwd=ROOT, env=environment, capture_output=True, text=True, timeout=240,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]


def test_two_ranks_give_one_process_with_two_micro_batches(tmp_path):
    two_ranks(tmp_path / "two", 4)
    run(tmp_path / "one", 4, config=with_image(accumulate=2))
    assert losses(tmp_path / "two") == pytest.approx(losses(tmp_path / "one"), rel=1e-5)
    norms = [[row["gradient_norm"] for row in rows(tmp_path / name)] for name in ("two", "one")]
    assert norms[0] == pytest.approx(norms[1], rel=1e-4)
    networks = [EMO.from_pretrained(final(tmp_path / name)) for name in ("two", "one")]
    for (name, a), (_, b) in zip(networks[0].named_parameters(), networks[1].named_parameters(), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-3, atol=1e-5, msg=name)


@pytest.mark.long
def test_a_run_goes_on_with_another_number_of_ranks(tmp_path):
    two_ranks(tmp_path, 2)
    run(tmp_path, 4)
    assert [row["step"] for row in rows(tmp_path)] == [1, 2, 3, 4]
    assert spec(tmp_path).run_dir == tmp_path and final(tmp_path).name == "step-0000004"
