"""Pictures and sound in and out of files, with honest times (PyAV; no ffmpeg program, no shell).

One clock for a video: 0 is the presentation time of its first frame, whatever the file's own timestamps say. Sound is
placed on that clock: codec priming, edit lists and streams that start apart are accounted for, never assumed away.

    frames(path)                    every source frame with its own time, upright, in square pixels
    audio(path, start_s, end_s)     16 kHz mono, sample k is the sound at start_s + k / 16000
    sounds(path, spans)             the same of many spans, in one decode
    write_video(path, ...)          H.264 whose every 15th frame can be sought, the same bytes every time
"""

import contextlib
import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from fractions import Fraction
from functools import cache
from itertools import chain
from pathlib import Path

import av
import numpy as np
from av.stream import Disposition
from av.video.reformatter import ColorTrc
from numpy.typing import NDArray

from emo_model.data.store import atomic

AUDIO_RATE = 16_000
SAME_S = 1e-6  # timestamps closer than this are the same instant
MAX_PIXELS = 8192 * 8192  # 67 million, of one picture: 8K with room; beyond, a header's slip or a bomb
SOUND_RATES = range(1000, 768_001)  # hertz: what sound is recorded at; a damaged header says anything
_ASPECTS = (0.25, 4.0)  # width of a pixel over its height; what lies outside is damage and taken for 1
_LOUDEST = 8.0  # re full scale: float sound may go beyond 1, but what lies far beyond is no sound
_JITTER_S = 2e-3  # a larger step between sound chunks is a gap, not rounding
_MIX = {"FC": 1.0, "FL": 0.5**0.5, "FR": 0.5**0.5, "LFE": 0.0}  # ITU-R BS.775, before they are made to sum to 1
_SURROUND = 0.5  # every other channel
# Only containers that hold their own pictures. ffmpeg also "opens" play lists, which read other files or wait for ever
# for the next entry, and films plain text.
_CONTAINERS = (
    "mov,mp4,m4a,3gp,3g2,mj2,matroska,webm,avi,mpegts,mpeg,mpegvideo,m4v,flv,live_flv,asf,asf_o,ogg,wav,mxf,nut,rm,ivf,dv,"
    "wtv,gxf,nsv,h261,h263,h264,hevc,vvc,av1,obu,vc1,mjpeg,yuv4mpegpipe"
)

Picture = NDArray[np.uint8]  # (H, W, 3) RGB
Sound = NDArray[np.float32]  # (samples,) mono in [-1, 1]


class MediaError(Exception):
    """A file that cannot be used: a reason of the closed list, what was measured, and what was wanted."""

    def __init__(self, reason: str, detail: str, score: float | None = None, threshold: float | None = None) -> None:
        super().__init__(detail)
        self.reason, self.detail, self.score, self.threshold = reason, detail, score, threshold


def open_media(path: Path) -> av.container.InputContainer:
    """Open a file for reading. `file:` keeps names with a colon from being taken for a protocol."""
    return av.open(f"file:{path.absolute()}", options={"format_whitelist": _CONTAINERS}, metadata_errors="replace")


def video_stream(container: av.container.InputContainer) -> av.VideoStream | None:
    """The main video stream; None where there is none that can be decoded. Cover art is none."""
    stream = container.streams.best("video")
    if stream is None or stream.codec_context is None or stream.disposition & Disposition.attached_pic:
        return None
    stream.thread_type = "SLICE"  # with threads by frame, a damaged stream gives other pictures each time
    stream.codec_context.options = {"max_pixels": str(MAX_PIXELS)}  # larger ones, also in mid-stream, do not decode
    return stream


def audio_stream(container: av.container.InputContainer) -> av.AudioStream | None:
    """The sound a player would choose: of the tracks marked default the first, else the first of all; None where there
    is none that can be decoded."""
    tracks = [
        s for s in container.streams.audio if s.codec_context is not None and (not s.rate or s.rate in SOUND_RATES)
    ]
    return next((stream for stream in tracks if stream.disposition & Disposition.default), next(iter(tracks), None))


