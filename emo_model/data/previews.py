"""What people look at of a clip: a contact sheet or a film, with face box, pose axes and head speed."""

import io
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from emo_model.data.catalog import query
from emo_model.data.store import DataRoot
from emo_model.errors import UserError

FRAMES, SIDE = 6, 128  # frames on a sheet, pixels a side
VIDEO_SIDE = 384
SHEET_BYTES = 20_000  # sheets go into the UI's metadata, which is kept for every run
AXES = ((230, 60, 60), (60, 200, 60), (80, 120, 255))  # x to the right of the picture, y up, z out of the face


def contact_sheet(root: DataRoot, clip_id: str) -> bytes:
    """JPEG of at most SHEET_BYTES: frames spread over the clip, face box, pose axes, and each frame's speed.

    `clip_id` may be the beginning of one. UserError where no clip, or more than one, is called so.
    """
    path, size, clip_id, num_frames = _clip(root, clip_id)
    wanted = np.linspace(0, num_frames - 1, FRAMES).round().astype(int)
    rows = _frames(root, clip_id, wanted)
    sheet = Image.new("RGB", (SIDE * FRAMES, SIDE))
    for column, (number, picture) in enumerate(zip(wanted, _pictures(root, path, wanted), strict=True)):
        drawn = Image.fromarray(picture)
        if int(number) in rows:
            draw(ImageDraw.Draw(drawn), rows[int(number)], SIDE / size, SIDE)
        sheet.paste(drawn, (SIDE * column, 0))
    return jpeg(sheet)


def annotated_video(root: DataRoot, clip_id: str, out: Path) -> None:
    """The whole clip as mp4 with its sound: face box, pose axes, head speed on every frame. Errors: contact_sheet's."""
    from emo_model.data.audio import read_wav
    from emo_model.data.media import frames, write_video

    path, size, clip_id, num_frames = _clip(root, clip_id)
    rows = _frames(root, clip_id, np.arange(num_frames))
    _, sounds = query(root, "SELECT path FROM clip_audio WHERE clip_id = $clip", {"clip": clip_id})

    def drawn() -> Iterator[NDArray[np.uint8]]:
        for number, (_, picture) in enumerate(frames(root.path / path)):
            shown = Image.fromarray(picture).resize((VIDEO_SIDE, VIDEO_SIDE), Image.Resampling.BICUBIC)
            if number in rows:
                draw(ImageDraw.Draw(shown), rows[number], VIDEO_SIDE / size, VIDEO_SIDE)
            yield np.asarray(shown)

    sound = read_wav(root.path / sounds[0][0]) if sounds else None
    write_video(out, drawn(), 30, (VIDEO_SIDE, VIDEO_SIDE), sound)


def _clip(root: DataRoot, clip_id: str) -> tuple[str, int, str, int]:
    _, found = query(
        root,
        "SELECT path, size, clip_id, num_frames FROM crops WHERE starts_with(clip_id, $name) LIMIT 2",
        {"name": clip_id},
    )
    if len(found) != 1:
        how_many = "more than one clip begins" if found else "no clip begins"
        raise UserError(f"{how_many} with {clip_id!r}; run: emo query 'SELECT clip_id FROM clips'")
    return found[0]


def _frames(root: DataRoot, clip_id: str, wanted: NDArray[np.int64]) -> dict[int, tuple]:
    _, rows = query(
        root,
        "SELECT frame, box, quaternion, speed_deg FROM frames WHERE clip_id = $clip AND list_contains($wanted, frame)",
        {"clip": clip_id, "wanted": wanted.tolist()},
    )
    return {row[0]: row[1:] for row in rows}


def _pictures(root: DataRoot, path: str, wanted: NDArray[np.int64]) -> NDArray[np.uint8]:
    from emo_model.data.frames import decode

    return decode(root.path / path, wanted, SIDE)


def draw(pencil: ImageDraw.ImageDraw, row: tuple, scale: float, side: int) -> None:
    """Face box, pose axes and speed of a frame onto a picture `side` pixels a side.

    row: (box in crop pixels, quaternion w x y z, speed), each None where unknown; scale: of the picture over the crop.
    """
    box, quaternion, speed = row
    if box is not None:
        pencil.rectangle([edge * scale for edge in box], outline=(255, 220, 0), width=max(1, side // 128))
    if box is not None and quaternion is not None:
        from scipy.spatial.transform import Rotation  # where it is used: every Dagster process would pay its 0.1 s

        x, y = (box[0] + box[2]) / 2 * scale, (box[1] + box[3]) / 2 * scale
        axes = Rotation.from_quat(quaternion, scalar_first=True).as_matrix().T * side / 4  # one row an axis
        for axis, colour in zip(axes, AXES, strict=True):
            pencil.line([x, y, x + axis[0], y - axis[1]], fill=colour, width=2)  # the camera's y points up
    pencil.rectangle([0, side - 13, 70, side], fill=(0, 0, 0))
    pencil.text((3, side - 12), "speed unknown" if speed is None else f"{speed:.2f} deg", fill=(255, 255, 255))


def jpeg(picture: Image.Image) -> bytes:
    """JPEG as good as SHEET_BYTES allow."""
    for quality in (80, 65, 50, 35, 20):
        buffer = io.BytesIO()
        picture.save(buffer, "JPEG", quality=quality, optimize=True)
        if buffer.tell() <= SHEET_BYTES:
            break
    return buffer.getvalue()
