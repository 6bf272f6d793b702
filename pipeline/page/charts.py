"""Lines and bars as SVG inside the page: they take its colours, light and dark, and its letters."""

from __future__ import annotations

import csv
import math
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

WIDTH, HEIGHT = 440.0, 190.0
LEFT, RIGHT, TOP, BOTTOM = 44.0, 8.0, 10.0, 24.0  # room around the plot


@dataclass(frozen=True, slots=True)
class Line:
    """A line of a chart."""

    name: str
    style: str  # a class of the page's style
    x: Sequence[float]
    y: Sequence[float]


@dataclass(frozen=True, slots=True)
class Chart:
    """A picture with what it says in words."""

    heading: str
    svg: str
    lines: tuple[tuple[str, str], ...]  # name and style, for the legend


def ticks(low: float, high: float, most: int = 5) -> list[float]:
    """Round numbers from low to high."""
    span = (high - low) or 1.0
    step = 10 ** math.floor(math.log10(span / most))
    while span / step > most:
        step *= 2.5 if round(step / 10 ** math.floor(math.log10(step)), 6) == 2 else 2
    first = math.ceil(low / step - 1e-9)
    return [round(k * step, 10) for k in range(first, math.floor(high / step + 1e-9) + 1)]


def chart(heading: str, lines: Sequence[Line], *, share: bool = False, x_name: str = "") -> Chart:
    """Lines over whole numbers; ``share`` writes values as percentages."""
    xs = [x for line in lines for x in line.x]
    ys = [y for line in lines for y in line.y if math.isfinite(y)]
    low, high = min(ys), max(ys)
    pad = 0.06 * (high - low) or 0.5 * abs(high) or 1.0
    low, high = (low - pad, min(high + pad, 1.0)) if share else (max(0.0, low - pad), high + pad)
    left, right = min(xs), max(max(xs), min(xs) + 1)

    def at(x: float, y: float) -> tuple[float, float]:
        across = LEFT + (x - left) / (right - left) * (WIDTH - LEFT - RIGHT)
        return across, TOP + (high - y) / (high - low) * (HEIGHT - TOP - BOTTOM)

    parts = []
    for value in ticks(low, high):
        _, y = at(left, value)
        text = f"{100 * value:g}%" if share else f"{value:g}"
        parts.append(f'<path class="grid" d="M{LEFT} {y:.1f}H{WIDTH - RIGHT}"/>')
        parts.append(f'<text x="{LEFT - 6}" y="{y + 3.5:.1f}" text-anchor="end">{text}</text>')
    whole = [value for value in ticks(left, right, 8) if value == int(value)]
    for value in whole:
        x, _ = at(value, low)
        parts.append(f'<text x="{x:.1f}" y="{HEIGHT - 7}" text-anchor="middle">{value:g}</text>')
    for line in lines:
        points = [at(x, y) for x, y in zip(line.x, line.y, strict=True) if math.isfinite(y)]
        path = "L".join(f"{x:.1f} {y:.1f}" for x, y in points)
        parts.append(f'<path class="line {line.style}" d="M{path}"/>')
        if len(points) == 1:
            x, y = points[0]
            parts.append(f'<circle class="dot {line.style}" cx="{x:.1f}" cy="{y:.1f}" r="3"/>')
    told = "; ".join(f"{one.name}: {_ends(one, share)}" for one in lines if len(one.y))
    label = f"{heading}{f' over {x_name}' if x_name else ''}. {told}."
    svg = (
        f'<svg class="chart" viewBox="0 0 {WIDTH:g} {HEIGHT:g}" role="img" '
        f'aria-label="{escape(label)}">{"".join(parts)}</svg>'
    )
    named = dict.fromkeys((line.name, line.style) for line in lines)
    return Chart(heading, svg, tuple(named))


