"""Group evaluation, second half: the metrics, the table, the report, and who is champion.

    8_evaluation/evaluations/shard=RUN/{part.parquet, table.md, table.csv, report.html, report.md}
    6_checkpoints/champion.json

Here: which metric on which videos, and what becomes of the numbers. How they are measured: emo_model.evaluate.
"""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import dagster as dg

from emo_pipeline.assets.generation import CHAMPION, OURS, Generation, latest_generation
from emo_pipeline.assets.shards import OWNER
from emo_pipeline.champion import Decision, decide
from emo_pipeline.checkpoints import champion, champion_file
from emo_pipeline.evaluation_rows import (
    grid,
    measure_rows,
    metric_file,
    our_number,
    read_metric,
    read_table,
    version_of,
    write_rows,
)
from emo_pipeline.failures import one_line
from emo_pipeline.resources import Data
from emo_pipeline.tracking import TrackedRun, Tracking

if TYPE_CHECKING:
    from emo_model.data.store import DataRoot

METRICS = ("fid", "syncnet", "f_sim", "fvd", "e_fid")  # Table 1's columns, in its order
BESIDE = ("motion", "mouth_sync")  # also measured for the table; no asset of their own
CODE_VERSION = "1"


def _metric_asset(metric: str, description: str) -> dg.AssetsDefinition:
    @dg.asset(
        name=metric, deps=["generated_videos"], group_name="evaluation", kinds={"pytorch"}, owners=[OWNER],
        code_version=CODE_VERSION, description=description,
    )  # fmt: skip
    @one_line
    def measure(context: dg.AssetExecutionContext, data: Data) -> dg.MaterializeResult:
        root = data.root
        found = latest_generation(context, root)
        rows = measure_rows(root, found, (metric,))
        path = metric_file(root, found, metric)
        write_rows(path, rows)
        return dg.MaterializeResult(
            data_version=version_of(rows),
            metadata={
                **our_number(rows, metric),
                "rows": grid(rows),
                "protocol": found.protocol.hash,
                "path": dg.MetadataValue.path(str(path)),
            },
        )

    return measure


fid = _metric_asset(
    "fid", "Fréchet distance of single frames to the real clips' (Inception, or a stand-in so named); lower is better."
)
syncnet = _metric_asset(
    "syncnet",
    "SyncNet's confidence that lips and voice belong together (LSE-C); higher is better. A dash without its weights.",
)
f_sim = _metric_asset("f_sim", "Face similarity to the portrait, 100 x cosine; best at the real clips' own value.")
fvd = _metric_asset("fvd", "Fréchet distance of 16-frame windows at 25 fps (I3D); lower is better.")
e_fid = _metric_asset(
    "e_fid", "Fréchet distance of expression coefficients (or blendshapes, so named); lower is better."
)


@dg.asset(
    deps=list(METRICS), group_name="evaluation", kinds={"markdown", "mlflow"}, owners=[OWNER], code_version=CODE_VERSION
)
@one_line
def comparison_table(context: dg.AssetExecutionContext, data: Data, tracking: Tracking) -> dg.MaterializeResult:
    """Table 1: ours beside ground truth, copy-first-frame and what EMO printed; a stand-in's column bears its name."""
    from emo_model.evaluate import write_table
    from emo_model.evaluate.table import TABLE_1, measured, published, to_markdown

    root = data.root
    found = latest_generation(context, root)
    rows = [row for metric in METRICS for row in read_metric(root, found, metric)] + measure_rows(root, found, BESIDE)
    paths = write_table(rows, found.protocol, root.part("evaluations", found.name).parent)
    run = tracking.run("evaluation", found.name, "evaluation")
    run.params({"protocol": found.protocol.hash, "dataset": found.protocol.dataset, "clips": len(found.protocol.clips)})
    run.tags({f"{name} checkpoint sha256": model["sha256"] for name, model in found.models.items()})
    run.numbers({row.metric: row.value for row in rows if row.method == OURS and row.value is not None})
    run.finish()
    table = to_markdown(measured(rows))
    return dg.MaterializeResult(
        data_version=version_of(rows),
        metadata={
            "measured here": dg.MetadataValue.md(table),
            f"as printed ({len(TABLE_1)} rows, not comparable)": dg.MetadataValue.md(to_markdown(published())),
            "path": dg.MetadataValue.path(str(paths["md"])),
            "protocol": found.protocol.hash,
            "evaluation": root.relative(paths["parquet"]),
            "MLflow": run.link,
        },
    )


