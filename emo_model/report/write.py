"""What stands in the report, and the folder it becomes: index.html, clips.csv and media/, with relative links alone.

The folder appears whole or not at all; a page without media is one file.
"""

import dataclasses
import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pyarrow as pa
import pyarrow.csv

from emo_model.data.store import DataRoot, atomic, text_sha256, write_text
from emo_model.errors import UserError
from emo_model.evaluate import COPY, GROUND_TRUTH, HALVES, Evaluation, Protocol, VideoPair, is_control
from emo_model.evaluate.extractors import FAMILIES
from emo_model.evaluate.methods import sentences
from emo_model.figures.contact_sheet import contact_sheet
from emo_model.figures.rows import Row, statements
from emo_model.generate import synthetic
from emo_model.report.clips import Watch, to_watch
from emo_model.report.films import UNREADABLE, write_film
from emo_model.report.page import render
from emo_model.report.plots import plots
from emo_model.report.tables import Notes, clip_table, tables

SHEETS = 4  # clips with a contact sheet
MARK = '<meta name="generator" content="emo report">'  # of a page that may be replaced
PARTS = ("part.parquet", "clips.parquet", "frames.parquet", "findings.parquet", "protocol.json", "methods.json")

HOW_TO_READ = (
    "A name in brackets is a stand-in network: its numbers compare with each other, never with a paper's.",
    "The paper's clips and code are unpublished: its rows are here for orientation, not for ranking.",
    f"“{HALVES}” is the floor: the distance that moving on in the same real videos already gives. A distance near it, "
    "at these few samples, says no more than “as far as real video from itself”.",
    f"“{COPY}” shows the reference for the whole clip: a method that loses to it has learned no motion.",
    "“reconstruction” is the real clip through a model's latent space: no model in that space does better.",
    "“audio-shuffled” is the real clip with somebody else's voice: what a metric of sound says of a mismatch.",
    "F-SIM and the motion numbers are best near the ground truth's own value, not highest or lowest.",
    "Square brackets: 95 % bootstrap interval over people; none is given for fewer than two people.",
    "“k of n”: only k samples could be used (a face was found). A dash is a number that does not exist; the note "
    "beside it says why.",
    "Two numbers compare where their protocols' hashes are equal, and nowhere else.",
)


def newest(root: DataRoot) -> Path:
    """The folder of the newest evaluation in a data root. UserError where there is none."""
    found = [path.parent for path in root.parts("evaluations") if (path.parent / "protocol.json").is_file()]
    if not found:
        raise UserError(f"no evaluation in {root.folder('8_evaluation')} yet; run: emo evaluate")
    return max(found, key=lambda folder: (folder / "part.parquet").stat().st_mtime_ns)


def read(folder: Path) -> Evaluation:
    """The evaluation that lies in a folder. UserError where none does, or where a part of it is missing."""
    missing = [name for name in PARTS if not (folder / name).is_file()]
    if missing:
        raise UserError(f"no evaluation in {folder}: {', '.join(missing)} not there; run: emo evaluate --out {folder}")
    return Evaluation.read(folder)


def write_report(evaluation: Evaluation, folder: Path, *, root: Path, overwrite: bool = False) -> Path:
    """Write the report into a new folder; returns its index.html.

    root: what the evaluation's relative paths are relative to. A video that cannot be read is said in its place.
    UserError where the folder is there already, unless it is a report and `overwrite`.
    """
    _require_free(folder, overwrite, folder / "index.html")
    folder.parent.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(prefix=".report-", dir=folder.parent) as temporary:
        new = Path(temporary) / "report"
        new.mkdir()
        films = _Films(new / "media", root)
        watched = [films.figure(watch) for watch in to_watch(evaluation)]
        sheets = list(_sheets(evaluation, new / "media", root))
        write_text(new / "index.html", _page(evaluation, watched, sheets))
        pyarrow.csv.write_csv(pa.Table.from_pylist([vars(score) for score in evaluation.clips]), new / "clips.csv")
        if folder.exists():
            os.rename(folder, Path(temporary) / "old")
        os.rename(new, folder)
    return folder / "index.html"


def write_single_file(evaluation: Evaluation, path: Path, *, overwrite: bool = False) -> Path:
    """Write the page without media as one file. UserError where it is there already, unless `overwrite`."""
    _require_free(path, overwrite, path)
    write_text(path, _page(evaluation, [], []))
    return path


def _require_free(path: Path, overwrite: bool, page: Path) -> None:
    if not path.exists() or (path.is_dir() and not any(path.iterdir())):
        return
    if not page.is_file() or MARK not in page.read_text(encoding="utf-8", errors="replace")[:1000]:
        raise UserError(f"{path} is there and is no report; run: emo report --out ANOTHER")
    if not overwrite:
        raise UserError(f"{path} is there already; run: emo report --overwrite, or emo report --out ANOTHER")


# ---- the page ----


