"""Ground truth as a protocol asks for it, cut anew from the raw file at the protocol's own rate.

    8_evaluation/truth/CLIP-KEY.mp4     lossless, at the protocol's fps and size, from the clip's first frame on

Reading 25 fps out of a 30 fps clip of a 25 fps source repeats and drops frames twice over; SyncNet then hears a lag
that nobody made. The stored crop (table `proposals`) is cut from the source frame on screen at start_s + j / fps, and
brought to size in one step.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import groupby
from pathlib import Path
from typing import Any

import av
import numpy as np

from emo_model.data.clips import crop
from emo_model.data.media import Picture, decode, shown_at
from emo_model.data.rows_of import rows_of
from emo_model.data.sources import video_path
from emo_model.data.store import DataRoot, atomic, text_sha256

from .video import View

FPS = 30  # of clips: num_frames counts at it
SQUARE = ("crop_x", "crop_y", "crop_size")
Row = Mapping[str, Any]


def truth_sha256(rows: Sequence[Row]) -> str:
    """Of what the ground truth of these clips is cut from: rows as `clips_of` (clips.py) gives them."""
    return text_sha256(*(_source(row) for row in rows))


def _source(row: Row) -> str:
    names = ("clip_id", "video_id", "start_s", "num_frames", "crop_sha256", *SQUARE)
    return " ".join(f"{name}={row.get(name)}" for name in names)


def cut(root: DataRoot, rows: Sequence[Row], protocol: View, report: Callable[[str], None] = lambda clip: None) -> None:
    """Make what is missing of 8_evaluation/truth for these clips, each raw file decoded once.

    UserError where a raw file is gone.
    """
    missing = [row for row in rows if not truth_file(root, row, protocol).is_file()]
    for (shard, video), clips in groupby(sorted(missing, key=_order), key=lambda row: (row["shard"], row["video_id"])):
        times = rows_of(root, "landmarks", shard, "video_id", [video])["t_s"].to_numpy()
        source = enumerate(decode(video_path(root, shard, video)))
        for row in clips:
            count = _frames(row, protocol)
            shown = shown_at(times, row["start_s"] + np.arange(count) / protocol.fps)
            pictures = _pictures(source, shown, row, protocol.size)
            _write(truth_file(root, row, protocol), pictures, protocol)
            report(row["clip_id"])


def truth_file(root: DataRoot, row: Row, protocol: View) -> Path:
    """Where the ground truth of a clip lies or will lie."""
    key = text_sha256(_source(row), protocol.fps, protocol.size, _frames(row, protocol))[:12]
    return root.folder("8_evaluation") / "truth" / f"{row['clip_id']}-{key}.mp4"


def _order(row: Row) -> tuple[str, str, float]:
    return row["shard"], row["video_id"], row["start_s"]


def _frames(row: Row, protocol: View) -> int:
    """Frames at the protocol's rate of a clip's first `seconds`, none of them after its last."""
    last = int((row["num_frames"] - 1) / FPS * protocol.fps + 1e-3) + 1
    return min(round(protocol.seconds * protocol.fps), last)


def _pictures(source: Iterable[Any], shown: np.ndarray, row: Row, size: int) -> Iterable[Picture]:
    """The crop of each source frame of `shown`, (size, size, 3); `source` is left at the last of them."""
    iterator = iter(source)
    for wanted, repeats in groupby(shown):
        frame = next(frame for index, frame in iterator if index == wanted)
        picture = crop(frame.rgb(), row["crop_x"], row["crop_y"], row["crop_size"], size)
        for _ in repeats:
            yield picture


def _write(path: Path, pictures: Iterable[Picture], protocol: View) -> None:
    """Lossless RGB H.264: every reader gets the very pixels, and they take a third of the disk."""
    with atomic(path) as temporary, av.open(str(temporary), "w", format="mp4") as out:
        stream = out.add_stream("libx264rgb", rate=round(protocol.fps), options={"qp": "0", "preset": "ultrafast"})
        stream.width = stream.height = protocol.size
        stream.pix_fmt = "rgb24"
        for picture in pictures:
            out.mux(stream.encode(av.VideoFrame.from_ndarray(np.ascontiguousarray(picture), format="rgb24")))
        out.mux(stream.encode())
