"""The paper's two ablations for any checkpoint and test set: Table 2 by assigned speed, figure 7 by face region.

    VIDEOS/VARIANT/CLIP.mp4         what was generated: test clips again, with another speed or region
    VIDEOS/sheets/CLIP.png          the variants below each other
    OUT/table.md, numbers.json, plot.png

The same questions and measures as in the small true world (true_world/answers.py, measures.py), on real faces.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from emo_model.data.dataset import read_manifest, tracks
from emo_model.data.manifests import manifest_path
from emo_model.data.store import DataRoot, write_json, write_text
from emo_model.errors import UserError
from emo_model.evaluate import head_motion
from emo_model.evaluate.head_motion import Number, Seen, see
from emo_model.evaluate.table import TABLE_2, Grid, to_markdown
from emo_model.evaluate.video import Unreadable
from emo_model.figures import Row, plots
from emo_model.figures.contact_sheet import write_contact_sheet
from emo_model.generate import Settings, generate_manifest
from emo_model.generate.manifest import region_of
from emo_model.generate.portrait import Place, Region
from emo_model.generate.video import Model
from emo_model.true_world.answers import PLACES, SIZES

SPEEDS = (0.1, 0.7, 1.3, 1.9)  # Table 2's
REGIONS: dict[str, Region] = {**SIZES, **{name: Place(box) for name, box in PLACES.items()}}
REAL, NONE = "as filmed", "none"
FEW_STEPS = Settings(steps=20)
SHEETS = 2  # clips of which a contact sheet is made
Say = Callable[[str], None]


@dataclass(frozen=True)
class Sample:
    """How much is generated, and how."""

    clips: int | None = 2  # of the test set, from its beginning; VMV, a variance over clips, needs two
    seconds: float = 3.0  # of each
    settings: Settings = FEW_STEPS


@dataclass(frozen=True)
class Ablation:
    """What came of it. numbers: by VARIANT/MEASURE; rows: the first clip's videos, for a contact sheet."""

    numbers: Mapping[str, Number]
    table: str  # markdown
    plot: Path
    path: Path  # of the folder with the table
    rows: tuple[Row, ...]
    sheets: tuple[Path, ...]


@dataclass(frozen=True)
class _Films:
    """The test clips of each variant, and as they were filmed."""

    clips: list[dict[str, Any]]
    boxes: list[Any]  # (T, 4) of each clip's faces
    paths: Mapping[str, list[Path]]
    seen: Mapping[str, list[Seen]]
    seconds: float

    @property
    def people(self) -> list[str]:
        return [clip["identity_id"] for clip in self.clips]

    @property
    def real(self) -> list[Seen]:
        return self.seen[REAL]


def speed_ablation(
    checkpoint: Path, root: DataRoot, videos: Path, out: Path, sample: Sample,
    speeds: Sequence[float] = SPEEDS, manifest: Path | None = None, say: Say = lambda line: None,
) -> Ablation:  # fmt: skip
    """Table 2: does the head turn as fast as it is told? Of the speeds those that the checkpoint learned.

    manifest: the test set, the data root's where none is given. UserError where it is empty or nothing can be made.
    """
    model = Model.load(checkpoint)
    chosen = _learned(model, speeds, say)
    variants = {NONE: None} | {f"{speed:g}": speed for speed in chosen}
    settings = {f"speed {name}": replace(sample.settings, speed=speed) for name, speed in variants.items()}
    films = _made(model, root, videos, sample, settings, manifest, say)
    found = {name: head_motion.table_2(films.seen[f"speed {name}"], films.people) for name in variants}
    found[REAL] = head_motion.table_2(films.real, films.people)
    heads = ("assigned speed", *found[REAL], "frames with a known turn", "EMO's Table 2")
    lines = tuple(
        (name, *map(str, row.values()), _counted(row["mean velocity"]), _printed(name)) for name, row in found.items()
    )
    title = "Head speed by assigned speed, degrees a frame at 30 fps"
    points = {name: _point(row["mean velocity"]) for name, row in found.items()}
    plot = plots.speed_plot(
        {float(name): point for name in variants if name != NONE and (point := points[name])}, points[NONE],
        {float(name): row[0] for name, row in TABLE_2.items() if name != NONE},
    )  # fmt: skip
    numbers = {f"{_variant('speed', name)}/{metric}": n for name, row in found.items() for metric, n in row.items()}
    return _written(numbers, [Grid(title, heads, lines)], plot, films, videos, out)


