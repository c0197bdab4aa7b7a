"""One video: a portrait and a voice in, an mp4 with that voice out.

encode_frames -> locate_face -> denoise -> decode -> carry_motion_frames, clip after clip (`sampler.animate`); finished
clips are kept (`segments`), encoded film by film, and joined with the voice (`mp4`).
"""

import hashlib
import json
import os
import resource
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, replace
from itertools import islice
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from diffusers import DDIMScheduler
from numpy.typing import NDArray
from torch import Tensor

from emo_model import diffusion
from emo_model.data.audio import SILENT
from emo_model.data.audio_encoders import Encoder
from emo_model.data.media import Picture
from emo_model.data.store import file_sha256, text_sha256
from emo_model.errors import UserError
from emo_model.generate import mp4
from emo_model.generate.guidance import Guidance
from emo_model.generate.hearing import Hearing
from emo_model.generate.paste_back import PasteBack
from emo_model.generate.picture import read_picture
from emo_model.generate.portrait import Portrait, Region, prepare
from emo_model.generate.sampler import Speed, animate
from emo_model.generate.segments import CLIPS_A_FILM, Segments, kept_beside
from emo_model.generate.sound import Sound, encoder_for, read_sound
from emo_model.generate.speed_curve import MEDIAN, Asked, SpeedCurve, speed_within
from emo_model.generate.synthetic import marked
from emo_model.networks.emo import EMO
from emo_model.networks.half import frozen_in_half
from emo_model.samplers import require
from emo_model.train.compiling import compile_repeated
from emo_model.train.finished import checkpoint_in

Progress = Callable[[int, int], None]  # frames done, frames in all
Tell = Callable[[str], None]  # a line for whoever waits
Precision = Literal["auto", "float32", "bf16"]  # of the networks' matrices; auto: bf16 on a GPU


@dataclass(frozen=True)
class Settings:
    """What decides a video beside checkpoint, portrait and voice."""

    speed: Asked = MEDIAN  # degrees a frame; "median": of the speed buckets; a curve; None: unknown
    face_region: Region = "auto"
    steps: int = 40  # section 4.1
    guidance: float | Guidance = 3.5  # not in the paper; 1: the paper read literally
    seed: int = 0
    sampler: str = "ddim"

    def __post_init__(self) -> None:
        number = isinstance(self.speed, float | int) and 0 <= self.speed < float("inf")
        if not (number or self.speed in (None, MEDIAN) or isinstance(self.speed, SpeedCurve)):
            raise UserError(f"head speed {self.speed!r}: degrees a frame are wanted; run: emo generate --speed 0.7")
        if not 1 <= self.steps <= 1000:
            raise UserError(f"{self.steps} denoising steps: 1 to 1000 are wanted; run: emo generate --steps 40")
        require(self.sampler)
        Guidance.of(self.guidance)  # its own refusals


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
    shared: float = 0.0  # of the noise: diffusion.NoiseRecipe
    precision: torch.dtype = torch.float32
    compiled: bool = False

    @classmethod
    def load(cls, folder: Path, precision: Precision = "auto", compiled: bool = False) -> "Model":
        """Read a checkpoint folder, or the last one of a finished run. compiled: torch.compile of what repeats
        (train/compiling.py), done in the first clip. UserError where it is no checkpoint, it is of a stage that makes
        no videos, or this machine lacks its audio encoder, or a compiler where one is wanted."""
        folder = checkpoint_in(folder)
        emo = EMO.from_pretrained(folder).eval().requires_grad_(False)
        _refuse_stills(folder)
        device = "cuda" if torch.cuda.is_available() else "cpu"
        encoder = encoder_for(emo.config)
        half = precision == "bf16" or (precision == "auto" and device == "cuda")
        if half:
            frozen_in_half(emo)
        compile_repeated(emo, "default" if compiled else "no")
        scheduler, shared = diffusion.load_schedule(folder), diffusion.load_shared(folder)
        return cls(
            folder, emo.to(device), scheduler, encoder, checkpoint_sha256(folder), shared,
            torch.bfloat16 if half else torch.float32, compiled,
        )  # fmt: skip

    @property
    def runs(self) -> dict[str, Any]:
        """What of how it runs decides a video's bits, as the video says it."""
        return {"precision": str(self.precision).removeprefix("torch."), "compiled": self.compiled}

    @property
    def device(self) -> torch.device:
        """Where it runs."""
        return self.emo.backbone.unet.device


