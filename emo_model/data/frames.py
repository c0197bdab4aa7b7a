"""Frames of a stored crop at the network's size, by number.

Kept frames are decoded once into a memory-mapped uint8 file beside the crop, named by the crop's sha256 and
the size; others are decoded by seeking: crops have a key frame every 15 frames or sooner. A process hashes a crop
before it first decodes it: a shortened or replaced one would teach other pictures under the same name.
"""

import shlex
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import av
import numpy as np
from av.video.reformatter import Interpolation
from numpy.typing import NDArray

from emo_model.data.store import file_sha256, write_array
from emo_model.errors import UserError

FPS = 30


@dataclass(frozen=True)
class Frames:
    """One clip's pictures. `crop_sha256` names the copy: a remade crop is never read from an old one."""

    path: Path
    crop_sha256: str
    num_frames: int
    size: int  # pixels a side, as the network wants them
    keep: bool = False
    mend: str = "run: emo prepare"  # what to do where the crop is not what it was

    def read(self, frames: NDArray[np.int64]) -> NDArray[np.uint8]:
        """(len(frames), size, size, 3) RGB, in the order asked for. UserError where the crop is gone or another."""
        return self._kept[frames] if self.keep else decode(self._crop, frames, self.size)

    def latents(self, encoder: str) -> Path:
        """Where these pictures lie as the latents of an encoder (emo_model/train/latents.py)."""
        return self.path.parent / f"latents-{encoder}" / f"{self.crop_sha256[:32]}.npy"

    def __getstate__(self) -> dict[str, Any]:
        """For another process: what is mapped here is mapped there anew, not sent."""
        return {name: value for name, value in vars(self).items() if name not in ("_kept", "_crop")}

    @cached_property
    def _crop(self) -> Path:
        try:
            found = file_sha256(self.path)
        except OSError as error:
            raise UserError(f"{self.path} cannot be read: {error.strerror}; {self.mend}") from error
        if found != self.crop_sha256:
            raise UserError(
                f"{self.path} has changed since the manifest was made: its sha256 is {found[:12]}, "
                f"not {self.crop_sha256[:12]}; {self.mend}"
            )
        return self.path

    @cached_property
    def _kept(self) -> NDArray[np.uint8]:
        copy = self.path.parent / f"frames-{self.size}" / f"{self.crop_sha256[:32]}.npy"
        if not copy.is_file():
            pictures = decode(self._crop, np.arange(self.num_frames), self.size)
            write_array(copy, pictures)
        return mapped(copy, made_again(copy), (self.num_frames, self.size, self.size, 3))


def mapped(path: Path, mend: str, shape: tuple[int, ...] | None = None) -> NDArray[Any]:
    """The array of a .npy file, not yet read. UserError, which ends with `mend`, where there is none of this shape."""
    try:
        array = np.load(path, mmap_mode="r")
    except (OSError, ValueError, EOFError) as error:
        raise UserError(f"{path} is gone or damaged ({str(error).splitlines()[0]}); {mend}") from error
    if shape is not None and array.shape != shape:
        raise UserError(f"{path} has the shape {array.shape}, not {shape}; {mend}")
    return array


def made_again(path: Path) -> str:
    """How to mend what training itself made."""
    return f"it is made again where it is missing, run: rm {shlex.quote(str(path))}, then the same command"


def decode(path: Path, frames: NDArray[np.int64], size: int) -> NDArray[np.uint8]:
    """(len(frames), size, size, 3) RGB of frame numbers at 30 fps, through one seek and one pass."""
    wanted, out = {int(frame) for frame in frames}, {}
    with av.open(path) as container:
        stream = container.streams.video[0]
        start = stream.start_time or 0
        container.seek(start + round(min(wanted) / FPS / stream.time_base), stream=stream, backward=True)
        for picture in container.decode(stream):
            number = round((picture.pts - start) * stream.time_base * FPS)
            if number in wanted:
                out[number] = resized(picture, size)
            if number >= max(wanted):
                break
    if missing := wanted - set(out):
        raise UserError(f"{path.name} ends before frame {min(missing)}; run: emo prepare FOLDER_OF_VIDEOS")
    return np.stack([out[int(frame)] for frame in frames])


def resized(picture: av.VideoFrame, size: int) -> NDArray[np.uint8]:
    """(size, size, 3) RGB: every picture that the network sees, portraits included, goes through here."""
    return picture.reformat(size, size, "rgb24", interpolation=Interpolation.AREA).to_ndarray()
