"""Which tile goes into which split: the method, its units, and proof that nothing leaks."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from pipeline.errors import SplitError
from pipeline.split import (
    DROPPED,
    SPLITS,
    Codes,
    assign,
    beyond,
    blocks,
    in_folds,
    number,
    official,
    overlaps,
)
from pipeline.types import Classes

if TYPE_CHECKING:
    from pipeline.schema import SplitSection

BLOCK_TILES = 10  # width of a block where split.block_size is not set
STRADDLING = "straddles two splits"
BEYOND = "beyond split.train_per_class"
EXCLUDED = "in source.exclude"


@dataclass(frozen=True)
class Division:
    """A split for each tile, and how it came about."""

    split: Codes  # (N,) place in SPLITS; DROPPED
    method: str
    why: str
    dropped: Counter[str] = field(default_factory=Counter)  # reason -> tiles without a split
    # Split -> earlier split -> tiles that touch one of it; empty where no tile has a place.
    neighbours: dict[str, dict[str, int]] = field(default_factory=dict)


@dataclass(frozen=True)
class Places:
    """Where tiles lie: columns of their facts as arrays, names as codes, -1 for none."""

    label: Codes
    source: Codes
    group: Codes
    frame: Codes
    official: Codes
    bounds: NDArray[np.float64]  # (N, 4) left, bottom, right, top within the frame
    georeferenced: bool

    @classmethod
    def of(cls, facts: pa.Table) -> Places:
        """Take the columns out of a table of facts; without a CRS the frame is the file's grid."""
        columns = {
            name: facts[name].to_numpy()
            for name in facts.column_names
            if not pa.types.is_dictionary(facts.schema.field(name).type)
        }
        bounds = np.stack([columns[side] for side in ("left", "bottom", "right", "top")], axis=1)
        row, col = columns["window_row"], columns["window_col"]
        pixels = np.stack(
            [col, row, col + columns["window_width"], row + columns["window_height"]], axis=1
        )
        splits = pa.array(SPLITS)
        given = pc.index_in(facts["official"].cast(pa.string()), value_set=splits)
        return cls(
            label=columns["label"],
            source=_codes(facts["source"]),
            group=_codes(facts["group"]),
            frame=_codes(facts["frame"]),
            official=given.fill_null(-1).to_numpy().astype(np.int64),
            bounds=np.where(np.isnan(bounds), pixels, bounds),
            georeferenced=bool(len(bounds)) and not np.isnan(bounds).any(),
        )


def divide(
    facts: pa.Table,
    kind: str,
    classes: Classes,
    section: SplitSection,
    excluded: NDArray[np.bool_] | None = None,
) -> Division:
    """Split tiles; fails where ground or a group is in two splits, or a split lacks a class.

    Without classes the tiles are split as those of one class would be. Excluded tiles (N,) have no
    split; the others are where they would be beside them, so that what is left can be compared.
    """
    if section.train_per_class is not None and not len(classes):
        raise SplitError(
            f"Expected labelled tiles for split.train_per_class={section.train_per_class}, got "
            "tiles without labels. Set it to null."
        )
    places = Places.of(facts)
    method, why = _method(places, kind, section)
    fractions = section.shares
    squares = _squares(places, section.block_size) if method == "block" else None
    units = _units(places, method) if squares is None else number(squares.of_tiles)
    if method == "official":
        split = official(places.official, units, places.label, fractions, section.seed)
    elif section.folds is not None:
        split = in_folds(units, places.label, fractions, section.folds, section.fold, section.seed)
        why += f"; fold {section.fold} of 0 to {section.folds - 1} is the test"
    else:
        split = assign(units, places.label, fractions, section.seed)
    if squares is not None:
        _drop_straddling(places, squares, split)
    straddling = int((split == DROPPED).sum())
    if excluded is not None:
        straddling -= int((excluded & (split == DROPPED)).sum())
        split[excluded] = DROPPED
    if len(pairs := overlaps(places.bounds, places.frame, split)):
        _refuse_ground(facts, pairs[0], split, method)
    if method == "official":
        _refuse_torn_groups(facts, places.group, split)
    _refuse_gaps(places.label, split, classes, fractions, method, section.folds)
    dropped = Counter({STRADDLING: straddling})
    if excluded is not None:
        dropped[EXCLUDED] = int(excluded.sum())
    if section.train_per_class is not None:
        many = beyond(split, places.label, section.train_per_class, section.seed)
        dropped[BEYOND] = int(many.sum())
        split = np.where(many, DROPPED, split)
    return Division(split, method, why, dropped, _neighbours(places, split))


def _neighbours(places: Places, split: Codes) -> dict[str, dict[str, int]]:
    """How many tiles of each split touch a tile of an earlier one."""
    if not (places.frame >= 0).any():
        return {}
    pairs = overlaps(places.bounds, places.frame, split, touching=True)
    return {
        name: {
            SPLITS[earlier]: len(np.unique(pairs[_between(split[pairs], earlier, later), 1]))
            for earlier in range(later)
        }
        for later, name in enumerate(SPLITS)
        if later
    }


def _between(splits: Codes, earlier: int, later: int) -> NDArray[np.bool_]:
    return np.asarray((splits == (earlier, later)).all(axis=1))