def packets(
    container: av.container.InputContainer, stream: av.VideoStream | av.AudioStream
) -> Iterator[av.packet.Packet]:
    """Packets of a stream as far as the container goes; one that breaks off ends there."""
    while True:
        try:
            yield from container.demux(stream)
        except IndexError:  # PyAV on a packet of another stream that appeared midway: go on behind it
            continue
        except MemoryError:
            raise  # of this machine, not of the file
        except av.error.FFmpegError:  # demuxers say EIO, EINVAL and more for what is merely cut short
            return
        return


# ---- pictures ----


@dataclass(frozen=True)
class SourceFrame:
    """One decoded frame: `t_s` seconds since the video's first frame; pixels are converted only when asked for.

    A stream may change its size or turn halfway; every frame is shown at the first one's size, as players do.
    """

    t_s: float
    start_s: float  # the first frame's own timestamp in the file
    decoded: av.VideoFrame
    stored: tuple[int, int]  # (width, height) in square pixels, before it is turned
    rotation: int  # clockwise degrees by which the stored picture is turned before it is shown: 0, 90, 180, 270

    @property
    def size(self) -> tuple[int, int]:
        """(width, height) as shown."""
        return self.stored if self.rotation % 180 == 0 else self.stored[::-1]

    def rgb(self) -> Picture:
        """(H, W, 3) uint8 as shown: upright, square pixels.

        The matrix is the one the file names, else BT.601. 10 bits are rounded to 8. HLG is shown as it is, as it was
        made to be. PQ goes through one fixed curve for all three channels, rising up to 10,000 nits, so that no light
        is crushed. Wide primaries (BT.2020) are not brought to BT.709: their colours come out a little paler.
        """
        pq = self.decoded.color_trc == ColorTrc.SMPTE2084
        width, height = self.stored
        stored = self.decoded.to_ndarray(format="rgb48le" if pq else "rgb24", width=width, height=height)
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
        if not _ASPECTS[0] <= aspect <= _ASPECTS[1]:
            aspect = 1.0
        interval = float(1 / (stream.average_rate or Fraction(25)))
        first, start, last = None, 0.0, 0.0
        for frame in decoded(container, stream):
            if first is None:
                start = last = frame.time or 0.0
                stored = max(1, round(frame.width * aspect)), frame.height
                first = SourceFrame(0.0, start, frame, stored, -round(frame.rotation / 90) % 4 * 90)
                yield first
                continue
            time = last + interval if frame.time is None else frame.time
            if time > last:
                last = time
                yield replace(first, t_s=time - start, decoded=frame)


def decoded(container: av.container.InputContainer, stream: av.VideoStream | av.AudioStream) -> Iterator:
    """Frames of a stream; a packet that does not decode is skipped."""
    for packet in chain(packets(container, stream), [None]):  # None: what the decoder still holds after a break
        try:
            yield from (frame for frame in stream.decode(packet) if not frame.is_corrupt)
        except MemoryError:
            raise
        except av.error.FFmpegError:
            continue


def frames(path: Path) -> Iterator[tuple[float, Picture]]:
    """(seconds since the first frame, RGB picture) of every source frame, one at a time."""
    return ((frame.t_s, frame.rgb()) for frame in decode(path))


def still(path: Path, at_s: float) -> Picture | None:
    """About what is shown at a time: the first picture not before it, by a seek. None where nothing decodes.

    To look at; no step measures on it: where a file's index lies, another picture comes.
    """
    first = next(decode(path), None)
    if first is None:
        return None
    found = first
    with open_media(path) as container:
        stream = video_stream(container)
        assert stream is not None, "it gave a first picture"
        with contextlib.suppress(av.error.FFmpegError, OverflowError):
            container.seek(round((first.start_s + at_s) / stream.time_base), stream=stream)
        for frame in decoded(container, stream):
            found = replace(first, t_s=(frame.time or first.start_s) - first.start_s, decoded=frame)
            if found.t_s >= at_s - SAME_S:
                break
    return found.rgb()


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
    usual = steps[np.abs(steps / np.median(steps) - 1) < 0.5]
    if not usual.size:
        return times
    common = usual.mean()
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
        size = _pixels(path)
        first = next(decode(path), None)
        times, tick, container, codec, sound = _timeline(path)
    except (av.error.FFmpegError, ValueError) as error:
        raise MediaError("unreadable", f"no container that could be opened: {error}") from error
    if size > MAX_PIXELS:
        raise MediaError("too_large", "pixels in a picture", score=size, threshold=MAX_PIXELS)
    if first is None:
        raise MediaError("unreadable", "no video stream with a frame that could be decoded")
    if not times.size:
        raise MediaError("unreadable", "the file does not say when its pictures are shown")
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


