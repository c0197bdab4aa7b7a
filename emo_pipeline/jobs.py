"""What is run together: each job is a selection of assets.

Here: selections, executors, and the one job that is no selection (maintenance). Not here: when they run (schedules,
sensors) or what an asset does.
"""

from datetime import datetime, timedelta

import dagster as dg
from dagster._core.definitions.unresolved_asset_job_definition import UnresolvedAssetJobDefinition

from emo_pipeline.partitions import SHARDS

SHARD_GROUPS = dg.AssetSelection.groups("ingest", "clips", "labels")
DATASET = dg.AssetSelection.groups("dataset")
TRAINING = dg.AssetSelection.groups("training")
EVALUATION = dg.AssetSelection.groups("evaluation")
REGISTRY = dg.AssetSelection.assets("source_registry")

ingest_shard = dg.define_asset_job(
    "ingest_shard",
    SHARD_GROUPS - REGISTRY,
    partitions_def=SHARDS,
    executor_def=dg.in_process_executor,  # of eleven steps: 3.3 s of overhead, against 29.7 s with a process each
    description="One shard from raw videos to clip rows. Finished videos are kept.",
)
register_sources = dg.define_asset_job(
    "register_sources", REGISTRY, description="Find new sources; new shards become partitions."
)
build_dataset = dg.define_asset_job(
    "build_dataset", DATASET, description="Splits, speed buckets, manifests, catalog and card over all shards."
)
train_all = dg.define_asset_job(
    "train_all", TRAINING, description="Base weights and the three stages, in new run folders."
)
evaluate = dg.define_asset_job(
    "evaluate", EVALUATION, description="Generate the test clips, measure, compare, choose the champion."
)
retrain = dg.define_asset_job(
    "retrain",
    DATASET | TRAINING | EVALUATION,
    description="Dataset, three stages, evaluation, champion gate; launched by weekly_retrain if the data changed.",
)


class MaintenanceConfig(dg.Config):
    """What is old."""

    older_than_days: int = 90


@dg.op(description="Delete finished runs (and their logs) that made no asset's latest version.")
def delete_old_runs(context: dg.OpExecutionContext, config: MaintenanceConfig) -> int:
    """Runs are never purged by Dagster itself; each costs about 135 kB. Returns how many went."""
    limit = datetime.now().astimezone() - timedelta(days=config.older_than_days)
    finished = [dg.DagsterRunStatus.SUCCESS, dg.DagsterRunStatus.FAILURE, dg.DagsterRunStatus.CANCELED]
    old = context.instance.get_runs(dg.RunsFilter(statuses=finished, created_before=limit))
    needed = _runs_of_latest(context.instance)
    gone = [run.run_id for run in old if run.run_id not in needed]
    for run_id in gone:
        context.instance.delete_run(run_id)
    context.log.info(
        f"{len(gone)} runs deleted, {len(old) - len(gone)} old ones kept: they made an asset's latest version"
    )
    return len(gone)


def _runs_of_latest(instance: dg.DagsterInstance) -> set[str]:
    """Runs of the newest materialization of every asset and partition: deleting one would make it look missing."""
    needed = set()
    for key in instance.all_asset_keys():
        newest = instance.get_latest_materialization_event(key)
        events = instance.event_log_storage.get_latest_storage_id_by_partition(
            key, dg.DagsterEventType.ASSET_MATERIALIZATION
        )
        if events:
            records = instance.get_event_records(
                dg.EventRecordsFilter(
                    dg.DagsterEventType.ASSET_MATERIALIZATION, asset_key=key, storage_ids=list(events.values())
                )
            )
            needed |= {record.run_id for record in records}
        if newest is not None:
            needed.add(newest.run_id)
    return needed


@dg.job(executor_def=dg.in_process_executor, description="House-keeping of the Dagster instance; touches no data.")
def maintenance() -> None:
    """Old runs go."""
    delete_old_runs()


JOBS: list[dg.JobDefinition | UnresolvedAssetJobDefinition] = [
    ingest_shard,
    register_sources,
    build_dataset,
    train_all,
    evaluate,
    retrain,
    maintenance,
]
