"""Pictures and sound in and out of files, with honest times (PyAV; no ffmpeg program, no shell).

One clock for a video: 0 is the presentation time of its first frame, whatever the file's own timestamps say. Sound is
placed on that clock: codec priming, edit lists and streams that start apart are accounted for, never assumed away.

    frames(path)                    every source frame with its own time, upright, in square pixels
    audio(path, start_s, end_s)     16 kHz mono, sample k is the sound at start_s + k / 16000
    write_video(path, ...)          H.264 whose every 15th frame can be sought, the same bytes every time
"""

import contextlib
import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from functools import cache
from itertools import takewhile
from pathlib import Path

import av
import numpy as np
from av.stream import Disposition
from av.video.reformatter import ColorTrc
from numpy.typing import NDArray

from emo_model.data.store import atomic

AUDIO_RATE = 16_000
SAME_S = 1e-6  # timestamps closer than this are the same instant
_JITTER_S = 2e-3  # a larger step between sound chunks is a gap, not rounding
_MIX = {"FC": 1.0, "FL": 0.5**0.5, "FR": 0.5**0.5, "LFE": 0.0}  # ITU-R BS.775, before they are made to sum to 1
_SURROUND = 0.5  # every other channel

Picture = NDArray[np.uint8]  # (H, W, 3) RGB
Sound = NDArray[np.float32]  # (samples,) mono in [-1, 1]


class MediaError(Exception):
    """A file that cannot be used: a reason of the closed list, what was measured, and what was wanted."""

    def __init__(self, reason: str, detail: str, score: float | None = None, threshold: float | None = None) -> None:
        super().__init__(detail)
        self.reason, self.detail, self.score, self.threshold = reason, detail, score, threshold


def open_media(path: Path) -> av.container.InputContainer:
    """Open a file for reading. `file:` keeps names with a colon from being taken for a protocol."""
    return av.open(f"file:{path.absolute()}", metadata_errors="replace")


def video_stream(container: av.container.InputContainer) -> av.VideoStream | None:
    """The main video stream: no cover art, decoded on all cores."""
    stream = container.streams.best("video")
    if stream is not None:
        stream.thread_type = "AUTO"
    return stream


def audio_stream(container: av.container.InputContainer) -> av.AudioStream | None:
    """The sound a player would choose: of the tracks marked default the first, else the first of all."""
    tracks = [stream for stream in container.streams.audio if stream.codec_context is not None]
    return next((stream for stream in tracks if stream.disposition & Disposition.default), next(iter(tracks), None))


# ---- pictures ----


