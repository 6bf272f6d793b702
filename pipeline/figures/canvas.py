"""What all figures share: the sheet, the panels, the colours, the file.

Figures are built without pyplot, so nothing is shared between them, and their files repeat byte
by byte. Amounts are shown in viridis, signed values in a diverging map centred on zero, counts in
shades of one hue: all can be told apart by the colour-blind.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from textwrap import fill
from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from matplotlib.image import AxesImage
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.patches import Rectangle
from matplotlib.textpath import TextPath
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

if TYPE_CHECKING:
    from matplotlib.axes import Axes

DPI = 150
INK = "#222222"
FAINT = "#6b6b6b"
SIGNED = "RdBu_r"
AMOUNT = "viridis"
MARGIN = 0.2  # inches
TITLE, LINE = 0.55, 0.22  # inches of a title, and of each further line of it
WORDS = 2.6  # inches that words at the left of a row may take
BOLD = 1.13  # width of bold letters over that of plain ones
LETTERS = 15.5  # of a caption, an inch


def save(figure: Figure, path: Path) -> Path:
    """Write a PNG without time and version, so that the same figure gives the same bytes."""
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=DPI, metadata={"Software": None}, facecolor="white")
    return path


@dataclass(frozen=True, slots=True)
class Stretch:
    """From raw values to brightness, a channel at a time: ``low`` is black, ``high`` white."""

    low: NDArray[np.float64]
    high: NDArray[np.float64]

    @classmethod
    def of(cls, pixels: NDArray[Any], valid: NDArray[np.bool_] | None = None) -> Stretch:
        """Percentiles 2 to 98 of each channel of (..., C), over valid pixels (...) if given."""
        flat = pixels.reshape(-1, pixels.shape[-1]) if valid is None else pixels[valid]
        if not len(flat):
            flat = np.zeros((1, pixels.shape[-1]))
        low, high = np.percentile(flat.astype(np.float64), (2, 98), axis=0)
        return cls(low, np.where(high > low, high, low + 1))

    def apply(self, pixels: NDArray[Any]) -> NDArray[np.float64]:
        """Values from 0 to 1, of the same shape."""
        scaled = (pixels.astype(np.float64) - self.low) / (self.high - self.low)
        return np.asarray(np.clip(np.nan_to_num(scaled), 0.0, 1.0))


def sheet(width: float, height: float, title: str, caption: str = "") -> Figure:
    """An empty figure of so many inches, laid out by matplotlib."""
    figure = Figure(figsize=(width, height), layout=ConstrainedLayoutEngine(w_pad=0.1, h_pad=0.1))
    figure.suptitle(title, x=0.02, ha="left", fontsize=12, fontweight="bold", color=INK)
    if caption:
        text = fill(caption, int(width * LETTERS))
        figure.supxlabel(text, x=0.02, ha="left", fontsize=8, color=FAINT, linespacing=1.4)
    return figure


def canvas(
    width: float, height: float, unit: float, title: str, caption: str
) -> tuple[Figure, Axes]:
    """A figure with axes of width x height units, ``unit`` inches each; rows grow downwards."""
    inches = max(6.0, unit * width + 2 * MARGIN)
    text = fill(caption, int((inches - 2 * MARGIN) * LETTERS))
    below = 0.2 + 0.16 * (1 + text.count("\n")) + MARGIN
    look: dict[str, Any] = {"fontsize": 12, "fontweight": "bold", "color": INK}
    title = _halved(title, inches - 2 * MARGIN, BOLD * look["fontsize"])
    total = TITLE + LINE * title.count("\n") + unit * height + below
    figure = Figure(figsize=(inches, total))
    x = MARGIN / inches
    figure.text(x, 1 - MARGIN / total, title, ha="left", va="top", **look)
    figure.text(x, MARGIN / total, text, va="bottom", fontsize=8, color=FAINT, linespacing=1.4)
    axes = figure.add_axes((x, below / total, unit * width / inches, unit * height / total))
    axes.set(xlim=(0, width), ylim=(height, 0))
    axes.set_axis_off()
    return figure, axes


def fitted(text: str, inches: float, size: float) -> str:
    """A line that is no wider; of a longer one the middle goes, as its end tells tiles apart."""
    kept, shown = len(text), text
    while kept > 2 and _width(shown, size) > inches:
        kept -= 1
        shown = text[: kept - kept // 2] + "\u2026" + text[len(text) - kept // 2 :]
    return shown


def stacked(text: str, inches: float, size: float) -> str:
    """Words below each other, where they are wider in one line."""
    if _width(text, size) <= inches:
        return text
    words = text.replace("_", " ").split()
    return "\n".join(fitted(word, inches, size) for word in words)


def beside(headings: Sequence[str], size: float, least: float) -> tuple[float, list[str]]:
    """Inches for what stands at the left of rows, in lines, and the same without what is beyond."""
    shown = ["\n".join(fitted(line, WORDS, size) for line in one.split("\n")) for one in headings]
    widest = max((_width(line, size) for one in shown for line in one.split("\n")), default=0.0)
    return max(least, widest + 0.2), shown


def _halved(text: str, inches: float, size: float) -> str:
    """A title in two lines, if one does not hold it; what even these don't hold is left out."""
    if _width(text, size) <= inches:
        return text
    words = text.split(" ")
    cuts = [(" ".join(words[:i]), " ".join(words[i:])) for i in range(1, len(words))]
    best = min(cuts, key=lambda cut: max(map(len, cut)), default=(text, ""))
    return "\n".join(fitted(line, inches, size) for line in best if line)