def _pixels(path: Path) -> int:
    """Pixels in a picture, as the file says; 0 without a video stream."""
    with open_media(path) as container:
        stream = video_stream(container)
        return 0 if stream is None else stream.width * stream.height


def _timeline(path: Path) -> tuple[NDArray[np.float64], float, str, str, tuple[float, int] | None]:
    """Presentation times of the video's packets, their tick, container, codec, and (start, rate) of the sound."""
    with open_media(path) as container:
        stream, sound = video_stream(container), audio_stream(container)
        heard = None
        if sound is not None:
            heard = float((sound.start_time or 0) * sound.time_base), sound.rate or _rate_of_first(path)
        if stream is None:
            return np.empty(0), 0.0, container.format.name, "", heard
        shown = (packet for packet in packets(container, stream) if packet.size and not packet.is_discard)
        ticks = [packet.pts if packet.pts is not None else packet.dts for packet in shown]
        tick = float(stream.time_base)
        times = np.unique([value for value in ticks if value is not None]).astype(float) * tick
        return times, tick, container.format.name, stream.codec_context.codec.name, heard


def _require_whole(path: Path) -> None:
    """MP4 and MOV say how long each of their boxes is: refuse a file that ends inside one, or has no index."""
    size, offset, indexed = path.stat().st_size, 0, False
    with path.open("rb") as file:
        while offset + 8 <= size:
            file.seek(offset)
            header = file.read(16)
            length, kind = int.from_bytes(header[:4], "big"), header[4:8]
            if offset == 0 and kind not in (b"ftyp", b"moov", b"mdat", b"wide", b"free", b"skip"):
                return  # another container: it is read as far as it goes
            if not kind.isalnum() and indexed:
                return  # bytes behind the film's end, which no player minds
            if length == 1:
                length = int.from_bytes(header[8:16], "big")
            end = size if length == 0 else offset + max(length, 8)
            indexed = indexed or kind == b"moov"
            if end > size:
                detail = f"box {kind.decode('latin-1')} ends at byte {end}, the file at {size}"
                raise MediaError("truncated", detail, score=size, threshold=end)
            offset = end
    if offset and not indexed:
        raise MediaError("truncated", "the index (box moov) is missing", score=size)


# ---- sound ----


def audio(path: Path, start_s: float, end_s: float) -> Sound:
    """Sound of [start_s, end_s) on the video's clock: (round((end_s - start_s) * 16000),) float32, mono, 16 kHz.

    Of several tracks it is the default one (audio_stream). Channels are mixed by fixed weights that sum to 1, so
    nothing clips: stereo evenly, 5.1 with the voice's centre first and no LFE. Where the file has no sound at that
    time there are zeros. ValueError without an audio stream.
    """
    return next(sounds(path, [(start_s, end_s)]))