def _method(places: Places, kind: str, section: SplitSection) -> tuple[str, str]:
    """Return the method and the reason for it."""
    given = (places.official == SPLITS.index("test")).any()
    if section.method == "official" and not given:
        raise SplitError(
            "Expected test tiles that the source brings for an official split, got none. "
            "Set split=auto."
        )
    if section.method != "auto":
        return section.method, "split.method says so"
    if given and section.folds is None:
        return "official", "the source has an official test split"
    if kind == "scenes" and places.georeferenced:
        return "block", "tiles that are close on the ground look alike"
    if len(np.unique(places.group[places.group >= 0])) < (places.group >= 0).sum():
        return "group", "tiles of one file look alike"
    if (places.frame < 0).any():
        return "random", "nothing tells which tiles lie together"
    return "random", "each tile is a file of its own"


def _units(places: Places, method: str) -> Codes:
    if method == "random":
        return np.arange(len(places.label))
    if method == "scene":
        return number(places.source)
    own = places.group.max(initial=-1) + 1 + np.arange(len(places.group))
    return number(np.where(places.group >= 0, places.group, own))


@dataclass(frozen=True)
class Squares:
    """Squares of ground, and the one that each tile's centre lies in."""

    size: NDArray[np.float64]  # (N,) side of a square, in units of the tile's frame
    of_tiles: Codes  # (N, 3) keys


def _squares(places: Places, side: float | None) -> Squares:
    if (places.frame < 0).any():
        raise SplitError(
            "Expected tiles with a place for split.method=block, got tiles without one. "
            "Set split.method=auto."
        )
    left, bottom, right, top = places.bounds.T
    width = np.maximum(right - left, top - bottom)
    widest = np.zeros(places.frame.max(initial=-1) + 1)
    np.maximum.at(widest, places.frame, width)
    size = np.full(len(width), side) if side else BLOCK_TILES * widest[places.frame]
    if (width > size * 1.001).any():
        raise SplitError(
            f"Expected blocks as wide as a tile or wider, got split.block_size={side:g} and tiles "
            f"of {width.max():g}, in units of the CRS. Set it to {BLOCK_TILES * width.max():g}."
        )
    keys = blocks((left + right) / 2, (bottom + top) / 2, places.frame, size)
    return Squares(size, keys)


def _drop_straddling(places: Places, squares: Squares, split: Codes) -> None:
    """Drop, in place, tiles that reach into a block of another split and meet a tile there."""
    torn = np.unique(overlaps(places.bounds, places.frame, split))
    if not len(torn):
        return
    left, bottom, right, top = places.bounds[torn].T
    inset = 1e-3 * np.minimum(right - left, top - bottom)
    corners = blocks(
        np.stack([left + inset, right - inset, left + inset, right - inset]),
        np.stack([bottom + inset, bottom + inset, top - inset, top - inset]),
        places.frame[torn],
        squares.size[torn],
    )
    units = number(np.concatenate([squares.of_tiles, corners.reshape(-1, 3)]))
    owner = np.full(units.max() + 1, DROPPED)  # a block where no tile has its centre has no split
    owner[units[: len(split)]] = split
    reached = owner[units[len(split) :]].reshape(len(corners), -1)
    split[torn[(reached != split[torn]).any(axis=0)]] = DROPPED


def _refuse_ground(facts: pa.Table, pair: Codes, split: Codes, method: str) -> None:
    one, other = (facts["id"][int(row)].as_py() for row in pair)
    first, second = (SPLITS[split[row]] for row in pair)
    raise SplitError(
        f"Expected no ground in two splits, got the same place in {first} (tile {one}) and in "
        f"{second} (tile {other}) with split.method={method}. Set split.method=block."
    )


def _refuse_torn_groups(facts: pa.Table, group: Codes, split: Codes) -> None:
    grouped = np.flatnonzero((group >= 0) & (split >= 0))
    lowest = np.full(group.max(initial=-1) + 1, len(SPLITS))
    highest = np.full(group.max(initial=-1) + 1, -1)
    np.minimum.at(lowest, group[grouped], split[grouped])
    np.maximum.at(highest, group[grouped], split[grouped])
    torn = grouped[lowest[group[grouped]] < highest[group[grouped]]]
    if len(torn):
        name = facts["group"][int(torn[0])].as_py()
        raise SplitError(
            f"Expected each group in one split, got {name} in two. Set split.method=group."
        )


def _refuse_gaps(
    labels: Codes,
    split: Codes,
    classes: Classes,
    fractions: tuple[float, ...],
    method: str,
    folds: int | None,
) -> None:
    units = "units (split.block_size, another split.method" + (
        ", fewer split.folds)" if folds else ")"
    )
    must = {"train"} | {name for name, part in zip(SPLITS, fractions, strict=True) if part > 0}
    names = classes.names or ("tiles",)
    gaps = []
    for place, name in enumerate(SPLITS):
        have = np.bincount(labels[split == place], minlength=len(names))
        gaps += [f"{names[i]} from {name}" for i in np.flatnonzero(have == 0) if name in must]
    if gaps and not len(classes):
        raise SplitError(
            f"Expected tiles in each split, but missing: {', '.join(gaps)}, with "
            f"split.method={method}. Use more or smaller {units}, or set the split's share to 0."
        )
    if gaps:
        raise SplitError(
            f"Expected each class in each split, but missing: {', '.join(gaps)}, with "
            f"split.method={method}. Use more or smaller {units}, add tiles of that class, or "
            "leave it out of source.classes."
        )


def _codes(column: pa.ChunkedArray) -> Codes:
    """Names as numbers, in order of appearance; -1 for null."""
    codes = column.cast(pa.string()).dictionary_encode().combine_chunks().indices
    return np.asarray(codes.fill_null(-1).to_numpy(zero_copy_only=False), np.int64)
