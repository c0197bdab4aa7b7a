"""Numbers of an evaluation as rows: measured, written, read back, shown.

    8_evaluation/features/                        what metrics saw, by content: safe to delete
    8_evaluation/metrics/RUN/METRIC/              one metric's evaluation of one generation
    8_evaluation/evaluations/shard=RUN/           all of them together; part.parquet is the table `evaluations`

Here: what the metric, table, report and champion assets share. How a number is measured: emo_model.evaluate.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import dagster as dg

from emo_model.errors import UserError
from emo_pipeline.assets.generation import OURS, Generation
from emo_pipeline.tracking import TrackedRun, Tracking

if TYPE_CHECKING:
    from emo_model.data.store import DataRoot
    from emo_model.evaluate import Evaluation, EvaluationRow
    from emo_model.evaluate.methods import Finding


def observe(
    context: dg.AssetExecutionContext, root: "DataRoot", found: Generation, metrics: Sequence[str]
) -> "list[Finding]":
    """The one decode of every video, for all metrics; what is to be said of the videos is logged."""
    from emo_model.evaluate import observe_methods
    from emo_model.evaluate.methods import sentences

    findings = observe_methods(
        found.methods, found.protocol, root=root, metrics=metrics, features=_features(root),
        report=lambda event: context.log.info(f"{event['done']} of {event['of']}  {event['clip']}"),
    )  # fmt: skip
    for line in sentences(findings):
        context.log.warning(line)
    return findings


def measure(root: "DataRoot", found: Generation, metric: str) -> "Evaluation":
    """One metric for every method of a generation, with the controls; kept for the table."""
    from emo_model.evaluate import evaluate_methods

    evaluation = evaluate_methods(
        found.methods, found.protocol, root=root, metrics=(metric,), features=_features(root), run_id=found.name
    )
    evaluation.write(metric_folder(root, found, metric))
    return evaluation


def _features(root: "DataRoot") -> Path:
    return root.folder("8_evaluation") / "features"


def metric_folder(root: "DataRoot", found: Generation, metric: str) -> Path:
    """Where a metric's evaluation of one generation lies."""
    return root.folder("8_evaluation") / "metrics" / found.name / metric


def write_rows(path: Path, rows: "Sequence[EvaluationRow]") -> None:
    """Write rows as one parquet file, whole."""
    from emo_model.data.store import write_parquet
    from emo_model.evaluate import to_table

    write_parquet(path, to_table(list(rows)))


def read_metrics(root: "DataRoot", found: Generation, metrics: Sequence[str]) -> "Evaluation":
    """Several metrics of one generation together. UserError where one was not measured."""
    from emo_model.evaluate import Evaluation

    folders = {metric: metric_folder(root, found, metric) for metric in metrics}
    if missing := [metric for metric, folder in folders.items() if not (folder / "part.parquet").exists()]:
        raise UserError(
            f"{', '.join(missing)} not measured on the newest videos ({found.name}); materialize them first"
        )
    return Evaluation.joined(Evaluation.read(folder) for folder in folders.values())


def read_table(root: "DataRoot", found: Generation) -> "Evaluation":
    """All numbers of one generation. UserError where comparison_table was not made for it."""
    from emo_model.evaluate import Evaluation

    folder = root.part("evaluations", found.name).parent
    if not (folder / "part.parquet").exists():
        raise UserError(f"no table for the newest videos ({found.name}); materialize comparison_table first")
    return Evaluation.read(folder)


def track(evaluation: "Evaluation", found: Generation, tracking: Tracking) -> TrackedRun:
    """One MLflow run a row of the table, under equal names of metrics, to be compared there; returns ours.

    What EMO printed of a method stands in the same run under names of its own, `published ...`.
    """
    from emo_model.evaluate.table import printed

    protocol = evaluation.protocol
    known = {"protocol": protocol.hash, "dataset": protocol.dataset, "clips": len(protocol.clips)}
    ours = None
    for method in dict.fromkeys(row.method for row in evaluation.rows):
        numbers: dict[str, float] = {}
        for row in evaluation.rows:
            if row.method == method and row.value is not None:
                ends = {"low": row.ci_low, "high": row.ci_high, "floor": row.floor}
                numbers |= {row.metric: row.value}
                numbers |= {f"{row.metric} {name}": value for name, value in ends.items() if value is not None}
        name = "evaluation" if method == OURS else f"evaluation of {method}"
        run = tracking.run(name, found.name, name)
        run.params(known | {"method": method, "named protocol": protocol.name})
        run.tags({f"{name} checkpoint sha256": model["sha256"] for name, model in found.models.items()})
        run.numbers(numbers | {f"published {name}": value for name, value in printed(method).items()})
        run.finish()
        ours = run if method == OURS else ours
    assert ours is not None, "every generation has our videos"
    return ours


def version_of(rows: "Sequence[EvaluationRow]") -> dg.DataVersion:
    """Of the numbers: when and in which run they were made is no part of them."""
    from emo_model.data.store import text_sha256

    return dg.DataVersion(
        text_sha256(*sorted(f"{r.method} {r.metric} {r.value} {r.n} {r.protocol_hash} {r.reason}" for r in rows))
    )


def our_number(rows: "Sequence[EvaluationRow]", metric: str) -> dict[str, Any]:
    """Our first number of a metric, so that Dagster plots it over runs; or why there is none."""
    row = next((r for r in rows if r.method == OURS and r.value is not None), None)
    if row is None or row.value is None:
        return {metric: next((f"– ({r.reason})" for r in rows if r.method == OURS), "–")}
    return {row.metric: float(row.value), "samples": f"{row.n} of {row.n_total}"}


def grid(rows: "Sequence[EvaluationRow]") -> dg.TableMetadataValue:
    """Every row: method, metric, value or dash, samples used of offered, and the reason for a dash."""
    records = [
        dg.TableRecord({
            "method": r.method, "metric": r.metric, "value": "–" if r.value is None else f"{r.value:.4g}",
            "samples": f"{r.n} of {r.n_total}", "why no number": r.reason or "",
        })
        for r in rows
    ]  # fmt: skip
    return dg.MetadataValue.table(records)
