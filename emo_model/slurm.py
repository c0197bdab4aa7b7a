"""Words with Slurm: submit, find, ask, cancel. What a job does stands in data/slurm.py and train/slurm.py."""

import os
import re
import shlex
import shutil
import subprocess
from collections.abc import Mapping

from emo_model.errors import UserError

LIVING = ("PENDING", "CONFIGURING", "RUNNING", "SUSPENDED")
_LEAVING = (
    "COMPLETING",
    "REQUEUED",
    "REQUEUE_FED",
    "REQUEUE_HOLD",
    "RESIZING",
    "SIGNALING",
    "SPECIAL_EXIT",
    "STAGE_OUT",
)
NOT_FOUND = 127  # a shell's exit code for a command that is not there
CANCELLED = 143  # the exit code of a job that somebody cancelled: as if SIGTERM had reached the work itself


def options(text: str) -> list[str]:
    """The words of a user's options. Anything else would be the name of a script to sbatch."""
    try:
        words = shlex.split(text)
    except ValueError as error:
        raise UserError(f"--slurm {text!r}: {error}; write: --slurm '--partition=NAME --cpus-per-task=8'") from error
    if wrong := [word for word in words if not word.startswith("-")]:
        raise UserError(f"--slurm: wanted options of sbatch as --NAME=VALUE; got {wrong[0]!r}")
    return words


def sbatch(chosen: list[str], script: str, environment: Mapping[str, str]) -> str:
    """The new job's number. UserError where there is no Slurm or it refuses."""
    if shutil.which("sbatch") is None:
        raise UserError("there is no sbatch on this machine; run it where one submits to Slurm, or without --slurm")
    command = ["sbatch", "--parsable", *chosen]
    done = subprocess.run(command, input=script, env={**os.environ, **environment}, capture_output=True, text=True)
    if done.returncode:
        said = done.stderr.strip().splitlines()
        raise UserError(f"Slurm refused: {said[-1] if said else done.returncode}; mend what stands behind --slurm")
    return done.stdout.strip().partition(";")[0]


def living(name: str) -> str | None:
    """The number of the job of this name that waits or runs, if there is one. UserError where Slurm does not answer."""
    asked = _asked(["squeue", "--noheader", f"--name={name}", f"--states={','.join(LIVING)}", "--format=%A"])
    if asked.returncode not in (0, NOT_FOUND):
        raise UserError(f"Slurm does not answer: {asked.stderr.strip()}; run the same command when squeue does")
    return next(iter(asked.stdout.split()), None)


def ended(job: str) -> int | None:
    """A job's exit code, 143 where somebody cancelled it, 1 where Slurm ended it; None while it waits or runs.

    A controller that does not answer is asked again later. One that has forgotten the job leaves it to the accounting.
    """
    asked = _asked(["scontrol", "--oneliner", "show", "job", job])
    if asked.returncode and "Invalid job id" not in asked.stderr:
        return None
    found = re.search(r"JobState=(\w+).* ExitCode=(\d+):(\d+)", asked.stdout)
    if found is None:
        line = _asked(["sacct", "-X", "-n", "-P", "--format=State,ExitCode", f"--jobs={job}"]).stdout
        found = re.search(r"^(\w+)[^|]*\|(\d+):(\d+)", line)
    if found is None:
        return 1
    state, code, number = found[1], int(found[2]), int(found[3])
    if state in LIVING or state in _LEAVING:
        return None
    if state == "CANCELLED":
        return CANCELLED
    return code or (128 + number if number else int(state != "COMPLETED"))


def stop(job: str) -> None:
    """Let a running job's work finish its step and save; a job that only waits is cancelled."""
    _asked(["scancel", "--state=PENDING", job])
    _asked(["scancel", "--signal=TERM", job])


def cancel(job: str) -> None:
    """Slurm's own way: SIGTERM, and SIGKILL after the cluster's KillWait (30 s as it is delivered)."""
    _asked(["scancel", job])


def _asked(command: list[str]) -> subprocess.CompletedProcess[str]:
    try:
        return subprocess.run(command, capture_output=True, text=True)
    except FileNotFoundError:
        return subprocess.CompletedProcess(command, NOT_FOUND, "", "")
