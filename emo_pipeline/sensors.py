"""What happens by itself when something appears or fails. All ship stopped.

Here: noticing, with a cursor, and asking for runs. Not here: the work. Run keys are remembered by Dagster for ever, so
each holds a signature of the content it stands for: a changed file is worked on again, an unchanged one never.
"""

import json
import time
from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path

import dagster as dg

from emo_model.data.store import text_sha256
from emo_pipeline.assets.evaluation import METRICS
from emo_pipeline.jobs import evaluate, ingest_shard, register_sources
from emo_pipeline.partitions import SHARDS, SHARDS_NAME
from emo_pipeline.resources import Data

STOPPED = dg.DefaultSensorStatus.STOPPED
LISTED_AGAIN_S = 24 * 3600
SETTLED_S = 10  # a file that changed later than this may still be being copied
MEASURED_ON_METHODS = [
    dg.AssetKey(name) for name in ("video_features", *METRICS, "comparison_table", "evaluation_report")
]


@dg.sensor(job=register_sources, minimum_interval_seconds=60, default_status=STOPPED)
def drop_folder(context: dg.SensorEvaluationContext, data: Data) -> dg.SensorResult | dg.SkipReason:
    """Files dropped into 0_raw are registered (and new_sources then works on their shards)."""
    return _register_if_changed(context, _videos(data.folder / "0_raw"))


@dg.sensor(job=register_sources, minimum_interval_seconds=60, default_status=STOPPED)
def url_lists(context: dg.SensorEvaluationContext, data: Data) -> dg.SensorResult | dg.SkipReason:
    """New lines in 0_raw/NAME.urls.txt are registered (and new_sources then downloads them); once a day also what the
    channels and play lists among them have got since. No tick asks a site."""
    raw = data.folder / "0_raw"
    day = f":{time.time() // LISTED_AGAIN_S:.0f}" if (raw / "listings.json").exists() else ""
    return _register_if_changed(context, sorted(raw.glob("*.urls.txt")), day)


def _videos(folder: Path) -> list[Path]:
    from emo_model.data.sources import MEDIA, scan_folder

    return [path for path, _ in scan_folder(folder, [], without=(MEDIA,))]


def _register_if_changed(
    context: dg.SensorEvaluationContext, files: list[Path], period: str = ""
) -> dg.SensorResult | dg.SkipReason:
    if not files:
        return dg.SkipReason("nothing there")
    if any(time.time() - path.stat().st_mtime < SETTLED_S for path in files):
        return dg.SkipReason(f"a file changed within {SETTLED_S} s; it may still be being copied")
    found = signature(files) + period
    if found == context.cursor:
        return dg.SkipReason(f"no change in {len(files)} files")
    return dg.SensorResult([dg.RunRequest(run_key=f"register:{found}")], cursor=found)


def signature(files: Iterable[Path]) -> str:
    """Names, sizes and times of change: cheap, and different as soon as a file is."""
    return text_sha256(*(f"{p} {p.stat().st_size} {p.stat().st_mtime_ns}" for p in files if p.exists()))[:16]


@dg.asset_sensor(dg.AssetKey("source_registry"), job=ingest_shard, minimum_interval_seconds=30, default_status=STOPPED)
def new_sources(context: dg.SensorEvaluationContext, asset_event: dg.EventLogEntry, data: Data) -> dg.SensorResult:
    """After source_registry: a run for each shard whose sources, or the files behind them, are new or changed."""
    from emo_model.data.sources import local_paths, registered

    root = data.root
    rows, shards = registered(root), defaultdict[str, list[str]](list)
    places = local_paths(root, rows)
    for row in rows:
        path = places[row["source_id"]]
        state = signature([path]) if path else ""
        shards[row["shard"]].append(f"{row['source_id']} {state}")
    missing = sorted(set(shards) - set(context.instance.get_dynamic_partitions(SHARDS_NAME)))
    return dg.SensorResult(
        [
            dg.RunRequest(partition_key=shard, run_key=f"{shard}:{text_sha256(*sorted(rows))[:16]}")
            for shard, rows in sorted(shards.items())
        ],
        dynamic_partitions_requests=[SHARDS.build_add_request(missing)] if missing else [],
    )


@dg.sensor(job=evaluate, minimum_interval_seconds=120, default_status=STOPPED)
def method_folder(context: dg.SensorEvaluationContext, data: Data) -> dg.SensorResult | dg.SkipReason:
    """A new or changed folder methods/NAME of CLIP_ID.mp4 files, or with a map clips.csv, is measured beside ours."""
    from emo_model.evaluate import methods
    from emo_pipeline.assets.generation import RESERVED

    if context.instance.get_latest_materialization_event(dg.AssetKey("generated_videos")) is None:
        return dg.SkipReason(
            "no generated_videos yet: launch the job evaluate first, its test clips are what is compared"
        )
    known = json.loads(context.cursor or "{}")
    found = {
        name: [folder / methods.MAP, *methods.videos(folder).values()]
        for name, folder in methods.folders(data.folder, RESERVED).items()
    }
    there = [path for paths in found.values() for path in paths if path.is_file()]
    if any(time.time() - path.stat().st_mtime < SETTLED_S for path in there):
        return dg.SkipReason(f"a file changed within {SETTLED_S} s; it may still be being copied")
    now = {name: signature(sorted(paths)) for name, paths in found.items()}
    changed = sorted(name for name in now if known.get(name) != now[name])
    if not changed:
        return dg.SkipReason(f"no new method among {len(now)}")
    key = text_sha256(*(f"{name} {now[name]}" for name in changed))[:16]
    return dg.SensorResult(
        [dg.RunRequest(run_key=f"methods:{key}", asset_selection=MEASURED_ON_METHODS)], cursor=json.dumps(now)
    )


@dg.run_failure_sensor(default_status=STOPPED)
def failure_ledger(context: dg.RunFailureSensorContext, data: Data) -> None:
    """Every failed run becomes a line in failures.jsonl of the data root."""
    run, steps = context.dagster_run, context.get_step_failure_events()
    row = {
        "run_id": run.run_id,
        "job": run.job_name,
        "partition": run.tags.get("dagster/partition"),
        "steps": [event.step_key for event in steps],
        "error": (context.failure_event.message or "").splitlines()[:1],
        "time": time.time(),
    }
    with (data.folder / "failures.jsonl").open("a", encoding="utf-8") as ledger:
        ledger.write(json.dumps(row) + "\n")


SENSORS = [drop_folder, url_lists, new_sources, method_folder, failure_ledger]
