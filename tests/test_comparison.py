from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from pipeline import metrics
from pipeline.baselines import NAMES
from pipeline.comparison import command, page, pairs, terminal
from pipeline.comparison.outcome import Outcome, differing, pooled
from pipeline.errors import ComparisonError
from tests import little

CLASS_NAMES = np.array(little.CLASSES.names)
TILES = 300
PARAMS: dict[str, Any] = {
    "model": {"name": "vgg", "layers": {"conv": {"out_channels": 3}}},
    "optimizer": {"lr": 0.01, "factors": None},
    "trainer": {"devices": 1},
}


def write_run(
    folder: Path,
    right: float,
    seed: int,
    *,
    params: dict[str, Any] = PARAMS,
    digest: str = "a" * 64,
    tiles: range = range(TILES),
    shift: int = 0,
) -> Path:
    """A run that finds this share of tiles, as files in a folder."""
    folder.mkdir(parents=True)
    random = np.random.default_rng(seed)
    actual = (np.array(tiles) + shift) % 3
    found = np.where(random.random(len(tiles)) < right, actual, (actual + 1) % 3)
    rows = [
        f"t{tile},{CLASS_NAMES[a]},{CLASS_NAMES[b]},0.{random.integers(34, 99)}"
        for tile, a, b in zip(tiles, actual, found, strict=True)
    ]
    text = "\n".join(["tile_id,actual,predicted,confidence", *rows, ""])
    (folder / "predictions.csv").write_text(text)
    counts = metrics.confusion(actual, found, 3)
    (folder / "metrics.json").write_text(json.dumps(metrics.summarize(counts, little.CLASSES)))
    (folder / "params.yaml").write_text(yaml.safe_dump(params))
    (folder / "model.json").write_text(json.dumps({"data_digest": digest}))
    return folder


def _outcome(folder: Path, *given: Any, **changes: Any) -> Outcome:
    return Outcome.read(write_run(folder, *given, **changes), folder.name, "folder")


def test_two_that_are_alike_and_one_that_is_better(tmp_path: Path) -> None:
    runs = [
        _outcome(tmp_path / name, right, seed)
        for seed, (name, right) in enumerate([("one", 0.9), ("two", 0.9), ("poor", 0.6)])
    ]
    first, second, third = pairs.compare_all(runs)
    assert first.sentence.startswith("No difference beyond chance between one and two")
    assert re.match(r"one is better than poor by \d\d\.\d points of accuracy", second.sentence)
    assert [pair.differ for pair in (first, second, third)] == [False, True, True]
    # Three p-values, corrected: the smallest counts threefold.
    raw = [pair.result.p for pair in (first, second, third) if pair.result]
    assert min(second.p, third.p) == pytest.approx(3 * min(raw))
    assert first.p == raw[0]


def test_a_run_without_an_interval_is_shown_without(tmp_path: Path) -> None:
    one, two = (write_run(tmp_path / name, 0.8, seed) for seed, name in enumerate(["a", "b"]))
    measures = json.loads((one / "metrics.json").read_text())
    (one / "metrics.json").write_text(json.dumps({**measures, "accuracy_ci95": None}))
    runs = [Outcome.read(folder, folder.name, "folder") for folder in (one, two)]
    row = next(row for row in terminal.measures(runs) if row[0] == "accuracy")
    assert row[1] == f"{measures['accuracy']:.4f}"
    assert row[2].endswith(")")
    page.write(runs, pairs.compare_all(runs), [], tmp_path / "page.html")
    assert "nan" not in (tmp_path / "page.html").read_text().split("<body>")[1].split("<script")[0]


def test_a_run_and_itself_do_not_differ(tmp_path: Path) -> None:
    run = _outcome(tmp_path / "one", 0.8, 0)
    (pair,) = pairs.compare_all([run, run])
    assert pair.result is not None
    assert pair.result.accuracy.value == 0
    assert pair.disagreements == ()


def test_common_tiles_of_the_same_data_are_compared(tmp_path: Path) -> None:
    one = _outcome(tmp_path / "one", 0.9, 0)
    part = _outcome(tmp_path / "part", 0.9, 0, tiles=range(100, TILES))
    (pair,) = pairs.compare_all([one, part])
    assert pair.result is not None
    assert pair.result.tiles == 200
    assert pair.note == "On the 200 tiles of both, of 300 and 200."


