"""The report a person opens: both tables, how to read them, the protocol, frames of real and generated clips.

One HTML file without any outside resource, and the same text as markdown.
"""

import base64
import dataclasses
import html
import io
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from emo_model.data.store import write_text

from .clips import VideoPair
from .controls import COPY, GROUND_TRUTH, HALVES
from .extractors import FAMILIES
from .protocol import Protocol
from .rows import EvaluationRow
from .table import Grid, measured, not_measured, others, published, to_markdown
from .video import Unreadable, read_frames

SHEET_CLIPS, SHEET_FRAMES, SHEET_SIZE = 4, 6, 128

HOW_TO_READ = (
    "A name in brackets is a stand-in network: its numbers compare with each other, never with a paper's.",
    "The paper's clips and code are unpublished: its rows are here for orientation, not for ranking.",
    f"“{HALVES}” is the distance that moving on in the same real videos already gives. A distance near that "
    "floor, at these few samples, says no more than “as far as real video from itself”.",
    f"“{COPY}” shows the reference for the whole clip: a method that loses to it has learned no motion.",
    "F-SIM and the motion numbers are best near the ground truth's own value, not highest or lowest.",
    "Square brackets: 95 % bootstrap interval over people; none is given for fewer than two people.",
    "“k of n”: only k samples could be used (a face was found). A dash is a number that does not exist.",
)
STYLE = """
:root{--ink:#1c2024;--soft:#60646c;--line:#e3e4e8;--page:#fff;--band:#f6f7f9}
@media (prefers-color-scheme:dark){
:root{--ink:#edeef0;--soft:#a1a5ad;--line:#34373d;--page:#16181b;--band:#1e2125}}
*{box-sizing:border-box}
body{margin:0 auto;padding:24px 16px 64px;max-width:1040px;background:var(--page);color:var(--ink);
font:16px/1.55 system-ui,-apple-system,"Segoe UI",sans-serif}
h1{font-size:1.6rem;margin:.2em 0}h2{font-size:1.15rem;margin:2em 0 .5em}p,li,dd{max-width:70ch}
.soft{color:var(--soft)}.scroll{overflow-x:auto;border:1px solid var(--line);border-radius:8px}
table{border-collapse:collapse;width:100%;font-variant-numeric:tabular-nums;font-size:.9rem}
th,td{padding:8px 12px;text-align:left;vertical-align:top;white-space:nowrap}
th,td{border-bottom:1px solid var(--line)}tr:last-child td{border-bottom:0}
th{background:var(--band);font-weight:600}td small{display:block;color:var(--soft)}
dl{display:grid;grid-template-columns:max-content 1fr;gap:4px 16px}
dt{color:var(--soft)}dd{margin:0;overflow-wrap:anywhere}
figure{margin:0 0 20px}figcaption{color:var(--soft);font-size:.85rem;margin:2px 0}
figure img{width:100%;max-width:768px;height:auto;border-radius:4px;display:block}
"""
PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8">
<meta name="viewport" content="width=device-width,initial-scale=1">
<title>{title}</title><style>{style}</style></head>
<body>{body}</body></html>
"""


def markdown_report(rows: Sequence[EvaluationRow], protocol: Protocol) -> str:
    """Tables, reading guide and protocol as markdown."""
    parts = [f"# Evaluation: {protocol.dataset}", f"Protocol `{protocol.hash}`, {len(protocol.clips)} clips."]
    for grid in _grids(rows):
        parts += [f"## {grid.title}", to_markdown(grid)]
    parts += ["## Not measured", *(_bullets(not_measured(rows)) or ["Nothing is missing."])]
    parts += ["## How to read this", *_bullets(HOW_TO_READ), "## Metrics", *_bullets(_meanings())]
    parts += ["## Protocol", *_bullets(f"{key}: {value}" for key, value in _protocol_lines(protocol))]
    return "\n\n".join(parts) + "\n"


def html_report(rows: Sequence[EvaluationRow], protocol: Protocol, sheets: Sequence[tuple[str, np.ndarray]]) -> str:
    """The same as one self-contained page; `sheets` are (caption, RGB image)."""
    title = f"Evaluation: {protocol.dataset}"
    body = [
        f"<h1>{html.escape(title)}</h1>",
        f'<p class="soft">Protocol {protocol.hash}, {len(protocol.clips)} clips</p>',
    ]
    body += [_html_grid(grid) for grid in _grids(rows)]
    body += [_html_list("Not measured", not_measured(rows)), _html_list("How to read this", HOW_TO_READ)]
    if sheets:
        body += ["<h2>Frames</h2>", *(_html_figure(caption, image) for caption, image in sheets)]
    body += [_html_list("Metrics", _meanings()), "<h2>Protocol</h2>", _html_pairs(_protocol_lines(protocol))]
    return PAGE.format(title=html.escape(title), style=STYLE, body="".join(body))


def write_report(
    rows: Sequence[EvaluationRow],
    protocol: Protocol,
    methods: dict[str, list[VideoPair]],
    folder: Path,
    *,
    root: Any = ".",
) -> dict[str, Path]:
    """Write report.html and report.md into `folder`; returns their paths by suffix."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = {"html": folder / "report.html", "md": folder / "report.md"}
    write_text(paths["html"], html_report(rows, protocol, contact_sheets(methods, protocol, root)))
    write_text(paths["md"], markdown_report(rows, protocol))
    return paths


