"""A test set: every clip of a manifest again, from its first frame and its own voice."""

import json
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from emo_model.data.dataset import read_manifest, region_mask, tracks
from emo_model.data.frames import FPS, decode
from emo_model.data.store import DataRoot, text_sha256, write_json
from emo_model.errors import UserError
from emo_model.generate.portrait import AUTO, Place, Portrait, Region, scaled, to_tensor
from emo_model.generate.sound import read_sound
from emo_model.generate.video import DEFAULT, GenerateReport, Model, Progress, Settings, generate


@dataclass(frozen=True)
class GeneratedClip:
    """One clip and our answer to it; paths are relative to the data root. The reference is its frame 0."""

    clip_id: str
    identity_id: str
    path: str  # the generated mp4
    truth: str  # the true clip, which may be longer than the answer
    sound: str  # the driving voice
    frames: int
    seconds: float  # it took; of the run that made it
    key: str  # checkpoint and settings it was made with


def generate_manifest(
    checkpoint: Path | Model,
    manifest: Path,
    root: DataRoot,
    out_dir: Path,
    *,
    settings: Settings = DEFAULT,
    max_seconds: float | None = None,
    limit: int | None = None,
    progress: Callable[[str], None] = lambda line: None,
) -> list[GeneratedClip]:
    """Generate each clip of the manifest (at most `limit`, `max_seconds` of each) as OUT_DIR/CLIP.mp4.

    Finished clips of the same checkpoint and settings are kept: CLIP.json beside each says what it is.
    UserError where the manifest is empty, a clip has no sound or its file is gone.
    """
    rows = read_manifest(manifest)[:limit]
    model = checkpoint if isinstance(checkpoint, Model) else Model.load(checkpoint)
    boxes = tracks(root, {row["clip_id"] for row in rows})
    made = []
    for number, row in enumerate(rows, start=1):
        clip = _one(model, row, boxes[row["clip_id"]][0], root, out_dir, settings, max_seconds)
        progress(f"{number}/{len(rows)} {row['clip_id']}: {clip.frames} frames, {clip.seconds:.1f} s")
        made.append(clip)
    return made


def _one(
    model: Model,
    row: dict[str, Any],
    boxes: NDArray[np.float32],
    root: DataRoot,
    out_dir: Path,
    settings: Settings,
    max_seconds: float | None,
) -> GeneratedClip:
    out = out_dir / f"{row['clip_id']}.mp4"
    made_from = [row[name] for name in ("crop_sha256", "labels_sha256", "sound_path", "audio_sha256")]
    key = text_sha256(model.sha256, *model.runs.values(), *asdict(settings).values(), max_seconds, *made_from)
    if (kept := _finished(out, key)) is not None:
        return kept
    report = animate_clip(model, row, boxes, root, out, settings, max_seconds)
    clip = GeneratedClip(
        row["clip_id"], row["identity_id"], root.relative(out), row["path"], row["sound_path"], report.frames,
        report.seconds, key,
    )  # fmt: skip
    write_json(out.with_suffix(".json"), asdict(clip))
    return clip


def animate_clip(
    model: Model,
    row: dict[str, Any],
    boxes: NDArray[np.float32],
    root: DataRoot,
    out: Path,
    settings: Settings,
    max_seconds: float | None,
    progress: Progress = lambda done, total: None,
) -> GenerateReport:
    """A manifest's clip again, from its first frame and its own voice, as `out`. UserError where it has no sound."""
    if not row["sound_path"]:
        raise UserError(f"clip {row['clip_id']} has no sound to drive it; run: emo prepare FOLDER_OF_VIDEOS")
    seconds = row["num_frames"] / FPS
    sound = read_sound(root.path / row["sound_path"]).first(min(seconds, max_seconds or seconds))
    portrait = first_frame(row, boxes, root, model.emo.config.image_size, settings.face_region)
    return generate(model, portrait, sound, out, settings=settings, overwrite=True, progress=progress)


def first_frame(row: dict[str, Any], boxes: NDArray[np.float32], root: DataRoot, size: int, region: Region) -> Portrait:
    """A clip's first frame, which is cropped already. region: "auto", "free", a factor of the face box, or a Place."""
    picture = decode(root.path / row["path"], np.array([0]), size)[0]
    return Portrait(to_tensor(picture), region_mask(region_of(row, boxes, region) * size, size))


def region_of(row: dict[str, Any], boxes: NDArray[np.float32], region: Region) -> NDArray[np.float64]:
    """(4,) the face region of a clip of the test set, in shares of its crop. region: as first_frame's."""
    if isinstance(region, tuple | Path):
        raise UserError(f"face region {region}: a test set wants auto, free or a factor; every face is elsewhere")
    if isinstance(region, Place):
        return np.array(region.box)
    if region == "free":
        return np.array([0.0, 0.0, 1.0, 1.0])
    face = boxes[0] if not np.isnan(boxes[0]).any() else row["union_box"]
    return np.array(scaled(tuple(face), AUTO if region == "auto" else float(region))) / row["size"]


def note_of(out: Path) -> dict[str, Any] | None:
    """What the note beside a finished video says of it; None where video or note is missing."""
    note = out.with_suffix(".json")
    found: dict[str, Any] | None = json.loads(note.read_text()) if out.is_file() and note.is_file() else None
    return found


def _finished(out: Path, key: str) -> GeneratedClip | None:
    note = note_of(out)
    return GeneratedClip(**note) if note and note["key"] == key else None
