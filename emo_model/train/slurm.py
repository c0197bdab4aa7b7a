"""A training run as a job of Slurm: on every node one torchrun, which meet at the first node's name.

    emo train image RUN_DIR --slurm "--partition=gpu --nodes=2 --gpus-per-node=8 --cpus-per-task=64 --time=24:00:00"

A run folder has one job at a time: its name follows from the folder, so submitting again finds the one that is there.
Before its time limit the job saves and goes back into the queue, as it does after preemption; it goes on from the
checkpoint. The run folder and this environment must lie where every node sees them, locks included.
"""

import hashlib
import shlex
import signal
import sys
import time
from dataclasses import dataclass
from pathlib import Path

from emo_model import slurm

# The ranks are told through Slurm: srun itself answers SIGTERM by giving its step up. A wait that a trap cut short is
# waited again, which gives the step's own exit code. Steps do not inherit --cpus-per-task by themselves.
_SCRIPT = """#!/bin/sh
again=
trap 'again=yes; scancel --signal=TERM "$SLURM_JOB_ID"' USR1
[ -z "$SLURM_CPUS_PER_TASK" ] || export SRUN_CPUS_PER_TASK="$SLURM_CPUS_PER_TASK"
first=$(scontrol show hostnames "$SLURM_JOB_NODELIST" | head -n 1)
srun --kill-on-bad-exit=1 sh -c 'exec "$@" --node "$SLURM_NODEID"' node \\
    {command} --processes {processes} --nodes "$SLURM_JOB_NUM_NODES" --rendezvous "$first:{port}" &
while wait "$!"; code=$?; kill -0 "$!" 2>/dev/null; do :; done
[ -n "$again" ] && [ "$code" = 143 ] && scontrol requeue "$SLURM_JOB_ID"
exit "$code"
"""
ASK_S, HURRY_S = 10, 2  # seconds between two questions to Slurm; while a job ends


@dataclass(frozen=True)
class Submission:
    """The job of a run folder."""

    job: str
    new: bool  # submitted now; else it was there
    log: Path

    def lines(self) -> list[str]:
        """What a person wants to know now."""
        return [
            f"job {self.job}: {'submitted' if self.new else 'is there already'}; follow: tail -f {self.log}",
            f"stop: scancel --signal=TERM {self.job} (it saves first); the same command goes on",
        ]


def submit(run_file: Path, options: str, processes: int, grace_s: int) -> Submission:
    """The job that trains RUN.json: the one that waits or runs already, else a new one.

    options: more of sbatch's. processes: on a node; 0: one a GPU. UserError where there is no Slurm or it refuses.
    """
    chosen, run_file = slurm.options(options), run_file.absolute()
    name = f"emo-{hashlib.sha256(str(run_file).encode()).hexdigest()[:12]}"
    there = slurm.living(name)
    if there is not None:
        return Submission(there, False, run_file.parent / f"slurm-{there}.txt")
    script = _SCRIPT.format(
        command=shlex.join([sys.executable, "-m", "emo_model.train", str(run_file), f"--grace={grace_s}"]),
        processes=processes or '"${SLURM_GPUS_ON_NODE:-1}"',
        port=20_000 + int(name[-4:], 16) % 10_000,
    )
    output = str(run_file.parent).replace("%", "%%") + "/slurm-%j.txt"
    ours = [f"--job-name={name}", f"--output={output}", "--open-mode=append", "--ntasks-per-node=1", "--requeue"]
    # singleton: whoever submits at the same moment waits for the other, and finds nothing left to do.
    usual = ["--dependency=singleton", f"--signal=B:USR1@{grace_s}"]
    job = slurm.sbatch([*usual, *chosen, *ours], script, {})
    return Submission(job, True, run_file.parent / f"slurm-{job}.txt")


def follow(job: str, grace_s: int) -> int:
    """Wait for a job; its exit code. SIGTERM and SIGINT stop it: it saves, and is cancelled after grace_s seconds."""
    told, due, stops = 0, 0.0, {signal.SIGTERM, signal.SIGINT}
    signal.pthread_sigmask(signal.SIG_BLOCK, stops)
    while (code := slurm.ended(job)) is None:
        if told:
            slurm.stop(job) if time.monotonic() < due else slurm.cancel(job)  # again: its step may not have begun
        heard = signal.sigtimedwait(stops, HURRY_S if told else ASK_S)
        if heard and not told:
            told, due = heard.si_signo, time.monotonic() + grace_s
    return 128 + told if told and code else code