def _refuse_stills(folder: Path) -> None:
    provenance = folder / "provenance.json"
    if provenance.is_file() and json.loads(provenance.read_text()).get("stage") == "image":
        raise UserError(f"{folder} is of stage image, which makes no videos; run: emo train video RUN --start {folder}")


def checkpoint_sha256(folder: Path) -> str:
    """Hash of everything in a checkpoint folder that a video depends on."""
    files = [*folder.glob("*/*.safetensors"), *folder.glob("*.json"), *folder.glob("scheduler/*.json")]
    files = sorted(file for file in files if file.parent.name != "training" and file.name != "provenance.json")
    # Of the provenance, the one line that sampling reads.
    shared = [f"shared noise {share}"] if (share := diffusion.load_shared(folder)) else []
    return text_sha256(*(f"{file.relative_to(folder)} {file_sha256(file)}" for file in files), *shared)


def generate(
    checkpoint: Path | Model,
    portrait: Path | Picture | Portrait,
    audio: Path | Sound,
    out: Path,
    *,
    settings: Settings = DEFAULT,
    size: int | None = None,
    paste_back: bool = False,
    mark: bool = False,
    overwrite: bool = False,
    resume: bool = True,
    precision: Precision = "auto",
    compiled: bool = False,
    progress: Progress = lambda done, total: None,
    tell: Tell = lambda line: None,
) -> GenerateReport:
    """Write `out` (mp4, 30 fps, as long as the voice, with the voice as its sound).

    size: pixels a side of the file; None: the network's own. paste_back: set into the whole portrait instead. mark: say
    in the picture that it is synthetic. A generation that was killed goes on where it was, unless resume is false. tell
    hears what a user should know. precision, compiled: how a folder is loaded (`Model.load`). UserError where `out` is
    there already, no face is found in the portrait, an input cannot be read, or the speed is none that was learned. The
    same inputs give the same bytes on one machine.
    """
    started = time.perf_counter()
    _refuse(out, size, paste_back, overwrite)
    picture, shrink = read_picture(portrait) if isinstance(portrait, Path) else (portrait, 1)
    sound = audio if isinstance(audio, Sound) else read_sound(audio)
    if sound.peak < SILENT:
        raise UserError(f"{sound.path} is silent from beginning to end; run again with a file in which somebody speaks")
    model = checkpoint if isinstance(checkpoint, Model) else Model.load(checkpoint, precision, compiled)
    side, pace = model.emo.config.image_size, speed_within(settings.speed, model.emo.buckets)
    pictured = picture if isinstance(picture, Portrait) else prepare(picture, side, settings.face_region, shrink)
    back = _paste_back(picture, pictured, tell) if paste_back else None

    def finish(frame: Picture) -> Picture:
        whole = back(frame) if back else _resized(frame, size or side)
        return marked(whole) if mark else whole

    made = _made(model, settings, pace)
    look = {"size": size, "paste_back": back and _sha256(back.portrait), "mark": mark}
    with kept_beside(out, {**_made_of(model, pictured, sound), **made, **look}, resume, tell) as kept:
        clips = _clips(kept, model, pictured, sound, settings, pace, progress)
        count = -(-sound.frames // model.emo.config.frames)
        mp4.join(out, _films(kept, clips, count, finish), sound, made)
    return GenerateReport(out, sound.frames, count, round(time.perf_counter() - started, 2), _peak_memory_gb())


def _films(
    kept: Segments, clips: Iterator[NDArray[np.uint8]], count: int, finish: Callable[[Picture], Picture]
) -> list[Path]:
    """The files of the whole video, encoded as their clips come."""
    numbers = range(-(-count // CLIPS_A_FILM))
    for number in numbers[kept.films :]:
        frames = (finish(frame) for clip in islice(clips, CLIPS_A_FILM) for frame in clip)
        mp4.write_film(kept.film(number), frames)
        kept.let_go(below=(number + 1) * CLIPS_A_FILM - 1)  # on its last clip the next one goes on
    return [kept.film(number) for number in numbers]


def _clips(
    kept: Segments, model: Model, portrait: Portrait, sound: Sound, settings: Settings, pace: Speed, progress: Progress
) -> Iterator[NDArray[np.uint8]]:
    """The clips behind the last finished film, (F, H, W, 3) uint8: those that are kept, and the others as they are
    sampled."""
    config, total, number = model.emo.config, sound.frames, kept.films * CLIPS_A_FILM
    while kept.has(number):
        yield kept.frames(number)
        number += 1
    heard = Hearing.of(model.encoder, sound, kept.voice)
    progress(min(number * config.frames, total), total)
    sampled = animate(
        model.emo, model.scheduler, portrait.reference.to(model.device), portrait.mask.to(model.device), heard, pace,
        steps=settings.steps, guidance=settings.guidance, seed=settings.seed, sampler=settings.sampler,
        shared=model.shared, precision=model.precision, first_clip=number,
        before=kept.last(number - 1).to(model.device) if number else None,
    )  # fmt: skip
    for clip, pixels in enumerate(sampled, start=number):
        frames = to_uint8(pixels)
        kept.keep(clip, frames, pixels[-config.motion_frames :])
        progress(min((clip + 1) * config.frames, total), total)
        yield frames


def to_uint8(pixels: Tensor) -> NDArray[np.uint8]:
    """(F, 3, H, W) in [-1, 1] -> (F, H, W, 3)."""
    return ((pixels + 1) * 127.5).round().clamp(0, 255).byte().permute(0, 2, 3, 1).cpu().numpy()


def _resized(frame: Picture, size: int) -> Picture:
    import cv2

    if size == len(frame):
        return frame
    return cv2.resize(frame, (size, size), interpolation=cv2.INTER_AREA if size < len(frame) else cv2.INTER_CUBIC)


def _paste_back(picture: Picture | Portrait, portrait: Portrait, tell: Tell) -> PasteBack:
    if isinstance(picture, Portrait) or portrait.square is None:
        raise ValueError("nothing to paste back into: a portrait that is cut already was given")
    back = PasteBack.into(picture, portrait.square)
    (height, width), (shown_height, shown_width) = picture.shape[:2], back.portrait.shape[:2]
    if shown_width < width - 1 or shown_height < height - 1:
        tell(f"the portrait of {width}x{height} pixels is made {shown_width}x{shown_height}: larger videos do not play "
             "everywhere")  # fmt: skip
    return back


def _refuse(out: Path, size: int | None, paste_back: bool, overwrite: bool) -> None:
    if size is not None and (size < 16 or size % 2):
        raise UserError(f"{size} pixels a side: H.264 wants an even number, 16 or more; run: emo generate --size 512")
    if size is not None and paste_back:
        raise UserError("--paste-back has the portrait's size; run: emo generate without --size")
    if out.suffix.lower() != ".mp4":
        raise UserError(f"{out} is no mp4; run: emo generate --out OUT.mp4")
    if out.is_dir():
        raise UserError(f"{out} is a folder; run: emo generate --out OUT.mp4")
    if len(os.fsencode(out.name)) > 200:
        raise UserError(f"the name {out.name} is too long; choose a shorter --out")
    if out.exists() and not overwrite:
        raise UserError(f"{out} is there already; choose another name, or run the same command with --overwrite")
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
    except (FileExistsError, NotADirectoryError, PermissionError) as error:
        raise UserError(f"{out.parent} is no folder to write to: {error.strerror}; choose another --out") from error
    if not os.access(out.parent, os.W_OK):
        raise UserError(f"{out.parent} may not be written to; choose another --out")


def _made(model: Model, settings: Settings, pace: Speed) -> dict[str, Any]:
    """How a video is made, as the file itself says it."""
    asked = asdict(replace(settings, speed=pace if pace is None or isinstance(pace, float | int) else settings.speed))
    asked["face_region"] = str(settings.face_region)
    return {"checkpoint": model.folder.name, "checkpoint_sha256": model.sha256, **asked, **model.runs}


def _made_of(model: Model, portrait: Portrait, sound: Sound) -> dict[str, Any]:
    """The rest of what a video depends on."""
    seen = portrait.reference.numpy(force=True), portrait.mask.numpy(force=True)
    return {
        "portrait": _sha256(*seen),
        "sound": [file_sha256(sound.path), sound.length],
        "device": model.device.type,
        "clips_a_film": CLIPS_A_FILM,
    }


def _sha256(*arrays: NDArray[Any]) -> str:
    digest = hashlib.sha256()
    for array in arrays:
        digest.update(f"{array.shape}".encode() + np.ascontiguousarray(array).tobytes())
    return digest.hexdigest()


def _peak_memory_gb() -> float:
    if torch.cuda.is_available():
        return round(torch.cuda.max_memory_allocated() / 1e9, 2)
    return round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6, 2)  # kB on Linux
