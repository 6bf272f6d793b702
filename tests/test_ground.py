"""Ground that a network learned from is known again, in its own CRS and in another."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest
from rasterio.warp import transform

from pipeline import ground

SIDE = 28.0


def tiles(corners: list[tuple[float, float]], crs: str | None = "EPSG:32633") -> pd.DataFrame:
    """Tiles by their lower left corners, in metres from a place near Prague."""
    rows: list[dict[str, Any]] = []
    for x, y in corners:
        left, bottom = 400_000.0 + x, 5_600_000.0 + y
        sides = {"left": left, "bottom": bottom, "right": left + SIDE, "top": bottom + SIDE}
        rows.append({"crs": crs, **(sides if crs else dict.fromkeys(sides, np.nan))})
    return pd.DataFrame(rows)


GRID = tiles([(SIDE * i, SIDE * j) for i in range(20) for j in range(20) if (i, j) != (10, 10)])


def test_shares_of_tiles_on_known_ground() -> None:
    known = ground.kept(GRID)
    asked = tiles([(0, 0), (-14, 0), (-14, -14), (-28, 0), (280, 280), (294, 280), (5000, 0)])
    expected = [1, 0.5, 0.25, 0, 0, 0.5, 0]
    np.testing.assert_allclose(ground.shares(asked, known), expected, atol=2e-3)
    assert sum(map(len, known.values())) < 500  # neighbours have become one polygon


def test_the_same_ground_in_another_crs() -> None:
    asked = tiles([(14, 14), (-14, 14), (5000, 0)])
    x, y = (asked[[a, b]].to_numpy().ravel() for a, b in (("left", "right"), ("bottom", "top")))
    east, north = (np.reshape(v, (-1, 2)) for v in transform("EPSG:32633", "EPSG:4326", x, y))
    moved = pd.DataFrame(
        {"crs": "EPSG:4326", "left": east.min(1), "right": east.max(1), "bottom": north.min(1),
         "top": north.max(1)}
    )  # fmt: skip
    # Boxes of degrees are turned a little against those of metres.
    np.testing.assert_allclose(ground.shares(moved, ground.kept(GRID)), [1, 0.5, 0], atol=0.03)


def test_tiles_without_a_place_share_none() -> None:
    nowhere = tiles([(0, 0)], crs=None)
    assert ground.kept(nowhere) == {}
    assert ground.shares(nowhere, ground.kept(GRID)).tolist() == [0]
    assert ground.shares(GRID, {}).tolist() == [0] * len(GRID)


def test_ground_with_too_many_corners_is_not_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ground, "MOST", 9)
    assert ground.kept(GRID) == {}
    assert list(ground.kept(tiles([(0, 0)]))) == ["EPSG:32633"]
