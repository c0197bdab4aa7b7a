"""Step quality_scores: what the picture is like around the face (the known artefacts of supplement B).

Camera motion is the flow of the background: corners outside the face's surroundings, tracked over STRIDE frames (one
frame on is often the same picture again, after 25 -> 30 fps). Scores are stored for every clip; what is too much is
a manifest's decision. Burnt-in text and hands have no model here yet and stay null.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from emo_model.data.rows_of import by_clip, clips_of, items_by_video
from emo_model.data.shards import Item, Result, Step
from emo_model.data.store import DataRoot

STRIDE = 5  # frames between the two pictures of a pair
PAIRS = 24  # pairs looked at, spread over the clip
MIN_CORNERS = 8  # background corners a pair needs to count
GREY_SIZE = 256  # pixels a side at which corners are tracked

Image = NDArray[np.uint8]


def _items(root: DataRoot, shard: str) -> list[Item]:
    return items_by_video(root, shard, ("crops",))


def _work(root: DataRoot, shard: str, item: Item) -> Result:
    rows = []
    for crop in by_clip(root, "crops", shard, clips_of(root, shard, item.key)).values():
        pairs = grey_pairs(root.path / crop["path"], crop["num_frames"])
        scale = GREY_SIZE / crop["size"]
        motion = camera_motion(pairs, [edge * scale for edge in crop["union_box"]])
        rows.append(
            {
                "clip_id": crop["clip_id"],
                "camera_motion": None if motion is None else motion / scale,
                "brightness": float(np.mean([first.mean() for first, _ in pairs])),
                "text_area": None,
                "hands_fraction": None,
                "no_model": ["hands_fraction", "text_area"],
            }
        )
    return Result({"quality": rows})


def grey_pairs(path: Path, num_frames: int) -> list[tuple[Image, Image]]:
    """Up to PAIRS pairs of grey pictures GREY_SIZE a side, STRIDE frames apart, in the clip's order."""
    import av

    last = max(num_frames - 1 - STRIDE, 0)
    first = np.unique(np.linspace(0, last, PAIRS).astype(int))
    wanted = {int(number) for number in (*first, *np.minimum(first + STRIDE, num_frames - 1))}
    pictures = {}
    with av.open(str(path)) as container:
        for number, frame in enumerate(container.decode(video=0)):
            if number in wanted:
                pictures[number] = frame.reformat(GREY_SIZE, GREY_SIZE, "gray").to_ndarray()
    return [(pictures[a], pictures[min(a + STRIDE, num_frames - 1)]) for a in map(int, first)]


def camera_motion(pairs: Sequence[tuple[Image, Image]], face: Sequence[float]) -> float | None:
    """Mean background flow in pixels a frame; None where no pair shows enough background.

    A pair's flow is the median over its corners, so that a few that move by themselves do not count.
    """
    mask = background(pairs[0][0].shape, face)
    flows = [flow for flow in (_flow(before, after, mask) for before, after in pairs) if flow is not None]
    return float(np.mean(flows)) if flows else None


def background(shape: tuple[int, int], face: Sequence[float]) -> Image:
    """255 where neither head nor body is expected: beside and above the face box, widened by a third of itself."""
    x0, y0, x1, y1 = face
    margin_x, margin_y = (x1 - x0) / 3, (y1 - y0) / 3
    left, right = max(int(x0 - margin_x), 0), max(int(x1 + margin_x), 0)
    mask = np.zeros(shape, np.uint8)
    mask[: max(int(y1), 0)] = 255
    mask[max(int(y0 - margin_y), 0) :, left:right] = 0
    return mask


def _flow(before: Image, after: Image, mask: Image) -> float | None:
    import cv2

    cv2.setNumThreads(1)
    corners = cv2.goodFeaturesToTrack(before, maxCorners=100, qualityLevel=0.02, minDistance=6, mask=mask)
    if corners is None or len(corners) < MIN_CORNERS:
        return None
    moved, found, _ = cv2.calcOpticalFlowPyrLK(before, after, corners, None, winSize=(15, 15))
    kept = found.ravel() == 1
    if kept.sum() < MIN_CORNERS:
        return None
    return float(np.linalg.norm(np.median((moved - corners).reshape(-1, 2)[kept], axis=0))) / STRIDE


QUALITY_SCORES = Step(
    name="quality_scores",
    version=2,
    tables=("quality",),
    after=("face_clips",),
    description="Camera motion (crop pixels a frame) and brightness (0 to 255) of every clip.",
    items=_items,
    work=_work,
)
