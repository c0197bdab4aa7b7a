"""What must be equal for two numbers to be comparable, as one frozen value with a hash."""

import dataclasses
import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from emo_model.errors import UserError

from .extractors import ALL, FAMILIES, Extractor, choose, family_of


@dataclass(frozen=True)
class PinnedExtractor:
    """A network and the sha256 of its weight files."""

    family: str
    extractor: str
    sha256: str


@dataclass(frozen=True)
class Protocol:
    """How a set of generated videos is measured. Equal hashes mean comparable numbers; any other pair does
    not compare.

    Frames are read at `fps` from each clip's start, brought to size x size, at most `seconds` of them; FVD
    and SyncNet see 25 fps, FVD in 16-frame windows of stride 16, F-SIM 5 frames a second without frame 0.
    Rows of one evaluation share clips and frame counts, so that the bias of a Fréchet distance by sample
    count is the same for all.
    """

    dataset: str
    clips: tuple[str, ...]  # clip ids, in order
    extractors: tuple[PinnedExtractor, ...]
    seconds: float = 10.0  # per clip, from its start; shorter clips are used whole
    fps: float = 30.0
    size: int = 256  # pixels
    bootstrap: int = 100  # resamples of identities behind a 95 % interval
    seed: int = 0  # of the bootstrap
    version: int = 1  # of the code that measures: raised when a number may change

    @classmethod
    def freeze(cls, dataset: str, clips: Sequence[str], *, metrics: Sequence[str] = ALL, **values: Any) -> "Protocol":
        """The protocol with the best networks that can run here, pinned by hash. UserError for an unknown
        metric.
        """
        if not clips or len(set(clips)) != len(clips):
            raise UserError(f"wanted distinct clip ids to evaluate on, got {list(clips)}; run: emo query clips")
        chosen = [(family_of(name), choose(family_of(name))) for name in metrics]
        pins = [PinnedExtractor(f.name, e.name, e.sha256) for f, e in chosen if e is not None]
        return cls(dataset, tuple(clips), tuple(sorted(pins, key=lambda p: p.family)), **values)

    @property
    def hash(self) -> str:
        """16 hex digits over every field."""
        text = json.dumps(dataclasses.asdict(self), sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(text.encode()).hexdigest()[:16]

    def extractor(self, family: str) -> Extractor | None:
        """The pinned network of a family, None if none could run when the protocol was frozen.

        UserError where it cannot run here, or where its weights are others than the pinned ones.
        """
        pin = next((p for p in self.extractors if p.family == family), None)
        if pin is None:
            return None
        found = next((e for e in FAMILIES[family].extractors if e.name == pin.extractor), None)
        if found is None:
            raise UserError(f"this version has no {pin.extractor} for {family}; freeze a new protocol")
        if found.unavailable:
            raise UserError(f"the protocol measures {family} with {pin.extractor}; {found.unavailable}")
        if found.sha256 != pin.sha256:
            raise UserError(
                f"the protocol pinned {pin.extractor} at {pin.sha256[:12]}, here it is {found.sha256[:12]}; "
                f"run: emo weights verify {' '.join(found.weights)}"
            )
        return found
