"""One video: a portrait and a voice in, an mp4 with that voice out.

encode_frames -> locate_face -> denoise -> decode -> carry_motion_frames, clip after clip (`sampler.animate`).
"""

import json
import resource
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
from diffusers import DDIMScheduler
from numpy.typing import NDArray
from torch import Tensor

from emo_model import diffusion
from emo_model.data.audio_encoders import Encoder
from emo_model.data.media import Picture
from emo_model.data.store import file_sha256, text_sha256
from emo_model.errors import UserError
from emo_model.generate import mp4
from emo_model.generate.portrait import Portrait, Region, prepare, read_picture
from emo_model.generate.sampler import animate
from emo_model.generate.sound import Sound, encoder_for, read_sound
from emo_model.networks.emo import EMO

Progress = Callable[[int, int], None]  # frames done, frames in all


@dataclass(frozen=True)
class Settings:
    """What decides a video beside checkpoint, portrait and voice."""

    speed: float | str | None = "median"  # degrees a frame; "median": of the speed buckets; None: unknown
    face_region: Region = "auto"
    steps: int = 40  # of DDIM, section 4.1
    guidance: float = 3.5  # not in the paper; 1: the paper read literally
    seed: int = 0

    def __post_init__(self) -> None:
        if not (self.speed in (None, "median") or (isinstance(self.speed, float | int) and self.speed >= 0)):
            raise UserError(f"head speed {self.speed!r}: degrees a frame are wanted; run: emo generate --speed 0.7")
        if not 1 <= self.steps <= 1000:
            raise UserError(f"{self.steps} denoising steps: 1 to 1000 are wanted; run: emo generate --steps 40")


DEFAULT = Settings()


@dataclass(frozen=True)
class GenerateReport:
    """What was made and what it took. Memory is the process's peak, or the GPU's where one was used."""

    path: Path
    frames: int
    clips: int
    seconds: float
    peak_memory_gb: float


@dataclass(frozen=True)
class Model:
    """A checkpoint made ready: loaded once, for one video or many."""

    folder: Path
    emo: EMO
    scheduler: DDIMScheduler
    encoder: Encoder
    sha256: str

    @classmethod
    def load(cls, folder: Path) -> "Model":
        """Read a checkpoint folder. UserError where it is none, or this machine lacks its audio encoder."""
        emo = EMO.from_pretrained(folder)
        device = "cuda" if torch.cuda.is_available() else "cpu"
        encoder = encoder_for(emo.config)
        return cls(folder, emo.to(device).eval(), diffusion.load_schedule(folder), encoder, checkpoint_sha256(folder))

    def speed(self, settings: Settings) -> float | None:
        """Degrees a frame."""
        if isinstance(settings.speed, str):
            return float(np.median(self.emo.buckets.centres))
        return settings.speed


def checkpoint_sha256(folder: Path) -> str:
    """Hash of everything in a checkpoint folder that a video depends on."""
    files = [*folder.glob("*/*.safetensors"), *folder.glob("*.json"), *folder.glob("scheduler/*.json")]
    files = sorted(file for file in files if file.parent.name != "training" and file.name != "provenance.json")
    return text_sha256(*(f"{file.relative_to(folder)} {file_sha256(file)}" for file in files))


def generate(
    checkpoint: Path | Model,
    portrait: Path | Picture | Portrait,
    audio: Path | Sound,
    out: Path,
    *,
    settings: Settings = DEFAULT,
    size: int | None = None,
    overwrite: bool = False,
    progress: Progress = lambda done, total: None,
) -> GenerateReport:
    """Write `out` (mp4, 30 fps, as long as the voice, with the voice as its sound).

    size: pixels a side of the file; None: the network's own. UserError where `out` is there already, no face is
    found in the portrait, or an input cannot be read. The same inputs give the same frames on one machine.
    """
    started = time.perf_counter()
    _refuse(out, size, overwrite)
    sound = audio if isinstance(audio, Sound) else read_sound(audio)
    picture = read_picture(portrait) if isinstance(portrait, Path) else portrait
    model = checkpoint if isinstance(checkpoint, Model) else Model.load(checkpoint)
    side = model.emo.config.image_size
    pictured = picture if isinstance(picture, Portrait) else prepare(picture, side, settings.face_region)
    pictures = frames(model, pictured, sound, settings, progress)
    count = mp4.write(out, pictures, size or side, sound, _comment(model, settings))
    clips = -(-count // model.emo.config.frames)
    return GenerateReport(out, count, clips, round(time.perf_counter() - started, 2), _peak_memory_gb())


def frames(
    model: Model, portrait: Portrait, sound: Sound, settings: Settings, progress: Progress
) -> Iterator[NDArray[np.uint8]]:
    """The video's frames (H, W, 3) uint8, clip after clip as they are sampled."""
    device, total = model.emo.backbone.unet.device, sound.frames
    audio = torch.from_numpy(model.encoder.features(sound.mono_16k(), total)).float()
    clips = animate(
        model.emo, model.scheduler, portrait.reference.to(device), portrait.mask.to(device), audio.to(device),
        model.speed(settings), steps=settings.steps, guidance=settings.guidance, seed=settings.seed,
    )  # fmt: skip
    done = 0
    for pixels in clips:
        yield from to_uint8(pixels)
        done += len(pixels)
        progress(done, total)


def to_uint8(pixels: Tensor) -> NDArray[np.uint8]:
    """(F, 3, H, W) in [-1, 1] -> (F, H, W, 3)."""
    return ((pixels + 1) * 127.5).round().clamp(0, 255).byte().permute(0, 2, 3, 1).cpu().numpy()


def _refuse(out: Path, size: int | None, overwrite: bool) -> None:
    if size is not None and (size < 16 or size % 2):
        raise UserError(f"{size} pixels a side: H.264 wants an even number, 16 or more; run: emo generate --size 512")
    if out.suffix.lower() != ".mp4":
        raise UserError(f"{out} is no mp4; run: emo generate CHECKPOINT PICTURE SOUND OUT.mp4")
    if out.exists() and not overwrite:
        raise UserError(f"{out} is there already; choose another name, or run the same command with --overwrite")


def _comment(model: Model, settings: Settings) -> str:
    """Goes into the file: players and `ffprobe` show it."""
    made = {"checkpoint": model.folder.name, "checkpoint_sha256": model.sha256, **asdict(settings)}
    made["speed"] = model.speed(settings)
    return "Synthetic: this person was animated by a model (open EMO). " + json.dumps(made, default=str)


def _peak_memory_gb() -> float:
    if torch.cuda.is_available():
        return round(torch.cuda.max_memory_allocated() / 1e9, 2)
    return round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6, 2)  # kB on Linux
