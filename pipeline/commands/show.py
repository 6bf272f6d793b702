"""Show tiles of the store: what they are, their values, what the network says of them."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from pipeline import picking, reconstruction, shift
from pipeline.console import say, table
from pipeline.errors import BundleError, ConfigError
from pipeline.figures import canvas
from pipeline.figures.canvas import Stretch
from pipeline.figures.distorted import SPREAD, stretch_of
from pipeline.figures.portrait import Colour, percent, portrait
from pipeline.portrait import BandValues, Portrait
from pipeline.store import Store
from pipeline.trained import Trained

if TYPE_CHECKING:
    from rich.table import Table

    from pipeline.schema import EngineSection

OUT = Path("reports/show")
STRETCHES = {
    "tile": "percentile 2 to 98 of this tile.",
    "training": f"{SPREAD:g} deviations about the mean of the training tiles.",
}


def run(
    engine: EngineSection,
    tile: str | None = None,
    label: str | None = None,
    worst: bool = False,
    within: str | None = None,
    count: int = 1,
    stretch: str = "tile",
    out: str | None = None,
) -> None:
    """Print what there is to know of some tiles, and draw a picture of each.

    Args:
        engine: Threads.
        tile: A number, a range or an id; else tiles of a class are taken.
        label: The class.
        worst: Those to whose true class the network gives the least probability.
        within: Split of the tiles; numbers then count within it.
        count: Tiles of a class.
        stretch: Whose values give black and white, ``tile`` or ``training``.
        out: A PNG, or a folder.
    """
    if stretch not in STRETCHES:
        raise ConfigError(f"Expected {' or '.join(STRETCHES)} in --stretch, got {stretch!r}.")
    store = Store.open()
    network, why = _network(engine)
    rows = _chosen(store, network, why, tile, label, worst, within, count)
    paths = targets(store, rows, out)
    for row, path in zip(rows, paths, strict=True):
        _show(store, network, why, row, stretch, path)


def _network(engine: EngineSection) -> tuple[Trained | None, str]:
    """The trained network if one fits, or why there is none."""
    try:
        return Trained.open(engine), ""
    except BundleError as error:
        return None, str(error)


def _chosen(
    store: Store, network: Trained | None, why: str, tile: str | None, label: str | None,
    worst: bool, split: str | None, count: int,
) -> list[int]:  # fmt: skip
    by_class = label is not None or worst
    if (tile is None) != by_class:
        raise ConfigError(
            "Expected a tile (507, 500-505 or an id), or --class and --worst, got "
            f"{'both' if by_class else 'neither'}. Example: python -m pipeline show 0"
        )
    if tile is not None:
        return picking.pick(store, tile, split)
    if worst and network is None:
        raise ConfigError(f"Expected a trained network for --worst, got none: {why}")
    if worst and network is not None and network.bundle.reconstructs:
        raise ConfigError("Expected a network that tells classes for --worst, got an autoencoder.")
    return picking.of_class(store, label, split or "test", count, network if worst else None)


def targets(store: Store, rows: Sequence[int], out: str | None) -> list[Path]:
    """Where the picture of each tile goes: into a folder, by its id, or a single one to a PNG."""
    folder = Path(out) if out else OUT
    if folder.suffix.lower() == ".png":
        if len(rows) > 1:
            raise ConfigError(f"Expected a folder in --out for {len(rows)} tiles, got {out}.")
        return [folder]
    if folder.suffix:
        raise ConfigError(f"Expected a folder or a file .png in --out, got {out}.")
    names = [re.sub(r"[^\w.-]+", "_", str(store.index["id"].iloc[row])) for row in rows]
    twice = {name for name in names if names.count(name) > 1}
    return [
        folder / f"{name}{f'_{row}' if name in twice else ''}.png"
        for name, row in zip(names, rows, strict=True)
    ]


@dataclass(frozen=True, slots=True)
class _Said:
    """What a network says of a tile."""

    line: str
    probabilities: Sequence[tuple[str, str, float]] = ()


def _says(network: Trained | None, why: str, of: Portrait) -> _Said:
    if network is None:
        return _Said(f"none: {why}")
    bundle, pixels = network.bundle, np.asarray(of.tile.pixels)[None]
    if bundle.reconstructs:
        drawn = bundle.reconstructions(pixels, batch_size=1)
        errors = reconstruction.Errors.of([(pixels, drawn)]).of_tiles(network.deviation)
        return _Said(f"{bundle.name} draws it again with a squared error of {errors[0]:.3g}, "
                     "in deviations of the bands")  # fmt: skip
    shares = bundle.probabilities(pixels, batch_size=1)[0].tolist()
    found = list(zip(bundle.classes.names, bundle.classes.colours, shares, strict=True))
    best = max(found, key=lambda one: one[2])
    right = "" if not of.label else ", rightly" if best[0] == of.label else f", not {of.label}"
    return _Said(f"{bundle.name} says {best[0]}, {percent(best[2])}{right}", found)


def _show(store: Store, network: Trained | None, why: str, row: int, how: str, path: Path) -> None:
    of = Portrait.of(store, row)
    said = _says(network, why, of)
    lines = [*of.lines(store.resolution), ("network", said.line)]
    for heading, words in lines:
        say(f"{heading:<8} {words}")
    if said.probabilities:
        ranked = sorted(said.probabilities, key=lambda one: -one[2])
        say(f"{'':<8} " + ", ".join(f"{name} {percent(share)}" for name, _, share in ranked))
    table(_values(of.values))
    stretch = Stretch.of(of.tile.pixels) if how == "tile" else stretch_of(store.mean, store.std)
    both = {"natural colour": store.bands.natural, "false colour": store.bands.false_colour}
    colours = {
        name: coloured(store, of, bands) if how == "tile" else Colour(bands, stretch, "each so")
        for name, bands in both.items()
    }
    figure = portrait(of, store.bands, stretch, STRETCHES[how], colours, said.probabilities, lines)
    say(f"Wrote {canvas.save(figure, path)}.")


def coloured(store: Store, of: Portrait, bands: tuple[int, int, int]) -> Colour:
    """A picture as bright as can be that keeps the hue: each band by itself would lose it.

    Black is what is dark in each band of the training tiles, which takes the haze away as Chavez
    1988 does (https://doi.org/10.1016/0034-4257(88)90019-3), white the same share of the range of
    training in each of the three.
    """
    low, high = usual(store)
    chosen = list(bands)
    levels = (of.tile.pixels.astype(np.float64) - low) / (high - low)
    white = float(np.percentile(levels[..., chosen], 98))
    share = white if white > 0 else 1.0
    how = (
        f"from dark to {share:.0%} of the range of the training tiles in each, which keeps the hue"
    )
    return Colour(bands, Stretch(low, low + share * (high - low)), how)


def usual(store: Store) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """What is dark and what is bright (C,) in each band: percentiles 1 and 99 of training."""
    if not (facts := store.looks.get("train")):  # of a store that an earlier version wrote
        stretch = stretch_of(store.mean, store.std)
        return stretch.low, stretch.high
    quantiles = shift.Look.load(facts).quantiles
    low, high = (quantiles[:, shift.LEVELS.index(level)] for level in (1.0, 99.0))
    return low, np.where(high > low, high, low + 1)


def _values(values: Sequence[BandValues]) -> Table:
    from rich.table import Table

    content = Table(
        box=None, pad_edge=False, title="tile, and training tiles", title_justify="left"
    )
    headings = ("band", "min", "mean", "deviation", "max", "training 0.1 %", "mean", "deviation",
                "99.9 %")  # fmt: skip
    for heading in headings:
        content.add_column(heading, justify="left" if heading == "band" else "right")
    for one in values:
        numbers = (one.low, one.mean, one.deviation, one.high, one.usual_low, one.usual_mean,
                   one.usual_deviation, one.usual_high)  # fmt: skip
        content.add_row(one.band, *("–" if v is None else f"{v:.5g}" for v in numbers))  # noqa: RUF001
    return content
