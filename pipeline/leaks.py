"""What comes of tiles that stand in two splits: they are told, refused or dropped."""

from __future__ import annotations

import csv
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from pipeline import ground
from pipeline.divide import Division
from pipeline.duplicates import among, digests, uniform
from pipeline.errors import SplitError
from pipeline.leakage import KINDS, Leaks, find
from pipeline.split import DROPPED, SPLITS, Codes, overlaps

if TYPE_CHECKING:
    from pipeline.schema import SplitSection
    from pipeline.store import Store

FILE = Path("reports/leakage.csv")
COLUMNS = (
    "kind", "tile_id", "split", "other_id", "other_split", "correlation", "rows_moved",
    "columns_moved",
)  # fmt: skip
COPY, NEAR_COPY = "copy of a tile in a later split", "near copy of a tile in a later split"
SHOWN = 3
TOGETHER = 1024  # tiles in memory while they are looked for


def write(leaks: Leaks, split: Codes, ids: Sequence[str], path: Path = FILE) -> None:
    """A row a pair, under a header even where there is none; ``ids`` and ``split`` are (N,)."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(COLUMNS)
        for i in leaks.order:
            one, other = int(leaks.first[i]), int(leaks.second[i])
            tiles = (str(ids[one]), SPLITS[split[one]], str(ids[other]), SPLITS[split[other]])
            share = f"{leaks.correlation[i]:.4f}"
            writer.writerow((KINDS[leaks.kind[i]], *tiles, share, *leaks.shift[i].tolist()))


def settle(leaks: Leaks, division: Division, ids: Sequence[str], section: SplitSection) -> Division:
    """The division without the tiles that are to give way.

    Raises:
        SplitError: There are copies, and ``split.duplicates`` is error; or a split lost all tiles.
    """
    same, near = leaks.rows("same", "turned"), leaks.rows("near")
    if len(same) and section.duplicates == "error":
        raise SplitError(_refusal(leaks, division.split, ids))
    split, dropped = division.split.copy(), Counter(division.dropped)
    split[same] = DROPPED
    dropped[COPY] = len(same)
    if section.near_duplicates == "drop":
        near = np.setdiff1d(near, same)
        split[near] = DROPPED
        dropped[NEAR_COPY] = len(near)
    for place, name in enumerate(SPLITS):
        if (division.split == place).any() and not (split == place).any():
            raise SplitError(
                f"Expected tiles in {name}, got none but copies of tiles in later splits, all "
                f"named in {FILE}. Bring other tiles, or split them in another way."
            )
    return replace(division, split=split, dropped=dropped)


def _refusal(leaks: Leaks, split: Codes, ids: Sequence[str]) -> str:
    same, turned = len(leaks.rows("same", "turned")), len(leaks.rows("turned"))
    pairs = [i for i in leaks.order if leaks.kind[i] != KINDS.index("near")][:SHOWN]
    told = [
        f"{ids[int(one)]} ({SPLITS[split[one]]}) = {ids[int(other)]} ({SPLITS[split[other]]})"
        for one, other in zip(leaks.first[pairs], leaks.second[pairs], strict=True)
    ]
    more = ", ..." if same > SHOWN else ""
    how = f" ({turned:,} of them turned or mirrored)" if turned else ""
    return (
        f"Expected each tile in one split, got {same:,} with the same pixels in a later split"
        f"{how}: {', '.join(told)}{more}. All are named in {FILE}. Set split.duplicates=drop to "
        "keep those in the later split alone, or leave some out with source.exclude."
    )


def facts(leaks: Leaks, neighbours: dict[str, dict[str, int]]) -> dict[str, Any]:
    """Counts for the report; copies and near copies are those of the earlier split."""
    return {
        "copies": len(leaks.rows("same", "turned")),
        "turned": len(leaks.rows("turned")),
        "near_copies": len(leaks.rows("near")),
        "uniform_in_two_splits": leaks.uniform,
        "copies_within": leaks.within,
        "without_texture": leaks.plain,
        "beside": neighbours,
    }


def sentences(found: Mapping[str, Any], dropped: Mapping[str, int]) -> list[str]:
    """What a person should know of ``facts``."""
    told = []
    if found["near_copies"] and NEAR_COPY not in dropped:
        told.append(
            f"{found['near_copies']:,} tiles are near copies of tiles in a later split, moved by a "
            f"pixel or two or with some noise: see {FILE}. split.near_duplicates=drop drops them."
        )
    if within := sum(found["copies_within"].values()):
        told.append(f"{within:,} tiles repeat another of their own split.")
    return told


def again(store: Store, measured: str) -> list[str]:
    """What makes measures of a split of a store look better than they are: whoever wrote it."""
    split = np.repeat(np.arange(len(SPLITS)), [store.count(name) for name in SPLITS])
    place = SPLITS.index(measured)
    leaks = find(store.at, split, store.tile_size, store.mean, store.std)
    told = []
    for kinds, what in ((("same", "turned"), "copies"), (("near",), "near copies")):
        wanted = np.isin(leaks.kind, [KINDS.index(kind) for kind in kinds])
        tiles = {
            int(mine)
            for one, other in ((leaks.first, leaks.second), (leaks.second, leaks.first))
            for mine in one[wanted & (split[one] == place) & (split[other] == 0)]
        }
        if tiles and place:
            told.append(
                f"{len(tiles):,} of {store.count(measured):,} {measured} tiles are {what} of "
                "training tiles, which makes the network look better than it is. Ingest again with "
                f"split.{'near_duplicates' if what.startswith('near') else 'duplicates'}=drop."
            )
    if place:
        index = store.index
        bounds = index[ground.SIDES].to_numpy(np.float64)
        frame = np.where(np.isnan(bounds[:, 0]), -1, index["crs"].factorize()[0])
        pairs = overlaps(bounds, frame, split)
        mine = np.unique(pairs[(split[pairs] == (0, place)).all(axis=1), 1])
        told += _of_ground(len(mine), store.count(measured), measured)
    return told


def known(
    store: Store, measured: str, bands: Sequence[int] | None, tiles: str, training: ground.Ground
) -> list[str]:
    """The same of a store that a network was not trained on, from what its bundle brings.

    Near copies can't be told without the training tiles.

    Args:
        store: The store.
        measured: A split of it.
        bands: Places of the network's bands in the store's tiles; None: they are the same.
        tiles: Digests of the training tiles.
        training: The ground of the training tiles.
    """
    count = 0
    for start in range(0, store.count(measured) if tiles else 0, TOGETHER):
        pixels = store.pixels(measured, slice(start, start + TOGETHER))
        pixels = pixels if bands is None else pixels[..., list(bands)]
        count += int((among(digests(pixels), tiles) & ~uniform(pixels)).sum())
    rows = store.split_range(measured)
    shares = ground.shares(store.index.iloc[rows.start : rows.stop], training)
    told = _of_ground(int((shares > ground.LEAST).sum()), len(rows), measured)
    if count:
        told.append(
            f"{count:,} of {len(rows):,} {measured} tiles are tiles that the network was trained "
            "on, turned or not, which makes it look better than it is. Leave them out with "
            "source.exclude."
        )
    return told


def _of_ground(count: int, whole: int, measured: str) -> list[str]:
    if not count:
        return []
    return [
        f"{count:,} of {whole:,} {measured} tiles share ground with tiles that the network was "
        "trained on, which makes it look better than it is. Measure on other ground, or leave "
        "them out with source.exclude."
    ]