def face_region_ablation(
    checkpoint: Path, root: DataRoot, videos: Path, out: Path, sample: Sample,
    manifest: Path | None = None, say: Say = lambda line: None,
) -> Ablation:  # fmt: skip
    """Figure 7: does the face stay in the region it is given, go where that goes, and sway more in a wider one?

    The small true world's regions: two sizes of the face's own box, and two places of one size. Errors: as
    speed_ablation.
    """
    settings = {f"region {name}": replace(sample.settings, face_region=region) for name, region in REGIONS.items()}
    films = _made(Model.load(checkpoint), root, videos, sample, settings, manifest, say)
    given = {
        name: np.stack([region_of(*clip, region) for clip in zip(films.clips, films.boxes, strict=True)])
        for name, region in REGIONS.items()
    }
    seen = {name: films.seen[f"region {name}"] for name in REGIONS}
    inside = {name: head_motion.inside(seen[name], given[name], films.people) for name in REGIONS}
    sways = {name: head_motion.sway(found, films.people) for name, found in (*seen.items(), (REAL, films.real))}
    moved = PLACES["right"][0] - PLACES["left"][0]
    follows = head_motion.follows(seen["left"], seen["right"], moved, films.people)
    more = head_motion.wider_sways_more(seen["narrow"], seen["wide"], films.people)
    lines = [(_said(name), str(inside[name]), str(sways[name]), _counted(inside[name])) for name in REGIONS]
    lines.append((REAL, "", str(sways[REAL]), _counted(sways[REAL])))
    answers = (
        ("follows the region: of the way that it moves", "0.5 or more", str(follows), _counted(follows)),
        ("sways more in the wide one than in the narrow one", "above 0", str(more), _counted(more)),
    )
    frames = "frames with a face"
    grids = [
        Grid("The face in its region", ("region", "share inside", "sway, picture widths", frames), tuple(lines)),
        Grid("What the region does", ("the face", "bar of the small true world", "measured", frames), answers),
    ]
    points = [{name: point for name in REGIONS if (point := _point(row[name]))} for row in (inside, sways)]
    plot = plots.region_plot(points[0], {name: point for name, point in points[1].items() if name in SIZES})
    numbers = {f"region {name}/inside": number for name, number in inside.items()}
    numbers |= {f"{_variant('region', name)}/sway": number for name, number in sways.items()}
    numbers |= {"follows the region": follows, "wider sways more": more}
    return _written(numbers, grids, plot, films, videos, out)


def parse_speeds(text: str) -> tuple[float, ...]:
    """0.1,0.7 as typed. UserError for anything but degrees a frame."""
    try:
        speeds = tuple(float(part) for part in text.split(","))
    except ValueError:
        speeds = ()
    if not speeds or not all(0 <= speed < float("inf") for speed in speeds):
        raise UserError(
            f"speeds {text!r}: degrees a frame are wanted; run: emo ablation speed --speeds 0.1,0.7,1.3,1.9"
        )
    return speeds


# ---- making ----


def _learned(model: Model, speeds: Sequence[float], say: Say) -> list[float]:
    """Those of the speeds that lie within the checkpoint's buckets: no other was ever shown in training."""
    low, high = min(model.emo.buckets.centres), max(model.emo.buckets.centres)
    within = [speed for speed in speeds if low <= speed <= high]
    if left_out := [f"{speed:g}" for speed in speeds if speed not in within]:
        learned = f"{low:g} to {high:g} degrees a frame"
        say(f"left out: {', '.join(left_out)}; {model.folder.name} learned {learned}")
    return within


def _made(
    model: Model, root: DataRoot, videos: Path, sample: Sample, settings: Mapping[str, Settings],
    manifest: Path | None, say: Say,
) -> _Films:  # fmt: skip
    """Generate each variant (finished videos are kept), and look at all of them."""
    manifest = manifest or manifest_path(root, "eval")
    clips = read_manifest(manifest)[: sample.clips]
    found = tracks(root, {clip["clip_id"] for clip in clips})
    paths = {REAL: [root.path / clip["path"] for clip in clips]}
    for name, chosen in settings.items():
        made = generate_manifest(
            model, manifest, root, videos / name, settings=chosen, max_seconds=sample.seconds, limit=sample.clips,
            progress=partial(_tell, say, name),
        )  # fmt: skip
        paths[name] = [root.path / clip.path for clip in made]
    try:
        seen = {name: [see(path, sample.seconds) for path in listed] for name, listed in paths.items()}
    except Unreadable as error:
        raise UserError(f"{error}; delete {videos}, then run the same again") from error
    return _Films(clips, [found[clip["clip_id"]][0] for clip in clips], paths, seen, sample.seconds)


def _tell(say: Say, variant: str, line: str) -> None:
    say(f"{variant} {line}")


# ---- what it says ----


def _variant(kind: str, name: str) -> str:
    return name if name == REAL else f"{kind} {name}"


def _point(number: Number) -> plots.Point | None:
    return None if number.value is None else (number.value, number.interval)


def _counted(number: Number) -> str:
    return f"{number.frames} of {number.of_frames}"


def _printed(name: str) -> str:
    """Mean velocity, velocity variance and VMV of the paper, where it has this speed."""
    return ", ".join(f"{value:.3f}" for value in TABLE_2[name]) if name in TABLE_2 else ""


def _said(region: str) -> str:
    return f"{region}: {SIZES[region]:g} times the face's box" if region in SIZES else f"{region} of the picture"


def _written(
    numbers: dict[str, Number], grids: Sequence[Grid], plot: Any, films: _Films, videos: Path, out: Path
) -> Ablation:
    lacking = sorted({number.reason for number in numbers.values() if number.value is None})
    text = "\n\n".join(f"### {grid.title}\n\n{to_markdown(grid)}" for grid in grids)
    text += "\n\nSquare brackets: 95 % bootstrap interval over people, of two or more.\n"
    text += "".join(f"\nA dash: {line}.\n" for line in lacking)
    write_text(out / "table.md", text)
    write_json(out / "numbers.json", {key: asdict(number) for key, number in numbers.items()})
    plots.save(plot, out / "plot.png")
    sheets = []
    for number, clip in list(enumerate(films.clips))[:SHEETS]:
        sheets.append(videos / "sheets" / f"{clip['clip_id']}.png")
        write_contact_sheet(sheets[-1], _rows(films, number), height=112, seconds=films.seconds)
    return Ablation(numbers, text, out / "plot.png", out, _rows(films, 0), tuple(sheets))


def _rows(films: _Films, clip: int) -> tuple[Row, ...]:
    return tuple(Row(name, paths[clip]) for name, paths in films.paths.items())
