"""When things run by themselves. All ship stopped: start them in the UI (Automation) or with `dagster schedule start`.

Here: ticks and their reasons to skip. Not here: what a job does.
"""

from typing import Any

import dagster as dg

from emo_pipeline.jobs import evaluate, retrain
from emo_pipeline.resources import Data
from emo_pipeline.versions import (
    MANIFESTS,
    judged,
    latest,
    manifest_versions,
    policies_at_build,
    shards_since_build,
    trained_versions,
)

UNDER_WAY = [
    dg.DagsterRunStatus.QUEUED,
    dg.DagsterRunStatus.NOT_STARTED,
    dg.DagsterRunStatus.STARTING,
    dg.DagsterRunStatus.STARTED,
    dg.DagsterRunStatus.CANCELING,
]
TRAINING_JOBS = ("retrain", "train_all")
EVALUATED = ("generated_videos", "speed_ablation", "face_region_ablation", "champion_model")  # with a launchpad
# assets of retrain that have a launchpad (emo_pipeline/assets)
RETRAINED = (
    "eval_manifest",
    "base_weights", "image_checkpoint", "video_checkpoint", "speed_checkpoint",
    *EVALUATED,
)  # fmt: skip


@dg.schedule(
    job=retrain, cron_schedule="0 4 * * 1", execution_timezone="UTC", default_status=dg.DefaultScheduleStatus.STOPPED
)
def weekly_retrain(context: dg.ScheduleEvaluationContext, data: Data) -> dg.RunRequest | dg.SkipReason:
    """Mondays 04:00 UTC: retrain, unless a training is under way or the training data are those of the last one."""
    for job in TRAINING_JOBS:
        if runs := context.instance.get_runs(dg.RunsFilter(job_name=job, statuses=UNDER_WAY), limit=1):
            return dg.SkipReason(f"{job} is under way (run {runs[0].run_id[:8]}); the next tick looks again")
    if not policies_changed(context.instance, data) and (reason := nothing_new(context.instance)):
        return dg.SkipReason(reason)
    return dg.RunRequest(
        run_key=context.scheduled_execution_time.isoformat(), run_config=retrain_config(context.instance)
    )


def retrain_config(instance: dg.DagsterInstance) -> dict[str, Any]:
    """What each asset was last launched with: preset, steps, test clips and where training runs (the resource trainer)
    stay what somebody chose in the launchpad.

    The run builds the dataset first. If the manifests then hold what the last training read, it stops there, green.
    """
    chosen = {asset: config for asset in RETRAINED if (config := _launched_with(instance, "ops", asset))}
    image = {**chosen.get("image_checkpoint", {}), "only_if_changed": True}
    ops = {asset: {"config": config} for asset, config in (chosen | {"image_checkpoint": image}).items()}
    trainer = _launched_with(instance, "resources", "image_checkpoint", "trainer")
    return {"ops": ops} | ({"resources": {"trainer": {"config": trainer}}} if trainer else {})


def _launched_with(instance: dg.DagsterInstance, what: str, asset: str, name: str | None = None) -> dict[str, Any]:
    """The configuration of an op or a resource (`name`; of the asset otherwise) in the run that made the asset last, as
    today's launchpad takes it: guidance was a number before it could differ by condition. A checkpoint that was named
    is left out: what runs by itself is for the newest.
    """
    made = latest(instance, asset)
    run = instance.get_run_by_id(made.run_id) if made else None
    given: Any = run.run_config.get(what, {}) if run else {}
    config = given.get(name or asset, {}).get("config", {})
    return {key: str(value) if key == "guidance" else value for key, value in config.items() if key != "checkpoint"}


def nothing_new(instance: dg.DagsterInstance) -> str | None:
    """Why training again would see the same data, as far as can be told without building the dataset; else None."""
    now, last = manifest_versions(instance), trained_versions(instance)
    if last is None or last != now or shards_since_build(instance) or not judged(instance):
        return None
    return f"the manifests are unchanged since the last training ({', '.join(str(v)[:12] for v in now.values())})"


def policies_changed(instance: dg.DagsterInstance, data: Data) -> bool:
    """Whether a training manifest would now be asked otherwise than when it was built."""
    from emo_model.data.policy import policy

    asked = {name: policy(data.root, name.replace("_manifest", "")).sha256 for name in MANIFESTS}
    built = policies_at_build(instance)
    return any(built[name] not in (None, asked[name]) for name in MANIFESTS)


@dg.schedule(
    job=evaluate, cron_schedule="0 1 * * *", execution_timezone="UTC", default_status=dg.DefaultScheduleStatus.STOPPED
)
def nightly_evaluation(context: dg.ScheduleEvaluationContext) -> dg.RunRequest | dg.SkipReason:
    """01:00 UTC: the newest checkpoint is evaluated as the last one was, unless it has been or a job is under way that
    will."""
    instance = context.instance
    for job in (*TRAINING_JOBS, "evaluate"):
        if runs := instance.get_runs(dg.RunsFilter(job_name=job, statuses=UNDER_WAY), limit=1):
            return dg.SkipReason(f"{job} is under way (run {runs[0].run_id[:8]}); the next tick looks again")
    if latest(instance, "speed_checkpoint") is None:
        return dg.SkipReason("no checkpoint yet: launch train_all first")
    if judged(instance):
        return dg.SkipReason("the newest checkpoint has been evaluated")
    chosen = {asset: {"config": config} for asset in EVALUATED if (config := _launched_with(instance, "ops", asset))}
    return dg.RunRequest(run_key=context.scheduled_execution_time.isoformat(), run_config={"ops": chosen})


nightly_catalog = dg.AutomationConditionSensorDefinition(
    "nightly_catalog",
    target=dg.AssetSelection.assets("clip_catalog"),
    default_status=dg.DefaultSensorStatus.STOPPED,
    description="02:00 UTC: the catalog over all shards that are there, whichever failed (clip_catalog's condition).",
)

SCHEDULES = [weekly_retrain, nightly_evaluation]
