"""The driving voice: as it was recorded, for the video's own track, and as the audio encoder hears it."""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from math import ceil, gcd
from pathlib import Path

import av
import numpy as np
from numpy.typing import NDArray
from scipy.signal import resample_poly

from emo_model.data.audio_encoders import FPS, RATE, Encoder, load_encoder
from emo_model.data.media import audio_stream, decoded
from emo_model.errors import UserError
from emo_model.networks.config import EMOConfig

Samples = NDArray[np.float32]
_REACH = 10  # resample_poly's filter reaches so many samples of the slower rate to either side


@dataclass(frozen=True)
class Sound:
    """The sound of a file, read anew each time it is asked for: an hour of it takes no memory."""

    path: Path
    rate: int  # hertz
    channels: int  # 1 or 2
    length: int  # samples of a channel
    peak: float  # the loudest, re full scale
    lead: int = 0  # samples of silence in front; negative: so many at the beginning are left out

    @property
    def frames(self) -> int:
        """Frames at 30 fps that cover all of it."""
        return -(-self.length * FPS // self.rate)

    def blocks(self) -> Iterator[Samples]:
        """(channels, N) float32 in [-1, 1], about a second each."""
        left = self.length
        for block in self._led():
            if not left:
                return
            yield block[:, :left]
            left -= min(left, block.shape[1])

    def _led(self) -> Iterator[Samples]:
        if self.lead > 0:
            yield np.zeros((self.channels, self.lead), np.float32)
        drop = max(0, -self.lead)
        for block in _blocks(self.path):
            if block.shape[1] > drop:
                yield block[:, drop:]
            drop = max(0, drop - block.shape[1])

    def blocks_16k(self) -> Iterator[Samples]:
        """(N,) channels averaged, as in the training data, at the encoder's rate."""
        return resampled((block.mean(axis=0) for block in self.blocks()), self.rate)

    def mono_16k(self) -> Samples:
        """All of blocks_16k, (M,)."""
        return np.concatenate(list(self.blocks_16k()))

    def delayed(self, seconds: float) -> "Sound":
        """With so much silence in front; negative: without its first seconds."""
        lead = round(seconds * self.rate)
        return replace(self, lead=lead, length=max(0, self.length + lead))

    def first(self, seconds: float | None) -> "Sound":
        """The beginning, at most so long."""
        return self if seconds is None else replace(self, length=min(self.length, round(seconds * self.rate)))


def read_sound(path: Path) -> Sound:
    """The main audio stream of any file PyAV opens, one or two channels; it is read through once, to know its length.

    UserError where there is none, it holds nothing, or samples that are no numbers.
    """
    if not path.is_file():
        raise UserError(f"no sound file {path}; run: emo generate --audio VOICE.wav (any file with sound)")
    rate, channels = _format(path)
    length, peak = 0, 0.0
    for block in _blocks(path):
        if not np.isfinite(block).all():
            at_s = (length + int(np.flatnonzero(~np.isfinite(block).all(axis=0))[0])) / rate
            raise UserError(f"{path} holds samples that are no numbers, the first at {at_s:.3f} s; mend it, or run "
                            "again with another file")  # fmt: skip
        length += block.shape[1]
        peak = max(peak, float(np.abs(block).max()))
    if not length:
        raise UserError(f"{path} holds no sound; run again with a file that has sound")
    return Sound(path, rate, channels, length, peak)


def resampled(blocks: Iterable[Samples], rate: int) -> Iterator[Samples]:
    """(N,) blocks at `rate` hertz as blocks at the encoder's 16 kHz, to the bit what scipy makes of all in one."""
    common = gcd(RATE, rate)
    up, down = RATE // common, rate // common
    if up == down:
        yield from blocks
        return
    reach = down * (ceil(_REACH * max(up, down) / (up * down)) + 1)  # whole periods, so that phases stay
    held, front = np.empty(0, np.float32), 0  # `front` samples of it are context whose turn is over
    for block in blocks:
        held = np.concatenate([held, block])
        ready = (len(held) - reach) // down * down
        if ready > front:
            yield resample_poly(held, up, down)[front * up // down : ready * up // down]
            drop = max(0, ready - reach)
            held, front = held[drop:], ready - drop
    yield resample_poly(held, up, down)[front * up // down :]


def _format(path: Path) -> tuple[int, int]:
    """(hertz, 1 or 2 channels)."""
    with _opened(path) as (_, stream):
        return stream.rate, 1 if stream.channels == 1 else 2


def _blocks(path: Path) -> Iterator[Samples]:
    """(channels, N) of about a second each, as far as the file can be decoded."""
    held: list[Samples] = []
    count = 0
    with _opened(path) as (container, stream):
        rate, layout = stream.rate, "mono" if stream.channels == 1 else "stereo"
        to_float: dict[tuple[str, str, int], av.AudioResampler] = {}  # broadcasts change from stereo to 5.1 and back
        for frame in decoded(container, stream):
            kind = frame.format.name, frame.layout.name, frame.sample_rate
            if kind not in to_float:
                to_float[kind] = av.AudioResampler(format="fltp", layout=layout, rate=rate)
            chunks = [chunk.to_ndarray() for chunk in to_float[kind].resample(frame)]
            held, count = [*held, *chunks], count + sum(chunk.shape[1] for chunk in chunks)
            if count >= rate:
                yield np.concatenate(held, axis=1)
                held, count = [], 0
    if count:
        yield np.concatenate(held, axis=1)


@contextmanager
def _opened(path: Path) -> Iterator[tuple[av.container.InputContainer, av.AudioStream]]:
    """A file and its main audio stream. `file:` keeps names with a colon from being taken for a protocol."""
    try:
        container = av.open(f"file:{path.absolute()}", metadata_errors="replace")
    except (av.FFmpegError, UnicodeError) as error:
        raise UserError(f"the sound of {path} cannot be read: {error}; run again with a wav file") from error
    with container:
        stream = audio_stream(container)
        if stream is None or not stream.rate:
            raise UserError(f"{path} has no sound; run again with a file that has sound")
        yield container, stream


def encoder_for(config: EMOConfig) -> Encoder:
    """The audio encoder the checkpoint learned from. UserError where its weights are missing or are other ones."""
    encoder = load_encoder(config.audio_encoder)
    if (encoder.layers, encoder.width) != (config.audio_layers, config.audio_width):
        raise UserError(
            f"the checkpoint listens to {config.audio_layers} layers of {config.audio_width}, {encoder.name} gives "
            f"{encoder.layers} of {encoder.width}; run: emo weights verify {config.audio_encoder}"
        )
    return encoder
