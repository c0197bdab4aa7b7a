"""What a person looks at of a shard: a sheet of its clips, and one of what was left out, an example a reason.

    1_clips/sheets/shard=s0000.jpg        middle frames with face box, pose axes and head speed
    rejected/sheets/shard=s0000.jpg       for each reason up to EXAMPLES pictures on which it is seen, with the score

Made anew when the shard's rows are others.
"""

from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageDraw

from emo_model.data import media
from emo_model.data.frames import decode
from emo_model.data.previews import draw, jpeg
from emo_model.data.removal import REASON as REMOVED
from emo_model.data.rows_of import rows_of
from emo_model.data.sources import local_path, video_path
from emo_model.data.store import DataRoot, atomic, text_sha256, write_text
from emo_model.errors import UserError

VERSION = 1  # of what is drawn
CLIPS, EXAMPLES = 24, 3  # pictures on a sheet of clips; of each reason
COLUMNS, SIDE, LINE = 6, 160, 14  # pictures a row, pixels a side, pixels of a line of text
SMALL = 480  # pixels across, in the UI
YELLOW, RED, GREY = (255, 220, 0), (235, 60, 60), (60, 60, 60)

Row = dict[str, Any]


@dataclass(frozen=True)
class Tile:
    """One picture of a sheet, SIDE pixels a side, and the lines below it."""

    picture: Image.Image
    lines: tuple[str, ...]


@dataclass(frozen=True)
class Sheets:
    """Where a shard's sheets lie. The files are not there where there is nothing to show."""

    clips: Path
    rejects: Path


def write_sheets(root: DataRoot, shard: str) -> Sheets:
    """Bring both sheets of a shard up to date."""
    name = f"shard={shard}"
    sheets = Sheets(
        root.folder("1_clips") / "sheets" / f"{name}.jpg", root.folder("rejected") / "sheets" / f"{name}.jpg"
    )
    rejects = root.read("rejected", shard)
    stamps = [*root.read("clip_rows", shard, ["input_sha256"])[0].to_pylist(), *rejects["input_sha256"].to_pylist()]
    mark, inputs = sheets.clips.with_suffix(".inputs"), text_sha256(VERSION, *sorted(stamps))
    if not mark.is_file() or mark.read_text() != inputs:
        _save(sheets.clips, list(clip_tiles(root, shard)))
        _save(sheets.rejects, list(reject_tiles(root, shard, rejects.to_pylist())))
        write_text(mark, inputs)
    return sheets


def small(sheet: Path) -> bytes:
    """A sheet small enough for the UI's metadata, as JPEG."""
    with Image.open(sheet) as picture:
        return jpeg(picture.resize((SMALL, round(SMALL * picture.height / picture.width)), Image.Resampling.LANCZOS))


# ---- clips ----


def clip_tiles(root: DataRoot, shard: str) -> Iterator[Tile]:
    """Middle frames of up to CLIPS clips, spread over the shard."""
    clips = root.read("clip_rows", shard, ["clip_id", "num_frames", "path", "mean_speed"]).to_pylist()
    crops = {row["clip_id"]: row["size"] for row in root.read("crops", shard, ["clip_id", "size"]).to_pylist()}
    for clip in _spread(clips, CLIPS):
        middle = clip["num_frames"] // 2
        picture = Image.fromarray(decode(root.path / clip["path"], np.array([middle]), SIDE)[0])
        frame = rows_of(root, "frames", shard, "clip_id", [clip["clip_id"]]).slice(middle, 1).to_pylist()
        if frame:
            shown = tuple(frame[0][name] for name in ("box", "quaternion", "speed_deg"))
            draw(ImageDraw.Draw(picture), shown, SIDE / crops[clip["clip_id"]], SIDE)
        speed = "speed unknown" if clip["mean_speed"] is None else f"mean {clip['mean_speed']:.2f} deg"
        yield Tile(picture, (clip["clip_id"], f"{clip['num_frames'] / 30:.1f} s, {speed}"))


def _spread(rows: list[Row], count: int) -> list[Row]:
    if len(rows) <= count:
        return rows
    return [rows[at] for at in np.linspace(0, len(rows) - 1, count).round().astype(int)]


# ---- what was left out ----


def reject_tiles(root: DataRoot, shard: str, rejects: list[Row]) -> Iterator[Tile]:
    """Up to EXAMPLES of each reason, the reasons by name."""
    by_reason: dict[str, list[Row]] = defaultdict(list)
    for row in sorted(rejects, key=lambda row: (row["reason"], row["id"])):
        by_reason[row["reason"]].append(row)
    for reason, rows in by_reason.items():
        for row in _spread(rows, EXAMPLES):
            score = "" if row["score"] is None else f"{row['score']:.3g}"
            wanted = "" if row["threshold"] is None else f", wanted {row['threshold']:.3g}"
            number = f"{reason} {score}{wanted}"
            yield Tile(_example(root, shard, row), (number, f"{len(rows)} in all", f"{row['kind']} {row['id'][:12]}"))


