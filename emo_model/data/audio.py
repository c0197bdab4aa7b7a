"""Steps clip_audio and audio_features: each clip's sound, and what the audio encoder hears in it.

Sound is cut from the source file at the clip's own times, not from the crop: a new crop leaves it fresh.
A clip without sound has no rows here and stays usable for stage 1. Digital silence keeps its wav and has no
features. Sound that ends before the picture is rejected (audio_too_short): it is not padded to hide that, save the
MISSING_S that codecs cut off.
"""

import hashlib
import io
import wave
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from emo_model.data import media
from emo_model.data.audio_encoders import FPS, RATE, encoder_identity, load_encoder
from emo_model.data.config import DataConfig
from emo_model.data.fingerprints import sound_words
from emo_model.data.rows_of import by_clip, clips_of, items_by_video, rows_of
from emo_model.data.shards import Item, Reject, Result, Step
from emo_model.data.sources import video_path
from emo_model.data.store import DataRoot, atomic, file_sha256, write_array
from emo_model.data.vocals import separator

MISSING_S = 0.1  # seconds of sound that may be missing, and are filled with silence
SILENT = 1e-3  # -60 dB re full scale: a clip whose every sample lies below is silent

Row = dict[str, Any]


# ---- clip_audio ----


def _sound_items(root: DataRoot, shard: str) -> list[Item]:
    return items_by_video(root, shard, ("proposals", "videos"))


def _sound_work(root: DataRoot, shard: str, item: Item) -> Result:
    videos = rows_of(root, "videos", shard, "video_id", [item.key]).to_pylist()
    video = next(row for row in videos if row["status"] == "ok")
    if not video["has_audio"]:
        return Result()
    path = video_path(root, shard, item.key)
    begins, ends = sound_span(path, video["video_start_s"])
    clips, rejects = [], []
    for clip in sorted(clips_of(root, shard, item.key), key=lambda clip: clip["start_s"]):
        end_s = clip["start_s"] + clip["num_frames"] / FPS
        missing_s = max(0.0, begins - clip["start_s"]) + max(0.0, end_s - ends)
        if missing_s > MISSING_S:
            rejects.append(_too_short(clip, missing_s))
        else:
            clips.append((clip, (clip["start_s"], end_s)))
    sounds = media.sounds(path, [span for _, span in clips])
    rows = [_write(root, shard, clip, next(sounds)) for clip, _ in clips]
    return Result({"clip_audio": rows}, tuple(rejects))


def sound_span(path: Path, video_start_s: float) -> tuple[float, float]:
    """(start, end) of a file's sound in seconds, 0 at the video's first frame; (0, 0) where there is none."""
    with media.open_media(path) as container:
        stream = media.audio_stream(container)
        if stream is None:
            return 0.0, 0.0
        tick = float(stream.time_base)
        timed = ((packet.pts, packet.duration or 0) for packet in media.packets(container, stream))
        spans = [(pts * tick, (pts + duration) * tick) for pts, duration in timed if pts is not None]
    if not spans:
        return 0.0, 0.0
    return min(start for start, _ in spans) - video_start_s, max(end for _, end in spans) - video_start_s


def _too_short(clip: Row, missing_s: float) -> Reject:
    wanted_s = clip["num_frames"] / FPS
    return Reject(
        kind="clip",
        id=clip["clip_id"],
        reason="audio_too_short",
        score=wanted_s - missing_s,
        threshold=wanted_s,
        detail="seconds of sound; the clip stays usable for stage 1",
    )


def _write(root: DataRoot, shard: str, clip: Row, samples: NDArray[np.float32]) -> Row:
    path = root.media("4_audio", shard, f"{clip['clip_id']}.wav")
    sha256 = write_wav(path, samples)
    loudness = float(np.sqrt(np.mean(samples.astype(np.float64) ** 2)))
    return {
        "clip_id": clip["clip_id"],
        "video_id": clip["video_id"],
        "path": root.relative(path),
        "samples": len(samples),
        "rms_db": 20 * float(np.log10(loudness)) if loudness else None,
        "is_silent": bool(np.abs(samples).max(initial=0) < SILENT),
        "sound_hash": sound_words(samples).tobytes(),
        "sha256": sha256,
    }


def write_wav(path: Path, samples: NDArray[np.float32]) -> str:
    """Write 16 kHz mono 16-bit wav from samples (N,) in [-1, 1], whole; returns the sha256 of its bytes."""
    buffer = io.BytesIO()
    with wave.open(buffer, "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(RATE)
        file.writeframes(np.clip(np.round(samples * 32768), -32768, 32767).astype("<i2").tobytes())
    with atomic(path) as temporary:
        temporary.write_bytes(buffer.getvalue())
    return hashlib.sha256(buffer.getvalue()).hexdigest()


def read_wav(path: Path) -> NDArray[np.float32]:
    """(N,) samples in [-1, 1] of a wav that `write_wav` wrote."""
    with wave.open(str(path), "rb") as file:
        return np.frombuffer(file.readframes(file.getnframes()), "<i2").astype(np.float32) / np.float32(32768)


# ---- audio_features ----


def _feature_items(root: DataRoot, shard: str) -> list[Item]:
    vocals = DataConfig.of(root).vocals
    separator(vocals)  # a bad name is told before the work starts
    return items_by_video(root, shard, ("clip_audio",), *encoder_identity(), *filter(None, [vocals]))


def _feature_work(root: DataRoot, shard: str, item: Item) -> Result:
    clips = {clip["clip_id"]: clip for clip in clips_of(root, shard, item.key)}
    sounds = by_clip(root, "clip_audio", shard, clips.values())
    heard = {clip_id: sound for clip_id, sound in sounds.items() if not sound["is_silent"]}
    return Result({"audio": [_encode(root, shard, clips[clip_id], sound) for clip_id, sound in heard.items()]})


def _encode(root: DataRoot, shard: str, clip: Row, sound: Row) -> Row:
    encoder, vocals = load_encoder(), DataConfig.of(root).vocals
    samples = separator(vocals)(read_wav(root.path / sound["path"]), RATE)
    features = encoder.features(samples, clip["num_frames"])
    path = root.media("4_audio", shard, f"{clip['clip_id']}.npy")
    write_array(path, features)
    return {
        "clip_id": clip["clip_id"],
        "path": root.relative(path),
        "num_frames": clip["num_frames"],
        "layers": encoder.layers,
        "width": encoder.width,
        "encoder": encoder.name,
        "encoder_sha256": encoder.sha256,
        "vocals": vocals or None,
        "sha256": file_sha256(path),
    }


CLIP_AUDIO = Step(
    name="clip_audio",
    version=3,
    tables=("clip_audio",),
    after=("shots_and_faces",),
    description="Each clip's sound: 16 kHz mono wav of exactly the clip's time; loudness in dB; fingerprint.",
    items=_sound_items,
    work=_sound_work,
)
AUDIO_FEATURES = Step(
    name="audio_features",
    version=3,
    tables=("audio",),
    after=("clip_audio",),
    description="Hidden states of the audio encoder, float16 (frames, layers, width), one a frame at 30 fps.",
    items=_feature_items,
    work=_feature_work,
)
