"""Make the sample scenes: ``data/sample/scenes`` to learn from, ``data/sample/extra`` to map."""

from __future__ import annotations

import os
import shutil
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import TYPE_CHECKING

from pipeline.sources.sample import make_scene, places

if TYPE_CHECKING:
    from pipeline.schema import SampleSection

ROOT = Path("data/sample")


def run(sample: SampleSection) -> None:
    """Make all scenes, several at once."""
    shutil.rmtree(ROOT, ignore_errors=True)  # scenes of an earlier, larger sample
    todo = places(sample.seed, sample.scenes, sample.size * sample.resolution, ROOT)
    make = partial(make_scene, size=sample.size, resolution=sample.resolution)
    workers = min(os.cpu_count() or 1, len(todo))
    # A thread each: more would wait for each other. Workers read this when they load numpy.
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    # Rasterio's handles do not survive a fork.
    with ProcessPoolExecutor(workers, mp_context=get_context("spawn")) as pool:
        for place, _ in zip(todo, pool.map(make, todo), strict=True):
            print(f"{place.path}")
