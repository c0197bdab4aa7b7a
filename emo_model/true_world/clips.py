"""Training batches of the small true world, rendered as they are asked for: emo_model/data/dataset.py's interface."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from emo_model.data.dataset import region_mask
from emo_model.networks.config import EMOConfig
from emo_model.train.stages import Stage
from emo_model.true_world.paths import Path, path
from emo_model.true_world.people import ASPECT, people
from emo_model.true_world.render import box, render
from emo_model.true_world.voices import Voice

FRAMES = 240  # of a clip
KEEP = 4096  # clips whose paths are kept in memory


@dataclass(frozen=True)
class Clip:
    """One person for FRAMES frames."""

    traits: NDArray[np.float64]
    path: Path
    voice: Voice
    start: int  # the voice's frame at the clip's first

    def pixels(self, frames: NDArray[np.int64], size: int) -> Tensor:
        """(len(frames), 3, size, size) in [-1, 1]."""
        mouth = self.voice.mouth[self.start + frames]
        return render(self.traits, self.path.rotations[frames], mouth, self.path.centre[frames], self.path.radius, size)

    def region(self, frames: NDArray[np.int64]) -> NDArray[np.float64]:
        """(4,) the union of the frames' head boxes, in picture widths."""
        boxes = box(self.path.centre[frames], self.path.radius, self.traits[ASPECT])
        return np.concatenate([boxes[:, :2].min(0), boxes[:, 2:].max(0)])


class WorldClips:
    """As many clips as are asked for, each of another person on another path; the voices repeat."""

    def __init__(
        self, stage: Stage, network: EMOConfig, voices: Sequence[Voice], seed: int, clips: int, shuffled: bool = False
    ) -> None:
        """shuffled: every window is given the speeds of another clip (an ablation)."""
        self.stage, self.network, self.voices, self.seed = stage, network, voices, seed
        self.traits, self.shuffled = people(clips, seed).traits, shuffled
        self.clip_ids = [f"person{k:05d}" for k in range(clips)]
        self._kept: dict[int, Clip] = {}

    def clip(self, number: int) -> Clip:
        """The same at every call."""
        if number not in self._kept:
            if len(self._kept) >= KEEP:
                self._kept.clear()
            rng = np.random.default_rng([12, self.seed, number])
            voice = self.voices[int(rng.integers(len(self.voices)))]
            start = int(rng.integers(len(voice) - FRAMES + 1))
            self._kept[number] = Clip(self.traits[number], path(FRAMES, rng), voice, start)
        return self._kept[number]

    def batch(self, step: int, batch_size: int) -> dict[str, Any]:
        """As ClipDataset: depends on (seed, step) alone."""
        return self._batch(np.random.default_rng([13, self.seed, step]), batch_size)

    def fixed_batches(self, count: int, batch_size: int) -> list[dict[str, Any]]:
        """The same batches every time."""
        return [self._batch(np.random.default_rng([14, number]), batch_size) for number in range(count)]

    def _batch(self, rng: np.random.Generator, size: int) -> dict[str, Any]:
        samples = [self._window(int(rng.integers(len(self.traits))), rng) for _ in range(size)]
        return {
            name: torch.stack([s[name] for s in samples]) if name != "clip_id" else [s[name] for s in samples]
            for name in samples[0]
        }

    def _window(self, number: int, rng: np.random.Generator) -> dict[str, Any]:
        clip, net = self.clip(number), self.network
        n, f, m = (net.motion_frames, net.frames, net.nearby) if self.stage.video else (0, 1, 0)
        first = int(rng.integers(n + m, FRAMES - f - m + 1))
        frames, near = np.arange(first, first + f), np.arange(first - m, first + f + m)
        elsewhere = np.setdiff1d(np.arange(FRAMES), np.arange(first - n, first + f))
        reference = int(rng.choice(elsewhere))
        pictures = clip.pixels(np.array([reference, *range(first - n, first + f)]), net.image_size)
        sample = {
            "reference": pictures[0],
            "pixels": pictures[1 + n :],
            "mask": region_mask(clip.region(frames) * net.image_size, net.image_size),
            "clip_id": self.clip_ids[number],
            "frame": torch.tensor(first),
            "reference_frame": torch.tensor(reference),
        }
        if self.stage.video:
            other = self.clip(int(rng.integers(len(self.traits)))) if self.shuffled else clip
            sample |= {
                "motion": pictures[1 : 1 + n],
                "audio": torch.from_numpy(clip.voice.features[clip.start + near].astype(np.float32)),
                "speed": torch.from_numpy(other.path.speed[near].astype(np.float32)),
            }
        return sample
