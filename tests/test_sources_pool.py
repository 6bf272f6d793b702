from __future__ import annotations

import os
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from pipeline.errors import SourceError
from pipeline.sources.batch import Plan, TileBatch, table
from pipeline.sources.pool import read_all
from pipeline.types import Bands, Classes


@dataclass(frozen=True)
class Numbers:
    """Tiles of one value, in two batches; or a process that dies."""

    value: int
    dies: bool = False
    cost: int = 10**9

    def read(self) -> Iterator[TileBatch]:
        if self.dies:
            os._exit(9)
        for count in (1, 2):
            pixels = np.full((count, 2, 2, 1), self.value, np.uint8)
            facts = table({"id": "x", "label": self.value, "source": f"{self.value}"}, count)
            yield TileBatch(pixels, facts, Counter({"nodata": self.value}))


def _plan(*tasks: Numbers) -> Plan:
    return Plan("sat", Bands(("red",)), Classes(("a", "b")), np.dtype(np.uint8), tasks, [])


@pytest.mark.parametrize("workers", [1, 3])
def test_parts_come_in_order_with_all_their_tiles(tmp_path: Path, workers: int) -> None:
    plan = _plan(*(Numbers(value) for value in range(7)))
    parts = list(read_all(plan, tmp_path, workers))
    assert [part.facts["label"].to_pylist() for part in parts] == [[v] * 3 for v in range(7)]
    assert [part.dropped["nodata"] for part in parts] == [2 * value for value in range(7)]
    for value, part in enumerate(parts):
        assert part.path.read_bytes() == bytes([value] * 12)
        assert part.moments.shape == (3, 2, 1)


def test_a_worker_that_dies_is_told(tmp_path: Path) -> None:
    plan = _plan(Numbers(1), Numbers(2, dies=True))
    with pytest.raises(SourceError, match=r"one was killed.*engine\.workers"):
        list(read_all(plan, tmp_path, 2))


def test_workers_import_nothing_heavy() -> None:
    code = (
        "import sys, pipeline.sources.pool, pipeline.sources.scenes, pipeline.sources.sat\n"
        "print(*{'torch', 'mlflow', 'pandas', 'geopandas', 'sklearn'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == ""
