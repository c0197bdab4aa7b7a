"""Steps head_pose and head_speed: the frames of every clip, from the one landmark pass.

Both hang off face_tracks alone (landmarks and proposals): a new version of the crops leaves them fresh. head_speed
takes the pose rows and adds speeds, which it measures on the landmarks' own timestamps, not on the 30 fps poses.
"""

from collections.abc import Iterator
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from emo_model.data.config import DataConfig
from emo_model.data.head_motion import FPS, Poses, Track, clip_times, poses_at, speeds_at
from emo_model.data.jump_cuts import jumps
from emo_model.data.media import SAME_S
from emo_model.data.records import POSE
from emo_model.data.rows_of import array_of, clips_of, items_by_video, rows_of, vectors
from emo_model.data.shards import Item, Result, Step
from emo_model.data.store import DataRoot

AROUND_S, AROUND = 1.0, 16  # seconds and at least frames on either side of a clip: all that smoothing and slerp look at

_COPIED = [name for name in POSE.schema.names if name not in ("shard", "input_sha256", "step_version")]
Clip = dict[str, Any]


def _pose_items(root: DataRoot, shard: str) -> list[Item]:
    return items_by_video(root, shard, ("proposals", "landmarks"), DataConfig.of(root).digest("crop_size"))


def _pose_work(root: DataRoot, shard: str, item: Item) -> Result:
    crop_size = DataConfig.of(root).crop_size
    rows = []
    for clip, seen in _clips_seen(root, shard, item.key):
        poses = poses_at(_track(seen), clip_times(clip["start_s"], clip["num_frames"]))
        rows.append(_pose_rows(clip, seen, poses, crop_size))
    return Result({"pose": pa.concat_tables(rows)})


def _clips_seen(root: DataRoot, shard: str, video: str) -> Iterator[tuple[Clip, pa.Table]]:
    """Every clip, by its name, with the landmarks around it: those of its shot, up to the jump cuts on either side.
    What lies beyond one says nothing of the clip's head."""
    landmarks = rows_of(root, "landmarks", shard, "video_id", [video])
    times, shots = landmarks["t_s"].to_numpy(), landmarks["shot"].to_numpy()
    edges = jumps(array_of(landmarks["box"], 4), array_of(landmarks["matrix"], 16).reshape(-1, 4, 4)[:, :3, :3])
    edges[1:] |= np.diff(shots) != 0
    breaks = [0, *np.flatnonzero(edges[1:]) + 1, len(times)]
    for clip in sorted(clips_of(root, shard, video), key=lambda clip: clip["clip_id"]):
        start_s, end_s = clip["start_s"], clip["start_s"] + clip["num_frames"] / FPS
        first, last = np.searchsorted(times, [start_s + SAME_S, end_s]) - 1
        near = np.searchsorted(times, [start_s - AROUND_S, end_s + AROUND_S])
        after = int(np.searchsorted(breaks, first, side="right"))
        begin = max(breaks[after - 1], min(near[0], first - AROUND))
        end = min(breaks[after], max(near[1], last + AROUND))
        yield clip, landmarks.slice(begin, end - begin)


def _track(seen: pa.Table) -> Track:
    found = pc.is_valid(seen["matrix"]).to_numpy()
    matrices = array_of(seen["matrix"], 16)[found].reshape(-1, 4, 4)
    return Track.from_matrices(seen["t_s"].to_numpy(), found, matrices)


def _pose_rows(clip: Clip, seen: pa.Table, poses: Poses, crop_size: int) -> pa.Table:
    """Pose by slerp at the frame's own time; box, mouth and blendshapes of the source frame on screen."""
    shown = seen.select(["box", "mouth_open", "blendshapes"]).take(pa.array(poses.shown))
    boxes, known = in_crop(array_of(shown["box"], 4), clip, crop_size), ~np.isnan(poses.quaternions[:, 0])
    frame = np.arange(clip["num_frames"], dtype=np.int32)
    angles = {name: pa.array(poses.euler[:, k], mask=~known) for k, name in enumerate(("pitch", "yaw", "roll"))}
    columns = {
        "clip_id": pa.repeat(clip["clip_id"], len(frame)),
        "frame": frame,
        "t_s": frame / FPS,
        "found": poses.found,
        "box": vectors(boxes, ~np.isnan(boxes[:, 0])),
        "quaternion": vectors(poses.quaternions, known),
        "translation": vectors(poses.translations, known),
        **angles,
        "mouth_open": shown["mouth_open"],
        "blendshapes": shown["blendshapes"],
    }
    return pa.table({name: columns[name] for name in _COPIED})


def in_crop(boxes: NDArray[np.float64], clip: Clip, crop_size: int) -> NDArray[np.float64]:
    """(N, 4) boxes x0 y0 x1 y1 from source pixels to pixels of the clip's stored square."""
    return (boxes - [clip["crop_x"], clip["crop_y"]] * 2) * (crop_size / clip["crop_size"])


def _speed_items(root: DataRoot, shard: str) -> list[Item]:
    return items_by_video(root, shard, ("proposals", "landmarks", "pose"))


def _speed_work(root: DataRoot, shard: str, item: Item) -> Result:
    names, raw, smoothed = [], [], []
    for clip, seen in _clips_seen(root, shard, item.key):
        track, at = _track(seen), clip_times(clip["start_s"], clip["num_frames"])
        names.append(clip["clip_id"])
        raw.append(speeds_at(track, at, smoothed=False))
        smoothed.append(speeds_at(track, at, smoothed=True))
    rows = rows_of(root, "pose", shard, "clip_id", names).select(_COPIED)  # in the clips' order: parts are sorted
    rows = rows.append_column("speed_raw_deg", pa.array(np.concatenate(raw), from_pandas=True))
    return Result({"frames": rows.append_column("speed_deg", pa.array(np.concatenate(smoothed), from_pandas=True))})


HEAD_POSE = Step(
    name="head_pose",
    version=3,
    tables=("pose",),
    after=("shots_and_faces",),
    description="6-DoF head pose of every frame: quaternion w x y z, cm, degrees; face box in crop pixels.",
    items=_pose_items,
    work=_pose_work,
)
HEAD_SPEED = Step(
    name="head_speed",
    version=3,
    tables=("frames",),
    after=("head_pose",),
    description="Head rotation speed w of every frame, unsmoothed and sigma 1, in degrees a frame at 30 fps.",
    items=_speed_items,
    work=_speed_work,
)
