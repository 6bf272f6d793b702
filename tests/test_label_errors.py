"""Planted label errors, found by the command; the bar is a precision of 0.8 among the first 50."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml

from pipeline import label_errors
from pipeline.__main__ import main
from pipeline.config import compose, validate
from pipeline.errors import ConfigError, StoreError
from pipeline.exclusion import ids_of
from pipeline.schema import Params
from pipeline.sources.sample import make_scene, places
from pipeline.stages import ingest
from pipeline.store import Store
from pipeline.types import Classes
from tests import little


def _params(*overrides: str) -> Params:
    return validate(yaml.safe_load(compose(["engine.threads=1", "engine.workers=1", *overrides])))


def _planted(share: float) -> tuple[set[str], dict[str, str]]:
    """Give a share of the store's tiles another label; ids of these, and the true labels."""
    store, path = Store.open(), Path("data/tiles/index.parquet")
    table, rng = pq.read_table(path), np.random.default_rng(0)
    labels = table["label"].to_numpy().copy()
    true = {name: store.classes.names[k] for name, k in zip(store.index["id"], labels, strict=True)}
    rows = rng.choice(len(labels), round(share * len(labels)), replace=False)
    labels[rows] = (labels[rows] + rng.integers(1, len(store.classes), len(rows))) % len(
        store.classes
    )
    at = table.schema.get_field_index("label")
    pq.write_table(table.set_column(at, "label", pa.array(labels)), path)
    return set(store.index["id"].iloc[rows]), true


def test_planted_errors_lead_the_ranking(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for place in places(0, 6, 1008.0, Path("data/sample"))[:6]:
        make_scene(place, 1008, 1.0)
    params = _params()
    ingest.run(params.source, params.tiles, params.split, params.engine)
    wrong, true = _planted(0.05)
    assert len(wrong) > 200
    label_errors.run(params, folds=3, epochs=3)
    with label_errors.OUT.open() as file:
        rows = list(csv.DictReader(file))
    hits = [row["tile_id"] in wrong for row in rows]
    assert sum(hits[:50]) / 50 >= 0.8
    told = [
        row["suspected"] == true[row["tile_id"]] for row in rows[:50] if row["tile_id"] in wrong
    ]
    assert np.mean(told) > 0.9  # the class that it had before, too
    margins = [float(row["margin"]) for row in rows]
    assert margins == sorted(margins, reverse=True)
    assert label_errors.PICTURE.read_bytes().startswith(b"\x89PNG")
    # What the command writes, source.exclude takes.
    source = params.source.model_copy(update={"exclude": str(label_errors.OUT.resolve())})
    before = Store.open().index.set_index("id")["split"]
    ingest.run(source, params.tiles, params.split, params.engine)
    after = Store.open().index.set_index("id")["split"]
    assert set(before.index) - set(after.index) == set(ids_of(str(label_errors.OUT)))
    assert (after == before[after.index]).all()  # the others stay where they were


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "data").mkdir()
    return tmp_path


def test_the_command_is_one_of_main_s(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    little.store(Path("data/tiles"))
    content = yaml.safe_load(compose(["engine.threads=1", "engine.precision=32"]))
    content["model"]["layers"] = little.LAYERS
    Path("params.yaml").write_text(yaml.safe_dump(content, sort_keys=False), encoding="utf-8")
    assert main(["label-errors", "--folds", "2", "--epochs", "1"]) == 0
    said = capsys.readouterr().out
    assert "of 133 labels are suspect" in said
    assert label_errors.OUT.read_text().startswith("rank,tile_id,split,given,suspected")
    with pytest.raises(SystemExit):
        main(["label-errors", "--folds", "1"])
    assert "expected a whole number from 2, got '1'" in capsys.readouterr().err


def test_tiles_and_networks_without_classes_are_refused(here: Path) -> None:
    with pytest.raises(ConfigError, match="tells classes to doubt labels"):
        label_errors.run(_params("model=autoencoder"))
    little.store(Path("data/tiles"), Classes(()))
    with pytest.raises(StoreError, match="labelled tiles, got 133 of 0 classes"):
        label_errors.run(_params())


def test_ground_stays_in_one_fold_and_tiles_without_a_place_stand_alone() -> None:
    index = pd.DataFrame(
        {
            "source": ["a", "a", "a", "b", "b"],
            "window_row": [0, 90, 100, 0, 0],
            "window_col": 0,
            "window_height": 10,
            "window_width": 10,
            "group": ["a", "a", "a", "", ""],
        }
    )
    found = label_errors.units(index)
    assert found[0] == found[1] != found[2]
    assert len(set(found)) == 4
