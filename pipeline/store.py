"""The tile store, for reading: pixels by split, and one row of facts a tile."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from pipeline.duplicates import digests
from pipeline.errors import StoreError
from pipeline.packing import (
    FORMAT,
    INDEX,
    UNLABELLED,
    StoreWriter,
    count_tiles,
    shard_name,
    tile_shape,
)
from pipeline.split import SPLITS
from pipeline.types import Bands, Bounds, Classes, Tile, Window

if TYPE_CHECKING:
    import pandas as pd

Label = TypeVar("Label", bound=np.integer[Any])

__all__ = ["INDEX", "ROOT", "UNLABELLED", "Store", "StoreWriter", "count_tiles"]

ROOT = Path("data/tiles")
TOGETHER = 1024  # tiles in memory while digests are taken


@dataclass(frozen=True)
class Store:
    """A tile store that was opened; pixels stay on disk until they are asked for."""

    root: Path
    bands: Bands
    classes: Classes  # none where the tiles have no labels
    tile_size: int
    dtype: np.dtype[Any]
    mean: NDArray[np.float64]  # (C,), of the training split, as is std
    std: NDArray[np.float64]
    digest: str  # of pixels, labels and ids
    resolution: float | None  # metres a pixel, if all tiles share it
    counts: dict[str, dict[str, int]]  # split -> class -> tiles
    shard_rows: dict[str, list[int]]  # split -> tiles of each shard
    looks: dict[str, Any]  # split -> band -> how its pixels are spread, as shift.Look tells it

    @classmethod
    def open(cls, root: Path = ROOT) -> Store:
        """Open a store and check that its files are there, and whole."""
        meta = _read_meta(root)
        try:
            store = cls(
                root=root,
                bands=Bands(tuple(meta["bands"])),
                classes=Classes(tuple(meta["classes"])),
                tile_size=meta["tile_size"],
                dtype=np.dtype(meta["dtype"]),
                mean=np.array(meta["mean"]),
                std=np.array(meta["std"]),
                digest=meta["digest"],
                resolution=meta["resolution"],
                counts=meta["counts"],
                shard_rows=meta["shard_rows"],
                looks=meta.get("looks", {}),  # of a store that an earlier version wrote: none
            )
            store._check()
        except (KeyError, TypeError, AttributeError) as error:  # what is not there, or another kind
            raise _torn(root, "no whole meta.json") from error
        return store

    def _check(self) -> None:
        for split in SPLITS:
            rows = sum(self.shards_of(split, index).shape[0] for index in self._numbers(split))
            if rows != self.count(split):
                raise _torn(self.root, f"{rows} of {self.count(split)} tiles of {split}")
        path = self.root / "index.parquet"
        try:
            rows = pq.read_metadata(path).num_rows
        except (OSError, pa.ArrowInvalid) as error:
            raise _torn(self.root, f"no readable {path.name}") from error
        if rows != sum(map(self.count, SPLITS)):
            raise _torn(self.root, f"{rows} rows in {path.name}")

    @cached_property
    def index(self) -> pd.DataFrame:
        """A row a tile, in the order train, validation, test."""
        frame: pd.DataFrame = pq.read_table(self.root / "index.parquet").to_pandas()
        return frame

    def count(self, split: str) -> int:
        """Tiles of a split."""
        return sum(self.counts[split].values())

    def split_range(self, split: str) -> range:
        """Rows of the index that belong to a split."""
        before = SPLITS[: SPLITS.index(split)]
        start = sum(map(self.count, before))
        return range(start, start + self.count(split))

    def labels(self, split: str) -> NDArray[np.int64]:
        """Labels (N,) of a split."""
        return self.labels_as(split, np.int64)

    def labels_as(self, split: str, dtype: type[Label]) -> NDArray[Label]:
        """Labels (N,) of a split, read bit by bit: many take more room than a network."""
        labels = np.empty(sum(map(self.count, SPLITS)), dtype)
        start = 0
        with pq.ParquetFile(self.root / "index.parquet") as file:
            for batch in file.iter_batches(columns=["label"]):
                labels[start : start + len(batch)] = batch["label"].to_numpy()
                start += len(batch)
        rows = self.split_range(split)
        return labels[rows.start : rows.stop].copy()

    def names(self, split: str) -> list[str]:
        """Class (N,) of each tile of a split by name; empty where there are no labels."""
        if not len(self.classes):
            return [""] * self.count(split)
        return [self.classes.names[label] for label in self.labels(split)]

    def shards(self, split: str) -> list[np.memmap[Any, Any]]:
        """Memory-mapped pixels (n, H, W, C) of a split, shard by shard."""
        return [self.shards_of(split, index) for index in self._numbers(split)]

    def shards_of(self, split: str, index: int) -> np.memmap[Any, Any]:
        """One shard of a split."""
        path = self.root / shard_name(split, index)
        try:
            shard = np.load(path, mmap_mode="r")
        except (OSError, ValueError) as error:
            raise _torn(self.root, f"no whole {path.name}") from error
        shape = (self.shard_rows[split][index], *self.tile_shape)
        if shard.shape != shape or shard.dtype != self.dtype:
            raise _torn(self.root, f"{shard.shape} of {shard.dtype} in {path.name}")
        return shard  # type: ignore[no-any-return]  # np.load can't tell that it maps

    @property
    def tile_shape(self) -> tuple[int, int, int]:
        """Shape (H, W, C) of a tile."""
        return tile_shape(self.tile_size, len(self.bands))

    @property
    def tile_bytes(self) -> int:
        """Bytes of a tile."""
        return int(np.prod(self.tile_shape)) * self.dtype.itemsize

    def read(self, split: str, rows: range, out: NDArray[Any]) -> None:
        """Read neighbouring tiles of a split into (n, H, W, C).

        Through the file, not a map of it: pages of a map would count as memory of this process.
        """
        start = 0
        for number, count in enumerate(self.shard_rows[split]):
            first, last = max(rows.start, start), min(rows.stop, start + count)
            if first < last:
                self._read(
                    split, number, first - start, out[first - rows.start : last - rows.start]
                )
            start += count

    def _read(self, split: str, number: int, row: int, out: NDArray[Any]) -> None:
        path = self.root / shard_name(split, number)
        with path.open("rb") as file:
            np.lib.format.read_magic(file)
            np.lib.format.read_array_header_1_0(file)
            file.seek(row * self.tile_bytes, os.SEEK_CUR)
            if file.readinto(out.data.cast("B")) != out.nbytes:
                raise _torn(self.root, f"no whole {path.name}")

    def _numbers(self, split: str) -> range:
        return range(len(self.shard_rows[split]))

    def pixels(self, split: str, rows: slice | NDArray[Any] | None = None) -> NDArray[np.generic]:
        """Pixels (N, H, W, C) of some rows of a split, read into memory; None: of all."""
        wanted = np.arange(self.count(split))[slice(None) if rows is None else rows]
        ends = np.cumsum(self.shard_rows[split])
        out = np.empty((len(wanted), *self.tile_shape), self.dtype)
        for number, shard in enumerate(self.shards(split)):
            start = ends[number] - len(shard)
            here = (wanted >= start) & (wanted < ends[number])
            out[here] = shard[wanted[here] - start]
        return out

    def digests(self, split: str) -> NDArray[np.uint64]:
        """Digests (N,) by which tiles of a split are known again."""
        parts = [np.empty(0, np.uint64)]
        for start in range(0, self.count(split), TOGETHER):
            parts.append(digests(self.pixels(split, slice(start, start + TOGETHER))))
        return np.concatenate(parts)

    def at(self, rows: NDArray[np.int64]) -> NDArray[np.generic]:
        """Pixels (N, H, W, C) of rising rows of the index, whatever their splits."""
        parts = [np.empty((0, *self.tile_shape), self.dtype)]
        for split in SPLITS:
            own = self.split_range(split)
            here = rows[(rows >= own.start) & (rows < own.stop)]
            if len(here):
                parts.append(self.pixels(split, here - own.start))
        return np.concatenate(parts)

    def tile(self, row: int) -> Tile:
        """One tile, by its row of the index."""
        facts = self.index.iloc[row]
        pixels = self.shards_of(str(facts["split"]), int(facts["shard"]))[int(facts["row"])]
        placed = not np.isnan(facts["left"])
        return Tile(
            pixels=np.array(pixels),
            label=int(facts["label"]),
            id=str(facts["id"]),
            source=str(facts["source"]),
            window=Window(*(int(facts[f"window_{part}"]) for part in Window._fields)),
            bounds=Bounds(*(float(facts[side]) for side in Bounds._fields)) if placed else None,
            crs=_text(facts["crs"]),
            group=_text(facts["group"]) or "",
            purity=float(facts["purity"]),
        )


def _text(value: object) -> str | None:
    """A text of the index; what is missing there is None or not a number."""
    return value if isinstance(value, str) else None


def _read_meta(root: Path) -> dict[str, Any]:
    path = root / "meta.json"
    if not path.is_file():
        raise StoreError(f"Expected a tile store, got no {path}. Run dvc repro ingest.")
    try:
        meta: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise _torn(root, f"no readable {path.name}") from error
    if not isinstance(meta, dict):
        raise _torn(root, f"no whole {path.name}")
    if meta.get("format") != FORMAT:
        raise StoreError(
            f"Expected a tile store of format {FORMAT}, got {meta.get('format')} in {root}. "
            "Run dvc repro -f ingest."
        )
    return meta


def _torn(root: Path, got: str) -> StoreError:
    return StoreError(f"Expected a whole tile store in {root}, got {got}. Run dvc repro -f ingest.")
