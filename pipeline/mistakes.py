"""The tiles that a network gets most wrong, class by class, and how it does scene by scene."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from pipeline.metrics import Counts, accuracy, confusion
from pipeline.types import Bands, Classes

if TYPE_CHECKING:
    from pipeline.store import Store

PAIRS = 8  # of a true and a predicted class that are shown
TILES = 5  # of each
SCENES = 12
LEAST = 10  # tiles of a scene that is shown

Labels = NDArray[np.int64]


class Pair(NamedTuple):
    """Tiles of one class that were taken for another."""

    actual: int
    predicted: int
    tiles: int
    rows: Labels  # the worst of them, the worst first


class Scene(NamedTuple):
    """How tiles of one file were told."""

    name: str
    counts: Counts  # (K, K)


@dataclass(frozen=True)
class Measured:
    """Tiles that a network was measured on, in order."""

    ids: Sequence[str]
    sources: Sequence[str]  # file that each came from
    actual: Labels  # (N,)
    probabilities: NDArray[np.float32]  # (N, K)
    pixels: Callable[[Labels], NDArray[Any]]  # rows -> (n, H, W, C)

    @classmethod
    def of(
        cls,
        store: Store,
        split: str,
        ids: Sequence[str],
        actual: Labels,
        probabilities: NDArray[Any],
    ) -> Measured:
        """Some tiles of a split, by their ids and in their order, with what a network says."""
        own = store.split_range(split)
        index = store.index.iloc[own.start : own.stop]
        place = pd.Index(index["id"]).get_indexer(pd.Index(ids))
        sources = index["source"].iloc[place].tolist()
        return cls(
            ids, sources, actual, probabilities, lambda rows: store.pixels(split, place[rows])
        )

    @property
    def predicted(self) -> Labels:
        """Most probable class (N,)."""
        predicted: Labels = self.probabilities.argmax(axis=1)
        return predicted


def pairs(measured: Measured, most: int = PAIRS, tiles: int = TILES) -> list[Pair]:
    """The commonest mistakes, and the tiles of each that the network was surest of."""
    actual, predicted, shares = measured.actual, measured.predicted, measured.probabilities
    wrong = np.flatnonzero(actual != predicted)
    margin = shares[wrong, predicted[wrong]] - shares[wrong, actual[wrong]]
    ranked = wrong[np.argsort(-margin, kind="stable")]
    counts = confusion(actual[wrong], predicted[wrong], shares.shape[1])
    order = np.argsort(-counts, axis=None, kind="stable")[:most]
    found = []
    for one, other in zip(*np.unravel_index(order, counts.shape), strict=True):
        mine = ranked[(actual[ranked] == one) & (predicted[ranked] == other)]
        if len(mine):
            found.append(Pair(int(one), int(other), len(mine), mine[:tiles]))
    return found


def scenes(measured: Measured, most: int = SCENES, least: int = LEAST) -> tuple[list[Scene], int]:
    """Files with enough tiles, the worst first, at most so many; and how many there are."""
    names, place = np.unique(np.asarray(measured.sources), return_inverse=True)
    classes = measured.probabilities.shape[1]
    found = []
    for i, name in enumerate(names.tolist()):
        here = place == i
        if here.sum() >= least:
            counts = confusion(measured.actual[here], measured.predicted[here], classes)
            found.append(Scene(name, counts))
    found.sort(key=lambda scene: accuracy(scene.counts))
    return found[:most], len(found)


def draw(measured: Measured, bands: Bands, classes: Classes, what: str, folder: Path) -> None:
    """Write ``errors.png`` and ``scenes.png``, as far as there is something to show."""
    from pipeline.figures import canvas
    from pipeline.figures.gallery import Line, Row, Shown, gallery
    from pipeline.figures.scenes import multiples

    support = np.bincount(measured.actual, minlength=len(classes))
    rows = []
    for pair in pairs(measured):
        shown = []
        for row, pixels in zip(pair.rows, measured.pixels(pair.rows), strict=True):
            told = [
                Line(f"{word} {classes.names[k]} {measured.probabilities[row, k]:.0%}",
                     classes.colours[k])
                for word, k in (("true", pair.actual), ("predicted", pair.predicted))
            ]  # fmt: skip
            shown.append(Shown(pixels, [Line(measured.ids[row]), *told]))
        one, other = classes.names[pair.actual], classes.names[pair.predicted]
        share = f"{pair.tiles:,} of {support[pair.actual]:,} tiles"
        rows.append(Row(f"{one} taken for {other}: {share}", shown))
    if rows:
        title = f"What is taken for what, worst tiles first, {what}"
        caption = (
            "Percentages are the network's probabilities; it was surest of the first of each row."
        )
        canvas.save(gallery(rows, bands, title, caption), folder / "errors.png")
    some, count = scenes(measured)
    if len(some) > 1:
        canvas.save(multiples(some, count, classes, what), folder / "scenes.png")
