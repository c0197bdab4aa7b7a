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
from emo_model.data.audio_encoders import one_thread
from emo_model.data.rows_of import by_clip, clips_of, items_by_video, rows_of
from emo_model.data.shards import Item, Result, Step
from emo_model.data.store import DataRoot, file_sha256

SCORED = ("av_offset_frames", "av_offset_spread_frames", "sync_confidence")
UNKNOWN: dict[str, Any] = {**dict.fromkeys(SCORED), "method": None}


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
    from emo_model.evaluate.video import read_frames

    boxes = rows_of(root, "frames", shard, "clip_id", [crop["clip_id"]])["box"].to_pylist()
    if any(box is None for box in boxes):
        return UNKNOWN  # SyncNet wants a face in every frame
    frames = read_frames(root.path / crop["path"], fps=30, size=crop["size"], seconds=len(boxes) / 30)
    shown = at_25_fps(len(frames))
    samples = (read_wav(sound) * 32768).astype(np.int16)
    table = shifted_distances(frames[shown], np.array(boxes)[shown], samples)
    return {**in_sync(table), "method": "syncnet_v2"}


def at_25_fps(count: int) -> NDArray[np.int64]:
    """Of `count` frames at 30 fps those that SyncNet sees: the first not before each i / 25 s.

    Crops made from 25 fps give back every source frame at its time so. The frame on screen at i / 25 s would be the
    source's frame before, four times out of five: held twice, it would be late by one, and the sound early.
    """
    shown = -(-np.arange(count) * 30 // 25)
    return shown[shown < count]


def in_sync(table: NDArray[np.floating] | None) -> dict[str, float | None]:
    """LSE-C; offset in frames at 25 fps (positive: the sound leads); and how far apart those of the two halves are.

    table (W, 31): distances of every window to the shifted sound. An offset that changes within the clip shows in the
    last number.
    """
    from emo_model.evaluate.sync import lse

    if table is None:
        return dict.fromkeys(SCORED)
    confidence, _, offset = lse(table)
    first, second = (lse(half)[2] if len(half) else offset for half in np.array_split(table, 2))
    return {
        "av_offset_frames": float(offset),
        "av_offset_spread_frames": float(abs(first - second)),
        "sync_confidence": confidence,
    }


def shifted_distances(
    frames: NDArray[np.uint8], boxes: NDArray[np.float64], sound: NDArray[np.int16]
) -> NDArray[np.floating] | None:
    """(W, 31) distances of SyncNet's windows to the sound shifted by -15 to +15 frames; None: shorter than a window.

    frames (T, H, W, 3) RGB at 25 fps, boxes (T, 4) x0 y0 x1 y1, sound (N,) int16 at 16 kHz.
    """
    import torch

    from emo_model.evaluate import sync
    from emo_model.evaluate.syncnet import load_syncnet

    starts = sync.window_count(len(frames), len(sound))
    if starts < 1:
        return None
    network = load_syncnet(weights.path("syncnet"))
    faces = torch.from_numpy(sync.face_crops(frames, boxes)[..., ::-1].copy()).movedim(-1, 0)[None].float()
    with torch.inference_mode(), one_thread():
        lips = network.lips(faces)[:starts]
        voice = network.voice(torch.from_numpy(sync.mfcc_windows(sync.mfcc(sound), starts)).float())
    return sync.distances(lips.numpy(), voice.numpy())


SYNC_SCORES = Step(
    name="sync_scores",
    version=3,
    tables=("sync",),
    after=("face_clips", "head_speed", "clip_audio"),
    description="Offset (frames at 25 fps), its spread and SyncNet's confidence of every clip; null without weights.",
    items=_items,
    work=_work,
)
