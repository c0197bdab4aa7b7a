"""Group evaluation, second half: the metrics, the ablations, the table, the report, and who is champion.

    8_evaluation/metrics/RUN/METRIC.parquet       one metric's rows for one generation
    8_evaluation/evaluations/shard=RUN/           all of them: part.parquet (the table `evaluations`), table.md, report.html

Here: which metric on which videos, and what becomes of the numbers. How they are measured: emo_model.evaluate.
"""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import dagster as dg
from pydantic import Field

from emo_model.errors import UserError
from emo_pipeline.assets.generation import (
    CHAMPION,
    OURS,
    Generation,
    GenerationConfig,
    latest_generation,
    make_videos,
    pairs,
    test_clips,
)
from emo_pipeline.assets.shards import OWNER
from emo_pipeline.assets.training import checkpoint_of
from emo_pipeline.champion import Decision, decide
from emo_pipeline.failures import one_line
from emo_pipeline.lineage import lineage
from emo_pipeline.resources import Data
from emo_pipeline.tracking import Tracking

if TYPE_CHECKING:
    from emo_model.data.store import DataRoot
    from emo_model.evaluate import EvaluationRow

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
        rows = _measure(root, found, (metric,))
        path = _metric_file(root, found, metric)
        _write(path, rows)
        return dg.MaterializeResult(
            data_version=_version(rows),
            metadata={
                **_ours(rows, metric),
                "rows": _grid(rows),
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


class AblationConfig(dg.Config):
    """A small measurement: few clips, short, few denoising steps."""

    clips: int = Field(default=2, description="Test clips used; VMV, a variance over clips, needs two.")
    seconds: float = Field(default=3.0, description="Seconds of each.")
    steps: int = Field(default=20, description="Denoising steps.")


class SpeedAblationConfig(AblationConfig):
    """Table 2's assigned speeds."""

    speeds: list[float] = Field(default=[0.1, 0.7, 1.3, 1.9], description="Degrees a frame at 30 fps, beside none.")


@dg.asset(
    deps=["speed_checkpoint", "eval_manifest"],
    group_name="evaluation",
    kinds={"pytorch"},
    owners=[OWNER],
    code_version=CODE_VERSION,
)
@one_line
def speed_ablation(context: dg.AssetExecutionContext, config: SpeedAblationConfig, data: Data) -> dg.MaterializeResult:
    """Table 2: does the head turn as fast as it is told? Mean velocity, its variance within clips, and VMV (the
    variance of the clips' means), degrees a frame at 30 fps, by assigned speed."""
    variants = {"speed none": {"speed": None}} | {f"speed {speed:g}": {"speed": speed} for speed in config.speeds}
    return _ablation(context, data, config, "speed_ablation", variants)


@dg.asset(
    deps=["speed_checkpoint", "eval_manifest"],
    group_name="evaluation",
    kinds={"pytorch"},
    owners=[OWNER],
    code_version=CODE_VERSION,
)
@one_line
def face_region_ablation(context: dg.AssetExecutionContext, config: AblationConfig, data: Data) -> dg.MaterializeResult:
    """Figure 7: the face region given to the Face Locator bounds where the head may move. Head motion, degrees a frame
    at 30 fps, for the face's own box, one twice its size, and no bound."""
    regions = {"box": 1.0, "twice the box": 2.0, "free": "free"}
    variants = {f"region {name}": {"face_region": region} for name, region in regions.items()}
    return _ablation(context, data, config, "face_region_ablation", variants)


def _ablation(
    context: dg.AssetExecutionContext,
    data: Data,
    config: AblationConfig,
    asset: str,
    variants: Mapping[str, Mapping[str, Any]],
) -> dg.MaterializeResult:
    """Generate each variant and measure head motion: a face not found in a frame is counted, never guessed."""
    from emo_model.evaluate import Protocol, evaluate_methods

    root = data.root
    folder, model = root.folder("7_generated") / lineage(context) / asset, checkpoint_of(context, root, "speed")
    clips = test_clips(root, config.clips)
    settings = GenerationConfig(clips=config.clips, seconds=config.seconds, steps=config.steps)
    for name, given in variants.items():
        make_videos(context, root, model, folder / name, settings, **given)
    protocol = Protocol.freeze(asset, [clip["clip_id"] for clip in clips], metrics=("motion",), seconds=config.seconds)
    methods = {name: pairs(clips, folder / name) for name in variants}
    rows = evaluate_methods(methods, protocol, root=root, metrics=("motion",), run_id=lineage(context))
    _write(root.folder("8_evaluation") / asset / f"{lineage(context)}.parquet", rows)
    shown = [row for row in rows if row.method in variants]
    return dg.MaterializeResult(
        data_version=_version(rows),
        metadata={
            "table": _grid(rows),
            "frames used": f"{max(row.n for row in shown)} of {max(row.n_total for row in shown)}",
            "clips": len(clips),
            "path": dg.MetadataValue.path(str(folder)),
        },
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
    rows = [row for metric in METRICS for row in _read(root, found, metric)] + _measure(root, found, BESIDE)
    paths = write_table(rows, found.protocol, root.part("evaluations", found.name).parent)
    run = tracking.run("evaluation", found.name, "evaluation")
    run.params({"protocol": found.protocol.hash, "dataset": found.protocol.dataset, "clips": len(found.protocol.clips)})
    run.tags({f"{name} checkpoint sha256": model["sha256"] for name, model in found.models.items()})
    run.numbers({row.metric: row.value for row in rows if row.method == OURS and row.value is not None})
    run.finish()
    table = to_markdown(measured(rows))
    return dg.MaterializeResult(
        data_version=_version(rows),
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
    rows = _read_table(root, found)
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
    deps=["evaluation_report"], group_name="evaluation", kinds={"json", "mlflow"}, owners=[OWNER], code_version=CODE_VERSION,
    check_specs=[CHAMPION_BEATEN],
)  # fmt: skip
@one_line
def champion_model(context: dg.AssetExecutionContext, data: Data, tracking: Tracking) -> dg.MaterializeResult:
    """Which checkpoint is the champion: 6_checkpoints/champion.json, and MLflow's alias `champion` of the model emo."""
    root = data.root
    found = latest_generation(context, root)
    pointer = root.folder("6_checkpoints") / "champion.json"
    before = json.loads(pointer.read_text()) if pointer.exists() else None
    decision = _decide(root, found, before)
    for line in decision.reasons:
        context.log.info(line)
    run = tracking.run("evaluation", found.name, "evaluation")
    run.tags({"champion": decision.promote, "champion_reasons": "; ".join(decision.reasons)})
    run.finish()
    after = _promote(root, pointer, found, run, tracking) if decision.promote else before
    assert after is not None, "without a champion the first checkpoint is promoted"
    return dg.MaterializeResult(
        data_version=dg.DataVersion(after["sha256"]),
        metadata={
            "checkpoint": after["checkpoint"],
            "decision": "promoted" if decision.promote else "kept",
            "reasons": dg.MetadataValue.md("\n".join(f"- {line}" for line in decision.reasons)),
            "path": dg.MetadataValue.path(str(pointer)),
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
    rows = [vars(row) for row in _read_table(root, found)]
    if before is None:
        return decide(rows, OURS, None)
    if before["sha256"] == found.models[OURS]["sha256"]:
        return Decision(True, ("this checkpoint is the champion already",))
    if CHAMPION in found.models:
        return decide(rows, OURS, CHAMPION)
    past = [{**row, "method": CHAMPION} for row in before["rows"] if row["method"] == OURS]
    return decide(rows, OURS, CHAMPION, past)


def _promote(root: "DataRoot", pointer: Path, found: Generation, run: Any, tracking: Tracking) -> dict[str, Any]:
    from emo_model.data.store import write_json

    model = found.models[OURS]
    rows = [vars(row) for row in _read_table(root, found) if row.method == OURS]
    record = {**model, "protocol": found.protocol.hash, "evaluation": found.name, "rows": rows}
    already = pointer.exists() and json.loads(pointer.read_text())["sha256"] == model["sha256"]
    if not already:
        tracking.promote(run, str(root.path / model["checkpoint"]))
    write_json(pointer, record)
    return record


# ---- rows ----


def _measure(root: "DataRoot", found: Generation, metrics: Sequence[str]) -> "list[EvaluationRow]":
    from emo_model.evaluate import evaluate_methods

    return evaluate_methods(dict(found.methods), found.protocol, root=root, metrics=metrics, run_id=found.name)


def _metric_file(root: "DataRoot", found: Generation, metric: str) -> Path:
    return root.folder("8_evaluation") / "metrics" / found.name / f"{metric}.parquet"


def _write(path: Path, rows: "Sequence[EvaluationRow]") -> None:
    from emo_model.data.store import write_parquet
    from emo_model.evaluate import to_table

    write_parquet(path, to_table(list(rows)))


def _read(root: "DataRoot", found: Generation, metric: str) -> "list[EvaluationRow]":
    path = _metric_file(root, found, metric)
    if not path.exists():
        raise UserError(f"{metric} was not measured on the newest videos ({found.name}); materialize {metric} first")
    return _rows_of(path)


def _read_table(root: "DataRoot", found: Generation) -> "list[EvaluationRow]":
    path = root.part("evaluations", found.name)
    if not path.exists():
        raise UserError(f"no table for the newest videos ({found.name}); materialize comparison_table first")
    return _rows_of(path)


def _rows_of(path: Path) -> "list[EvaluationRow]":
    import pyarrow.parquet as pq

    from emo_model.evaluate import EvaluationRow

    return [EvaluationRow(**row) for row in pq.ParquetFile(path).read().to_pylist()]


def _version(rows: "Sequence[EvaluationRow]") -> dg.DataVersion:
    """Of the numbers: when and in which run they were made is no part of them."""
    from emo_model.data.store import text_sha256

    return dg.DataVersion(
        text_sha256(*sorted(f"{r.method} {r.metric} {r.value} {r.n} {r.protocol_hash} {r.reason}" for r in rows))
    )


def _ours(rows: "Sequence[EvaluationRow]", metric: str) -> dict[str, Any]:
    """Our first number of a metric, so that Dagster plots it over runs; or why there is none."""
    row = next((r for r in rows if r.method == OURS and r.value is not None), None)
    if row is None:
        return {metric: next((f"– ({r.reason})" for r in rows if r.method == OURS), "–")}
    return {row.metric: float(row.value), "samples": f"{row.n} of {row.n_total}"}


def _grid(rows: "Sequence[EvaluationRow]") -> dg.TableMetadataValue:
    """Every row: method, metric, value or dash, samples used of offered, and the reason for a dash."""
    records = [
        dg.TableRecord({
            "method": r.method, "metric": r.metric, "value": "–" if r.value is None else f"{r.value:.4g}",
            "samples": f"{r.n} of {r.n_total}", "why no number": r.reason or "",
        })
        for r in rows
    ]  # fmt: skip
    return dg.MetadataValue.table(records)
