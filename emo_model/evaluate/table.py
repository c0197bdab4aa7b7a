"""Table 1 and Table 2: the paper's numbers and ours, side by side and never in one column.

EMO's test clips, crops and code are unpublished, and our stand-ins live on other scales: rows of `TABLE_1`
and measured rows are two tables under two headings.
"""

import csv
from collections.abc import Sequence
from dataclasses import dataclass
from io import StringIO
from pathlib import Path

from emo_model.data.records import TABLES
from emo_model.data.store import write_text

from .controls import GROUND_TRUTH, HALVES, SHUFFLED, is_control
from .extractors import FAMILIES
from .methods import sentences
from .outputs import Evaluation
from .rows import EvaluationRow

MAIN = ("fid", "syncnet", "f_sim", "fvd", "e_fid")  # the paper's columns, in its order
TITLES = {"fid": "FID", "syncnet": "SyncNet", "f_sim": "F-SIM", "fvd": "FVD", "e_fid": "E-FID"}
DASH = "–"

# EMO, arXiv 2402.17485v3, Table 1: HDTF / web clips, columns as MAIN
TABLE_1: dict[str, tuple[str, ...]] = {
    "Wav2Lip": ("9.38 / 31.70", "5.79 / 4.14", "80.34 / 78.87", "407.93 / 487.00", "0.693 / 0.652"),
    "SadTalker": ("10.31 / 31.37", "4.82 / 2.90", "84.56 / 81.86", "214.98 / 418.19", "0.503 / 0.539"),
    "DreamTalk": ("58.80 / 88.21", "3.43 / 1.29", "67.87 / 56.38", "619.05 / 584.63", "2.257 / 3.548"),
    "MakeItTalk": ("21.73 / 39.86", "2.85 / 1.64", "76.91 / 60.12", "350.96 / 340.55", "1.072 / 0.997"),
    "ground truth": (DASH, "7.3 / 2.69", "77.44 / 72.64", DASH, DASH),
    "EMO without the 250 h": ("10.80", "5.02", "79.55", "102.78", "0.215"),
    "EMO": ("8.76 / 17.33", "3.89 / 2.74", "78.96 / 77.16", "67.66 / 192.77", "0.116 / 0.187"),
}

# The same, Table 2: assigned speed -> mean velocity, mean within-clip variance, VMV
TABLE_2: dict[str, tuple[float, float, float]] = {
    "none": (1.365, 1.002, 0.134),
    "0.1": (0.878, 0.357, 0.046),
    "0.7": (1.001, 0.454, 0.054),
    "1.3": (1.162, 0.550, 0.057),
    "1.9": (1.246, 0.657, 0.058),
}


@dataclass(frozen=True)
class Grid:
    """A table to print: a title, column heads, and rows of cells."""

    title: str
    heads: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


def published() -> Grid:
    """EMO's Table 1."""
    heads = ("method", *(TITLES[family] for family in MAIN))
    return Grid("As EMO printed them, HDTF / web", heads, tuple((m, *cells) for m, cells in TABLE_1.items()))


def printed(method: str) -> dict[str, float]:
    """A method's numbers of Table 1 by metric and test set, `fid HDTF`; empty for a method that it does not have."""
    cells = next((cells for name, cells in TABLE_1.items() if _plain(name) == _plain(method)), ())
    found: dict[str, float] = {}
    for family, cell in zip(MAIN, cells, strict=False):
        sets = zip(("HDTF", "web"), cell.split(" / "), strict=False)
        found |= {f"{family} {where}": float(value) for where, value in sets if value != DASH}
    return found


def measured(rows: Sequence[EvaluationRow]) -> Grid:
    """Our numbers for the paper's five columns; a stand-in's column bears the stand-in's name."""
    return _grid("Measured here", rows, [_column(family, rows) for family in MAIN])


def others(rows: Sequence[EvaluationRow]) -> Grid:
    """Our numbers that the paper's Table 1 does not have, one a line as they are many; dashes are left out. The methods
    stand next to the ground truth, the other controls behind them."""
    main = {_column(family, rows) for family in MAIN}
    metrics = list(dict.fromkeys(r.metric for r in rows if r.value is not None and r.metric not in main))
    columns = _grid("Also measured", rows, metrics)
    ordered = sorted(columns.rows, key=lambda column: column[0] != GROUND_TRUTH and 1 + is_control(column[0]))
    lines = zip(("metric", *metrics), *ordered, strict=True)
    heads, *body = lines
    return Grid(columns.title, heads, tuple(body))


def not_measured(rows: Sequence[EvaluationRow]) -> list[str]:
    """One line a reason: which metrics it keeps from a number, and whose if not everybody's."""
    dashes: dict[tuple[str, str], list[str]] = {}  # (metric, reason) -> methods
    for row in rows:
        if row.value is None:
            dashes.setdefault((row.metric, row.reason or ""), []).append(row.method)
    metrics: dict[tuple[str, tuple[str, ...]], list[str]] = {}  # (reason, methods) -> metrics
    for (metric, reason), methods in dashes.items():
        metrics.setdefault((reason, tuple(methods)), []).append(metric)
    everybody = {row.method for row in rows}
    return [
        ", ".join(names) + ("" if set(methods) == everybody else f" ({', '.join(methods)})") + f": {reason}"
        for (reason, methods), names in metrics.items()
    ]


