"""Render the talking set: people x speeds -> mp4 with sound, its ground truth beside it as parquet.

    DEST/PERSON/rendered_PERSON_0.mp4
    DEST/PERSON/rendered_PERSON_0.truth.parquet    frame, t_s, quaternion, translation, speed_deg, mouth, box

A person is a portrait. Reshaped or tinted copies of one face are no second person: a face network knows them.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

from emo_model import weights
from emo_model.data import media
from emo_model.data.store import write_parquet
from emo_model.errors import UserError
from emo_model.talking_set import mesh as canonical
from emo_model.talking_set import motion
from emo_model.talking_set.head import Head, Picture, fit, translation

RATE = 16000
Track = NDArray[np.float64]  # (F,) one number a frame
# Mean head speeds, degrees a frame at 30 fps. Two in a row are a slow and a fast one: were all of a person's videos
# alike, who it is would tell the speed, and a model would not have to look at it.
SPEEDS = (0.35, 1.4, 2.0, 0.8)


@dataclass(frozen=True)
class RenderedVideo:
    """One rendered video and where its truth lies. `speed` is the mean of the truth, degrees a frame at 30 fps."""

    path: Path
    truth: Path
    identity: str
    speed: float


def render_set(
    dest: Path,
    *,
    people: Mapping[str, Path | Picture],
    voices: Sequence[Path],
    videos: int = 2,
    seconds: float = 5.0,
    size: int = 256,
    fps: Sequence[int] = (30, 25),
    seed: int = 0,
    progress: Callable[[str], None] = lambda line: None,
) -> list[RenderedVideo]:
    """Render `videos` videos of each person; one that lies there already is left alone.

    people: name -> a picture, or a video whose most frontal frame is taken. Speeds are dealt round from SPEEDS, frame
    rates from `fps`, voices one after the other. Equal arguments give equal pictures. UserError where a portrait shows
    no face or a voice is too short.
    """
    sounds = [_voice(voice) for voice in voices]
    rendered = []
    for first, (name, portrait) in enumerate(people.items()):
        head = None
        for number in range(first * videos, (first + 1) * videos):
            path = dest / name / f"rendered_{name}_{number % videos}.mp4"
            job = _Job(path, SPEEDS[number % len(SPEEDS)], fps[number % len(fps)], number + 100 * seed, seconds)
            if not (path.exists() and job.truth.exists()):
                head = head or fit(canonical.read(weights.path("face_mesh")), *_face(portrait), size)
                _render(job, head, _cut(sounds[number % len(sounds)], number, seconds))
            progress(f"rendered {path.name}")
            rendered.append(RenderedVideo(path, job.truth, name, job.measured()))
    return rendered


@dataclass(frozen=True)
class _Job:
    path: Path
    speed: float
    fps: int
    seed: int
    seconds: float

    @property
    def truth(self) -> Path:
        return self.path.with_suffix(".truth.parquet")

    def motion(self) -> tuple[NDArray[np.float64], Rotation]:
        """Frame times and head rotations."""
        times = np.arange(round(self.seconds * self.fps)) / self.fps
        return times, motion.path(times, self.speed, np.random.default_rng(self.seed))

    def measured(self) -> float:
        """Mean speed of the path actually taken."""
        return motion.mean_speed(self.motion()[1], self.fps)


def _render(job: _Job, head: Head, voice: NDArray[np.float32]) -> None:
    times, turns = job.motion()
    opening = motion.mouth(voice, RATE, times)

    def pictures() -> Iterator[Picture]:
        for turn, mouth in zip(turns, opening, strict=True):
            yield head.render(turn, float(mouth))

    _write_truth(job, head, times, turns, opening)
    media.write_video(job.path, pictures(), job.fps, (head.size, head.size), voice)


def _write_truth(job: _Job, head: Head, times: Track, turns: Rotation, opening: Track) -> None:
    wxyz = turns.as_quat(scalar_first=True)
    boxes = [head.box(turn, float(mouth)) for turn, mouth in zip(turns, opening, strict=True)]
    columns = {
        "frame": pa.array(np.arange(len(times)), pa.int32()),
        "t_s": times,
        "quaternion": pa.array(wxyz.tolist(), pa.list_(pa.float64())),  # w x y z; straight ahead is 1 0 0 0
        "translation": pa.array([translation(turn).tolist() for turn in turns], pa.list_(pa.float64())),  # cm
        "speed_deg": motion.speeds(turns, job.fps),  # degrees a frame at 30 fps
        "mouth": opening,  # 0 closed, 1 open
        "box": pa.array([box.tolist() for box in boxes], pa.list_(pa.float64())),  # x0 y0 x1 y1 pixels
    }
    write_parquet(job.truth, pa.table(columns))


def _face(portrait: Path | Picture) -> tuple[Picture, NDArray[np.float64]]:
    """(picture, 468 landmarks in pixels) of the portrait that looks most straight ahead, eyes open and mouth closed."""
    import mediapipe
    from mediapipe.tasks.python import BaseOptions, vision

    options = vision.FaceLandmarkerOptions(
        base_options=BaseOptions(model_asset_path=str(weights.path("face_landmarker"))),
        output_face_blendshapes=True,
        output_facial_transformation_matrixes=True,
    )
    best: tuple[float, Picture, list] | None = None
    with vision.FaceLandmarker.create_from_options(options) as landmarker:
        for picture in [portrait] if isinstance(portrait, np.ndarray) else _pictures(portrait):
            seen = landmarker.detect(mediapipe.Image(mediapipe.ImageFormat.SRGB, np.ascontiguousarray(picture)))
            if seen.face_landmarks:
                score = _strangeness(seen.facial_transformation_matrixes[0], seen.face_blendshapes[0])
                if best is None or score < best[0]:
                    best = score, picture, seen.face_landmarks[0][:468]
    if best is None:
        raise UserError(f"no face in the portrait {portrait}; give render_set one that shows a face from the front")
    _, picture, found = best
    height, width = picture.shape[:2]
    return picture, np.array([(p.x * width, p.y * height) for p in found])


def _strangeness(matrix: NDArray[np.float64], shapes: list) -> float:
    """How far a face is from a passport photograph: degrees turned, and what eyes and jaw do, on one scale."""
    turned = np.degrees(Rotation.from_matrix(np.asarray(matrix)[:3, :3]).magnitude())
    moved = {shape.category_name: shape.score for shape in shapes}
    return float(turned + 20 * (moved["eyeBlinkLeft"] + moved["eyeBlinkRight"] + moved["jawOpen"]))


def _pictures(path: Path) -> Iterator[Picture]:
    """A picture file, or every fifth frame of a video."""
    if path.suffix.lower() in {".png", ".jpg", ".jpeg"}:
        yield cv2.cvtColor(cv2.imread(str(path)), cv2.COLOR_BGR2RGB)
        return
    yield from (picture for number, (_, picture) in enumerate(media.frames(path)) if number % 5 == 0)


def _voice(path: Path) -> NDArray[np.float32]:
    import av

    with av.open(str(path)) as container:
        resampler = av.AudioResampler(format="flt", layout="mono", rate=RATE)
        chunks = [out.to_ndarray()[0] for frame in container.decode(audio=0) for out in resampler.resample(frame)]
    return np.concatenate(chunks)


def _cut(voice: NDArray[np.float32], number: int, seconds: float) -> NDArray[np.float32]:
    """The number-th stretch of a voice, wrapping round; loudness brought to one level."""
    length = round(seconds * RATE)
    if len(voice) < length:
        raise UserError(f"a voice of {seconds} s is wanted, this one has {len(voice) / RATE:.1f} s; take a longer one")
    start = (number * length) % (len(voice) - length + 1)
    cut = voice[start : start + length]
    loud = np.sqrt(np.mean(cut**2)) + 1e-6
    return np.clip(cut * (0.1 / loud), -1, 1).astype(np.float32)
