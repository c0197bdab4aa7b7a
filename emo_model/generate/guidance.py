"""Classifier-free guidance with a scale for each condition (Ho and Salimans 2022; the paper is silent).

The scales nest as InstructPix2Pix's do (Brooks et al. 2023, equation 3), the conditions taken in one after another:

    e = e() + s_reference (e(r) - e()) + s_audio (e(r, a) - e(r)) + s_speed (e(r, a, v) - e(r, a))

Equal scales telescope: 3.5 for all is e() + 3.5 (e(r, a, v) - e()), two branches, and 1 for all is e(r, a, v) alone,
the paper read literally. Face region and motion frames stand in every branch, as in training.
"""

import math
from dataclasses import dataclass

from torch import Tensor

from emo_model.errors import UserError

CONDITIONS = ("reference", "audio", "speed")  # in the order in which they nest


@dataclass(frozen=True)
class Branch:
    """One prediction: the first `known` of CONDITIONS are given, and its step from the branch before is scaled."""

    known: int
    scale: float


@dataclass(frozen=True)
class Guidance:
    """A scale for each condition; 1: not guided, 0: as if it were not there."""

    reference: float = 3.5
    audio: float = 3.5
    speed: float = 3.5

    def __post_init__(self) -> None:
        if not all(math.isfinite(scale) and scale >= 0 for scale in (self.reference, self.audio, self.speed)):
            raise _no_guidance(f"{self.reference:g}, {self.audio:g}, {self.speed:g}")

    @classmethod
    def of(cls, value: "float | Guidance") -> "Guidance":
        """One scale for every condition, or the scales themselves."""
        return value if isinstance(value, Guidance) else cls(value, value, value)

    @classmethod
    def parse(cls, text: str) -> "Guidance":
        """3.5, or reference=2,audio=3.5,speed=1 where what is not named is 1. UserError for anything else."""
        try:
            if "=" not in text:
                return cls.of(float(text))
            named = dict(part.split("=", 1) for part in text.split(","))
            if set(named) <= set(CONDITIONS):
                return cls(**{name: float(named.get(name, 1.0)) for name in CONDITIONS})
        except ValueError:
            pass
        raise _no_guidance(text)

    def branches(self) -> list[Branch]:
        """The predictions that e needs, the one that knows least first; its step is from nothing, at scale 1."""
        found = [Branch(known=0, scale=1.0)]
        for known, scale in enumerate((self.reference, self.audio, self.speed), start=1):
            if scale == found[-1].scale:  # two steps of one scale are one step
                found.pop()
            found.append(Branch(known, scale))
        while found[-1].scale == 0:
            found.pop()
        return found


def combined(predictions: Tensor, branches: list[Branch]) -> Tensor:
    """e of the branches' predictions (K, ...)."""
    total = predictions[0]
    for number in range(1, len(branches)):
        total = total + branches[number].scale * (predictions[number] - predictions[number - 1])
    return total


def _no_guidance(text: str) -> UserError:
    return UserError(
        f"guidance {text!r}: numbers of 0 or more are wanted; run: emo generate --guidance 3.5 "
        "(or reference=2,audio=3.5,speed=1)"
    )
