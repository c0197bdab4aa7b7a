"""What the demo prints while Dagster's jobs run: which step, which of how many, how long it has been.

Here: one Dagster logger that says little. Not here: Dagster's own logs, which are all in the UI.
"""

import logging
import time
from collections.abc import Callable

import dagster as dg

QUIET_S = 10  # at most one line from inside a step in this time


class Progress(logging.Handler):
    """Counts steps over several jobs; hears them as log records of Dagster."""

    def __init__(self, write: Callable[[str], None] = lambda line: print(line, flush=True)) -> None:
        super().__init__()
        self.started, self.steps, self.of, self.last = time.monotonic(), 0, 0, 0.0
        self.write = write

    def logger(self) -> dg.LoggerDefinition:
        """To be given to Definitions as the logger `console`."""

        @dg.logger({}, description="Progress lines of the demo.")
        def quiet(context: dg.InitLoggerContext) -> logging.Logger:
            log = logging.Logger("emo.progress", logging.DEBUG)  # Dagster tells of steps at DEBUG
            log.addHandler(self)
            return log

        return quiet

    def expect(self, steps: int) -> None:
        """How many steps there are in all, as far as is known."""
        self.of = steps

    def skip(self, steps: int, why: str) -> None:
        """Steps that need not run."""
        self.steps += steps
        self.say(why)

    def say(self, text: str) -> None:
        """A line with the time since the start."""
        elapsed = time.monotonic() - self.started
        self.write(f"[{int(elapsed // 60):2d}:{int(elapsed % 60):02d}] {text}")

    def emit(self, record: logging.LogRecord) -> None:
        """One record of Dagster: the start of a step, a warning, or a message from inside one."""
        meta = getattr(record, "dagster_meta", {})
        event, step = meta.get("dagster_event"), meta.get("step_key")
        if event is not None:
            if event.is_step_start:
                self.steps += 1
                shard = f" ({event.partition})" if event.partition else ""
                self.say(f"step {self.steps} of {self.of}  {step}{shard}")
                self.last = time.monotonic()
        elif step and time.monotonic() - self.last > QUIET_S:
            self.last = time.monotonic()
            self.say(f"    {meta.get('orig_message', record.getMessage())}")
