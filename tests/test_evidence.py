from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from numpy.typing import NDArray

from pipeline import evidence, metrics
from pipeline.errors import StoreError
from pipeline.evidence import Evidence
from pipeline.places import Places
from pipeline.types import Classes

CLASSES = Classes(("trees", "p/q", "water"))


def _evidence(count: int = 20) -> Evidence:
    rng = np.random.default_rng(1)
    places = Places("groups", np.array([f"g{i // 4}" for i in range(count)], object))
    return Evidence(
        tuple(f"t{i:02}" for i in range(count)),
        rng.integers(0, 3, count),
        rng.dirichlet(np.ones(3), count).astype(np.float32),
        places,
        CLASSES,
    )


def _part(whole: Evidence, rows: NDArray[np.int64]) -> Evidence:
    return Evidence(
        tuple(whole.ids[i] for i in rows),
        whole.actual[rows],
        whole.probabilities[rows],
        Places(whole.places.over, whole.places.names[rows]),
        whole.classes,
    )


def test_what_is_written_is_read(tmp_path: Path) -> None:
    whole, path = _evidence(), tmp_path / "reports/probabilities.parquet"
    evidence.write(whole, path)
    names = ["tile_id", "actual", "group", "p/trees", "p/p/q", "p/water"]
    assert pq.read_table(path).column_names == names
    again = evidence.read(path)
    assert (again.ids, again.classes, again.places.over) == (whole.ids, CLASSES, "groups")
    assert again.places.names.tolist() == whole.places.names.tolist()
    np.testing.assert_array_equal(again.actual, whole.actual)
    np.testing.assert_array_equal(again.probabilities, whole.probabilities)


def test_nothing_is_written_and_read(tmp_path: Path) -> None:
    evidence.write(Evidence.none(), tmp_path / "p.parquet")
    assert evidence.read(tmp_path / "p.parquet").ids == ()


def test_what_is_not_there_is_said(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="dvc repro evaluate"):
        evidence.read(tmp_path / "p.parquet")


@pytest.mark.parametrize("slices", [1, 2, 5])
def test_slices_join_to_the_same_whole(slices: int) -> None:
    whole = _evidence()
    parts = [_part(whole, np.arange(20)[i::slices]) for i in range(slices)]
    joined = Evidence.joined(parts[::-1])
    assert joined.ids == whole.ids
    np.testing.assert_array_equal(joined.probabilities, whole.probabilities)
    np.testing.assert_array_equal(joined.counts, whole.counts)


def test_counts_are_those_of_the_likeliest_class() -> None:
    whole = _evidence()
    expected = metrics.confusion(whole.actual, whole.probabilities.argmax(axis=1), 3)
    np.testing.assert_array_equal(whole.counts, expected)
    assert whole.hits.sum() == np.trace(expected)
