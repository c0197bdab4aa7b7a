"""Step face_clips: the square crop of every clip as an mp4 of its own, 30 fps.

The second and last decode of the video. Frame j shows the source frame on screen at start_s + j / 30 (the last one not
after it), so 25 fps footage repeats every fifth frame and no picture is blended. A crop that reaches beyond the picture
is filled with the edge's pixels.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import groupby
from typing import Any

import numpy as np
from numpy.typing import NDArray

from emo_model.data.config import DataConfig
from emo_model.data.fingerprints import FACE_EVERY, face_word, signs
from emo_model.data.media import Picture, SourceFrame, decode, shown_at, write_video
from emo_model.data.rows_of import array_of, clips_of, items_by_video, rows_of
from emo_model.data.shards import Item, Result, Step
from emo_model.data.sources import video_path
from emo_model.data.store import DataRoot, file_sha256
from emo_model.data.tracks import FPS, union

BLUR_EVERY = 10  # frames of the clip
Array = NDArray[np.float64]
Row = dict[str, Any]


@dataclass
class Film:
    """One clip while it is being written: its pictures in order, and what is measured on the way."""

    clip: Row
    size: int  # side of the written pictures
    shown: NDArray[np.int64]  # (F,) source frame of each clip frame
    boxes: Array  # (N, 4) face boxes of all source frames in source pixels, NaN where there is none
    sharpness: list[float] = field(default_factory=list)
    next_sample: int = 0
    middle_hash: str = ""
    words: list[np.uint64] = field(default_factory=list)  # of the face, every FACE_EVERY frames

    def pictures(self, source: Iterator[tuple[int, SourceFrame]]) -> Iterator[Picture]:
        """The clip's frames, (size, size, 3) RGB. `source` is left at the clip's last source frame."""
        number = 0
        for wanted, repeats in groupby(self.shown):
            frame = next(frame for index, frame in source if index == wanted)
            picture = crop(frame.rgb(), self.clip["crop_x"], self.clip["crop_y"], self.clip["crop_size"], self.size)
            for _ in repeats:
                self._measure(number, picture)
                yield picture
                number += 1

    def _measure(self, number: int, picture: Picture) -> None:
        if number == len(self.shown) // 2:
            self.middle_hash = phash(picture)
        box = self.to_crop(self.boxes[self.shown[number]])
        if number % FACE_EVERY == 0:
            self.words.append(np.uint64(0) if np.isnan(box).any() else face_word(picture, box))
        if number >= self.next_sample and not np.isnan(box).any():  # else the next frame with a face
            self.sharpness.append(blur(picture, box))
            self.next_sample = number + BLUR_EVERY

    def to_crop(self, box: Array) -> Array:
        """A box (4,) in source pixels as crop pixels, cut off at the crop's edge."""
        corner = np.array([self.clip["crop_x"], self.clip["crop_y"]] * 2)
        return np.clip((box - corner) * self.size / self.clip["crop_size"], 0, self.size)


def crop(picture: Picture, x: int, y: int, side: int, size: int) -> Picture:
    """The square [x, x + side) by [y, y + side) of a picture at (size, size); beyond the edge its pixels repeat."""
    import cv2

    height, width = picture.shape[:2]
    left, top, right, bottom = max(0, -x), max(0, -y), max(0, x + side - width), max(0, y + side - height)
    part = picture[max(0, y) : max(0, y + side), max(0, x) : max(0, x + side)]
    if left or top or right or bottom:
        part = cv2.copyMakeBorder(part, top, bottom, left, right, cv2.BORDER_REPLICATE)
    how = cv2.INTER_AREA if side > size else cv2.INTER_CUBIC
    return cv2.resize(part, (size, size), interpolation=how)


def blur(picture: Picture, box: Array) -> float:
    """Variance of the Laplacian of the grey picture inside a box (4,) in its pixels: the lower, the more blurred."""
    import cv2

    x0, y0, x1, y1 = np.round(box).astype(int)
    face = picture[y0 : max(y1, y0 + 1), x0 : max(x1, x0 + 1)]
    return float(cv2.Laplacian(cv2.cvtColor(face, cv2.COLOR_RGB2GRAY), cv2.CV_64F).var())


def phash(picture: Picture) -> str:
    """Perceptual hash of a whole picture, 64 bits as hex (fingerprints.signs)."""
    return f"{int(''.join('01'[bit] for bit in signs(picture).astype(int)), 2):016x}"


def items(root: DataRoot, shard: str) -> list[Item]:
    """One item a video that offers clips."""
    return items_by_video(root, shard, ("proposals",), DataConfig.of(root).digest("crop_size"))


def work(root: DataRoot, shard: str, item: Item) -> Result:
    """Write all crops of one video in one decode."""
    size = DataConfig.of(root).crop_size
    seen = rows_of(root, "landmarks", shard, "video_id", [item.key])
    times, boxes = seen["t_s"].to_numpy(), array_of(seen["box"], 4)  # in order: parts are sorted
    source = enumerate(decode(video_path(root, shard, item.key)))
    rows = []
    for clip in sorted(clips_of(root, shard, item.key), key=lambda clip: clip["start_s"]):
        shown = shown_at(times, clip["start_s"] + np.arange(clip["num_frames"]) / FPS)
        rows.append(_write(root, shard, Film(clip, size, shown, boxes), source))
    return Result({"crops": rows})


def _write(root: DataRoot, shard: str, film: Film, source: Iterator[tuple[int, SourceFrame]]) -> Row:
    path = root.media("1_clips", shard, f"{film.clip['clip_id']}.mp4")
    count = write_video(path, film.pictures(source), FPS, (film.size, film.size))
    faces = union(film.boxes[film.shown[0] : film.shown[-1] + 1])
    return {
        "clip_id": film.clip["clip_id"],
        "video_id": film.clip["video_id"],
        "path": root.relative(path),
        "num_frames": count,
        "size": film.size,
        "sha256": file_sha256(path),
        "union_box": film.to_crop(faces).astype(np.float32),
        "phash": film.middle_hash,
        "face_hash": np.array(film.words, "<u8").tobytes(),
        "blur": float(np.median(film.sharpness)),
    }


STEP = Step(
    name="face_clips",
    version=3,
    tables=("crops",),
    after=("shots_and_faces",),
    description="Each clip's square crop as H.264 at 30 fps, the union of its face boxes, sharpness, hashes.",
    items=items,
    work=work,
)