def _ends(line: Line, share: bool) -> str:
    first, last = (f"{100 * y:.1f}%" if share else f"{y:.3g}" for y in (line.y[0], line.y[-1]))
    return f"from {first} to {last}"


# Column of curves.csv -> chart, and how it is drawn there.
CURVES = {
    "train_loss": ("Loss", "training", "train"),
    "validation_loss": ("Loss", "validation", "validation"),
    "validation_accuracy": ("Accuracy on validation", "accuracy", "validation"),
    "validation_balanced_accuracy": ("Accuracy on validation", "balanced", "balanced"),
    "learning_rate": ("Learning rate", "learning rate", "train"),
}


def curves(path: Path) -> list[Chart]:
    """Charts of ``curves.csv``, of an ensemble a line a member; none without such a file."""
    if not path.is_file():
        return []
    with path.open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    members: dict[str, list[dict[str, str]]] = {}
    for row in rows:
        members.setdefault(row.get("member", ""), []).append(row)
    lines: dict[str, list[Line]] = {}
    for column, (heading, name, style) in CURVES.items():
        for own in members.values():
            points = [(float(r["epoch"]), float(r[column])) for r in own if r.get(column)]
            if points:
                xs, ys = zip(*points, strict=True)
                lines.setdefault(heading, []).append(Line(name, style, xs, ys))
    return [
        chart(heading, found, share=heading.startswith("Accuracy"), x_name="epochs")
        for heading, found in lines.items()
    ]


def histograms(looks: dict[str, Any]) -> list[Chart]:
    """A chart a band: how its values are spread in each split, each split's share of pixels."""
    splits = {split: bands for split, bands in looks.items() if bands}
    names = dict.fromkeys(band for bands in splits.values() for band in bands)
    return [_histogram(band, {s: bands[band] for s, bands in splits.items()}) for band in names]


def _histogram(band: str, looks: dict[str, Any]) -> Chart:
    lines = []
    for split, look in looks.items():
        counts = np.asarray(look["counts"], np.float64)
        first, last = map(float, look["edges"])
        edges = np.linspace(first, last, len(counts) + 1)
        # By its height over a unit of the band: splits whose bins differ can be laid over another.
        heights: NDArray[np.float64] = counts / max(counts.sum(), 1) / (edges[1] - edges[0])
        lines.append((split, edges, heights))
    filled = [edges[:-1][heights > 0] for _, edges, heights in lines if heights.any()]
    if not filled:
        return Chart(band, "", ())
    low, high = min(f[0] for f in filled), max(f[-1] for f in filled)
    most = max(heights.max() for _, _, heights in lines)
    bottom, parts = HEIGHT - BOTTOM, []
    for value in ticks(low, high, 6):
        x = 8 + (value - low) / ((high - low) or 1) * (WIDTH - 16)
        parts.append(f'<path class="grid" d="M{x:.1f} {TOP}V{bottom}"/>')
        parts.append(f'<text x="{x:.1f}" y="{HEIGHT - 7}" text-anchor="middle">{value:g}</text>')
    for split, edges, heights in lines:
        xs = 8 + (edges - low) / ((high - low) or 1) * (WIDTH - 16)
        ys = bottom - heights / most * (bottom - TOP)
        shown = (xs[:-1] >= 0) & (xs[1:] <= WIDTH + 8)
        steps = "".join(
            f"L{a:.1f} {y:.1f}H{b:.1f}"
            for a, b, y in zip(xs[:-1][shown], xs[1:][shown], ys[shown], strict=True)
        )
        parts.append(f'<path class="line {escape(split)}" d="M{steps[1:]}"/>')
    label = f"Values of {band} in {', '.join(looks)}."
    svg = (
        f'<svg class="chart" viewBox="0 0 {WIDTH:g} {HEIGHT:g}" role="img" '
        f'aria-label="{escape(label)}">{"".join(parts)}</svg>'
    )
    return Chart(band, svg, tuple((split, escape(split)) for split in looks))
