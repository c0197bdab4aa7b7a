"""Draws the videos the data tests need: real files, written with PyAV, of pictures whose truth is known."""

import math
from collections.abc import Iterable, Iterator
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from av.stream import Disposition

TICKS = 90_000  # a second: fine enough that no time is rounded by more than 6 microseconds
LAYOUTS = {1: "mono", 2: "stereo", 6: "5.1"}


def film(
    path: Path,
    pictures: Iterable[np.ndarray],
    *,
    fps: float | Fraction = 25,
    times: list[float] | None = None,
    start_s: float = 0.0,
    sound: np.ndarray | list[np.ndarray] | None = None,
    sound_start_s: float = 0.0,
    rate: int = 16_000,
    codec: str = "libx264",
    sound_codec: str = "aac",
    movflags: str = "",
    default_sounds: tuple[int, ...] = (0,),
) -> Path:
    """Write (H, W, 3) pictures, as H.264 unless told, and sound, as AAC.

    `times` in seconds override `fps`; `start_s` delays the pictures alone, `sound_start_s` the sound. Sound is (N,), or
    (2, N) stereo, or (6, N) 5.1; a list of sounds is as many tracks, those of `default_sounds` marked as default.
    """
    tracks = [] if sound is None else sound if isinstance(sound, list) else [sound]
    with av.open(str(path), "w", options={"movflags": movflags} if movflags else {}) as container:
        video, heard = None, []
        for number, picture in enumerate(pictures):
            if video is None:
                video = container.add_stream(codec, rate=Fraction(fps).limit_denominator(1001), options={"crf": "12"})
                video.height, video.width = picture.shape[:2]
                video.pix_fmt, video.thread_count = "yuv420p", 1
                video.time_base = video.codec_context.time_base = Fraction(1, TICKS)
                heard = [
                    container.add_stream(sound_codec, rate=rate, layout=LAYOUTS[np.atleast_2d(track).shape[0]])
                    for track in tracks
                ]
                if len(heard) > 1:
                    for index, stream in enumerate(heard):
                        stream.disposition = Disposition.default if index in default_sounds else Disposition(0)
            frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(picture), format="rgb24")
            time = start_s + (number / fps if times is None else times[number])
            frame.pts, frame.time_base = round(time * TICKS), Fraction(1, TICKS)
            container.mux(video.encode(frame))
        container.mux(video.encode(None))
        for stream, track in zip(heard, tracks, strict=True):
            for packet in _encoded(stream, np.atleast_2d(track).astype(np.float32), rate, sound_start_s):
                container.mux(packet)
    return path


def _encoded(stream: av.AudioStream, samples: np.ndarray, rate: int, start_s: float) -> Iterator[av.Packet]:
    frame = av.AudioFrame.from_ndarray(samples, format="fltp", layout=LAYOUTS[len(samples)])
    frame.rate, frame.pts, frame.time_base = rate, round(start_s * rate), Fraction(1, rate)
    yield from stream.encode(frame)
    yield from stream.encode(None)


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


def turned(path: Path, degrees: int) -> None:
    """Mark an mp4 as filmed with the camera turned: show it 90, 180 or 270 degrees clockwise (the track's matrix)."""
    cos, sin = {90: (0, 1), 180: (-1, 0), 270: (0, -1)}[degrees]
    data = bytearray(path.read_bytes())
    at = data.index(b"tkhd") + 4 + 40  # version 0: the matrix lies 40 bytes behind the name
    values = (cos << 16, sin << 16, 0, -sin << 16, cos << 16, 0, 0, 0, 1 << 30)
    data[at : at + 36] = b"".join(value.to_bytes(4, "big", signed=True) for value in values)
    path.write_bytes(data)


def there_and_back(source: Path, path: Path, voice: np.ndarray, size: tuple[int, int] = (320, 180)) -> Path:
    """A video played forwards, then backwards, so that it can be looped without a cut; voice at 16 kHz, looped."""
    with av.open(str(source)) as container:
        stream = container.streams.video[0]
        fps = stream.average_rate
        seen = [frame.to_ndarray(format="rgb24", width=size[0], height=size[1]) for frame in container.decode(stream)]
    pictures = seen + seen[::-1]
    sound = np.resize(voice, round(len(pictures) / fps * 16_000))
    return film(path, pictures, fps=fps, sound=sound)


def looped(source: Path, path: Path, seconds: float) -> Path:
    """A film of `film` again and again, its packets copied: hours of it are written in seconds."""
    with av.open(str(source)) as once, av.open(str(path), "w") as container:
        into = {stream.index: container.add_stream_from_template(stream) for stream in once.streams}
        stream = once.streams.video[0]
        length = stream.duration * stream.time_base
        packets = [packet for packet in once.demux() if packet.dts is not None]
        whole = [
            p for p in packets if p.stream is stream or (p.pts >= 0 and (p.pts + p.duration) * p.time_base < length)
        ]
        copies = [(p.stream.index, p.pts, p.dts, p.duration, p.time_base, p.is_keyframe, bytes(p)) for p in whole]
        for lap in range(math.ceil(seconds / length)):
            for index, pts, dts, duration, base, is_key, data in copies:
                packet, ahead = av.Packet(data), round(lap * length / base)
                packet.pts, packet.dts, packet.duration, packet.time_base = pts + ahead, dts + ahead, duration, base
                packet.is_keyframe, packet.stream = is_key, into[index]
                container.mux(packet)
    return path
