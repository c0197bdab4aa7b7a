"""Group evaluation, second half: one look at every video, the metrics, the table, the report, and who is champion.

    8_evaluation/evaluations/shard=RUN/{table.md, table.csv, ... (emo_model/evaluate/outputs.py), report/index.html}
    6_checkpoints/champion.json

    generated_videos -> video_features (every video decoded once) -> an asset a metric -> comparison_table

Here: which metric on which videos, and what becomes of the numbers. How they are measured: emo_model.evaluate.
"""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import dagster as dg
from pydantic import Field

from emo_pipeline.assets.generation import CHAMPION, OURS, Generation, latest_generation
from emo_pipeline.assets.shards import OWNER
from emo_pipeline.champion import DEFAULT_RULE, RULES, Decision, decide
from emo_pipeline.checkpoints import champion, champion_file
from emo_pipeline.evaluation_rows import (
    grid,
    measure,
    metric_folder,
    observe,
    our_number,
    read_metrics,
    read_table,
    track,
    version_of,
)
from emo_pipeline.failures import one_line
from emo_pipeline.resources import Data
from emo_pipeline.tracking import TrackedRun, Tracking

if TYPE_CHECKING:
    from emo_model.data.store import DataRoot

TABLE_1 = {  # the paper's columns, in its order
    "fid": "Fréchet distance of single frames to the real clips' (Inception, or a stand-in so named); lower is better.",
    "syncnet": "SyncNet's confidence that lips and voice belong together (LSE-C); higher is better. A dash without its "
    "weights.",
    "f_sim": "Face similarity to the portrait, 100 x cosine; best at the real clips' own value.",
    "fvd": "Fréchet distance of 16-frame windows at 25 fps (I3D); lower is better.",
    "e_fid": "Fréchet distance of expression coefficients (or blendshapes, so named); lower is better.",
}
BESIDE = {
    "motion": "How fast heads turn, degrees a frame at 30 fps: mean, variance in a clip, variance of clips' means "
    "(Table 2).",
    "p_fid": "Fréchet distance of head poses, three angles and translation; lower is better.",
    "blink": "Blinks a minute; best at the real clips' own number.",
    "beat": "How near the head's rests lie to the sound's onsets, 0 to 1; best at the real clips' own number.",
    "pictures": "PSNR (decibels) and SSIM to the real frame: for a method that retells its own clip.",
    "seams": "Step between frames at every 12th, where EMO's windows meet, against the others; 1: no seam.",
    "mouth_sync": "Mouth opening against loudness: best correlation, and its lag in ms; needs no weights of its own.",
}
METRICS = TABLE_1 | BESIDE
CODE_VERSION = "2"


@dg.asset(
    deps=["generated_videos"], group_name="evaluation", kinds={"pytorch", "ffmpeg"}, owners=[OWNER],
    code_version=CODE_VERSION, pool="gpu",
)  # fmt: skip
@one_line
def video_features(context: dg.AssetExecutionContext, data: Data) -> dg.MaterializeResult:
    """What every metric's network sees in every video, real, generated and of other methods: each is decoded once, and
    never again while it is unchanged. What is wrong with a video is said here, by clip."""
    from emo_model.data.store import text_sha256
    from emo_model.evaluate.methods import sentences

    root = data.root
    found = latest_generation(context, root)
    lines = sentences(observe(context, root, found, tuple(METRICS)))
    return dg.MaterializeResult(
        data_version=dg.DataVersion(text_sha256(found.protocol.hash, *sorted(found.methods), *lines)),
        metadata={
            "methods": ", ".join(found.methods),
            "clips": len(found.protocol.clips),
            "said of the videos": dg.MetadataValue.md("\n".join(f"- {line}" for line in lines) or "nothing"),
            "protocol": found.protocol.hash,
            "path": dg.MetadataValue.path(str(root.folder("8_evaluation") / "features")),
        },
    )


def _metric_asset(metric: str, description: str) -> dg.AssetsDefinition:
    @dg.asset(
        name=metric, deps=["video_features"], group_name="evaluation", kinds={"pytorch"}, owners=[OWNER],
        code_version=CODE_VERSION, description=description,
    )  # fmt: skip
    @one_line
    def measured(context: dg.AssetExecutionContext, data: Data) -> dg.MaterializeResult:
        root = data.root
        found = latest_generation(context, root)
        rows = measure(root, found, metric).rows
        return dg.MaterializeResult(
            data_version=version_of(rows),
            metadata={
                **our_number(rows, metric),
                "rows": grid(rows),
                "protocol": found.protocol.hash,
                "path": dg.MetadataValue.path(str(metric_folder(root, found, metric))),
            },
        )

    return measured


metrics = [_metric_asset(metric, description) for metric, description in METRICS.items()]


