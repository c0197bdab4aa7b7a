"""`make demo`: from raw videos to the table, through Dagster, on the instance in dagster_home.

    python -m emo_pipeline.demo               sample media and the rendered talking set
    python -m emo_pipeline.demo --raw FOLDER  one's own videos

It launches the same jobs as the UI, one after another, so `make dev` afterwards shows what it made. What is finished
and up to date is kept: a second call only looks.
"""

import argparse
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

HOME = Path(__file__).resolve().parent.parent
os.environ.setdefault("DAGSTER_HOME", str(HOME / "dagster_home"))
os.environ["EMO_DATA"] = str(Path(os.environ.get("EMO_DATA", HOME / "data")).absolute())

import dagster as dg  # noqa: E402  (after the two variables it and the definitions read)

from emo_model.data.store import text_sha256  # noqa: E402
from emo_model.errors import UserError  # noqa: E402
from emo_pipeline.definitions import build_definitions  # noqa: E402
from emo_pipeline.lineage import LINEAGE  # noqa: E402
from emo_pipeline.progress import Progress  # noqa: E402
from emo_pipeline.versions import data_version, manifest_versions, up_to_date  # noqa: E402

# Small enough for two cores; the presets' own numbers are larger. Measured: see emo_model/LOG.md.
TEST_SECONDS = 3.0
GENERATION = {"clips": 3, "seconds": TEST_SECONDS, "steps": 20}
ABLATION = {"clips": 2, "seconds": 2.0, "steps": 10}
THREADS = 2


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

    def needed(self, group: str) -> bool:
        """Whether an asset of the group is missing or made from older inputs or code."""
        graph = self.definitions.resolve_asset_graph()
        keys = [key for key in graph.toposorted_asset_keys if graph.get(key).group_name == group]
        return not all(up_to_date(self.instance, graph, key) for key in keys)


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
        hdtf = any(path.name.startswith(("RD_", "WDA_", "WRA_")) for path in raw.iterdir())
        return [{"path": str(raw.absolute()), "identity": "hdtf" if hdtf else "none"}]
    from emo_model import samples
    from emo_model.talking_set import render_set

    folder = samples.default_folder()
    samples.fetch(folder)
    rendered = Path(os.environ["EMO_DATA"]) / "talking_set"
    render_set(
        rendered,
        portraits=[folder / "portraits/astronaut.png", folder / "videos/ben/single_face.mp4"],
        voices=[folder / "voices" / name for name in ("silero_test.wav", "obama_speech.wav")],
        progress=say,
    )
    return [
        {"path": str(folder / "videos"), "name": "samples", "licence": "see emo samples get", "identity": "folder"},
        {"path": str(rendered), "name": "talking_set", "licence": "Apache-2.0", "identity": "folder"},
    ]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the demo. Exit code 2 and one line where something is the user's to mend."""
    parser = argparse.ArgumentParser(prog="python -m emo_pipeline.demo", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--raw", type=Path, metavar="FOLDER", help="your own videos; they are only ever read")
    raw = parser.parse_args(arguments).raw
    try:
        with native_noise_in(Path(os.environ["EMO_DATA"]) / "demo.log"):
            demo(raw)
    except UserError as error:
        print(f"demo: {error}", file=sys.stderr)
        return 2
    except (KeyboardInterrupt, dg.DagsterExecutionInterruptedError):
        print("demo: stopped; what is finished is kept; the same command goes on", file=sys.stderr)
        return 130
    return 0


@contextmanager
def native_noise_in(log: Path) -> Iterator[None]:
    """What libraries print to stderr by themselves (mediapipe: three lines a video) goes to a file meanwhile."""
    log.parent.mkdir(parents=True, exist_ok=True)
    sys.stderr.flush()
    kept = os.dup(2)
    with log.open("ab") as file:
        os.dup2(file.fileno(), 2)
        try:
            yield
        finally:
            sys.stderr.flush()
            os.dup2(kept, 2)
            os.close(kept)


def demo(raw: Path | None) -> None:
    """All jobs in the data's order."""
    from emo_model.data.pipeline import require_weights
    from emo_model.data.store import DataRoot
    from emo_pipeline.partitions import SHARDS

    require_weights()
    root = DataRoot.from_environment().create()
    Path(os.environ["DAGSTER_HOME"]).mkdir(parents=True, exist_ok=True)
    progress = Progress()
    progress.say("fetching samples, rendering the talking set" if raw is None else f"reading {raw}")
    config = _config("source_registry", {"folders": folders(raw, progress.say)})
    with dg.DagsterInstance.get() as instance:
        run = Demo(instance, build_definitions(loggers={"console": progress.logger()}), progress)
        progress.expect(1)
        run.run("register_sources", config)
        shards = instance.get_dynamic_partitions(SHARDS.name)
        progress.expect(1 + len(shards) * 11 + 7 + 4 + 11 + 1)
        for shard in shards:
            run.run("ingest_shard", partition=shard)
        run.run("build_dataset")
        if run.needed("training"):
            run.run("train_all", _training(), same_work=[manifest_versions(instance)])
        else:
            progress.skip(4, "training: kept, its data and code are unchanged")
        if run.needed("evaluation"):
            run.run("evaluate", _evaluation(), same_work=[data_version(instance, "speed_checkpoint")])
        else:
            progress.skip(11, "evaluation: kept, its model and clips are unchanged")
        run.run("build_dataset", only=["clip_catalog"])  # now with the evaluation's rows
        _farewell(root.path, instance, progress)


def _config(asset: str, values: dict[str, Any]) -> dict[str, Any]:
    return {"ops": {asset: {"config": values}}}


def _training() -> dict[str, Any]:
    ops = {f"{stage}_checkpoint": {"config": {"threads": THREADS}} for stage in ("image", "video", "speed")}
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


if __name__ == "__main__":
    sys.exit(main())
