"""What must be equal for two numbers to be comparable, as one frozen value with a hash."""

import dataclasses
import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from emo_model.data.store import write_json
from emo_model.errors import UserError

from .extractors import ALL, FAMILIES, Extractor, Family, choose, family_of


@dataclass(frozen=True)
class PinnedExtractor:
    """A network and the sha256 of its weight files."""

    family: str
    extractor: str
    sha256: str


RESIZE = "bicubic (libswscale), straight to a square"
REFERENCE = "frame 0 of the ground truth"
SOUND = "each video's own track, as a viewer hears it; the driving voice where it has none"
CODEC = "ground truth from raw files: lossless; every other file: as it was handed in"


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
    name: str = "demo"  # the named protocol whose numbers these are (NAMED)
    split: str = ""  # how the people of the test set were chosen
    truth: str = "clip"  # ground truth is the 30 fps clip, or cut from the "raw" file at `fps` (truth.py)
    truth_sha256: str = ""  # of what the ground truth is cut from, its crops among it
    seconds: float = 10.0  # per clip, from its start; shorter clips are used whole
    fps: float = 30.0
    size: int = 256  # pixels
    resize: str = RESIZE
    reference: str = REFERENCE
    sound: str = SOUND
    codec: str = CODEC
    frames: int = 10_000  # N of distances between frames: drawn with `seed`, of each clip its share
    windows: int = 2_048  # N of distances between windows
    reconstruction: str = "TINY"  # the preset whose latent space the row `reconstruction` goes through
    bootstrap: int = 100  # resamples of identities behind a 95 % interval
    seed: int = 0  # of the bootstrap, of what is drawn, and of whose voice a shuffled clip gets
    version: int = 2  # of the code that measures: raised when a number may change

    @classmethod
    def freeze(cls, dataset: str, clips: Sequence[str], *, metrics: Sequence[str] = ALL, **values: Any) -> "Protocol":
        """The protocol with the best networks that can run here, pinned by hash; `name` brings the values of a named
        one (NAMED), others replace them. UserError for an unknown metric or name.
        """
        if not clips or len(set(clips)) != len(clips):
            raise UserError(f"wanted distinct clip ids to evaluate on, got {list(clips)}; run: emo query clips")
        chosen = [(family_of(name), choose(family_of(name))) for name in metrics]
        pins = [PinnedExtractor(f.name, e.name, e.sha256) for f, e in chosen if e is not None]
        values = named(values.get("name", "demo")) | values
        return cls(dataset, tuple(clips), tuple(sorted(pins, key=lambda p: p.family)), **values)

    @classmethod
    def of(cls, values: Mapping[str, Any]) -> "Protocol":
        """From its JSON, as `asdict` gives it and `write` leaves it."""
        pins = tuple(PinnedExtractor(**pin) for pin in values["extractors"])
        fields = {key: value for key, value in values.items() if key != "hash"}
        return cls(**{**fields, "clips": tuple(values["clips"]), "extractors": pins})

    @classmethod
    def read(cls, path: Path) -> "Protocol":
        """What `write` left."""
        return cls.of(json.loads(path.read_text(encoding="utf-8")))

    def write(self, path: Path) -> None:
        """As JSON, its hash among the fields."""
        write_json(path, dataclasses.asdict(self) | {"hash": self.hash})

    def samples(self, family: Family) -> int | None:
        """N of a family's distance; None where it is no distance or counts neither frames nor windows."""
        return {"frame": self.frames, "window": self.windows}.get(family.sample) if family.is_distance else None

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


# The named protocols. Two numbers compare where the hashes are equal, clips and weights included; a name says what was
# meant to be equal.
NAMED: dict[str, dict[str, Any]] = {
    "demo": {},
    # 512 x 512 HDTF crops, 25 fps from the raw file, the first ten seconds
    "HDTF-open-v1": {"truth": "raw", "fps": 25.0, "size": 512, "seconds": 10.0, "split": "hdtf-v1"},
    # section 4.2's clips from the web: 1,000 of 4 s, of any manifest
    "web-clips-v1": {"truth": "raw", "fps": 25.0, "size": 512, "seconds": 4.0},
}


def named(name: str) -> dict[str, Any]:
    """The values of a named protocol. UserError lists the ones there are."""
    if name not in NAMED:
        raise UserError(f"unknown protocol {name!r}; known: {', '.join(NAMED)}")
    return NAMED[name] | {"name": name}
