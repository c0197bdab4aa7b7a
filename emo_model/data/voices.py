"""Whether a clip holds one voice or several: GE2E speaker embeddings (Wan et al. 2018) with Resemblyzer's weights.

Every 1.2 s of speech becomes a point on a sphere (github.com/resemble-ai/Resemblyzer, VoiceEncoder). Points are
grouped by their mean distance; the largest group is the dominant voice.
"""

from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from emo_model import weights
from emo_model.data.audio_encoders import RATE, one_thread
from emo_model.data.workers import for_a_step

if TYPE_CHECKING:
    from torch import Tensor

MELS, SIZE, HOP = 40, 400, 160  # 25 ms windows each 10 ms
WINDOW_S, STEP_S = 1.2, 0.4  # seconds of speech of an embedding (trained with 1.6: turns are short); to the next
QUIET_DB = -30.0  # re full scale: quieter sound is brought up to this, as in training
APART = 0.33  # mean cosine distance from which two groups are two voices; chosen on benchmarks/scores_sound.py


@for_a_step
def load_voice_encoder(path: Path) -> "Callable[[Tensor], Tensor]":
    """The network in Resemblyzer's pretrained.pt: mel power (B, T, 40) -> (B, 256) unit vectors.

    RuntimeError where the file holds other weights.
    """
    import torch
    from torch import nn

    state = torch.load(path, map_location="cpu", weights_only=True)["model_state"]
    lstm, linear = nn.LSTM(MELS, 256, 3, batch_first=True), nn.Linear(256, 256)
    for name, layer in {"lstm.": lstm, "linear.": linear}.items():
        layer.load_state_dict({key.removeprefix(name): w for key, w in state.items() if key.startswith(name)})

    def embed(mels: "Tensor") -> "Tensor":
        _, (hidden, _) = lstm(mels)
        return nn.functional.normalize(linear(hidden[-1]).relu(), dim=1)

    return embed


def voice_embeddings(speech: NDArray[np.float32]) -> NDArray[np.float32]:
    """(windows, 256) unit vectors of speech (N,), 16 kHz mono, its pauses cut out; none where it is under 1.2 s.

    UserError naming the command where Resemblyzer's weights are missing.
    """
    import torch

    frames, step = round(WINDOW_S * RATE / HOP), round(STEP_S * RATE / HOP)
    mels = mel_power(_audible(speech))
    if len(mels) <= frames:
        return np.zeros((0, 256), np.float32)
    embed = load_voice_encoder(weights.path("resemblyzer"))
    with torch.inference_mode(), one_thread():
        return embed(torch.from_numpy(mels).unfold(0, frames, step).mT).numpy()


def mel_power(samples: NDArray[np.float32]) -> NDArray[np.float32]:
    """(frames, 40) mel power of samples (N,) at 16 kHz, as librosa's melspectrogram with 25 ms windows each 10 ms."""
    import torch

    spectrum = torch.stft(
        torch.from_numpy(samples), SIZE, HOP, window=torch.hann_window(SIZE), pad_mode="constant", return_complex=True
    )
    return (spectrum.abs().square().T @ _mel_filters()).numpy()


@cache
def _mel_filters() -> "Tensor":
    import torch
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
