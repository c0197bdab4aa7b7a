"""A folder of numbered pictures as one video, as VFHQ ships its clips: the PNGs as they are, one after another, in a
QuickTime file. Nothing is encoded anew, so nothing is lost; it takes as much disk again as the pictures."""

import re
from fractions import Fraction
from pathlib import Path

import av

from emo_model.data.media import MediaError
from emo_model.data.store import atomic

SUFFIX = ".mov"


def is_picture(name: str) -> bool:
    """Whether a file is called as a numbered picture is: 00000012.png."""
    return re.fullmatch(r"\d+\.png", name) is not None


def pack(folder: Path, path: Path, fps: float) -> Path:
    """Write the pictures of a folder, in the order of their numbers, as the video `path`, and return it.

    Numbers may begin anywhere and have gaps: what is there is shown at an even rate. MediaError where the first is no
    picture or there is none.
    """
    pictures = sorted((file for file in folder.iterdir() if is_picture(file.name)), key=lambda file: int(file.stem))
    if not pictures:
        raise MediaError("unreadable", f"no numbered PNG in {folder.name}")
    try:
        with av.open(f"file:{pictures[0].absolute()}", format="png_pipe") as first:
            width, height = first.streams.video[0].width, first.streams.video[0].height
            pixels = first.streams.video[0].pix_fmt
    except (av.error.FFmpegError, IndexError) as error:
        raise MediaError("unreadable", f"{folder.name}/{pictures[0].name}: {error}") from error
    if not width or pixels is None:
        raise MediaError("unreadable", f"{folder.name}/{pictures[0].name} is no PNG")
    tick = 1 / Fraction(fps).limit_denominator(1001)
    with atomic(path) as temporary, av.open(str(temporary), "w", options={"fflags": "+bitexact"}) as container:
        stream = container.add_stream("png", rate=1 / tick)
        stream.width, stream.height, stream.pix_fmt, stream.time_base = width, height, pixels, tick
        for number, picture in enumerate(pictures):
            packet = av.Packet(picture.read_bytes())
            packet.stream, packet.time_base, packet.pts, packet.dts, packet.duration = stream, tick, number, number, 1
            packet.is_keyframe = True
            container.mux(packet)
    return path
