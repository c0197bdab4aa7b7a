"""A training run as a job, on real daemons of one node: followed, stopped, resubmitted, put back by its time limit."""

import json
import re
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from emo_model import slurm as words
from emo_model.errors import UserError
from emo_model.networks.emo import EMO
from emo_model.train import checkpoint, slurm
from tests import slurm_here
from tests.model.train.small_run import losses, saved, small_run, trainer, wait_for

OPTIONS = "--partition=all --cpus-per-task=2"


@pytest.fixture
def cluster(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[dict[str, str]]:
    if why := slurm_here.missing():
        pytest.skip(why)
    (tmp_path / "slurm").mkdir()
    with slurm_here.slurm(tmp_path / "slurm") as environment:
        for name in ("SLURM_CONF", "PATH"):
            monkeypatch.setenv(name, environment[name])
        yield dict(environment)


def hashes(run: Path) -> dict[str, str]:
    final = json.loads((run.parent / "summary.json").read_text())["checkpoint"]
    return checkpoint.part_hashes(EMO.from_pretrained(run.parent / final))


@pytest.mark.long
def test_a_job_is_followed_stopped_and_submitted_again_and_ends_as_if_nothing_had_happened(
    tmp_path: Path, cluster: dict[str, str]
) -> None:
    whole, run = small_run(tmp_path / "whole", 40), small_run(tmp_path / "it's 100 %", 40)
    here = trainer(whole, "--processes=2", environment=cluster)
    assert here.wait(400) == 0, here.communicate()[0]

    job = ("--processes=2", "--grace=120", f"--slurm={OPTIONS}")
    first = trainer(run, *job, environment=cluster)
    wait_for(lambda: len(losses(run)) >= 3)
    there = slurm.submit(run, OPTIONS, 2, 120)  # as a re-execution would, its follower gone
    assert not there.new and there.log.is_file()
    first.send_signal(signal.SIGTERM)
    said = first.communicate(timeout=180)[0]
    assert first.returncode == 143, said + there.log.read_text()
    assert "stopped by signal 15; saved" in there.log.read_text()
    assert words.ended(there.job) == 143 and saved(run) == len(losses(run)) < 40

    second = trainer(run, *job, environment=cluster)
    assert second.wait(400) == 0, second.communicate()[0]
    assert losses(run) == losses(whole) and hashes(run) == hashes(whole)


@pytest.mark.long
def test_a_job_of_a_run_that_cannot_begin_ends_with_the_users_error(tmp_path: Path, cluster: dict[str, str]) -> None:
    run = small_run(tmp_path, 4, stage="video")
    follower = trainer(run, f"--slurm={OPTIONS}", environment=cluster)
    assert follower.wait(180) == 2
    (log,) = run.parent.glob("slurm-*.txt")
    assert "none is given; run: emo train image" in log.read_text()


@pytest.mark.long
def test_at_its_time_limit_a_job_saves_and_waits_for_more_time(tmp_path: Path, cluster: dict[str, str]) -> None:
    run = small_run(tmp_path, 20_000)
    job = slurm.submit(run, f"{OPTIONS} --time=2 --signal=B:USR1@30", 2, 60).job

    def restarts() -> int:
        shown = subprocess.run(["scontrol", "-o", "show", "job", job], env=cluster, capture_output=True, text=True)
        return int(re.search(r"Restarts=(\d+)", shown.stdout)[1])

    wait_for(lambda: restarts() == 1, 200)
    before = saved(run)
    assert before == len(losses(run)) > 0 and words.ended(job) is None
    wait_for(lambda: len(losses(run)) > before, 300)  # Slurm lets a job that was put back wait for two minutes
    words.stop(job)
    wait_for(lambda: words.ended(job) is not None, 120)
    assert saved(run) == len(losses(run)) > before


def test_without_slurm_a_line_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(UserError, match="there is no sbatch on this machine"):
        slurm.submit(tmp_path / "run.json", "", 2, 60)


@pytest.mark.parametrize(
    ("shown", "code"),
    [
        ("JobState=RUNNING Reason=None ExitCode=0:0", None),
        ("JobState=COMPLETING Reason=None ExitCode=0:0", None),
        ("JobState=COMPLETED Reason=None ExitCode=0:0", 0),
        ("JobState=FAILED Reason=NonZeroExitCode ExitCode=2:0", 2),
        ("JobState=FAILED Reason=RaisedSignal:9 ExitCode=0:9", 137),
        ("JobState=CANCELLED Reason=None ExitCode=0:15", 143),
        ("JobState=TIMEOUT Reason=TimeLimit ExitCode=0:0", 1),
        ("JobState=NODE_FAIL Reason=NodeDown ExitCode=0:0", 1),
    ],
)
def test_a_jobs_state_becomes_an_exit_code(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, shown: str, code: int | None
) -> None:
    said(tmp_path, monkeypatch, f"echo JobId=7 {shown}")
    assert words.ended("7") == code


def test_a_controller_that_does_not_answer_is_asked_again_and_a_forgotten_job_counts_as_lost(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    said(tmp_path, monkeypatch, "echo 'Unable to contact slurm controller' >&2; exit 1")
    assert words.ended("7") is None
    said(tmp_path, monkeypatch, "echo 'slurm_load_jobs error: Invalid job id specified' >&2; exit 1")
    assert words.ended("7") == 1


def said(folder: Path, monkeypatch: pytest.MonkeyPatch, script: str) -> None:
    """A scontrol that answers so; no other command of Slurm."""
    (folder / "scontrol").write_text(f"#!/bin/sh\n{script}\n")
    (folder / "scontrol").chmod(0o755)
    monkeypatch.setenv("PATH", str(folder))
