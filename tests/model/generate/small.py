"""A small random network that makes videos in a second, an encoder of loudness, and voices to speak with."""

import wave
from pathlib import Path

import av
import numpy as np
import pytest
import torch
from PIL import Image

from emo_model import diffusion
from emo_model.config import TINY
from emo_model.data.audio_encoders import Encoder
from emo_model.generate import Settings
from emo_model.generate.portrait import Portrait
from emo_model.generate.video import Model
from emo_model.networks.emo import EMO, seeded
from emo_model.train import checkpoint

RATE = 22050
NETWORK = TINY.network.model_copy(
    update={"image_size": 16, "channels": (16, 16), "norm_groups": 4, "audio_layers": 2, "audio_width": 8}
)
QUICK = Settings(steps=2, guidance=2.0)


def hear(samples: np.ndarray, num_frames: int) -> np.ndarray:
    """An encoder of nothing but loudness: one number a frame, in every layer."""
    pieces = np.array_split(samples, num_frames)
    loud = np.array([np.abs(piece).mean() for piece in pieces])
    return np.broadcast_to(loud[:, None, None], (num_frames, 2, 8)).astype(np.float32)


ENCODER = Encoder("loudness", "whisper_tiny_encoder", 2, 8, "made", hear)


def stirred(network=NETWORK) -> EMO:
    """A random network whose zero outputs are stirred, so that every condition shows."""
    emo = seeded(network, 0)
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in emo.parameters():
            if not parameter.any():
                parameter.copy_(0.2 * torch.randn(parameter.shape, generator=generator))
    return emo


def small_model(folder: Path) -> Model:
    """Written to a checkpoint folder and read back."""
    checkpoint.save(folder, stirred(), diffusion.schedule(diffusion.RECIPES["sd15"]), {"stage": "speed"})
    return read_model(folder)


def read_model(folder: Path) -> Model:
    """A checkpoint folder, with the encoder of loudness."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("emo_model.generate.video.encoder_for", lambda config: ENCODER)
        return Model.load(folder)


def small_portrait() -> Portrait:
    """Noise, and a region in its middle."""
    generator = torch.Generator().manual_seed(2)
    mask = torch.zeros(1, 16, 16)
    mask[:, 4:12, 4:12] = 1
    return Portrait(torch.rand(3, 16, 16, generator=generator) * 2 - 1, mask)


def write_voice(path: Path, seconds: float) -> Path:
    """A tone that swells, stereo, at a rate that is neither the encoder's nor the usual one."""
    t = np.arange(round(seconds * RATE)) / RATE
    tone = (12000 * t / max(seconds, 1) * np.sin(2 * np.pi * 440 * t)).astype("<i2")
    return write_samples(path, np.stack([tone, tone], 1), RATE)


def write_samples(path: Path, samples: np.ndarray, rate: int) -> Path:
    """(N, channels) of 16 bits as wav."""
    with wave.open(str(path), "wb") as file:
        file.setparams((samples.shape[1], 2, rate, 0, "NONE", ""))
        file.writeframes(samples.astype("<i2").tobytes())
    return path


def write_pair(folder: Path) -> None:
    """face.png, noise in which SeesFaces sees one, and voice.wav."""
    Image.fromarray(np.random.default_rng(0).integers(1, 255, (64, 64, 3), np.uint8)).save(folder / "face.png")
    write_voice(folder / "voice.wav", seconds=0.4)


class SeesFaces:
    """A landmarker that sees a face in every picture that is not black."""

    __init__ = lambda self, _faces: None  # noqa: E731
    __enter__ = lambda self: self  # noqa: E731
    __exit__ = lambda self, *_: None  # noqa: E731

    def boxes(self, picture: np.ndarray) -> list[np.ndarray]:
        return [np.array([20.0, 20.0, 44.0, 44.0])] if picture.any() else []


def frames_of(path: Path) -> np.ndarray:
    """(F, H, W, 3) of a video."""
    with av.open(f"file:{path}") as container:
        return np.stack([frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)])
