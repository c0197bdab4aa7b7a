"""The tables of the report, cell by cell: a number, what stands small below it, and the note that says why one is
missing. Which numbers stand in which table is emo_model.evaluate.table's business."""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from emo_model.evaluate import EvaluationRow, is_control
from emo_model.evaluate.outputs import ClipScore
from emo_model.evaluate.table import DASH, Grid, measured, others, published

LONGEST = 2000  # lines of the table of clips; all of them are in clips.csv
_NONE_OF = re.compile(r" \(generated: 0 of \d+\)$")  # the count stands in the cell
_INTERVAL, _COUNT = re.compile(r" \[[^]]*\]"), re.compile(r" (n=\d+|\(?\d+ of \d+\)?)$")


@dataclass(frozen=True)
class Cell:
    """What a cell shows. note: number of the reason for a dash, 0 for none; sort: what the column is sorted by."""

    text: str
    interval: str = ""
    count: str = ""
    note: int = 0
    sort: float | str | None = None


@dataclass(frozen=True)
class Line:
    """A line with its name."""

    name: str
    cells: tuple[Cell, ...]
    control: bool = False  # no method, but what tells how to read the methods


@dataclass(frozen=True)
class Table:
    """A table with what is to be known of it."""

    caption: str
    said: str
    heads: tuple[str, ...]
    lines: tuple[Line, ...]


@dataclass
class Notes:
    """Reasons for dashes, numbered as they come."""

    texts: list[str] = field(default_factory=list)

    def number(self, reason: str | None) -> int:
        """The number of a reason, which is one line."""
        text = _NONE_OF.sub("", " ".join((reason or "").split()))
        if not text:
            return 0
        if text not in self.texts:
            self.texts.append(text)
        return self.texts.index(text) + 1


def tables(rows: Sequence[EvaluationRow], notes: Notes) -> list[Table]:
    """Measured here, also measured, and apart from them what EMO printed; a table without numbers is left out."""
    reasons = {(row.method, row.metric): row.reason for row in rows}

    def cell(text: str, method: str, metric: str) -> Cell:
        return _cell(text, notes.number(reasons.get((method, metric)) if text.startswith(DASH) else None))

    ours, more, printed = measured(rows), others(rows), published()
    found = [
        _table(ours, "A row a method, a column a metric; the controls first.", cell),
        _table(more, "A row a metric, a column a method.", lambda text, metric, method: cell(text, method, metric)),
        _table(printed, "Other clips, other code, other networks than here: for orientation, not for ranking. "
               "HDTF / web clips (Table 1, arXiv 2402.17485v3).", lambda text, *_: Cell(text)),
    ]  # fmt: skip
    return [table for table in found if table.lines and len(table.heads) > 1]


def clip_table(clips: Sequence[ClipScore], notes: Notes) -> Table:
    """A line a clip and method, a column a metric; at most LONGEST lines."""
    metrics = list(dict.fromkeys(score.metric for score in clips if score.value is not None))
    lines: dict[tuple[str, str, str], dict[str, ClipScore]] = {}
    for score in clips:
        lines.setdefault((score.clip_id, score.identity, score.method), {})[score.metric] = score
    shown = sorted(lines)[:LONGEST]
    left = f" The first {LONGEST} of {len(lines)} lines; all of them are in clips.csv." if len(lines) > LONGEST else ""
    return Table(
        "Scores clip by clip",
        f"A distance has no number for one clip and is not here.{left}",
        ("clip", "person", "method", *metrics),
        tuple(
            Line(clip, (Cell(person, sort=person), Cell(method, sort=method),
                        *(_score(lines[clip, person, method].get(metric), notes) for metric in metrics)),
                 is_control(method))
            for clip, person, method in shown
        ),
    )  # fmt: skip


def _table(grid: Grid, said: str, cell: Callable[[str, str, str], Cell]) -> Table:
    lines = tuple(
        Line(name, tuple(cell(text, name, head) for text, head in zip(texts, grid.heads[1:], strict=True)),
             is_control(name))
        for name, *texts in grid.rows
    )  # fmt: skip
    return Table(grid.title, said, grid.heads, lines)


def _cell(text: str, note: int) -> Cell:
    """`3.71 [2.90, 4.40] n=621` in its parts."""
    count = _COUNT.search(text)
    text = text[: count.start()] if count else text
    interval = _INTERVAL.search(text)
    text = text[: interval.start()] if interval else text
    return Cell(text, interval[0].strip() if interval else "", count[1].strip("()") if count else "", note)


def _score(score: ClipScore | None, notes: Notes) -> Cell:
    if score is None:
        return Cell(DASH)
    count = f"{score.n} of {score.n_total}" if score.n < score.n_total else ""
    if score.value is None:
        return Cell(DASH, count=count, note=notes.number(score.reason))
    return Cell(number(score.value), count=count, sort=score.value)


def number(value: float) -> str:
    """Four digits or so."""
    return f"{value:.2f}" if abs(value) >= 10 else f"{value:.3f}"