def contact_sheets(
    methods: dict[str, list[VideoPair]], protocol: Protocol, root: Any = "."
) -> list[tuple[str, np.ndarray]]:
    """For the first clips: six frames over the clip, the real row above each method's row."""
    folder, sheets = Path(getattr(root, "path", root)), []
    for clip in protocol.clips[:SHEET_CLIPS]:
        pairs = {m: p for m, listed in methods.items() for p in listed if p.clip_id == clip}
        if not pairs:
            continue
        files = {GROUND_TRUTH: next(iter(pairs.values())).real} | {m: p.generated for m, p in pairs.items()}
        strips = {}
        for name, file in files.items():
            try:
                strips[name] = _strip(folder / file, protocol)
            except Unreadable as error:
                strips[f"{name}: {error}"] = np.full((SHEET_SIZE // 4, SHEET_SIZE * SHEET_FRAMES, 3), 200, np.uint8)
        sheets.append((f"{clip}, from the top: {', '.join(strips)}", np.concatenate(list(strips.values()))))
    return sheets


def _strip(path: Path, protocol: Protocol) -> np.ndarray:
    frames = read_frames(path, fps=protocol.fps, size=SHEET_SIZE, seconds=protocol.seconds)
    chosen = np.linspace(0, len(frames) - 1, SHEET_FRAMES).round().astype(int)
    return np.concatenate(list(frames[chosen]), axis=1)


def _grids(rows: Sequence[EvaluationRow]) -> list[Grid]:
    return [grid for grid in (measured(rows), others(rows), published()) if len(grid.heads) > 1 and grid.rows]


def _bullets(lines: Any) -> list[str]:
    text = "\n".join(f"- {line}" for line in lines)
    return [text] if text else []


def _meanings() -> list[str]:
    return [f"{', '.join(family.outputs)}: {family.meaning}" for family in FAMILIES.values()]


def _protocol_lines(protocol: Protocol) -> list[tuple[str, str]]:
    pins = [f"{p.family}: {p.extractor} (sha256 {p.sha256[:12]})" for p in protocol.extractors]
    values = {"hash": protocol.hash} | {
        field.name: getattr(protocol, field.name) for field in dataclasses.fields(protocol)
    }
    values |= {"clips": ", ".join(protocol.clips), "extractors": "; ".join(pins) or "none"}
    return [(key, str(value)) for key, value in values.items()]


def _html_grid(grid: Grid) -> str:
    heads = "".join(f"<th>{html.escape(head)}</th>" for head in grid.heads)
    rows = "".join(f"<tr>{''.join(_html_cell(cell) for cell in row)}</tr>" for row in grid.rows)
    table = f"<table><thead><tr>{heads}</tr></thead><tbody>{rows}</tbody></table>"
    return f'<h2>{html.escape(grid.title)}</h2><div class="scroll">{table}</div>'


def _html_cell(cell: str) -> str:
    """The number, and what stands behind it (interval, count) in small below."""
    value, rest = [*re.split(r" (?=\[|n=|\(?\d+ of \d+)", cell, maxsplit=1), ""][:2]
    return f"<td>{html.escape(value)}{f'<small>{html.escape(rest)}</small>' if rest else ''}</td>"


def _html_list(title: str, lines: Sequence[str]) -> str:
    items = "".join(f"<li>{html.escape(line)}</li>" for line in lines)
    return f"<h2>{title}</h2><ul>{items}</ul>" if items else ""


def _html_pairs(pairs: Sequence[tuple[str, str]]) -> str:
    return "<dl>" + "".join(f"<dt>{html.escape(k)}</dt><dd>{html.escape(v)}</dd>" for k, v in pairs) + "</dl>"


def _html_figure(caption: str, image: np.ndarray) -> str:
    out = io.BytesIO()
    Image.fromarray(image).save(out, "JPEG", quality=85)
    data = base64.b64encode(out.getvalue()).decode()
    caption = html.escape(caption)
    image_tag = f'<img src="data:image/jpeg;base64,{data}" alt="{caption}">'
    return f"<figure><figcaption>{caption}</figcaption>{image_tag}</figure>"
