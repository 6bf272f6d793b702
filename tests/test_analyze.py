from __future__ import annotations

import json
from pathlib import Path

import pytest

from pipeline.schema import AnalyzeSection, InitSection, ModelSection, TrainSection
from pipeline.stages import analyze
from tests import little
from tests.test_train import TRAIN


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "data").mkdir()
    little.store(tmp_path / "data" / "tiles")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def run() -> None:
    analyze.run(
        AnalyzeSection(batch_size=10),
        ModelSection(name="little", layers=little.LAYERS),
        InitSection(name="he"),
        TrainSection.model_validate(TRAIN),
    )


def test_the_report_against_numbers_by_hand(place: Path) -> None:
    run()
    facts = json.loads((place / "reports/network/network.json").read_text())
    layers = {layer["name"]: layer for layer in facts["layers"]}
    assert list(layers) == list(little.LAYERS)
    # 12 -> 10 -> 5 -> 3 pixels a side; 3 classes.
    assert layers["conv1"]["output"] == [5, 10, 10]
    assert layers["conv2"]["output"] == [4, 3, 3]
    assert layers["head"]["weights"] == {"weight": [3, 36], "bias": [3]}
    conv1, conv2, head = 5 * 36 + 5, 4 * 45 + 4, 3 * 36 + 3
    outputs = 4 * 144 + 500 + 500 + 125 + 36 + 36 + 3
    assert facts["totals"] == {
        "parameters": conv1 + conv2 + head,
        "learnable": conv1 + conv2 + head,
        "parameter_bytes": 4 * (conv1 + conv2 + head),
        "macs": 500 * 36 + 36 * 45 + 3 * 36,
        "batch_size": 10,
        "activation_bytes": 4 * outputs * 10,
    }
    # The little store has pixels of one metre.
    assert layers["conv2"]["field"] == layers["conv2"]["field_metres"] == 8


def test_the_table_has_a_row_a_layer(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run()
    lines = (place / "reports/network/network.md").read_text().splitlines()
    assert len([line for line in lines if line.startswith("| ")]) == 2 + len(little.LAYERS)
    assert "| conv2 | Conv2d | 4 x 3 x 3 | 4 x 5 x 3 x 3, 4 | 184 | 1,620 | 8 px, 8 m | 2 px |" in (
        lines
    )
    assert "little: 480 parameters" in capsys.readouterr().out


def test_the_report_is_the_same_twice(place: Path) -> None:
    run()
    folder = place / "reports/network"
    first = {path.name: path.read_bytes() for path in folder.iterdir()}
    run()
    assert first == {path.name: path.read_bytes() for path in folder.iterdir()}
