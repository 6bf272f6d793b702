"""Kernels made by hand: over a band of some tiles, and one window of it in numbers."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from numpy.typing import NDArray

from pipeline.figures.canvas import (
    AMOUNT,
    FAINT,
    INK,
    SIGNED,
    beside,
    canvas,
    look_of,
    panel,
    symmetric,
)
from pipeline.kernels import PADDINGS, Slid, Slide, edges

WINDOW, NEXT = "#c2410c", "#1d4ed8"  # frames; told apart by the colour-blind
IN_CELLS = 3  # digits of a number in a cell
CORNER = 9  # pixels of the corner that is drawn as a grid
SHADES = {
    "gray": "likewise",
    SIGNED: "around zero, which is white: red above it, blue below",
    AMOUNT: "from zero, dark, to the largest, yellow",
}
BEYOND = 0.05  # inches that a frame may reach beyond an image, where the window does
CELLS = 7  # a side of a kernel up to which numbers are written out


def over_tiles(
    tiles: Sequence[tuple[str, NDArray[Any]]],
    answers: dict[str, NDArray[Any]],
    masks: dict[str, NDArray[Any]],
    band: str,
) -> Figure:
    """A band of some tiles, and hand-made kernels run over it.

    Args:
        tiles: Heading and (H, W) raw values of the band, tile by tile.
        answers: Kernel's name -> (tiles, H, W).
        masks: Kernel's name -> its (kh, kw) weights.
        band: Name of the band.
    """
    top = 1.2
    words, headings = beside([name for name, _ in tiles], 8, 1.2)
    columns = 1.06 * (1 + len(answers))
    unit = min(1.2, (11.0 - words) / columns)
    left = words / unit
    figure, axes = canvas(
        left + columns,
        top + 1.06 * len(tiles),
        unit,
        f"Hand-made kernels on the band {band}",
        "Blurs and sharpening in the grey scale of the band, stretched from percentile 2 to 98 "
        "over these tiles; edges on a scale around zero (white) for each kernel, up to "
        "percentile 99.5.",
    )
    values = np.stack([image for _, image in tiles])
    low, high = np.percentile(values, (2, 98))
    grey = {"cmap": "gray", "vmin": low, "vmax": max(high, low + 1e-9)}
    axes.text(left + 0.5, 1.13, band, ha="center", fontsize=8, color=INK)
    for row, (name, (_, image)) in enumerate(zip(headings, tiles, strict=True)):
        y = top + 1.06 * row
        axes.text(left - 0.1, y + 0.5, name, ha="right", va="center", fontsize=8, color=INK)
        panel(axes, image, left, y, (1, 1), **grey)
    for col, (name, images) in enumerate(answers.items(), start=1):
        x = left + 1.06 * col
        _numbers(axes, masks[name], x + 0.1, 0.05, 0.8, 6)
        axes.text(x + 0.5, 1.13, name.replace("_", " "), ha="center", fontsize=8, color=INK)
        flat = edges(masks[name])
        for row, image in enumerate(images):
            look = symmetric(images, 99.5) if flat else grey
            panel(axes, image, x, top + 1.06 * row, (1, 1), **look)
    return figure


def _numbers(
    axes: Axes, weights: NDArray[Any], x: float, y: float, side: float, size: float, **look: Any
) -> None:
    """Numbers on their colours, in a panel whose longer side is so many units."""
    rows, cols = weights.shape
    cell = side / max(rows, cols)
    look = look or symmetric(1.4 * weights)
    panel(axes, weights, x, y, (cell * cols, cell * rows), **look)
    middle, half = (look["vmin"] + look["vmax"]) / 2, (look["vmax"] - look["vmin"]) / 2
    signed = look["cmap"] != "gray"
    for row, col in np.ndindex(rows, cols):
        value = float(weights[row, col])
        away = (value - middle) / half
        dark = abs(away) > 0.64 if signed else away < 0
        axes.text(
            x + cell * (col + 0.5),
            y + cell * (row + 0.5),
            told(value, IN_CELLS),
            ha="center",
            va="center",
            fontsize=size,
            color="white" if dark else INK,
            zorder=3,
        )


def told(value: float, digits: int = 4) -> str:
    """A number in few letters: a simple fraction where it is one, with a real minus."""
    near = Fraction(value).limit_denominator(64)
    exact = abs(float(near) - value) <= 1e-6 * abs(value)
    if 1000 <= abs(value) < 1e7:
        text = f"{value:.0f}"
    elif (exact and abs(near.numerator) < 100) or (exact and near.denominator == 1):
        text = str(near)
    else:
        text = f"{value:.{digits}g}"
    return text.replace("-", "\N{MINUS SIGN}")


def sliding(slid: Slid, title: str) -> Figure:
    """One window in numbers, what comes out of all, and how padding, stride, dilation lay it."""
    answers = [
        Slide(way, slid.slide.stride, slid.slide.dilation).apply(slid.band, slid.kernel)
        for way in PADDINGS
    ]
    look = _look(slid, answers[PADDINGS.index("same")])  # false edges would outshine all others
    below = 6.5 if max(slid.kernel.shape) <= CELLS else 4.4
    figure, axes = canvas(
        10.4,
        below + 2.5,
        1.0,
        title,
        f"Padding {slid.slide.padding}, stride {slid.slide.stride}, dilation "
        f"{slid.slide.dilation}. The band from percentile 2, black, to 98, white; answers "
        f"{SHADES[look['cmap']]}. As in a network the kernel is not "
        "turned round (cross-correlation). same repeats the pixels at the edge, zeros pads with 0 "
        "as a convolution layer does, valid pads nothing.",
    )
    _whole(axes, slid, look)
    _window(axes, slid, 3.35)
    _corner(axes, slid, 0.0, below)
    _paddings(axes, answers, look, 3.2, below)
    return figure


def _grey(values: NDArray[Any]) -> dict[str, Any]:
    low, high = np.percentile(values, (2, 98))
    return {"cmap": "gray", "vmin": low, "vmax": max(high, low + 1e-9)}


def _look(slid: Slid, answer: NDArray[Any]) -> dict[str, Any]:
    if edges(slid.kernel):
        return symmetric(answer, 99.5)
    kept = abs(float(slid.kernel.sum()) - 1) < 1e-4
    return _grey(slid.band) if kept else look_of(answer)


def _size(shape: Sequence[int]) -> str:
    return " x ".join(map(str, shape))


def _fitted(shape: Sequence[int], side: float) -> tuple[float, float]:
    """Width and height of an image whose longer side is so long."""
    scale = side / max(shape)
    return shape[1] * scale, shape[0] * scale


def _framed(
    axes: Axes,
    shape: Sequence[int],
    corner: tuple[float, float],
    box: tuple[int, int, int, int],
    side: float,
) -> None:
    """A frame round rows and columns (first, count, first, count) of an image."""
    cell = side / max(shape)
    ends = np.array([[box[2], box[0]], [box[2] + box[3], box[0] + box[1]]]) * cell
    edge = np.array([shape[1], shape[0]]) * cell + BEYOND
    (left, top), (right, bottom) = np.clip(ends, -BEYOND, edge)
    for colour, thick in (("white", 3.2), (WINDOW, 1.6)):
        axes.add_patch(
            Rectangle((corner[0] + left, corner[1] + top), right - left, bottom - top,
                      fill=False, edgecolor=colour, linewidth=thick, zorder=5)
        )  # fmt: skip


def _whole(axes: Axes, slid: Slid, shown: dict[str, Any]) -> None:
    """Band, kernel and answer, the window and its answer framed."""
    side, top = 2.8, 0.3
    answer = slid.answer
    heading: dict[str, Any] = {"fontsize": 9, "color": INK}
    axes.text(0, top - 0.1, f"band, {_size(slid.band.shape)}", **heading)
    panel(axes, slid.band, 0, top, _fitted(slid.band.shape, side), **_grey(slid.band))
    height, width = slid.slide.reach(slid.kernel)
    row, column = slid.start
    _framed(axes, slid.band.shape, (0, top), (row, height, column, width), side)
    axes.text(3.5, top - 0.1, f"{slid.name}, {_size(slid.kernel.shape)}", **heading)
    if max(slid.kernel.shape) <= CELLS:
        _numbers(axes, slid.kernel, 3.5, top, side, _letters(slid.kernel, side))
    else:
        look = symmetric(slid.kernel)
        panel(axes, slid.kernel, 3.5, top, _fitted(slid.kernel.shape, side), **look)
    axes.text(7.0, top - 0.1, f"answer, {_size(answer.shape)}", **heading)
    panel(axes, answer, 7.0, top, _fitted(answer.shape, side), **shown)
    _framed(axes, answer.shape, (7.0, top), (slid.place[0], 1, slid.place[1], 1), side)


def _letters(values: NDArray[Any], side: float) -> float:
    """Points in which numbers fit into their cells."""
    cell = 72 * side / max(values.shape)
    longest = max(len(told(float(value), IN_CELLS)) for value in values.flat)
    return float(min(13.0, 0.45 * cell, 1.45 * cell / max(longest, 3)))


def _window(axes: Axes, slid: Slid, top: float) -> None:
    """Values, weights, products, and their sum."""
    row, column = slid.place
    heading = f"the window for row {row}, column {column} of the answer, counted from 0"
    axes.text(0, top, heading, fontsize=9, color=INK)
    window, total = slid.window, float(slid.answer[slid.place])
    if max(slid.kernel.shape) > CELLS:
        axes.text(0, top + 0.5, f"Too large to write out; the sum is {told(total)}.", fontsize=9,
                  color=INK)  # fmt: skip
        return
    parts: tuple[tuple[NDArray[Any], dict[str, Any], str], ...] = (
        (window, _grey(slid.band), "\N{MULTIPLICATION SIGN}"),
        (slid.kernel, {}, "="),
        (slid.products, {}, ""),
    )
    side, y = 2.2, top + 0.15
    size = min(_letters(values, side) for values, _, _ in parts)
    middle = y + _fitted(window.shape, side)[1] / 2
    for k, (values, look, sign) in enumerate(parts):
        x = k * 2.75
        _numbers(axes, values, x, y, side, size, **look)
        axes.text(x + 2.475, middle, sign, ha="center", va="center", fontsize=15, color=INK)
    axes.text(7.85, middle, f"sum\n= {told(total)}", va="center", fontsize=14, color=WINDOW)


def _corner(axes: Axes, slid: Slid, x: float, top: float) -> None:
    """The band's corner as a grid: the taps of the first window, and of the next one."""
    slide, side = slid.slide, 2.0
    above, left = slide.before(slid.kernel)
    height, width = slide.reach(slid.kernel)
    shown = min(max(CORNER, max(height, width) + slide.stride), *slid.band.shape)
    rows, columns = shown + above, shown + left
    cell = side / max(rows, columns)
    axes.text(x, top - 0.1, "first window, red, and next, blue", fontsize=9, color=INK)
    for row, column in np.ndindex(rows, columns):
        made_up = row < above or column < left
        axes.add_patch(
            Rectangle((x + column * cell, top + row * cell), cell, cell, linewidth=0.5,
                      edgecolor="#999999", facecolor="#e5e7eb" if made_up else "white",
                      linestyle=":" if made_up else "-")
        )  # fmt: skip
    for k, (colour, inset) in enumerate(((WINDOW, 0.12), (NEXT, 0.27))):
        for row, column in np.ndindex(*slid.kernel.shape):
            place = column * slide.dilation + k * slide.stride
            corner = (x + (place + inset) * cell, top + (row * slide.dilation + inset) * cell)
            if place < columns and row * slide.dilation < rows:
                part = (1 - 2 * inset) * cell
                axes.add_patch(Rectangle(corner, part, part, color=colour, linewidth=0))
    axes.text(
        x, top + rows * cell + 0.2, "corner of the band; grey: padding", fontsize=8, color=FAINT
    )


def _paddings(
    axes: Axes, answers: Sequence[NDArray[Any]], look: dict[str, Any], x: float, top: float
) -> None:
    """The answer with each padding, on one scale, at its own size."""
    most = max(max(answer.shape) for answer in answers)
    for k, (way, answer) in enumerate(zip(PADDINGS, answers, strict=True)):
        place, side = x + 2.4 * k, 2.0 * max(answer.shape) / most
        axes.text(place, top - 0.1, f"{way}: {_size(answer.shape)}", fontsize=9, color=INK)
        panel(axes, answer, place, top, _fitted(answer.shape, side), **look)