def test_tiles_of_other_data_are_compared_where_all_are_the_same(tmp_path: Path) -> None:
    one = _outcome(tmp_path / "one", 0.9, 0)
    few = _outcome(tmp_path / "few", 0.9, 1, digest="b" * 64)  # as with fewer training tiles
    (pair,) = pairs.compare_all([one, few])
    assert pair.result is not None
    assert "learned from other tiles" in pair.note


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"digest": "b" * 64, "tiles": range(100, 400)}, "300 and 300, of which 200 have the same"),
        ({"tiles": range(1000, 1300)}, "of which 0 have the same name"),
        ({"shift": 1}, "have other classes in one than in the other"),
    ],
)
def test_other_tiles_are_not_compared_but_told(
    tmp_path: Path, changes: dict[str, Any], words: str
) -> None:
    one, other = _outcome(tmp_path / "one", 0.9, 0), _outcome(tmp_path / "two", 0.9, 1, **changes)
    (pair,) = pairs.compare_all([one, other])
    assert pair.result is None
    assert pair.sentence.startswith("No telling between one and two: ")
    assert words in pair.sentence


def test_places_are_what_counts_where_they_are_known(tmp_path: Path) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    ids = [f"t{tile}" for tile in range(TILES)]
    for name, seed in (("one", 0), ("two", 1)):
        folder = write_run(tmp_path / name, 0.9, seed)
        table = pa.table({"tile_id": ids, "group": [f"block {k // 30}" for k in range(TILES)]})
        pq.write_table(table, folder / "probabilities.parquet")
    runs = [Outcome.read(tmp_path / name, name, "folder") for name in ("one", "two")]
    (pair,) = pairs.compare_all(runs)
    assert pair.result is not None
    assert pair.result.units == 10


def test_without_answers_there_is_no_telling(tmp_path: Path) -> None:
    one, folder = _outcome(tmp_path / "one", 0.9, 0), write_run(tmp_path / "bare", 0.9, 1)
    (folder / "predictions.csv").unlink()
    (pair,) = pairs.compare_all([one, Outcome.read(folder, "bare", "folder")])
    assert pair.sentence == "No telling: bare kept no answers (predictions.csv)."


def test_what_draws_its_tile_again_can_not_be_compared(tmp_path: Path) -> None:
    (tmp_path / "metrics.json").write_text('{"n": 3, "mse": 0.1}')
    with pytest.raises(ComparisonError, match="networks that tell classes, got x"):
        Outcome.read(tmp_path, "x", "folder")


def test_files_may_lie_as_in_a_project(tmp_path: Path) -> None:
    flat = write_run(tmp_path / "flat", 0.9, 0)
    project = tmp_path / "project"
    for home in ("reports", "models"):
        (project / home).mkdir(parents=True)
    for path in flat.iterdir():
        home = {"model.json": "models", "params.yaml": "."}.get(path.name, "reports")
        (project / home / path.name).write_bytes(path.read_bytes())
    one, other = (Outcome.read(folder, "x", "") for folder in (flat, project))
    assert other.answers is not None
    assert one.answers is not None
    assert (one.answers.predicted == other.answers.predicted).all()
    assert (one.params, one.measures, one.data_digest) == (
        other.params, other.measures, other.data_digest,
    )  # fmt: skip


def test_parameters_that_differ_and_no_others(tmp_path: Path) -> None:
    changed = {
        "model": {"name": "vgg", "layers": {"conv": {"out_channels": 5}}},
        "optimizer": {"lr": 0.01, "factors": {"conv*": 0.1}},
        "trainer": {"devices": 8},
    }
    runs = [
        _outcome(tmp_path / "one", 0.9, 0), _outcome(tmp_path / "two", 0.9, 0, params=changed)
    ]  # fmt: skip
    assert differing(runs) == {
        "model.layers.conv.out_channels": ["3", "5"],
        "optimizer.factors": ["", '{"conv*": 0.1}'],
    }
    several = {**PARAMS, "train": {"member_models": ["lenet"], "members": 2}}
    networks = {"lenet": {"name": "lenet", "layers": {"conv": {"out_channels": 9}}}}
    several["train"]["member_networks"] = networks
    told = differing([runs[0], _outcome(tmp_path / "vote", 0.9, 0, params=several)])
    assert told == {
        "model.name": ["vgg", "2 x lenet"],
        "train.member_models": ["", '["lenet"]'],
        "train.members": ["", "2"],
    }
    changed["model"]["name"] = "mine"  # type: ignore[index]
    runs[1] = _outcome(tmp_path / "three", 0.9, 0, params=changed)
    assert list(differing(runs)) == ["model.name", "optimizer.factors"]


