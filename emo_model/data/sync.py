"""Step sync_scores: how far sound and picture of a clip are apart, and how well they belong together (LSE-C).

SyncNet's own pipeline (`emo_model.evaluate.sync`) on the face boxes of the frames table: no second look for faces.
Without SyncNet's weights every clip still has its row, with nulls: a score that is missing is not a bad score.
"""

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from emo_model import weights
from emo_model.data.audio import read_wav
from emo_model.data.rows_of import by_clip, clips_of, items_by_video, rows_of
from emo_model.data.shards import Item, Result, Step
from emo_model.data.store import DataRoot, file_sha256

SCORED = ("av_offset_frames", "sync_confidence")
UNKNOWN = {"av_offset_frames": None, "sync_confidence": None, "method": None}


def _model() -> str:
    """sha256 of the scorer's weights; empty without them. Part of the inputs: weights that arrive cause a re-run."""
    return file_sha256(weights.path("syncnet")) if weights.have("syncnet") else ""


def _items(root: DataRoot, shard: str) -> list[Item]:
    return items_by_video(root, shard, ("crops", "frames", "clip_audio"), _model())


def _work(root: DataRoot, shard: str, item: Item) -> Result:
    clips = clips_of(root, shard, item.key)
    crops, sounds = by_clip(root, "crops", shard, clips), by_clip(root, "clip_audio", shard, clips)
    rows = []
    for clip_id, crop in crops.items():
        sound = sounds.get(clip_id)
        if weights.have("syncnet") and sound and not sound["is_silent"]:
            score = _score(root, shard, crop, root.path / sound["path"])
        else:
            score = UNKNOWN
        rows.append({"clip_id": clip_id, **score, "no_model": [] if weights.have("syncnet") else list(SCORED)})
    return Result({"sync": rows})


def _score(root: DataRoot, shard: str, crop: dict[str, Any], sound: Path) -> dict[str, Any]:
    from emo_model.evaluate.sync import FPS
    from emo_model.evaluate.video import read_frames, resample_indices

    boxes = rows_of(root, "frames", shard, "clip_id", [crop["clip_id"]])["box"].to_pylist()
    if any(box is None for box in boxes):
        return UNKNOWN  # SyncNet wants a face in every frame
    at_25 = resample_indices(len(boxes), 30, FPS)
    frames = read_frames(root.path / crop["path"], fps=FPS, size=crop["size"], seconds=len(boxes) / 30)
    count = min(len(frames), len(at_25))
    samples = (read_wav(sound) * 32768).astype(np.int16)
    confidence, offset = lse_c_and_offset(frames[:count], np.array(boxes)[at_25][:count], samples)
    return {"av_offset_frames": offset, "sync_confidence": confidence, "method": "syncnet_v2"}


def lse_c_and_offset(
    frames: NDArray[np.uint8], boxes: NDArray[np.float64], sound: NDArray[np.int16]
) -> tuple[float | None, float | None]:
    """LSE-C and the offset (frames at 25 fps by which the sound leads) of frames (T, H, W, 3) RGB at 25 fps."""
    import torch

    from emo_model.evaluate import sync
    from emo_model.evaluate.syncnet import load_syncnet

    starts = sync.window_count(len(frames), len(sound))
    if starts < 1:
        return None, None
    network = load_syncnet(weights.path("syncnet"))
    faces = torch.from_numpy(sync.face_crops(frames, boxes)[..., ::-1].copy()).movedim(-1, 0)[None].float()
    with torch.inference_mode():
        lips = network.lips(faces)[:starts]
        voice = network.voice(torch.from_numpy(sync.mfcc_windows(sync.mfcc(sound), starts)).float())
    confidence, _, offset = sync.lse(sync.distances(lips.numpy(), voice.numpy()))
    return confidence, float(offset)


SYNC_SCORES = Step(
    name="sync_scores",
    version=2,
    tables=("sync",),
    after=("face_clips", "head_speed", "clip_audio"),
    description="Offset (frames at 25 fps) and SyncNet confidence of every clip; null without SyncNet's weights.",
    items=_items,
    work=_work,
)
