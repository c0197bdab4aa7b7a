"""The project's definitions, but weekly_retrain looks every minute: a test cannot wait for Monday."""

import dagster as dg

from emo_pipeline import schedules
from emo_pipeline.jobs import retrain

schedules.SCHEDULES[:] = [
    dg.ScheduleDefinition(
        name="weekly_retrain",
        job=retrain,
        cron_schedule="* * * * *",
        execution_fn=schedules.weekly_retrain,
        required_resource_keys={"data"},
    )
]

from emo_pipeline.definitions import build_definitions  # noqa: E402

defs = build_definitions()
