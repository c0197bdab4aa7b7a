"""What a generation has finished so far, kept beside its output: the same command goes on there, to the same bytes.

    OUT.partial/made_of.json                what the video is made of; where anything of it differs, all begins anew
    OUT.partial/voice.f16                   what the audio encoder hears, 3 kB (Whisper) or 18 kB (wav2vec) a frame
    OUT.partial/clip-0000017.safetensors    a clip's frames as uint8, and its last n as sampled: the next goes on there
    OUT.partial/film-0000001.mp4            CLIPS_A_FILM clips encoded; those are then let go, all but the last

At 512 pixels clips take 240 MB at most, whatever the length of the video.
"""

import json
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import safetensors.torch
import torch
from numpy.typing import NDArray
from torch import Tensor

from emo_model.data.store import atomic, held, sweep, write_json

CLIPS_A_FILM = 10  # 4 seconds: so far apart are the places at which a player can begin


@dataclass(frozen=True)
class Segments:
    """The clips and films of one output, in their folder."""

    folder: Path

    @property
    def voice(self) -> Path:
        """Where what the encoder hears lies, or will."""
        return self.folder / "voice.f16"

    def film(self, number: int) -> Path:
        """Where a film lies, or will."""
        return self.folder / f"film-{number:07d}.mp4"

    @property
    def films(self) -> int:
        """How many are finished."""
        return len(list(self.folder.glob("film-*.mp4")))

    def has(self, clip: int) -> bool:
        """Is this clip finished?"""
        return self._path(clip).is_file()

    def keep(self, clip: int, frames: NDArray[np.uint8], last: Tensor) -> None:
        """A finished clip: frames (F, H, W, 3), and the n frames (n, 3, H, W) on which the next clip goes on."""
        kept = {"frames": torch.from_numpy(np.ascontiguousarray(frames)), "last": last.detach().cpu().contiguous()}
        with atomic(self._path(clip)) as temporary:  # not by save_file, whose error on a full disk does not say so
            temporary.write_bytes(safetensors.torch.save(kept))

    def frames(self, clip: int) -> NDArray[np.uint8]:
        """(F, H, W, 3)."""
        return self._read(clip)["frames"].numpy()

    def last(self, clip: int) -> Tensor:
        """(n, 3, H, W) in [-1, 1], to the bit what sampling gave."""
        return self._read(clip)["last"]

    def let_go(self, below: int) -> None:
        """Forget clips whose film is finished."""
        for path in self.folder.glob("clip-*.safetensors"):
            if path.name < self._path(below).name:
                path.unlink()

    def _path(self, clip: int) -> Path:
        return self.folder / f"clip-{clip:07d}.safetensors"

    def _read(self, clip: int) -> dict[str, Tensor]:
        return safetensors.torch.load(self._path(clip).read_bytes())


@contextmanager
def kept_beside(out: Path, made_of: Mapping[str, Any], resume: bool, tell: Callable[[str], None]) -> Iterator[Segments]:
    """The folder OUT.partial, held by this process and gone once the video is whole.

    tell(line) hears of a beginning anew. UserError where another process makes the same file.
    """
    folder = out.with_name(f"{out.name}.partial")
    with held(folder, f"{out} is being made by another command; wait for it, or choose another name"):
        if (there := _differences(folder, made_of)) and resume:
            tell(f"{folder} was made with other {', '.join(there)}: beginning anew")
        if there or not resume:
            for path in folder.glob("[!.]*"):
                path.unlink()
        sweep(folder)
        write_json(folder / "made_of.json", made_of)
        yield Segments(folder)
        shutil.rmtree(folder)


def _differences(folder: Path, made_of: Mapping[str, Any]) -> list[str]:
    """Names of what differs; empty where nothing was kept yet, too."""
    note = folder / "made_of.json"
    if not note.is_file():
        return []
    try:
        before = json.loads(note.read_text())
    except ValueError:
        before = {}
    now = json.loads(json.dumps(made_of))
    return sorted(name for name in {*before, *now} if before.get(name) != now.get(name))