def _width(text: str, size: float) -> float:
    """Inches that a line takes in letters of so many points."""
    return float(TextPath((0, 0), text, size=size).get_extents().width) / 72


def panel(
    axes: Axes, image: NDArray[Any], x: float, y: float, size: tuple[float, float], **look: Any
) -> None:
    """Draw an image with its upper left corner at (x, y)."""
    width, height = size
    # Not ``imshow``, which looks at all that is drawn so far and is slow for a thousand panels.
    norm = Normalize(look["vmin"], look["vmax"]) if look else None
    drawn = AxesImage(
        axes,
        cmap=look.get("cmap"),
        norm=norm,
        interpolation="nearest",
        extent=(x, x + width, y + height, y),
        origin="upper",
        zorder=1,
    )
    drawn.set_data(image)
    axes.add_image(drawn)
    axes.add_patch(
        Rectangle((x, y), width, height, fill=False, edgecolor="#999999", linewidth=0.5, zorder=2)
    )


def bar(figure: Figure, axes: Axes, place: Sequence[float], look: dict[str, Any]) -> None:
    """A colour bar at (x, y, width, height) of a canvas's own units."""
    scale = axes.inset_axes((place[0], place[1], place[2], place[3]), transform=axes.transData)
    mappable = ScalarMappable(Normalize(look["vmin"], look["vmax"]), look["cmap"])
    low, high = look["vmin"], look["vmax"]
    ticks = [
        tick
        for tick in MaxNLocator(3, steps=[1, 2, 2.5, 5, 10]).tick_values(low, high)
        if low <= tick <= high
    ]
    figure.colorbar(mappable, cax=scale, ticks=ticks)
    scale.tick_params(labelsize=7, length=2, color=FAINT, labelcolor=FAINT)


def symmetric(values: NDArray[Any], percentile: float = 100.0) -> dict[str, Any]:
    """A diverging map with white at zero, up to a percentile of the magnitudes."""
    most = float(np.percentile(np.abs(values), percentile)) if values.size else 0.0
    most = most or float(np.abs(values).max(initial=0.0)) or 1.0
    return {"cmap": SIGNED, "vmin": -most, "vmax": most}


def look_of(values: NDArray[Any]) -> dict[str, Any]:
    """Diverging for values of both signs, from zero upwards for the others."""
    if values.size and values.min() < 0:
        return symmetric(values)
    return {"cmap": AMOUNT, "vmin": 0.0, "vmax": float(values.max(initial=0.0)) or 1.0}
