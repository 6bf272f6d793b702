from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest

from pipeline.errors import StoreError
from pipeline.places import Places
from pipeline.resampling import Resampling

NAN = float("nan")


def _index(rows: list[dict[str, Any]]) -> pd.DataFrame:
    plain = {
        "source": "a.tif", "group": "", "crs": None, "window_row": 0, "window_col": 0,
        "window_height": 8, "window_width": 8, "left": NAN, "bottom": NAN, "right": NAN, "top": NAN,
    }  # fmt: skip
    return pd.DataFrame([plain | {"id": str(i)} | row for i, row in enumerate(rows)])


def _ground(x: float, y: float, crs: str = "EPSG:32633") -> dict[str, Any]:
    return {"left": x, "bottom": y, "right": x + 8, "top": y + 8, "crs": crs}


def test_groups_that_were_kept_whole_are_the_places() -> None:
    index = _index([{"group": g} | _ground(0, 0) for g in ("p", "q", "q", "r", "r")])
    found = Places.of(index, range(1, 5))
    assert found.over == "groups"
    assert found.names.tolist() == ["q", "q", "r", "r"]
    assert found.codes.tolist() == [0, 0, 1, 1]


def test_groups_torn_by_the_split_give_way_to_squares_ten_tiles_wide() -> None:
    spots = [(0.0, 0.0), (70.0, 0.0), (80.0, 0.0), (0.0, -8.0)]
    index = _index([{"group": g} | _ground(*spots[i % 4]) for i, g in enumerate("pqpqpqpq")])
    found = Places.of(index, range(4, 8))
    assert found.over == "blocks"
    assert found.names.tolist() == [
        "EPSG:32633 0 0", "EPSG:32633 0 0", "EPSG:32633 80 0", "EPSG:32633 0 -80"
    ]  # fmt: skip


def test_the_same_place_in_two_frames_is_two_places() -> None:
    index = _index([_ground(0, 0), _ground(0, 0), _ground(0, 0, "EPSG:32634")])
    assert Places.of(index, range(3)).codes.tolist() == [0, 0, 1]


def test_windows_of_a_file_stand_for_ground_where_there_is_no_crs() -> None:
    index = _index([{"window_col": 8 * i} for i in range(20)])
    found = Places.of(index, range(20))
    assert (found.over, len(set(found.names))) == ("blocks", 2)
    assert found.names[0] == "a.tif 0 0"


def test_tiles_that_lie_nowhere_stand_alone() -> None:
    index = _index([{}, {}, {}])  # all in the same window, as those of a .mat file
    found = Places.of(index, range(3))
    assert (found.over, found.names.tolist()) == ("tiles", ["0", "1", "2"])
    with pytest.raises(StoreError, match=r"evaluate\.places=auto"):
        Places.of(index, range(3), "block")


def test_a_place_a_tile_resamples_tiles_and_one_place_for_all_nothing() -> None:
    each = _index([{"source": name} for name in "abcd"])
    assert Places.of(each, range(4), "scene").over == "tiles"
    one = Places.of(_index([{"source": "a"}] * 4), range(4), "scene")
    assert (one.over, set(one.names)) == ("scenes", {"a"})
    hits = np.array([1.0, 0.0, 1.0, 1.0])
    again = Resampling.of(one)
    ends = again.share(hits, np.ones(4, bool), np.full(len(again.weights), 0.75))
    assert np.isnan(ends).all()


def test_what_is_wanted_is_what_is_taken() -> None:
    index = _index([{"source": s, "group": g} for s, g in zip("aabb", "pqrr", strict=True)])
    assert Places.of(index, range(4), "scene").names.tolist() == list("aabb")
    assert Places.of(index, range(4), "group").names.tolist() == list("pqrr")
    assert Places.of(index, range(4), "tile").over == "tiles"