@dg.asset(deps=["comparison_table"], group_name="evaluation", kinds={"html"}, owners=[OWNER], code_version=CODE_VERSION)
@one_line
def evaluation_report(context: dg.AssetExecutionContext, data: Data) -> dg.MaterializeResult:
    """The page a person opens: both tables, how to read them, the protocol, real frames above generated ones."""
    from emo_model.data.store import file_sha256
    from emo_model.evaluate import write_report

    root = data.root
    found = latest_generation(context, root)
    rows = read_table(root, found)
    paths = write_report(
        rows, found.protocol, dict(found.methods), root.part("evaluations", found.name).parent, root=root
    )
    return dg.MaterializeResult(
        data_version=dg.DataVersion(file_sha256(paths["md"])),
        metadata={
            "path": dg.MetadataValue.path(str(paths["html"])),
            "report": dg.MetadataValue.md(paths["md"].read_text()),
        },
    )


CHAMPION_BEATEN = dg.AssetCheckSpec(
    "champion_beaten", asset="champion_model", blocking=True,
    description="the new checkpoint is better on more metrics under the same protocol; otherwise the champion stays",
)  # fmt: skip


@dg.asset(
    deps=["evaluation_report"], group_name="evaluation", kinds={"json", "mlflow"}, owners=[OWNER],
    code_version=CODE_VERSION, check_specs=[CHAMPION_BEATEN],
)  # fmt: skip
@one_line
def champion_model(context: dg.AssetExecutionContext, data: Data, tracking: Tracking) -> dg.MaterializeResult:
    """Which checkpoint is the champion: 6_checkpoints/champion.json, and MLflow's alias `champion` of the model emo."""
    root = data.root
    found, before = latest_generation(context, root), champion(root)
    decision = _decide(root, found, before)
    for line in decision.reasons:
        context.log.info(line)
    run = tracking.run("evaluation", found.name, "evaluation")
    run.tags({"champion": decision.promote, "champion_reasons": "; ".join(decision.reasons)})
    run.finish()
    after = _promote(root, found, run, tracking) if decision.promote else before
    assert after is not None, "without a champion the first checkpoint is promoted"
    return dg.MaterializeResult(
        data_version=dg.DataVersion(after["sha256"]),
        metadata={
            "checkpoint": after["checkpoint"],
            "decision": "promoted" if decision.promote else "kept",
            "reasons": dg.MetadataValue.md("\n".join(f"- {line}" for line in decision.reasons)),
            "path": dg.MetadataValue.path(str(champion_file(root))),
            "MLflow": run.link,
        },
        # Losing is no error: the gate held and the champion stays. A warning keeps the run green.
        check_results=[
            dg.AssetCheckResult(
                check_name="champion_beaten", passed=decision.promote, severity=dg.AssetCheckSeverity.WARN,
                description=decision.reasons[-1],
            )
        ],
    )  # fmt: skip


def _decide(root: "DataRoot", found: Generation, before: Mapping[str, Any] | None) -> Decision:
    rows = [vars(row) for row in read_table(root, found)]
    if before is None:
        return decide(rows, OURS, None)
    if before["sha256"] == found.models[OURS]["sha256"]:
        return Decision(True, ("this checkpoint is the champion already",))
    if CHAMPION in found.models:
        return decide(rows, OURS, CHAMPION)
    past = [{**row, "method": CHAMPION} for row in before["rows"] if row["method"] == OURS]
    return decide(rows, OURS, CHAMPION, past)


def _promote(root: "DataRoot", found: Generation, run: TrackedRun, tracking: Tracking) -> dict[str, Any]:
    from emo_model.data.store import write_json

    model = found.models[OURS]
    rows = [vars(row) for row in read_table(root, found) if row.method == OURS]
    record = {**model, "protocol": found.protocol.hash, "evaluation": found.name, "rows": rows}
    before = champion(root)
    if before is None or before["sha256"] != model["sha256"]:
        tracking.promote(run, str(root.path / model["checkpoint"]))
    write_json(champion_file(root), record)
    return record
