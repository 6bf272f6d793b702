"""All that is known of one tile: what it is, where it lies, and its values band by band."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline import shift
from pipeline.store import Store
from pipeline.types import Tile


@dataclass(frozen=True, slots=True)
class BandValues:
    """Values of a tile in one band, beside those of the training tiles."""

    band: str
    low: float
    mean: float
    deviation: float
    high: float
    usual_mean: float
    usual_deviation: float
    usual_low: float | None  # percentile 0.1 and 99.9; None: an earlier version kept none
    usual_high: float | None


@dataclass(frozen=True, slots=True)
class Portrait:
    """A tile of a store and what there is to say of it."""

    tile: Tile
    place: int  # row of the index
    split: str
    row: int  # in its split
    label: str  # "": it has none
    colour: str  # of its class
    values: Sequence[BandValues]

    @classmethod
    def of(cls, store: Store, place: int) -> Portrait:
        """Of the tile in a row of the index."""
        tile, split = store.tile(place), str(store.index["split"].iloc[place])
        labelled = len(store.classes) > 0
        return cls(
            tile=tile,
            place=place,
            split=split,
            row=place - store.split_range(split).start,
            label=store.classes.names[tile.label] if labelled else "",
            colour=store.classes.colours[tile.label] if labelled else "",
            values=band_values(store, tile.pixels),
        )

    def lines(self, resolution: float | None) -> list[tuple[str, str]]:
        """What is told of it, a heading and words each."""
        tile, window = self.tile, self.tile.window
        height, width, depth = tile.pixels.shape
        metres = "" if resolution is None else f", {resolution:g} m a pixel"
        rows = f"rows {window.row} to {window.row + window.height - 1}"
        columns = f"columns {window.col} to {window.col + window.width - 1}"
        told = [
            ("tile", f"{tile.id}, number {self.place} of the store"),
            ("split", f"{self.split}, row {self.row}"),
            ("label", self.label or "none"),
            ("size", f"{height} x {width} pixels, {depth} bands, {tile.pixels.dtype}{metres}"),
            ("source", f"{tile.source}, {rows}, {columns}"),
        ]
        if tile.bounds is None:
            told.append(("place", "not georeferenced"))
        else:
            left, bottom, right, top = tile.bounds
            crs = tile.crs or "no CRS"
            told.append(
                ("place", f"{left:.10g} to {right:.10g}, {bottom:.10g} to {top:.10g}, {crs}")
            )
        told.append(("group", tile.group or "none"))
        if self.label:
            told.append(("purity", f"{tile.purity:.1%} of the tile is of its class"))
        return told


def band_values(store: Store, pixels: NDArray[Any]) -> list[BandValues]:
    """Of a tile (H, W, C), beside the training split."""
    wide = pixels.reshape(-1, pixels.shape[-1]).astype(np.float64)
    facts = store.looks.get("train")
    usual = shift.Look.load(facts).quantiles if facts else None
    return [
        BandValues(
            band,
            float(wide[:, k].min()),
            float(wide[:, k].mean()),
            float(wide[:, k].std()),
            float(wide[:, k].max()),
            float(store.mean[k]),
            float(store.std[k]),
            None if usual is None else float(usual[k, shift.LOW]),
            None if usual is None else float(usual[k, shift.HIGH]),
        )
        for k, band in enumerate(store.bands)
    ]
