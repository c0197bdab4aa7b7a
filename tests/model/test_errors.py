"""What a process is told of another's error."""

import pickle
from pathlib import Path

import pytest

from emo_model.errors import UserError
from emo_model.train.checkpoint import Damaged, NotSaved
from emo_model.train.loop import Interrupted


@pytest.mark.parametrize(
    "error",
    [UserError("one line"), Damaged(Path("c"), ValueError("cut short")), NotSaved(Path("r/c"), OSError("full"))],
)
def test_a_users_error_keeps_its_line_between_processes(error):
    told = pickle.loads(pickle.dumps(error))
    assert isinstance(told, UserError) and str(told) == str(error)


def test_who_was_told_to_stop_ends_with_the_signals_code_in_any_process():
    told = pickle.loads(pickle.dumps(Interrupted(15, Path("run/step-0000007"))))
    assert told.exit_code == 143 and "run/step-0000007" in str(told)
