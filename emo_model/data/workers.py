"""Processes that do the work of steps: started when first needed, kept from step to step, replaced when one dies.

To start a process and import its libraries takes seconds, and a shard has a dozen steps: one `Workers` serves them all.
The processes die with their parent, however it dies, and forget a step's models when the next one begins.
"""

import gc
import multiprocessing
import os
import signal
from collections import deque
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from functools import cache
from types import TracebackType
from typing import Any, Self, TypeVar

from emo_model.processes import signalled_with_parent

Job = TypeVar("Job")
Done = TypeVar("Done")
Function = TypeVar("Function", bound=Callable[..., Any])

AHEAD = 2  # jobs handed out for each process, so that it goes on while the parent writes what is done


class Workers:
    """At most `count` processes. With 0, work is done in this process: what kills it then kills us too, and rejects no
    item."""

    def __init__(self, count: int) -> None:
        self.count = count
        self._pool: ProcessPoolExecutor | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def run(self, step: str, work: Callable[[Job], Done], jobs: Iterable[Job]) -> Generator[tuple[Job, Done | None]]:
        """Yield (job, work(job)) as they finish, in any order; None for a job that kills its process, also alone.

        `step` names the work: when it changes, what was kept `for_a_step` is forgotten. An error of `work`, or of the
        caller, ends the run at once: jobs under way are killed.
        """
        if self.count == 0:
            yield from ((job, _do(step, work, job)) for job in jobs)
            return
        left = deque(jobs)
        try:
            while left:
                yield from self._until_one_dies(step, work, left)
        except BaseException:
            self._kill()
            raise

    def _until_one_dies(
        self, step: str, work: Callable[[Job], Done], left: deque[Job]
    ) -> Generator[tuple[Job, Done | None]]:
        under_way: dict[Future[Done], Job] = {}
        try:
            while left or under_way:
                while left and len(under_way) < AHEAD * self.count:
                    future = self._started().submit(_do, step, work, left[0])
                    under_way[future] = left.popleft()
                done, _ = wait(under_way, return_when=FIRST_COMPLETED)
                for future in done:
                    result = future.result()
                    yield under_way.pop(future), result
            return
        except BrokenProcessPool:
            self._kill()
        for job in under_way.values() or [left.popleft()]:  # one at a time: who dies now is the culprit
            try:
                yield job, self._started().submit(_do, step, work, job).result()
            except BrokenProcessPool:
                self._kill()
                yield job, None

    def _started(self) -> ProcessPoolExecutor:
        if self._pool is None:
            context = multiprocessing.get_context("spawn")  # fork is unsafe beside torch's and mediapipe's threads
            self._pool = ProcessPoolExecutor(self.count, context, initializer=_die_with_parent, initargs=(os.getpid(),))
        return self._pool

    def _kill(self) -> None:
        for process in list(((self._pool and self._pool._processes) or {}).values()):  # Python 3.14: kill_workers()
            process.kill()
        self.close()

    def close(self) -> None:
        """End the processes, when idle; their memory is free then. A later `run` starts new ones."""
        pool, self._pool = self._pool, None
        if pool is not None:
            pool.shutdown(cancel_futures=True)


_kept: list[Any] = []
_last_step = ""


def for_a_step(load: Function) -> Function:
    """`functools.cache` for what a process loads once a step, as a network: the next step does not pay its memory."""
    kept = cache(load)
    _kept.append(kept)
    return kept  # type: ignore[return-value]


def _do(step: str, work: Callable[[Job], Done], job: Job) -> Done:
    global _last_step
    if step != _last_step:
        for kept in _kept:
            kept.cache_clear()
        gc.collect()
        _last_step = step
    return work(job)


def _die_with_parent(parent: int) -> None:
    """In a worker: be killed when the parent dies, however it dies (Linux; elsewhere the pool's pipe ends us)."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's to handle
    signalled_with_parent(signal.SIGKILL, parent)
