"""A step of the data's path (emo_model.data.pipeline) as assets with a partition a shard.

Here: the shell around `run_step` that all shard assets share. Not here: which step is in which group (the group files).
"""

from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

import dagster as dg

from emo_model.data.pipeline import SHARD_STEPS
from emo_model.data.shards import Step, StepReport
from emo_pipeline import look
from emo_pipeline.checks import Check, row_schema
from emo_pipeline.failures import one_line
from emo_pipeline.partitions import SHARDS
from emo_pipeline.resources import Data

if TYPE_CHECKING:
    from emo_model.data.store import DataRoot

Look = Callable[["DataRoot", str], Mapping[str, Any]]  # metadata of a shard, beside the counts
STEPS = {step.name: step for step in SHARD_STEPS}
OWNER = "team:emo"


def asset_of(step: str) -> str:
    """The asset that stands for a finished step: what comes after shots_and_faces hangs off its tracks."""
    return "face_tracks" if step == "shots_and_faces" else step


def shard_assets(
    name: str,
    group: str,
    kinds: set[str],
    *,
    outputs: Mapping[str, tuple[str, ...]] | None = None,
    checks: Mapping[str, tuple[Check, ...]] | None = None,
    look_at: Look = lambda root, shard: {},
) -> dg.AssetsDefinition:
    """Assets of one step. `outputs`: asset -> its tables, where a step stands for more than one; `checks`: asset ->
    checks beside the row schema, which every asset has."""
    step = STEPS[name]
    outputs = outputs or {name: step.tables}
    guards = {asset: (row_schema(tables), *(checks or {}).get(asset, ())) for asset, tables in outputs.items()}

    @dg.multi_asset(
        name=name,
        specs=[_spec(step, asset, tables, group, kinds, list(outputs)) for asset, tables in outputs.items()],
        check_specs=[check.spec(asset) for asset, found in guards.items() for check in found],
        partitions_def=SHARDS,
    )
    def work(context: dg.AssetExecutionContext, data: Data) -> Iterator[dg.MaterializeResult]:
        yield from _materialize(context, data, step, outputs, guards, look_at)

    return work


def _spec(
    step: Step, asset: str, tables: tuple[str, ...], group: str, kinds: set[str], siblings: list[str]
) -> dg.AssetSpec:
    before = siblings[: siblings.index(asset)]  # of two assets of one step, the second is built on the first
    return dg.AssetSpec(
        asset,
        deps=[asset_of(name) for name in step.after or ("source_registry",)] + before,
        description=f"{step.description}\n\nTables: {', '.join(tables)}.",
        group_name=group,
        kinds=kinds,
        owners=[OWNER],
        code_version=str(step.version),
        metadata={"dagster/column_schema": look.column_schema(tables[-1])},
    )


@one_line
def _materialize(
    context: dg.AssetExecutionContext,
    data: Data,
    step: Step,
    outputs: Mapping[str, tuple[str, ...]],
    guards: Mapping[str, tuple[Check, ...]],
    look_at: Look,
) -> list[dg.MaterializeResult]:
    from emo_model.data.shards import run_step

    root, shard = data.root, context.partition_key
    report = run_step(step, root, shard, workers=data.processes, progress=context.log.info)
    seen = {**_counts(report), **look_at(root, shard)}
    return [
        dg.MaterializeResult(
            asset_key=asset,
            data_version=dg.DataVersion(report.data_version),
            metadata={
                **seen,
                "dagster/partition_row_count": report.rows[tables[-1]],
                "rows": {table: report.rows[table] for table in tables},
                "path": dg.MetadataValue.path(str(root.part(tables[-1], shard))),
            },
            check_results=[check.result(asset, root, shard) for check in guards[asset]],
        )
        for asset, tables in outputs.items()
    ]


def _counts(report: StepReport) -> dict[str, Any]:
    return {
        "rejects by reason": look.rejects(report.rejects),
        "rejected": sum(report.rejects.values()),
        "videos done": report.done,
        "videos kept from before": report.kept,
        "seconds": round(report.seconds, 2),
    }
