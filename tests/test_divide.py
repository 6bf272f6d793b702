from __future__ import annotations

import re
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from pydantic import ValidationError

from pipeline.divide import divide
from pipeline.errors import SplitError
from pipeline.schema import SplitSection
from pipeline.sources.batch import NAME, table
from pipeline.split import DROPPED
from pipeline.types import Classes

CLASSES = Classes(("a", "b"))
ROWS = 40  # tiles of 10 units side by side, of alternating class


def _facts(**changes: Any) -> pa.Table:
    place = np.arange(ROWS)
    columns: dict[str, Any] = {
        "id": pa.array([f"t{i}" for i in place]),
        "label": place % 2,
        "source": "s.tif",
        "window_row": 0,
        "window_col": place * 10,
        "window_height": 10,
        "window_width": 10,
        "left": place * 10.0,
        "bottom": np.zeros(ROWS),
        "right": place * 10.0 + 10,
        "top": np.full(ROWS, 10.0),
        "crs": "EPSG:32633",
        "frame": "EPSG:32633",
        "group": "s.tif",
    }
    return table(columns | changes, ROWS)


def _section(**changes: Any) -> SplitSection:
    given = {"method": "auto", "train": 0.5, "validation": 0.25, "test": 0.25, "seed": 0}
    return SplitSection(**(given | changes))


def _names(values: list[Any]) -> pa.Array:
    return pa.array(values, pa.string()).cast(NAME)


@pytest.mark.parametrize(
    ("kind", "changes", "method"),
    [
        ("scenes", {}, "block"),
        ("scenes", {"left": None, "crs": None, "frame": "s.tif"}, "group"),
        ("folders", {}, "group"),
        ("folders", {"group": _names([f"{i}.tif" for i in range(ROWS)])}, "random"),
        ("sat", {"group": None, "frame": None}, "random"),
        ("sat", {"official": _names(["train"] * 30 + ["test"] * 10), "group": None}, "official"),
    ],
)
def test_auto_chooses_by_what_is_known(kind: str, changes: dict[str, Any], method: str) -> None:
    if method == "group":  # one group can't fill three splits
        changes = changes | {"group": _names([f"{i // 2}.tif" for i in range(ROWS)])}
    section = _section(block_size=20) if method == "block" else _section()
    division = divide(_facts(**changes), kind, CLASSES, section)
    assert division.method == method
    assert set(division.split) == {0, 1, 2}


def test_a_block_is_ten_tiles_wide_unless_told() -> None:
    division = divide(_facts(), "scenes", CLASSES, _section())
    runs = division.split.reshape(4, 10)
    assert (runs == runs[:, :1]).all()
    assert (division.split != DROPPED).all()


def test_tiles_with_no_place_have_no_blocks() -> None:
    with pytest.raises(SplitError, match="tiles with a place"):
        divide(_facts(frame=None), "sat", CLASSES, _section(method="block"))


def test_tiles_that_lie_in_a_block_without_a_centre_are_dropped_too() -> None:
    """Two tiles far enough apart for two blocks meet in a third that is nobody's."""
    left = np.arange(ROWS) * 100.0
    left[20], left[21] = 2009.9 - 7, 2009.9  # centres in blocks 200 and 201, of ten units
    facts = _facts(left=left, right=left + 10)
    for seed in range(8):
        division = divide(facts, "scenes", CLASSES, _section(block_size=10, seed=seed))
        kept = division.split[20:22]
        assert kept[0] == kept[1] or DROPPED in kept


def test_an_official_split_without_test_tiles_is_told_before_anything_is_trained() -> None:
    facts = _facts(group=None, frame=None, official=_names(["train"] * ROWS))
    with pytest.raises(SplitError, match=r"Expected test tiles .*got none\. Set split=auto"):
        divide(
            facts, "sat", CLASSES, _section(method="official", train=0.9, validation=0.1, test=0)
        )
    assert divide(facts, "sat", CLASSES, _section()).method == "random"


def test_an_official_split_that_tears_a_group_is_refused() -> None:
    group = _names(["torn"] * 2 + [f"{i}.tif" for i in range(ROWS - 2)])
    official = _names(["train", "test"] + ["train"] * 30 + ["test"] * 8)
    with pytest.raises(SplitError, match="each group in one split, got torn in two"):
        divide(_facts(group=group, official=official), "sat", CLASSES, _section())


