"""Damaged and odd files, made from small good films: what a folder of other people's videos holds sooner or later.

Damage is drawn from a seed, so that a file that breaks something can be made again; odd files are the same each time.
"""

import os
import random
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
from PIL import Image

from tests.model.data.films import clicks

FPS, SECONDS, RATE = 10, 3.2, 16_000
OK = "ok"
GOOD = "!good.mp4"  # the first in order: its copies under other names are the duplicates
ANY = frozenset[str]()  # damage at random: any reason of the list will do, and so will a usable video

Pictures = list[np.ndarray]
Ends = dict[str, frozenset[str]]  # file name -> the ends it may come to: "ok" or a reason; ANY


def write(
    path: Path,
    pictures: Iterable[np.ndarray],
    *,
    fps: int = FPS,
    codec: str = "libx264",
    pix_fmt: str = "yuv420p",
    sound: str | None = "aac",
    samples: np.ndarray | None = None,
    rate: int = RATE,
    ticks: Callable[[int], int] = int,
    tick: Fraction | None = None,
    container: str | None = None,
    flags: str = "",
) -> Path:
    """Pictures (H, W, 3), and SECONDS of clicks or `samples` (N,), in any codec and container; picture k is shown at
    ticks(k), in units of `tick` (by default a frame)."""
    options = {"movflags": flags} if flags else {}
    with av.open(str(path), "w", format=container, options=options) as file:
        video = audio = None
        for number, picture in enumerate(pictures):
            if video is None:
                video = file.add_stream(codec, rate=fps)
                video.height, video.width = picture.shape[:2]
                video.pix_fmt, video.thread_count = pix_fmt, 1
                video.codec_context.time_base = tick or Fraction(1, fps)
                audio = file.add_stream(sound, rate=rate, layout="mono") if sound else None
            frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(picture), format="rgb24")
            frame.pts, frame.time_base = ticks(number), tick or Fraction(1, fps)
            file.mux(video.encode(frame))
        if video is not None:
            file.mux(video.encode(None))
        if audio is not None:
            _mux_sound(file, audio, clicks([0.5], SECONDS, rate) if samples is None else samples, rate)
    return path


def _mux_sound(file: av.container.OutputContainer, stream: av.AudioStream, samples: np.ndarray, rate: int) -> None:
    frame = av.AudioFrame.from_ndarray(samples[None].astype(np.float32), format="fltp", layout="mono")
    frame.rate, frame.pts = rate, 0
    resampled = av.AudioResampler(format=stream.codec_context.format, layout="mono", rate=rate)
    for chunk in (*resampled.resample(frame), *resampled.resample(None)):
        file.mux(stream.encode(chunk))
    file.mux(stream.encode(None))


# ---- damage ----

FILMS: dict[str, dict] = {
    "h264.mp4": {},
    "index first.mp4": {"flags": "+faststart"},
    "fragments.mp4": {"flags": "+frag_keyframe+empty_moov"},
    "h264.mkv": {},
    "vp8.webm": {"codec": "libvpx", "sound": "libopus", "rate": 48_000},
    "mpeg4.avi": {"codec": "mpeg4", "sound": "libmp3lame"},
    "mjpeg.mov": {"codec": "mjpeg", "pix_fmt": "yuvj420p", "sound": "pcm_s16le"},
    "h264.ts": {},
}


def good_films(folder: Path, pictures: Pictures) -> list[Path]:
    """The same film in every kind of file; each is usable as it is."""
    return [write(folder / name, pictures, **how) for name, how in FILMS.items()]


def cut(data: bytes, at: random.Random) -> bytes:
    """Only the beginning."""
    return data[: at.randrange(1, len(data))]


def header_only(data: bytes, at: random.Random) -> bytes:
    """Less than a picture."""
    return data[: at.randrange(8, 1500)]


def flipped(data: bytes, at: random.Random) -> bytes:
    """Single bits turned anywhere."""
    changed = bytearray(data)
    for _ in range(at.choice((1, 8, 64, 512))):
        changed[at.randrange(len(data))] ^= 1 << at.randrange(8)
    return bytes(changed)


def flipped_header(data: bytes, at: random.Random) -> bytes:
    """Bits turned where the file says what it is: its first and its last kilobyte."""
    changed = bytearray(data)
    for _ in range(at.choice((1, 4, 16))):
        changed[at.choice((1, -1)) * at.randrange(8, 1500)] ^= 1 << at.randrange(8)
    return bytes(changed)


