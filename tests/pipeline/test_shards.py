"""Shard assets on real files that are no usable videos: rejects with reasons, a green shard, and what goes stale."""

import multiprocessing
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import ClassVar

import dagster as dg
import pytest
from dagster._core.definitions.data_version import CachingStaleStatusResolver, StaleStatus
from dagster._core.loader import LoadingContextForTest

from emo_model.data.store import DataRoot
from emo_model.data.workers import Workers
from emo_pipeline import checks, resources
from emo_pipeline.assets import shards
from emo_pipeline.definitions import build_definitions
from emo_pipeline.resources import Data
from tests.pipeline.conftest import report

SHARD = "s0000"
BAD = {
    "empty.mp4": b"",
    "a text.mp4": b"these are words",
    'quo\'tes "ü".mp4': b"\x00\x00\x00\x18ftypmp42half of a header",
}


@pytest.fixture
def ingested(defs: dg.Definitions, instance: dg.DagsterInstance, root: DataRoot) -> dg.ExecuteInProcessResult:
    """Three bad files and a copy of one of them, registered through Dagster and taken through every shard step."""
    for name, content in {**BAD, "copy.mp4": BAD["a text.mp4"]}.items():
        (root.folder("0_raw") / name).write_bytes(content)
    assert defs.resolve_job_def("register_sources").execute_in_process(instance=instance).success
    return ingest(defs, instance)


def ingest(defs: dg.Definitions, instance: dg.DagsterInstance) -> dg.ExecuteInProcessResult:
    return defs.resolve_job_def("ingest_shard").execute_in_process(
        instance=instance, partition_key=SHARD, raise_on_error=False
    )


class Watched(Workers):
    """Workers that tell how often processes were started for them."""

    made: ClassVar[list["Watched"]] = []

    def __init__(self, count: int) -> None:
        super().__init__(count)
        self.pools = set[int]()
        self.made.append(self)

    def _started(self) -> ProcessPoolExecutor:
        self.pools.add(id(pool := super()._started()))
        return pool


