"""Resident memory of the stage train while it streams a store of 10 GiB, over one of 1 GiB.

All pages of the process, and the anonymous ones alone: the others are those of libraries, as the
store is read and not mapped. A run is watched over two groups of windows, after two that settle it,
and then ended: no whole epoch.
"""

from __future__ import annotations

import re
import shutil
import statistics
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory, gettempdir

from benchmarks import stores
from benchmarks.children import STEPPING, lines, prepare, started
from benchmarks.paired import Bar, LeftOut, Ratio, Row
from pipeline.feeding import MEBIBYTE
from pipeline.order import Order

SIZES = (10, 1)  # GiB of tiles
BAR = Bar(0.9, 1.1)
SPARE = 2 * 2**30  # bytes of the disk that stay free
PAIRS = 3
KINDS = {"Rss": "all pages", "Anonymous": "anonymous pages"}
OPTIONS = ["model=lecture", "data.mode=streamed", "augment=none"]
BATCH = 256


def measure() -> Iterator[Row]:
    """All pages of the process, and its own."""
    names = {kind: f"memory, streaming 10 GiB over 1 GiB, {said}" for kind, said in KINDS.items()}
    if shutil.disk_usage(gettempdir()).free < sum(SIZES) * 2**30 + SPARE:
        reason = f"less than {sum(SIZES) + SPARE // 2**30} GiB free in {gettempdir()}"
        yield from (LeftOut(name, BAR, reason) for name in names.values())
        return
    with TemporaryDirectory() as folder:
        for size in SIZES:
            stores.write(_place(folder, size) / "data" / "tiles", size * 2**30 // stores.TILE_BYTES)
            prepare(_place(folder, size), [*OPTIONS, f"train.batch_size={BATCH}"])
        found = [[_watched(_place(folder, size)) for size in SIZES] for _ in range(PAIRS)]
    for kind, name in names.items():
        large, small = ([pair[way][kind] for pair in found] for way in (0, 1))
        quotients = tuple(a / b for a, b in zip(large, small, strict=True))
        yield Ratio(name, quotients, BAR, *(_told(values) for values in (large, small)))


def _place(folder: str, size: int) -> Path:
    return Path(folder) / f"{size}"


def _told(values: list[float]) -> str:
    return f"{statistics.median(values):,.0f} MiB"


def _watched(folder: Path) -> dict[str, float]:
    """MiB by kind: the most it held while it went through some groups of windows."""
    group = len(next(Order(10**6, stores.TILE_BYTES, 0).groups()))
    seen: list[dict[str, float]] = []
    with started(STEPPING, folder) as process:
        for line in lines(process, "steps"):
            trained = int(line.split()[1]) * BATCH
            if trained > 2 * group:
                seen.append(pages(Path(f"/proc/{process.pid}/smaps_rollup").read_text("ascii")))
            if trained > 6 * group:
                break
    return {kind: max(sample[kind] for sample in seen) for kind in KINDS}


def pages(text: str) -> dict[str, float]:
    """MiB of each kind of page in ``smaps_rollup``."""
    found = re.findall(r"^(\w+): +(\d+) kB$", text, re.M)
    return {kind: int(number) * 1024 / MEBIBYTE for kind, number in found}
