"""The finished file: H.264 that is encoded film by film, and the voice as it was recorded.

A film is a closed piece of the video: nothing in it depends on the encoder's state before it, so a video that was cut
short goes on behind its last whole film, and films joined are the bytes that an undisturbed run writes. One thread and
no B frames: equal pictures are equal bytes, and the first picture stands at 0 for players that know no edit lists.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from fractions import Fraction
from heapq import merge
from pathlib import Path
from typing import Any

import av
import numpy as np
from numpy.typing import NDArray

from emo_model.data.audio_encoders import FPS
from emo_model.data.store import atomic
from emo_model.generate.sound import Sound
from emo_model.generate.synthetic import add_xmp, tags

AAC_RATES = (96000, 88200, 64000, 48000, 44100, 32000, 24000, 22050, 16000, 12000, 11025, 8000)  # hertz
X264 = {"crf": "18", "preset": "veryfast", "bf": "0", "threads": "1"}


def write_film(path: Path, frames: Iterable[NDArray[np.uint8]]) -> None:
    """Encode (H, W, 3) uint8 RGB frames of even sides, as they come: whole or not at all."""
    with atomic(path) as temporary, _writing(temporary) as container:
        video = None
        for picture in frames:
            if video is None:
                video = container.add_stream("libx264", FPS, options=X264)
                video.height, video.width, video.pix_fmt = *picture.shape[:2], "yuv420p"
            container.mux(video.encode(av.VideoFrame.from_ndarray(np.ascontiguousarray(picture), format="rgb24")))
        if video is None:
            raise ValueError("a film without frames")
        container.mux(video.encode(None))


def join(path: Path, films: Sequence[Path], sound: Sound | None, made: Mapping[str, Any]) -> None:
    """Write films one after another with the sound, if any, from their first frame on: whole or not at all.

    made: how, for the file to say; empty: nothing in it is synthetic, and nothing is said. Packets are copied as they
    come: memory does not grow with the length.
    """
    with atomic(path) as temporary:
        _join(temporary, films, sound, tags(made) if made else {})
        if made:
            add_xmp(temporary, made)


def _join(path: Path, films: Sequence[Path], sound: Sound | None, notes: Mapping[str, str]) -> None:
    with _writing(path, movflags="+faststart") as container:
        container.metadata.update(notes)
        with _reading(films[0]) as first:
            video = container.add_stream_from_template(first.streams.video[0])
        streams = [_pictures(films, video)]
        if sound is not None:
            rate = sound.rate if sound.rate in AAC_RATES else 48000
            layout = "mono" if sound.channels == 1 else "stereo"
            streams.append(_voice(sound, container.add_stream("aac", rate, layout=layout), layout, rate))
        for packet in merge(*streams, key=lambda packet: packet.dts * packet.time_base):
            container.mux(packet)


def _pictures(films: Sequence[Path], stream: av.VideoStream) -> Iterator[av.packet.Packet]:
    done = 0  # frames
    for path in films:
        with _reading(path) as film:
            count = 0
            for packet in film.demux(video=0):
                if packet.dts is None:  # the demuxer's end
                    continue
                shift = round(Fraction(done, FPS) / packet.time_base)
                packet.pts, packet.dts, packet.stream = packet.pts + shift, packet.dts + shift, stream
                count += 1
                yield packet
            done += count


def _voice(sound: Sound, stream: av.AudioStream, layout: str, rate: int) -> Iterator[av.packet.Packet]:
    resampler, done = av.AudioResampler(format="fltp", layout=layout, rate=rate), 0
    for block in sound.blocks():
        frame = av.AudioFrame.from_ndarray(np.ascontiguousarray(block), format="fltp", layout=layout)
        frame.rate, frame.pts, frame.time_base = sound.rate, done, Fraction(1, sound.rate)
        done += block.shape[1]
        for piece in resampler.resample(frame):
            yield from stream.encode(piece)
    for piece in resampler.resample(None):
        yield from stream.encode(piece)
    yield from stream.encode(None)


def _writing(path: Path, **options: str) -> av.container.OutputContainer:
    # `file:` keeps names with a colon from being taken for a protocol; bitexact leaves out the clock and the version.
    return av.open(f"file:{path.absolute()}", "w", format="mp4", options={"fflags": "+bitexact", **options})


def _reading(path: Path) -> av.container.InputContainer:
    return av.open(f"file:{path.absolute()}")
