from __future__ import annotations

import csv
import json
import re
from pathlib import Path

import numpy as np
import pytest
from sklearn.metrics import accuracy_score, f1_score

from pipeline import beside
from pipeline.errors import ComparisonError, StoreError
from pipeline.evidence import Evidence
from pipeline.measuring import Measurement
from pipeline.places import Places
from pipeline.schema import BaselineSection, EvaluateSection
from pipeline.stages import baseline, evaluate
from pipeline.store import Store
from pipeline.types import Classes
from tests import little

SECTION = BaselineSection(trees=10, most=None, seed=0)
MEASURED = EvaluateSection(split="test", batch_size=8, places="tile")
METHODS = ["majority", "logistic_regression", "random_forest"]


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    little.store(tmp_path / "data/tiles")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def _run(split: str = "test", section: BaselineSection = SECTION) -> bytes:
    measured = MEASURED.model_copy(update={"split": split})
    baseline.run(section, measured, little.ENGINE)
    return Path("reports/baseline.json").read_bytes() + Path("reports/baseline.csv").read_bytes()


def test_measures_agree_with_the_answers(here: Path) -> None:
    _run()
    summary = json.loads(Path("reports/baseline.json").read_text())
    with Path("reports/baseline.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert list(rows[0]) == ["tile_id", "actual", *METHODS]
    assert [row["tile_id"] for row in rows] == [f"test:{i}" for i in range(31)]
    assert (summary["n"], summary["learned_from"], summary["split"]) == (31, 90, "test")
    assert list(summary["methods"]) == METHODS
    actual = [row["actual"] for row in rows]
    for name, values in summary["methods"].items():
        found = [row[name] for row in rows]
        assert values["accuracy"] == pytest.approx(accuracy_score(actual, found), abs=1e-6)
        expected = f1_score(actual, found, average="macro", zero_division=0)
        assert values["macro_f1"] == pytest.approx(expected, abs=1e-6)
    assert summary["methods"]["random_forest"]["accuracy"] > 0.8


def test_intervals_are_those_of_a_network_with_the_same_answers(here: Path) -> None:
    """Over places: four of them, where the tiles alone would promise more."""
    measured = MEASURED.model_copy(update={"places": "auto"})
    baseline.run(SECTION, measured, little.ENGINE)
    store = Store.open(Path("data/tiles"))
    with Path("reports/baseline.csv").open() as file:
        found = [store.classes.index(row["random_forest"]) for row in csv.DictReader(file)]
    places = Places.of(store.index, store.split_range("test"))
    sure = np.eye(3, dtype=np.float32)[found]
    ids = tuple(f"test:{i}" for i in range(31))
    seen = Evidence(ids, store.labels("test"), sure, places, store.classes)
    expected = Measurement.of(seen).summary()
    summary = json.loads(Path("reports/baseline.json").read_text())["methods"]["random_forest"]
    for name in ("accuracy", "balanced_accuracy", "macro_f1", "kappa"):
        assert summary[name] == expected[name], name
        assert summary[f"{name}_ci95"] == expected[f"{name}_ci95"], name


def test_a_second_run_gives_the_same_bytes(here: Path) -> None:
    assert _run() == _run()
    assert _run() != _run("validation")


def test_no_more_tiles_than_asked_for_are_learned_from(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    _run(section=SECTION.model_copy(update={"most": 40}))
    assert json.loads(Path("reports/baseline.json").read_text())["learned_from"] == 40
    printed = capsys.readouterr().out
    assert "random forest" in printed
    assert "40 tiles to learn from" in printed


def test_pixels_are_read_a_part_at_a_time(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = _run()
    monkeypatch.setattr(baseline, "CHUNK", 7)
    assert _run() == whole


def test_an_empty_split_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    little.store(tmp_path / "data/tiles", counts=(3, 3, 0))
    monkeypatch.chdir(tmp_path)
    with pytest.raises(StoreError, match="test split, got none"):
        _run()


def test_tiles_without_labels_have_nothing_to_compare(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    little.store(tmp_path / "data/tiles", Classes(()))
    monkeypatch.chdir(tmp_path)
    _run()
    assert capsys.readouterr().out == baseline.NOTHING + "\n"
    assert Path("reports/baseline.json").read_text() == "{}\n"
    assert Path("reports/baseline.csv").read_text() == f"tile_id,actual,{','.join(METHODS)}\n"
    Path("reports/predictions.csv").write_text("tile_id,actual,mse\n")
    assert beside.rows(Path("reports")) == []


def test_the_network_stands_beside_them_where_tiles_are_the_same(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert beside.rows(Path("reports")) == []
    little.train(Store.open(Path("data/tiles")), Path("models"), steps=60)
    _run()
    evaluate.run(MEASURED, little.ENGINE, little.UNTRACKED)
    rows = {row.name: row for row in beside.rows(Path("reports"))}
    assert list(rows) == ["commonest class", "logistic regression", "random forest"]
    summary = json.loads(Path("reports/metrics.json").read_text())
    commonest = rows["commonest class"]
    lead = summary["accuracy"] - commonest.accuracy
    assert commonest.difference.value == pytest.approx(lead, abs=1e-6)
    assert commonest.verdict.startswith("The network is better than the commonest class by")
    flat = beside.flat(list(rows.values()))
    assert flat["baseline_random_forest_accuracy"] == rows["random forest"].accuracy
    assert len(flat) == 9
    capsys.readouterr()
    beside.report("little", summary, list(rows.values()))
    assert commonest.lead in capsys.readouterr().out
    _run("validation")
    assert beside.rows(Path("reports")) == []


@pytest.mark.parametrize(
    ("file", "text"),
    [
        ("baseline.json", "{"),
        ("baseline.json", '{"methods": {"majority": {"accuracy": 0.5}}}'),
        ("baseline.csv", ""),
        ("baseline.csv", "majority\nwater\n"),
        ("predictions.csv", ""),
    ],
)
def test_a_torn_file_is_one_sentence_that_names_it(tmp_path: Path, file: str, text: str) -> None:
    measures: dict[str, object] = dict.fromkeys((*beside.MEASURES, "accuracy_ci95"), 0.5)
    summary = {"methods": {"majority": {**measures, "accuracy_ci95": None}}}
    (tmp_path / "baseline.json").write_text(json.dumps(summary))
    (tmp_path / "baseline.csv").write_text("tile_id,actual,majority\na,water,water\n")
    (tmp_path / "predictions.csv").write_text("tile_id,actual,predicted\na,water,water\n")
    assert [row.accuracy for row in beside.rows(tmp_path)] == [0.5]
    (tmp_path / file).write_text(text)
    with pytest.raises(ComparisonError, match=re.escape(f"in {tmp_path / file}, got")):
        beside.rows(tmp_path)