@dg.asset(
    deps=list(METRICS), group_name="evaluation", kinds={"markdown", "mlflow"}, owners=[OWNER], code_version=CODE_VERSION
)
@one_line
def comparison_table(context: dg.AssetExecutionContext, data: Data, tracking: Tracking) -> dg.MaterializeResult:
    """Table 1: every method and control, and in columns apart what EMO printed; a stand-in's column bears its name."""
    from emo_model.evaluate import write_table
    from emo_model.evaluate.table import measured, table_1, to_markdown

    root = data.root
    found = latest_generation(context, root)
    evaluation = read_metrics(root, found, tuple(METRICS))
    paths = write_table(evaluation, root.part("evaluations", found.name).parent)
    table = to_markdown(table_1(evaluation.rows))
    context.log.info(table)
    run = track(evaluation, found, tracking)
    run.files([paths["md"], paths["csv"], paths["md"].with_name("protocol.json")], "evaluation")
    return dg.MaterializeResult(
        data_version=version_of(evaluation.rows),
        metadata={
            "measured here": dg.MetadataValue.md(to_markdown(measured(evaluation.rows))),
            "beside what EMO printed": dg.MetadataValue.md(table),
            "path": dg.MetadataValue.path(str(paths["md"])),
            "protocol": found.protocol.hash,
            "evaluation": root.relative(paths["parquet"]),
            "MLflow": run.link,
        },
    )


@dg.asset(deps=["comparison_table"], group_name="evaluation", kinds={"html"}, owners=[OWNER], code_version=CODE_VERSION)
@one_line
def evaluation_report(context: dg.AssetExecutionContext, data: Data) -> dg.MaterializeResult:
    """The page a person opens, a folder to send: tables, plots, clips to watch beside ground truth, the protocol."""
    from emo_model.data.store import file_sha256
    from emo_model.evaluate.table import to_page
    from emo_model.report import write_report

    root = data.root
    found = latest_generation(context, root)
    evaluation = read_table(root, found)
    folder = root.part("evaluations", found.name).parent / "report"
    page = write_report(evaluation, folder, root=root.path, overwrite=True)
    files = [path for path in folder.rglob("*") if path.is_file()]
    return dg.MaterializeResult(
        data_version=dg.DataVersion(file_sha256(page)),
        metadata={
            "path": dg.MetadataValue.path(str(page)),
            "report": dg.MetadataValue.md(to_page(evaluation)),
            "files": len(files),
            "MB": sum(path.stat().st_size for path in files) / 1e6,
        },
    )


CHAMPION_BEATEN = dg.AssetCheckSpec(
    "champion_beaten", asset="champion_model", blocking=True,
    description="the rule says that the new checkpoint is better under the same protocol; otherwise the champion stays",
)  # fmt: skip


class ChampionConfig(dg.Config):
    """When a new model takes the champion's place."""

    rule: str = Field(default=DEFAULT_RULE, description="; ".join(f"{name}: {text}" for name, text in RULES.items()))


@dg.asset(
    deps=["evaluation_report"], group_name="evaluation", kinds={"json", "mlflow"}, owners=[OWNER],
    code_version=CODE_VERSION, check_specs=[CHAMPION_BEATEN],
)  # fmt: skip
@one_line
def champion_model(
    context: dg.AssetExecutionContext, config: ChampionConfig, data: Data, tracking: Tracking
) -> dg.MaterializeResult:
    """Which checkpoint is the champion: 6_checkpoints/champion.json, and MLflow's alias `champion` of the model emo."""
    root = data.root
    found, before = latest_generation(context, root), champion(root)
    decision = _decide(root, found, before, config.rule)
    for line in decision.reasons:
        context.log.info(line)
    run = tracking.run("evaluation", found.name, "evaluation")
    run.tags(
        {"champion": decision.promote, "champion_rule": config.rule, "champion_reasons": "; ".join(decision.reasons)}
    )
    run.finish()
    after = _promote(root, found, run, tracking) if decision.promote else before
    assert after is not None, "without a champion the first checkpoint is promoted"
    return dg.MaterializeResult(
        data_version=dg.DataVersion(after["sha256"]),
        metadata={
            "checkpoint": after["checkpoint"],
            "decision": "promoted" if decision.promote else "kept",
            "rule": f"{config.rule}: {RULES[config.rule]}",
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


def _decide(root: "DataRoot", found: Generation, before: Mapping[str, Any] | None, rule: str) -> Decision:
    rows = [vars(row) for row in read_table(root, found).rows]
    if before is None:
        return decide(rows, OURS, None, rule=rule)
    if before["sha256"] == found.models[OURS]["sha256"]:
        return Decision(True, ("this checkpoint is the champion already",))
    if CHAMPION in found.models:
        return decide(rows, OURS, CHAMPION, rule=rule)
    past = [{**row, "method": CHAMPION} for row in before["rows"] if row["method"] == OURS]
    return decide(rows, OURS, CHAMPION, past, rule=rule)


def _promote(root: "DataRoot", found: Generation, run: TrackedRun, tracking: Tracking) -> dict[str, Any]:
    from emo_model.data.store import write_json

    model = found.models[OURS]
    rows = [vars(row) for row in read_table(root, found).rows if row.method == OURS]
    record = {**model, "protocol": found.protocol.hash, "evaluation": found.name, "rows": rows}
    before = champion(root)
    if before is None or before["sha256"] != model["sha256"]:
        tracking.promote(run, str(root.path / model["checkpoint"]))
    write_json(champion_file(root), record)
    return record
