"""Filters of a convolution: as colour tiles, channel by channel, and how they weigh each band."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from pipeline.figures.canvas import FAINT, INK, bar, canvas, look_of, panel, symmetric
from pipeline.types import Bands

MOST_CHANNELS = 16  # of a filter that are shown
SMALLEST = 0.3  # inches that a channel of a filter is wide
LETTER = 0.085  # inches that a letter of a label takes, about


def columns(count: int, width: float, height: float) -> int:
    """Columns of a grid of such panels about 1.7 times as wide as high."""
    return max(1, min(count, round(math.sqrt(1.7 * count * height / width))))


def in_colour(
    weights: NDArray[Any],
    labels: Sequence[str],
    bands: Bands,
    chosen: tuple[int, int, int],
    title: str,
    caption: str = "",
) -> Figure:
    """Filters (F, C, kh, kw) that see the bands themselves, three of these as colours.

    Args:
        weights: In the order in which they are shown.
        labels: One a filter.
        bands: Names of the C channels.
        chosen: Positions of those to show as red, green and blue.
        title: Over everything.
        caption: Below, after what the colours mean.
    """
    shown = weights[:, list(chosen)].transpose(0, 2, 3, 1)
    wide = max(1.15, 0.2 + LETTER / 0.62 * max(map(len, labels)))
    across = columns(len(shown), wide, 1.4)
    names = ", ".join(bands.names[i] for i in chosen)
    figure, axes = canvas(
        across * wide,
        -(-len(shown) // across) * 1.4,
        0.62,
        title,
        f"Red, green, blue = weights of {names}. Grey is zero, brighter positive, darker negative; "
        f"each filter is scaled by its own largest weight of these bands. {caption}".strip(),
    )
    for i, (image, label) in enumerate(zip(shown, labels, strict=True)):
        x, y = (i % across) * wide, (i // across) * 1.4 + 0.3
        most = float(np.abs(image).max()) or 1.0
        panel(axes, 0.5 + image / (2 * most), x + (wide - 1.15) / 2, y, (1, 1))
        axes.text(x + wide / 2 - 0.075, y - 0.06, label, ha="center", fontsize=8, color=FAINT)
    return figure


def by_channel(
    weights: NDArray[Any],
    labels: Sequence[str],
    channels: Sequence[str],
    title: str,
    caption: str = "",
) -> Figure:
    """Filters (F, C, kh, kw), each a strip of its C input channels, on one scale around zero.

    Of many channels those are shown that weigh most in these filters together.
    """
    depth = weights.shape[1]
    kept = heaviest(weights)
    shown = weights[:, kept]
    cut = f" The {len(kept)} heaviest of {depth} input channels." if len(kept) < depth else ""
    count, depth = shown.shape[:2]
    names = [channels[k] for k in kept]
    numbers = all(name.isdigit() for name in names)
    margin = 0.3 + LETTER / 0.6 * max(map(len, labels))
    wide = depth + margin + 0.3
    across = min(columns(count, wide, 1.15), max(1, int(11.5 / (SMALLEST * wide))))
    rows = -(-count // across)
    top = 0.5 + (0.0 if numbers else 0.7 * LETTER / 0.6 * max(map(len, names)))
    width, height = across * wide, rows * 1.15 + top
    unit = min(0.6, 11.5 / width)
    figure, axes = canvas(
        width + 0.7 / unit,  # for the colour bar
        height,
        unit,
        title,
        "Columns are input channels. White is zero, red positive, blue negative; one scale for "
        f"all, so that faint filters look faint.{cut} {caption}".strip(),
    )
    look = symmetric(shown)
    small = max(6.0, 8 * min(1.0, unit / 0.45))
    for i, strip in enumerate(shown):
        x, y = (i // rows) * wide + margin, (i % rows) * 1.15 + top
        axes.text(x - 0.12, y + 0.5, labels[i], ha="right", va="center", fontsize=small,
                  color=FAINT)  # fmt: skip
        for c, image in enumerate(strip):
            panel(axes, image, x + c, y, (0.96, 1.0), **look)
            if i % rows == 0:
                _heading(axes, x + c, y - 0.1, names[c], numbers, small)
    place = (width + 0.05 / unit, top, 0.12 / unit, min(2.4 / unit, height - top - 0.15))
    bar(figure, axes, place, look)
    return figure


def _heading(axes: Axes, x: float, y: float, text: str, level: bool, size: float) -> None:
    if level:
        axes.text(x + 0.48, y, text, fontsize=size, color=INK, ha="center")
    else:
        axes.text(x + 0.35, y, text, fontsize=size, color=INK, rotation=45, rotation_mode="anchor")


def heaviest(weights: NDArray[Any]) -> list[int]:
    """Input channels of (F, C, kh, kw) with the largest norm over all filters, in their order."""
    norms = np.square(weights.astype(np.float64)).sum(axis=(0, 2, 3))
    return sorted(np.argsort(-norms, kind="stable")[:MOST_CHANNELS].tolist())


def response(
    weights: NDArray[Any],
    labels: Sequence[str],
    channels: Sequence[str],
    title: str,
    caption: str = "",
) -> Figure:
    """How much each channel weighs in each filter: sums of weights, and their norms.

    Arguments as those of ``by_channel``.
    """
    kept = heaviest(weights)
    cut = f" The {len(kept)} heaviest of {weights.shape[1]}." if len(kept) < len(channels) else ""
    some = weights[:, kept].astype(np.float64)
    parts = {
        "sum of weights": some.sum(axis=(2, 3)).T,
        "norm of weights": np.sqrt(np.square(some).sum(axis=(2, 3))).T,
    }
    count, depth = len(weights), len(kept)
    names = [channels[k] if not channels[k].isdigit() else f"channel {channels[k]}" for k in kept]
    cell = max(0.17, min(0.34, 10.0 / count))
    left = (0.3 + LETTER * max(map(len, names))) / cell
    foot = (0.1 + LETTER * max(map(len, labels))) / cell
    tall = depth + 1.9
    figure, axes = canvas(
        left + count + 0.75 / cell,
        len(parts) * tall + foot,
        cell,
        title,
        "Columns are filters, rows their input channels. The sum is what a filter answers to a "
        "flat surface that is brighter by 1 in that channel: red positive, blue negative. The "
        f"norm counts texture too.{cut} {caption}".strip(),
    )
    for k, (heading, values) in enumerate(parts.items()):
        y = k * tall + 1.2
        look = symmetric(values) if values.min() < 0 else look_of(values)
        axes.text(left, y - 0.25, heading, fontsize=9, color=INK, va="bottom")
        panel(axes, values, left, y, (count, depth), **look)
        bar(figure, axes, (left + count + 0.15 / cell, y, 0.12 / cell, depth), look)
        for row, name in enumerate(names):
            axes.text(left - 0.1 / cell, y + row + 0.5, name, ha="right", va="center", fontsize=8,
                      color=INK)  # fmt: skip
    below = len(parts) * tall - 0.7 + 0.05 / cell
    for i, label in enumerate(labels):
        axes.text(left + i + 0.5, below, label, rotation=90, ha="center", va="top", fontsize=7,
                  color=FAINT)  # fmt: skip
    return figure