def test_each_missing_class_is_named_with_its_split() -> None:
    labels = np.zeros(ROWS, np.int64)
    with pytest.raises(SplitError, match="b from train, b from validation, b from test"):
        divide(_facts(label=labels), "folders", CLASSES, _section(method="random"))
    labels[0] = 1
    with pytest.raises(SplitError, match="missing: b from validation, b from test, with"):
        divide(_facts(label=labels), "folders", CLASSES, _section(method="random"))


def test_overlapping_tiles_split_at_random_are_refused_by_name() -> None:
    left = np.arange(ROWS) * 5.0
    with pytest.raises(SplitError, match=r"same place in \w+ \(tile t\d+\) and in \w+ \(tile t\d+"):
        divide(_facts(left=left, right=left + 10), "scenes", CLASSES, _section(method="random"))


def test_tiles_beyond_train_per_class_are_dropped_and_counted() -> None:
    division = divide(_facts(), "scenes", CLASSES, _section(method="random", train_per_class=4))
    labels = np.arange(ROWS) % 2
    assert np.bincount(labels[division.split == 0]).tolist() == [4, 4]
    assert np.bincount(labels[division.split > 0]).tolist() == [10, 10]
    assert +division.dropped == {"beyond split.train_per_class": 12}


def test_tiles_without_labels_are_split_all_the_same() -> None:
    facts = _facts(label=np.zeros(ROWS, np.int64))
    division = divide(facts, "scenes", Classes(()), _section(method="random"))
    assert np.bincount(division.split).tolist() == [20, 10, 10]
    blocks = divide(facts, "scenes", Classes(()), _section()).split.reshape(4, 10)
    assert (blocks == blocks[:, :1]).all()
    with pytest.raises(SplitError, match=r"labelled tiles for split\.train_per_class=4, got tiles"):
        divide(facts, "scenes", Classes(()), _section(train_per_class=4))


def test_a_split_without_tiles_is_named_where_there_are_no_labels() -> None:
    facts = _facts(label=np.zeros(ROWS, np.int64))
    with pytest.raises(SplitError, match=r"tiles in each split, .*tiles from validation, .*=scene"):
        divide(facts, "scenes", Classes(()), _section(method="scene"))


@pytest.mark.parametrize("changes", [{}, {"official": _names(["train"] * 30 + ["test"] * 10)}])
def test_folds_are_each_the_test_once_and_what_the_source_brings_is_a_tile_as_all(
    changes: dict[str, Any],
) -> None:
    sections = [_section(folds=4, fold=fold, block_size=20) for fold in range(4)]
    divisions = [divide(_facts(**changes), "scenes", CLASSES, section) for section in sections]
    splits = np.stack([division.split for division in divisions])
    assert ((splits == 2).sum(axis=0) == 1).all()
    blocks = splits.reshape(4, 20, 2)
    assert (blocks == blocks[:, :, :1]).all()
    assert {division.method for division in divisions} == {"block"}
    assert divisions[1].why.endswith("; fold 1 of 0 to 3 is the test")


def test_more_folds_than_groups_are_refused() -> None:
    group = _names([f"{i % 3}.tif" for i in range(ROWS)])
    facts = _facts(group=group, left=None, crs=None, frame=None)
    with pytest.raises(SplitError, match=r"each class in each split.*fewer split\.folds"):
        divide(facts, "folders", CLASSES, _section(folds=5, fold=4))


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"folds": 3, "fold": 3}, "a fold from 0 to 2 of split.folds=3, got split.fold=3"),
        ({"folds": 3, "method": "official"}, "split=auto makes folds of all tiles"),
        ({"folds": 3, "train": 0, "validation": 0, "test": 1}, "split.train above 0"),
        ({"folds": 1}, "greater than or equal to 2"),
    ],
)
def test_folds_that_can_t_be_are_refused(changes: dict[str, Any], words: str) -> None:
    with pytest.raises(ValidationError, match=re.escape(words)):
        _section(**changes)
