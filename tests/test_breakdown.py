from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from pipeline import breakdown
from pipeline.measuring import Measurement
from pipeline.metrics import wilson
from tests import measured


def _index(sources: list[str]) -> pd.DataFrame:
    return pd.DataFrame({"id": [f"t{i:05}" for i in range(len(sources))], "source": sources})


def test_tiles_that_fail_together_count_less_and_the_worst_scene_comes_first() -> None:
    some = Measurement.of(measured.evidence(600, 40))
    scene = {tile: f"s{int(g[1:]) % 3}" for tile, g in zip(
        some.evidence.ids, some.evidence.places.names, strict=True)}  # fmt: skip
    rows = breakdown.rows(some, scene)
    assert sum(row.n for row in rows) == 600
    assert sum(row.hits for row in rows) == some.evidence.hits.sum()
    assert [row.accuracy for row in rows] == sorted(row.accuracy for row in rows)
    for row in rows:
        assert row.reach[0] < row.accuracy < row.reach[1]
        # Tiles of a place fail together, so that places say less than tiles.
        alone = wilson(row.hits, row.n)
        assert row.reach[1] - row.reach[0] > alone[1] - alone[0]


def test_a_single_place_is_measured_over_its_tiles() -> None:
    some = Measurement.of(measured.evidence(200, 10))
    index = _index(["a.mat"] * 200)
    group = breakdown.level(index, some)
    rows = breakdown.rows(some, group)
    assert {row.name for row in rows} == set(some.evidence.places.names)
    for row in rows:
        assert row.reach == wilson(row.hits, row.n)


def test_tiles_that_stand_alone_have_no_groups() -> None:
    some = Measurement.of(measured.evidence(50, 0))
    assert breakdown.level(_index(["a.mat"] * 50), some) == {}
    assert breakdown.level(_index([f"{i}.tif" for i in range(50)]), some) == {}
    assert breakdown.rows(some, {}) == []


def test_scenes_are_groups_where_there_are_several() -> None:
    some = Measurement.of(measured.evidence(50, 0))
    group = breakdown.level(_index(["a.tif"] * 20 + ["b.tif"] * 30), some)
    found = {row.name: row for row in breakdown.rows(some, group)}
    assert (found["a.tif"].n, found["b.tif"].n) == (20, 30)
    hits = np.array([group[tile] == "a.tif" for tile in some.evidence.ids]) & some.evidence.hits
    assert found["a.tif"].accuracy == pytest.approx(hits.sum() / 20)