def _example(root: DataRoot, shard: str, reject: Row) -> Image.Image:
    """A picture on which the reason is seen; a grey one where there is no picture at all."""
    try:
        found = _picture(root, shard, reject)
    except (UserError, OSError, ValueError):  # the file is gone or broken: often the very reason
        found = None
    return found or Image.new("RGB", (SIDE, SIDE), GREY)


def _picture(root: DataRoot, shard: str, reject: Row) -> Image.Image | None:
    if reject["kind"] == "source":
        rows = rows_of(root, "videos", shard, "source_id", [reject["id"]]).to_pylist()
        path = local_path(root, rows[0]) if rows and reject["reason"] != REMOVED else None
        return _still(path, 0.0, []) if path and path.is_file() else None
    video, frames = _looked_at(root, shard, reject)
    if not frames:
        return None
    shown = _telling(reject["reason"], frames)
    boxes = [(shown["box"], YELLOW), (shown["second_box"], RED)]
    return _still(video_path(root, shard, video), shown["t_s"], [(box, colour) for box, colour in boxes if box])


def _looked_at(root: DataRoot, shard: str, reject: Row) -> tuple[str, list[Row]]:
    """The video a shot or clip lies in, and what the landmarker saw of it there."""
    name, _, rest = reject["id"].partition(":" if reject["kind"] == "shot" else "_")
    videos = [row["video_id"] for row in root.read("videos", shard, ["video_id", "status"]).to_pylist()]
    video = next((video for video in videos if video and video.startswith(name)), "")
    seen = rows_of(root, "landmarks", shard, "video_id", [video])
    columns = seen.select(["t_s", "shot", "faces", "box", "second_box"]).to_pylist()
    if reject["kind"] == "shot":
        return video, [row for row in columns if row["shot"] == int(rest.partition(":")[0])]
    if not rest.isdigit():  # a video
        return video, columns
    start_s = int(rest) / 1000
    return video, [row for row in columns if start_s <= row["t_s"] < start_s + 1]


def _telling(reason: str, frames: list[Row]) -> Row:
    """The frame on which a reason is best seen; the middle one where none tells more than another."""
    lost = [row for row in frames if row["box"] is None]
    found = [row for row in frames if row["box"] is not None]
    match reason:
        case "two_faces" if any(row["second_box"] for row in found):
            return max(found, key=lambda row: _height(row["second_box"]))
        case "face_lost" if lost:
            return lost[len(lost) // 2]
        case "face_too_small" if found:
            return min(found, key=lambda row: _height(row["box"]))
        case "face_cut_off" if found:  # the one furthest to the left or top, or to the right or bottom
            middle = np.median([_centre(row["box"]) for row in found], axis=0)
            return max(found, key=lambda row: float(np.abs(_centre(row["box"]) - middle).max()))
    return frames[len(frames) // 2]


def _height(box: list[float] | None) -> float:
    return box[3] - box[1] if box else 0.0


def _centre(box: list[float]) -> np.ndarray:
    return np.array([box[0] + box[2], box[1] + box[3]]) / 2


def _still(path: Path, at_s: float, boxes: list[tuple[list[float], tuple]]) -> Image.Image | None:
    picture = media.still(path, at_s)
    if picture is None:
        return None
    shown = Image.fromarray(picture)
    pencil = ImageDraw.Draw(shown)
    for box, colour in boxes:
        pencil.rectangle(box, outline=colour, width=max(2, max(shown.size) // SIDE))
    shown.thumbnail((SIDE, SIDE))
    tile = Image.new("RGB", (SIDE, SIDE), GREY)
    tile.paste(shown, ((SIDE - shown.width) // 2, (SIDE - shown.height) // 2))
    return tile


# ---- the sheet ----


def _save(path: Path, tiles: list[Tile]) -> None:
    if not tiles:
        path.unlink(missing_ok=True)
        return
    with atomic(path) as temporary:
        sheet(tiles).save(temporary, "JPEG", quality=85)


def sheet(tiles: Iterable[Tile]) -> Image.Image:
    """Tiles in rows of COLUMNS, their lines below them."""
    tiles = list(tiles)
    below = LINE * max(len(tile.lines) for tile in tiles)
    rows = -(-len(tiles) // COLUMNS)
    drawn = Image.new("RGB", (SIDE * min(COLUMNS, len(tiles)), (SIDE + below) * rows), (20, 20, 20))
    pencil = ImageDraw.Draw(drawn)
    for number, tile in enumerate(tiles):
        x, y = number % COLUMNS * SIDE, number // COLUMNS * (SIDE + below)
        drawn.paste(tile.picture, (x, y))
        for line, text in enumerate(tile.lines):
            pencil.text((x + 3, y + SIDE + line * LINE), text, fill=(235, 235, 235))
    return drawn
