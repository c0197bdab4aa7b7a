"""Step face_embeddings: whose face a clip shows, as 128 numbers that lie close for one person.

Of each sixth of the clip the most frontal frame is a candidate; of these the sharpest are looked at, and their mean
stands for the clip. dlib's ResNet (CC0), aligned by dlib's 5-point predictor inside the known face box: no second
search for faces. Without the weights the row stays, with nulls.
"""

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from emo_model import weights
from emo_model.data import frames
from emo_model.data.clips import blur
from emo_model.data.rows_of import by_clip, clips_of, items_by_video, rows_of
from emo_model.data.shards import Item, Result, Step
from emo_model.data.store import DataRoot
from emo_model.data.workers import for_a_step
from emo_model.evaluate.identity import FaceNetwork

NETWORK = "dlib_face"
NEEDED = (NETWORK, "shape_predictor")
CANDIDATES, LOOKS = 6, 4  # frames decoded, and embedded
MAX_TURN_DEG = 45.0  # beyond it the far eye is not seen
MIN_FACE_PX = 48.0  # height of the face box in the crop

Array = NDArray[np.float64]


def _items(root: DataRoot, shard: str) -> list[Item]:
    return items_by_video(root, shard, ("crops", "frames"), *_digests())


def _digests() -> tuple[str, ...]:
    """What the weights hash to; empty without them. Part of the inputs: weights that arrive cause a re-run."""
    have = all(weights.have(name) for name in NEEDED)
    return tuple(str(weights.lookup(name).sha256) for name in NEEDED) if have else ()


def _work(root: DataRoot, shard: str, item: Item) -> Result:
    clips = clips_of(root, shard, item.key)
    return Result({"face_embeddings": [_row(root, shard, c) for c in by_clip(root, "crops", shard, clips).values()]})


def _row(root: DataRoot, shard: str, crop: dict[str, Any]) -> dict[str, Any]:
    row = {"clip_id": crop["clip_id"], "video_id": crop["video_id"], "embedding": None, "spread": None}
    digests = _digests()
    if not digests:
        return {**row, "looks": 0, "network": None, "network_sha256": None, "no_model": ["embedding"]}
    poses = rows_of(root, "frames", shard, "clip_id", [crop["clip_id"]]).sort_by("frame").to_pylist()
    seen = looks(root.path / crop["path"], crop["size"], candidates(poses))
    if len(seen):
        mean = seen.mean(axis=0)
        row["embedding"] = mean.astype(np.float32)
        row["spread"] = float(np.linalg.norm(seen - mean, axis=1).mean())
    return {**row, "looks": len(seen), "network": NETWORK, "network_sha256": digests[0], "no_model": []}


def candidates(poses: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Of a clip's rows of `frames`, the most frontal usable one of each of CANDIDATES equal stretches."""
    stretches = np.array_split(np.arange(len(poses)), CANDIDATES)
    usable = [[poses[k] for k in stretch if _turn(poses[k]) <= MAX_TURN_DEG] for stretch in stretches]
    return [min(stretch, key=_turn) for stretch in usable if stretch]


def _turn(pose: dict[str, Any]) -> float:
    """Degrees away from the camera; infinite where the face is unknown or too small."""
    box = pose["box"]
    if box is None or pose["yaw"] is None or box[3] - box[1] < MIN_FACE_PX:
        return float("inf")
    return float(np.hypot(pose["yaw"], pose["pitch"]))


def looks(path: Path, size: int, poses: list[dict[str, Any]]) -> Array:
    """(N, 128) descriptions of the N <= LOOKS sharpest of the frames, in the clip's order."""
    found = [(frames.decode(path, np.array([pose["frame"]]), size)[0], np.array(pose["box"], float)) for pose in poses]
    sharpness = np.array([blur(picture, box) for picture, box in found])
    kept = np.sort(np.argsort(-sharpness, kind="stable")[:LOOKS])
    described = [_network().describe(found[k][0], square(found[k][1])) for k in kept]
    return np.stack(described) if described else np.empty((0, 128))


def square(box: Array) -> Array:
    """The landmarks' extent (4,) as the square in which dlib's detector would have put the face."""
    x0, y0, x1, y1 = box
    side = 0.95 * max(x1 - x0, y1 - y0)
    x, y = (x0 + x1) / 2, y1 - side / 2
    return np.array([x - side / 2, y - side / 2, x + side / 2, y + side / 2])


@for_a_step
def _network() -> FaceNetwork:
    return FaceNetwork(weights.path(NETWORK))


FACE_EMBEDDINGS = Step(
    name="face_embeddings",
    version=1,
    tables=("face_embeddings",),
    after=("face_clips", "head_speed"),
    description="128 numbers a clip that lie close for one person's face; null without dlib's weights.",
    items=_items,
    work=_work,
)
