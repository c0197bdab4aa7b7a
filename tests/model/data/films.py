"""Draws the videos the data tests need: real files, written with PyAV, of pictures whose truth is known."""

from collections.abc import Iterable, Iterator
from fractions import Fraction
from pathlib import Path

import av
import numpy as np

TICKS = 90_000  # a second: fine enough that no time is rounded by more than 6 microseconds


def film(
    path: Path,
    pictures: Iterable[np.ndarray],
    *,
    fps: float = 25,
    times: list[float] | None = None,
    start_s: float = 0.0,
    sound: np.ndarray | None = None,
    rate: int = 16_000,
    faststart: bool = False,
) -> Path:
    """Write (H, W, 3) pictures as H.264. `times` in seconds override `fps`; `start_s` delays the pictures alone."""
    options = {"movflags": "+faststart"} if faststart else {}
    with av.open(str(path), "w", options=options) as container:
        video, pictures = None, iter(pictures)
        audio = None
        for number, picture in enumerate(pictures):
            if video is None:
                video = container.add_stream(
                    "libx264", rate=Fraction(fps).limit_denominator(1000), options={"crf": "12"}
                )
                video.height, video.width = picture.shape[:2]
                video.pix_fmt, video.thread_count = "yuv420p", 1
                video.time_base = video.codec_context.time_base = Fraction(1, TICKS)
                audio = container.add_stream("aac", rate=rate, layout="mono") if sound is not None else None
            frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(picture), format="rgb24")
            time = start_s + (number / fps if times is None else times[number])
            frame.pts, frame.time_base = round(time * TICKS), Fraction(1, TICKS)
            container.mux(video.encode(frame))
        container.mux(video.encode(None))
        if audio is not None:
            frame = av.AudioFrame.from_ndarray(sound[None].astype(np.float32), format="fltp", layout="mono")
            frame.rate, frame.pts = rate, 0
            container.mux(audio.encode(frame))
            container.mux(audio.encode(None))
    return path


def numbered(count: int, size: int = 64) -> Iterator[np.ndarray]:
    """Pictures that say their own number: eight bars, white for a one, the lowest bit on the left."""
    for number in range(count):
        bits = np.array([number >> bit & 1 for bit in range(8)], np.uint8) * 255
        row = np.repeat(bits, size // 8)
        yield np.broadcast_to(row[None, :, None], (size, size, 3)).copy()


def number_of(picture: np.ndarray) -> int:
    """The number a picture of `numbered` says."""
    bars = picture[:, :, 1].mean(axis=0).reshape(8, -1).mean(axis=1)
    return sum(1 << bit for bit, bar in enumerate(bars) if bar > 127)


def clicks(at_s: Iterable[float], length_s: float, rate: int = 16_000) -> np.ndarray:
    """Short bursts of 1 kHz, each centred on one of the times."""
    time = np.arange(round(length_s * rate)) / rate
    sound = sum(np.exp(-0.5 * ((time - at) / 0.003) ** 2) * np.cos(2000 * np.pi * (time - at)) for at in at_s)
    return 0.8 * np.asarray(sound, np.float32)


def turned_on_its_side(path: Path) -> None:
    """Mark an mp4 as filmed with the camera turned: show it 90 degrees clockwise (the track header's matrix)."""
    data = bytearray(path.read_bytes())
    at = data.index(b"tkhd") + 4 + 40  # version 0: the matrix lies 40 bytes behind the name
    values = (0, 1 << 16, 0, -1 << 16, 0, 0, 0, 0, 1 << 30)
    data[at : at + 36] = b"".join(value.to_bytes(4, "big", signed=True) for value in values)
    path.write_bytes(data)
