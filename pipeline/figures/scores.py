"""How far a network's probabilities can be believed, and what is lost by believing them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from matplotlib.figure import Figure
from matplotlib.patheffects import withStroke

from pipeline import ranking
from pipeline.breakdown import Row
from pipeline.calibration import Reliability
from pipeline.evidence import Evidence
from pipeline.figures.canvas import FAINT, INK, sheet
from pipeline.metrics import Floats
from pipeline.ranking import Ladder
from pipeline.rejection import Coverage

if TYPE_CHECKING:
    from matplotlib.axes import Axes

SHOWN = 25  # groups in a figure
LINE = "#0b5394"
BEFORE = "#c07a2c"


def _percent(axes: Axes, *sides: str) -> None:
    for side in sides:
        axis = axes.xaxis if side == "x" else axes.yaxis
        axis.set_major_formatter(lambda value, _: f"{value:.4g}%" if value < 100.01 else "")


def _plain(axes: Axes) -> None:
    axes.grid(color="#e4e4e4", linewidth=0.8)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
    axes.tick_params(labelsize=8.5, color=FAINT)


def reliability(
    before: tuple[Reliability, float], after: tuple[Reliability, float], temperature: float,
    title: str,
) -> Figure:  # fmt: skip
    """Accuracy over confidence, bin by bin, each with its calibration error; tiles below."""
    figure = sheet(
        6.4,
        6.6,
        title,
        "Below the diagonal the network is surer than it should be, above it less sure. Bars: "
        "tiles of each bin of confidence. A temperature divides the logits; it was fitted to the "
        "validation tiles.",
    )
    axes, below = figure.subplots(2, 1, sharex=True, height_ratios=(3.4, 1))
    axes.plot([0, 100], [0, 100], color="#999999", linewidth=1, linestyle=(0, (4, 3)))
    looks: list[tuple[str, str, str, tuple[Reliability, float]]] = [
        ("as trained", BEFORE, "s", before),
        (f"with temperature {temperature:.3g}", LINE, "o", after),
    ]
    looks = looks[:1] if temperature == 1 else looks
    width = 100 / len(after[0].tiles)
    for side, (name, colour, mark, (found, error)) in enumerate(looks):
        full = found.tiles > 0
        axes.plot(
            100 * found.confidence[full],
            100 * found.accuracy[full],
            marker=mark,
            color=colour,
            linewidth=1.6,
            markersize=5,
            clip_on=False,
            label=f"{name}: calibration error {error:.3f}",
        )
        middle = (np.arange(len(found.tiles)) + 0.3 + 0.4 * side) * width
        below.bar(middle, found.tiles, width=0.4 * width, color=colour)
    axes.set(xlim=(0, 100), ylim=(0, 100), ylabel="accuracy")
    axes.legend(loc="lower left", bbox_to_anchor=(0, 1), frameon=False, fontsize=9)
    below.set(xlabel="confidence", ylabel="tiles")
    for one in (axes, below):
        _plain(one)
    _percent(axes, "x", "y")
    _percent(below, "x")
    below.yaxis.set_major_formatter(lambda value, _: f"{value:,.0f}")
    return figure


def roc(evidence: Evidence, values: Sequence[float | None], title: str) -> Figure:
    """Each class against the rest, and the corner that matters once more, larger."""
    figure = sheet(
        11.4,
        5.0,
        title,
        "Share of a class's tiles that score above a threshold, over the share of all other tiles "
        "that do. Right: the upper left corner, larger. A class without tiles has no curve.",
    )
    curves = [ranking.rates(ladder) for ladder in _ladders(evidence)]
    for axes, reach in zip(figure.subplots(1, 2), (100, _corner(curves, values)), strict=True):
        axes.plot([0, 100], [0, 100], color="#999999", linewidth=1, linestyle=(0, (4, 3)))
        _curves(axes, evidence, curves, values)
        axes.set(xlim=(0, reach), ylim=(100 - reach, 100 + reach / 100))
        axes.set(xlabel="false positive rate", ylabel="true positive rate (recall)")
    _legend(figure, axes, "class: area")
    return figure


def precision_recall(evidence: Evidence, values: Sequence[float | None], title: str) -> Figure:
    """Each class against the rest: what precision is left at each recall."""
    figure = sheet(
        8.4,
        5.2,
        title,
        "Precision (user's accuracy) of the tiles above a threshold, over the recall (producer's "
        "accuracy) that it leaves. A class without tiles has no curve.",
    )
    axes = figure.add_subplot()
    curves = [ranking.precisions(ladder) for ladder in _ladders(evidence)]
    ends = [int((recall < 1).sum()) + 1 for recall, _ in curves]  # all that is found is found
    # Steps, as the average precision adds them up.
    shown = [
        (np.r_[0.0, x[:end]], np.r_[y[:1], y[:end]])
        for (x, y), end in zip(curves, ends, strict=True)
    ]
    _curves(axes, evidence, shown, values, drawstyle="steps")
    axes.set(xlim=(0, 101), ylim=(0, 101), xlabel="recall", ylabel="precision")
    _legend(figure, axes, "class: average precision")
    return figure


def _ladders(evidence: Evidence) -> list[Ladder]:
    shares = evidence.probabilities
    return [Ladder.of(shares[:, k], evidence.actual == k) for k in range(shares.shape[1])]


def _corner(curves: Sequence[tuple[Floats, Floats]], values: Sequence[float | None]) -> int:
    """Side of the smallest corner, in percent, that every curve comes into."""
    drawn = [curve for curve, value in zip(curves, values, strict=True) if value is not None]
    for side in (5, 10, 20):
        if all(np.interp(side / 100, x, y) > 1 - 0.8 * side / 100 for x, y in drawn):
            return side
    return 40


def _curves(
    axes: Axes,
    evidence: Evidence,
    curves: Sequence[Any],
    values: Sequence[float | None],
    drawstyle: Literal["default", "steps"] = "default",
) -> None:
    looks = zip(evidence.classes, evidence.classes.colours, curves, values, strict=True)
    for name, colour, (x, y), value in looks:
        if value is not None:
            label = f"{name}: {value:.4f}"
            axes.plot(
                100 * x, 100 * y, color=colour, linewidth=1.8, label=label, drawstyle=drawstyle
            )
    _plain(axes)
    _percent(axes, "x", "y")


def _legend(figure: Figure, axes: Axes, title: str) -> None:
    """The classes beside the axes."""
    figure.legend(
        *axes.get_legend_handles_labels(),
        loc="outside right upper",
        frameon=False,
        fontsize=9,
        title=title,
        alignment="left",
        title_fontsize=9,
    )


def coverage(curve: Coverage, title: str, threshold: float | None = None) -> Figure:
    """Accuracy of the tiles that the network is surest of, over the share that they are."""
    figure = sheet(
        7.4,
        4.6,
        title,
        "From the right, tiles are left out, the least sure first. Dots: what a threshold of the "
        "confidence leaves.",
    )
    axes = figure.add_subplot()
    axes.plot(100 * curve.coverage, 100 * curve.accuracy, color=LINE, linewidth=1.8)
    last = 0.0
    for level in (0.99, 0.95, 0.9, 0.8, 0.7, 0.5):
        kept = curve.at(level)[0]
        if kept > last + 0.02 and kept > 0.1:  # else the labels would lie on each other
            _mark(axes, curve, level, LINE, f"{level:.0%}")
            last = kept
    if threshold is not None:
        _mark(axes, curve, threshold, BEFORE, f"chosen: {threshold:.1%}", above=True)
    low = 100 * float(curve.accuracy[curve.coverage > 0.05].min(initial=0.99))
    axes.set(xlim=(0, 101), ylim=(low - 0.06 * (100 - low), 100 + 0.02 * (100 - low)))
    axes.set(xlabel="coverage: tiles that are kept", ylabel="accuracy of these")
    _plain(axes)
    _percent(axes, "x", "y")
    return figure


def _mark(
    axes: Axes, curve: Coverage, level: float, colour: str, text: str, *, above: bool = False
) -> None:
    kept, accuracy = curve.at(level)
    if kept > 0:
        axes.plot(100 * kept, 100 * accuracy, "o", color=colour, markersize=5, zorder=3)
        axes.annotate(
            text,
            (100 * kept, 100 * accuracy),
            xytext=(7, 9) if above else (-7, -10),
            textcoords="offset points",
            ha="left" if above else "right",
            fontsize=8,
            color=colour if above else INK,
            path_effects=[withStroke(linewidth=2.5, foreground="white")],
        )


def groups(rows: Sequence[Row], overall: float, title: str) -> Figure:
    """Accuracy of the worst groups with its interval, beside that of all tiles."""
    shown = rows[:SHOWN]
    more = f" The worst {SHOWN} of {len(rows):,}." if len(rows) > SHOWN else ""
    figure = sheet(
        7.8,
        1.7 + 0.27 * len(shown),
        title,
        "Dots: accuracy. Lines: 95 % interval. Dashed: the accuracy on all tiles. Right: "
        f"tiles.{more}",
    )
    axes = figure.add_subplot()
    places = np.arange(len(shown))
    low, high = (100 * np.array([row.reach[side] for row in shown]) for side in (0, 1))
    accuracy = 100 * np.array([row.accuracy for row in shown])
    axes.hlines(places, low, high, color=LINE, linewidth=1.8, alpha=0.55)
    axes.plot(accuracy, places, "o", color=LINE, markersize=5.5)
    axes.axvline(100 * overall, color=BEFORE, linewidth=1.2, linestyle=(0, (4, 3)))
    axes.set_yticks(places, [row.name for row in shown])
    for place, row in zip(places, shown, strict=True):
        axes.text(
            1.01, float(place), f"{row.n:,}", va="center", fontsize=8.5, color=FAINT,
            transform=axes.get_yaxis_transform(),
        )  # fmt: skip
    axes.set(ylim=(len(shown) - 0.4, -0.6), xlim=(max(0.0, float(low.min()) - 3), 101))
    _plain(axes)
    axes.grid(visible=False, axis="y")
    axes.tick_params(axis="y", length=0)
    axes.spines["left"].set_visible(False)
    _percent(axes, "x")
    return figure
