"""What a run folder needs beside its checkpoints: one owner, one line a step, and signals that wait for the step."""

import json
import os
import resource
import signal
import threading
from contextlib import AbstractContextManager
from pathlib import Path
from types import FrameType
from typing import Any

import torch

from emo_model.data.store import held


def locked(run_dir: Path) -> AbstractContextManager[None]:
    """Hold the run folder. UserError where another run holds it."""
    return held(run_dir, f"another training run holds {run_dir}; wait for it, or run again with another run_dir")


class Progress:
    """progress.jsonl: a JSON line a step, cut back to the checkpoint when a run resumes."""

    def __init__(self, run_dir: Path, keep: int) -> None:
        self.path = run_dir / "progress.jsonl"
        lines = self.path.read_text().splitlines() if self.path.is_file() else []
        whole = [line for line in lines if line.endswith("}") and json.loads(line)["step"] <= keep]
        temporary = run_dir / ".progress.jsonl"
        temporary.write_text("".join(line + "\n" for line in whole))
        os.replace(temporary, self.path)

    def append(self, row: dict[str, Any]) -> None:
        """Add a line; it is readable at once."""
        with self.path.open("a") as file:
            file.write(json.dumps(row) + "\n")


def peak_bytes() -> int:
    """Most memory held so far: of the GPU where there is one, else of this process."""
    if torch.cuda.is_available():
        return torch.cuda.max_memory_allocated()
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024  # Linux counts in kB


STOPS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)


class Interruption:
    """While this is open, a signal of STOPS only leaves a note: the loop finishes its step and saves.

    SIGHUP is a closed terminal or a lost ssh line; under nohup, which has it ignored, it stays ignored.
    """

    def __init__(self) -> None:
        self.signal = 0

    def __enter__(self) -> "Interruption":
        self._before = {}
        if threading.current_thread() is threading.main_thread():  # Python allows handlers nowhere else
            hung_up = signal.getsignal(signal.SIGHUP) != signal.SIG_IGN
            stops = [number for number in STOPS if number != signal.SIGHUP or hung_up]
            self._terminals = [number for number in (1, 2) if os.isatty(number)]
            self._before = {number: signal.signal(number, self._note) for number in stops}
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _note(self, number: int, _frame: FrameType | None) -> None:
        self.signal = number
        if number == signal.SIGHUP:  # what is still said to the closed terminal must not fail the save
            nowhere = os.open(os.devnull, os.O_WRONLY)
            for terminal in self._terminals:
                os.dup2(nowhere, terminal)
            os.close(nowhere)
