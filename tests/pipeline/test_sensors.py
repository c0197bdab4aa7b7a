"""Sensors: what appears is worked on once, what changes is worked on again, what is half there is left alone."""

import json
import os
from pathlib import Path
from types import SimpleNamespace

import dagster as dg
import pytest

from emo_model.data import sources
from emo_model.data.store import DataRoot
from emo_pipeline import sensors
from emo_pipeline.assets.evaluation import METRICS
from emo_pipeline.resources import Data
from tests.pipeline.conftest import report


def old(path: Path, content: bytes = b"video", age_s: float = 100) -> Path:
    """A file that was finished some time ago."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    os.utime(path, (os.stat(path).st_mtime - age_s,) * 2)
    return path


def tick(
    sensor: dg.SensorDefinition,
    defs: dg.Definitions,
    instance: dg.DagsterInstance,
    data: Data,
    cursor: str | None = None,
) -> SimpleNamespace:
    """run keys and partitions asked for, the next cursor, why nothing was asked for."""
    with dg.build_sensor_context(
        instance,
        cursor,
        repository_def=defs.get_repository_def(),
        resources={"data": data},
        instance_ref=instance.get_ref(),
    ) as context:
        found = sensor.evaluate_tick(context)
    requests = found.run_requests or []
    return SimpleNamespace(
        keys=[r.run_key for r in requests], partitions=[r.partition_key for r in requests], requests=requests,
        cursor=found.cursor, why=found.skip_message or "", added=found.dynamic_partitions_requests or [],
    )  # fmt: skip


@pytest.mark.parametrize(
    ("sensor", "name"), [(sensors.drop_folder, "a file; with 'quotes' ü.mp4"), (sensors.url_lists, "mine.urls.txt")]
)
def test_a_new_file_asks_for_registration_once_and_a_changed_one_again(
    sensor: dg.SensorDefinition,
    name: str,
    defs: dg.Definitions,
    instance: dg.DagsterInstance,
    data: Data,
    root: DataRoot,
) -> None:
    assert tick(sensor, defs, instance, data).why == "nothing there"
    path = old(root.folder("0_raw") / name)
    first = tick(sensor, defs, instance, data)
    assert len(first.keys) == 1
    assert tick(sensor, defs, instance, data, first.cursor).why == "no change in 1 files"
    old(path, b"other bytes")
    changed = tick(sensor, defs, instance, data, first.cursor)
    assert len(changed.keys) == 1 and changed.keys != first.keys  # a run key is remembered for ever


def test_channels_are_asked_once_a_day_and_not_at_every_tick(
    defs: dg.Definitions, instance: dg.DagsterInstance, data: Data, root: DataRoot, monkeypatch: pytest.MonkeyPatch
) -> None:
    noon = 20_000.5 * 86_400
    old(root.folder("0_raw") / "mine.urls.txt")
    (root.folder("0_raw") / "listings.json").write_text("{}")
    monkeypatch.setattr(sensors.time, "time", lambda: noon)
    os.utime(root.folder("0_raw") / "mine.urls.txt", (0, 0))
    first = tick(sensors.url_lists, defs, instance, data)
    monkeypatch.setattr(sensors.time, "time", lambda: noon + 3600)
    assert tick(sensors.url_lists, defs, instance, data, first.cursor).why == "no change in 1 files"
    monkeypatch.setattr(sensors.time, "time", lambda: noon + 86_400)
    assert tick(sensors.url_lists, defs, instance, data, first.cursor).keys != first.keys


def test_a_file_still_being_copied_is_left_alone(
    defs: dg.Definitions, instance: dg.DagsterInstance, data: Data, root: DataRoot
) -> None:
    old(root.folder("0_raw") / "half.mp4", age_s=0)
    found = tick(sensors.drop_folder, defs, instance, data)
    assert not found.keys and "still be being copied" in found.why


def test_downloads_and_notes_are_no_dropped_videos(
    defs: dg.Definitions, instance: dg.DagsterInstance, data: Data, root: DataRoot
) -> None:
    """The registry's own files and yt-dlp's would otherwise wake the sensor for ever."""
    for name in ("media/s0000/x.mp4", "collections.json", "sources.parquet", "notes.txt", ".hidden.mp4"):
        old(root.folder("0_raw") / name)
    assert tick(sensors.drop_folder, defs, instance, data).why == "nothing there"


def test_registered_sources_become_partitions_and_runs_of_their_shards(
    defs: dg.Definitions, instance: dg.DagsterInstance, data: Data, root: DataRoot, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sources, "SHARD_SOURCES", 2)
    for number in range(3):
        old(root.folder("0_raw") / f"{number}.mp4", bytes([number]))
    sources.register(root)
    report(instance, "source_registry")
    first = tick(sensors.new_sources, defs, instance, data)
    assert first.partitions == ["s0000", "s0001"]
    assert [list(request.partition_keys) for request in first.added] == [["s0000", "s0001"]]
    old(root.folder("0_raw") / "2.mp4", b"cut anew")
    report(instance, "source_registry", "2")
    second = tick(sensors.new_sources, defs, instance, data, first.cursor)
    assert second.keys[0] == first.keys[0] and second.keys[1] != first.keys[1]  # Dagster drops the key it knows


def test_a_method_folder_is_measured_beside_ours_once(
    defs: dg.Definitions, instance: dg.DagsterInstance, data: Data, root: DataRoot
) -> None:
    old(root.path / "methods" / "wav2lip" / "c1.mp4")
    assert "launch the job evaluate first" in tick(sensors.method_folder, defs, instance, data).why
    report(instance, "generated_videos")
    first = tick(sensors.method_folder, defs, instance, data)
    (request,) = first.requests
    assert {key.to_user_string() for key in request.asset_selection} == {
        "video_features", *METRICS, "comparison_table", "evaluation_report",
    }  # fmt: skip
    assert tick(sensors.method_folder, defs, instance, data, first.cursor).why == "no new method among 1"
    half = old(root.path / "methods" / "wav2lip" / "c2.mp4", age_s=0)
    assert "still be being copied" in tick(sensors.method_folder, defs, instance, data, first.cursor).why
    os.utime(half, (0, 0))
    assert tick(sensors.method_folder, defs, instance, data, first.cursor).keys != first.keys


def test_a_failed_run_becomes_a_line_in_the_ledger(instance: dg.DagsterInstance, data: Data, root: DataRoot) -> None:
    @dg.op
    def broken() -> None:
        raise dg.Failure("the disk is full")

    @dg.job
    def doomed() -> None:
        broken()

    result = doomed.execute_in_process(instance=instance, raise_on_error=False)
    failure = result.get_run_failure_event()
    with dg.build_run_status_sensor_context(
        "failure_ledger", failure, instance, result.dagster_run, resources={"data": data}
    ).for_run_failure() as context:
        sensors.failure_ledger(context)
    (line,) = (root.path / "failures.jsonl").read_text().splitlines()
    row = json.loads(line)
    assert row["job"] == "doomed" and row["steps"] == ["broken"] and row["run_id"] == result.run_id
