from __future__ import annotations

import csv
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest
import torch
from numpy.typing import NDArray

from pipeline import beside, bundle, calibration, evidence, results
from pipeline.bundle import Bundle
from pipeline.ensemble import Ensemble, ManyViews, heard, member_of, passes
from pipeline.errors import BundleError, ConfigError
from pipeline.schema import (
    EvaluateSection,
    ExportSection,
    FoldersSource,
    PredictSection,
    VisualizeSection,
)
from pipeline.stages import evaluate, export, predict, visualize
from pipeline.store import Store
from pipeline.voting import VOTES, Views, Vote
from tests import little
from tests.test_predict import pixels as scene_of_three
from tests.test_predict import write as write_scene

TURNED = EvaluateSection(split="test", batch_size=8, vote="hard", tta="symmetries")


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Store, Bundle]:
    folder = tmp_path_factory.mktemp("ensemble")
    return folder, *little.ensemble_project(folder)


@pytest.fixture
def here(made: tuple[Path, Store, Bundle], monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(made[0])
    return made[0]


def members(made: Bundle, pixels: NDArray[Any]) -> NDArray[np.float32]:
    """Probabilities of each member."""
    each = range(len(made.members))
    return np.stack([made.member(i).probabilities(pixels, batch_size=64) for i in each])


def test_a_soft_vote_is_the_mean_of_the_members(made: tuple[Path, Store, Bundle]) -> None:
    _, store, whole = made
    pixels = store.pixels("test")
    found = whole.probabilities(pixels, batch_size=7)
    np.testing.assert_allclose(found, members(whole, pixels).mean(axis=0), atol=1e-6)
    weighted = whole.heard("weighted", "none").probabilities(pixels, batch_size=31)
    by_hand = np.average(members(whole, pixels), axis=0, weights=[0.5, 0.9, 0.7])
    np.testing.assert_allclose(weighted, by_hand, atol=1e-6)


def test_an_ensemble_is_kept_as_one_bundle(made: tuple[Path, Store, Bundle]) -> None:
    folder, store, whole = made
    facts = json.loads((folder / "models" / bundle.FACTS).read_text())
    assert facts["format"] == 2
    assert "layers" not in facts
    assert [m["model"] for m in facts["members"]] == ["mlp", "little", "little"]
    assert facts["members"][1]["layers"] == little.LAYERS
    again = bundle.load(folder / "models")
    assert again.members == whole.members
    assert again.name == "3 x mlp, little"
    assert {key.split(".")[1] for key in again.network.state_dict()} == {"0", "1", "2"}
    pixels = store.pixels("test")
    expected = whole.probabilities(pixels, batch_size=64)
    assert np.array_equal(again.probabilities(pixels, batch_size=64), expected)


def test_an_ensemble_whose_facts_lack_a_member_is_refused(
    made: tuple[Path, Store, Bundle], tmp_path: Path
) -> None:
    facts = json.loads((made[0] / "models" / bundle.FACTS).read_text())
    (tmp_path / bundle.WEIGHTS).write_bytes((made[0] / "models" / bundle.WEIGHTS).read_bytes())
    for wrong in (facts["members"][:2], [{"model": "little"}], [3], []):
        (tmp_path / bundle.FACTS).write_text(json.dumps({**facts, "members": wrong}))
        with pytest.raises(BundleError, match=r"does not describe model\.safetensors"):
            bundle.load(tmp_path)


def test_one_network_and_one_view_stay_as_they_are(made: tuple[Path, Store, Bundle]) -> None:
    network = made[2].member(1).network
    for vote in VOTES:
        assert heard(network, vote, "none") is network
    assert isinstance(heard(network, "soft", "flips"), ManyViews)


@pytest.mark.parametrize(("kind", "count"), [("flips", 4), ("symmetries", 8)])
def test_views_are_averaged_and_laying_the_tile_otherwise_changes_nothing(
    made: tuple[Path, Store, Bundle], kind: Views, count: int
) -> None:
    _, store, whole = made
    single = whole.member(1)
    pixels = store.pixels("test")
    turned = single.heard("soft", kind)
    assert passes(turned.network) == count
    found = turned.probabilities(pixels, batch_size=16)
    laid = [pixels, pixels[:, ::-1], pixels[:, :, ::-1], pixels[:, ::-1, ::-1]]
    if kind == "symmetries":
        laid += [tiles.transpose(0, 2, 1, 3) for tiles in laid]
    each = [single.probabilities(np.ascontiguousarray(tiles), batch_size=31) for tiles in laid]
    np.testing.assert_allclose(found, np.mean(each, axis=0), atol=1e-6)
    assert np.abs(each[1] - each[0]).max() > 1e-3  # the network by itself minds
    for tiles in laid:
        again = turned.probabilities(np.ascontiguousarray(tiles), batch_size=64)
        np.testing.assert_allclose(again, found, atol=1e-6)


@pytest.mark.parametrize("vote", VOTES)
def test_members_see_all_views_before_they_vote(
    made: tuple[Path, Store, Bundle], vote: Vote
) -> None:
    _, store, whole = made
    pixels = store.pixels("test")
    turned = whole.heard(vote, "flips")
    assert passes(turned.network) == 4
    each = [
        whole.member(i).heard("soft", "flips").probabilities(pixels, batch_size=31)
        for i in range(3)
    ]
    np.testing.assert_allclose(members(turned, pixels), each, atol=1e-6)
    found = turned.probabilities(pixels, batch_size=31).argmax(axis=1)
    votes = np.stack([one.argmax(axis=1) for one in each])
    if vote == "hard":
        counts = (votes[..., None] == np.arange(3)).sum(axis=0)
        assert (counts[np.arange(31), found] == counts.max(axis=1)).all()


def test_members_are_counted_round_and_the_best_is_known(
    made: tuple[Path, Store, Bundle],
) -> None:
    network = made[2].network
    assert isinstance(network, Ensemble)
    assert network.best == 1
    assert member_of(network, 4) is member_of(network, 1)
    assert member_of(member_of(network, 0), 5) is member_of(network, 0)


def test_what_is_measured_is_what_is_mapped_and_exported(
    made: tuple[Path, Store, Bundle], here: Path
) -> None:
    _, store, whole = made
    evaluate.run(TURNED, little.ENGINE, little.UNTRACKED)
    pixels = store.pixels("test")
    expected = whole.heard("hard", "symmetries").probabilities(pixels, batch_size=31)
    with Path("reports/predictions.csv").open() as file:
        rows = list(csv.DictReader(file))
    found = [store.classes.index(row["predicted"]) for row in rows]
    assert found == expected.argmax(axis=1).tolist()
    np.testing.assert_allclose(
        [float(row["confidence"]) for row in rows], expected.max(axis=1), atol=1e-5
    )
    export.run(ExportSection(onnx=True), TURNED)
    path = "models/export/model.onnx"
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    for count in (1, 31):
        batch = pixels[:count].astype(np.float32).transpose(0, 3, 1, 2)
        logits = torch.from_numpy(np.asarray(session.run(["logits"], {"pixels": batch})[0]))
        np.testing.assert_allclose(logits.softmax(dim=1).numpy(), expected[:count], atol=1e-4)
    card = Path("models/export/model.md").read_text()
    assert card.startswith("# 3 x mlp, little\n")
    assert "looked at in 8 ways (`evaluate.tta=symmetries`)" in card
    assert "3 members answer by a hard vote" in card
    assert "| 1 | little | 11 | 0.9000 |" in card
    assert bundle.load(Path("models/export")).digest == whole.digest


def test_votes_and_members_have_temperatures_of_their_own(
    made: tuple[Path, Store, Bundle], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, store, whole = made
    for name in ("data", "models"):
        shutil.copytree(made[0] / name, tmp_path / name)
    monkeypatch.chdir(tmp_path)
    warm = bundle.tempered(Path("models"), 0.5)
    evaluate.run(little.HEARD, little.ENGINE, little.UNTRACKED)
    found = evidence.read(Path("reports/probabilities.parquet")).probabilities
    pixels = store.pixels("test")
    np.testing.assert_allclose(found, warm.probabilities(pixels, batch_size=31), atol=1e-5)
    plain = whole.probabilities(pixels, batch_size=31)
    np.testing.assert_allclose(found, calibration.tempered(plain, 0.5), atol=1e-5)
    np.testing.assert_array_equal(members(warm, pixels), members(whole, pixels))
    assert warm.heard("hard", "none").temperature == 1.0
    assert warm.heard("weighted", "flips").temperature == 0.5
    warmer = bundle.tempered(Path("models"), 0.5, [2.0, 1.0, 0.7])
    assert [one.temperature for one in warmer.members] == [2.0, 1.0, 0.7]
    np.testing.assert_allclose(warmer.probabilities(pixels, batch_size=31), found, atol=1e-5)
    own = warmer.member(0).probabilities(pixels, batch_size=31)
    np.testing.assert_allclose(own, calibration.tempered(members(whole, pixels)[0], 2.0), atol=1e-5)
    evaluate.run(TURNED, little.ENGINE, little.UNTRACKED)  # a hard vote
    rows = json.loads(Path("reports/metrics.json").read_text())["ensemble"]
    assert [row["temperature"] for row in rows["members"].values()] == [2.0, 1.0, 0.7]
    told = {name: row["temperature"] for name, row in rows["votes"].items()}
    assert told == {"soft": 0.5, "hard": 1.0, "weighted": 0.5}


def test_a_map_is_that_of_the_vote(made: tuple[Path, Store, Bundle], here: Path) -> None:
    import rasterio

    source = FoldersSource(kind="folders", root="tiles", bands=list(little.BANDS))
    scene = scene_of_three()
    path = write_scene(here / "town.tif", scene)
    wanted = PredictSection(scenes={"town": str(path)}, stride=12, batch_size=7)
    predict.run(wanted, TURNED, source, little.ENGINE, little.UNTRACKED)
    with rasterio.open("predictions/town.tif") as file:
        codes = file.read(1)
    turned = made[2].heard("hard", "symmetries")
    first = turned.probabilities(scene[None, :12, :12], batch_size=1)
    assert codes[0, 0] == first.argmax() + 1


def test_members_votes_and_their_differences_are_reported(
    made: tuple[Path, Store, Bundle],
    here: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    called: list[str] = []
    monkeypatch.setattr(beside, "report", lambda name, *_: called.append(name))
    evaluate.run(little.HEARD, little.ENGINE, little.UNTRACKED)
    assert called == ["3 x mlp, little"]
    written = json.loads(Path("reports/metrics.json").read_text())
    assert list(written)[-1] == "ensemble"
    found = written["ensemble"]
    soft = found["votes"]["soft"]
    for key in ("accuracy", "accuracy_ci95", "nll", "ece", "temperature"):
        assert soft[key] == written[key], key
    each = members(made[2], made[1].pixels("test")).argmax(axis=2)
    actual = made[1].labels("test")
    for i in range(3):
        accuracy = round(float((each[i] == actual).mean()), 6)
        assert found["members"][f"member{i}"]["accuracy"] == accuracy
    assert Path("reports/figures/ensemble.png").read_bytes().startswith(b"\x89PNG")
    printed = capsys.readouterr().out
    assert "soft vote (counts)" in printed
    assert "the paradox of diversity" in printed
    flat = results.flat(written, "test")
    assert flat["test_accuracy/member2"] == accuracy
    assert flat["test_brier"] == written["brier"]


@pytest.mark.parametrize(("wanted", "inside"), [(None, 1), (2, 2), (0, 0)])
def test_one_member_is_looked_into_and_the_page_says_which(
    here: Path, wanted: int | None, inside: int, capsys: pytest.CaptureFixture[str]
) -> None:
    evaluate.run(little.HEARD, little.ENGINE, little.UNTRACKED)
    look = VisualizeSection(
        member=wanted,
        layers=None,
        filters=None,
        tiles=None,
        kernel_band=None,
        batch_size=16,
        **(dict.fromkeys(little.LOOK) if wanted else little.LOOK),
    )
    none = PredictSection(scenes={}, stride=None, batch_size=1)
    visualize.run(look, none, little.ENGINE, little.UNTRACKED)
    page = Path("reports/index.html").read_text()
    assert f"inside member {inside} of 3" in page
    assert "Members and their votes" in page
    assert "soft vote (counts)" in page
    assert "An ensemble of 3 networks" in page
    assert f"Looks inside member {inside} of 3" in capsys.readouterr().out


def test_a_member_that_is_none_is_refused(here: Path) -> None:
    look = VisualizeSection(
        member=3, layers=None, filters=None, tiles=None, kernel_band=None, batch_size=16
    )
    none = PredictSection(scenes={}, stride=None, batch_size=1)
    with pytest.raises(ConfigError, match=r"from 0 to 2 in visualize\.member, got 3"):
        visualize.run(look, none, little.ENGINE, little.UNTRACKED)
