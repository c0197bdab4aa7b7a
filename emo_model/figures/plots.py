"""Plots of the two ablations, in 32 colours: a drawing needs no more, and is small enough for Dagster's event log."""

import io
from collections.abc import Mapping, Sequence
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.figure import Figure  # without pyplot: no global state, no display
from PIL import Image

from emo_model.data.store import atomic

BLUE, GREY, RED = "#1f4e9c", "#8a93a3", "#b23a48"
Point = tuple[float, tuple[float, float] | None]  # a number and its 95 % interval


def speed_plot(asked: Mapping[float, Point], none: Point | None, printed: Mapping[float, float]) -> Figure:
    """Measured mean head speed by assigned speed, and with none; beside it what the paper printed. Degrees a frame."""
    figure = Figure(figsize=(5.2, 3.0), dpi=90, layout="constrained")
    axes = _axes(figure.add_subplot(), "assigned speed, degrees a frame", "mean head speed measured")
    axes.plot(list(printed), list(printed.values()), "o--", color=GREY, markersize=4, label="EMO, as printed")
    if none is not None:
        axes.axhline(none[0], color=RED, linewidth=1, linestyle=":", label="no speed given")
    if asked:
        axes.errorbar(
            list(asked), [value for value, _ in asked.values()], _bars(list(asked.values())), color=BLUE, marker="o",
            markersize=5, capsize=3, label="this model",
        )  # fmt: skip
    axes.set_ylim(bottom=0)
    axes.legend(fontsize=7, frameon=False)
    return figure


def region_plot(inside: Mapping[str, Point], sway: Mapping[str, Point]) -> Figure:
    """Share of the face inside each region, and its sway by width."""
    figure = Figure(figsize=(5.2, 3.0), dpi=90, layout="constrained")
    left, right = figure.subplots(1, 2, width_ratios=(3, 2))
    _bar(_axes(left, "region", "share of the face inside"), inside)
    left.axhline(0.9, color=GREY, linewidth=1, linestyle=":")
    left.set_ylim(0, 1.05)
    _bar(_axes(right, "region", "sway, picture widths"), sway)
    return figure


def save(figure: Figure, path: Path) -> None:
    """As PNG, whole or not at all."""
    drawn = io.BytesIO()
    figure.savefig(drawn, format="png")
    with atomic(path) as temporary:
        Image.open(drawn).convert("RGB").quantize(32).save(temporary, "PNG", optimize=True)


def _axes(axes: Axes, x: str, y: str) -> Axes:
    axes.set_xlabel(x, fontsize=8)
    axes.set_ylabel(y, fontsize=8)
    axes.tick_params(labelsize=7)
    axes.spines[["top", "right"]].set_visible(False)
    return axes


def _bar(axes: Axes, points: Mapping[str, Point]) -> None:
    if points:
        values = list(points.values())
        axes.bar(list(points), [value for value, _ in values], yerr=_bars(values), color=BLUE, width=0.6, capsize=3)
    else:
        axes.text(0.5, 0.5, "not measured", transform=axes.transAxes, ha="center", fontsize=8, color=GREY)


def _bars(points: Sequence[Point]) -> list[list[float]]:
    """Lengths below and above."""
    ends = [(value - found[0], found[1] - value) if found else (0.0, 0.0) for value, found in points]
    return [[max(0.0, below) for below, _ in ends], [max(0.0, above) for _, above in ends]]
