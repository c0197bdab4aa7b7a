"""A data root of rows alone, for the steps that never look at media: three people, four videos, six clips."""

from typing import Any

import numpy as np

from emo_model.data.records import TABLES
from emo_model.data.store import DataRoot, write_rows

STAMP = {"shard": "s0000", "input_sha256": "x", "step_version": 1}

# clip -> video, person, frames, speed in degrees a frame, has sound
CLIPS = {
    "a0": ("va", "Ada", 300, 0.5, True),
    "a1": ("va", "Ada", 300, 0.9, True),
    "b0": ("vb", "Ben", 240, 1.5, True),
    "c0": ("vc", "Cleo", 90, 2.5, False),
    "u0": ("vu", None, 120, 0.2, True),
    "u1": ("vu", None, 12, 0.2, True),
}


def small_root(path, clips: dict[str, tuple] = CLIPS) -> DataRoot:
    """Write the tables as the shard steps would have."""
    root = DataRoot(path).create()
    rng = np.random.default_rng(0)
    rows: dict[str, list[dict[str, Any]]] = {name: [] for name in TABLES}
    for video in sorted({video for video, *_ in clips.values()}):
        rows["videos"].append(_video(video, next(who for v, who, *_ in clips.values() if v == video)))
    rows["videos"].append({**_video("broken", None), "video_id": None, "status": "rejected", "reason": "truncated"})
    rows["rejected"].append(_reject("source", "source of broken", "video_probe", "truncated"))
    rows["rejected"].append(_reject("shot", "va:1", "shots_and_faces", "two_faces"))
    for clip, (video, who, frames, speed, sound) in clips.items():
        rows["crops"].append(_crop(clip, video, frames))
        rows["clip_rows"].append(_clip_row(clip, video, who, frames, speed, sound))
        rows["frames"] += [_frame(clip, n, speed * rng.uniform(0.5, 1.5)) for n in range(frames)]
        if sound:
            rows["audio"].append(_features(clip, frames))
            rows["clip_audio"].append(_sound(clip, video, frames))
    for name in ("videos", "crops", "clip_rows", "frames", "audio", "clip_audio"):
        write_rows(root.part(name, "s0000"), TABLES[name], [{**row, **STAMP} for row in rows[name]])
    write_rows(
        root.part("rejected", "s0000", "probe"), TABLES["rejected"], [{**row, **STAMP} for row in rows["rejected"]]
    )
    return root


def _video(video: str, who: str | None) -> dict[str, Any]:
    return {
        **dict.fromkeys(TABLES["videos"].schema.names),
        "source_id": f"source of {video}", "video_id": video, "sha256": video, "source": "films", "uri": f"{video}.mp4",
        "licence": "CC0", "width": 640, "height": 480, "fps": 25.0, "duration_s": 20.0, "has_audio": True,
        "audio_rate": 44100, "identity_hint": who, "status": "ok",
    }  # fmt: skip


def _reject(kind: str, name: str, step: str, reason: str) -> dict[str, Any]:
    return {"kind": kind, "id": name, "step": step, "reason": reason}


def _crop(clip: str, video: str, frames: int) -> dict[str, Any]:
    return {
        "clip_id": clip, "video_id": video, "path": f"1_clips/media/s0000/{clip}.mp4",
        "num_frames": frames, "size": 256,
        "sha256": f"sha of {clip}", "union_box": [64.0, 64.0, 192.0, 192.0], "phash": "0" * 16, "face_hash": b"",
        "blur": 100.0,
    }  # fmt: skip


def _clip_row(clip: str, video: str, who: str | None, frames: int, speed: float, sound: bool) -> dict[str, Any]:
    histogram = [0] * 64
    histogram[int(speed * 10)] = frames
    return {
        **dict.fromkeys(TABLES["clip_rows"].schema.names),
        "clip_id": clip, "video_id": video, "start_s": 0.0, "end_s": frames / 30, "num_frames": frames,
        "path": f"1_clips/media/s0000/{clip}.mp4", "crop_x": 0, "crop_y": 0, "crop_size": 300, "has_audio": sound,
        "blur": 100.0, "min_face_px": 120.0, "camera_motion": 0.1, "brightness": 120.0, "no_model": [],
        "mean_speed": speed, "speed_p10": speed * 0.6,
        "speed_p50": speed, "speed_p90": speed * 1.4, "speed_histogram": histogram, "phash": "0" * 16,
        "identity_hint": who, "crop_sha256": f"sha of {clip}",
        "labels_sha256": f"labels of {clip}",
    }  # fmt: skip


def _frame(clip: str, number: int, speed: float) -> dict[str, Any]:
    return {
        "clip_id": clip, "frame": number, "t_s": number / 30, "found": True, "box": [80.0, 80.0, 170.0, 180.0],
        "quaternion": [1.0, 0.0, 0.0, 0.0], "translation": [0.0, 0.0, -40.0], "yaw": 50.0 if clip == "c0" else 3.0,
        "pitch": 0.0, "roll": 0.0, "speed_raw_deg": speed, "speed_deg": speed, "mouth_open": 0.1,
        "blendshapes": np.zeros(52, np.float16),
    }  # fmt: skip


def _sound(clip: str, video: str, frames: int) -> dict[str, Any]:
    return {
        "clip_id": clip, "video_id": video, "path": f"4_audio/media/s0000/{clip}.wav", "samples": frames * 16000 // 30,
        "rms_db": -20.0, "is_silent": False, "sound_hash": b"", "sha256": f"sound of {clip}",
    }  # fmt: skip


def _features(clip: str, frames: int) -> dict[str, Any]:
    return {
        "clip_id": clip, "path": f"4_audio/media/s0000/{clip}.npy", "num_frames": frames, "layers": 4, "width": 384,
        "encoder": "whisper-tiny.en", "encoder_sha256": "e",
        "sha256": f"features of {clip}",
    }  # fmt: skip