def sounds(path: Path, spans: Iterable[tuple[float, float]]) -> Iterator[Sound]:
    """`audio` of several spans (start_s, end_s), in order of their starts: the file is decoded once for all of them."""
    from scipy.signal import resample_poly  # 0.7 s of imports that only this function needs

    first = next(decode(path), None)
    zero = first.start_s if first else 0.0
    with open_media(path) as container:
        stream = audio_stream(container)
        if stream is None:
            raise ValueError(f"{path.name} has no audio stream")
        rate = stream.rate or _rate_of_first(path)
        chunks: Iterator[tuple[float, Sound]] | None = None
        near: list[tuple[float, Sound]] = []  # what has been decoded and may still be wanted
        for start_s, end_s in spans:
            begin = (zero + start_s) * rate - rate  # in samples; a second of margin: for the filter, and for seeking
            native = np.zeros(math.ceil((end_s - start_s) * rate) + 2 * rate, np.float32)
            if chunks is None:
                if begin > rate:  # a codec's first frames after a seek are wrong: land another second earlier
                    # Matroska refuses to go before its first packet, a damaged index says anything: read all then.
                    with contextlib.suppress(av.error.FFmpegError, OverflowError):
                        container.seek(round((begin / rate - 1) / stream.time_base), stream=stream)
                chunks = _sound(container, stream, rate)
            near = [chunk for chunk in near if _ends(chunk) > begin]
            while not near or near[-1][0] < begin + len(native):
                chunk = next(chunks, None)
                if chunk is None:
                    break
                if _ends(chunk) > begin:  # a seek may land long before
                    near.append(chunk)
            wanted = (chunk for chunk in near if chunk[0] < begin + len(native))
            for position, samples in _joined(wanted, _JITTER_S * rate):
                _lay(native, samples, round(position - begin))  # rounded once: half a sample at most, also at 8 kHz
            common = math.gcd(AUDIO_RATE, rate)
            resampled = resample_poly(native, AUDIO_RATE // common, rate // common)  # zero phase: no delay to undo
            yield resampled[AUDIO_RATE:][: round((end_s - start_s) * AUDIO_RATE)].astype(np.float32)


def loudness(path: Path, at_s: NDArray[np.float64]) -> NDArray[np.float64]:
    """(N,) dB re full scale of the sound within 0.1 s of the times `at_s` (N,) on the video's clock; NaN where there is
    none. The file's sound is read once, and not kept."""
    first = next(decode(path), None)
    zero, width = first.start_s if first else 0.0, 0.02
    near = np.maximum(np.round((at_s[:, None] + [-0.1, 0.1]) / width), 0).astype(np.int64)  # stretches of `width`
    # Only those that somebody asks about: a damaged clock's last frame may lie years away.
    asked = np.unique(np.minimum(near[:, :1] + np.arange(round(0.2 / width) + 2), near[:, 1:]))
    energy = np.zeros((2, len(asked)))  # sum of squares and number of samples, by stretch
    with open_media(path) as container:
        stream = audio_stream(container)
        if stream is None:
            return np.full(len(at_s), np.nan)
        rate = stream.rate or _rate_of_first(path)
        for position, samples in _sound(container, stream, rate):
            stretch = ((position / rate - zero) + np.arange(len(samples)) / rate) // width
            place = np.minimum(np.searchsorted(asked, stretch), len(asked) - 1)
            inside = asked[place] == stretch
            if inside.any():
                begin = place[inside][0]
                squares = np.bincount(place[inside] - begin, samples[inside].astype(float) ** 2)
                energy[0, begin : begin + len(squares)] += squares
                energy[1, begin : begin + len(squares)] += np.bincount(place[inside] - begin)
    total = np.concatenate([np.zeros((2, 1)), np.cumsum(energy, axis=1)], axis=1)
    squares, count = np.diff(total[:, np.searchsorted(asked, near)], axis=2)[..., 0]
    with np.errstate(divide="ignore", invalid="ignore"):
        return 10 * np.log10(np.maximum(squares / count, 1e-12))


def _ends(chunk: tuple[float, Sound]) -> float:
    return chunk[0] + len(chunk[1])


def _rate_of_first(path: Path) -> int:
    """Samples a second of the first sound that decodes, for streams whose sound begins after what a header knows."""
    with open_media(path) as container:
        rates = (frame.sample_rate for frame in decoded(container, audio_stream(container)))
        return next((rate for rate in rates if rate in SOUND_RATES), AUDIO_RATE)


def _sound(container: av.container.InputContainer, stream: av.AudioStream, rate: int) -> Iterator[tuple[float, Sound]]:
    """(position in samples at `rate` on the file's own clock, mono samples) of every decoded chunk."""
    to_float: dict[tuple[str, str, int], av.AudioResampler] = {}  # broadcasts change from stereo to 5.1 and back
    after = 0.0
    for frame in decoded(container, stream):
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
    samples = np.nan_to_num(chunk.to_ndarray(), posinf=0, neginf=0).clip(-_LOUDEST, _LOUDEST)
    return weights / (weights.sum() or 1) @ samples


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
