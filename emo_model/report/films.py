"""Video as every browser plays it: mp4, H.264 in yuv420p, AAC. What is so already is linked, the rest encoded anew."""

import math
import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from tempfile import TemporaryDirectory

import av
import numpy as np
from PIL import Image, ImageOps

from emo_model.data import media
from emo_model.data.store import atomic
from emo_model.errors import UserError
from emo_model.figures.rows import Row
from emo_model.figures.side_by_side import heard
from emo_model.generate import mp4, synthetic

FPS = 30
CODECS = {"h264"}
PIXELS = {"yuv420p", "yuvj420p"}
SOUNDS = {"aac", "mp3"}
UNREADABLE = (UserError, media.MediaError, av.FFmpegError, OSError)  # what a video that cannot be shown raises


def write_film(path: Path, video: Path, sound: Path | None = None) -> None:
    """Write `path` (mp4) of a video, whole or not at all.

    sound: heard with it where it has no track of its own. A film says that it is synthetic where the video does.
    One of UNREADABLE where the video cannot be read.
    """
    if _plays(video, silent=sound is None):
        with atomic(path) as temporary:
            _link(video, temporary)
        return
    said = synthetic.said(video)
    encode(path, video, video if has_sound(video) else sound, made={"of": said} if said else {})


def encode(
    path: Path,
    video: Path,
    sound: Path | None,
    *,
    seconds: float = math.inf,
    side: int | None = None,
    made: Mapping[str, str] | None = None,
) -> None:
    """Write pictures at 30 fps, at most `seconds` of them, with the sound of a file.

    side: of a square that they are put in. The film tells nothing of where it comes from, unless `made` does.
    One of UNREADABLE where the video cannot be read.
    """
    row = Row("", video)
    count = max(1, round(min(row.shown.seconds, seconds) * FPS))
    path.parent.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(prefix=".film-", dir=path.parent) as folder:
        film = Path(folder) / "film.mp4"
        pictures = row.shown.at(number / FPS for number in range(count))
        mp4.write_film(film, (_shaped(picture, side) for picture in pictures))
        voice = heard([row], sound) if sound else None
        mp4.join(path, [film], voice and voice.first(count / FPS), made or {})


def has_sound(video: Path) -> bool:
    """Whether a file has a sound track."""
    with media.open_media(video) as container:
        return media.audio_stream(container) is not None


def _shaped(picture: media.Picture, side: int | None) -> media.Picture:
    """In the middle of a square, scaled to it; or without the last row and column where yuv420p needs it."""
    if side is None:
        return picture[: len(picture) // 2 * 2, : picture.shape[1] // 2 * 2]
    return np.asarray(ImageOps.pad(Image.fromarray(picture), (side, side), Image.Resampling.BICUBIC))


def _plays(path: Path, *, silent: bool) -> bool:
    """Whether a browser plays the file as it is, with sound unless it may be `silent`."""
    with media.open_media(path) as container:
        video, sound = media.video_stream(container), media.audio_stream(container)
        return (
            "mp4" in container.format.name
            and video is not None
            and video.codec_context.name in CODECS
            and video.codec_context.pix_fmt in PIXELS
            and (silent if sound is None else sound.codec_context.name in SOUNDS)
        )


def _link(source: Path, path: Path) -> None:
    """No second copy on the same disk."""
    try:
        os.link(source.resolve(), path)
    except OSError:
        shutil.copyfile(source, path)
