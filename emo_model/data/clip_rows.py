"""Step clip_rows: everything known about a clip in one row, joined from the tables of the steps before.

Identity and split are not here: they depend on all shards, and join in the catalog's `clips`.
"""

from typing import Any

import numpy as np
import pyarrow as pa

from emo_model.data.records import CLIP_ROWS
from emo_model.data.rows_of import by_clip, clips_of, items_by_video, rows_of
from emo_model.data.shards import Item, Result, Step
from emo_model.data.store import DataRoot, rows_sha256

BIN_DEG, BINS = 0.1, 64  # of speed_histogram

_SOURCES = ("crops", "frames", "clip_audio", "audio", "sync", "sound", "quality", "videos")
_OWN = tuple(name for name in CLIP_ROWS.schema.names if name not in ("shard", "input_sha256", "step_version"))


def _items(root: DataRoot, shard: str) -> list[Item]:
    return items_by_video(root, shard, _SOURCES)


def _work(root: DataRoot, shard: str, item: Item) -> Result:
    clips = clips_of(root, shard, item.key)
    tables = {name: by_clip(root, name, shard, clips) for name in ("crops", "clip_audio", "sync", "sound", "quality")}
    sources = rows_of(root, "videos", shard, "video_id", [item.key]).to_pylist()
    hint = next((row["identity_hint"] for row in sources if row["status"] == "ok"), None)
    rows = []
    for clip in clips:
        parts = {name: table.get(clip["clip_id"]) or {} for name, table in tables.items()}
        if not parts["crops"]:
            continue  # face_clips rejected it, and says why
        frames = rows_of(root, "frames", shard, "clip_id", [clip["clip_id"]])
        joined = {
            **dict.fromkeys(_OWN),
            **parts["quality"],
            **parts["sync"],
            **parts["sound"],
            "rms_db": parts["clip_audio"].get("rms_db"),
            **parts["crops"],
            **clip,
            **speed_summary(frames),
            "crop_sha256": parts["crops"]["sha256"],
            "labels_sha256": rows_sha256(frames.select(["frame", "box", "speed_deg"])),
            "has_audio": bool(parts["clip_audio"]) and not parts["clip_audio"]["is_silent"],
            "identity_hint": hint,
            "no_model": sorted(name for part in parts.values() for name in part.get("no_model") or ()),
        }
        rows.append({name: joined[name] for name in _OWN})
    return Result({"clip_rows": rows})


def speed_summary(frames: pa.Table) -> dict[str, Any]:
    """Mean, quantiles and histogram of one clip's speeds, degrees a frame at 30 fps; null where all are unknown."""
    raw, smoothed = (_known(frames[name]) for name in ("speed_raw_deg", "speed_deg"))
    bins = np.minimum((smoothed / BIN_DEG).astype(int), BINS - 1)
    p10, p50, p90 = map(float, np.quantile(smoothed, (0.1, 0.5, 0.9))) if len(smoothed) else (None,) * 3
    return {
        "mean_speed": float(raw.mean()) if len(raw) else None,
        "speed_p10": p10,
        "speed_p50": p50,
        "speed_p90": p90,
        "speed_histogram": np.bincount(bins, minlength=BINS).tolist(),
    }


def _known(column: pa.ChunkedArray) -> np.ndarray:
    return column.drop_null().to_numpy().astype(np.float64)


CLIP_ROWS_STEP = Step(
    name="clip_rows",
    version=4,
    tables=("clip_rows",),
    after=("face_clips", "head_speed", "clip_audio", "audio_features", "sync_scores", "sound_scores", "quality_scores"),
    description="One row a clip: times in seconds, crop in source pixels, scores, speeds in degrees a frame at 30 fps.",
    items=_items,
    work=_work,
)