def test_the_steps_of_a_run_share_their_processes_which_end_with_it(
    instance: dg.DagsterInstance, root: DataRoot, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(resources, "Workers", Watched)
    for name, content in BAD.items():
        (root.folder("0_raw") / name).write_bytes(content)
    defs = build_definitions({"data": Data(path=str(root.path), workers=2)})
    assert defs.resolve_job_def("register_sources").execute_in_process(instance=instance).success
    Watched.made.clear()
    assert ingest(defs, instance).success
    (workers,) = Watched.made
    assert len(workers.pools) == 1 and not multiprocessing.active_children()


def metadata(instance: dg.DagsterInstance, asset: str) -> dict:
    event = instance.get_latest_materialization_event(dg.AssetKey(asset))
    assert event and event.asset_materialization
    found = event.asset_materialization.metadata
    return {key: value if isinstance(value, dg.TableMetadataValue) else value.value for key, value in found.items()}


def test_registration_makes_the_shard_a_partition(
    ingested: dg.ExecuteInProcessResult, instance: dg.DagsterInstance
) -> None:
    assert instance.get_dynamic_partitions("source_shards") == [SHARD]


def test_bad_files_are_rows_with_reasons_and_the_shard_is_green(
    ingested: dg.ExecuteInProcessResult, instance: dg.DagsterInstance, root: DataRoot
) -> None:
    assert ingested.success
    reasons = {row["reason"] for row in root.read("rejected", SHARD).to_pylist()}
    assert reasons == {"empty_file", "unreadable", "truncated", "duplicate_of"}
    shown = {record.data["reason"] for record in metadata(instance, "raw_videos")["rejects by reason"].records}
    assert {"empty_file", "duplicate_of"} <= shown


def test_a_second_run_keeps_every_video(
    ingested: dg.ExecuteInProcessResult, defs: dg.Definitions, instance: dg.DagsterInstance
) -> None:
    assert ingest(defs, instance).success
    again = metadata(instance, "raw_videos")
    assert (again["videos done"], again["videos kept from before"]) == (0, 4)


def stale(defs: dg.Definitions, instance: dg.DagsterInstance) -> set[str]:
    """Shard assets that Dagster marks stale."""
    graph = defs.resolve_asset_graph()
    resolver = CachingStaleStatusResolver(instance, graph, LoadingContextForTest(instance))
    keys = [key for key in graph.toposorted_asset_keys if graph.get(key).is_partitioned]
    return {key.to_user_string() for key in keys if resolver.get_status(key, SHARD) is not StaleStatus.FRESH}


def test_a_new_version_of_the_crop_leaves_all_sound_fresh(
    ingested: dg.ExecuteInProcessResult,
    defs: dg.Definitions,
    instance: dg.DagsterInstance,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Another crop must not remake audio: clip_audio hangs off the tracks, not off the crop."""
    assert stale(defs, instance) == set()
    new_crop = replace(shards.STEPS["face_clips"], version=shards.STEPS["face_clips"].version + 1)
    monkeypatch.setitem(shards.STEPS, "face_clips", new_crop)
    others = [assets for assets in defs.assets or [] if asset_names(assets) != {"face_clips"}]
    bumped = dg.Definitions([*others, face_clips_again()], resources=defs.resources)
    assert stale(bumped, instance) == {"face_clips"}
    report(instance, "face_clips", "other crops", SHARD)  # made again: now its children know
    old_crop = stale(defs, instance)
    assert {"quality_scores", "sync_scores"} <= old_crop
    assert not {"clip_audio", "audio_features", "sound_scores", "head_pose", "head_speed", "face_tracks"} & old_crop


def asset_names(assets: object) -> set[str]:
    return {key.to_user_string() for key in getattr(assets, "keys", [])}


def face_clips_again() -> dg.AssetsDefinition:
    """The asset as the module would build it from today's STEPS."""
    return shards.shard_assets("face_clips", "clips", {"parquet"})


def test_rows_of_another_schema_stop_everything_downstream(
    defs: dg.Definitions, instance: dg.DagsterInstance, root: DataRoot, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A step that writes other columns than records.py says: its asset fails the check, the next never starts."""
    (root.folder("0_raw") / "empty.mp4").write_bytes(b"")
    assert defs.resolve_job_def("register_sources").execute_in_process(instance=instance).success
    monkeypatch.setattr(checks, "_table_problems", lambda path, table: ["height: wanted int32, got double"])
    result = ingest(defs, instance)
    assert not result.success
    assert instance.get_latest_materialization_event(dg.AssetKey("video_probe")) is None
    (failed,) = [
        event for event in result.get_asset_check_evaluations() if event.asset_key == dg.AssetKey("raw_videos")
    ]
    assert not failed.passed and failed.blocking


def test_a_missing_data_root_is_one_line_with_the_command(
    defs: dg.Definitions, instance: dg.DagsterInstance, tmp_path: Path
) -> None:
    elsewhere = build_definitions({"data": Data(path=str(tmp_path / "nowhere"))})
    result = elsewhere.resolve_job_def("register_sources").execute_in_process(instance=instance, raise_on_error=False)
    (failure,) = [event for event in result.all_events if event.is_step_failure]
    error = failure.step_failure_data.error
    assert error and "no data root at" in error.message and "run: emo prepare" in error.message
    assert not error.message.strip().count("\n")


def test_an_unknown_preset_is_one_line_and_is_not_tried_again(
    defs: dg.Definitions, instance: dg.DagsterInstance
) -> None:
    config = {"ops": {"base_weights": {"config": {"preset": "HUGE"}}}}
    job = defs.resolve_job_def("train_all")
    result = job.execute_in_process(
        config, instance, raise_on_error=False, asset_selection=[dg.AssetKey("base_weights")]
    )
    (failure,) = [event for event in result.all_events if event.is_step_failure]
    assert "no preset 'HUGE': wanted one of TINY, PAPER" in failure.step_failure_data.error.message
    assert not [event for event in result.all_events if event.event_type_value == "STEP_UP_FOR_RETRY"]