def table_1(rows: Sequence[EvaluationRow]) -> Grid:
    """The paper's Table 1, measured and printed numbers in columns apart: they are of other clips and code.

    A measured method that the paper has under the same name shares its line.
    """
    ours, printed = measured(rows), {_plain(method): (method, cells) for method, cells in TABLE_1.items()}
    titles = [TITLES[family] for family in MAIN]
    heads = ("method", *(f"{head}, measured" for head in ours.heads[1:]), *(f"{title}, as printed" for title in titles))
    none, lines = (DASH,) * len(MAIN), []
    for method, *cells in ours.rows:
        _, theirs = printed.pop(_plain(method), ("", none))
        lines.append((method, *cells, *theirs))
    lines += [(f"{method} (EMO's Table 1)", *none, *cells) for method, cells in printed.values()]
    return Grid("Table 1: measured here, and as EMO printed it (HDTF / web)", heads, tuple(lines))


def _plain(method: str) -> str:
    """A name without case, spaces and signs: Wav2Lip is wav2lip."""
    return "".join(letter for letter in method.casefold() if letter.isalnum())


def counts(rows: Sequence[EvaluationRow]) -> list[str]:
    """Which numbers not every sample could be used for, a line a count: no frame without a face is dropped unsaid."""
    found: dict[tuple[str, int, int], list[str]] = {}
    for row in rows:
        if row.value is not None and row.n < row.n_total:
            found.setdefault((row.method, row.n, row.n_total), []).append(row.metric)
    return [
        f"{method}: {n} of {n_total} samples could be used for {', '.join(metrics)}"
        for (method, n, n_total), metrics in found.items()
    ]


def to_page(evaluation: Evaluation) -> str:
    """The tables, what is missing from them, and what is to be said of the videos, as markdown."""
    rows, protocol = evaluation.rows, evaluation.protocol
    parts = [f"# Evaluation: {protocol.dataset}"]
    parts += [f"Protocol {protocol.name}, `{protocol.hash}`; {len(protocol.clips)} clips; N in each cell."]
    for grid in (table_1(rows), others(rows)):
        if grid.rows and len(grid.heads) > 1:
            parts += [f"## {grid.title}", to_markdown(grid)]
    lists = {
        "No number": not_measured(rows),
        "Said of the videos": sentences(evaluation.findings),
        "Not every sample": counts(rows),
    }
    for title, lines in lists.items():
        if lines:
            parts += [f"## {title}", "\n".join(f"- {line}" for line in lines)]
    return "\n\n".join(parts) + "\n"


def _column(family: str, rows: Sequence[EvaluationRow]) -> str:
    """The name the family's number has in these rows: a stand-in's if one was used."""
    output = FAMILIES[family].outputs[0]
    names = [r.metric for r in rows if r.metric.partition("[")[0] == output]
    return next((name for name in names if "[" in name), output)


def _grid(title: str, rows: Sequence[EvaluationRow], metrics: Sequence[str]) -> Grid:
    cells = {(row.method, row.metric): row for row in rows}
    found = list(dict.fromkeys(row.method for row in rows))
    methods = [m for m in found if is_control(m)] + [m for m in found if not is_control(m)]
    body = [(m, *(_cell(cells.get((m, metric))) for metric in metrics)) for m in methods]
    # no metric here is a distance, or hears: nothing to say about halves, or another's voice
    body = [line for line in body if line[0] not in (HALVES, SHUFFLED) or set(line[1:]) != {DASH}]
    return Grid(title, ("method", *metrics), tuple(body))


def _cell(row: EvaluationRow | None) -> str:
    """`3.71 [2.90, 4.40] n=621`, found of offered where some are missing, or a dash."""
    if row is None or row.value is None:
        return f"{DASH} ({row.n} of {row.n_total})" if row is not None and row.n_total else DASH
    interval = "" if row.ci_low is None else f" [{_number(row.ci_low)}, {_number(row.ci_high)}]"
    count = f"n={row.n}" if row.n == row.n_total else f"{row.n} of {row.n_total}"
    return f"{_number(row.value)}{interval} {count}"


def _number(value: float | None) -> str:
    if value is None:
        return DASH
    text = f"{value:.3f}" if abs(value) < 10 else f"{value:.2f}"
    return "0" if float(text) == 0 and abs(value) < 1e-9 else text


def to_markdown(grid: Grid) -> str:
    """The grid as a markdown table without its title."""
    lines = [grid.heads, ("---",) * len(grid.heads), *grid.rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def to_csv(rows: Sequence[EvaluationRow]) -> str:
    """One line a number, the columns of the `evaluations` table."""
    columns = TABLES["evaluations"].schema.names
    out = StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(columns)
    writer.writerows([["" if (v := getattr(row, c)) is None else v for c in columns] for row in rows])
    return out.getvalue()


def write_table(evaluation: Evaluation, folder: Path) -> dict[str, Path]:
    """Write table.md, table.csv and the evaluation (outputs.py) into `folder`; returns the tables' paths by suffix."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = {"md": folder / "table.md", "csv": folder / "table.csv", "parquet": folder / "part.parquet"}
    write_text(paths["md"], to_page(evaluation))
    write_text(paths["csv"], to_csv(evaluation.rows))
    evaluation.write(folder)
    return paths