def blanked(data: bytes, at: random.Random) -> bytes:
    """A block of zeros, as an interrupted download leaves."""
    begin, length = at.randrange(len(data)), at.randrange(16, len(data) // 3)
    return (data[:begin] + bytes(length) + data[begin + length :])[: len(data)]


def lost(data: bytes, at: random.Random) -> bytes:
    """A block that is not there: everything after it has moved."""
    begin = at.randrange(len(data))
    return data[:begin] + data[begin + at.randrange(1, len(data) // 3) :]


DAMAGE = {cut: 6, header_only: 2, flipped: 6, flipped_header: 6, blanked: 2, lost: 1}  # files of each film


def damaged(folder: Path, films: Iterable[Path], seed: int) -> Ends:
    """Write every kind of damage to every film. `films` are left as they are."""
    ends: Ends = {}
    for original in films:
        data = original.read_bytes()
        for how, count in DAMAGE.items():
            for number in range(count):
                at = random.Random(f"{seed} {original.name} {how.__name__} {number}")
                name = f"{original.stem} {how.__name__} {number}{original.suffix}"
                (folder / name).write_bytes(how(data, at))
                ends[name] = ANY
    return ends


# ---- oddities ----


def replaced(film: Path, *pairs: tuple[bytes, bytes]) -> bytes:
    """A film's bytes in which each old is new; ValueError where the old is not there."""
    data = film.read_bytes()
    for old, new in pairs:
        if old not in data or len(old) != len(new):
            raise ValueError(f"{old!r} is not in {film.name}, or not as long as {new!r}")
        data = data.replace(old, new)
    return data


def changed_box(film: Path, box: bytes, offset: int, value: bytes) -> bytes:
    """An mp4's bytes with `value` at `offset` behind the name of its first `box`."""
    data = bytearray(film.read_bytes())
    at = data.index(box) + len(box) + offset
    data[at : at + len(value)] = value
    return bytes(data)


def plain(width: int, height: int, count: int = round(SECONDS * FPS)) -> Iterable[np.ndarray]:
    """Grey pictures, each a little brighter."""
    return (np.full((height, width, 3), 60 + number % 100, np.uint8) for number in range(count))


@dataclass(frozen=True)
class Oddity:
    """How to write one odd file, and the ends it may come to."""

    ends: frozenset[str]
    write: Callable[[Path], object]


def odd(folder: Path, pictures: Pictures, only: Collection[str] = ()) -> Ends:
    """Write one of every oddity, or `only` some, beside a good film."""
    whole = write(folder / GOOD, pictures)
    table = {name: oddity for name, oddity in oddities(whole, pictures).items() if not only or name in only}
    for name, oddity in table.items():
        oddity.write(folder / name)
    return {GOOD: frozenset({OK}), **{name: oddity.ends for name, oddity in table.items()}}


def oddities(whole: Path, pictures: Pictures) -> dict[str, Oddity]:
    """Every oddity by its file's name. `whole`: a good mp4. The ends are what a careful person would say of each."""
    table: dict[str, Oddity] = {}
    count = len(pictures)

    def drawn(name: str, *ends: str, by: Callable[[Path], object]) -> None:
        table[name] = Oddity(frozenset(ends), by)

    def made(name: str, *ends: str, pictures: Iterable[np.ndarray] = pictures, **how: Any) -> None:
        drawn(name, *ends, by=lambda path: write(path, pictures, **how))

    def written(name: str, data: bytes, *ends: str) -> None:
        drawn(name, *ends, by=lambda path: path.write_bytes(data))

    def patched(name: str, box: bytes, offset: int, value: bytes, *ends: str) -> None:
        written(name, changed_box(whole, box, offset, value), *ends)

    # what is no film
    written("nothing.mp4", b"", "empty_file")
    written("one byte.mp4", b"\0", "unreadable")
    written("zeros.mp4", bytes(100_000), "unreadable")
    written("noise.mkv", random.Random(0).randbytes(100_000), "unreadable")
    written("words.mp4", b"this is not a film\n" * 500, "unreadable")
    written("page.avi", b"<!doctype html><title>404</title>" * 50, "unreadable")
    name = whole.name.encode() + b"\n"
    written("list.m3u8", b"#EXTM3U\n#EXT-X-TARGETDURATION:4\n#EXTINF:4,\n" + name, "unreadable")
    written("list.ffconcat", b"ffconcat version 1.0\nfile " + name, "unreadable")
    written("art.ans", b"\x1b[31mletters that ffmpeg would film\n" * 50, "unreadable")
    written("boxes.mp4", b"\0\0\0\x08ftyp" + b"\0\0\0\x08free" * 10_000, "truncated")
    drawn("sound alone.mp4", "unreadable", by=_sound_only)
    drawn("sound with a cover.mp4", "unreadable", by=lambda path: _cover(path, pictures[0]))
    drawn("photograph.mp4", "unreadable", by=lambda path: Image.fromarray(pictures[0]).save(path, format="jpeg"))

    # names and kinds that do not fit
    for name in ("mp4 called.avi", "mp4 called.mkv", "no ending", "MP4.MP4", "a:b?*|<>.mp4", "%03d.mp4", "-i.mp4"):
        written(name, whole.read_bytes(), "duplicate_of")
    written("x" * 250 + ".mp4", whole.read_bytes(), "duplicate_of")
    written("bytes behind the end.mp4", whole.read_bytes() + random.Random(1).randbytes(5000), OK)

    # sizes
    made("1x1.mov", OK, pictures=plain(1, 1), codec="png", pix_fmt="rgb24")
    made("2x2.mp4", OK, pictures=plain(2, 2))
    made("wide as a hair.mov", OK, pictures=plain(640, 1), codec="png", pix_fmt="rgb24")
    made("tall as a hair.mov", OK, pictures=plain(1, 640), codec="png", pix_fmt="rgb24")
    made("odd size.mkv", OK, pictures=plain(63, 47), codec="ffv1", pix_fmt="yuv444p")
    made("8k.mp4", OK, pictures=plain(7680, 4320, 3), codec="mjpeg", pix_fmt="yuvj420p", sound=None)
    made("a wall.mkv", "too_large", pictures=plain(10_000, 7_000, 1), codec="mjpeg", pix_fmt="yuvj420p", sound=None)
    drawn("sizes change.mkv", OK, by=lambda path: _sizes_change(path, pictures))
    patched("said to be huge.mp4", b"avc1" + bytes(6), 18, (30_000).to_bytes(2, "big") * 2, OK)
    drawn("pixels like planks.mkv", OK, by=lambda path: _aspect(path, pictures, Fraction(1000, 1)))
    drawn("pixels like needles.mkv", OK, by=lambda path: _aspect(path, pictures, Fraction(1, 1000)))

    # pictures of other kinds
    made("grey.mkv", OK, codec="ffv1", pix_fmt="gray")
    made("16 bits.mkv", OK, codec="ffv1", pix_fmt="gray16le")
    made("with alpha.mov", OK, codec="png", pix_fmt="rgba")
    made("animation.mp4", "unreadable", codec="gif", pix_fmt="rgb8", sound=None, container="gif")
    made("raw.avi", OK, codec="rawvideo", pix_fmt="bgr24", sound="pcm_s16le")
    made("hevc.mp4", OK, codec="libx265")
    made("mpeg2.mpg", OK, codec="mpeg2video", fps=25, sound=None)
    made("flash.flv", OK, codec="flv", sound="libmp3lame", rate=22_050)
    made("vp9.webm", OK, codec="libvpx-vp9", sound="libopus", rate=48_000)
    made("raw stream.h264", "unreadable", sound=None)  # it holds no times
    written("unknown codec.mp4", replaced(whole, (b"avc1", b"zzzz")), "unreadable")
    written("unknown sound.mp4", replaced(whole, (b"mp4a", b"zzzz")), OK)
    written("said to be data.mp4", replaced(whole, (b"vide", b"data")), OK)
    written("telemetry.mp4", replaced(whole, (b"vide", b"data"), (b"avc1", b"gpmd")), "unreadable")

    # time
    made("one frame.mp4", OK, pictures=pictures[:1])
    made("two frames.mp4", OK, pictures=pictures[:2], sound=None)
    made("1 fps.mp4", OK, fps=1)
    made("240 fps.mp4", OK, fps=240, pictures=[pictures[k % count] for k in range(240)])
    made("1000 fps.mkv", OK, fps=1000, pictures=[pictures[k % count] for k in range(300)])
    made("before time.ts", OK, ticks=lambda k: k - 20, sound=None)
    made("before time.mkv", OK, ticks=lambda k: k - 20)
    made("all at once.avi", OK, ticks=lambda k: k, codec="mjpeg", pix_fmt="yuvj420p", sound=None)
    made("a leap of years.mp4", OK, ticks=lambda k: k if k < count - 1 else 2 * 10**6)
    made("a leap of years.mkv", OK, ticks=lambda k: k if k < count // 2 else k + 10**9, sound=None)
    patched("said to last 30 years.mp4", b"mvhd", 12, b"\0\0\0\x01\x7f\xff\xff\xff", OK)
    patched("track of 30 years.mp4", b"tkhd", 20, b"\x7f\xff\xff\xff", OK)
    patched("no clock.mp4", b"mdhd", 12, bytes(4))
    patched("fastest clock.mp4", b"mdhd", 12, b"\xff\xff\xff\xff")
    patched("no movie clock.mp4", b"mvhd", 12, bytes(4), OK)
    patched("squeezed flat.mp4", b"tkhd", 40, bytes(36))
    patched("turned by an angle.mp4", b"tkhd", 40, b"\0\0\xb5\x04\0\0\xb5\x04" + bytes(4) + b"\xff\xff\x4a\xfc", OK)

    # sound
    wild = clicks([0.5], SECONDS).astype(np.float32)
    wild[5000:9000], wild[9000:9500], wild[10_000] = np.nan, np.inf, -1e30
    made("sound of no number.mov", OK, sound="pcm_f32le", samples=wild)
    made("silent.mp4", OK, sound=None)
    made("short sound.mp4", OK, samples=clicks([0.5], 1.0))
    made("one sample.mkv", OK, sound="pcm_s16le", samples=np.zeros(1))
    made("telephone.mkv", OK, sound="pcm_s16le", rate=7999)
    made("bats.mkv", OK, sound="pcm_s16le", rate=767_999)
    drawn("a billion samples a second.avi", OK, by=lambda path: _patched_rate(path, pictures))
    drawn("sound changes.ts", OK, by=lambda path: _sound_changes(path, pictures))
    return table


def _sound_only(path: Path) -> None:
    with av.open(str(path), "w") as file:
        _mux_sound(file, file.add_stream("aac", rate=RATE, layout="mono"), clicks([0.5], SECONDS), RATE)


def _cover(path: Path, picture: np.ndarray) -> None:
    with av.open(str(path), "w") as file:
        cover = file.add_stream("mjpeg", rate=25)
        cover.height, cover.width, cover.pix_fmt = *picture.shape[:2], "yuvj420p"
        cover.disposition = av.stream.Disposition.attached_pic
        sound = file.add_stream("aac", rate=RATE, layout="mono")
        frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(picture), format="rgb24")
        file.mux([*cover.encode(frame), *cover.encode(None)])
        _mux_sound(file, sound, clicks([0.5], SECONDS), RATE)


def _sizes_change(path: Path, pictures: Pictures) -> None:
    """A stream whose second half is smaller, as calls over a bad line are recorded."""
    with av.open(str(path), "w") as file:
        stream = file.add_stream("mjpeg", rate=FPS)
        stream.height, stream.width, stream.pix_fmt = *pictures[0].shape[:2], "yuvj420p"
        for number, picture in enumerate(pictures):
            step = 1 if number < len(pictures) // 2 else 2
            frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(picture[::step, ::step]), format="rgb24")
            encoder = av.CodecContext.create("mjpeg", "w")
            encoder.height, encoder.width, encoder.pix_fmt = frame.height, frame.width, "yuvj420p"
            encoder.time_base = Fraction(1, FPS)
            frame.pts = number
            for packet in encoder.encode(frame.reformat(format="yuvj420p")):
                packet.stream, packet.pts, packet.dts, packet.time_base = stream, number, number, Fraction(1, FPS)
                file.mux(packet)


def _aspect(path: Path, pictures: Pictures, aspect: Fraction) -> None:
    with av.open(str(path), "w") as file:
        stream = file.add_stream("libx264", rate=FPS)
        stream.height, stream.width, stream.pix_fmt = *pictures[0].shape[:2], "yuv420p"
        stream.codec_context.sample_aspect_ratio = aspect
        for picture in pictures:
            file.mux(stream.encode(av.VideoFrame.from_ndarray(np.ascontiguousarray(picture), format="rgb24")))
        file.mux(stream.encode(None))


def _patched_rate(path: Path, pictures: Pictures) -> None:
    write(path, pictures, codec="mpeg4", sound="pcm_s16le")
    data = bytearray(path.read_bytes())
    at = data.rindex(b"strf", 0, data.index(b"movi")) + 8 + 4  # WAVEFORMATEX: rate behind tag and channels
    data[at : at + 4] = (10**9).to_bytes(4, "little")
    path.write_bytes(data)


def _sound_changes(path: Path, pictures: Pictures) -> None:
    """Two recordings in one stream: the rate of the sound doubles halfway."""
    write(path, pictures)
    other = path.with_name("other.ts")
    write(other, pictures, rate=32_000)
    path.write_bytes(path.read_bytes() + other.read_bytes())
    other.unlink()


# ---- the folder itself ----


def no_files(folder: Path) -> None:
    """What looks like a film by its name and is no file."""
    (folder / "a folder.mp4").mkdir()
    os.mkfifo(folder / "a pipe.mp4")
    (folder / "to nowhere.mp4").symlink_to(folder / "gone.mp4")
    (folder / "to itself.mp4").symlink_to(folder / "to itself.mp4")
    (folder / "to my folder").symlink_to(folder)
