"""Groups clips and labels: the cropped video of each clip, and in the end one row that says all about it.

Here: the shells and what a person sees of them. What they do: emo_model.data.clips, clip_rows.
"""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from emo_pipeline import look
from emo_pipeline.assets.shards import shard_assets

if TYPE_CHECKING:
    from emo_model.data.store import DataRoot


def _crops(root: "DataRoot", shard: str) -> Mapping[str, Any]:
    paths = root.read("crops", shard, ["path"])["path"].to_pylist()
    return look.middle_frames([root.path / path for path in paths], f"middle frames of the first clips of {shard}")


def _clips(root: "DataRoot", shard: str) -> Mapping[str, Any]:
    rows = root.read("clip_rows", shard, ["num_frames", "has_audio"])
    hours = sum(rows["num_frames"].to_pylist()) / 30 / 3600
    return {"hours": round(hours, 4), "clips with sound": sum(rows["has_audio"].to_pylist())}


face_clips = shard_assets("face_clips", "clips", {"ffmpeg", "parquet"}, look_at=_crops)
clip_rows = shard_assets("clip_rows", "labels", {"parquet"}, look_at=_clips)
