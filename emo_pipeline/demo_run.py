"""The demo's jobs, one after another: the same as in the UI, so `make dev` afterwards shows what they made.

What is finished and up to date is kept: a second call only looks. What was begun and stopped is gone on with.
"""

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import dagster as dg

from emo_model.data.store import text_sha256
from emo_model.errors import UserError
from emo_pipeline.definitions import build_definitions
from emo_pipeline.lineage import LINEAGE
from emo_pipeline.progress import Progress
from emo_pipeline.versions import data_version, manifest_versions, up_to_date

# Small enough for two cores; the presets' own numbers are larger. Measured: see emo_model/LOG.md.
TEST_SECONDS = 3.0
# Guidance 1, the paper read literally: more of it only amplifies the noise that minutes of training leave.
GENERATION = {"clips": 2, "seconds": TEST_SECONDS, "steps": 20, "guidance": "1"}
ABLATION = {"clips": 2, "seconds": 1.0, "steps": 8, "guidance": "1"}
THREADS = 2
# Twelve minutes leave stage 3 a fifth of the preset's steps: too few to tell head speeds apart (emo_model/LOG.md).
SPEED_STEPS = 80


@dataclass
class Demo:
    """The jobs in order, on one instance, with one progress."""

    instance: dg.DagsterInstance
    definitions: dg.Definitions
    progress: Progress

    def run(
        self,
        job: str,
        config: dict[str, Any] | None = None,
        partition: str | None = None,
        only: Sequence[str] = (),
        same_work: Sequence[object] = (),
    ) -> None:
        """Run one job to its end. UserError with the failed step's line if it fails.

        What equal `same_work` began and did not finish (the demo was stopped) is gone on with.
        """
        tags = {"emo/by": "make demo"}
        if same_work:
            tags[LINEAGE] = f"demo-{text_sha256(job, config, *same_work)[:16]}"
        found = self.definitions.resolve_job_def(job)
        selection = [dg.AssetKey(name) for name in only] or None
        config = {**(config or {}), "loggers": {"console": {"config": {}}}}
        result = found.execute_in_process(
            config, self.instance, partition, raise_on_error=False, asset_selection=selection, tags=tags
        )
        if not result.success:
            raise UserError(f"{job} failed: {_why(result)}; the whole story: make dev, run {result.run_id[:8]}")

    def steps(self, job: str) -> int:
        """How many steps a job has."""
        return len(self.definitions.resolve_job_def(job).nodes)

    def code(self, group: str) -> list[str | None]:
        """Code versions of a group's assets."""
        graph = self.definitions.resolve_asset_graph()
        return [
            graph.get(key).code_version for key in graph.toposorted_asset_keys if graph.get(key).group_name == group
        ]

    def needed(self, group: str, root: Path, asset: str, field: str) -> bool:
        """Whether an asset of the group is missing or made from older inputs or code, or lies in another data root."""
        graph = self.definitions.resolve_asset_graph()
        keys = [key for key in graph.toposorted_asset_keys if graph.get(key).group_name == group]
        if not all(up_to_date(self.instance, graph, key) for key in keys):
            return True
        return not (root / str(_metadata(self.instance, asset)[field].value)).exists()


def _why(result: dg.ExecuteInProcessResult) -> str:
    for event in result.all_events:
        if event.is_step_failure:
            error = event.step_failure_data.error
            line = ((error.cause or error).message if error else event.message or "?").strip().splitlines()[0]
            return line.removeprefix("dagster._core.definitions.events.Failure: ")
    return "a check that blocks did not pass"


def folders(raw: Path | None, say: Callable[[str], None]) -> list[dict[str, Any]]:
    """The collections of the demo, as source_registry's configuration."""
    if raw is not None:
        if not raw.is_dir():
            raise UserError(f"no folder {raw}; run: make demo RAW=FOLDER_OF_VIDEOS")
        hdtf = any(path.name.startswith(("RD_", "WDA_", "WRA_")) for path in raw.rglob("*.mp4"))
        return [{"path": str(raw.absolute()), "identity": "hdtf" if hdtf else "none"}]
    from emo_model import samples
    from emo_model.talking_set import render_set

    folder = samples.default_folder()
    samples.fetch(folder)
    rendered = Path(os.environ["EMO_DATA"]) / "talking_set"
    render_set(
        rendered,
        people=samples.people(folder),
        voices=samples.voices(folder),
        progress=say,
    )
    return [
        {"path": str(folder / "videos"), "name": "samples", "licence": "see emo samples get", "identity": "folder"},
        {"path": str(rendered), "name": "talking_set", "licence": "each portrait's", "identity": "folder"},
    ]


