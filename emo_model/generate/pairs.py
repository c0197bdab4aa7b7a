"""Pairs of one's own: a CSV file that names portraits and voices, and a video of each.

    name,portrait,audio[,speed][,face_region]

NAME.mp4 is what is made; paths are from the CSV's folder; speed and face region are as `emo generate` takes them.
"""

import csv
import os
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from emo_model.data.store import file_sha256, text_sha256, write_json
from emo_model.errors import UserError
from emo_model.generate.manifest import note_of
from emo_model.generate.portrait import parse_region
from emo_model.generate.speed_curve import parse_speed
from emo_model.generate.video import DEFAULT, Model, Settings, generate

NEEDED, OPTIONAL = ("name", "portrait", "audio"), ("speed", "face_region")
LONGEST = 190  # bytes of a name: files beside the video add to it
Say = Callable[[str], None]


@dataclass(frozen=True)
class GeneratedPair:
    """One row and its video, as NAME.json beside the video says it."""

    name: str
    path: str  # the video's file name
    portrait: str
    audio: str
    frames: int
    seconds: float  # it took; of the run that made it
    key: str  # checkpoint, settings and content of the files it was made with


@dataclass(frozen=True)
class PairsReport:
    """What became of a CSV: its videos, how many of them were there already, and a line for each bad row."""

    made: tuple[GeneratedPair, ...]
    kept: int
    wrong: tuple[str, ...]


def generate_pairs(
    checkpoint: Path | Model,
    pairs: Path,
    out_dir: Path,
    *,
    settings: Settings = DEFAULT,
    progress: Say = lambda line: None,
    warn: Say = lambda line: None,
) -> PairsReport:
    """Generate each row of a CSV as OUT_DIR/NAME.mp4; speed and face region are the row's, else those of the settings.

    Finished videos of the same checkpoint, settings, portrait and sound are kept. A bad row is one line to `warn` and
    stops no other. UserError where the CSV cannot be read, or no row became a video.
    """
    rows = read_pairs(pairs)
    model = checkpoint if isinstance(checkpoint, Model) else Model.load(checkpoint)
    made: list[GeneratedPair] = []
    wrong: list[str] = []
    lines: dict[str, int] = {}  # of the names so far
    kept = 0
    for number, (line, row) in enumerate(rows, start=1):
        try:
            _check_row(row, lines)
            lines[row["name"]] = line
            pair, was_there = _one(model, row, pairs.parent, out_dir, settings)
        except UserError as error:
            wrong.append(f"line {line} of {pairs.name}, {row['name'] or 'without a name'}: {error}")
            warn(wrong[-1])
            continue
        made.append(pair)
        kept += was_there
        took = "kept" if was_there else f"{pair.seconds:.1f} s"
        progress(f"{number}/{len(rows)} {pair.name}: {pair.frames} frames, {took}")
    if not made:
        raise UserError(f"none of the {len(rows)} rows of {pairs} became a video; the first: {wrong[0]}")
    return PairsReport(tuple(made), kept, tuple(wrong))


def read_pairs(path: Path) -> list[tuple[int, dict[str, str]]]:
    """(line, row) of each pair. UserError where the file cannot be read, has other columns or no rows."""
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.DictReader(file, restval="")
            columns = [column.strip() for column in reader.fieldnames or ()]
            reader.fieldnames = columns
            rows = [(reader.line_num, row) for row in reader]
    except (OSError, UnicodeError, csv.Error) as error:
        raise UserError(f"{path} cannot be read as pairs: {error}; a CSV file {','.join(NEEDED)} is wanted") from error
    if set(NEEDED) - set(columns) or set(columns) - {*NEEDED, *OPTIONAL} or len(set(columns)) < len(columns):
        raise UserError(f"the first line of {path} is {','.join(columns)!r}: {','.join(NEEDED)} are wanted, and "
                        f"{','.join(OPTIONAL)} where they differ by row; mend it, then run the same again")  # fmt: skip
    if not rows:
        raise UserError(f"{path} has no rows; add {','.join(NEEDED)} of a video, then run the same again")
    return [(line, _stripped(row)) for line, row in rows]


def _stripped(row: Mapping[str | Any, Any]) -> dict[str, str]:
    """Cells without spaces around them; those beyond the last column under the name "more"."""
    return {column or "more": cell.strip() if isinstance(cell, str) else ",".join(cell) for column, cell in row.items()}


def _check_row(row: Mapping[str, str], lines: Mapping[str, int]) -> None:
    """UserError where a cell is missing, one too many, or the name is no file's or another row's."""
    name = row["name"]
    if "more" in row:
        raise UserError(f"more cells than columns ({row['more']!r}); put quotes around a cell that holds a comma")
    if missing := [column for column in NEEDED if not row[column]]:
        raise UserError(f"no {' and no '.join(missing)}; fill it in, then run the same again")
    if len(os.fsencode(name)) > LONGEST or name.startswith(".") or not name.isprintable() or {"/", "\\"} & set(name):
        raise UserError(
            f"the name {name!r} cannot be a file's; choose a shorter one, without slashes or a dot in front"
        )
    if name in lines:
        raise UserError(f"line {lines[name]} has the same name; choose another, then run the same again")


def _one(
    model: Model, row: Mapping[str, str], folder: Path, out_dir: Path, settings: Settings
) -> tuple[GeneratedPair, bool]:
    """The row's video, and whether it was there already."""
    out = out_dir / f"{row['name']}.mp4"
    portrait, audio = folder / row["portrait"], folder / row["audio"]
    if speed := row.get("speed"):
        settings = replace(settings, speed=parse_speed(_found_beside(folder, speed)))
    if region := row.get("face_region"):
        settings = replace(settings, face_region=parse_region(_found_beside(folder, region)))
    mask = [settings.face_region] if isinstance(settings.face_region, Path) else []
    seen = [_content(path) for path in (portrait, audio, *mask)]
    key = text_sha256(model.sha256, *model.runs.values(), *asdict(settings).values(), *seen)
    note = note_of(out)
    if note and note.get("key") == key:
        return GeneratedPair(**note), True
    # A video without our note beside it is somebody's: generate refuses to replace it.
    report = generate(model, portrait, audio, out, settings=settings, overwrite=note is not None)
    pair = GeneratedPair(row["name"], out.name, str(portrait), str(audio), report.frames, report.seconds, key)
    write_json(out.with_suffix(".json"), asdict(pair))
    return pair, False


def _found_beside(folder: Path, text: str) -> str:
    """A file's name as its path from the CSV's folder; any other text as it is."""
    return str(folder / text) if (folder / text).is_file() else text


def _content(path: Path) -> str:
    try:
        return file_sha256(path)
    except (OSError, ValueError) as error:  # ValueError: a path that holds a zero byte
        raise UserError(f"{path} cannot be read: {error}; mend it, then run the same again") from error
