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
import pyarrow as pa
from numpy.typing import NDArray

from emo_model import weights
from emo_model.data.annotations import Range
from emo_model.data.config import DataConfig
from emo_model.data.jump_cuts import jumps, steps
from emo_model.data.media import Picture, decode, loudness, unrounded
from emo_model.data.pauses import effort
from emo_model.data.rows_of import vectors
from emo_model.data.shards import Item, Reject, Result, Step
from emo_model.data.shots import Shot, ShotDetector, annotated, shot_detector, shots_between
from emo_model.data.sources import ranges_of, video_path
from emo_model.data.store import DataRoot, text_sha256
from emo_model.data.tracks import FPS, Faces, clip_id, clips_of_shot

MODEL = "face_landmarker"
_UPPER_LIP, _LOWER_LIP, _EYES = 13, 14, (33, 263)  # inner lips; outer corners of the eyes

_MAX_MS = 10**15  # a damaged clock may say more than the microseconds of 64 bits that mediapipe counts

SEEN = np.dtype(  # one frame: columns of `landmarks`, NaN where there is no face
    [
        ("t_s", np.float64), ("faces", np.int32), ("box", np.float32, 4), ("second_box", np.float32, 4),
        ("matrix", np.float32, 16), ("mouth_open", np.float32), ("blendshapes", np.float16, 52),
    ]
)  # fmt: skip
_NOBODY = np.array((0.0, 0, *[np.nan] * 5), SEEN)
_BLOCK = 4096  # frames

Row = dict[str, Any]
Seen = NDArray[np.void]  # of SEEN


