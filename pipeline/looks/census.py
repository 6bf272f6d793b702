"""How the filters of a layer answer to the tiles of the test split."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pipeline import probes
from pipeline.analysis import blank, run_through
from pipeline.figures.activations import Box
from pipeline.looks.base import SPLIT, Look
from pipeline.receptive import View, views

TILES = 5000  # that are looked at, at most


@dataclass(frozen=True, slots=True)
class Census:
    """How the filters of a layer answer to the tiles of the test split, or to some of them."""

    layer: str  # the convolution
    heard: str  # the layer whose maps are meant: its own activation, if it has one
    rectified: bool  # by a ReLU: a filter that is never positive says nothing
    rows: NDArray[np.int64]  # (N,) of the test split
    labels: NDArray[np.int64]  # (N,)
    peaks: probes.Peaks
    reach: tuple[View, View] | None  # what a place of the map sees, down and across

    def patch(self, tile: int, index: int) -> Box | None:
        """Pixels behind a filter's peak on a tile (its position in ``rows``)."""
        row, column = self.peaks.places[tile, index].tolist()
        return self.patch_at(row, column)

    def patch_at(self, row: int, column: int) -> Box | None:
        """Pixels that a place of the map sees, beyond the tile's edge too, where padding is.

        None where it can't be told: in what others designed as one layer.
        """
        if self.reach is None:
            return None
        down, across = self.reach
        return *down.reach(row, row), *across.reach(column, column)

    def top(self, index: int, count: int) -> list[int]:
        """Tiles (positions in ``rows``) that a filter answers to most, the first the most."""
        ranked = np.argsort(-self.peaks.highest[:, index], kind="stable")
        return [int(i) for i in ranked[:count]]


def census(look: Look, layers: Sequence[str]) -> dict[str, Census]:
    """One pass of the test tiles, through all layers at once."""
    from torch import nn

    trained, network = look.trained, look.trained.bundle.network
    store, size = trained.store, look.settings.batch_size
    count = store.count(SPLIT)
    rows = np.unique(np.linspace(0, count - 1, min(count, TILES)).round().astype(np.int64))
    heard = {layer: probes.own_activation(network, layer) or layer for layer in layers}
    batches = (store.pixels(SPLIT, rows[i : i + size]) for i in range(0, len(rows), size))
    peaks = probes.peaks(network, batches, list(dict.fromkeys(heard.values())))
    passed = run_through(network, blank(network))
    seen = [views(network, passed, network.tile_size, axis) for axis in (0, 1)]
    found = {}
    for layer, name in heard.items():
        module = network.get_submodule(name)
        known = module in seen[0] and module in passed
        found[layer] = Census(
            layer=layer,
            heard=name,
            rectified=isinstance(module, nn.ReLU | nn.ReLU6),
            rows=rows,
            labels=store.labels(SPLIT)[rows],
            peaks=peaks[name],
            reach=(seen[0][module], seen[1][module]) if known else None,
        )
    return found
