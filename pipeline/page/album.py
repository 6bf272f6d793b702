"""The tiles that the page carries whole: those that were told wrongly, and some right ones."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from pipeline import evidence
from pipeline.errors import StoreError
from pipeline.page.arrays import packed

if TYPE_CHECKING:
    from pipeline.evidence import Evidence
    from pipeline.store import Store

MOST = 300  # tiles
BYTES = 2_500_000  # of their pixels
RIGHT = 6  # of each class
SAMPLED = 500  # tiles, about, whose brightness is looked at

Rows = NDArray[np.int64]


@dataclass(frozen=True)
class Album:
    """Tiles by their rows of the store's index, and what a network said of them.

    Those of ``evidence`` that are shown: ``told[i]`` is the row there of tile ``i``, -1 for a tile
    that was not measured.
    """

    rows: Rows  # (N,) of the store's index
    told: Rows  # (N,)
    evidence: Evidence | None
    wrong: int  # that there are, shown or not

    @property
    def shown_wrong(self) -> int:
        """Wrong ones among them."""
        if self.evidence is None:
            return 0
        measured = self.told[self.told >= 0]
        return int((~self.evidence.hits[measured]).sum())


def most(store: Store) -> int:
    """How many tiles a page has room for."""
    return int(max(2, min(MOST, BYTES // store.tile_bytes)))


def measured(store: Store, reports: Path) -> Evidence | None:
    """What ``evaluate`` heard of tiles of this very store; None where there is nothing of it."""
    path = reports / "probabilities.parquet"
    if not path.is_file():
        return None
    try:
        found = evidence.read(path)
    except StoreError:
        return None
    known = pd.Index(store.index["id"])
    fits = found.classes == store.classes and len(found.ids) > 0
    return found if fits and bool(pd.Index(found.ids).isin(known).all()) else None


def choose(store: Store, first: Sequence[int], heard: Evidence | None) -> Album:
    """These rows of the index first, then wrong tiles and right ones as far as there is room."""
    room = most(store)
    rows = list(dict.fromkeys(int(row) for row in first))[:room]
    if heard is None:
        return Album(np.array(rows, np.int64), np.full(len(rows), -1, np.int64), None, 0)
    place = pd.Index(store.index["id"]).get_indexer(pd.Index(heard.ids))
    order = [int(place[i]) for i in [*_least_right(heard), *_wrong(heard)]]
    rows = list(dict.fromkeys([*rows, *order]))[:room]
    back = {int(row): i for i, row in enumerate(place)}
    told = np.array([back.get(row, -1) for row in rows], np.int64)
    return Album(np.array(rows, np.int64), told, heard, int((~heard.hits).sum()))


def _least_right(heard: Evidence) -> list[int]:
    """Right ones of each class: half of them the least sure, half the surest."""
    found: list[int] = []
    for label in range(len(heard.classes)):
        mine = np.flatnonzero(heard.hits & (heard.actual == label))
        ranked = mine[np.argsort(heard.confidence[mine], kind="stable")]
        half = RIGHT // 2
        found += ranked[:half].tolist() + ranked[half:][-half:].tolist()
    return found


def _wrong(heard: Evidence) -> list[int]:
    """Wrong ones, from each pair of classes in turn the one that the network was surest of."""
    wrong = np.flatnonzero(~heard.hits)
    ranked = wrong[np.argsort(-heard.confidence[wrong], kind="stable")]
    pairs = heard.actual[ranked] * len(heard.classes) + heard.predicted[ranked]
    turn = np.zeros(len(ranked), np.int64)
    for pair in np.unique(pairs):
        here = pairs == pair
        turn[here] = np.arange(here.sum())
    return [int(i) for i in ranked[np.argsort(turn, kind="stable")]]


def tiles(store: Store, album: Album) -> list[dict[str, Any]]:
    """Facts of each tile, short names: a page carries many."""
    facts = store.index.iloc[album.rows]
    out = []
    for row, told, (_, fact) in zip(album.rows, album.told, facts.iterrows(), strict=True):
        one: dict[str, Any] = {
            "id": str(fact["id"]),
            "row": int(row),
            "split": str(fact["split"]),
            "label": int(fact["label"]),
            "source": str(fact["source"]),
            "window": [int(fact[f"window_{part}"]) for part in ("row", "col", "height", "width")],
        }
        if not np.isnan(fact["left"]):
            one["bounds"] = [float(fact[side]) for side in ("left", "bottom", "right", "top")]
        if isinstance(fact["crs"], str):
            one["crs"] = fact["crs"]
        if fact["purity"] < 1:
            one["purity"] = round(float(fact["purity"]), 3)
        if album.evidence is not None and told >= 0:
            one["p"] = [round(float(p), 5) for p in album.evidence.probabilities[told]]
            one["said"] = int(album.evidence.predicted[told])
        out.append(one)
    return out


def stretch(store: Store) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Values of each band that are drawn black and white: percentiles 2 and 98 of training."""
    from pipeline.figures.canvas import Stretch

    split = "train" if store.count("train") else "test"
    step = max(1, store.count(split) // SAMPLED)
    found = Stretch.of(store.pixels(split, slice(None, None, step)))
    return found.low, found.high


def load(store: Store, rows: Rows) -> NDArray[Any]:
    """Pixels (N, H, W, C) of rows of the index in any order."""
    order = np.argsort(rows, kind="stable")
    pixels = store.at(rows[order])
    out = np.empty_like(pixels)
    out[order] = pixels
    return out


def payload(store: Store, album: Album, pixels: NDArray[Any]) -> dict[str, Any]:
    """All of it for the page's scripts, with the tiles' pixels (N, H, W, C)."""
    low, high = stretch(store)
    return {
        "tiles": tiles(store, album),
        "pixels": packed(pixels),
        "bands": list(store.bands.names),
        "natural": list(store.bands.natural),
        "false": list(store.bands.false_colour),
        "low": [round(float(v), 6) for v in low],
        "high": [round(float(v), 6) for v in high],
        "wrong": album.wrong,
        "shown_wrong": album.shown_wrong,
    }
