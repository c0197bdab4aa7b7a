"""A policy: what one purpose asks of a clip, as a small TOML file over the columns of `clips`.

    split = "train"
    [[leave_out]]                     the first that holds is the clip's reason
    reason = "low_quality"            of the closed list in records.py
    score = "blur"                    a column, or SQL over columns
    below = 20

The files here are the ones in force until the data root has its own, 5_manifest/policies/NAME.toml: change a number
there, run `emo manifest`, and in seconds the manifests are others; no video is touched. A score that is unknown (null)
is never held against a clip. Columns: those of `clips` in the catalog, and sound_path, audio_path, sound_cut_short,
sound_shift_frames, av_offset_left_frames (sound_shift.py).
"""

import tomllib
from importlib import resources
from pathlib import Path
from typing import Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from emo_model.data.records import REASONS
from emo_model.data.store import DataRoot, text_sha256, write_text
from emo_model.errors import UserError

PACKAGED = resources.files("emo_model.data") / "policies"
EVAL, PACKAGED_TEST_SETS = "eval", ("eval", "hdtf_test")
FOLDER = "policies"  # in 5_manifest: the data root's own


class Rule(BaseModel):
    """One reason to leave a clip out: SQL that is true of it (`where`), or a score below or above a threshold."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    reason: str
    where: str | None = None
    score: str | None = None
    below: float | None = None
    above: float | None = None

    @field_validator("reason")
    @classmethod
    def _listed(cls, reason: str) -> str:
        if reason not in REASONS:
            raise ValueError(f"one of {', '.join(sorted(REASONS))}")
        return reason

    @model_validator(mode="after")
    def _one_test(self) -> Self:
        given = (self.where is not None, self.below is not None, self.above is not None)
        if sum(given) != 1 or (self.where is None) == (self.score is None):
            raise ValueError(f"{self.reason}: wanted `where`, or `score` with `below` or `above`")
        return self

    @property
    def test(self) -> str:
        """SQL, true of a clip to leave out; never null."""
        if self.where is not None:
            return f"coalesce({self.where}, false)"
        sign = "<" if self.above is None else ">"
        return f"coalesce(({self.score}) {sign} {self.threshold!r}, false)"

    @property
    def threshold(self) -> float | None:
        """What the score is held against."""
        return self.below if self.above is None else self.above


class Policy(BaseModel):
    """What a purpose asks of a clip."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str  # the file's, and `policy` in `rejected`
    manifest: str  # 5_manifest/MANIFEST.parquet
    split: Literal["train", "test"]
    protocol: str | None = None  # name of the test set, for evaluation
    leave_out: tuple[Rule, ...] = Field(default=())
    one_of_each_recording: bool = False  # of near-duplicates that pass every rule, the best alone (near_duplicate)

    @property
    def sha256(self) -> str:
        """Hash of all that is asked."""
        return text_sha256(self.model_dump_json())

    @property
    def rules(self) -> tuple[Rule, ...]:
        """In the order they count. The other side's people come first: nothing else matters about them."""
        other = "held_out" if self.split == "train" else "train_only"
        return (Rule(reason=other, where=f"split <> '{self.split}'"), *self.leave_out)

    def with_rules(self, more: tuple[Rule, ...]) -> Self:
        """And these, after the file's own."""
        return self.model_copy(update={"leave_out": (*self.leave_out, *more)})

    def held_out(self) -> Self:
        """The same, asked of test people's clips: for validation."""
        manifest = f"held_out_{self.manifest.removeprefix('train_')}"
        return self.model_copy(update={"name": manifest, "manifest": manifest, "split": "test"})


def policy(root: DataRoot, name: str) -> Policy:
    """The policy in force: the data root's own file, else the packaged one. UserError where there is none, or it is not
    understood."""
    own = own_path(root, name)
    try:
        return parse(text(root, name), name)
    except (tomllib.TOMLDecodeError, ValidationError, ValueError) as error:
        raise UserError(f"{own}: {_first(error)}; mend it, or delete it to have the packaged one") from error


def text(root: DataRoot, name: str) -> str:
    """The policy's file as it stands. UserError where there is none."""
    own, packaged = own_path(root, name), PACKAGED / f"{name}.toml"
    if own.is_file():
        return own.read_text(encoding="utf-8")
    if packaged.is_file():
        return packaged.read_text(encoding="utf-8")
    raise UserError(f"no policy is called {name!r}; there are: {', '.join(names(root))}")


def parse(content: str, name: str) -> Policy:
    """A policy from its TOML. ValueError (of tomllib or pydantic) where it is not understood."""
    return Policy.model_validate({"name": name, "manifest": name, **tomllib.loads(content)})


def names(root: DataRoot) -> list[str]:
    """Every policy there is: the packaged ones and the data root's own."""
    packaged = [Path(file.name) for file in PACKAGED.iterdir()]
    own = own_path(root, "x").parent.glob("*.toml")
    return sorted({path.stem for path in (*packaged, *own) if path.suffix == ".toml"})


def own_path(root: DataRoot, name: str) -> Path:
    """Where the data root's own policy lies, if it has one."""
    return root.folder("5_manifest") / FOLDER / f"{name}.toml"


def choose_test_set(root: DataRoot, name: str) -> None:
    """Make a policy the one that the manifest `eval` is built by from now on: its text becomes 5_manifest/policies/
    eval.toml. UserError where a file of the user's own making stands there."""
    own = own_path(root, EVAL)
    wanted = (PACKAGED / f"{EVAL}.toml").read_text(encoding="utf-8") if name == EVAL else text(root, name)
    ours = {(PACKAGED / f"{other}.toml").read_text(encoding="utf-8") for other in PACKAGED_TEST_SETS} | {wanted}
    if own.is_file() and own.read_text(encoding="utf-8") not in ours:
        raise UserError(f"{own} is a policy of your own: change it there, or move it away to have {name}")
    if name != EVAL or own.is_file():
        write_text(own, wanted)


def make_own(root: DataRoot, name: str) -> Path:
    """Copy the policy into the data root, to be changed there; one that is there already stays as it is."""
    path = own_path(root, name)
    if not path.exists():
        write_text(path, text(root, name))
    return path


def _first(error: Exception) -> str:
    if isinstance(error, ValidationError):
        found = error.errors()[0]
        where = ".".join(map(str, found["loc"]))
        return f"{where}: {found['msg']}" if where else found["msg"]
    return str(error)
