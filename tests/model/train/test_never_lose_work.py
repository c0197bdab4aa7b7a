"""What a run loses when it is cut anywhere, by anything: nothing that it had saved, and no bit of what follows."""

import json
import os
import random
import resource
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from accelerate.state import AcceleratorState

from emo_model.errors import UserError
from emo_model.networks.emo import EMO
from emo_model.train import checkpoint, loop, stages
from tests.model.networks.small import SMALL, small
from tests.model.train.moving_faces import MovingFaces
from tests.model.train.test_loop import CONFIG, final, losses, run, spec, summary

ROOT = Path(__file__).parents[3]
STEPS = 12
EVERY = CONFIG.model_copy(update={"checkpoint_every": 3, "ema_decay": 0.9, "drop": 0.1})
CUTS = ("SIGTERM", "kill", "in the data", "in a save", "full disk")


def cut_run(folder: str, how: str, step: int) -> None:
    """In a process of its own: a run that ends at a step, in one of several ways."""

    class Unplugged(MovingFaces):
        def batch(self, number, batch_size):
            if how == "in the data" and number >= step:
                raise OSError("the disk went away")
            return super().batch(number, batch_size)

    def end(row):
        if row["step"] == step and how in ("SIGTERM", "kill"):
            os.kill(os.getpid(), {"SIGTERM": 15, "kill": 9}[how])

    write = checkpoint.save_file

    def unlucky(tensors, path):
        """The save after `step` ends in the middle of one of its files."""
        if f"step-{step:07d}" <= path.parents[1].name.strip(".") and random.random() < 0.5:
            if how == "in a save":
                path.write_bytes(b"half")
                os.kill(os.getpid(), 9)
            if how == "full disk":
                resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))
        write(tensors, path)

    checkpoint.save_file = unlucky
    random.seed(step)
    run(folder, STEPS, report=end, config=EVERY, dataset=Unplugged(stages.IMAGE, SMALL))