class Landmarker:
    """MediaPipe's FaceLandmarker on one video's frames in order. A new one for each video: it remembers faces."""

    def __init__(self, faces: int = 2) -> None:
        os.environ.setdefault("GLOG_minloglevel", "2")  # its start-up chatter is of no use to anyone
        from mediapipe.tasks.python import BaseOptions, vision

        options = vision.FaceLandmarkerOptions(
            base_options=BaseOptions(model_asset_path=str(weights.path(MODEL))),
            running_mode=vision.RunningMode.VIDEO,
            num_faces=faces,
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
        seen, faces, boxes = self._look(t_s, picture)
        order = _tallest_first(boxes)
        if not order:
            return {"faces": 0, **dict.fromkeys(("box", "second_box", "matrix", "mouth_open", "blendshapes"))}
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

    def boxes(self, picture: Picture) -> list[NDArray[np.float64]]:
        """Each face's box (4,) in the picture's pixels, the tallest first."""
        _, _, boxes = self._look(0.0, picture)
        return [boxes[face] for face in _tallest_first(boxes)]

    def _look(self, t_s: float, picture: Picture) -> tuple[Any, list[NDArray[np.float64]], list[NDArray[np.float64]]]:
        """What mediapipe saw, each face's landmarks (478, 2), and the box around them."""
        import mediapipe

        self._last_ms = max(self._last_ms + 1, min(round(t_s * 1000), _MAX_MS))
        # A picture that is not contiguous finds no face and raises nothing.
        image = mediapipe.Image(image_format=mediapipe.ImageFormat.SRGB, data=np.ascontiguousarray(picture))
        seen = self._landmarker.detect_for_video(image, self._last_ms)
        height, width = picture.shape[:2]
        faces = [np.array([(point.x * width, point.y * height) for point in face]) for face in seen.face_landmarks]
        return seen, faces, [np.concatenate([face.min(axis=0), face.max(axis=0)]) for face in faces]


def _tallest_first(boxes: list[NDArray[np.float64]]) -> list[int]:
    return sorted(range(len(boxes)), key=lambda face: boxes[face][1] - boxes[face][3])


def mouth_open(landmarks: NDArray[np.float64]) -> float:
    """Gap between the inner lips over the distance between the eyes' outer corners; landmarks (478, 2) in pixels."""
    gap = np.linalg.norm(landmarks[_UPPER_LIP] - landmarks[_LOWER_LIP])
    return float(gap / np.linalg.norm(landmarks[_EYES[0]] - landmarks[_EYES[1]]))


def look(path: Path, detector: ShotDetector, ranges: Sequence[Range] = ()) -> tuple[Seen, tuple[int, int]]:
    """One pass over a video: what was seen in each frame (N,), and the picture's (width, height).

    With annotated ranges nothing is looked for outside of them. Two hours at 25 fps are 40 MB here.
    """
    blocks, size, number = [np.empty(0, SEEN)], (0, 0), -1
    with Landmarker() as landmarker:
        for number, frame in enumerate(decode(path)):
            picture = frame.rgb()
            size = (picture.shape[1], picture.shape[0])
            detector.see(frame.t_s, picture)
            wanted = not ranges or any(r.start_s <= frame.t_s < r.end_s for r in ranges)
            if number % _BLOCK == 0:
                blocks.append(np.full(_BLOCK, _NOBODY))
            row = blocks[-1][number % _BLOCK]
            for name, value in (landmarker.see(frame.t_s, picture) if wanted else {}).items():
                if value is not None:
                    row[name] = value
            row["t_s"] = frame.t_s
    seen = np.concatenate(blocks)[: number + 1]
    seen["t_s"] = unrounded(seen["t_s"])
    return seen, size


def faces_of(seen: Seen, size: tuple[int, int], loud: NDArray[np.float64] | None = None) -> Faces:
    """What `look` saw, as tracks are made from it; loud (N,) dB around each frame, NaN or None without sound."""
    times = seen["t_s"]
    interval = float(np.median(np.diff(times))) if len(times) > 1 else 1 / FPS
    boxes, others = seen["box"].astype(float), seen["second_box"].astype(float)
    ratio = (others[:, 3] - others[:, 1]) / (boxes[:, 3] - boxes[:, 1])
    matrices = seen["matrix"].reshape(-1, 4, 4)[:, :3, :3].astype(float)
    cost = effort(times, np.full(len(times), np.nan) if loud is None else loud, _movement(seen, boxes, matrices))
    end_s = float(times[-1]) + interval
    return Faces(times, end_s, boxes, np.nan_to_num(ratio), size, jumps(boxes, matrices), cost)


def _movement(seen: Seen, boxes: NDArray[np.float64], matrices: NDArray[np.float64]) -> NDArray[np.float64]:
    """(N,) how much head and mouth move into each frame: the head's step and the mouth's, NaN without a face."""
    found = np.flatnonzero(seen["faces"])
    moved = np.full(len(seen), np.nan)
    if len(found):
        mouth = np.abs(np.diff(seen["mouth_open"][found].astype(float)))
        moved[found] = np.concatenate([[0.0], steps(boxes[found], matrices[found]) + mouth])
    return moved


def landmark_rows(video: str, seen: Seen, shots: Sequence[Shot]) -> pa.Table:
    """What `look` saw, as rows of `landmarks`."""
    numbers = np.repeat([shot.number for shot in shots], [shot.end - shot.begin for shot in shots])
    found = seen["faces"] > 0
    return pa.table(
        {
            "video_id": pa.repeat(video, len(seen)),
            "source_frame": np.arange(len(seen), dtype=np.int32),
            "t_s": seen["t_s"],
            "shot": numbers.astype(np.int32),
            "faces": seen["faces"],
            "box": vectors(seen["box"], found),
            "second_box": vectors(seen["second_box"], seen["faces"] > 1),
            "matrix": vectors(seen["matrix"], found),
            "mouth_open": pa.array(seen["mouth_open"], mask=~found),
            "blendshapes": vectors(seen["blendshapes"], found),
        }
    )


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
    detector = shot_detector(config.shot_detector)
    path = video_path(root, shard, video)
    seen, size = look(path, detector, ranges)
    lasts_s = float(seen["t_s"][-1])
    loud = loudness(path, seen["t_s"]) if lasts_s > config.max_clip_s else None  # else there is nothing to part
    faces = faces_of(seen, size, loud)
    shots = shots_between(detector.end(), faces.times, faces.end_s)
    proposals: list[Row] = []
    rejects: list[Reject] = []
    parts = annotated(shots, ranges, faces.times) if ranges else shots
    used = {part.within.id for part in parts if part.within}
    rejects += [_unseen(video, stretch, faces.end_s) for stretch in ranges if stretch.id not in used]
    for shot in parts:
        clips, left_out = clips_of_shot(video, shot, faces.of(shot), config)
        rejects += left_out
        proposals += [_proposal(video, asdict(clip)) for clip in clips]
    return Result(
        {
            "shots": [{"video_id": video, **shot.row} for shot in shots],
            "landmarks": landmark_rows(video, seen, shots),
            "proposals": proposals,
        },
        tuple(rejects),
    )


def _unseen(video: str, stretch: Range, end_s: float) -> Reject:
    detail = f"{stretch.start_s:g} to {stretch.end_s:g} s of a video of {end_s:.1f} s"
    return Reject("shot", f"{video}:{stretch.id}", "no_frames", detail=detail)


def _proposal(video: str, clip: Row) -> Row:
    end_s = clip["start_s"] + clip["num_frames"] / FPS
    return {"clip_id": clip_id(video, clip["start_s"]), "video_id": video, "end_s": end_s, **clip}


STEP = Step(
    name="shots_and_faces",
    version=8,
    tables=("shots", "landmarks", "proposals"),
    after=("video_probe",),
    description="Shot cuts, 478 landmarks a frame, and the clips of one person that they offer: one decode.",
    items=items,
    work=work,
)
