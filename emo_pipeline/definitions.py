"""All of it together: `defs` is what Dagster loads; `build_definitions` makes others for tests.

Importing this loads no heavy library (a test holds that): every run and step process pays for what stands here.
"""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import dagster as dg

from emo_pipeline.assets import (
    ablations,
    audio,
    clips,
    dataset,
    evaluation,
    faces,
    generation,
    motion,
    sources,
    training,
)
from emo_pipeline.jobs import JOBS
from emo_pipeline.launch import Trainer
from emo_pipeline.resources import Data
from emo_pipeline.schedules import SCHEDULES, nightly_catalog
from emo_pipeline.sensors import SENSORS
from emo_pipeline.tracking import Tracking

GROUPS = (sources, faces, clips, motion, audio, dataset, training, generation, evaluation, ablations)


def build_definitions(
    overrides: Mapping[str, Any] | None = None, loggers: Mapping[str, dg.LoggerDefinition] | None = None
) -> dg.Definitions:
    """Everything; `overrides` replaces resources by name (data, trainer, tracking), `loggers` Dagster's own."""
    root = dg.EnvVar("EMO_DATA") if "EMO_DATA" in os.environ else str(Path("data").absolute())
    resources = {"data": Data(path=root), "trainer": Trainer(), "tracking": Tracking(folder=root)}
    return dg.Definitions(
        assets=dg.load_assets_from_modules(GROUPS),
        jobs=JOBS,
        schedules=SCHEDULES,
        sensors=[*SENSORS, nightly_catalog],
        resources={**resources, **(overrides or {})},
        loggers=loggers,
        executor=dg.in_process_executor,  # also for the implicit job of "Materialize" in the UI
    )


defs = build_definitions()
