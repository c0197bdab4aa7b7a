"""A contact sheet of the proof: a portrait of the small true world, and what each control makes of it.

Composed of what the proof looked at (OUT/seed-S/pictures), scaled up, with the regions that were given drawn in.
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from einops import rearrange
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from emo_model.data.audio_encoders import FPS
from emo_model.errors import UserError
from emo_model.figures.contact_sheet import contact_sheet
from emo_model.figures.rows import Row
from emo_model.true_world import bars
from emo_model.true_world.answers import PLACES, SIZES
from emo_model.true_world.voices import Voice

KEPT = 12  # frames of a video that the proof keeps, spread over its time (proof.sheet)
SHOWN = 8  # of them
OUTLINE = (255, 200, 0)
ABLATIONS = {
    "without_reference": ("talk", "without the reference"),
    "without_Audio_Layers": ("talk", "without Audio Layers"),
    "without_motion_frames": ("talk", "without motion frames"),
    "without_face_region": ("region right", "without a face region"),
}


@dataclass(frozen=True)
class _Line:
    """A row to be: which pictures, under which name, and the region (4,) in picture widths that was given."""

    model: str
    question: str
    label: str
    region: NDArray[np.float64] | None = None


def proof_sheet(out: Path, seed: int = 0, video: int = 0, height: int = 128) -> Image.Image:
    """The sheet of one of the proof's first eight videos. UserError where OUT holds no pictures of that seed."""
    folder = out / f"seed-{seed}"
    if not (folder / "pictures" / "whole" / "talk.png").is_file():
        raise UserError(f"no pictures of a proof in {folder}; run: emo proof world")
    size = _size(folder / "pictures" / "whole" / "talk.png", video)
    # Portraits are drawn before voices are: any voice will do.
    asked = bars.pairs([Voice(np.zeros((1, 1, 1), np.float32), np.zeros(1))], size).first(video + 1)
    portrait = ((asked.portraits[video].permute(1, 2, 0).numpy() + 1) * 127.5).round().clip(0, 255).astype(np.uint8)
    rows = []
    for line in _lines(folder / "pictures", asked.places[video]):
        path = folder / "pictures" / line.model / f"{line.question}.png"
        frames = _frames(path, video, size)[np.linspace(0, KEPT - 1, SHOWN).round().astype(int)]
        larger = np.stack([_larger(frame, height, line.region) for frame in frames])
        label = f"{line.label}, {_frames_asked(folder, line) / FPS:.1f}\xa0s"
        rows.append(Row(label, larger, _larger(portrait, height, line.region)))
    return contact_sheet(rows, columns=SHOWN, height=height, heads=["first", *[""] * (SHOWN - 2), "last"])


def _lines(pictures: Path, place: NDArray[np.float64]) -> Iterator[_Line]:
    """Of the whole model each question but the minute, then the ablations that were asked."""
    yield _Line("whole", "talk", "speaks")
    speeds = sorted(pictures.glob("whole/speed *.png"), key=lambda path: float(path.stem.split()[1]))
    for path in (speeds[0], speeds[-1]) if speeds else ():
        yield _Line("whole", path.stem, f"speed {path.stem.split()[1]} degrees a frame")
    regions = {name: bars.scaled(place[None], factor)[0] for name, factor in SIZES.items()}
    regions |= {name: np.array(box) for name, box in PLACES.items()}
    for name in (name for name in regions if (pictures / "whole" / f"region {name}.png").is_file()):
        yield _Line("whole", f"region {name}", f"face region {name}", regions[name])
    for model, (question, label) in ABLATIONS.items():
        if (pictures / model / f"{question}.png").is_file():
            yield _Line(model, question, label, regions["right"] if question == "region right" else None)


def _size(path: Path, video: int) -> int:
    """Pixels a side of a frame. UserError where there are fewer videos."""
    with Image.open(path) as picture:
        size = picture.width // KEPT
        if not 0 <= video < (count := picture.height // size):
            raise UserError(f"no video {video} in {path}, 0 to {count - 1} are; run: emo proof sheet --video 0")
    return size


def _frames(path: Path, video: int, size: int) -> NDArray[np.uint8]:
    """(KEPT, S, S, 3) of one video."""
    with Image.open(path) as picture:
        return rearrange(np.asarray(picture), "(v h) (t w) c -> v t h w c", h=size, w=size)[video]


def _frames_asked(folder: Path, line: _Line) -> int:
    """How many frames the video had, as its model's answers say."""
    sizes = json.loads((folder / "answers" / f"{line.model}.json").read_text())["key"]["sizes"]
    return int(sizes[{"talk": "talk", "speed": "turn", "region": "place"}[line.question.split()[0]]])


def _larger(frame: NDArray[np.uint8], side: int, region: NDArray[np.float64] | None) -> NDArray[np.uint8]:
    picture = Image.fromarray(frame).resize((side, side), Image.Resampling.BICUBIC)
    if region is not None:
        box = [float(edge) for edge in np.clip(region, 0, 1) * (side - 1)]
        ImageDraw.Draw(picture).rectangle(box, outline=OUTLINE, width=max(1, side // 64))
    return np.asarray(picture)
