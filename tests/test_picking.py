from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from pipeline import picking
from pipeline.errors import ConfigError
from pipeline.store import Store
from pipeline.trained import Trained
from pipeline.types import Classes
from tests import little


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    return little.store(tmp_path_factory.mktemp("picking") / "tiles")  # 90, 12 and 31 tiles


@pytest.mark.parametrize(
    ("word", "split", "rows"),
    [
        ("0", None, [0]), ("132", None, [132]), ("0", "test", [102]), ("3-5", None, [3, 4, 5]),
        ("30", "test", [132]), ("7-7", "validation", [97]), ("test:4", None, [106]),
        ("test:4", "test", [106]), (" 5 ", None, [5]),
    ],
)  # fmt: skip
def test_a_number_a_range_or_an_id_names_tiles(
    store: Store, word: str, split: str | None, rows: list[int]
) -> None:
    assert picking.pick(store, word, split) == rows


@pytest.mark.parametrize(
    ("word", "split", "told"),
    [
        ("133", None, r"of the store from 0 to 132, .* got 133"),
        ("-1", None, r"from 0 to 132, .* got -1"),
        ("31", "test", r"of the test split from 0 to 30"),
        ("5-3", None, r"got 5-3"),
        ("120-140", None, r"from 0 to 132, .* got 120-140"),
        ("0-100", None, r"at most 100 tiles, got 101 in 0-100"),
        ("test:44", None, r"got 'test:44'\. Did you mean test:4\?"),
        ("3.5", None, r"a range such as 3-7 or the id of a tile .* got '3\.5'"),
        ("", None, r"got ''"),
        ("test:4", "train", r"Expected a tile of the train split, got test:4, which is in another"),
        ("0", "tets", r"a split, train, validation, test, got 'tets'\. Did you mean test\?"),
    ],
)
def test_what_names_no_tile_is_told(store: Store, word: str, split: str | None, told: str) -> None:
    with pytest.raises(ConfigError, match=told):
        picking.pick(store, word, split)


def test_tiles_of_a_class_come_in_the_order_of_the_split(store: Store) -> None:
    assert picking.of_class(store, "trees", "test", 3) == [103, 106, 109]
    assert picking.of_class(store, None, "validation", 2) == [90, 91]


def test_the_worst_tiles_are_those_whose_class_is_given_least(tmp_path: Path) -> None:
    store, bundle = little.project(tmp_path)
    trained = Trained(store, bundle)
    rows = picking.of_class(store, "water", "test", 100, trained)
    labels = store.labels("test")
    assert sorted(rows) == [102 + int(row) for row in np.flatnonzero(labels == 2)]
    shares = bundle.probabilities(store.pixels("test"), batch_size=31)[[r - 102 for r in rows], 2]
    assert (np.diff(shares) >= 0).all()
    assert shares[0] < shares[-1]
    whole = picking.of_class(store, None, "test", 1, trained)
    of_truth = bundle.probabilities(store.pixels("test"), batch_size=31)[np.arange(31), labels]
    assert whole == [102 + int(of_truth.argmin())]


@pytest.mark.parametrize(
    ("name", "split", "count", "told"),
    [
        ("tree", "test", 1, r"building, trees, water, got 'tree'\. Did you mean trees\?"),
        ("trees", "test", 0, "from 1 to 100 tiles, got 0"),
        ("trees", "trian", 1, "Did you mean train"),
    ],
)
def test_a_class_that_is_none_is_told(
    store: Store, name: str, split: str, count: int, told: str
) -> None:
    with pytest.raises(ConfigError, match=told):
        picking.of_class(store, name, split, count)


def test_a_class_or_a_split_without_tiles_is_told(tmp_path: Path) -> None:
    few = little.store(tmp_path / "few", counts=(3, 0, 1))
    with pytest.raises(ConfigError, match="Expected tiles of water in the test split, got none"):
        picking.of_class(few, "water", "test", 1)
    with pytest.raises(ConfigError, match="tiles in the validation split, got none"):
        picking.pick(few, "0", "validation")
    bare = little.store(tmp_path / "bare", Classes(()))
    with pytest.raises(ConfigError, match="tiles with labels"):
        picking.of_class(bare, None, "test", 1)