def test_tiles_where_they_disagree_are_the_surest_mistakes_of_each_kind(tmp_path: Path) -> None:
    one, two = (_outcome(tmp_path / name, 0.6, seed) for seed, name in enumerate(["a", "b"]))
    (pair,) = pairs.compare_all([one, two])
    for kind in ("first", "second"):
        items = [item for item in pair.disagreements if item.right == kind]
        wrong = [item.confidence[kind == "first"] for item in items]
        assert wrong == sorted(wrong, reverse=True)
        assert len(items) == pairs.MOST
        assert all(item.answers[kind == "second"] == item.actual for item in items)
        assert all(item.answers[0] != item.answers[1] for item in items)


def test_mean_and_deviation_over_runs(tmp_path: Path) -> None:
    runs = [_outcome(tmp_path / f"r{seed}", 0.8, seed) for seed in range(4)]
    spread = {row.name: row for row in pairs.spreads(runs)}
    values = [run.measures["accuracy"] for run in runs]
    assert spread["accuracy"].mean == pytest.approx(np.mean(values))
    assert spread["accuracy"].deviation == pytest.approx(np.std(values, ddof=1))
    assert (spread["accuracy"].low, spread["accuracy"].high) == (min(values), max(values))
    assert list(spread) == ["accuracy", "balanced_accuracy", "macro_f1", "kappa"]


