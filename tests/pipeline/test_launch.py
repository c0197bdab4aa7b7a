"""The training process: heard while it runs, told to stop and given time, never left behind."""

import json
import os
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable
from pathlib import Path

import dagster as dg
import pytest

from emo_pipeline.launch import Rows, Trainer, new_rows

# A trainer of three lines: a row of progress a step; SIGTERM is answered by saving, or not at all.
PLAYER = textwrap.dedent(
    """
    import json, os, signal, sys, time
    folder, steps, stubborn = sys.argv[1], int(sys.argv[2]), sys.argv[3] == "stubborn"
    def stop(*_):
        open(folder + "/told", "w").close()
        if not stubborn:
            open(folder + "/saved", "w").close()
            sys.exit(143)
    signal.signal(signal.SIGTERM, stop)
    with open(folder + "/pid", "w") as file:
        file.write(str(os.getpid()))
    for step in range(1, steps + 1):
        with open(folder + "/progress.jsonl", "a") as file:
            file.write(json.dumps({"step": step, "loss": 1 / step}) + "\\n")
        time.sleep(0.02)
    """
)


def command(folder: Path, steps: int, temper: str = "gentle") -> list[str]:
    return [sys.executable, "-c", PLAYER, str(folder), str(steps), temper]


def wait_for(found: Callable[[], bool], seconds: float = 20) -> None:
    end = time.monotonic() + seconds
    while not found():
        assert time.monotonic() < end, "it never came"
        time.sleep(0.05)


def alive(pid: int) -> bool:
    """Running, and not merely unburied."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def test_every_row_of_progress_is_reported_once_and_in_order(tmp_path: Path) -> None:
    heard: Rows = []
    Trainer(observe_s=0.1).run(command(tmp_path, 40), tmp_path, heard.extend)
    assert [row["step"] for row in heard] == list(range(1, 41))


def test_a_resumed_file_repeats_no_row_and_half_a_line_waits(tmp_path: Path) -> None:
    path = tmp_path / "progress.jsonl"
    rows = [json.dumps({"step": step, "loss": 1.0}) + "\n" for step in range(1, 11)]
    told = new_rows(path)
    assert next(told) == []
    path.write_text("".join(rows[:8]) + rows[8][:5])
    assert [row["step"] for row in next(told)] == list(range(1, 9))
    path.write_text("".join(rows[:5]))  # cut back to the checkpoint at step 5
    assert next(told) == []
    path.write_text("".join(rows))
    assert [row["step"] for row in next(told)] == [9, 10]


@pytest.mark.parametrize(("code", "again"), [(2, False), (1, True), (143, False), (129, False)])
def test_an_error_of_the_users_making_is_not_tried_again_nor_a_trainer_that_somebody_stopped(
    tmp_path: Path, code: int, again: bool
) -> None:
    failing = [sys.executable, "-c", f"import sys; print('lower learning_rate'); sys.exit({code})"]
    with pytest.raises(dg.Failure, match="lower learning_rate") as failed:
        Trainer().run(failing, tmp_path, lambda rows: None)
    assert failed.value.allow_retries is again


def test_the_real_trainer_ends_with_one_line_where_the_run_file_is_missing(tmp_path: Path) -> None:
    with pytest.raises(dg.Failure, match="no run file") as failed:
        Trainer().train(tmp_path / "run.json", lambda rows: None)
    assert failed.value.allow_retries is False


@pytest.mark.parametrize(
    ("trainer", "options"),
    [
        (Trainer(processes=8), ["--processes=8", "--grace=540"]),
        (
            Trainer(engine="slurm", slurm_options="--nodes=2 --gpus-per-node=8", grace_s=20),
            ["--processes=0", "--grace=1", "--slurm=--nodes=2 --gpus-per-node=8"],
        ),
    ],
)
def test_ranks_and_slurm_are_the_trainers_to_start_and_end_before_it_is_killed(
    trainer: Trainer, options: list[str]
) -> None:
    assert trainer.command(Path("run.json"))[1:] == ["-m", "emo_model.train", "run.json", *options]


def test_a_cancelled_run_lets_the_trainer_save(tmp_path: Path) -> None:
    def cancel(rows: Rows) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        Trainer(observe_s=0.1, grace_s=20).run(command(tmp_path, 10_000), tmp_path, cancel)
    assert (tmp_path / "saved").exists()
    assert not alive(int((tmp_path / "pid").read_text()))


def test_a_trainer_that_will_not_stop_is_killed_after_its_time(tmp_path: Path) -> None:
    def cancel(rows: Rows) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        Trainer(observe_s=0.1, grace_s=0.5).run(command(tmp_path, 10_000, "stubborn"), tmp_path, cancel)
    assert (tmp_path / "told").exists() and not alive(int((tmp_path / "pid").read_text()))


def test_the_trainer_saves_and_ends_when_the_step_process_is_killed(tmp_path: Path) -> None:
    """kill -9 of the step (out of memory): an orphan would go on, and a retry would start a second trainer."""
    code = (
        "import sys; from pathlib import Path; from emo_pipeline.launch import Trainer; "
        f"Trainer().run({command(tmp_path, 10_000)!r}, Path({str(tmp_path)!r}), lambda rows: None)"
    )
    step = subprocess.Popen([sys.executable, "-c", code], cwd=Path(__file__).resolve().parents[2])
    try:
        wait_for(lambda: (tmp_path / "progress.jsonl").exists())
        trainer = int((tmp_path / "pid").read_text())
        os.kill(step.pid, signal.SIGKILL)
        wait_for(lambda: not alive(trainer))
        assert (tmp_path / "saved").exists()
    finally:
        step.kill()
        step.wait()
