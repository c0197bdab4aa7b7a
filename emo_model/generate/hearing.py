"""What the audio encoder hears of a voice: made window by window before sampling begins, and read back as it goes on.

On disk, because neither an hour of it (0.3 GB of Whisper's states, 2 GB of wav2vec's) nor the encoder's work shall add
to what sampling takes.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from emo_model.data.audio_encoders import Encoder
from emo_model.data.store import atomic
from emo_model.generate.sound import Sound


@dataclass(frozen=True)
class Hearing:
    """Features of a sound's frames, (frames, layers, width) float16 in a file. Read, not mapped: mapped pages count."""

    path: Path
    shape: tuple[int, int, int]

    @classmethod
    def of(cls, encoder: Encoder, sound: Sound, path: Path) -> "Hearing":
        """Encoded into the file, unless it is there already."""
        if not path.is_file():
            with atomic(path) as temporary, temporary.open("wb") as file:
                for stretch in encoder.stream(sound.blocks_16k(), sound.frames):
                    file.write(stretch.tobytes())
        return cls(path, (sound.frames, encoder.layers, encoder.width))

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, frames: Tensor) -> Tensor:
        """(len(frames), layers, width) float32 of frame numbers that lie near one another."""
        first, last = int(frames.min()), int(frames.max())
        each = self.shape[1] * self.shape[2]
        read = np.fromfile(self.path, np.float16, (last - first + 1) * each, offset=first * each * 2)
        return torch.from_numpy(read.reshape(-1, *self.shape[1:])[frames.numpy() - first]).float()
