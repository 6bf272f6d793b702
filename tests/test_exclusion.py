from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pytest

from pipeline.errors import SourceError
from pipeline.exclusion import ids_of, marked


def test_ids_come_from_a_list_or_from_either_column_of_a_file(tmp_path: Path) -> None:
    assert ids_of(None) == []
    assert ids_of(["a", "b"]) == ["a", "b"]
    path = tmp_path / "wrong.csv"
    path.write_text("rank,tile_id,given\n1,a,water\n2,b:0:28,road\n3,,\n", encoding="utf-8")
    assert ids_of(str(path)) == ["a", "b:0:28"]
    path.write_text("\ufeffid\nc\n", encoding="utf-8")  # as spreadsheets write it
    assert ids_of(str(path)) == ["c"]


def test_a_file_that_names_no_ids_is_told(tmp_path: Path) -> None:
    path = tmp_path / "wrong.csv"
    path.write_text("name,label\n", encoding="utf-8")
    with pytest.raises(SourceError, match=r"column tile_id or id in .*wrong\.csv.*got name, label"):
        ids_of(str(path))
    with pytest.raises(SourceError, match=r"source\.exclude=gone\.csv, got none"):
        ids_of("gone.csv")
    with pytest.raises(SourceError, match="got none"):
        ids_of(str(tmp_path))


def test_marks_tiles_and_tells_ids_of_no_tile() -> None:
    ids = pa.chunked_array([["a", "b"], ["c"]])
    found, unknown = marked(ids, ["c", "a", "c"])
    assert found.tolist() == [True, False, True]
    assert unknown is None
    found, unknown = marked(ids, ["x", "b", "y", "z", "w"])
    assert found.tolist() == [False, True, False]
    assert unknown is not None
    assert unknown.startswith("4 of 5 ids of source.exclude are of no tile: x, y, z, ...")
