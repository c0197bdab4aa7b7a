"""Where somebody speaks: Silero VAD 6 at 16 kHz (github.com/snakers4/silero-vad), one probability each 32 ms.

The network of its `silero_vad_16k.safetensors`: a learned short-time Fourier transform, four convolutions, an LSTM.
A whole clip goes through in one pass, which gives what its own streaming code gives, chunk by chunk.
"""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from emo_model import weights
from emo_model.data.audio_encoders import one_thread
from emo_model.data.workers import for_a_step

if TYPE_CHECKING:
    from torch import Tensor

CHUNK, CONTEXT = 512, 64  # samples of a step, and of the step before that it sees again
STRIDES = {"conv1": 1, "conv2": 2, "conv3": 2, "conv4": 1}
SPEECH = 0.5  # probability from which a chunk is speech: Silero's own default


@for_a_step
def load_vad(path: Path) -> "Callable[[Tensor], Tensor]":
    """The network in its safetensors file: sound (N,) at 16 kHz -> (chunks,) probability of speech in each 512 samples.

    RuntimeError where the file holds other weights.
    """
    from safetensors.torch import load_file
    from torch import nn
    from torch.nn import functional as F

    weight = load_file(path)
    lstm = nn.LSTM(128, 128, batch_first=True)
    lstm.load_state_dict({f"{n.partition('.')[2]}_l0": w for n, w in weight.items() if n.startswith("lstm_cell.")})

    def probability(samples: "Tensor") -> "Tensor":
        padded = F.pad(samples, (CONTEXT, -len(samples) % CHUNK))
        x = F.pad(padded.unfold(0, CONTEXT + CHUNK, CHUNK)[:, None], (0, CONTEXT), mode="reflect")
        real, imaginary = F.conv1d(x, weight["stft_conv.weight"], stride=128).chunk(2, dim=1)
        x = (real**2 + imaginary**2).sqrt()
        for name, stride in STRIDES.items():
            x = F.conv1d(x, weight[f"{name}.weight"], weight[f"{name}.bias"], stride, padding=1).relu()
        hidden, _ = lstm(x[None, :, :, 0])  # the convolutions leave one column of each chunk
        return F.conv1d(hidden.relu().mT, weight["final_conv.weight"], weight["final_conv.bias"]).sigmoid()[0, 0]

    return probability


def speech_probability(samples: NDArray[np.float32]) -> NDArray[np.float32]:
    """(ceil(N / 512),) probability of speech in each 32 ms of samples (N,), 16 kHz mono in [-1, 1].

    UserError naming the command where Silero's weights are missing.
    """
    import torch

    if not len(samples):
        return np.zeros(0, np.float32)
    with torch.inference_mode(), one_thread():
        return load_vad(weights.path("silero_vad"))(torch.from_numpy(samples)).numpy()


def speaks(samples: NDArray[np.float32]) -> NDArray[np.bool_]:
    """(N,) for every sample whether somebody speaks."""
    return np.repeat(speech_probability(samples) >= SPEECH, CHUNK)[: len(samples)]
