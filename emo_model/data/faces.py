"""Step shots_and_faces: one decode of a video finds its shots, the face in every frame, and the clips they offer.

MediaPipe's FaceLandmarker looks at every source frame, in video mode with num_faces=2: with two it does not smooth over
time, so a frame's landmarks do not depend on where a run resumed. Its head pose assumes a camera of 63 degrees vertical
field of view on the *source* frame. The same pass gives boxes, pose, mouth and blendshapes; nothing looks again.

The detector inside sees faces from about a tenth of the picture's longer side; a second face smaller than that is not
seen, and one below `second_face` of the first's height is seen and let pass.
"""

import os
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from emo_model import weights
from emo_model.data.annotations import Range
from emo_model.data.config import DataConfig
from emo_model.data.jump_cuts import jumps
from emo_model.data.media import Picture, decode, unrounded
from emo_model.data.shards import Item, Result, Step
from emo_model.data.shots import ShotDetector, annotated, shots_between
from emo_model.data.sources import ranges_of, video_path
from emo_model.data.store import DataRoot, text_sha256
from emo_model.data.tracks import FPS, Faces, clip_id, clips_of_shot

MODEL = "face_landmarker"
_UPPER_LIP, _LOWER_LIP, _EYES = 13, 14, (33, 263)  # inner lips; outer corners of the eyes

_MAX_MS = 10**15  # a damaged clock may say more than the microseconds of 64 bits that mediapipe counts

Row = dict[str, Any]


class Landmarker:
    """MediaPipe's FaceLandmarker on one video's frames in order. A new one for each video: it remembers faces."""

    def __init__(self) -> None:
        os.environ.setdefault("GLOG_minloglevel", "2")  # its start-up chatter is of no use to anyone
        from mediapipe.tasks.python import BaseOptions, vision

        options = vision.FaceLandmarkerOptions(
            base_options=BaseOptions(model_asset_path=str(weights.path(MODEL))),
            running_mode=vision.RunningMode.VIDEO,
            num_faces=2,
            output_face_blendshapes=True,
            output_facial_transformation_matrixes=True,
        )
        self._landmarker = vision.FaceLandmarker.create_from_options(options)
        self._last_ms = -1

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._landmarker.close()

    def see(self, t_s: float, picture: Picture) -> Row:
        """The faces of the next frame, as columns of `landmarks`; the largest face comes first."""
        import mediapipe

        self._last_ms = max(self._last_ms + 1, min(round(t_s * 1000), _MAX_MS))
        # A picture that is not contiguous finds no face and raises nothing.
        image = mediapipe.Image(image_format=mediapipe.ImageFormat.SRGB, data=np.ascontiguousarray(picture))
        seen = self._landmarker.detect_for_video(image, self._last_ms)
        height, width = picture.shape[:2]
        faces = [np.array([(point.x * width, point.y * height) for point in face]) for face in seen.face_landmarks]
        boxes = [np.concatenate([face.min(axis=0), face.max(axis=0)]) for face in faces]
        order = sorted(range(len(boxes)), key=lambda face: boxes[face][1] - boxes[face][3])
        if not order:
            return _nothing()
        first = order[0]
        shapes = [category.score for category in seen.face_blendshapes[first]]
        return {
            "faces": len(faces),
            "box": boxes[first].astype(np.float32),
            "second_box": boxes[order[1]].astype(np.float32) if len(order) > 1 else None,
            "matrix": np.asarray(seen.facial_transformation_matrixes[first], np.float32).reshape(16),
            "mouth_open": mouth_open(faces[first]),
            "blendshapes": np.asarray(shapes, np.float16),
        }


def _nothing() -> Row:
    empty = dict.fromkeys(("box", "second_box", "matrix", "mouth_open", "blendshapes"))
    return {"faces": 0, **empty}


def mouth_open(landmarks: NDArray[np.float64]) -> float:
    """Gap between the inner lips over the distance between the eyes' outer corners; landmarks (478, 2) in pixels."""
    gap = np.linalg.norm(landmarks[_UPPER_LIP] - landmarks[_LOWER_LIP])
    return float(gap / np.linalg.norm(landmarks[_EYES[0]] - landmarks[_EYES[1]]))


