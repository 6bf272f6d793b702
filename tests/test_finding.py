"""Runs are found in folders, in MLflow and in DVC, each of them real."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from contextlib import chdir
from pathlib import Path

import numpy as np
import pytest

from pipeline import bundle as bundles
from pipeline import duplicates
from pipeline.comparison.finding import Finder, of_revision
from pipeline.comparison.outcome import FILES
from pipeline.config import compose, load
from pipeline.errors import BundleError, ComparisonError, TrackingError
from pipeline.schema import TrackingSection
from pipeline.stages import evaluate
from pipeline.tracking import start
from pipeline.types import Bands, Classes
from tests import little
from tests.test_comparison import write_run

ARTIFACTS = {
    "metrics.json": "evaluate", "predictions.csv": "evaluate", "model.json": "model",
}  # fmt: skip


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project of DVC with a commit, an experiment and four runs in MLflow."""
    folder = tmp_path_factory.mktemp("finding")
    for seed, name in enumerate(["first", "second", "tracked"]):
        write_run(folder / name, 0.8, seed)
    _git(folder, "init", "-q")
    _dvc(folder, "init", "-q")
    _keep(folder, "first")
    _git(folder, "tag", "v1")
    _keep(folder, "second")
    _dvc(folder, "exp", "save", "-q", "-n", "mine-0", "--force")
    _record(folder)
    return folder


def _environment() -> dict[str, str]:
    who = {f"GIT_{role}_{part}": "a@example.org" for role in ("AUTHOR", "COMMITTER")
           for part in ("NAME", "EMAIL")}  # fmt: skip
    return {**os.environ, **who, "DVC_NO_ANALYTICS": "1"}


def _git(folder: Path, *arguments: str) -> None:
    subprocess.run(["git", *arguments], cwd=folder, env=_environment(), check=True)


def _dvc(folder: Path, *arguments: str) -> None:
    command = [sys.executable, "-m", "dvc", *arguments]
    subprocess.run(command, cwd=folder, env=_environment(), check=True, capture_output=True)


def _keep(folder: Path, run: str) -> None:
    """Commit the files of a run as a project's own, its answers by DVC."""
    for path in (folder / run).iterdir():
        home = folder / FILES[path.name]
        home.mkdir(exist_ok=True)
        (home / path.name).write_bytes(path.read_bytes())
    _dvc(folder, "add", "-q", "reports/predictions.csv")
    _git(folder, "add", "params.yaml", "reports", "models", ".dvc")
    _git(folder, "commit", "-qm", run)


def _record(folder: Path) -> None:
    tracking = TrackingSection(
        enabled=True, experiment="quadband", uri=f"sqlite:///{folder}/mlflow.db"
    )
    params = {"model": {"name": "vgg"}}
    for name in ("lone", "twin", "twin", "bare"):
        os.environ["DVC_EXP_NAME"] = name
        try:
            with chdir(folder), start(tracking, params=params) as run:
                for file, home in ARTIFACTS.items() if name != "bare" else ():
                    run.artifact(folder / "tracked" / file, home)
        finally:
            del os.environ["DVC_EXP_NAME"]


@pytest.fixture
def finder(place: Path, monkeypatch: pytest.MonkeyPatch) -> Finder:
    monkeypatch.chdir(place)
    return Finder(f"sqlite:///{place}/mlflow.db", "quadband")


def _accuracy(place: Path, run: str) -> float:
    found = Finder("sqlite:///none.db", "").find(str(place / run))
    return float(found[0].measures["accuracy"])


@pytest.mark.parametrize(("run", "files"), [("v1", "first"), ("HEAD", "second")])
def test_a_revision_gives_its_files_and_what_dvc_keeps(
    finder: Finder, place: Path, run: str, files: str
) -> None:
    (found,) = finder.find(run)
    assert found.origin == f"DVC revision {run}"
    assert found.measures["accuracy"] == _accuracy(place, files)
    assert found.answers is not None
    assert len(found.answers) == 300
    assert found.data_digest == "a" * 64
    assert found.params["optimizer.lr"] == 0.01


def test_an_experiment_is_found_by_its_name_and_by_a_pattern(finder: Finder, place: Path) -> None:
    for run in ("mine-0", "mine-*"):
        (found,) = finder.find(run)
        assert found.name == "mine-0"
        assert found.measures["accuracy"] == _accuracy(place, "second")


def test_a_run_of_mlflow_is_found_by_its_name(finder: Finder, place: Path) -> None:
    (found,) = finder.find("lone")
    assert found.origin.startswith("MLflow run ")
    assert found.measures["accuracy"] == _accuracy(place, "tracked")
    assert found.answers is not None
    assert found.params["optimizer.lr"] == 0.01


def test_runs_of_one_name_are_told_by_their_ids(finder: Finder) -> None:
    with pytest.raises(ComparisonError, match=r"one MLflow run named twin, got 2: ") as error:
        finder.find("twin")
    run = str(error.value).partition("got 2: ")[2].split()[0]
    (found,) = finder.find(run)
    assert found.name == "twin"
    assert len(finder.find("twi*")) == 2


