"""The driving voice: as it was recorded, for the video's own track, and as the audio encoder hears it."""

from dataclasses import dataclass
from math import gcd
from pathlib import Path

import av
import numpy as np
from numpy.typing import NDArray
from scipy.signal import resample_poly

from emo_model.data.audio_encoders import FPS, RATE, Encoder, load_encoder
from emo_model.data.media import audio_stream
from emo_model.errors import UserError
from emo_model.networks.config import EMOConfig


@dataclass(frozen=True)
class Sound:
    """samples (channels, N) float32 in [-1, 1] at `rate` hertz; an hour of stereo at 48 kHz takes 1.4 GB."""

    samples: NDArray[np.float32]
    rate: int

    @property
    def frames(self) -> int:
        """Frames at 30 fps that cover all of it."""
        return -(-self.samples.shape[1] * FPS // self.rate)

    def mono_16k(self) -> NDArray[np.float32]:
        """(M,) channels averaged, as in the training data."""
        common = gcd(RATE, self.rate)
        return resample_poly(self.samples.mean(axis=0), RATE // common, self.rate // common).astype(np.float32)

    def first(self, seconds: float | None) -> "Sound":
        """The beginning, at most so long."""
        return self if seconds is None else Sound(self.samples[:, : round(seconds * self.rate)], self.rate)


def read_sound(path: Path) -> Sound:
    """The main audio stream of any file PyAV opens, one or two channels. UserError where there is none."""
    if not path.is_file():
        raise UserError(f"no sound file {path}; run: emo generate CHECKPOINT PICTURE SOUND OUT.mp4")
    try:
        with av.open(path) as container:
            stream = audio_stream(container)
            if stream is None:
                raise UserError(f"{path} has no sound; run again with a file that has sound")
            layout = "mono" if stream.channels == 1 else "stereo"
            to_float = av.AudioResampler(format="fltp", layout=layout, rate=stream.rate)
            chunks = [c.to_ndarray() for frame in container.decode(stream) for c in to_float.resample(frame)]
            chunks += [c.to_ndarray() for c in to_float.resample(None)]
    except av.FFmpegError as error:
        raise UserError(f"the sound of {path} cannot be read: {error.strerror}; run again with a wav file") from error
    samples = np.concatenate(chunks, axis=1) if chunks else np.zeros((1, 0), np.float32)
    if not samples.shape[1]:
        raise UserError(f"{path} holds no sound; run again with a file that has sound")
    return Sound(samples.astype(np.float32), stream.rate)


def encoder_for(config: EMOConfig) -> Encoder:
    """The audio encoder the checkpoint learned from. UserError where its weights are missing or are other ones."""
    encoder = load_encoder(config.audio_encoder)
    if (encoder.layers, encoder.width) != (config.audio_layers, config.audio_width):
        raise UserError(
            f"the checkpoint listens to {config.audio_layers} layers of {config.audio_width}, {encoder.name} gives "
            f"{encoder.layers} of {encoder.width}; run: emo weights verify {config.audio_encoder}"
        )
    return encoder
