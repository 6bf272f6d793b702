"""How the tiles of a split reach the device: resident there, or streamed from the store.

Both give the same batches: ``start`` an order, then ``take`` rows of it as they come.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pipeline.bundle import as_input
from pipeline.order import Order, Rows

if TYPE_CHECKING:
    from pipeline.store import Store

Mode = Literal["resident", "streamed"]

# torch gathers few unsigned types; their bits travel as the signed type of the same width.
CARRIER = {torch.uint16: torch.int16, torch.uint32: torch.int32, torch.uint64: torch.int64}
# Share of the free memory that the tiles may take; the rest is for the network.
SHARE = {"cpu": 0.5, "cuda": 0.6}
MEBIBYTE = 2**20


class Tiles(Protocol):
    """The tiles of a split, on their way to a device."""

    device: torch.device
    tile_bytes: int
    tile_shape: tuple[int, int, int]  # (H, W, C)
    labels: Tensor  # (N,) whole numbers, on the device

    def __len__(self) -> int:
        """Tiles of the split."""

    def start(self, order: Order, skipped: int = 0) -> None:
        """Begin an epoch, perhaps after so many tiles of it."""

    def take(self, rows: Rows) -> tuple[Tensor, Tensor]:
        """Tiles (n, C, H, W) as floats and labels (n,), at rows in the order of the epoch."""


def on_device(pixels: NDArray[Any], device: torch.device) -> tuple[Tensor, torch.dtype]:
    """Pixels on a device as a type that torch can gather, and the type that they are."""
    # A read-only map of a file is copied: torch has no read-only tensors.
    whole = torch.from_numpy(np.require(pixels, requirements=["C", "W"]))
    return whole.view(CARRIER.get(whole.dtype, whole.dtype)).to(device), whole.dtype


def narrowest(classes: int) -> type[np.uint8] | type[np.int64]:
    """The number type of labels: mostly a byte each, as there may be millions."""
    return np.uint8 if classes <= np.iinfo(np.uint8).max else np.int64


class Resident:
    """All tiles on the device, in their own number type; a batch is a gather.

    Args:
        pixels: (N, H, W, C).
        labels: (N,).
        device: Where they lie.
    """

    def __init__(self, pixels: NDArray[Any], labels: NDArray[Any], device: torch.device) -> None:
        self.device = device
        self.pixels, self.type = on_device(pixels, device)
        self.tile_bytes = pixels.nbytes // max(1, len(pixels))
        _, height, width, bands = pixels.shape
        self.tile_shape = (height, width, bands)
        kind = narrowest(int(labels.max(initial=0)))
        self.labels = torch.from_numpy(labels.astype(kind)).to(device)

    def __len__(self) -> int:
        return len(self.labels)

    def start(self, order: Order, skipped: int = 0) -> None:
        """Nothing to prepare: any tile is as near as any other."""

    def take(self, rows: Rows) -> tuple[Tensor, Tensor]:
        """Tiles (n, C, H, W) as floats and labels (n,) at rows of the split."""
        index = torch.from_numpy(rows).to(self.device, non_blocking=True)
        pixels = self.pixels.index_select(0, index).view(self.type)
        return as_input(pixels), self.labels.index_select(0, index).long()


class Held(NamedTuple):
    """A group of tiles in memory."""

    start: int  # place of its first tile among those read so far
    pixels: Tensor  # (n, H, W, C), windows one after the other


class Streamed:
    """Tiles that are read from the store, a group at a time, while the group before is used.

    Memory holds three groups at most, whatever the size of the store: one that is used, one that
    a batch still reaches into, one that is being read.
    """

    def __init__(self, store: Store, split: str, device: torch.device) -> None:
        self.store, self.split, self.device = store, split, device
        self.tile_bytes, self.tile_shape = store.tile_bytes, store.tile_shape
        labels = store.labels_as(split, narrowest(len(store.classes)))
        self.labels = torch.from_numpy(labels).to(device)
        self.type = torch.from_numpy(np.empty(0, store.dtype)).dtype
        self._reader = ThreadPoolExecutor(1, thread_name_prefix="tiles")
        self._coming: Iterator[Tensor] = iter(())
        self._held: deque[Held] = deque()
        self._read = 0  # tiles, or passed over
        self._window = 1  # tiles
        self._where = np.empty(0, np.int64)  # of each window: place of its first tile

    def __len__(self) -> int:
        return len(self.labels)

    def start(self, order: Order, skipped: int = 0) -> None:
        """Begin to read; ``take`` then goes through the order once."""
        self._window = order.window
        self._where = np.empty(-(-order.tiles // order.window), np.int64)
        place = 0
        for window in chain.from_iterable(order.windows()):
            self._where[window.start // self._window] = place
            place += len(window)
        self._held.clear()
        groups, self._read = order.windows(), 0
        for size in order.sizes():  # groups that are over are not read again
            if skipped < size:
                break
            skipped -= size
            self._read += sum(map(len, next(groups)))
        self._coming = ahead(self._reader, (self._job(group) for group in groups))

    def take(self, rows: Rows) -> tuple[Tensor, Tensor]:
        """Tiles (n, C, H, W) as floats and labels (n,) at the next rows of the order."""
        windows, inside = np.divmod(rows, self._window)
        places = self._where[windows] + inside
        self._hold(int(places.min()), int(places.max()))
        pixels = self._gather(torch.from_numpy(places))
        index = torch.from_numpy(rows).to(self.device, non_blocking=True)
        return as_input(pixels.to(self.device, non_blocking=True)), self.labels[index].long()

    def _hold(self, first: int, last: int) -> None:
        """Read on until the last place is there; let go what lies before the first."""
        while last >= self._read:
            self._held.append(Held(self._read, next(self._coming)))
            self._read += len(self._held[-1].pixels)
        while first >= self._held[0].start + len(self._held[0].pixels):
            self._held.popleft()

    def _gather(self, places: Tensor) -> Tensor:
        if len(self._held) == 1:
            only = self._held[0]
            return self._pinned(only.pixels.index_select(0, places - only.start)).view(self.type)
        out = torch.empty(
            len(places), *self._held[0].pixels.shape[1:], dtype=self._held[0].pixels.dtype
        )
        for group in self._held:
            here = (places >= group.start) & (places < group.start + len(group.pixels))
            out[here] = group.pixels[places[here] - group.start]
        return self._pinned(out).view(self.type)

    def _pinned(self, pixels: Tensor) -> Tensor:
        """In memory that a GPU can fetch by itself while the CPU goes on."""
        return pixels.pin_memory() if self.device.type == "cuda" else pixels

    def _job(self, windows: list[range]) -> Callable[[], Tensor]:
        def read() -> Tensor:
            count = sum(map(len, windows))
            pixels = np.empty((count, *self.store.tile_shape), self.store.dtype)
            start = 0
            for window in windows:
                self.store.read(self.split, window, pixels[start : start + len(window)])
                start += len(window)
            return on_device(pixels, torch.device("cpu"))[0]

        return read


def ahead(reader: ThreadPoolExecutor, jobs: Iterator[Callable[[], Tensor]]) -> Iterator[Tensor]:
    """Results in order, the next one being made while one is used."""
    waiting = None
    for job in jobs:
        coming = reader.submit(job)
        if waiting is not None:
            yield waiting.result()
        waiting = coming
    if waiting is not None:
        yield waiting.result()


def choose(wanted: Mode | Literal["auto"], size: int, room: int, where: str) -> tuple[Mode, str]:
    """Resident or streamed, and why.

    Args:
        wanted: ``data.mode``.
        size: Bytes of the tiles.
        room: Bytes that they may take.
        where: Whose memory that is.
    """
    if wanted != "auto":
        return wanted, "asked for"
    told = f"{size / MEBIBYTE:,.0f} MiB of tiles, {room / MEBIBYTE:,.0f} MiB of {where} for them"
    return ("resident" if size <= room else "streamed"), told


def room(device: torch.device, processes: int, limit: int | None = None) -> int:
    """Bytes of a device's memory that tiles may take in one of so many processes."""
    if limit is not None:
        return limit * MEBIBYTE // processes
    if device.type == "cuda":
        return int(SHARE["cuda"] * torch.cuda.mem_get_info(device)[0])
    return int(SHARE["cpu"] * _free()) // processes


def _free() -> int:
    """Bytes of memory that are free, within the limit of the container if there is one."""
    import psutil

    free = int(psutil.virtual_memory().available)
    with suppress(OSError, ValueError):  # "max", or no such control group
        limit = int(Path("/sys/fs/cgroup/memory.max").read_text(encoding="ascii"))
        free = min(free, limit - int(Path("/sys/fs/cgroup/memory.current").read_text("ascii")))
    return max(free, 0)