def test_a_run_without_measures_is_told(finder: Finder) -> None:
    with pytest.raises(ComparisonError, match=r"measures of bare .*no metrics\.json"):
        finder.find("bare")


@pytest.mark.parametrize("run", ["nothing", "0" * 32, "no'thing"])
def test_what_is_nowhere_is_told(finder: Finder, run: str) -> None:
    with pytest.raises(ComparisonError, match=r"a run of MLflow .*, which is none"):
        finder.find(run)
    with pytest.raises(ComparisonError, match=r"names of DVC's experiments .* like none-\*"):
        finder.find("none-*")


def test_to_look_for_a_run_makes_no_store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ComparisonError):
        Finder(f"sqlite:///{tmp_path}/mlflow.db", "quadband").find("x")
    assert list(tmp_path.iterdir()) == []
    assert of_revision("HEAD") is None


def test_a_server_that_can_not_be_reached_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    with pytest.raises(TrackingError, match="an MLflow store at http://127"):
        Finder("http://127.0.0.1:9", "quadband").find("x")


def test_a_bundle_that_was_not_measured_is_measured_on_the_tiles_at_hand(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store, bundle = little.project(tmp_path)
    monkeypatch.chdir(tmp_path)
    Path("params.yaml").write_text(compose(["engine.threads=1"]))
    (found,) = Finder("sqlite:///none.db", "").find("models")
    assert found.answers is not None
    expected = bundle.probabilities(store.pixels("test"), batch_size=31).argmax(axis=1)
    assert found.answers.predicted.tolist() == [store.classes.names[k] for k in expected]
    assert found.measures["accuracy"] == pytest.approx(np.mean(expected == store.labels("test")))
    assert found.data_digest == store.digest
    assert found.params["model.name"] == "little"
    assert found.name == tmp_path.name


@pytest.fixture
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A store of other bands and classes in other orders, in a project of its own."""
    (tmp_path / "from").mkdir()
    (tmp_path / "here").mkdir()
    store, bundle = little.project(tmp_path / "from")
    little.rearranged(
        store,
        tmp_path / "here/data/tiles",
        Bands(("nir", "red", "blue", "swir", "green")),
        Classes(("water", "snow", "trees", "building")),
    )
    models = tmp_path / "from/models"
    seen = duplicates.kept(duplicates.digests(store.pixels("test")[:9]))  # as if trained on
    bundles.save(bundle.network, data_digest="a" * 64, params=bundle.params, tiles=seen,
                 root=models)  # fmt: skip
    monkeypatch.chdir(tmp_path / "here")
    Path("params.yaml").write_text(compose(["engine.threads=1", "tracking=none"]))
    return models


def test_a_bundle_is_measured_as_evaluate_does_on_any_tiles(
    elsewhere: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (found,) = Finder("sqlite:///none.db", "").find(str(elsewhere))
    told = "".join(capsys.readouterr())
    params = load()
    evaluate.run(params.evaluate, params.engine, params.tracking, str(elsewhere), out="out")
    written = json.loads(Path("out/metrics.json").read_text())
    assert found.measures == written
    assert {"nll", "ece", "macro_auc", "temperature"} <= found.measures.keys()
    assert found.classes == list(little.CLASSES)
    assert found.measures["left_out"] == {"snow": 31}
    assert found.answers is not None
    assert len(found.answers) == 31
    # Nine tiles, and their copies that are called snow.
    assert "18 of 62 test tiles are tiles that the network was trained on" in told


def test_tiles_of_no_class_that_a_bundle_knows_are_told(elsewhere: Path) -> None:
    shutil.rmtree("data/tiles")
    snow = Classes(("snow", "ice", "rock", "water"))
    little.noise(Path("data/tiles"), little.BANDS, snow, little.SIZE, count=3)
    with pytest.raises(BundleError, match=r"building, trees, water\), got none"):
        Finder("sqlite:///none.db", "").find(str(elsewhere))


def test_a_bundle_that_reconstructs_can_not_be_compared(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    little.drawing_project(tmp_path)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ComparisonError, match="tell classes, got one in models that reconstructs"):
        Finder("sqlite:///none.db", "").find("models")


def test_a_torn_file_is_told_with_where_it_is_from(finder: Finder, place: Path) -> None:
    (place / "metrics.json").write_text("{")
    tracking = TrackingSection(
        enabled=True, experiment="quadband", uri=f"sqlite:///{place}/mlflow.db"
    )
    os.environ["DVC_EXP_NAME"] = "torn"
    try:
        with start(tracking, params={"model": {"name": "vgg"}}) as run:
            run.artifact(place / "metrics.json", "evaluate")
    finally:
        del os.environ["DVC_EXP_NAME"]
        (place / "metrics.json").unlink()
    with pytest.raises(ComparisonError, match=r"JSON in MLflow run \w{8}, metrics\.json, got"):
        finder.find("torn")
