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
    from emo_model.data.sheets import write_sheets

    rows = root.read("clip_rows", shard, ["num_frames", "has_audio", "mean_speed"])
    seconds = [count / 30 for count in rows["num_frames"].to_pylist()]
    speeds = rows["mean_speed"].drop_null().to_pylist()
    sheets = write_sheets(root, shard)
    return {
        "hours": round(sum(seconds) / 3600, 4),
        "clips with sound": sum(rows["has_audio"].to_pylist()),
        **look.sheet("clips", sheets.clips, f"clips of {shard}: face box, pose axes, head speed"),
        **look.sheet("left out", sheets.rejects, f"what {shard} left out, examples by reason"),
        **({"lengths": look.histogram(seconds, f"clips of {shard}", "seconds")} if seconds else {}),
        **({"speeds": look.histogram(speeds, f"clips of {shard}, mean speed", "degrees a frame")} if speeds else {}),
    }


face_clips = shard_assets("face_clips", "clips", {"ffmpeg", "parquet"}, look_at=_crops)
clip_rows = shard_assets("clip_rows", "labels", {"parquet"}, look_at=_clips)
