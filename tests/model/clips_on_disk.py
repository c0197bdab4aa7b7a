"""A data root with a few small clips as the data steps leave them: crops, frames table, features, manifest.

Frame k of a clip is a flat grey of its own, with a bright square for a face that moves one pixel a frame:
which frame was read can be told from the picture.
"""

from collections.abc import Callable
from pathlib import Path

import av
import numpy as np

from emo_model.data.records import FRAMES, MANIFEST
from emo_model.data.store import DataRoot, file_sha256, write_rows

SIZE, FACE, LAYERS, WIDTH = 128, 40, 4, 8


def face_box(frame: int) -> list[float]:
    """x0 y0 x1 y1 in crop pixels."""
    return [20.0 + frame, 30.0, 20.0 + frame + FACE, 30.0 + FACE]


def grey(frame: int) -> int:
    """Four levels a frame: the codec and the colour space move it by up to two, downwards."""
    return 10 + 4 * frame


def write_video(path: Path, frames: int, size: int = SIZE) -> None:
    """H.264 with a key frame every 15 frames, as crops are stored."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with av.open(path, "w") as container:
        stream = container.add_stream("libx264", 30, options={"crf": "10", "g": "15", "bf": "2"})
        stream.width = stream.height = size
        stream.pix_fmt = "yuv420p"
        for k in range(frames):
            picture = np.full((size, size, 3), grey(k), np.uint8)
            x0, y0, x1, y1 = (int(v) for v in face_box(k))
            picture[y0:y1, x0:x1] = 250
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, "rgb24")))
        container.mux(stream.encode())


def make_root(
    path: Path,
    clips: dict[str, int],
    silent: tuple[str, ...] = (),
    lost: range = range(0),
    sounds: Callable[[Path, float], Path] | None = None,
    shift: int = 0,
) -> DataRoot:
    """A root with a manifest `5_manifest/train.parquet` of clips {name: frames}; no face in `lost` frames.

    sounds(path, seconds) writes a clip's voice, where one is wanted; `shift` is every clip's sound_shift_frames.
    """
    root = DataRoot(path).create()
    rows, tracks = [], []
    for name, count in clips.items():
        crop = root.media("1_clips", "s0000", f"{name}.mp4")
        write_video(crop, count)
        features = root.media("4_audio", "s0000", f"{name}.npy")
        features.parent.mkdir(parents=True, exist_ok=True)
        np.save(features, np.full((count, LAYERS, WIDTH), np.arange(count)[:, None, None], np.float16))
        audio = None if name in silent else root.relative(features)
        row = _manifest_row(name, root.relative(crop), audio, count, file_sha256(crop))
        if sounds:
            row["sound_path"] = root.relative(sounds(features.with_suffix(".wav"), count / 30))
        row["sound_shift_frames"] = shift
        rows.append(row)
        tracks += [_frame_row(name, k, found=k not in lost) for k in range(count)]
    write_rows(root.folder("5_manifest") / "train.parquet", MANIFEST, rows)
    write_rows(root.part("frames", "s0000"), FRAMES, tracks)
    return root


def _manifest_row(name: str, path: str, audio: str | None, count: int, sha256: str) -> dict:
    first, last = face_box(0), face_box(count - 1)
    known = {
        "clip_id": name, "video_id": name, "shard": "s0000", "identity_id": name, "split": "train",
        "source": "made", "licence": "CC0", "start_s": 0.0, "num_frames": count, "path": path, "size": SIZE,
        "union_box": [*first[:2], *last[2:]], "audio_path": audio, "audio_encoder": "made",
        "crop_sha256": sha256, "labels_sha256": "made", "audio_sha256": audio and "made",
    }  # fmt: skip
    return {field: known.get(field) for field in MANIFEST.schema.names}


def _frame_row(name: str, frame: int, found: bool) -> dict:
    known = {
        "clip_id": name, "frame": frame, "t_s": frame / 30, "found": found,
        "box": face_box(frame) if found else None, "speed_deg": frame / 100 if found else None,
        "shard": "s0000", "input_sha256": "made", "step_version": 1,
    }  # fmt: skip
    return {field: known.get(field) for field in FRAMES.schema.names}