@pytest.fixture(scope="module")
def whole(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("whole")
    run(folder, STEPS, config=EVERY)
    return folder


def cut_elsewhere(folder: Path, how: str, step: int) -> subprocess.CompletedProcess:
    """`cut_run` in a process of its own."""
    code = "import sys; from tests.model.train.test_never_lose_work import cut_run; "
    code += "cut_run(sys.argv[1], sys.argv[2], int(sys.argv[3]))"
    return subprocess.run(
        [sys.executable, "-c", code, str(folder), how, str(step)],
        cwd=ROOT, env=os.environ | {"OMP_NUM_THREADS": "1"}, stderr=subprocess.PIPE, text=True, timeout=120,
    )  # fmt: skip


# The kinds that no other test has; the others, at more steps, with the long tests: every one starts a process.
@pytest.mark.parametrize("number", [pytest.param(i, marks=[] if i in (2, 3) else pytest.mark.long) for i in range(20)])
def test_a_run_cut_at_any_point_goes_on_bit_for_bit(tmp_path, whole, number):
    rng = random.Random(number)
    how, step = CUTS[number % len(CUTS)], rng.randrange(1, STEPS)
    done = cut_elsewhere(tmp_path, how, step)
    assert done.returncode != 0, (how, step)
    run(tmp_path, STEPS, config=EVERY)
    assert losses(tmp_path) == losses(whole), (how, step)
    ends = [checkpoint.part_hashes(EMO.from_pretrained(final(folder))) for folder in (tmp_path, whole)]
    assert ends[0] == ends[1] and summary(tmp_path)["loss_end"] == summary(whole)["loss_end"]


def copied(whole: Path, folder: Path) -> Path:
    """A finished run to spoil: files of their own, where a run links those that do not change."""
    shutil.copytree(whole, folder)
    return folder


@pytest.mark.parametrize(
    "name",
    [
        "backbone/" + checkpoint.TENSORS,
        "training/optimizer.safetensors",
        "training/state.json",
        "provenance.json",
        "scheduler/scheduler_config.json",
        "vanish",
    ],
)
def test_a_damaged_checkpoint_is_set_aside_with_a_warning_and_the_one_before_goes_on(tmp_path, whole, name):
    folder = copied(whole, tmp_path / "run")
    newest = checkpoint.latest(folder / "checkpoints")
    if name == "vanish":
        shutil.rmtree(newest / "training")
    else:
        (newest / name).write_bytes((newest / name).read_bytes()[:-10])
    with pytest.warns(UserWarning, match="is damaged.*going on from the one before"):
        run(folder, STEPS, config=EVERY)
    assert losses(folder) == losses(whole)
    assert [path.name[:20] for path in (folder / "checkpoints").glob("damaged-*")] == ["damaged-step-0000012"]
    assert checkpoint.part_hashes(EMO.from_pretrained(final(folder))) == checkpoint.part_hashes(
        EMO.from_pretrained(final(whole))
    )


def test_a_damaged_start_is_one_line_that_names_the_file(tmp_path, whole):
    start = copied(final(whole), tmp_path / "start")
    tensors = start / "reference_net" / checkpoint.TENSORS
    tensors.write_bytes(tensors.read_bytes()[:-100])
    with pytest.raises(UserError, match="start is damaged: .*; start from another one, run: emo train"):
        run(tmp_path / "run", 2, stage="video", start=start)


def test_a_full_disk_is_one_line_and_the_last_checkpoint_stays(tmp_path):
    run(tmp_path, 3, config=EVERY)
    code = (
        "import sys; from tests.model.train.test_never_lose_work import cut_run; cut_run(sys.argv[1], sys.argv[2], 4)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path), "full disk"],
        cwd=ROOT, env=os.environ | {"OMP_NUM_THREADS": "1"}, stderr=subprocess.PIPE, text=True, timeout=120,
    )  # fmt: skip
    assert "could not be saved: " in done.stderr and "File too large" in done.stderr
    assert f"the last whole one is {tmp_path}/checkpoints/step-0000003; make room" in done.stderr
    assert not list((tmp_path / "checkpoints").glob(".step-*"))
    EMO.from_pretrained(tmp_path / "checkpoints/step-0000003")


@pytest.mark.parametrize(
    ("changed", "says"),
    [
        ({"seed": 5}, "a run of seed 0, not 5"),
        ({"stage": "video"}, "a run of stage image, not video"),
        ({"steps": 5}, "has 12 steps, more than the 5 asked for"),
    ],
)
def test_a_run_folder_goes_on_as_what_it_is(whole, changed, says):
    given = spec(whole, **{"stage": "image", "steps": STEPS, **changed})
    with pytest.raises(UserError, match=says):
        loop.train(given, network=SMALL, config=EVERY, dataset=MovingFaces(stages.STAGES[given.stage], SMALL))


def test_a_checkpoint_of_other_sizes_is_refused_by_what_differs(tmp_path, whole):
    other = SMALL.model_copy(update={"audio_tokens": 3})
    given = spec(tmp_path, "video", steps=1, start=final(whole))
    with pytest.raises(UserError, match=r"other sizes \(audio_tokens 2 instead of 3\).*--preset"):
        loop.train(given, network=other, config=CONFIG, dataset=MovingFaces(stages.VIDEO, other))


def test_frozen_parts_are_linked_not_written_again(tmp_path, whole):
    folder = run(tmp_path, 2, stage="video", start=final(whole), config=CONFIG)
    for part in checkpoint.saved_parts(small()):
        files = [path / part / checkpoint.TENSORS for path in (final(whole), folder)]
        same = files[0].stat().st_ino == files[1].stat().st_ino
        assert same == (part not in stages.VIDEO.trains), part


def test_in_bfloat16_frozen_parts_are_held_in_half_at_the_same_results_and_saved_as_they_came(
    tmp_path, whole, monkeypatch
):
    AcceleratorState._reset_state(reset_partial_state=True)  # one precision a process
    config = CONFIG.model_copy(update={"mixed_precision": "bf16"})
    start, found = final(whole), []
    for name in ("half", "float32"):
        folder = run(tmp_path / name, 3, stage="video", start=start, config=config)
        found.append((losses(tmp_path / name), summary(tmp_path / name)["loss_end"]))
        for part in ("backbone", "reference_net", "face_locator"):
            assert (
                checkpoint.part_hashes(EMO.from_pretrained(folder))[part]
                == (checkpoint.part_hashes(EMO.from_pretrained(start))[part])
            )
        monkeypatch.setattr(loop, "frozen_in_half", lambda emo: None)
    AcceleratorState._reset_state(reset_partial_state=True)
    assert found[0] == found[1]


def test_frozen_parts_count_as_unchanged_when_the_precision_changes_on_the_way(tmp_path, whole):
    AcceleratorState._reset_state(reset_partial_state=True)
    run(tmp_path, 2, stage="video", start=final(whole), config=CONFIG)
    AcceleratorState._reset_state(reset_partial_state=True)
    run(tmp_path, 3, stage="video", start=final(whole), config=CONFIG.model_copy(update={"mixed_precision": "bf16"}))
    AcceleratorState._reset_state(reset_partial_state=True)
    assert summary(tmp_path)["frozen_unchanged"] and set(summary(tmp_path)["moved"]) == set(stages.VIDEO.trains)


def test_frozen_in_half_halves_what_does_not_learn():
    emo = small()
    loop.freeze(emo, stages.SPEED)
    loop.frozen_in_half(emo)
    kinds = {name: parameter.dtype for name, parameter in emo.named_parameters()}
    learns = {name for name, parameter in emo.named_parameters() if parameter.requires_grad}
    assert all(kinds[name] == torch.float32 for name in learns)
    size = {d: sum(p.numel() for n, p in emo.named_parameters() if n not in learns and p.dtype == d) for d in
            (torch.bfloat16, torch.float32)}  # fmt: skip
    assert size[torch.bfloat16] > 20 * size[torch.float32]


def test_a_checkpoint_is_read_into_one_copy_of_the_weights(whole, monkeypatch):
    """The files' tensors are the parameters: no random ones are made first."""
    read = []
    load = checkpoint.load_file
    monkeypatch.setattr(checkpoint, "load_file", lambda path: read.append(load(path)) or read[-1])
    emo = checkpoint.load_network(final(whole))
    files = {tensor.data_ptr() for tensors in read for tensor in tensors.values()}
    assert all(parameter.data_ptr() in files for parameter in emo.parameters())


def test_provenance_says_what_numbers_each_checkpoint_was_made_with(tmp_path):
    run(tmp_path, 2, config=CONFIG)
    slower = CONFIG.model_copy(update={"image": CONFIG.image.model_copy(update={"learning_rate": 1e-4})})
    folder = run(tmp_path, 4, config=slower)
    assert json.loads((folder / "provenance.json").read_text())["train"]["image"]["learning_rate"] == 1e-4