def test_folds_are_pooled_to_one_and_what_was_measured_twice_is_not(tmp_path: Path) -> None:
    folds = [
        _outcome(tmp_path / f"f{k}", 0.8, k, tiles=range(100 * k, 100 * k + 100)) for k in range(3)
    ]
    whole = pooled(folds, "f*")
    assert whole.measures["n"] == 300
    accuracy = np.mean([fold.measures["accuracy"] for fold in folds])
    assert whole.measures["accuracy"] == pytest.approx(accuracy, abs=1e-6)
    assert whole.params["optimizer.lr"] == 0.01
    with pytest.raises(ComparisonError, match="measured twice"):
        pooled([folds[0], *folds], "f*")


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A store whose test tiles two runs disagree on."""
    store = little.store(tmp_path / "data/tiles")
    names = store.names("test")
    for run, off in (("<one>", 0), ("two", 1)):
        folder = write_run(tmp_path / run, 0.9, off, tiles=range(31))
        path = folder / "predictions.csv"
        text = path.read_text()
        for k, name in enumerate(names):
            text = re.sub(rf"^t{k},\w+", f"test:{k},{name}", text, flags=re.MULTILINE)
        path.write_text(text)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path}/none.db")
    return tmp_path


def test_the_page_holds_everything_itself_and_names_can_not_inject_markup(project: Path) -> None:
    command.compare(["<one>", "two"], summary=True)
    first = Path("reports/compare.html").read_text()
    assert "<one>" not in first
    assert "&lt;one&gt;" in first
    assert not re.findall(r'(?:src|href)="(?!data:)', first)
    assert "http" not in re.sub(r'src="data:[^"]*"', "", first)
    assert len(re.findall(r'<img src="data:image/png', first)) > 2
    for words in ("No difference beyond chance", "Over all 2 runs", "Holm", "What is taken for"):
        assert (words in first) == (words != "Holm")  # one pair needs no correction
    command.compare(["<one>", "two"], summary=True)
    assert Path("reports/compare.html").read_text() == first


def test_tiles_of_another_class_or_store_are_not_shown(project: Path, tmp_path: Path) -> None:
    shown = page.thumbnails({"test:0": "building", "test:1": "water", "far": "water"})
    assert list(shown) == ["test:0"]
    assert page.thumbnails({"test:0": "building"}, tmp_path / "nowhere") == {}


def test_the_terminal_tells_what_differs_and_who_is_better(
    project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    changed = {**PARAMS, "optimizer": {"lr": 0.5, "factors": None}}
    write_run(project / "other", 0.3, 9, params=changed)
    write_run(project / "good", 0.9, 8)
    command.compare(["other", "good"])
    printed = capsys.readouterr().out
    assert re.search(r"optimizer\.lr\s+│ 0\.5\s+│ 0\.01", printed)
    assert "good is better than other by" in printed
    assert "(0." in printed  # an interval


def test_runs_on_tiles_of_their_own_take_one_sentence(tmp_path: Path) -> None:
    runs = [
        _outcome(tmp_path / f"f{k}", 0.8, k, tiles=range(100 * k, 100 * k + 100)) for k in range(3)
    ]
    told = terminal.sentences(pairs.compare_all(runs))
    assert told == ["The runs were measured on different tiles, so there are no pairs to compare."]


def test_one_run_is_too_few_and_two_of_a_name_are_told_apart(project: Path) -> None:
    with pytest.raises(ComparisonError, match="two runs or more to compare, got 1: two"):
        command.compare(["two"])
    one = Outcome.read(project / "two", "two", "")
    assert [run.name for run in command.distinct([one, one])] == ["two (1)", "two (2)"]


def test_a_method_without_a_network_is_told_of_the_same_tiles_alone(tmp_path: Path) -> None:
    folder = write_run(tmp_path / "one", 0.8, 0)
    summary = {"n": TILES, "methods": {name: {"accuracy": 0.5} for name in NAMES}}
    (folder / "baseline.json").write_text(json.dumps(summary))
    rows = terminal.measures([Outcome.read(folder, "one", "")])
    assert ["without a network: random forest", "0.5000"] in rows
    (folder / "baseline.json").write_text(json.dumps({**summary, "n": 7}))
    assert not any("forest" in row[0] for row in terminal.measures([Outcome.read(folder, "", "")]))


def _methods(folder: Path, methods: Any) -> None:
    (folder / "baseline.json").write_text(json.dumps({"n": TILES, "methods": methods}))


TORN = {
    "metrics.json": ["{", "[]", '{"accuracy": 1}', "\xff"],
    "predictions.csv": ["", "\n", "tile_id,actual,predicted\na,b\n",
                        "tile_id,actual,predicted,confidence\na,water,water,sure\n",
                        "tile_id,actual,predicted\na,water,lava\n"],
    "params.yaml": ["x: [", "- 1"],
    "model.json": ["{"],
    "probabilities.parquet": ["junk", ""],
    "baseline.json": ["{", '{"n": 300}', '{"n": 300, "methods": {"majority": {}}}'],
}  # fmt: skip


@pytest.mark.parametrize(("file", "text"), [(f, text) for f in TORN for text in TORN[f]])
def test_a_torn_file_of_a_run_is_one_sentence_that_names_it(
    tmp_path: Path, file: str, text: str
) -> None:
    folder = write_run(tmp_path / "one", 0.8, 0)
    (folder / file).write_text(text, encoding="latin-1")
    with pytest.raises(ComparisonError) as caught:
        Outcome.read(folder, "one", "folder")
    told = str(caught.value)
    assert re.match(r"Expected .* in .*, got .*\. Write it anew with .*\.$", told)
    assert str(folder / file) in told
    assert "\n" not in told


def test_the_class_that_the_measures_lack_is_named(tmp_path: Path) -> None:
    folder = write_run(tmp_path / "one", 0.8, 0)
    (folder / "predictions.csv").write_text("tile_id,actual,predicted\na,water,lava\n")
    with pytest.raises(ComparisonError, match=r"building, trees, water\) and no other.*got lava"):
        Outcome.read(folder, "one", "folder")


def test_a_method_that_was_not_measured_leaves_its_cell_empty(tmp_path: Path) -> None:
    folder = write_run(tmp_path / "one", 0.8, 0)
    _methods(folder, {"majority": {"accuracy": 0.5}})
    rows = terminal.measures([Outcome.read(folder, "one", "")])
    assert [row[0] for row in rows if "network" in row[0]] == [
        "without a network: commonest class"
    ]  # fmt: skip


def test_folds_of_other_classes_are_not_pooled(tmp_path: Path) -> None:
    one, two = (
        _outcome(tmp_path / f"f{k}", 0.8, k, tiles=range(100 * k, 100 * k + 100)) for k in range(2)
    )
    fewer = dict(list(two.measures["per_class"].items())[:2])
    other = replace(two, measures={**two.measures, "per_class": fewer})
    with pytest.raises(ComparisonError, match=r"same classes, got .*water in f0 and .*without --p"):
        pooled([other, one][::-1], "f*")