def look(path: Path, ranges: Sequence[Range] = ()) -> tuple[list[Row], list[int], tuple[int, int]]:
    """One pass over a video: a row for each frame, the cuts, and the picture's (width, height).

    With annotated ranges nothing is looked for outside of them.
    """
    detector, rows, size = ShotDetector(), [], (0, 0)
    with Landmarker() as landmarker:
        for number, frame in enumerate(decode(path)):
            picture = frame.rgb()
            size = (picture.shape[1], picture.shape[0])
            detector.see(picture)
            wanted = not ranges or any(r.start_s <= frame.t_s < r.end_s for r in ranges)
            seen = landmarker.see(frame.t_s, picture) if wanted else _nothing()
            rows.append({"source_frame": number, "t_s": frame.t_s, **seen})
    for row, time in zip(rows, unrounded(np.array([row["t_s"] for row in rows])).tolist(), strict=True):
        row["t_s"] = time
    return rows, detector.cuts, size


def faces_of(rows: list[Row], size: tuple[int, int]) -> Faces:
    """The rows of `look` as arrays."""
    times = np.array([row["t_s"] for row in rows])
    interval = float(np.median(np.diff(times))) if len(times) > 1 else 1 / FPS
    nothing = np.full(4, np.nan)
    boxes = np.array([nothing if row["box"] is None else row["box"] for row in rows], float).reshape(-1, 4)
    seconds = [nothing if row["second_box"] is None else row["second_box"] for row in rows]
    others = np.array(seconds, float).reshape(-1, 4)
    ratio = (others[:, 3] - others[:, 1]) / (boxes[:, 3] - boxes[:, 1])
    turned = [np.full(16, np.nan) if row["matrix"] is None else row["matrix"] for row in rows]
    jumped = jumps(boxes, np.array(turned, float).reshape(-1, 4, 4)[:, :3, :3])
    return Faces(times, float(times[-1]) + interval, boxes, np.nan_to_num(ratio), size, jumped)


def items(root: DataRoot, shard: str) -> list[Item]:
    """One item a usable video."""
    numbers = DataConfig.of(root).digest(
        *(name for name in DataConfig.model_fields if name not in ("crop_size", "vocals"))
    )
    model = weights.REGISTRY[MODEL].sha256
    rows = root.read("videos", shard, ["video_id", "status"]).to_pylist()
    videos = [row["video_id"] for row in rows if row["status"] == "ok"]
    ranges = ranges_of(root, shard)
    return [
        Item(video, text_sha256(video, numbers, model, *ranges.get(video, ())), ranges.get(video)) for video in videos
    ]


def work(root: DataRoot, shard: str, item: Item) -> Result:
    """Shots, landmarks and proposals of one video, and why the rest of it offers none."""
    config, video = DataConfig.of(root), item.key
    ranges = item.payload or []
    rows, cuts, size = look(video_path(root, shard, video), ranges)
    faces = faces_of(rows, size)
    shots = shots_between(cuts, faces.times, faces.end_s)
    proposals, rejects = [], []
    for shot in annotated(shots, ranges, faces.times) if ranges else shots:
        clips, left_out = clips_of_shot(video, shot, faces.of(shot), config)
        rejects += left_out
        proposals += [_proposal(video, asdict(clip)) for clip in clips]
    for shot in shots:
        for row in rows[shot.begin : shot.end]:
            row["shot"] = shot.number
    return Result(
        {
            "shots": [{"video_id": video, **shot.row} for shot in shots],
            "landmarks": [{"video_id": video, **row} for row in rows],
            "proposals": proposals,
        },
        tuple(rejects),
    )


def _proposal(video: str, clip: Row) -> Row:
    end_s = clip["start_s"] + clip["num_frames"] / FPS
    return {"clip_id": clip_id(video, clip["start_s"]), "video_id": video, "end_s": end_s, **clip}


STEP = Step(
    name="shots_and_faces",
    version=6,
    tables=("shots", "landmarks", "proposals"),
    after=("video_probe",),
    description="Shot cuts, 478 landmarks a frame, and the clips of one person that they offer: one decode.",
    items=items,
    work=work,
)