def demo(raw: Path | None) -> None:
    """All jobs in the data's order."""
    from emo_model.config import preset
    from emo_model.data.pipeline import require_weights
    from emo_model.data.sources import registered
    from emo_model.data.store import DataRoot

    require_weights()
    root = DataRoot.from_environment().create()
    Path(os.environ["DAGSTER_HOME"]).mkdir(parents=True, exist_ok=True)
    progress = Progress()
    progress.say("fetching samples, rendering the talking set" if raw is None else f"reading {raw}")
    config = _config("source_registry", {"folders": folders(raw, progress.say)})
    with dg.DagsterInstance.get() as instance:
        run = Demo(instance, build_definitions(loggers={"console": progress.logger()}), progress)
        progress.expect(run.steps("register_sources"))
        run.run("register_sources", config)
        shards = sorted({source["shard"] for source in registered(root)})
        others = sum(run.steps(job) for job in ("register_sources", "build_dataset", "train_all", "evaluate"))
        progress.expect(others + len(shards) * run.steps("ingest_shard") + 1)
        for shard in shards:
            run.run("ingest_shard", partition=shard)
        run.run("build_dataset")
        if run.needed("training", root.path, "speed_checkpoint", "checkpoint"):
            run.run(
                "train_all", _training(), same_work=[manifest_versions(instance), run.code("training"), preset("TINY")]
            )
        else:
            progress.skip(run.steps("train_all"), "training: kept, its data and code are unchanged")
        if run.needed("evaluation", root.path, "generated_videos", "generation"):
            inputs = [data_version(instance, name) for name in ("speed_checkpoint", "eval_manifest")]
            run.run("evaluate", _evaluation(), same_work=[inputs, run.code("evaluation")])
        else:
            progress.skip(run.steps("evaluate"), "evaluation: kept, its model and clips are unchanged")
        run.run("build_dataset", only=["clip_catalog"])  # now with the evaluation's rows
        _farewell(root.path, instance, progress)


def _config(asset: str, values: dict[str, Any]) -> dict[str, Any]:
    return {"ops": {asset: {"config": values}}}


def _training() -> dict[str, Any]:
    ops = {f"{stage}_checkpoint": {"config": {"threads": THREADS}} for stage in ("image", "video", "speed")}
    ops["speed_checkpoint"]["config"]["steps"] = SPEED_STEPS
    return {"ops": {"base_weights": {"config": {"preset": "TINY"}}, **ops}}


def _evaluation() -> dict[str, Any]:
    ablation = {name: {"config": ABLATION} for name in ("speed_ablation", "face_region_ablation")}
    return {"ops": {"generated_videos": {"config": GENERATION}, **ablation}}


def _farewell(root: Path, instance: dg.DagsterInstance, progress: Progress) -> None:
    """The table, and where everything landed."""
    from emo_model.evaluate.table import published, to_markdown

    print("\nAs EMO's Table 1 printed them (HDTF / web; other videos, so not to be compared):\n")
    print(to_markdown(published()))
    table = _metadata(instance, "comparison_table")
    print("\nMeasured here (a dash: not computable, found n of N; a name in brackets: stand-in weights):\n")
    print(f"{table['measured here'].value}\n")
    for what, where in (
        ("clips in the catalog", f'{root / "catalog.duckdb"}   (emo query "FROM clips")'),
        ("a generated video", _metadata(instance, "generated_videos")["path"].value),
        ("the report", _metadata(instance, "evaluation_report")["path"].value),
        ("the losses in MLflow", f"make dev, then {_metadata(instance, 'speed_checkpoint')['MLflow'].value}"),
        (
            "the graph in Dagster",
            f"make dev, then http://127.0.0.1:{os.environ.get('DAGSTER_PORT', '3000')}/asset-groups",
        ),
    ):
        print(f"{what + ':':24}{where}")
    progress.say("done")


def _metadata(instance: dg.DagsterInstance, asset: str) -> dict[str, Any]:
    event = instance.get_latest_materialization_event(dg.AssetKey(asset))
    assert event is not None and event.asset_materialization is not None, f"{asset} was materialized above"
    return dict(event.asset_materialization.metadata)
