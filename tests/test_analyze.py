from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from pipeline.errors import NetworkError, StoreError
from pipeline.schema import AnalyzeSection, InitSection, ModelSection, TrainSection
from pipeline.stages import analyze
from tests import little
from tests.test_train import TRAIN

FILES = ["network.json", "network.md", "network.py", "network.svg"]
# 10 pixels behind the convolution are 3 windows of 3.
MISFIT = {**little.LAYERS, "pool1": {"_target_": "torch.nn.MaxPool2d", "kernel_size": 3}}
MISFIT = {name: MISFIT[name] for name in ("normalize", "conv1", "pool1", "flatten", "head")}


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "data").mkdir()
    little.store(tmp_path / "data" / "tiles")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def run(layers: dict[str, Any] = little.LAYERS, *, strict: bool = False) -> None:
    analyze.run(
        AnalyzeSection(batch_size=10, strict=strict),
        ModelSection(name="little", layers=layers),
        InitSection(name="he"),
        TrainSection.model_validate(TRAIN),
    )


def facts(place: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((place / "reports/network/network.json").read_text())
    return found


def test_the_report_against_numbers_by_hand(place: Path) -> None:
    run()
    layers = {layer["name"]: layer for layer in facts(place)["layers"]}
    assert list(layers) == list(little.LAYERS)
    # 12 -> 10 -> 5 -> 3 pixels a side; 3 classes.
    assert layers["conv1"]["output"] == [5, 10, 10]
    assert layers["conv2"]["output"] == [4, 3, 3]
    assert layers["head"]["weights"] == {"weight": [3, 36], "bias": [3]}
    conv1, conv2, head = 5 * 36 + 5, 4 * 45 + 4, 3 * 36 + 3
    # Normalized tile, what the activation gives, maxima with their places, input of the head.
    kept = 4 * (4 * 144 + 500 + 125 + 36) + 8 * 125
    assert facts(place)["totals"] == {
        "layers": 7,
        "parameters": conv1 + conv2 + head,
        "learnable": conv1 + conv2 + head,
        "parameter_bytes": 4 * (conv1 + conv2 + head),
        "training_bytes": 16 * (conv1 + conv2 + head),
        "macs": 500 * 36 + 36 * 45 + 3 * 36,
        "batch_size": 10,
        "activation_bytes": 10 * kept,
    }
    # The little store has pixels of one metre.
    assert layers["conv2"]["field"] == layers["conv2"]["field_metres"] == 8


def test_the_table_is_the_same_in_every_form(
    place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run()
    lines = (place / "reports/network/network.md").read_text().splitlines()
    assert len([line for line in lines if line.startswith("| ")]) == 2 + len(little.LAYERS)
    cells = ["conv2", "Conv2d 3x3", "3x3x4", "weights 3x3x5x4, bias 1x1x4", "184", "1,620", "8"]
    assert f"| {' | '.join([*cells, '8', '2', '2'])} |" in lines
    assert [*cells, "8", "2", "2"] in facts(place)["table"]["rows"]
    printed = capsys.readouterr().out
    row = next(line for line in printed.splitlines() if line.strip().startswith("conv2"))
    assert row.split() == [word for cell in [*cells, "8", "2", "2"] for word in cell.split()]
    assert "little: 7 layers, 480 parameters" in printed


def test_what_is_found_is_told_everywhere(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run(MISFIT)
    said = "(10 - 3 + 2 x 0) / 3 = 2.33 is not whole: the last 1 row and 1 column of its input"
    (finding,) = [one for one in facts(place)["findings"] if one["kind"] == "stride"]
    assert (finding["layer"], finding["level"]) == ("pool1", "warning")
    assert said in finding["text"]
    assert (
        f"- **warning**, layer 'pool1': {said}"
        in (place / "reports/network/network.md").read_text()
    )
    assert f"warning: layer 'pool1': {said}" in capsys.readouterr().err


def test_strict_ends_in_an_error_with_the_reports_written(place: Path) -> None:
    run(little.LAYERS, strict=True)  # nothing is lost here
    with pytest.raises(NetworkError, match=r"^Layer 'pool1': \(10 - 3 \+ 2 x 0\) / 3"):
        run(MISFIT, strict=True)
    assert sorted(path.name for path in (place / "reports/network").iterdir()) == FILES
    assert "**error**, layer 'pool1'" in (place / "reports/network/network.md").read_text()


def test_without_a_store_it_says_what_to_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(StoreError, match=r"Run dvc repro ingest\."):
        run()


def test_the_report_is_the_same_twice(place: Path) -> None:
    run()
    folder = place / "reports/network"
    first = {path.name: path.read_bytes() for path in folder.iterdir()}
    run()
    assert first == {path.name: path.read_bytes() for path in folder.iterdir()}


@pytest.mark.parametrize("columns", [60, 80, 200])
def test_no_cell_is_cut_however_narrow_the_terminal(
    place: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, columns: int
) -> None:
    monkeypatch.setenv("COLUMNS", str(columns))
    monkeypatch.setattr("sys.stdout.isatty", lambda: True, raising=False)
    run()
    printed = capsys.readouterr().out
    facts = json.loads((place / "reports/network/network.json").read_text())
    lines = [line for line in printed.splitlines() if line.strip()]
    for row in facts["table"]["rows"]:
        cells = [cell for cell in row if cell]
        assert any(all(cell in line for cell in cells) for line in lines), row
