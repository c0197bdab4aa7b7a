"""Which rows belong to one video: how the label steps list their work and read what they need.

A label step depends on the rows that other steps wrote for the same video. Their `input_sha256` says everything those
rows were made from, version included, so the hashes of a video's rows are the inputs of the next step on it.
"""

from collections import defaultdict
from collections.abc import Iterable
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from emo_model.data.records import TABLES
from emo_model.data.shards import Item
from emo_model.data.store import DataRoot, text_sha256


def items_by_video(root: DataRoot, shard: str, tables: Iterable[str], *more: object) -> list[Item]:
    """One item for each video that offers clips. `more` is whatever else the rows depend on, as a model's hash."""
    clips = root.read("proposals", shard, ["clip_id", "video_id"])
    video_of = dict(zip(clips["clip_id"].to_pylist(), clips["video_id"].to_pylist(), strict=True))
    stamps: dict[str, set[str]] = defaultdict(set)
    for table in tables:
        key = "video_id" if "video_id" in TABLES[table].schema.names else "clip_id"
        rows = root.read(table, shard, [key, "input_sha256"]).group_by([key, "input_sha256"]).aggregate([])
        for name, stamp in zip(rows[key].to_pylist(), rows["input_sha256"].to_pylist(), strict=True):
            stamps[video_of.get(name, name)].add(f"{table} {stamp}")
    videos = sorted(set(video_of.values()))
    return [Item(video, text_sha256(*sorted(stamps[video]), *more)) for video in videos]


def rows_of(root: DataRoot, table: str, shard: str, key: str, values: Iterable[str]) -> pa.Table:
    """Rows of one part file whose `key` is among the values. Parts are sorted, so most of the file is not read."""
    path, wanted = root.part(table, shard), list(values)
    schema = TABLES[table].schema
    if not path.exists() or not wanted:
        return schema.empty_table()
    return pq.read_table(path, filters=[(key, "in", wanted)], partitioning=None).select(schema.names)


def clips_of(root: DataRoot, shard: str, video_id: str) -> list[dict[str, Any]]:
    """The clips one video offers, as rows of `proposals`."""
    return rows_of(root, "proposals", shard, "video_id", [video_id]).to_pylist()


def by_clip(root: DataRoot, table: str, shard: str, clips: Iterable[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """clip_id -> the clip's row of a table that has at most one for each."""
    rows = rows_of(root, table, shard, "clip_id", [clip["clip_id"] for clip in clips])
    return {row["clip_id"]: row for row in rows.to_pylist()}


def vectors(values: NDArray[Any], known: NDArray[np.bool_]) -> pa.ListArray:
    """A column of vectors from (N, width), null where not known (N,)."""
    width = values.shape[1]
    offsets = np.concatenate([[0], np.cumsum(known * width)]).astype(np.int32)
    return pa.ListArray.from_arrays(offsets, pa.array(values[known].ravel()), mask=pa.array(~known))


def array_of(column: pa.ChunkedArray, width: int) -> NDArray[np.float64]:
    """(N, width) of a column of vectors, NaN where it is null."""
    known = column.is_valid().to_numpy()
    values = np.full((len(column), width), np.nan)
    values[known] = pc.list_flatten(column).to_numpy().reshape(-1, width)
    return values
