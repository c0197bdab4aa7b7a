"""A terminal that closes, or an ssh line that is lost, in the middle of a run that it started."""

import os
import pty
import signal
import sys
from pathlib import Path

import pytest

from tests.model.train.small_run import HOME, losses, saved, small_run, wait_for


@pytest.mark.parametrize("how", ["closed", pytest.param("kill -HUP", marks=pytest.mark.long)])
def test_a_closed_terminal_saves_and_ends(tmp_path: Path, how: str) -> None:
    """A real one: what the run says afterwards has nowhere to go."""
    run = small_run(tmp_path, 4000)
    pid, terminal = pty.fork()
    if pid == 0:
        os.environ.update({"PYTHONPATH": str(HOME), "CUDA_VISIBLE_DEVICES": ""})
        os.execv(sys.executable, [sys.executable, "-m", "emo_model.train", str(run)])
    try:
        wait_for(lambda: len(losses(run)) >= 2)
        if how == "closed":
            os.close(terminal)
        else:
            os.kill(pid, signal.SIGHUP)
        ended = {}
        wait_for(lambda: ended.update(zip(("pid", "status"), os.waitpid(pid, os.WNOHANG), strict=True)) or ended["pid"])
    except BaseException:
        os.kill(pid, signal.SIGKILL)
        raise
    assert os.waitstatus_to_exitcode(ended["status"]) == 129
    assert 2 <= saved(run) == len(losses(run)) < 4000
