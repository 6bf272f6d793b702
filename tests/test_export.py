from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import torch

from pipeline import bundle, metrics, results
from pipeline.bundle import Bundle
from pipeline.evidence import Evidence
from pipeline.measuring import Measurement
from pipeline.network import build
from pipeline.places import Places
from pipeline.schema import EvaluateSection, ExportSection
from pipeline.stages import evaluate, export
from pipeline.types import Classes
from tests import little, measured

NORM = {"_target_": "torch.nn.BatchNorm2d"}
GAP = {"_target_": "pipeline.layers.GlobalAvgPool"}


@pytest.fixture
def trained(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Bundle:
    monkeypatch.chdir(tmp_path)
    return little.project(tmp_path)[1]


def logits(path: Path, pixels: np.ndarray) -> np.ndarray:
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    return np.asarray(session.run(["logits"], {"pixels": pixels})[0])


def tiles(count: int) -> np.ndarray:
    return little.tiles(np.arange(count) % 3, 5)


@pytest.mark.parametrize("count", [1, 2, 9])
def test_onnx_gives_the_same_logits_for_any_number_of_tiles(trained: Bundle, count: int) -> None:
    export.run(ExportSection(onnx=True), little.HEARD)
    pixels = tiles(count).astype(np.float32).transpose(0, 3, 1, 2)
    got = logits(Path("models/export/model.onnx"), pixels)
    with torch.no_grad():
        expected = trained.network(torch.from_numpy(pixels)).numpy()
    np.testing.assert_allclose(got, expected, rtol=1e-4, atol=1e-4)


def test_normalization_over_batches_is_exported_as_it_predicts(tmp_path: Path) -> None:
    layers = {"norm": NORM, "conv": little.LAYERS["conv1"], "norm2": NORM, "gap": GAP}
    layers["head"] = little.LAYERS["head"]
    network = build(layers, bands=little.BANDS, classes=little.CLASSES, tile_size=little.SIZE)
    pixels = tiles(9).astype(np.float32).transpose(0, 3, 1, 2)
    network.train()(torch.from_numpy(pixels))
    export.to_onnx(network, tmp_path / "model.onnx")
    with torch.no_grad():
        expected = network.eval()(torch.from_numpy(pixels)).numpy()
    np.testing.assert_allclose(
        logits(tmp_path / "model.onnx", pixels), expected, rtol=1e-4, atol=1e-4
    )


def test_onnx_gives_the_probabilities_that_predict_works_with(trained: Bundle) -> None:
    warm = bundle.tempered(Path("models"), 0.6)
    export.run(ExportSection(onnx=True), little.HEARD)
    pixels = tiles(5)
    raw = pixels.astype(np.float32).transpose(0, 3, 1, 2)
    got = logits(Path("models/export/model.onnx"), raw)
    shares = torch.from_numpy(got).softmax(dim=1).numpy()
    np.testing.assert_allclose(shares, warm.probabilities(pixels, batch_size=5), rtol=1e-3)
    assert "the temperature 0.6" in Path("models/export/model.md").read_text()


def test_the_exported_bundle_is_the_bundle(trained: Bundle) -> None:
    export.run(ExportSection(onnx=False), little.HEARD)
    assert bundle.load(Path("models/export")).digest == trained.digest
    assert not Path("models/export/model.onnx").exists()


def test_nothing_of_an_earlier_export_stays(trained: Bundle) -> None:
    export.run(ExportSection(onnx=False), little.HEARD)
    Path("models/export/model.onnx").write_bytes(b"old")
    export.run(ExportSection(onnx=False), little.HEARD)
    assert not Path("models/export/model.onnx").exists()


def test_the_card_says_what_the_model_is(trained: Bundle) -> None:
    export.run(ExportSection(onnx=False), little.HEARD)
    text = Path("models/export/model.md").read_text()
    assert "Bands, in this order: red, green, blue, nir" in text
    assert "Classes, in the order of the outputs: building, trees, water" in text
    assert "12 x 12 pixels. 480 parameters" in text
    assert "Not measured yet." in text
    assert "model.onnx" not in text


def test_the_card_gives_the_measures(trained: Bundle) -> None:
    counts = np.array([[8, 2, 0], [0, 10, 0], [0, 0, 0]])
    predicted = np.repeat([0, 1, 1], [8, 2, 10])
    probabilities = np.eye(3, dtype=np.float32)[predicted]
    actual = np.repeat([0, 1], 10)
    places = Places("groups", np.array([f"g{i % 5}" for i in range(20)], object))
    ids = tuple(map(str, range(20)))
    some = Evidence(ids, actual, probabilities, places, little.CLASSES)
    results.write_metrics(Measurement.of(some).summary(), Path("reports/metrics.json"))
    assert json.loads(Path("reports/metrics.json").read_text())["n"] == 20
    export.run(ExportSection(onnx=False), little.HEARD)
    text = Path("models/export/model.md").read_text()
    assert f"On 20 tiles: accuracy {metrics.accuracy(counts):.4f}" in text
    assert "| building | 0.8000 | 1.0000 | 0.8889 | 10 |" in text
    assert "| water | - | - | - | 0 |" in text


def test_a_card_without_an_interval_or_a_temperature_speaks_of_none(trained: Bundle) -> None:
    summary = measured.unsure().summary()
    results.write_metrics(summary, Path("reports/metrics.json"))
    export.run(ExportSection(onnx=False), little.HEARD)
    text = Path("models/export/model.md").read_text()
    assert "On 10 tiles: accuracy 0.8000, balanced accuracy" in text
    assert "their softmax gives probabilities, as those" in text
    assert "temperature" not in text


def test_an_exported_network_does_not_tell_where_it_was_made(
    trained: Bundle, tmp_path: Path
) -> None:
    export.to_onnx(trained.network, tmp_path / "model.onnx")
    content = (tmp_path / "model.onnx").read_bytes()
    assert b".py" not in content
    assert str(Path(export.__file__).parent).encode() not in content


def test_an_autoencoder_is_exported_with_what_turns_its_output_into_raw_values(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    store, trained = little.drawing_project(tmp_path, Classes(()))
    evaluate.run(EvaluateSection(split="test", batch_size=8), little.ENGINE, little.UNTRACKED)
    export.run(ExportSection(onnx=True), little.HEARD)
    path = "models/export/model.onnx"
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    pixels = store.pixels("test").astype(np.float32).transpose(0, 3, 1, 2)
    drawn = np.asarray(session.run(["reconstruction"], {"pixels": pixels})[0])
    raw = drawn.transpose(0, 2, 3, 1) * store.std + store.mean
    expected = trained.reconstructions(store.pixels("test"), batch_size=31)
    np.testing.assert_allclose(raw, expected, rtol=1e-3, atol=1e-2)
    text = Path("models/export/model.md").read_text()
    assert "Draws a tile of 12 x 12 pixels again" in text
    assert f"red {store.std[0]:.6g} and {store.mean[0]:.6g}" in text
    assert "output `reconstruction`" in text
    measures = json.loads(Path("reports/metrics.json").read_text())
    assert f"On 31 tiles: mean squared error {measures['mse']:.4f} of normalized pixels" in text
    assert f"| nir | {measures['per_band']['nir']['mse']:.4f} |" in text
    assert "lasses" not in text
