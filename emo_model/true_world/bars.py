"""The proof's questions: what is asked of a model, and what its videos answer (measures.py says how it is read).

People, voices and places that no model has seen; one test set for all models and ablations.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation
from torch import Tensor

from emo_model.data.audio_encoders import FPS
from emo_model.data.dataset import region_mask
from emo_model.networks.emo import EMO
from emo_model.true_world import measures
from emo_model.true_world.estimator import Estimator, Seen
from emo_model.true_world.paths import CONE, RADIUS, path
from emo_model.true_world.people import ASPECT, people
from emo_model.true_world.render import box, render
from emo_model.true_world.videos import Asked
from emo_model.true_world.voices import Voice

PAIRS, PEOPLE, APART = 50, 25, 0.45
SECONDS = 3
SEED = 4242
QUANTILES = (0.05, 0.35, 0.65, 0.95)  # of the world's speeds: what is asked for
WIDEN = 1.15  # of a head's own box, where nothing else is asked


@dataclass(frozen=True)
class Pairs:
    """PAIRS portraits, each with a stretch of a voice."""

    portraits: Tensor
    own: NDArray[np.int64]  # which person each is
    gallery: Tensor  # one portrait a person, in another pose
    places: NDArray[np.float64]  # (V, 4) the head's box in the portrait, in picture widths
    audio: Tensor  # (V, T, layers, width)
    mouth: NDArray[np.float64]  # (V, T)

    def first(self, count: int, start: int = 0) -> "Pairs":
        """The first of them from `start` on; all the gallery."""
        keep = slice(start, start + count)
        return replace(
            self, portraits=self.portraits[keep], own=self.own[keep], places=self.places[keep], audio=self.audio[keep],
            mouth=self.mouth[keep],
        )  # fmt: skip

    def asked(
        self, speed: float | None, regions: NDArray[np.float64] | None = None, frames: int | None = None
    ) -> Asked:
        """With a speed and regions (V, 4), by default about each head where it is."""
        size, own = self.portraits.shape[-1], scaled(self.places, WIDEN)
        masks, home = (
            torch.stack([region_mask(region * size, size) for region in boxes])
            for boxes in (own if regions is None else regions, own)
        )
        value = np.nan if speed is None else speed
        return Asked(self.portraits, masks, home, self.audio[:, :frames], torch.full((len(self.portraits),), value))


def pairs(voices: Sequence[Voice], size: int, count: int = PAIRS, frames: int = SECONDS * FPS) -> Pairs:
    """The test set."""
    rng = np.random.default_rng(SEED)
    known = people(PEOPLE, SEED, APART).traits
    own = np.arange(count) % len(known)
    portraits, places = _portraits(known[own], rng, size)
    gallery, _ = _portraits(known, rng, size)
    chosen = [voices[k % len(voices)] for k in range(count)]
    # A voice shorter than what is asked for starts again at its end.
    heard = [(int(rng.integers(len(v))) + np.arange(frames)) % len(v) for v in chosen]
    audio = np.stack([v.features[at] for v, at in zip(chosen, heard, strict=True)])
    mouth = np.stack([v.mouth[at] for v, at in zip(chosen, heard, strict=True)])
    return Pairs(portraits, own, gallery, places, torch.from_numpy(audio).float(), mouth)


def _portraits(traits: NDArray[np.float64], rng: np.random.Generator, size: int) -> tuple[Tensor, NDArray[np.float64]]:
    count = len(traits)
    radius = rng.uniform(*RADIUS, count)
    centre = 0.5 + (0.5 - radius - 0.05)[:, None] * rng.uniform(-0.6, 0.6, (count, 2))
    yaw_pitch = 0.5 * CONE * rng.uniform(-1, 1, (count, 2))
    turned = Rotation.from_euler("zyx", np.concatenate([0.25 * yaw_pitch[:, :1], yaw_pitch], 1), degrees=True)
    pictures = render(traits, turned, rng.uniform(0, 1, count), centre, radius, size)
    return pictures, np.stack([box(c, r, t[ASPECT]) for c, r, t in zip(centre, radius, traits, strict=True)])


def scaled(boxes: NDArray[np.float64], factor: float) -> NDArray[np.float64]:
    """(V, 4) about their middles."""
    middle, half = (boxes[:, :2] + boxes[:, 2:]) / 2, (boxes[:, 2:] - boxes[:, :2]) / 2
    return np.concatenate([middle - factor * half, middle + factor * half], axis=1)


@dataclass(frozen=True)
class Watched:
    """What was seen in V videos of T frames: as Seen, with the videos in front."""

    traits: NDArray[np.float64]
    mouth: NDArray[np.float64]
    boxes: NDArray[np.float64]
    euler: NDArray[np.float64]


def watch(estimator: Estimator, pixels: Tensor) -> Watched:
    """(V, T, 3, S, S) -> what is there."""
    count, frames = pixels.shape[:2]
    seen: Seen = estimator.see(pixels.flatten(0, 1))
    boxes = np.concatenate(
        [box(seen.centre[k : k + 1], seen.radius[k], seen.traits[k, ASPECT]) for k in range(len(seen.mouth))]
    )
    fold = lambda x: x.reshape(count, frames, *x.shape[1:])  # noqa: E731
    return Watched(fold(seen.traits), fold(seen.mouth), fold(boxes), fold(seen.euler))


def estimator_errors(estimator: Estimator, emo: EMO, speeds: NDArray[np.float64], count: int = 40) -> dict[str, float]:
    """The estimator's own, on rendered films of people it never saw, through emo's latents: mouth r (wanted 0.98),
    identity (0.99), and the error of a film's mean speed (a third of the smallest gap between the four asked)."""
    rng, known = np.random.default_rng([SEED, 1]), people(PEOPLE, SEED, APART).traits
    size, frames = emo.config.image_size, SECONDS * FPS
    gallery = estimator.see(_portraits(known, rng, size)[0]).traits
    mouths, rights, errors = [], [], []
    for number in range(count):
        who, way, mouth = known[number % len(known)], path(frames, rng), rng.uniform(0, 1, frames)
        pixels = render(who, way.rotations, mouth, way.centre, way.radius, size)
        seen = estimator.see(emo.decode_latents(emo.encode_pixels(pixels)))
        mouths.append(np.corrcoef(seen.mouth, mouth)[0, 1])
        rights.append(measures.knows_person(seen.traits.mean(0)[None], gallery, np.array([number % len(known)]))[0])
        errors.append(measures.head_speed(seen.euler[None])[0].mean() - way.speed[1:].mean())
    gap = np.diff(np.quantile(speeds, QUANTILES)).min()
    return {
        "mouth r": float(np.mean(mouths)),
        "identity": float(np.mean(rights)),
        "speed": float(np.sqrt(np.mean(np.square(errors)))),
        "a third of the smallest gap of speeds": float(gap / 3),
    }
