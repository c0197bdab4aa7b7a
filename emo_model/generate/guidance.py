"""Classifier-free guidance with a scale for each condition (Ho and Salimans 2022; the paper is silent).

A condition of scale 1 stands in every prediction, one of scale 0 in none. The others nest as InstructPix2Pix's do
(Brooks et al. 2023, equation 3), taken in one after another: with motion frames M, portrait R, audio A, speed V

    e = e() + s_motion (e(M) - e()) + s_reference (e(M, R) - e(M)) + s_audio (e(M, R, A) - e(M, R)) + ...

Equal scales telescope: 3.5 is e(M) + 3.5 (e(M, R, A, V) - e(M)), two predictions, and 1 is e(M, R, A, V) alone, the
paper read literally. More than 1 for the motion frames holds a clip to the one before it.
"""

import math
from dataclasses import asdict, dataclass

from torch import Tensor

from emo_model.errors import UserError

CONDITIONS = ("motion", "reference", "audio", "speed")  # in the order in which they nest


@dataclass(frozen=True)
class Branch:
    """One prediction: the conditions that are given, and the scale of its step from the branch before."""

    known: tuple[str, ...]
    scale: float


@dataclass(frozen=True)
class Guidance:
    """A scale for each condition; 1: not guided, 0: as if it were not there."""

    reference: float = 3.5
    audio: float = 3.5
    speed: float = 3.5
    motion: float = 1.0

    def __post_init__(self) -> None:
        if not all(math.isfinite(scale) and scale >= 0 for scale in asdict(self).values()):
            raise _no_guidance(", ".join(f"{scale:g}" for scale in asdict(self).values()))

    @classmethod
    def of(cls, value: "float | Guidance") -> "Guidance":
        """One scale for portrait, audio and speed, or the scales themselves."""
        return value if isinstance(value, Guidance) else cls(value, value, value)

    @classmethod
    def parse(cls, text: str) -> "Guidance":
        """3.5, or motion=1.5,reference=2,audio=3.5 where what is not named is 1. UserError for anything else."""
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
        scales = asdict(self)
        found = [Branch(tuple(name for name in CONDITIONS if scales[name] == 1), scale=1.0)]
        for name in CONDITIONS:
            if scales[name] in (0, 1):
                continue
            branch = Branch((*found[-1].known, name), scales[name])
            if branch.scale == found[-1].scale:  # two steps of one scale are one step
                found.pop()
            found.append(branch)
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
        "(or motion=1.5,reference=2,audio=3.5,speed=1)"
    )
