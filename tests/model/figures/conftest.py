"""Small videos that say by their brightness which frame is on screen."""

from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

RATE = 16_000
Counting = Callable[..., Path]


@pytest.fixture
def counting(tmp_path: Path) -> Counting:
    """make(name, fps, seconds, size, sound_at): frame k is of grey 4 * k; with a click 1 s after the first picture, in
    a sound stream that begins `sound_at` seconds after it, and a white frame then."""

    def make(name: str, fps: int = 30, seconds: float = 2.0, size: tuple[int, int] = (64, 48), sound_at=None) -> Path:
        path = tmp_path / name
        with av.open(str(path), "w") as out:
            video = out.add_stream("libx264rgb", fps, options={"crf": "0", "preset": "ultrafast"})
            video.width, video.height, video.pix_fmt = *size, "rgb24"
            voice = out.add_stream("pcm_s16le", RATE, layout="mono") if sound_at is not None else None
            for number in range(round(seconds * fps)):
                grey = 255 if voice is not None and number == fps else min(4 * number, 250)
                picture = np.full((size[1], size[0], 3), grey, np.uint8)
                out.mux(video.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
            out.mux(video.encode())
            if voice is not None:
                samples = np.zeros((1, round((seconds - sound_at) * RATE)), np.int16)
                samples[0, round((1 - sound_at) * RATE) :][:200] = 20_000
                chunk = av.AudioFrame.from_ndarray(samples, format="s16", layout="mono")
                chunk.sample_rate, chunk.time_base, chunk.pts = RATE, Fraction(1, RATE), round(sound_at * RATE)
                out.mux(voice.encode(chunk))
                out.mux(voice.encode())
        return path

    return make
