"""The comparison as one page: pictures inline, nothing of it anywhere else."""

from __future__ import annotations

import base64
import io
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from pipeline import paired, report
from pipeline.comparison import terminal
from pipeline.comparison.outcome import Outcome
from pipeline.comparison.pairs import MOST, Pair, Spread
from pipeline.errors import StoreError
from pipeline.paired import Difference
from pipeline.report import Cell
from pipeline.store import ROOT, Store
from pipeline.types import Classes

TEMPLATE = "compare.html.j2"
SAMPLED = 500  # tiles, about, whose brightness is looked at


@dataclass(frozen=True, slots=True)
class Bar:
    """A difference as the page draws it: shares of the width, zero in the middle."""

    what: str
    text: str
    low: float
    high: float
    at: float
    clear: bool


def write(
    outcomes: Sequence[Outcome], pairs: Sequence[Pair], spread: Sequence[Spread], path: Path
) -> None:
    """Write the page; tiles that two runs see differently are shown from the store at hand."""
    shown = [item for pair in pairs for item in pair.disagreements]
    tiles = thumbnails({item.tile: item.actual for item in shown})
    reach = max([abs(part) for pair in pairs for part in _ends(pair)], default=0.0) or 1.0
    page = report.render(
        TEMPLATE,
        outcomes=outcomes,
        pairs=[(pair, bars(pair, reach)) for pair in pairs],
        sentences=terminal.sentences(pairs),
        parameters=terminal.parameters(outcomes),
        measures=terminal.measures(outcomes),
        spread=spread,
        label=terminal.label,
        p=paired.shown,
        matrices=[(place, matrix(outcome)) for place, outcome in enumerate(outcomes)],
        colours=_colours(outcomes),
        tiles=tiles,
        most=MOST,
    )
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(page, encoding="utf-8")


def _ends(pair: Pair) -> Iterable[float]:
    if pair.result is None:
        return []
    both = (*pair.result.accuracy, *pair.result.macro_f1)
    return [part for part in both if not np.isnan(part)]


def bars(pair: Pair, reach: float) -> list[Bar]:
    """The differences of a pair on a scale that goes ``reach`` to either side."""
    if pair.result is None:
        return []
    return [
        _bar(what, difference, reach)
        for what, difference in (
            ("accuracy", pair.result.accuracy),
            ("macro F1", pair.result.macro_f1),
        )
    ]


def _bar(what: str, difference: Difference, reach: float) -> Bar:
    value, low, high = (100 * part for part in difference)
    known = not np.isnan(low)
    text = f"{value:+.1f}" + (f" ({low:+.1f} to {high:+.1f})" if known else "")
    ends = (difference.low, difference.high) if known else (difference.value, difference.value)
    low, high, at = (50 + 48 * part / reach for part in (*ends, difference.value))
    return Bar(what, text, low, high, at, difference.is_clear)


def matrix(outcome: Outcome) -> list[tuple[str, list[Cell]]] | None:
    """The confusion matrix as the page shows it."""
    counts = outcome.counts
    if counts is None:
        return None
    return report.cells(counts, Classes(tuple(outcome.classes)))


def _colours(outcomes: Sequence[Outcome]) -> dict[str, str]:
    """A colour a class."""
    names = tuple(dict.fromkeys(name for outcome in outcomes for name in outcome.classes))
    return dict(zip(names, Classes(names).colours, strict=True))


def thumbnails(wanted: dict[str, str], root: Path = ROOT) -> dict[str, str]:
    """Tiles in natural colour as data URLs, by id: those that the store has, with this class.

    Brightness is that of the training tiles, so that a tile looks the same on every page.
    """
    from pipeline.figures.canvas import Stretch

    try:
        store = Store.open(root)
    except StoreError:
        return {}
    index = store.index
    rows = np.flatnonzero(index["id"].isin(list(wanted)))
    tiles = [store.tile(int(row)) for row in rows]
    names = store.classes.names
    tiles = [tile for tile in tiles if names and names[tile.label] == wanted[tile.id]]
    if not tiles:
        return {}
    natural = list(store.bands.natural)
    pixels = np.stack([tile.pixels for tile in tiles])[..., natural]
    step = max(1, store.count("train") // SAMPLED)
    shown = Stretch.of(store.pixels("train", slice(None, None, step))[..., natural]).apply(pixels)
    return {tile.id: _png(picture) for tile, picture in zip(tiles, shown, strict=True)}


def _png(picture: Any) -> str:
    from matplotlib.image import imsave

    file = io.BytesIO()
    imsave(file, picture, format="png")
    return "data:image/png;base64," + base64.b64encode(file.getvalue()).decode()
