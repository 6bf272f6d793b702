"""One tile: in natural and false colour, and each band in grey."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from pipeline.figures.canvas import FAINT, INK, Stretch, canvas, fitted, panel
from pipeline.portrait import BandValues, Portrait
from pipeline.types import Bands

SIDE = 1.6  # inches of a panel
ACROSS = 6  # panels
BAR = 2.2  # inches of a probability of 1


@dataclass(frozen=True, slots=True)
class Colour:
    """Three bands as a colour picture."""

    bands: tuple[int, int, int]  # positions, as red, green and blue
    stretch: Stretch  # of all bands
    how: str  # in words


def portrait(
    of: Portrait,
    bands: Bands,
    stretch: Stretch,
    how: str,
    colours: Mapping[str, Colour],
    probabilities: Sequence[tuple[str, str, float]],
    lines: Sequence[tuple[str, str]],
) -> Figure:
    """A tile, its bands, what is known of it, and what a network says.

    Args:
        of: The tile and its values.
        bands: Names of the last axis.
        stretch: From values to grey.
        how: What the stretch is, in words.
        colours: Name of a colour picture -> how it is made.
        probabilities: Class, colour and probability, in the order of the classes; or none.
        lines: Heading and words.
    """
    panels = 2 + len(bands)
    across = min(ACROSS, panels)
    rows = -(-panels // across)
    step, high = SIDE + 0.25, SIDE + 0.75
    below = max(0.22 * len(lines), 0.22 * len(probabilities) + 0.3) + 0.3
    width = max(across * step - 0.25, 9.0 if probabilities else 6.4)
    figure, axes = canvas(
        width,
        rows * high + below,
        1.0,
        of.tile.id,
        f"Each band from black to white as given below it: {how} "
        + " ".join(f"{name.capitalize()}: {_told(one, bands)}." for name, one in colours.items()),
    )
    shown = stretch.apply(of.tile.pixels)
    for i, (name, colour) in enumerate(colours.items()):
        image = colour.stretch.apply(of.tile.pixels)[..., list(colour.bands)]
        ends = [_ends(colour.stretch.low[k], colour.stretch.high[k]) for k in colour.bands]
        _panel(axes, image, i, across, step, high, name, ends)
    for k, value in enumerate(of.values):
        said = [_ends(stretch.low[k], stretch.high[k]), _mean(value)]
        look = {"cmap": "gray", "vmin": 0.0, "vmax": 1.0}
        _panel(axes, shown[..., k], k + 2, across, step, high, value.band, said, **look)
    top = rows * high + 0.1
    room = width - (4.7 if probabilities else 0.0) - 0.8
    for i, (heading, words) in enumerate(lines):
        y = top + 0.22 * (i + 0.5)
        axes.text(0, y, heading, fontsize=8, color=FAINT, va="center")
        indent = 0.18 if heading == "label" and of.colour else 0.0
        if indent:
            axes.add_patch(Rectangle((0.7, y - 0.06), 0.12, 0.12, color=of.colour))
        axes.text(0.7 + indent, y, fitted(words, room, 8), fontsize=8, color=INK, va="center")
    _bars(axes, probabilities, of.label, width - 4.3, top)
    return figure


def _told(colour: Colour, bands: Bands) -> str:
    return f"{', '.join(bands.names[k] for k in colour.bands)} as red, green, blue, {colour.how}"


def _ends(low: float, high: float) -> str:
    return f"{low:.5g} to {high:.5g}"


def _mean(value: BandValues) -> str:
    return (
        f"mean {value.mean:.4g} ± {value.deviation:.3g}\n"
        f"training {value.usual_mean:.4g} ± {value.usual_deviation:.3g}"
    )


def _panel(
    axes: Axes, image: object, i: int, across: int, step: float, high: float, heading: str,
    below: Sequence[str], **look: object,
) -> None:  # fmt: skip
    x, y = (i % across) * step, (i // across) * high + 0.2
    axes.text(x, y - 0.06, fitted(heading, SIDE, 8.5), fontsize=8.5, color=INK)
    panel(axes, image, x, y, (SIDE, SIDE), **look)  # type: ignore[arg-type]
    axes.text(x, y + SIDE + 0.06, "\n".join(below), fontsize=7, color=FAINT, va="top",
              linespacing=1.3)  # fmt: skip


def _bars(
    axes: Axes, probabilities: Sequence[tuple[str, str, float]], label: str, x: float, top: float
) -> None:
    """A bar a class; the true one in bold."""
    if probabilities:
        axes.text(x, top + 0.1, "the network's probabilities", fontsize=8, color=FAINT, va="center")
    for i, (name, colour, share) in enumerate(probabilities):
        y = top + 0.3 + 0.22 * (i + 0.5)
        weight = "bold" if name == label else "normal"
        axes.text(x + 1.5, y, fitted(name, 1.45, 8.5), ha="right", va="center", fontsize=8,
                  color=INK, fontweight=weight)  # fmt: skip
        axes.add_patch(Rectangle((x + 1.6, y - 0.07), BAR * share, 0.14, color=colour))
        axes.text(x + 1.66 + BAR * share, y, percent(share), va="center", fontsize=7.5, color=INK)


def percent(share: float) -> str:
    """A probability; of a tiny one the first digit, as 0.0% would hide how tiny."""
    return f"{share:.1%}" if share >= 0.0005 or share == 0 else f"{100 * share:.1g}%"