@dataclass(frozen=True)
class SourceFrame:
    """One decoded frame: `t_s` seconds since the video's first frame; pixels are converted only when asked for."""

    t_s: float
    start_s: float  # the first frame's own timestamp in the file
    decoded: av.VideoFrame
    pixel_aspect: float  # width of a pixel over its height

    @property
    def rotation(self) -> int:
        """Clockwise degrees by which the stored picture is turned before it is shown: 0, 90, 180, 270."""
        return -round(self.decoded.rotation / 90) % 4 * 90

    @property
    def size(self) -> tuple[int, int]:
        """(width, height) as shown."""
        width, height = round(self.decoded.width * self.pixel_aspect), self.decoded.height
        return (width, height) if self.rotation % 180 == 0 else (height, width)

    def rgb(self) -> Picture:
        """(H, W, 3) uint8 as shown: upright, square pixels.

        The matrix is the one the file names, else BT.601. 10 bits are rounded to 8. HLG is shown as it is, as it was
        made to be. PQ goes through one fixed curve for all three channels, rising up to 10,000 nits, so that no light
        is crushed. Wide primaries (BT.2020) are not brought to BT.709: their colours come out a little paler.
        """
        pq = self.decoded.color_trc == ColorTrc.SMPTE2084
        width = round(self.decoded.width * self.pixel_aspect)
        stored = self.decoded.to_ndarray(format="rgb48le" if pq else "rgb24", width=width, height=self.decoded.height)
        if pq:
            stored = _pq_to_sdr()[stored]
        return np.ascontiguousarray(np.rot90(stored, -(self.rotation // 90)))  # mediapipe is blind to other layouts


@cache
def _pq_to_sdr() -> NDArray[np.uint8]:
    """(65536,) what an SDR screen shows for each PQ code: SMPTE ST 2084, Reinhard from 203 nits' white, gamma 2.2."""
    root = np.linspace(0, 1, 1 << 16) ** (32 / 2523)
    nits = 10_000 * (np.clip(root - 3424 / 4096, 0, None) / (2413 / 128 - 2392 / 128 * root)) ** (8192 / 1305)
    light, brightest = nits / 203, 10_000 / 203
    shown = light * (1 + light / brightest**2) / (1 + light)
    return np.round(255 * shown ** (1 / 2.2)).astype(np.uint8)


def decode(path: Path) -> Iterator[SourceFrame]:
    """Source frames in the order shown, times strictly increasing; damaged frames are left out."""
    with open_media(path) as container:
        stream = video_stream(container)
        if stream is None:
            return
        aspect = float(stream.sample_aspect_ratio or 1)
        interval = float(1 / (stream.average_rate or Fraction(25)))
        start, last = 0.0, None
        for frame in _decoded(container, stream):
            time = frame.time if frame.time is not None else (0.0 if last is None else last + interval)
            if last is None:
                start = time
            elif time <= last:
                continue
            last = time
            yield SourceFrame(time - start, start, frame, aspect)


def _decoded(container: av.container.InputContainer, stream: av.VideoStream | av.AudioStream) -> Iterator:
    """Frames of a stream; a packet that does not decode is skipped, a container that breaks off ends it."""
    packets = container.demux(stream)
    while True:
        try:
            packet = next(packets)
        except (StopIteration, av.error.InvalidDataError, av.error.EOFError):
            return
        with contextlib.suppress(av.error.InvalidDataError, av.error.EOFError):
            yield from (frame for frame in packet.decode() if not frame.is_corrupt)


def frames(path: Path) -> Iterator[tuple[float, Picture]]:
    """(seconds since the first frame, RGB picture) of every source frame, one at a time."""
    return ((frame.t_s, frame.rgb()) for frame in decode(path))


def shown_at(times: NDArray[np.float64], at: NDArray[np.float64]) -> NDArray[np.int64]:
    """Index of the source frame on screen at each time: the last one not after it (the time rule)."""
    return np.clip(np.searchsorted(times, at + SAME_S, side="right") - 1, 0, len(times) - 1)


def unrounded(times: NDArray[np.float64]) -> NDArray[np.float64]:
    """The same (N,) times, from 0, as a steady rate has them, where a file rounded them to milliseconds.

    Matroska, WebM and FLV do so: 30 fps reads 0, 33, 67, 100 ms, and at 2/30 s frame 2 would not be on screen yet.
    Frames that were dropped stay gaps. Times of no steady rate, whole or NTSC's 1000/1001, are left as they are.
    """
    steps = np.diff(times)
    if not steps.size or np.abs(times - np.round(times, 3)).max() > SAME_S:
        return times
    common = steps[np.abs(steps / np.median(steps) - 1) < 0.5].mean()
    number = np.concatenate([[0], np.cumsum(np.round(steps / common))])
    rate = max(1.0, number[-1] / times[-1])
    steady = [number / round(rate), number * 1.001 / round(rate * 1.001)]
    error = [np.abs(line - times).max() for line in steady]
    return steady[int(np.argmin(error))] if min(error) < 1e-3 + SAME_S else times  # two roundings: this and the first


# ---- what a file is ----


@dataclass(frozen=True)
class Probe:
    """What a video file is. Field meanings and units are those of the `videos` table."""

    container: str
    codec: str
    width: int
    height: int
    fps: float
    is_vfr: bool
    duration_s: float
    video_start_s: float
    audio_start_s: float | None
    rotation: int
    has_audio: bool
    audio_rate: int | None


def probe(path: Path) -> Probe:
    """What a video file is, from its own packets rather than its header's word. MediaError where it is unusable."""
    if path.stat().st_size == 0:
        raise MediaError("empty_file", "0 bytes")
    _require_whole(path)
    try:
        first = next(decode(path), None)
        times, tick, container, codec, sound = _timeline(path)
    except (av.error.FFmpegError, ValueError) as error:
        raise MediaError("unreadable", f"no container that could be opened: {error}") from error
    if first is None or not times.size:
        raise MediaError("unreadable", "no video stream with a frame that could be decoded")
    steps = np.diff(times)
    interval = float(np.median(steps)) if steps.size else 0.0
    duration = float(times[-1] - times[0]) + interval
    return Probe(
        container=container,
        codec=codec,
        width=first.size[0],
        height=first.size[1],
        fps=round(len(times) / duration, 6) if duration else 0.0,
        is_vfr=bool(steps.size and np.abs(steps - interval).max() > 1.5 * tick + SAME_S),
        duration_s=duration,
        video_start_s=first.start_s,
        audio_start_s=None if sound is None else sound[0],
        rotation=first.rotation,
        has_audio=sound is not None,
        audio_rate=None if sound is None else sound[1],
    )


def _timeline(path: Path) -> tuple[NDArray[np.float64], float, str, str, tuple[float, int] | None]:
    """Presentation times of the video's packets, their tick, container, codec, and (start, rate) of the sound."""
    with open_media(path) as container:
        stream, sound = video_stream(container), audio_stream(container)
        heard = None
        if sound is not None:
            heard = float((sound.start_time or 0) * sound.time_base), sound.rate or _rate_of_first(path)
        if stream is None:
            return np.empty(0), 0.0, container.format.name, "", heard
        shown = (packet for packet in container.demux(stream) if packet.size and not packet.is_discard)
        ticks = [packet.pts if packet.pts is not None else packet.dts for packet in shown]
        tick = float(stream.time_base)
        times = np.unique([value for value in ticks if value is not None]).astype(float) * tick
        return times, tick, container.format.name, stream.codec_context.codec.name, heard


def _require_whole(path: Path) -> None:
    """MP4 and MOV say how long each of their boxes is: refuse a file that ends inside one, or has no index."""
    size, offset, boxes = path.stat().st_size, 0, []
    with path.open("rb") as file:
        while offset + 8 <= size:
            file.seek(offset)
            header = file.read(16)
            length, kind = int.from_bytes(header[:4], "big"), header[4:8]
            if offset == 0 and kind not in (b"ftyp", b"moov", b"mdat", b"wide", b"free", b"skip"):
                return  # another container: it is read as far as it goes
            if length == 1:
                length = int.from_bytes(header[8:16], "big")
            end = size if length == 0 else offset + max(length, 8)
            boxes.append(kind)
            if end > size:
                detail = f"box {kind.decode('latin-1')} ends at byte {end}, the file at {size}"
                raise MediaError("truncated", detail, score=size, threshold=end)
            offset = end
    if boxes and b"moov" not in boxes:
        raise MediaError("truncated", "the index (box moov) is missing", score=size)


# ---- sound ----


def audio(path: Path, start_s: float, end_s: float) -> Sound:
    """Sound of [start_s, end_s) on the video's clock: (round((end_s - start_s) * 16000),) float32, mono, 16 kHz.

    Of several tracks it is the default one (audio_stream). Channels are mixed by fixed weights that sum to 1, so
    nothing clips: stereo evenly, 5.1 with the voice's centre first and no LFE. Where the file has no sound at that
    time there are zeros. ValueError without an audio stream.
    """
    from scipy.signal import resample_poly  # 0.7 s of imports that only this function needs

    first = next(decode(path), None)
    zero = first.start_s if first else 0.0
    with open_media(path) as container:
        stream = audio_stream(container)
        if stream is None:
            raise ValueError(f"{path.name} has no audio stream")
        rate = stream.rate or _rate_of_first(path)
        begin = (zero + start_s) * rate - rate  # in samples; a second of margin: for the filter, and for seeking
        native = np.zeros(math.ceil((end_s - start_s) * rate) + 2 * rate, np.float32)
        if begin > rate:  # a codec's first frames after a seek are wrong: land another second earlier
            with contextlib.suppress(av.error.FFmpegError):  # before its first packet Matroska refuses: read from there
                container.seek(round((begin / rate - 1) / stream.time_base), stream=stream)
        chunks = takewhile(lambda chunk: chunk[0] < begin + len(native), _sound(container, stream, rate))
        near = (chunk for chunk in chunks if chunk[0] + len(chunk[1]) > begin)  # a seek may land long before
        for position, samples in _joined(near, _JITTER_S * rate):
            _lay(native, samples, round(position - begin))  # rounded once: half a sample at most, also at 8 kHz
    common = math.gcd(AUDIO_RATE, rate)
    resampled = resample_poly(native, AUDIO_RATE // common, rate // common)  # zero phase: no delay to undo
    return resampled[AUDIO_RATE:][: round((end_s - start_s) * AUDIO_RATE)].astype(np.float32)


def _rate_of_first(path: Path) -> int:
    """Samples a second of the first sound that decodes, for streams whose sound begins after what a header knows."""
    with open_media(path) as container:
        return next((frame.sample_rate for frame in _decoded(container, audio_stream(container))), AUDIO_RATE)


def _sound(container: av.container.InputContainer, stream: av.AudioStream, rate: int) -> Iterator[tuple[float, Sound]]:
    """(position in samples at `rate` on the file's own clock, mono samples) of every decoded chunk."""
    to_float: dict[tuple[str, str, int], av.AudioResampler] = {}  # broadcasts change from stereo to 5.1 and back
    after = 0.0
    for frame in _decoded(container, stream):
        position = after if frame.time is None else frame.time * rate
        kind = frame.format.name, frame.layout.name, frame.sample_rate
        if kind not in to_float:
            to_float[kind] = av.AudioResampler(format="fltp", rate=rate)
        for chunk in to_float[kind].resample(frame):
            samples = _mono(chunk)
            yield position, samples
            position += len(samples)
        after = position


def _mono(chunk: av.AudioFrame) -> Sound:
    """(N,) weighted mean of a chunk's channels: weights of any layout sum to 1, so no sum leaves [-1, 1]."""
    weights = np.array([_MIX.get(channel.name, _SURROUND) for channel in chunk.layout.channels], np.float32)
    return weights / (weights.sum() or 1) @ chunk.to_ndarray()


def _joined(chunks: Iterable[tuple[float, Sound]], slack: float) -> Iterator[tuple[float, Sound]]:
    """Runs of chunks that follow on one another but for rounding, placed by the middle of what timestamps say.

    Matroska rounds to a millisecond, 44 samples; over a second of chunks the middle is right to a sample.
    """
    run: list[Sound] = []
    starts: list[float] = []  # of the run, as each chunk's timestamp has it
    length = 0
    for position, samples in chunks:
        if run and abs(position - length - starts[0]) > slack:
            yield (min(starts) + max(starts)) / 2, np.concatenate(run)
            run, starts, length = [], [], 0
        run.append(samples)
        starts.append(position - length)
        length += len(samples)
    if run:
        yield (min(starts) + max(starts)) / 2, np.concatenate(run)


def _lay(onto: Sound, samples: Sound, at: int) -> None:
    """Copy samples to position `at`, as far as they lie inside."""
    begin, end = max(at, 0), min(at + len(samples), len(onto))
    if begin < end:
        onto[begin:end] = samples[begin - at : end - at]


# ---- writing ----


def write_video(
    path: Path, frames: Iterable[Picture], fps: int | Fraction, size: tuple[int, int], audio: Sound | None = None
) -> int:
    """Write (H, W, 3) uint8 pictures of `size` (width, height, both even) as mp4; returns how many there were.

    H.264, yuv420p, crf 18, closed groups of at most 15 frames; no B frames, so that every reader's seek lands where
    it should; one thread and one preset, so that equal pictures are equal bytes. `audio` is 16 kHz mono, cut or kept as
    it is, encoded as AAC.
    """
    count = 0
    with (
        atomic(path) as temporary,
        av.open(
            str(temporary), "w", format="mp4", options={"movflags": "+faststart", "fflags": "+bitexact"}
        ) as container,
    ):
        video = container.add_stream("libx264", rate=fps, options={"crf": "18", "preset": "veryfast"})
        video.width, video.height = size
        video.pix_fmt, video.gop_size, video.max_b_frames = "yuv420p", 15, 0
        video.thread_count = 1
        sound = container.add_stream("aac", rate=AUDIO_RATE, layout="mono") if audio is not None else None
        for picture in frames:
            frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(picture), format="rgb24")
            container.mux(video.encode(frame))
            count += 1
        container.mux(video.encode(None))
        if sound is not None and audio is not None:
            _mux_sound(container, sound, audio)
    return count


def _mux_sound(container: av.container.OutputContainer, stream: av.AudioStream, samples: Sound) -> None:
    frame = av.AudioFrame.from_ndarray(np.asarray(samples, np.float32)[None], format="fltp", layout="mono")
    frame.rate, frame.pts = AUDIO_RATE, 0
    container.mux(stream.encode(frame))
    container.mux(stream.encode(None))
