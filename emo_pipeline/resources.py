"""What assets are given: plain `emo_model` objects built from a few fields.

Here: the data root and how many processes work on it. Not here: MLflow (tracking.py), training processes (launch.py).
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import dagster as dg
from pydantic import Field

from emo_model.data.workers import Workers

if TYPE_CHECKING:
    from emo_model.data.store import DataRoot


class Data(dg.ConfigurableResource):
    """The data root, and the processes a step may use."""

    path: str = Field(description="Data root: one folder a step, numbered in the data's order ($EMO_DATA).")
    workers: int = Field(default=0, ge=0, description="Processes working on one shard; 0: one a core.")

    @property
    def folder(self) -> Path:
        """The data root's folder, absolute."""
        return Path(self.path).absolute()

    @property
    def root(self) -> "DataRoot":
        """The root, if it has been made. UserError naming the command otherwise."""
        from emo_model.data.store import DataRoot

        return DataRoot(self.folder).require()

    @contextmanager
    def yield_for_execution(self, context: dg.InitResourceContext) -> Iterator["Data"]:
        """Dagster calls this once a run where steps share a process: so they share their workers too."""
        with self.processes:
            yield self

    @cached_property
    def processes(self) -> Workers:
        """Processes for the steps of one shard after another; none is started before the first needs it."""
        return Workers(self.workers or len(os.sched_getaffinity(0)))
