"""Plots as SVG inside the page, in the page's own colours: they follow light and dark as the text does.

matplotlib draws; each colour is a placeholder that becomes a CSS variable of the page. Names stand in its legend.
"""

import io
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure  # without pyplot: no global state, no display

from emo_model.evaluate import GROUND_TRUTH, is_control
from emo_model.evaluate.outputs import Moment
from emo_model.report.tables import number

COLOURS = 8  # --line-1 to --line-8 of report.css; more methods begin anew, dashed
INK, SOFT, FIRST = "#010101", "#020202", 0x030301  # placeholders
DASHES = ("-", (0, (5, 2)), (0, (2, 2)), (0, (6, 2, 1, 2)))


@dataclass(frozen=True)
class Line:
    """One method's line: its place in the legend, with its mean."""

    name: str
    mean: str
    colour: str  # a CSS variable
    dashed: str  # SVG's stroke-dasharray


@dataclass(frozen=True)
class Plot:
    """A drawing with what can be read of it."""

    title: str
    said: str
    svg: str
    legend: tuple[Line, ...]


def plots(moments: Sequence[Moment]) -> list[Plot]:
    """Face similarity over time, and how fast heads turn; what was not measured is left out."""
    by_series: dict[str, dict[str, list[Moment]]] = {}
    for moment in moments:
        by_series.setdefault(moment.series, {}).setdefault(moment.method, []).append(moment)
    found = []
    for series, methods in sorted(by_series.items()):
        if series.startswith("f_sim"):
            found.append(_over_time(series, methods))
        elif series.startswith("head_velocity"):
            found.append(_distribution(series, methods))
    return found


def _over_time(series: str, methods: dict[str, list[Moment]]) -> Plot:
    figure, axes = _figure("seconds", series)
    legend = []
    for place, name in _ordered(methods):
        at: dict[float, list[float]] = {}
        for moment in methods[name]:
            if moment.value is not None:
                at.setdefault(round(moment.t_s, 3), []).append(moment.value)
        times = sorted(at)
        axes.plot(times, [np.mean(at[t]) for t in times], **_style(place))
        legend.append(_legend(place, name, [value for values in at.values() for value in values]))
    said = "Mean over clips of the frames with a face. A line that falls is a face that drifts away from the portrait."
    return Plot(f"{series} over time", said, _svg(figure, series), tuple(legend))


def _distribution(series: str, methods: dict[str, list[Moment]]) -> Plot:
    figure, axes = _figure("degrees a frame at 30 fps", "share of frames up to this speed")
    legend, most = [], [0.1]
    for place, name in _ordered(methods):
        values = [moment.value for moment in methods[name] if moment.value is not None]
        if values:
            axes.ecdf(values, **_style(place))
            most.append(float(np.percentile(values, 99)))
        legend.append(_legend(place, name, values))
    axes.set_xlim(0, max(most))
    axes.set_ylim(0, 1.02)
    said = "Of all frames of all clips. A line left of the ground truth's is a head that turns too little."
    return Plot(f"Head speeds ({series})", said, _svg(figure, series), tuple(legend))


def _ordered(methods: Iterable[str]) -> list[tuple[int, str]]:
    """Ground truth first, in ink (0); controls are soft (-1, -2, ...); methods have colours from 1 on."""
    names, place, control = list(methods), 0, 0
    found = [(0, GROUND_TRUTH)] if GROUND_TRUTH in names else []
    for name in names:
        if name == GROUND_TRUTH:
            continue
        if is_control(name):
            control -= 1
            found.append((control, name))
        else:
            place += 1
            found.append((place, name))
    return found


def _style(place: int) -> dict[str, Any]:
    if place > 0:
        colour = FIRST + (place - 1) % COLOURS
        return {"color": f"#{colour:06x}", "linewidth": 1.6, "linestyle": DASHES[(place - 1) // COLOURS % len(DASHES)]}
    return {"color": INK if place == 0 else SOFT, "linewidth": 2.2 if place == 0 else 1.2,
            "linestyle": DASHES[-place % len(DASHES)]}  # fmt: skip


def _legend(place: int, name: str, values: Sequence[float]) -> Line:
    style = _style(place)
    dashes = style["linestyle"]
    dashed = " ".join(str(length) for length in dashes[1]) if isinstance(dashes, tuple) else "none"
    mean = f"mean {number(float(np.mean(values)))}" if values else "nothing found"
    return Line(name, mean, _variable(str(style["color"])), dashed)


def _figure(x: str, y: str) -> tuple[Figure, Axes]:
    figure = Figure(figsize=(4.8, 2.9), layout="constrained")
    axes = figure.add_subplot()
    axes.set_xlabel(x, color=SOFT, fontsize=9)
    axes.set_ylabel(y, color=SOFT, fontsize=9)
    axes.tick_params(colors=SOFT, labelcolor=SOFT, labelsize=9)
    axes.spines[:].set_color(SOFT)
    axes.spines[["top", "right"]].set_visible(False)
    return figure, axes


def _svg(figure: Figure, salt: str) -> str:
    """The drawing without prologue, in CSS variables; equal drawings are equal text."""
    out = io.StringIO()
    with matplotlib.rc_context({"svg.fonttype": "none", "svg.hashsalt": salt}):
        nothing = dict.fromkeys(("Date", "Creator", "Format", "Type"))
        figure.savefig(out, format="svg", transparent=True, metadata=nothing)
    svg = out.getvalue()
    box = re.search(r'viewBox="[^"]*"', svg)
    assert box is not None, "matplotlib writes a viewBox"
    inside = svg[svg.index(">", box.end()) + 1 : svg.rindex("</svg>")]
    inside = re.sub(r"#0[1-9]0[1-9]0[0-9a-f]", lambda found: f"var({_variable(found[0])})", inside)
    inside = re.sub(r' id="[\w.]+_\d+"', "", inside)  # counters, equal in every drawing
    return f'<svg {box[0]} aria-hidden="true" focusable="false">{inside}</svg>'


def _variable(colour: str) -> str:
    named = {INK: "--ink", SOFT: "--soft"}
    return named.get(colour) or f"--line-{int(colour[1:], 16) - FIRST + 1}"
