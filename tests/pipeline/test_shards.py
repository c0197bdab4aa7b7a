"""Shard assets on real files that are no usable videos: rejects with reasons, a green shard, and what goes stale."""

from dataclasses import replace
from pathlib import Path

import dagster as dg
import pytest
from dagster._core.definitions.data_version import CachingStaleStatusResolver, StaleStatus
from dagster._core.workspace.context import LoadingContext

from emo_model.data.store import DataRoot
from emo_pipeline.assets import audio, clips, faces, motion, shards, sources
from emo_pipeline.resources import Data

SHARD = "s0000"
BAD = {"empty.mp4": b"", "a text.mp4": b"these are words", "quo'tes \"ü\".mp4": b"\x00\x00\x00\x18ftypmp42half of a header"}


@pytest.fixture
def ingested(defs: dg.Definitions, instance: dg.DagsterInstance, root: DataRoot) -> dg.ExecuteInProcessResult:
    """Three bad files and a copy of one of them, registered through Dagster and taken through every shard step."""
    for name, content in {**BAD, "copy.mp4": BAD["a text.mp4"]}.items():
        (root.folder("0_raw") / name).write_bytes(content)
    assert defs.resolve_job_def("register_sources").execute_in_process(instance=instance).success
    return ingest(defs, instance)


def ingest(defs: dg.Definitions, instance: dg.DagsterInstance) -> dg.ExecuteInProcessResult:
    return defs.resolve_job_def("ingest_shard").execute_in_process(instance=instance, partition_key=SHARD, raise_on_error=False)


def metadata(instance: dg.DagsterInstance, asset: str) -> dict:
    event = instance.get_latest_materialization_event(dg.AssetKey(asset))
    assert event and event.asset_materialization
    return {key: value.value for key, value in event.asset_materialization.metadata.items()}


def test_registration_makes_the_shard_a_partition(ingested: dg.ExecuteInProcessResult, instance: dg.DagsterInstance) -> None:
    assert instance.get_dynamic_partitions("source_shards") == [SHARD]


def test_bad_files_are_rows_with_reasons_and_the_shard_is_green(
    ingested: dg.ExecuteInProcessResult, instance: dg.DagsterInstance, root: DataRoot
) -> None:
    assert ingested.success
    reasons = {row["reason"] for row in root.read("rejected", SHARD).to_pylist()}
    assert reasons == {"empty_file", "unreadable", "duplicate_of"}
    shown = {record.data["reason"] for record in metadata(instance, "raw_videos")["rejects by reason"]}
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
    resolver = CachingStaleStatusResolver(instance, graph, LoadingContext.ephemeral(instance) if hasattr(LoadingContext, "ephemeral") else dg.build_asset_context(instance=instance).instance)  # type: ignore[arg-type]
    keys = [key for key in graph.toposorted_asset_keys if graph.get(key).is_partitioned]
    return {key.to_user_string() for key in keys if resolver.get_status(key, SHARD) is not StaleStatus.FRESH}
