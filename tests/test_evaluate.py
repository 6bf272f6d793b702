from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from docs.figures import table
from pipeline import areas, calibration, evidence, metrics, results, telling
from pipeline import bundle as bundles
from pipeline.bundle import Bundle
from pipeline.errors import BundleError, ClassError, StoreError
from pipeline.measuring import Measurement
from pipeline.schema import EvaluateSection, TrackingSection
from pipeline.stages import evaluate
from pipeline.store import Store
from pipeline.trained import Trained, check_finite
from pipeline.types import Bands, Classes
from tests import little, measured

SECTION = EvaluateSection(split="test", batch_size=8)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Store, Bundle]:
    folder = tmp_path_factory.mktemp("evaluate")
    return folder, *little.project(folder)


@pytest.fixture
def here(made: tuple[Path, Store, Bundle], monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(made[0])
    return made[0]


def _files(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def test_files_agree_with_the_network_and_with_each_other(
    made: tuple[Path, Store, Bundle], here: Path
) -> None:
    evaluate.run(SECTION, little.ENGINE, little.UNTRACKED)
    _, store, bundle = made
    expected = bundle.probabilities(store.pixels("test"), batch_size=31)
    with Path("reports/predictions.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [row["tile_id"] for row in rows] == [f"test:{i}" for i in range(31)]
    labels = [store.classes.index(row["actual"]) for row in rows]
    found = [store.classes.index(row["predicted"]) for row in rows]
    assert labels == store.labels("test").tolist()
    assert found == expected.argmax(axis=1).tolist()
    confidence = [float(row["confidence"]) for row in rows]
    np.testing.assert_allclose(confidence, expected.max(axis=1), atol=2e-6)
    counts = metrics.confusion(np.array(labels), np.array(found), 3)
    with Path("reports/confusion.csv").open() as file:
        header, *matrix = csv.reader(file)
    assert header == list(store.classes)
    assert np.array_equal(np.array(matrix, dtype=int), counts)
    written = json.loads(Path("reports/metrics.json").read_text())
    measures = (
        "accuracy", "balanced_accuracy", "macro_f1", "kappa", "matthews", "top2_accuracy", "nll",
        "brier", "ece", "aurc", "macro_auc", "macro_average_precision",
    )  # fmt: skip
    assert list(written) == [
        "n", *(key for name in measures for key in (name, f"{name}_ci95")), "interval",
        "temperature", "before_scaling", "per_class",
    ]  # fmt: skip
    assert written["n"] == 31
    assert written["accuracy"] == round(np.trace(counts) / 31, 6)
    assert written["per_class"]["trees"]["support"] == 10
    shares = ("recall", "precision", "f1", "auc", "average_precision")
    assert set(written["per_class"]["trees"]) == {
        "support",
        *shares,
        *(f"{name}_ci95" for name in shares),
    }
    seen = evidence.read(Path("reports/probabilities.parquet"))
    assert list(seen.ids) == [row["tile_id"] for row in rows]
    np.testing.assert_array_equal(seen.counts, counts)
    # Without a CRS the windows of the file are its ground: 31 tiles in a row are four squares.
    assert written["interval"]["over"] == "blocks"
    assert written["interval"]["places"] == len(set(seen.places.names)) == 4
    for name in (
        "confusion", "per_class", "roc", "precision_recall", "reliability", "coverage", "groups"
    ):  # fmt: skip
        assert Path(f"reports/figures/{name}.png").read_bytes().startswith(b"\x89PNG")


def test_a_second_run_gives_the_same_bytes_whatever_the_batch(here: Path) -> None:
    evaluate.run(SECTION, little.ENGINE, little.UNTRACKED)
    first = _files(here / "reports")
    evaluate.run(SECTION, little.ENGINE, little.UNTRACKED)
    assert _files(here / "reports") == first
    path = Path("reports/probabilities.parquet")
    shares = evidence.read(path).probabilities
    evaluate.run(SECTION.model_copy(update={"batch_size": 31}), little.ENGINE, little.UNTRACKED)
    second = _files(here / "reports")
    # Sums in another order: float32 may differ in its last bit.
    np.testing.assert_allclose(evidence.read(path).probabilities, shares, 1e-5)
    assert second | {"probabilities.parquet": b""} == first | {"probabilities.parquet": b""}


def test_terminal_names_the_weakest_class(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    evaluate.run(SECTION, little.ENGINE, little.UNTRACKED)
    counts = np.loadtxt("reports/confusion.csv", delimiter=",", skiprows=1, dtype=int)
    printed = capsys.readouterr().out
    assert metrics.weakest(counts, little.CLASSES).sentence() in printed
    assert "95% interval" in printed


def test_another_split_can_be_measured(here: Path) -> None:
    evaluate.run(
        SECTION.model_copy(update={"split": "validation"}), little.ENGINE, little.UNTRACKED
    )
    assert json.loads(Path("reports/metrics.json").read_text())["n"] == 12


def test_numbers_and_files_land_in_the_run_of_the_weights(
    made: tuple[Path, Store, Bundle], here: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: dict[str, Any] = {"paths": []}

    class Run:
        def __enter__(self) -> Run:
            return self

        def __exit__(self, *_: object) -> None: ...

        def metrics(self, values: dict[str, float]) -> None:
            calls["values"] = values

        def artifact(self, path: Path, folder: str) -> None:
            calls["paths"].append(path.name)

        def figure(self, path: Path) -> None:
            calls["paths"].append(path.name)

    def find(tracking: TrackingSection, digest: str, **_: object) -> Run:
        calls["digest"] = digest
        return Run()

    monkeypatch.setattr("pipeline.tracking.find", find)
    evaluate.run(SECTION, little.ENGINE, little.UNTRACKED)
    assert calls["digest"] == made[2].digest
    assert calls["values"]["test_n"] == 31
    assert 0 <= calls["values"]["test_recall/trees"] <= 1
    assert calls["paths"] == [
        "metrics.json", "confusion.csv", "predictions.csv", "probabilities.parquet", "groups.csv",
        "confusion.png", "coverage.png", "groups.png", "per_class.png", "precision_recall.png",
        "reliability.png", "roc.png",
    ]  # fmt: skip


def test_numbers_have_names_that_mlflow_takes_and_none_is_undefined() -> None:
    summary = metrics.summarize(np.array([[3, 1], [0, 0]]), Classes(("a: crops (annual)", "b")))
    flat = results.flat(summary, "test")
    assert flat["test_accuracy_ci95_low"] < 0.75 < flat["test_accuracy_ci95_high"]
    assert flat["test_recall/a_ crops _annual_"] == 0.75
    assert "test_recall/b" not in flat
    assert flat["test_support/b"] == 0


def test_class_without_tiles_is_said(capsys: pytest.CaptureFixture[str]) -> None:
    some = measured.evidence(60, 10, classes=3)
    whole = Measurement.of(some.part(some.actual != 2))
    summary = whole.summary() | {"temperature": 1.0, "before_scaling": {"ece": 0.0}}
    telling.classified(summary, whole.counts, little.CLASSES, [])
    printed = capsys.readouterr().out
    assert "No tiles of water: left out of the means." in printed
    assert ", with no temperature to its probabilities." in printed


def test_too_few_places_for_an_interval_are_said(capsys: pytest.CaptureFixture[str]) -> None:
    """Two places with as many hits each: no draw differs from another."""
    summary = measured.unsure().summary()
    assert summary["accuracy"] == 0.8
    assert summary["accuracy_ci95"] is None
    scaled = {"temperature": 0.5, "before_scaling": {"ece": 0.25}}
    telling.classified(summary | scaled, measured.unsure().counts, Classes(("a", "b")), [])
    printed = capsys.readouterr().out
    assert "Accuracy 0.8000 (no interval: too few groups, or none that differs) on 10" in printed
    assert "without the temperature of 0.5, 0.2500" in printed
    assert "test_accuracy_ci95_low" not in results.flat(summary, "test")
    assert table(summary).startswith("Accuracy 80.0 % on 10 test tiles")


def test_tiles_of_other_classes_are_refused(
    made: tuple[Path, Store, Bundle], tmp_path: Path
) -> None:
    other = tmp_path / "tiles"
    little.store(other, Classes(("building", "trees", "snow")), (3, 3, 3))
    with pytest.raises(
        BundleError, match=r"of the classes .* \(building, trees, water\), got .*snow"
    ):
        Trained.open(little.ENGINE, other, made[0] / "models")


def test_other_tiles_are_measured_but_said(
    made: tuple[Path, Store, Bundle], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    little.store(tmp_path / "tiles", counts=(3, 3, 3))
    trained = Trained.open(little.ENGINE, tmp_path / "tiles", made[0] / "models")
    assert "trained on other tiles" in capsys.readouterr().out
    assert trained.probabilities("test", 2).shape == (3, 3)


def test_an_empty_split_is_refused(made: tuple[Path, Store, Bundle], tmp_path: Path) -> None:
    little.store(tmp_path / "tiles", counts=(3, 3, 0))
    trained = Trained.open(little.ENGINE, tmp_path / "tiles", made[0] / "models")
    with pytest.raises(StoreError, match="test split, got none"):
        trained.probabilities("test", 8)


def test_probabilities_are_scaled_by_the_temperature_and_both_are_measured(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store, plain = little.project(tmp_path)
    monkeypatch.chdir(tmp_path)
    raw = plain.probabilities(store.pixels("test"), batch_size=31)
    bundles.tempered(Path("models"), 0.5)
    evaluate.run(SECTION, little.ENGINE, little.UNTRACKED)
    written = json.loads(Path("reports/metrics.json").read_text())
    found, actual = evidence.read(Path("reports/probabilities.parquet")), store.labels("test")
    expected = calibration.tempered(raw, 0.5)
    np.testing.assert_allclose(found.probabilities, expected, rtol=1e-4, atol=1e-6)
    assert written["temperature"] == 0.5
    assert written["nll"] == pytest.approx(metrics.nll(expected, actual), abs=2e-6)
    assert written["before_scaling"] == {
        "nll": pytest.approx(metrics.nll(raw, actual), abs=2e-6),
        "brier": pytest.approx(metrics.brier(raw, actual), abs=2e-6),
        "ece": pytest.approx(metrics.ece(raw, actual), abs=2e-6),
    }


def test_a_wanted_accuracy_says_what_is_kept_on_validation_and_on_test(
    made: tuple[Path, Store, Bundle], here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    _, store, bundle = made
    section = SECTION.model_copy(update={"wanted_accuracy": 1.0})
    evaluate.run(section, little.ENGINE, little.UNTRACKED)
    told = json.loads(Path("reports/metrics.json").read_text())["reject"]
    for split in ("validation", "test"):
        shares = bundle.probabilities(store.pixels(split), batch_size=8)
        kept = shares.max(axis=1) >= told["threshold"]
        hits = (shares.argmax(axis=1) == store.labels(split))[kept]
        assert told[split] == {
            "coverage": pytest.approx(kept.mean(), abs=1e-6),
            "accuracy": pytest.approx(hits.mean(), abs=1e-6),
        }
    assert told["validation"]["accuracy"] == 1.0
    assert "An accuracy of 100.0%" in capsys.readouterr().out


def test_areas_are_those_of_the_estimator(here: Path) -> None:
    mapped = {"building": 10.0, "trees": 30.0, "water": 5.0}
    section = SECTION.model_copy(update={"areas": mapped})
    evaluate.run(section, little.ENGINE, little.UNTRACKED)
    told = json.loads(Path("reports/metrics.json").read_text())["areas"]
    counts = np.loadtxt("reports/confusion.csv", delimiter=",", skiprows=1, dtype=int)
    expected = areas.estimate(counts, np.array([10.0, 30.0, 5.0]))
    for k, name in enumerate(little.CLASSES):
        row = told["per_class"][name]
        assert row["mapped"] == mapped[name]
        assert row["area"] == round(expected.area.value[k], 6)
        ends = [round(end[k], 6) for end in expected.area.interval(45.0)]
        assert row["area_ci95"] == (ends if np.isfinite(ends).all() else None)
        flat = results.flat({"areas": told}, "test")
        assert flat[f"test_area/{name}"] == row["area"]
        low, high = row["recall_ci95"] or (0, 1)
        assert 0 <= low <= high <= 1
    before = _files(here / "reports")
    wrong = SECTION.model_copy(update={"areas": {"trees": 1.0}})
    with pytest.raises(ClassError, match="mapped area of each class"):
        evaluate.run(wrong, little.ENGINE, little.UNTRACKED)
    assert _files(here / "reports") == before


def test_what_else_lies_in_a_folder_stays(here: Path, tmp_path: Path) -> None:
    mine = tmp_path / "paper" / "figures" / "mine.txt"
    mine.parent.mkdir(parents=True)
    mine.touch()
    out = str(mine.parent.parent)
    evaluate.run(SECTION, little.ENGINE, little.UNTRACKED, "models", out=out)
    assert mine.is_file()
    before = _files(here / "reports")
    with pytest.raises(BundleError, match="a folder of its own"):
        evaluate.run(SECTION, little.ENGINE, little.UNTRACKED, "models", out="reports")
    assert _files(here / "reports") == before
    (here / "reports" / "figures").mkdir(parents=True, exist_ok=True)
    (here / "reports" / "figures" / "errors_of_another_task.png").touch()
    evaluate.run(SECTION, little.ENGINE, little.UNTRACKED)
    assert not (here / "reports" / "figures" / "errors_of_another_task.png").exists()


def test_tiles_of_classes_that_are_all_unknown_are_refused(here: Path, tmp_path: Path) -> None:
    little.store(tmp_path / "tiles", Classes(("snow", "ice", "building")), (9, 3, 2))
    with pytest.raises(BundleError, match=r"got none: theirs are snow, ice\."):
        evaluate.run(SECTION, little.ENGINE, little.UNTRACKED, store=str(tmp_path / "tiles"))


def test_any_bundle_is_measured_on_any_store_and_the_reports_stay(
    made: tuple[Path, Store, Bundle], here: Path, tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    """Bands in another order, one more, classes in another order, one that is not known."""
    evaluate.run(SECTION, little.ENGINE, little.UNTRACKED)
    before = _files(here / "reports")
    classes = Classes(("water", "snow", "trees", "building"))
    bands = Bands(("swir", *little.BANDS.names[::-1]))
    little.rearranged(made[1], tmp_path / "tiles", bands, classes)
    evaluate.run(SECTION, little.ENGINE, little.UNTRACKED, store=str(tmp_path / "tiles"))
    assert _files(here / "reports") == before
    (folder,) = Path("evaluations").iterdir()
    assert folder.name.startswith(made[2].digest[:8])
    there = json.loads((folder / "metrics.json").read_text())
    assert there.pop("left_out") == {"snow": 31}
    assert there == json.loads(before["metrics.json"])
    assert "31 of snow" in capsys.readouterr().err
    evaluate.run(SECTION, little.ENGINE, little.UNTRACKED, "models", out=str(tmp_path / "mine"))
    assert (tmp_path / "mine" / "groups.csv").is_file()


def test_a_network_that_diverged_is_refused() -> None:
    with pytest.raises(BundleError, match="1 of 2 tiles without"):
        check_finite(np.array([[0.5, 0.5], [np.nan, 0.5]], dtype=np.float32))


@pytest.mark.parametrize("classes", [little.CLASSES, Classes(())])
def test_an_autoencoder_is_measured_by_what_it_draws_again(
    classes: Classes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    store, bundle = little.drawing_project(tmp_path, classes)
    monkeypatch.chdir(tmp_path)
    Path("reports/figures").mkdir(parents=True)
    Path("reports/figures/confusion.png").touch()  # of a classifier before it
    evaluate.run(SECTION, little.ENGINE, little.UNTRACKED)
    written = json.loads(Path("reports/metrics.json").read_text())
    assert list(written) == ["n", "mse", "r2", "psnr", "per_band"]
    pixels = store.pixels("test")
    apart = (bundle.reconstructions(pixels, batch_size=31) - pixels.astype(float)) / store.std
    assert written["n"] == 31
    assert written["mse"] == pytest.approx(np.square(apart).mean(), rel=1e-5)
    nir = written["per_band"]["nir"]
    assert nir["rmse"] == pytest.approx(np.sqrt(np.square(apart[..., 3]).mean()) * store.std[3])
    with Path("reports/predictions.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert list(rows[0]) == ["tile_id", "actual", "mse"]
    assert [row["tile_id"] for row in rows] == [f"test:{i}" for i in range(31)]
    assert [row["actual"] for row in rows[:2]] == (["building", "trees"] if classes else ["", ""])
    errors = np.square(apart).mean(axis=(1, 2, 3))
    np.testing.assert_allclose([float(row["mse"]) for row in rows], errors, atol=2e-6)
    assert Path("reports/confusion.csv").read_text() == ",".join(classes) + "\n"
    names = ["errors.png", "reconstructions.png"]
    assert sorted(path.name for path in Path("reports/figures").iterdir()) == names
    assert "share of variance drawn again" in capsys.readouterr().out
    assert results.flat(written, "test")["test_rmse/nir"] == nir["rmse"]


def test_an_autoencoder_takes_tiles_of_any_class(tmp_path: Path) -> None:
    little.drawing_project(tmp_path)
    little.store(tmp_path / "none", Classes(()), (3, 3, 3))
    trained = Trained.open(little.ENGINE, tmp_path / "none", tmp_path / "models")
    assert trained.errors("test", 2).squared.shape == (3, 4)
