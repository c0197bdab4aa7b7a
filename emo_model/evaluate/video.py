"""A video as metrics see it: frames at one rate and size, its sound, its faces. Each file is decoded once."""

import copy
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Protocol

import av
import numpy as np

from emo_model.data import media

from .faces import FaceTrack, track_faces

SOUND_RATE = media.AUDIO_RATE
_EARLY = 1e-3  # seconds a frame may be late and still count as on screen: containers round timestamps


class View(Protocol):
    """What reading needs to know of a protocol."""

    @property
    def fps(self) -> float: ...
    @property
    def size(self) -> int: ...
    @property
    def seconds(self) -> float: ...


class Unreadable(Exception):
    """A video that cannot be used, and why, in one line."""


@dataclass(eq=False)
class Video:
    """Frames (T, size, size, 3) uint8 RGB at `fps`; `reference` is the image the generator was given.

    `still` marks one frame repeated: per-frame work is then done once. `truth` is the real clip of the same length that
    this video answers; None on the real clip itself.
    """

    frames: np.ndarray
    fps: float
    reference: np.ndarray
    sound_path: Path | None = None
    still: bool = False
    truth: "Video | None" = None

    @cached_property
    def faces(self) -> FaceTrack:
        """The face in every frame, found once for all metrics."""
        return self.per_frame(lambda frames: track_faces(frames, self.fps))

    @cached_property
    def sound(self) -> np.ndarray | None:
        """16 kHz mono int16, cut to the frames' length; None without a sound track."""
        return read_sound(self.sound_path, len(self.frames) / self.fps) if self.sound_path else None

    def per_frame(self, work: Callable[[np.ndarray], Any]) -> Any:
        """work(frames), which must give something indexable by frame; a still frame is worked on once."""
        if not self.still:
            return work(self.frames)
        return work(self.frames[:1])[np.zeros(len(self.frames), int)]

    def at(self, fps: float) -> np.ndarray:
        """The frames on screen at j / fps: a view for the same rate, else a selection."""
        return self.frames[resample_indices(len(self.frames), self.fps, fps)]

    def as_still(self) -> "Video":
        """The reference shown for as long: the answer of a generator that does nothing."""
        frames = np.broadcast_to(self.reference, self.frames.shape)
        return Video(frames, self.fps, self.reference, self.sound_path, still=True, truth=self)

    def with_sound(self, path: Path) -> "Video":
        """The same pictures, and faces if they were found already, with another sound."""
        other = copy.copy(self)
        other.__dict__.pop("sound", None)
        other.sound_path, other.truth = path, self
        return other


def resample_indices(count: int, fps: float, to_fps: float) -> np.ndarray:
    """Index of the frame on screen at each j / to_fps, for `count` frames at `fps`."""
    length = int(np.floor((count - 1) / fps * to_fps + _EARLY)) + 1
    return np.floor(np.arange(length) * fps / to_fps + _EARLY).astype(int)


def read_frames(path: Path, *, fps: float, size: int, seconds: float) -> np.ndarray:
    """(T, size, size, 3) uint8: frame j is the one on screen j / fps after the first, up to `seconds`.

    Unreadable on a file without usable frames.
    """
    wanted = round(seconds * fps)
    frames: list[np.ndarray] = []
    shown: media.SourceFrame | None = None

    def show(frame: media.SourceFrame, end_s: float) -> None:
        """Append a frame for every output time before `end_s`."""
        picture = None
        while len(frames) < wanted and len(frames) / fps < end_s - _EARLY:
            picture = _resized(frame.decoded, size) if picture is None else picture
            frames.append(picture)

    try:
        for frame in media.decode(path):
            if shown is not None:
                show(shown, frame.t_s)
            shown = frame
            if len(frames) >= wanted:
                break
        if shown is not None:
            show(shown, shown.t_s + 2 * _EARLY)  # its own length is unknown: it counts where it starts
    except (av.FFmpegError, OSError) as error:
        raise Unreadable(f"{path.name} could not be decoded: {error}") from error
    if not frames:
        raise Unreadable(f"{path.name} has no frames")
    return np.stack(frames)


def _resized(frame: av.VideoFrame, size: int) -> np.ndarray:
    return frame.to_ndarray(format="rgb24", width=size, height=size, interpolation="BICUBIC")


def read_image(path: Path, size: int) -> np.ndarray:
    """(size, size, 3) uint8 RGB of an image file, or of a video's first frame."""
    return read_frames(path, fps=1, size=size, seconds=1)[0]


def read_sound(path: Path, seconds: float | None = None) -> np.ndarray | None:
    """Mono int16 at 16 kHz from the video's first frame on (all of it, or `seconds`); None without a sound
    track.
    """
    try:
        with media.open_media(path) as container:
            if media.audio_stream(container) is None:
                return None
            length = (container.duration or 0) / av.time_base
        sound = media.audio(path, 0.0, length if seconds is None else seconds)
    except (av.FFmpegError, OSError) as error:
        raise Unreadable(f"the sound of {path.name} could not be decoded: {error}") from error
    return np.clip(np.round(sound * 32768), -32768, 32767).astype(np.int16)


def has_sound(path: Path) -> bool:
    """Whether a file has a sound track. Unreadable where it cannot be opened."""
    try:
        with media.open_media(path) as container:
            return media.audio_stream(container) is not None
    except (av.FFmpegError, OSError) as error:
        raise Unreadable(f"{path.name} could not be opened: {error}") from error


def open_video(path: Path, reference: np.ndarray | Path | None, sound: Path | None, protocol: View) -> Video:
    """The video under a protocol's fps, size and seconds, with the sound of another file if one is given.

    Without a reference, its own first frame is it. Unreadable on a file without usable frames.
    """
    fps, size = protocol.fps, protocol.size
    frames = read_frames(path, fps=fps, size=size, seconds=protocol.seconds)
    if reference is None:
        image = frames[0]
    elif isinstance(reference, Path):
        image = read_image(reference, size)
    else:
        image = fit(reference, size)
    return Video(frames, fps, image, sound or path)


def fit(image: np.ndarray, size: int) -> np.ndarray:
    """A uint8 RGB image brought to (size, size) with the filter the frames pass through."""
    frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(image, np.uint8), format="rgb24")
    return _resized(frame, size)
