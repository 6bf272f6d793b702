from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.errors import ClassError
from pipeline.sampling import draw, factors
from pipeline.types import Classes

CLASSES = Classes(("trees", "road", "water"))


@settings(max_examples=100, deadline=None)
@given(
    labels=st.lists(st.integers(0, 4), min_size=1, max_size=300).map(np.array),
    epoch=st.integers(0, 99),
)
def test_balanced_classes_come_alike_and_tiles_in_sum_as_often_as_there_are(
    labels: np.ndarray, epoch: int
) -> None:
    tiles = np.bincount(labels, minlength=5)
    names = [f"class{i}" for i in range(5)]
    chosen = factors("balanced", Classes(tuple(names)), dict(zip(names, tiles, strict=True)))
    assert chosen is not None
    counts = draw(labels, chosen, seed=3, epoch=epoch)
    assert counts.sum() == len(labels)
    there = tiles > 0
    came = np.bincount(labels, weights=counts, minlength=5)
    assert np.abs(came[there] - len(labels) / there.sum()).max() < 1 + 1e-9
    expected = len(labels) / (there.sum() * tiles[labels])
    assert np.abs(counts - expected).max() < 1 + 1e-9


def test_each_tile_of_a_class_comes_as_often_on_average() -> None:
    labels = np.repeat([0, 1], [40, 10])
    drawn = [draw(labels, np.array([1.0, 4.0]), seed=0, epoch=epoch) for epoch in range(2000)]
    mean = np.mean(drawn, axis=0)
    assert mean[:40] == pytest.approx([50 / 80] * 40, abs=0.06)  # five standard errors
    assert mean[40:] == pytest.approx([2.5] * 10, abs=0.06)


def test_epochs_and_seeds_differ_and_repeat() -> None:
    labels = np.repeat([0, 1, 2], [60, 30, 3])
    chosen = np.array([1 / 60, 1 / 30, 1 / 3])

    def drawn(seed: int, epoch: int) -> bytes:
        return draw(labels, chosen, seed=seed, epoch=epoch).tobytes()

    assert drawn(0, 0) == drawn(0, 0)
    assert drawn(0, 0) != drawn(0, 1)
    assert drawn(0, 0) != drawn(1, 0)


def test_factors_by_class_and_their_mistakes() -> None:
    tiles = {"trees": 60, "road": 40}
    assert factors("natural", CLASSES, tiles) is None
    assert factors("balanced", Classes(()), {}) is None
    for wanted, expected in (("balanced", [1 / 60, 1 / 40, 0]), ({"road": 3.0}, [1, 3, 1])):
        chosen = factors(wanted, CLASSES, tiles)  # type: ignore[arg-type]
        assert chosen is not None
        assert chosen.tolist() == pytest.approx(expected)
    with pytest.raises(ClassError, match=r"train\.sampling has no class 'roads'.*'road'"):
        factors({"roads": 2.0}, CLASSES, tiles)
    with pytest.raises(ClassError, match=r"above 0 in train\.sampling, got none"):
        factors({"trees": 0.0, "road": 0.0}, CLASSES, tiles)
