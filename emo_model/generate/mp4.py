"""The finished file: frames as they come, the voice as it was recorded, and a word that it is synthetic."""

from collections.abc import Iterable
from pathlib import Path

import av
import numpy as np
from numpy.typing import NDArray

from emo_model.data.audio_encoders import FPS
from emo_model.data.store import atomic
from emo_model.generate.sound import Sound

AAC_RATES = (96000, 88200, 64000, 48000, 44100, 32000, 24000, 22050, 16000, 12000, 11025, 8000)  # hertz


def write(path: Path, frames: Iterable[NDArray[np.uint8]], size: int, sound: Sound, comment: str) -> int:
    """Write (H, W, 3) uint8 RGB frames, brought to `size` pixels a side, with sound: whole or not at all.

    Frames are encoded as they come: memory does not grow with the length. Returns how many there were.
    """
    count = 0
    with (
        atomic(path) as temporary,
        av.open(str(temporary), "w", options={"movflags": "+faststart"}) as container,
    ):
        container.metadata["comment"] = comment
        video = container.add_stream("libx264", FPS, options={"crf": "18", "preset": "veryfast"})
        video.width, video.height, video.pix_fmt = size, size, "yuv420p"
        rate = sound.rate if sound.rate in AAC_RATES else 48000
        voice = container.add_stream("aac", rate, layout=_layout(sound))
        for picture in frames:
            frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(picture), format="rgb24")
            container.mux(video.encode(frame.reformat(size, size, interpolation="LANCZOS")))
            count += 1
        container.mux(video.encode(None))
        _voice(container, voice, sound, rate)
    return count


def _voice(container: av.container.OutputContainer, stream: av.AudioStream, sound: Sound, rate: int) -> None:
    frame = av.AudioFrame.from_ndarray(np.ascontiguousarray(sound.samples), format="fltp", layout=_layout(sound))
    frame.rate, frame.pts = sound.rate, 0
    resampler = av.AudioResampler(format="fltp", layout=_layout(sound), rate=rate)
    for piece in [*resampler.resample(frame), *resampler.resample(None)]:
        container.mux(stream.encode(piece))
    container.mux(stream.encode(None))


def _layout(sound: Sound) -> str:
    return "mono" if len(sound.samples) == 1 else "stereo"
