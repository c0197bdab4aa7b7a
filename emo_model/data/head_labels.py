"""Steps head_pose and head_speed: the frames of every clip, from the one landmark pass.

Both hang off face_tracks alone (landmarks and proposals): a new version of the crops leaves them fresh. head_speed
takes the pose rows and adds speeds, which it measures on the landmarks' own timestamps, not on the 30 fps poses.
"""

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
from emo_model.data.rows_of import clips_of, items_by_video, rows_of
from emo_model.data.shards import Item, Result, Step
from emo_model.data.store import DataRoot

_COPIED = tuple(name for name in POSE.schema.names if name not in ("shard", "input_sha256", "step_version"))


def _pose_items(root: DataRoot, shard: str) -> list[Item]:
    return items_by_video(root, shard, ("proposals", "landmarks"), DataConfig.of(root).digest("crop_size"))


def _pose_work(root: DataRoot, shard: str, item: Item) -> Result:
    landmarks = rows_of(root, "landmarks", shard, "video_id", [item.key])
    crop_size = DataConfig.of(root).crop_size
    rows: list[dict[str, Any]] = []
    for clip in clips_of(root, shard, item.key):
        seen = _take(landmarks, clip)
        poses = poses_at(_track(seen), clip_times(clip["start_s"], clip["num_frames"]))
        rows += _pose_rows(clip, seen, poses, crop_size)
    return Result({"pose": rows})


def _take(landmarks: pa.Table, clip: dict[str, Any]) -> pa.Table:
    """The clip's shot, up to the jump cuts on either side: what lies beyond one says nothing of the clip's head."""
    shot = landmarks.filter(pc.equal(landmarks["shot"], clip["shot"]))
    boxes, matrices = _filled(shot["box"], 4), _filled(shot["matrix"], 16).reshape(-1, 4, 4)
    edges = shot["t_s"].to_numpy()[jumps(boxes, matrices[:, :3, :3])]
    after = int(np.searchsorted(edges, clip["start_s"] + SAME_S))
    begin, end = [-np.inf, *edges, np.inf][after : after + 2]
    return shot.filter(pc.and_(pc.greater_equal(shot["t_s"], begin), pc.less(shot["t_s"], end)))


def _track(seen: pa.Table) -> Track:
    found = pc.is_valid(seen["matrix"]).to_numpy()
    matrices = _filled(seen["matrix"], 16)[found].reshape(-1, 4, 4)
    return Track.from_matrices(seen["t_s"].to_numpy().astype(np.float64), found, matrices)


def _filled(vectors: pa.ChunkedArray, width: int) -> NDArray[np.float64]:
    """(N, width), NaN where null."""
    nothing = [np.nan] * width
    return np.array([vector or nothing for vector in vectors.to_pylist()], np.float64).reshape(-1, width)


def _pose_rows(clip: dict[str, Any], seen: pa.Table, poses: Poses, crop_size: int) -> list[dict[str, Any]]:
    """Pose by slerp at the frame's own time; box, mouth and blendshapes of the source frame on screen."""
    shown = seen.select(["box", "mouth_open", "blendshapes"]).take(pa.array(poses.shown)).to_pylist()
    return [
        {
            "clip_id": clip["clip_id"],
            "frame": frame,
            "t_s": frame / FPS,
            "found": bool(poses.found[frame]),
            "box": box_in_crop(face["box"], clip, crop_size),
            "quaternion": _known(poses.quaternions[frame]),
            "translation": _known(poses.translations[frame]),
            **dict(zip(("pitch", "yaw", "roll"), _known(euler) or (None,) * 3, strict=True)),
            "mouth_open": face["mouth_open"],
            "blendshapes": face["blendshapes"],
        }
        for frame, (face, euler) in enumerate(zip(shown, poses.euler, strict=True))
    ]


def box_in_crop(box: list[float] | None, clip: dict[str, Any], crop_size: int) -> list[float] | None:
    """x0 y0 x1 y1 from source pixels to pixels of the clip's stored square."""
    if box is None:
        return None
    scale = crop_size / clip["crop_size"]
    left, top = clip["crop_x"], clip["crop_y"]
    return [(edge - corner) * scale for edge, corner in zip(box, (left, top, left, top), strict=True)]


def _known(values: NDArray[np.float64]) -> list[float] | None:
    return None if np.isnan(values).any() else values.tolist()


def _speed_items(root: DataRoot, shard: str) -> list[Item]:
    return items_by_video(root, shard, ("proposals", "landmarks", "pose"))


def _speed_work(root: DataRoot, shard: str, item: Item) -> Result:
    landmarks = rows_of(root, "landmarks", shard, "video_id", [item.key])
    rows: list[dict[str, Any]] = []
    for clip in clips_of(root, shard, item.key):
        track = _track(_take(landmarks, clip))
        at = clip_times(clip["start_s"], clip["num_frames"])
        speeds = zip(speeds_at(track, at, smoothed=False), speeds_at(track, at, smoothed=True), strict=True)
        poses = rows_of(root, "pose", shard, "clip_id", [clip["clip_id"]]).select(_COPIED).to_pylist()
        rows += [
            {**pose, "speed_raw_deg": _number(raw), "speed_deg": _number(smoothed)}
            for pose, (raw, smoothed) in zip(poses, speeds, strict=True)
        ]
    return Result({"frames": rows})


def _number(value: float) -> float | None:
    return None if np.isnan(value) else float(value)


HEAD_POSE = Step(
    name="head_pose",
    version=2,
    tables=("pose",),
    after=("shots_and_faces",),
    description="6-DoF head pose of every frame: quaternion w x y z, cm, degrees; face box in crop pixels.",
    items=_pose_items,
    work=_pose_work,
)
HEAD_SPEED = Step(
    name="head_speed",
    version=2,
    tables=("frames",),
    after=("head_pose",),
    description="Head rotation speed w of every frame, unsmoothed and sigma 1, in degrees a frame at 30 fps.",
    items=_speed_items,
    work=_speed_work,
)
