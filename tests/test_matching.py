from __future__ import annotations

import numpy as np
import pytest

from pipeline.errors import BundleError
from pipeline.matching import UNKNOWN, Kind, Match
from pipeline.types import Bands, Classes

NETWORK = Kind(Bands(("red", "nir")), Classes(("trees", "water", "road")), 28, "models")


def _store(bands: tuple[str, ...], classes: tuple[str, ...], size: int = 28) -> Kind:
    return Kind(Bands(bands), Classes(classes), size, "tiles")


def test_bands_and_classes_are_found_by_name() -> None:
    found = Match.of(NETWORK, _store(("nir", "blue", "red"), ("water", "snow", "trees")))
    assert found.bands == (2, 0)
    np.testing.assert_array_equal(found.labels, [1, UNKNOWN, 0])
    assert found.left_out({"water": 3, "snow": 2, "trees": 1}) == {"snow": 2}
    assert found.left_out({"water": 3, "snow": 0, "trees": 1}) == {}


@pytest.mark.parametrize(
    ("store", "sentence"),
    [
        (
            _store(("red", "blue"), ("water", "trees")),
            "Expected the bands red, nir, as the network in models takes them, got red, blue in "
            "tiles. Ingest tiles that have nir, by that name.",
        ),
        (
            _store(("red", "nir"), ("snow", "ice")),
            "Expected tiles of a class among trees, water, road, as the network in models takes "
            "them, got snow, ice in tiles. Name the classes alike.",
        ),
        (
            _store(("red", "nir"), ()),
            "Expected tiles of a class among trees, water, road, as the network in models takes "
            "them, got tiles without labels in tiles. Name the classes alike.",
        ),
        (
            _store(("red", "nir"), ("water", "trees"), 64),
            "Expected tiles of 28 x 28 pixels, as the network in models takes them, got 64 x 64 "
            "in tiles. Ingest them with tiles.size=28.",
        ),
    ],
)
def test_what_does_not_match_is_one_sentence(store: Kind, sentence: str) -> None:
    with pytest.raises(BundleError) as told:
        Match.of(NETWORK, store)
    assert str(told.value) == sentence
