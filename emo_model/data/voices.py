"""Whether a clip holds one voice or several: GE2E speaker embeddings (Wan et al. 2018) with Resemblyzer's weights.

Every 1.2 s of speech becomes a point on a sphere (github.com/resemble-ai/Resemblyzer, VoiceEncoder). Points are
grouped by their mean distance; the largest group is the dominant voice.
"""

from functools import cache
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from emo_model import weights
from emo_model.data.audio_encoders import RATE, one_thread

MELS, SIZE, HOP = 40, 400, 160  # 25 ms windows each 10 ms
WINDOW_S, STEP_S = 1.2, 0.4  # seconds of speech of an embedding (trained with 1.6: turns are short); to the next
QUIET_DB = -30.0  # re full scale: quieter sound is brought up to this, as in training
APART = 0.33  # mean cosine distance from which two groups are two voices; chosen on benchmarks/scores_sound.py


class VoiceEncoder(nn.Module):
    """Mel power (B, T, 40) -> (B, 256) unit vectors. Layers are named as in Resemblyzer's file."""

    def __init__(self) -> None:
        super().__init__()
        self.lstm = nn.LSTM(MELS, 256, 3, batch_first=True)
        self.linear = nn.Linear(256, 256)

    def forward(self, mels: Tensor) -> Tensor:
        _, (hidden, _) = self.lstm(mels)
        return nn.functional.normalize(self.linear(hidden[-1]).relu(), dim=1)


@cache
def load_voice_encoder(path: Path) -> VoiceEncoder:
    """The network with the weights of Resemblyzer's pretrained.pt; RuntimeError where they are others."""
    state = torch.load(path, map_location="cpu", weights_only=True)["model_state"]
    network = VoiceEncoder()
    network.load_state_dict({name: value for name, value in state.items() if not name.startswith("similarity")})
    return network.eval().requires_grad_(False)


@torch.inference_mode()
def voice_embeddings(speech: NDArray[np.float32]) -> NDArray[np.float32]:
    """(windows, 256) unit vectors of speech (N,), 16 kHz mono, its pauses cut out; none where it is under 1.2 s."""
    frames, step = round(WINDOW_S * RATE / HOP), round(STEP_S * RATE / HOP)
    mels = mel_power(_audible(speech))
    if len(mels) <= frames:
        return np.zeros((0, 256), np.float32)
    network = load_voice_encoder(weights.path("resemblyzer"))
    with one_thread():
        return network(torch.from_numpy(mels).unfold(0, frames, step).mT).numpy()


def mel_power(samples: NDArray[np.float32]) -> NDArray[np.float32]:
    """(frames, 40) mel power of samples (N,) at 16 kHz, as librosa's melspectrogram with 25 ms windows each 10 ms."""
    spectrum = torch.stft(
        torch.from_numpy(samples), SIZE, HOP, window=torch.hann_window(SIZE), pad_mode="constant", return_complex=True
    )
    return (spectrum.abs().square().T @ _mel_filters()).numpy()


@cache
def _mel_filters() -> Tensor:
    from transformers.audio_utils import mel_filter_bank

    bank = mel_filter_bank(SIZE // 2 + 1, MELS, 0.0, RATE / 2, RATE, norm="slaney", mel_scale="slaney")
    return torch.from_numpy(bank.astype(np.float32))


def _audible(samples: NDArray[np.float32]) -> NDArray[np.float32]:
    power = float(np.mean(samples.astype(np.float64) ** 2)) if len(samples) else 0.0
    if not power:
        return samples
    return samples * np.float32(max(1.0, 10 ** (QUIET_DB / 20) / np.sqrt(power)))


def other_voice_fraction(speech: NDArray[np.float32]) -> float | None:
    """Share of speech (N,), 16 kHz mono, its pauses cut out, that is not the dominant voice; None: too little speech.

    UserError naming the command where Resemblyzer's weights are missing.
    """
    from scipy.cluster.hierarchy import fcluster, linkage

    points = voice_embeddings(speech)
    if len(points) < 2:
        return None
    groups = fcluster(linkage(points, "average", metric="cosine"), APART, criterion="distance")
    return float(1 - np.bincount(groups).max() / len(groups))