def _page(evaluation: Evaluation, watched: list["Figure"], sheets: list["Sheet"]) -> str:
    protocol, notes = evaluation.protocol, Notes()
    groups: dict[str, list[Figure]] = {}
    for figure in watched:
        groups.setdefault(figure.method, []).append(figure)
    methods = [method for method in evaluation.methods if not is_control(method)]
    return render(
        "report.html",
        mark=MARK,
        title=f"Evaluation: {protocol.dataset}",
        protocol=protocol,
        methods=methods,
        measured=max((row.created_at for row in evaluation.rows), default=""),
        tables=tables(evaluation.rows, notes),
        clip_table=clip_table(evaluation.clips, notes),
        notes=notes.texts,
        findings=sentences(evaluation.findings),
        how_to_read=HOW_TO_READ,
        plots=plots(evaluation.moments),
        groups=groups,
        sheets=sheets,
        meanings=[(", ".join(family.outputs), family.meaning) for family in FAMILIES.values()],
        protocol_lines=_protocol_lines(protocol),
    )


def _protocol_lines(protocol: Protocol) -> list[tuple[str, str]]:
    values: dict[str, Any] = {field.name: getattr(protocol, field.name) for field in dataclasses.fields(protocol)}
    pins = [f"{pin.family}: {pin.extractor} (sha256 {pin.sha256[:12]})" for pin in protocol.extractors]
    values |= {"clips": ", ".join(protocol.clips), "extractors": "; ".join(pins) or "none"}
    return [("hash", protocol.hash), *((key, str(value)) for key, value in values.items() if value != "")]


# ---- media ----


@dataclass(frozen=True)
class Pane:
    """A video of a figure, or why there is none."""

    label: str
    src: str = ""
    problem: str = ""


@dataclass(frozen=True)
class Figure:
    """A method's answer beside the ground truth."""

    method: str
    clip: str
    person: str
    reasons: list[str]
    panes: list[Pane]


@dataclass(frozen=True)
class Sheet:
    """A contact sheet."""

    src: str
    width: int
    height: int
    clip: str
    labels: list[str]
    problems: list[str]


@dataclass
class _Films:
    """Videos below media/, each written once."""

    folder: Path
    root: Path
    done: dict[tuple[Path, Path | None], Pane] = field(default_factory=dict)

    def figure(self, watch: Watch) -> Figure:
        pair = watch.pair
        panes = [
            self._pane(GROUND_TRUTH, pair.real, pair),
            self._pane(watch.method, pair.generated, pair),
        ]
        return Figure(watch.method, pair.clip_id, pair.identity, watch.reasons, panes)

    def _pane(self, label: str, video: Path, pair: VideoPair) -> Pane:
        sound = None if pair.sound is None else self.root / pair.sound
        key = (self.root / video, sound)
        if key not in self.done:
            name = f"{_plain(pair.clip_id)}-{_plain(label)}-{text_sha256(label, pair.clip_id)[:8]}.mp4"
            try:
                write_film(self.folder / name, *key)
                self.done[key] = Pane(label, f"{self.folder.name}/{name}")
            except UNREADABLE as error:
                self.done[key] = Pane(label, problem=f"no video to show: {_reason(error)}")
        return self.done[key]


def _sheets(evaluation: Evaluation, folder: Path, root: Path) -> Iterator[Sheet]:
    """For the first clips: ground truth and methods in rows, time in columns."""
    for clip in evaluation.protocol.clips[:SHEETS]:
        pairs = {method: pair for method, found in evaluation.methods.items() for pair in found if pair.clip_id == clip}
        if not pairs:
            continue
        first = next(iter(pairs.values()))
        videos = {GROUND_TRUTH: first.real} | {method: pair.generated for method, pair in pairs.items()}
        rows, problems = _readable(videos, root)
        if not rows:
            continue
        path = folder / f"{_plain(clip)}-sheet-{text_sha256(clip)[:8]}.jpg"
        picture = contact_sheet(rows, columns=8, height=112, seconds=evaluation.protocol.seconds)
        made = statements(rows)
        said = {"comment": synthetic.STATEMENT, "xmp": synthetic.xmp(made).encode()} if made else {}
        with atomic(path) as temporary:
            picture.save(temporary, "JPEG", quality=88, **said)
        labels = [row.label for row in rows]
        yield Sheet(f"{folder.name}/{path.name}", picture.width, picture.height, clip, labels, problems)


def _readable(videos: Mapping[str, Path], root: Path) -> tuple[list[Row], list[str]]:
    rows, problems = [], []
    for label, video in videos.items():
        row = Row(label, root / video)
        try:
            _ = row.shown
            rows.append(row)
        except UNREADABLE as error:
            problems.append(f"{label}: {_reason(error)}")
    return rows, problems


def _reason(error: Exception) -> str:
    """Its first sentence: what to run stands elsewhere."""
    return " ".join(str(error).split()).partition("; run:")[0]


def _plain(name: str) -> str:
    """A file name that every disk and every link takes; a clip's id stays what it is, so that its films are found."""
    return re.sub(r"[^a-z0-9_]+", "-", name.casefold()).strip("-")[:32] or "x"
