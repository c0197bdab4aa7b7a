"""How far a video is, and about how long the rest will take."""

import time
from collections.abc import Callable

EVERY_S = 10.0  # a line


class Countdown:
    """Says a line at the beginning, every EVERY_S seconds, and at the end. The estimate counts what is made now, not
    what was kept of a run before."""

    def __init__(self, say: Callable[[str], None], clock: Callable[[], float] = time.monotonic) -> None:
        self._say, self._clock = say, clock
        self._began: tuple[float, int] | None = None
        self._said_s = 0.0

    def __call__(self, done: int, total: int) -> None:
        """done, total: frames."""
        now = self._clock()
        if self._began is None:
            self._began = now, done
        elif now - self._said_s < EVERY_S and done < total:
            return
        self._said_s = now
        began, before = self._began
        self._say(
            f"{done}/{total} frames" + (_rest((now - began) / (done - before), total - done) if done > before else "")
        )


def _rest(each_s: float, frames: int) -> str:
    return f", {each_s:.2g} s a frame, {duration(each_s * frames)} left" if frames else f", {each_s:.2g} s a frame"


def duration(seconds: float) -> str:
    """Seconds as people say them: 40 s, 12 min, 3 h 20 min."""
    minutes = round(seconds / 60)
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{minutes} min" if minutes < 120 else f"{minutes // 60} h {minutes % 60} min"
