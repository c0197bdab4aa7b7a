"""Where somebody speaks: Silero VAD 6 at 16 kHz (github.com/snakers4/silero-vad), one probability each 32 ms.

The network of its `silero_vad_16k.safetensors`: a learned short-time Fourier transform, four convolutions, an LSTM.
A whole clip goes through in one pass, which gives what its own streaming code gives, chunk by chunk.
"""

from functools import cache
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from emo_model import weights
from emo_model.data.audio_encoders import one_thread

CHUNK, CONTEXT = 512, 64  # samples of a step, and of the step before that it sees again
SPEECH = 0.5  # probability from which a chunk is speech: Silero's own default


class SileroVAD(nn.Module):
    """Sound (N,) at 16 kHz -> (chunks,) probability of speech in each 512 samples. Layers are named as in its file."""

    def __init__(self) -> None:
        super().__init__()
        self.stft_conv = nn.Conv1d(1, 258, 256, stride=128, bias=False)
        self.conv1 = nn.Conv1d(129, 128, 3, padding=1)
        self.conv2 = nn.Conv1d(128, 64, 3, stride=2, padding=1)
        self.conv3 = nn.Conv1d(64, 64, 3, stride=2, padding=1)
        self.conv4 = nn.Conv1d(64, 128, 3, padding=1)
        self.lstm_cell = nn.LSTM(128, 128, batch_first=True)  # an LSTMCell in the file
        self.final_conv = nn.Conv1d(128, 1, 1)

    def forward(self, samples: Tensor) -> Tensor:
        padded = F.pad(samples, (CONTEXT, -len(samples) % CHUNK))
        x = F.pad(padded.unfold(0, CONTEXT + CHUNK, CHUNK)[:, None], (0, CONTEXT), mode="reflect")
        real, imaginary = self.stft_conv(x).chunk(2, dim=1)
        x = (real**2 + imaginary**2).sqrt()
        for conv in (self.conv1, self.conv2, self.conv3, self.conv4):
            x = conv(x).relu()
        hidden, _ = self.lstm_cell(x[None, :, :, 0])  # the convolutions leave one column of each chunk
        return self.final_conv(hidden.relu().mT).sigmoid()[0, 0]


@cache
def load_vad(path: Path) -> SileroVAD:
    """The network with the weights of its safetensors file; RuntimeError where they are others."""
    from safetensors.torch import load_file

    cell = "lstm_cell."
    state = {f"{name}_l0" if name.startswith(cell) else name: value for name, value in load_file(path).items()}
    network = SileroVAD()
    network.load_state_dict(state, strict=True)
    return network.eval().requires_grad_(False)


@torch.inference_mode()
def speech_probability(samples: NDArray[np.float32]) -> NDArray[np.float32]:
    """(ceil(N / 512),) probability of speech in each 32 ms of samples (N,), 16 kHz mono in [-1, 1].

    UserError naming the command where Silero's weights are missing.
    """
    if not len(samples):
        return np.zeros(0, np.float32)
    with one_thread():
        return load_vad(weights.path("silero_vad"))(torch.from_numpy(samples)).numpy()


def speaks(samples: NDArray[np.float32]) -> NDArray[np.bool_]:
    """(N,) for every sample whether somebody speaks."""
    return np.repeat(speech_probability(samples) >= SPEECH, CHUNK)[: len(samples)]
