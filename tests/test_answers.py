from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipeline.answers import Answers, labels, units
from pipeline.errors import ComparisonError

TEXT = 'tile_id,actual,predicted,confidence\n"a,1",water,water,0.9\nb,trees,water,0.5\nc,x,x,1\n'


@pytest.fixture
def predictions(tmp_path: Path) -> Path:
    path = tmp_path / "predictions.csv"
    path.write_text(TEXT)
    return path


def _probabilities(folder: Path, ids: list[str]) -> Path:
    path = folder / "probabilities.parquet"
    groups = [{"a,1": "east", "b": "", "c": "west"}.get(tile) for tile in ids]
    pq.write_table(pa.table({"tile_id": ids, "group": pa.array(groups, pa.string())}), path)
    return path


def test_answers_are_read_with_their_places_in_any_order(predictions: Path) -> None:
    places = _probabilities(predictions.parent, ["c", "b", "a,1"])
    found = Answers.read(predictions, places)
    assert found.ids.tolist() == ["a,1", "b", "c"]
    assert found.predicted.tolist() == ["water", "water", "x"]
    assert found.confidence.tolist() == [0.9, 0.5, 1.0]
    assert found.places is not None
    assert found.places.tolist() == ["east", "", "west"]
    some = found.rows(np.array(["c", "a,1"]))
    assert some.actual.tolist() == ["x", "water"]
    assert some.places is not None
    assert some.places.tolist() == ["west", "east"]
    assert Answers.read(predictions).places is None


def test_places_of_other_tiles_are_refused(predictions: Path) -> None:
    with pytest.raises(ComparisonError, match=r"tiles of predictions\.csv"):
        Answers.read(predictions, _probabilities(predictions.parent, ["a,1", "b", "d"]))


def test_an_autoencoder_answers_nothing(tmp_path: Path) -> None:
    (tmp_path / "predictions.csv").write_text("tile_id,actual,mse\na,,0.5\n")
    with pytest.raises(ComparisonError, match="no predicted: only networks that tell classes"):
        Answers.read(tmp_path / "predictions.csv")


def test_a_name_has_one_number_in_all_arrays() -> None:
    first, second = labels([np.array(["b", "a"]), np.array(["c", "b", "a"])])
    assert first.tolist() == [1, 0]
    assert second.tolist() == [2, 1, 0]


def test_a_tile_without_a_place_is_one_of_its_own() -> None:
    codes = units(np.array(["east", "", "east", "west", ""]))
    assert codes is not None
    assert codes[0] == codes[2]
    assert len(set(codes)) == 4
    assert units(np.array(["", ""])) is None
    assert units(None) is None
