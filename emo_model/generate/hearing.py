"""What the audio encoder hears of a voice, window by window as sampling goes on: an hour of it is never held."""

from collections import deque

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from emo_model.data.audio_encoders import Encoder
from emo_model.generate.sound import Sound


class Hearing:
    """Features of a sound's frames, to be asked for from its start to its end; one encoder window is held."""

    def __init__(self, encoder: Encoder, sound: Sound) -> None:
        self._stretches = encoder.stream(sound.blocks_16k(), sound.frames)
        self._held: deque[NDArray[np.float16]] = deque()
        self._first = self._end = 0  # frames that are held: [first, end)
        self._frames = sound.frames

    def __len__(self) -> int:
        return self._frames

    def __getitem__(self, frames: Tensor) -> Tensor:
        """(len(frames), layers, width) float32 of frame numbers. IndexError for frames that were let go."""
        first, last = int(frames.min()), int(frames.max())
        while self._end <= last:
            self._held.append(next(self._stretches))
            self._end += len(self._held[-1])
            while self._held and self._first + len(self._held[0]) <= first:
                self._first += len(self._held.popleft())
        if first < self._first:
            raise IndexError(f"frame {first} is gone: frames are heard in order, and {self._first} is the first held")
        return torch.from_numpy(np.concatenate(self._held)[frames.numpy() - self._first]).float()
