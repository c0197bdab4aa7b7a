"""Numbers of an evaluation as rows: measured, written, read back, shown.

    8_evaluation/metrics/RUN/METRIC.parquet       one metric's rows for one generation
    8_evaluation/evaluations/shard=RUN/           all of them: part.parquet, the table `evaluations`

Here: what the metric, table, report and champion assets share. How a number is measured: emo_model.evaluate.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import dagster as dg

from emo_model.errors import UserError
from emo_pipeline.assets.generation import OURS, Generation

if TYPE_CHECKING:
    from emo_model.data.store import DataRoot
    from emo_model.evaluate import EvaluationRow


def measure_rows(root: "DataRoot", found: Generation, metrics: Sequence[str]) -> "list[EvaluationRow]":
    """One or more metrics for every method of a generation, with the controls."""
    from emo_model.evaluate import evaluate_methods

    return evaluate_methods(dict(found.methods), found.protocol, root=root, metrics=metrics, run_id=found.name)


def metric_file(root: "DataRoot", found: Generation, metric: str) -> Path:
    """Where a metric's rows for one generation lie."""
    return root.folder("8_evaluation") / "metrics" / found.name / f"{metric}.parquet"


def write_rows(path: Path, rows: "Sequence[EvaluationRow]") -> None:
    """Write rows as one parquet file, whole."""
    from emo_model.data.store import write_parquet
    from emo_model.evaluate import to_table

    write_parquet(path, to_table(list(rows)))


def read_metric(root: "DataRoot", found: Generation, metric: str) -> "list[EvaluationRow]":
    """A metric's rows for one generation. UserError where it was not measured."""
    path = metric_file(root, found, metric)
    if not path.exists():
        raise UserError(f"{metric} was not measured on the newest videos ({found.name}); materialize {metric} first")
    return _rows_of(path)


def read_table(root: "DataRoot", found: Generation) -> "list[EvaluationRow]":
    """All rows for one generation. UserError where comparison_table was not made for it."""
    path = root.part("evaluations", found.name)
    if not path.exists():
        raise UserError(f"no table for the newest videos ({found.name}); materialize comparison_table first")
    return _rows_of(path)


def _rows_of(path: Path) -> "list[EvaluationRow]":
    import pyarrow.parquet as pq

    from emo_model.evaluate import EvaluationRow

    return [EvaluationRow(**row) for row in pq.ParquetFile(path).read().to_pylist()]


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
