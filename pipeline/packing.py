"""Write a tile store: shards as they come, the index and the facts at the end.

``<split>-<shard>.npy`` are (N, H, W, C), channel last, in the source's own number type;
``index.parquet`` tells where each tile came from; ``meta.json`` says what holds for all of them.
Tiles are in split order, so that a split is a contiguous range of the index.

A store without labels has no classes: each of its tiles has the label 0, and is counted under the
one name "unlabelled".
"""

from __future__ import annotations

import hashlib
import json
import shutil
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from filelock import FileLock, Timeout
from numpy.typing import NDArray

from pipeline.errors import StoreError
from pipeline.split import SPLITS
from pipeline.stats import class_counts
from pipeline.types import Bands, Classes

SHARD_BYTES = 512 * 2**20
FORMAT = 1  # raised when older programs would misread a store
UNLABELLED = "unlabelled"  # counts the tiles of a store without classes
INDEX = (
    "id", "split", "shard", "row", "label", "source", "window_row", "window_col", "window_height",
    "window_width", "left", "bottom", "right", "top", "crs", "group", "purity",
)  # fmt: skip


def tile_shape(size: int, bands: int) -> tuple[int, int, int]:
    """Shape of a tile: channel last, which is PyTorch's channels_last in memory."""
    return size, size, bands


def shard_name(split: str, index: int) -> str:
    """File name of a shard."""
    return f"{split}-{index}.npy"


class StoreWriter:
    """Writes a store beside its place and puts it there when it is whole.

    As a context manager: what was written is removed if an error leaves the block. One process at
    a time writes; the store that stood there stays until the new one can take its place.
    """

    def __init__(
        self, root: Path, bands: Bands, classes: Classes, tile_size: int, dtype: np.dtype[Any]
    ) -> None:
        self.root, self.bands, self.classes = root, bands, classes
        self.tile_size, self.dtype = tile_size, np.dtype(dtype)
        self.partial = root.with_name(root.name + ".partial")
        self.old = root.with_name(root.name + ".old")
        self._lock = FileLock(root.with_name(f".{root.name}.lock"), timeout=0)
        self._splits = {split: _ShardWriter(self, split) for split in SPLITS}

    def __enter__(self) -> StoreWriter:
        """Begin; raises StoreError if another process is writing this store."""
        self.root.parent.mkdir(parents=True, exist_ok=True)
        try:
            self._lock.acquire()
        except Timeout as error:
            raise StoreError(
                f"Expected to write {self.root} alone, got another process that is writing it. "
                "Wait for its end, or stop it."
            ) from error
        # Of a run that was killed; halfway between its two renames there is no store but the old.
        if self.old.exists() and not self.root.exists():
            self.old.rename(self.root)
        shutil.rmtree(self.old, ignore_errors=True)
        shutil.rmtree(self.partial, ignore_errors=True)
        self.partial.mkdir()
        return self

    def __exit__(self, *_: object) -> None:
        try:
            for writer in self._splits.values():
                writer.close()
        finally:
            shutil.rmtree(self.partial, ignore_errors=True)
            self._lock.release()

    def append(self, split: str, pixels: NDArray[np.generic]) -> None:
        """Add tiles (N, H, W, C) to a split."""
        self._splits[split].append(pixels)

    def finish(
        self,
        index: pa.Table,
        mean: NDArray[np.float64],
        std: NDArray[np.float64],
        resolution: float | None,
        looks: dict[str, Any] | None = None,
    ) -> str:
        """Add the index, whose rows are in split order, and move the store to its place.

        ``index`` has all columns of INDEX but shard and row; ``looks`` tells how the pixels of each
        split are spread. Returns the digest of the content.
        """
        for writer in self._splits.values():
            writer.close()
        rows = {split: writer.rows for split, writer in self._splits.items()}
        index = _with_places(index, rows).select(list(INDEX))
        pq.write_table(index, self.partial / "index.parquet")
        digest = self._digest(index)
        meta = {
            "format": FORMAT,
            "bands": list(self.bands),
            "classes": list(self.classes),
            "tile_size": self.tile_size,
            "dtype": self.dtype.name,
            "mean": mean.tolist(),
            "std": std.tolist(),
            "resolution": resolution,
            "counts": count_tiles(index, self.classes),
            "shard_rows": rows,
            "digest": digest,
            "looks": looks or {},
        }
        text = json.dumps(meta, indent=1, ensure_ascii=False)
        (self.partial / "meta.json").write_text(text + "\n", encoding="utf-8")
        if self.root.exists():
            self.root.rename(self.old)
        self.partial.rename(self.root)
        shutil.rmtree(self.old, ignore_errors=True)
        return digest

    def _digest(self, index: pa.Table) -> str:
        whole = hashlib.sha256()
        for split in SPLITS:
            whole.update(self._splits[split].digest.digest())
        whole.update(index["label"].to_numpy().astype("<i8").tobytes())
        whole.update("\n".join(index["id"].to_pylist()).encode())
        return whole.hexdigest()


class _ShardWriter:
    """The shards of one split, written one after the other."""

    def __init__(self, store: StoreWriter, split: str) -> None:
        self.store, self.split = store, split
        self.shape = tile_shape(store.tile_size, len(store.bands))
        tile_bytes = int(np.prod(self.shape)) * store.dtype.itemsize
        self.most = max(1, SHARD_BYTES // tile_bytes)
        self.rows: list[int] = []  # tiles of each shard
        self.digest = hashlib.sha256()
        self.file: BinaryIO | None = None

    def append(self, pixels: NDArray[np.generic]) -> None:
        while len(pixels):
            if self.file is None or self.rows[-1] == self.most:
                self.close()
                self.file = (self.store.partial / shard_name(self.split, len(self.rows))).open("wb")
                self.rows.append(0)
                self._head()
            part = np.ascontiguousarray(pixels[: self.most - self.rows[-1]], self.store.dtype)
            self.file.write(part.data)
            self.digest.update(part.data)
            self.rows[-1] += len(part)
            pixels = pixels[len(part) :]

    def _head(self) -> None:
        """Write the header; its length is the same for any number of tiles."""
        assert self.file is not None  # append opened it
        header = {
            "descr": np.lib.format.dtype_to_descr(self.store.dtype),
            "fortran_order": False,
            "shape": (self.rows[-1], *self.shape),
        }
        self.file.seek(0)
        np.lib.format.write_array_header_1_0(self.file, header)

    def close(self) -> None:
        """Say in the header how many tiles there are."""
        if self.file is not None:
            self.file.flush()
            self._head()
            self.file.close()
            self.file = None


def _with_places(index: pa.Table, rows: dict[str, list[int]]) -> pa.Table:
    """Add the columns shard and row."""
    counts = [count for split in SPLITS for count in rows[split]]
    shards = [shard for split in SPLITS for shard in range(len(rows[split]))]
    row = np.concatenate([np.arange(count) for count in counts] or [np.empty(0, np.int64)])
    index = index.append_column("shard", pa.array(np.repeat(shards, counts), pa.int64()))
    return index.append_column("row", pa.array(row, pa.int64()))


def count_tiles(index: pa.Table, classes: Classes) -> dict[str, dict[str, int]]:
    """Tiles of each class in each split, from the columns split and label."""
    names = classes.names or (UNLABELLED,)
    splits = index["split"].cast(pa.string()).to_numpy(zero_copy_only=False)
    labels = index["label"].to_numpy()
    return {
        split: dict(
            zip(names, class_counts(labels[splits == split], len(names)).tolist(), strict=True)
        )
        for split in SPLITS
    }
