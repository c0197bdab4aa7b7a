"""Two ranks on one machine under our launcher: stopped, killed, failing. They save, leave nobody behind, speak once."""

import os
import signal
from pathlib import Path

import pytest

from tests.model.train.small_run import losses, saved, small_run, trainer, wait_for

ENVIRONMENT = dict(os.environ)


def ranks_of(agent: int) -> list[int]:
    """The processes that an agent started."""
    return [int(pid) for pid in Path(f"/proc/{agent}/task/{agent}/children").read_text().split()]


def alive(pid: int) -> bool:
    """Running, and not merely unburied."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def test_ranks_save_and_end_when_their_launcher_is_killed_or_told_to_stop(tmp_path: Path) -> None:
    run = small_run(tmp_path, 4000)
    agent = trainer(run, "--processes=2", environment=ENVIRONMENT)
    wait_for(lambda: len(losses(run)) >= 2)
    ranks = ranks_of(agent.pid)
    agent.kill()
    wait_for(lambda: not any(alive(rank) for rank in ranks))
    agent.communicate()
    first = saved(run)
    assert len(ranks) == 2 and first == len(losses(run)) < 4000

    agent = trainer(run, "--processes=2", environment=ENVIRONMENT)
    wait_for(lambda: len(losses(run)) >= first + 2)
    for _ in range(3):  # an impatient Ctrl-C: torchrun's own agent would leave its ranks to be killed
        os.kill(agent.pid, signal.SIGINT)
    said = agent.communicate(timeout=120)[0]
    assert agent.returncode == 130 and said.count("stopped by signal 2; saved") == 1, said
    assert first < saved(run) == len(losses(run))


@pytest.mark.long
def test_an_error_of_the_users_making_is_told_once_with_its_own_exit_code(tmp_path: Path) -> None:
    run = small_run(tmp_path, 4, stage="video")
    agent = trainer(run, "--processes=2", environment=ENVIRONMENT)
    said = agent.communicate(timeout=120)[0]
    assert agent.returncode == 2 and len(said.splitlines()) == 1, said
    assert said.startswith("stage video starts from a checkpoint of stage image, and none is given; run: emo train")


@pytest.mark.long
def test_a_killed_rank_ends_the_group_and_is_named(tmp_path: Path) -> None:
    run = small_run(tmp_path, 4000)
    agent = trainer(run, "--processes=2", environment=ENVIRONMENT)
    wait_for(lambda: len(losses(run)) >= 2)
    ranks = ranks_of(agent.pid)
    os.kill(ranks[1], signal.SIGKILL)
    said = agent.communicate(timeout=120)[0]
    assert agent.returncode == 137 and said.splitlines()[-1].startswith("rank 1: Signal 9 (SIGKILL)"), said
    assert not any(alive(rank) for rank in ranks)


@pytest.mark.long
def test_two_nodes_meet_at_the_firsts_name(tmp_path: Path) -> None:
    """Two agents of one rank each, as on two machines, give what one agent of two ranks gives."""
    import socket

    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    one, two = small_run(tmp_path / "one", 4), small_run(tmp_path / "two", 4)
    together = trainer(one, "--processes=2", environment=ENVIRONMENT)
    assert together.wait(240) == 0, together.communicate()[0]
    meet = ("--processes=1", "--nodes=2", f"--rendezvous=localhost:{port}")
    nodes = [trainer(two, *meet, f"--node={node}", environment=ENVIRONMENT) for node in range(2)]
    said = [node.communicate(timeout=240)[0] for node in nodes]
    assert [node.returncode for node in nodes] == [0, 0], said
    assert losses(two) == losses(one)
