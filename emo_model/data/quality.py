"""Step quality_scores: what the picture is like around the face (the known artefacts of supplement B).

One decode of the crop for all of them. Camera motion is the flow of the background: corners outside the face's
surroundings, tracked over STRIDE frames (one frame on is often the same picture again, after 25 -> 30 fps). Scores are
stored for every clip; what is too much is a manifest's decision. Without its model a score is null.
"""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from emo_model import weights
from emo_model.data import burnt_in_text, hands
from emo_model.data.burnt_in_text import line_cores, text_area
from emo_model.data.hands import Hands
from emo_model.data.media import Picture, decode
from emo_model.data.rows_of import by_clip, clips_of, items_by_video
from emo_model.data.shards import Item, Result, Step
from emo_model.data.store import DataRoot

STRIDE = 5  # frames between the two pictures of a pair
PAIRS = 24  # pairs looked at, spread over the clip
MIN_CORNERS = 8  # background corners a pair needs to count
GREY_SIZE = 256  # pixels a side at which corners are tracked
TEXT_LOOKS = 5  # pictures in which text is looked for, spread over the clip; most of them decide
HANDS_EVERY = 10  # frames between two looks for hands

MODELS = {"hands_fraction": hands.MODEL, "text_area": burnt_in_text.MODEL}  # score -> the weights it needs
Image = NDArray[np.uint8]
Row = dict[str, Any]


def _items(root: DataRoot, shard: str) -> list[Item]:
    models = (weights.REGISTRY[name].sha256 if weights.have(name) else "" for name in MODELS.values())
    return items_by_video(root, shard, ("crops",), *models)  # weights that arrive cause a re-run


def _work(root: DataRoot, shard: str, item: Item) -> Result:
    missing = sorted(score for score, model in MODELS.items() if not weights.have(model))
    rows = []
    with ExitStack() as stack:
        look_for_hands = None if "hands_fraction" in missing else stack.enter_context(Hands())
        for crop in by_clip(root, "crops", shard, clips_of(root, shard, item.key)).values():
            pictures = sampled(root.path / crop["path"], crop["num_frames"])
            scores = picture_scores(
                pictures, crop["num_frames"], crop["union_box"], look_for_hands, text="text_area" not in missing
            )
            rows.append({"clip_id": crop["clip_id"], **scores, "no_model": missing})
    return Result({"quality": rows})


def sampled(path: Path, num_frames: int) -> Iterator[tuple[int, Picture]]:
    """(number, picture) of the frames that any score looks at, one at a time."""
    wanted = {*flow_frames(num_frames).ravel().tolist(), *text_frames(num_frames), *hand_frames(num_frames)}
    return ((number, frame.rgb()) for number, frame in enumerate(decode(path)) if number in wanted)


def flow_frames(num_frames: int) -> NDArray[np.int64]:
    """(pairs, 2) up to PAIRS pairs of frames, STRIDE apart, in the clip's order."""
    first = np.unique(np.linspace(0, max(num_frames - 1 - STRIDE, 0), PAIRS).astype(int))
    return np.stack([first, np.minimum(first + STRIDE, num_frames - 1)], axis=1)


def text_frames(num_frames: int) -> list[int]:
    """Frames in which text is looked for; fewer than TEXT_LOOKS only of a shorter clip."""
    return np.unique(np.linspace(0, num_frames - 1, TEXT_LOOKS).astype(int)).tolist()


def hand_frames(num_frames: int) -> range:
    """Frames in which hands are looked for: three a second."""
    return range(0, num_frames, HANDS_EVERY)


def picture_scores(
    pictures: Iterable[tuple[int, Picture]],
    num_frames: int,
    face: Sequence[float],
    look_for_hands: Hands | None,
    *,
    text: bool,
) -> Row:
    """The scores of one clip, in one pass over its `sampled` pictures (H, H, 3) with the face box in their pixels.

    Without the open hand landmarker hands_fraction is None, without `text` text_area is.
    """
    grey, cores, near = {}, [], []
    flow_at, text_at, hands_at = flow_frames(num_frames), text_frames(num_frames), hand_frames(num_frames)
    scale = 1.0
    for number, picture in pictures:
        scale = GREY_SIZE / len(picture)
        if number in flow_at:
            grey[number] = _grey(picture)
        if text and number in text_at:
            cores.append(line_cores(picture))
        if look_for_hands and number in hands_at:
            near.append(look_for_hands.near(picture, face))
    pairs = [(grey[a], grey[b]) for a, b in flow_at.tolist()]
    motion = camera_motion(pairs, [edge * scale for edge in face])
    return {
        "camera_motion": None if motion is None else motion / scale,
        "brightness": float(np.mean([first.mean() for first, _ in pairs])),
        "text_area": text_area(cores) if text else None,
        "hands_fraction": float(np.mean(near)) if look_for_hands else None,
    }


def _grey(picture: Picture) -> Image:
    import cv2

    return cv2.resize(cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY), (GREY_SIZE, GREY_SIZE), interpolation=cv2.INTER_AREA)


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
    version=3,
    tables=("quality",),
    after=("face_clips",),
    description="Camera motion (crop pixels a frame), brightness (0 to 255), burnt-in text and hands of every clip.",
    items=_items,
    work=_work,
)
