"""Group labels: where the head points in every frame, and how fast it turns.

Here: the shells and what a person sees of them. The formula of w: emo_model.data.head_motion.
"""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from emo_pipeline import look
from emo_pipeline.assets.shards import shard_assets

if TYPE_CHECKING:
    from emo_model.data.store import DataRoot


def _poses(root: "DataRoot", shard: str) -> Mapping[str, Any]:
    rows = root.read("pose", shard, ["found", "yaw"])
    yaw = rows["yaw"].drop_null().to_pylist()
    seen = {"frames with a face": sum(rows["found"].to_pylist())}
    return seen | ({"yaw": look.histogram(yaw, f"yaw, {shard}", "degrees")} if yaw else {})


def _speeds(root: "DataRoot", shard: str) -> Mapping[str, Any]:
    speeds = root.read("frames", shard, ["speed_deg"])["speed_deg"].drop_null().to_pylist()
    if not speeds:
        return {}
    unit = "degrees a frame at 30 fps"
    return {
        "mean speed (degrees a frame)": round(sum(speeds) / len(speeds), 4),
        "speed": look.histogram(speeds, f"head speed, {shard}", unit),
    }


head_pose = shard_assets("head_pose", "labels", {"numpy", "parquet"}, look_at=_poses)
head_speed = shard_assets("head_speed", "labels", {"scipy", "parquet"}, look_at=_speeds)
