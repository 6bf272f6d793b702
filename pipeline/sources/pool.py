"""Tasks read by worker processes: pixels go to part files, only facts travel back."""

from __future__ import annotations

import multiprocessing
import os
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from pipeline.errors import SourceError
from pipeline.sources.batch import FACTS, Plan, Task
from pipeline.stats import tile_moments

# Below this, starting processes takes longer than reading.
ALONE_BYTES = 48 * 2**20
# A worker holds about 200 MiB, so more of them than this are not worth their memory; who has more
# of it sets engine.workers.
MOST_WORKERS = 4
THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")


@dataclass(frozen=True)
class Part:
    """What one task gave: a file of raw pixels (N, H, W, C), and facts and moments of its tiles."""

    path: Path
    facts: pa.Table
    moments: NDArray[np.float64]  # (N, 2, C)
    dropped: Counter[str]


def read_part(task: Task, path: Path) -> Part:
    """Run a task, in whatever process this is."""
    tables, moments, dropped = [FACTS.empty_table()], [], Counter[str]()
    with path.open("wb") as file:
        for batch in task.read():
            dropped.update(batch.dropped)
            tables.append(batch.facts)
            moments.append(tile_moments(batch.pixels))
            file.write(np.ascontiguousarray(batch.pixels).data)  # tofile hides what went wrong
    facts = pa.concat_tables(tables).unify_dictionaries().combine_chunks()
    return Part(path, facts, np.concatenate(moments) if moments else np.empty((0, 2, 0)), dropped)


@dataclass(frozen=True)
class PartPixels:
    """Pixels of the tiles of all parts, by the row that a tile has in the facts of all."""

    parts: Sequence[Part]
    shape: tuple[int, int, int]  # (H, W, C)
    dtype: np.dtype[Any]

    def __call__(self, rows: NDArray[np.int64]) -> NDArray[Any]:
        """Pixels (n, H, W, C) of rising rows."""
        out = np.empty((len(rows), *self.shape), self.dtype)
        ends = np.cumsum([len(part.facts) for part in self.parts])
        number = np.searchsorted(ends, rows, side="right")
        for place in np.unique(number):
            here = np.flatnonzero(number == place)
            start = int(ends[place]) - len(self.parts[place].facts)
            self._read(self.parts[place].path, rows[here] - start, out[here[0] : here[-1] + 1])
        return out

    def _read(self, path: Path, rows: NDArray[np.int64], out: NDArray[Any]) -> None:
        """Read a file's tiles, neighbours at once: through the file, whose map would count."""
        tile = int(np.prod(self.shape)) * self.dtype.itemsize
        firsts = np.flatnonzero(np.diff(rows, prepend=rows[0] - 2) != 1)
        with path.open("rb") as file:
            for first, end in zip(firsts, [*firsts[1:], len(rows)], strict=True):
                file.seek(int(rows[first]) * tile)
                file.readinto(out[first:end].data.cast("B"))


def read_all(plan: Plan, folder: Path, workers: int | None) -> Iterator[Part]:
    """Parts in the order of the plan's tasks, whatever the number of workers."""
    paths = [folder / f"part-{number}.raw" for number in range(len(plan.tasks))]
    count = min(workers or min(_cores(), MOST_WORKERS), len(plan.tasks))
    if count < 2 or sum(task.cost for task in plan.tasks) < ALONE_BYTES:
        yield from map(read_part, plan.tasks, paths)
    else:
        yield from _read_with(count, plan.kind, plan.tasks, paths)


def _read_with(
    workers: int, kind: str, tasks: Sequence[Task], paths: Sequence[Path]
) -> Iterator[Part]:
    with _one_thread_each():
        executor = ProcessPoolExecutor(workers, _context(kind))
        try:
            yield from executor.map(read_part, tasks, paths)
        except BrokenProcessPool as error:
            raise SourceError(
                "Expected the workers to read the source to its end, but one was killed, probably "
                "for lack of memory. Set engine.workers to a smaller number."
            ) from error
        finally:
            executor.shutdown(cancel_futures=True)


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _context(kind: str) -> multiprocessing.context.BaseContext:
    """Processes forked from a clean one that has imported the readers, but opened nothing."""
    if "forkserver" not in multiprocessing.get_all_start_methods():
        return multiprocessing.get_context("spawn")
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([__name__, f"pipeline.sources.{kind}"])
    return context


@contextmanager
def _one_thread_each() -> Iterator[None]:
    """Let numpy start no threads of its own in the workers, which are as many as the cores."""
    before = {name: os.environ.get(name) for name in THREADS}
    os.environ.update(dict.fromkeys(THREADS, "1"))
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value
