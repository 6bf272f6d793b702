from __future__ import annotations

import json
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pipeline import probes
from pipeline.bundle import Bundle
from pipeline.errors import BandError, ConfigError, NetworkError
from pipeline.looks import choosing
from pipeline.schema import (
    DreamsSection,
    EvaluateSection,
    PredictSection,
    VisualizeSection,
)
from pipeline.stages import evaluate, visualize
from pipeline.store import Store
from pipeline.types import Classes
from tests import little

SECTION = VisualizeSection(
    layers=["conv1"],
    filters=None,
    tiles=None,
    kernel_band=None,
    batch_size=8,
    attributions=None,  # tests/test_looks_inside.py is about these three
    dreams=None,
    embedding=None,
)


def _section(**changes: Any) -> VisualizeSection:
    return SECTION.model_copy(update=changes)


def _run(**changes: Any) -> str:
    scenes = {name: f"/{name}.tif" for name in changes.pop("scenes", [])}
    predict = PredictSection(scenes=scenes, stride=None, batch_size=8)
    visualize.run(_section(**changes), predict, little.ENGINE, little.UNTRACKED)
    return Path("reports/index.html").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Store, Bundle]:
    folder = tmp_path_factory.mktemp("visualize")
    return folder, *little.project(folder)


@pytest.fixture
def here(made: tuple[Path, Store, Bundle], monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(made[0])
    return made[0]


class _Page(HTMLParser):
    """Tags that are open at the end, and addresses that lead out of the file."""

    VOID = ("meta", "img", "br", "link", "input")

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.out: list[str] = []
        self.images = 0

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag not in self.VOID:
            self.open.append(tag)
        self.images += tag == "img"
        for key, value in attrs:
            if key in ("src", "href") and not str(value).startswith(("data:", "#")):
                self.out.append(str(value))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def _parsed(html: str) -> _Page:
    page = _Page()
    page.feed(html)
    return page


def test_arrays_are_those_of_the_network(made: tuple[Path, Store, Bundle], here: Path) -> None:
    _run(tiles=[4, 0], filters=[3, 1])
    _, store, bundle = made
    held = np.load("reports/visualize/filters.npz")
    np.testing.assert_array_equal(held["conv1"], probes.filters(bundle.network, "conv1"))
    heard = np.load("reports/visualize/activations.npz")
    assert heard["rows"].tolist() == [4, 0]
    pixels = store.pixels("test", np.array([4, 0]))
    expected = probes.activations(bundle.network, pixels, ["conv1", "relu1", "pool1"])
    for name, maps in expected.items():
        np.testing.assert_array_equal(heard[name], maps)


def test_files_repeat_and_old_ones_are_gone(here: Path) -> None:
    first = _run(tiles=[4])
    arrays = Path("reports/visualize/activations.npz").read_bytes()
    Path("reports/visualize/activations_7.png").touch()
    assert _run(tiles=[4]) == first
    assert Path("reports/visualize/activations.npz").read_bytes() == arrays
    assert sorted(path.name for path in Path("reports/visualize").iterdir()) == [
        "activations.npz", "activations_conv1_4.png", "excitement.npz", "exciting_conv1.png",
        "filters.npz", "filters_conv1_channels.png", "filters_conv1_false.png",
        "filters_conv1_natural.png", "filters_conv1_response.png", "kernel.png", "kernels.png",
        "montage_conv1.png", "selectivity_conv1.png", "strongest_conv1.png",
    ]  # fmt: skip


def test_the_page_holds_every_look_and_repeats(here: Path) -> None:
    html = _run(tiles=[0, 1], **little.LOOK)
    for heading in (
        "What speaks for the class", "Which band mattered", "How far to believe these maps",
        "What it dreams of", "Where tiles lie", "What a tile looks like to the network",
    ):  # fmt: skip
        assert heading in html
    assert _parsed(html).open == []
    assert _run(tiles=[0, 1], **little.LOOK) == html  # pictures are inline: each of them repeats


def test_another_layer_is_shown_without_false_colour(here: Path) -> None:
    html = _run(layers=["conv2"], tiles=[0])
    assert "Filters of conv2" in html
    names = {path.name for path in Path("reports/visualize").iterdir()}
    assert "filters_conv2_channels.png" in names
    assert "filters_conv2_false.png" not in names
    assert "It sees 5 maps of the layers before it." in html


def test_the_first_layer_and_the_last_are_shown_unless_some_are_named(here: Path) -> None:
    html = _run(layers=None, tiles=[0], filters={"conv2": [1]})
    titles = [title for title in re.findall(r"<h2[^>]*>(.*?)</h2>", html) if "conv" in title]
    assert titles == [
        "Filters of conv1", "Filters of conv2",
        "What the filters of conv1 answer", "What the filters of conv2 answer",
        "What excites the filters of conv1", "What excites the filters of conv2",
    ]  # fmt: skip
    with np.load("reports/visualize/activations.npz") as heard:
        assert set(heard.files) == {"rows", "conv1", "relu1", "pool1", "conv2"}


def test_default_tiles_are_the_median_right_ones_of_each_class() -> None:
    actual = np.array([0, 0, 0, 0, 1, 1, 2])
    sure = np.array([0.9, 0.6, 0.7, 0.2, 0.8, 0.55, 0.1])
    probabilities = np.full((7, 3), 0.05, dtype=np.float32)
    probabilities[np.arange(7), actual] = sure
    probabilities[3] = (0.2, 0.7, 0.1)  # wrong: it does not count
    probabilities[6] = (0.8, 0.1, 0.1)  # class 2 has no right tile
    assert choosing.typical(actual, probabilities) == [2, 5]


def test_default_tiles_are_one_a_class(made: tuple[Path, Store, Bundle], here: Path) -> None:
    _run()
    rows = np.load("reports/visualize/activations.npz")["rows"]
    _, store, bundle = made
    labels = store.labels("test")[rows]
    assert labels.tolist() == [0, 1, 2]
    found = bundle.probabilities(store.pixels("test", rows), batch_size=8).argmax(axis=1)
    assert np.array_equal(found, labels)


@pytest.mark.parametrize(
    ("changes", "error", "words"),
    [
        ({"layers": ["relu1"]}, NetworkError, r"got 'relu1': a ReLU\. Known: conv1, conv2"),
        ({"layers": ["conv1", "conv7"]}, NetworkError, r"no such layer\. Known: conv1, conv2"),
        ({"layers": ["conv7"]}, NetworkError, r"^visualize\.layers: "),
        ({"kernel_band": "swir"}, BandError, r"^visualize\.kernel_band: .* nir, got 'swir'"),
        (
            {"dreams": DreamsSection(classes=[])},
            ConfigError,
            r"^visualize\.dreams\.classes: .* none",
        ),
        ({"dreams": DreamsSection(layer="top")}, NetworkError, r"^visualize\.dreams\.layer: "),
        ({"tiles": [3, 31]}, ConfigError, r"from 0 to 30 in visualize.tiles, got \[31\]"),
        ({"tiles": []}, ConfigError, "got none"),
        ({"filters": [5], "tiles": [0]}, ConfigError, r"conv1 from 0 to 4 .* got \[5\]"),
        ({"filters": [], "tiles": [0]}, ConfigError, r"got \[\]"),
        (
            {"filters": [4], "layers": None},
            ConfigError,
            r"conv2 from 0 to 3 .*filters=\{conv2: \[0\]",
        ),
        (
            {"filters": {"conv2": [0]}},
            ConfigError,
            r"layers \(conv1\) in visualize.filters, got conv2",
        ),
    ],
)
def test_mistakes_are_named(
    here: Path, changes: dict[str, Any], error: type[Exception], words: str
) -> None:
    with pytest.raises(error, match=words):
        _run(**changes)


def test_page_stands_alone_and_is_whole(here: Path) -> None:
    evaluate.run(EvaluateSection(split="test", batch_size=8), little.ENGINE, little.UNTRACKED)
    html = _run(tiles=[0, 1])
    page = _parsed(html)
    assert page.open == []
    assert page.out == []
    # Four of filters, two tiles and two more of activations, two of what excites them, two of
    # kernels; and figures but those told in tables.
    told = {"confusion.png", "per_class.png"}
    figures = {path.name for path in Path("reports/figures").iterdir()}
    assert {"reliability.png", "roc.png", "coverage.png", "groups.png"} <= figures
    samples = len(little.CLASSES)  # some of each class
    assert page.images == 12 + len(figures - told) + samples
    for heading in (
        "What is taken for what", "Class by class", "What the probabilities are worth",
        "Scene by scene, place by place", "Kernels made by hand",
    ):  # fmt: skip
        assert heading in html
    assert "Weakest class: " in html or "No class is mistaken" in html
    assert "light-dark(" in html
    assert not re.search(r"https?://", html)


def test_page_leaves_out_what_is_not_there(made: tuple[Path, Store, Bundle], tmp_path: Path,
                                           monkeypatch: pytest.MonkeyPatch) -> None:  # fmt: skip
    for name in ("data", "models"):
        (tmp_path / name).symlink_to(made[0] / name)
    monkeypatch.chdir(tmp_path)
    html = _run(tiles=[0])
    assert "Not measured yet" in html
    assert re.findall('id="tab-([a-z]+)"', html) == ["overview", "explorer", "inside", "data"]
    assert "What is taken for what" not in html
    assert _parsed(html).open == []


def test_network_table_and_maps_are_shown_where_they_exist(here: Path) -> None:
    from pipeline.schema import AnalyzeSection, InitSection, ModelSection, TrainSection
    from pipeline.stages import analyze
    from tests.test_train import TRAIN

    model = ModelSection(name="little", layers=dict(little.LAYERS))
    init, train = InitSection(name="he"), TrainSection.model_validate(TRAIN)
    analyze.run(AnalyzeSection(batch_size=8, strict=False), model, init, train)
    _run(tiles=[0])  # makes a picture to show as a map, whichever test came before
    Path("reports/maps").mkdir()
    for name in ("far_east", "of_another_pass"):
        picture = Path("reports/visualize/kernels.png").read_bytes()
        Path(f"reports/maps/{name}.png").write_bytes(picture)
    html = _run(tiles=[0], scenes=["far_east", "not_mapped_yet"])
    assert re.findall(r"<h3>(far_east|of_another_pass|not_mapped_yet)</h3>", html) == ["far_east"]
    assert [path.name for path in Path("reports/maps").iterdir()] == ["far_east.png"]
    assert '<th scope="row">pool1</th><td class="left">MaxPool2d 2x2</td><td>5x5x5</td>' in html
    start = html.index('<svg class="network-diagram"')
    diagram = html[start : html.index("</svg>", start)]
    assert '<g data-layer="pool1">' in diagram
    # 10 pixels go into pool1, 5 pairs; 5 go into conv2 and leave it as 3.
    assert "<code>head</code> holds 111 of 480 parameters" not in html
    assert _parsed(html).open == []


def test_names_from_files_can_not_inject_markup(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = ("<u>alert(1)</u>", "</script><u>", "water")
    (tmp_path / "data").mkdir()
    store = little.store(tmp_path / "data" / "tiles", Classes(names))
    little.train(store, tmp_path / "models", steps=4)
    monkeypatch.chdir(tmp_path)
    section = EvaluateSection(split="test", batch_size=8, areas=dict.fromkeys(names, 1.0))
    evaluate.run(section, little.ENGINE, little.UNTRACKED)
    html = _run(tiles=[0])
    assert html.count("&lt;u&gt;alert") > 4  # in the tables of classes and of areas, among others
    assert "<u>" not in html
    assert _parsed(html).open == []


def test_network_without_a_convolution_still_gets_a_page(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    little.project(tmp_path, little.MLP)
    monkeypatch.chdir(tmp_path)
    html = _run(layers=None)
    assert "has no convolution" in html
    assert "has no convolution" in capsys.readouterr().out
    assert {path.name for path in Path("reports/visualize").iterdir()} == {
        "kernels.png", "kernel.png",
    }  # fmt: skip
    with pytest.raises(NetworkError, match="none in this network"):
        _run(layers=["head"])
    assert "No convolution was asked for" in _run(tiles=[0], layers=[])


def test_a_page_without_intervals_says_why(here: Path) -> None:
    evaluate.run(EvaluateSection(split="test", batch_size=8), little.ENGINE, little.UNTRACKED)
    path = Path("reports/metrics.json")
    measures = json.loads(path.read_text(encoding="utf-8"))
    path.write_text(json.dumps({**measures, "accuracy_ci95": None}), encoding="utf-8")
    html = _run(tiles=[0])
    said = f"no interval: too few {measures['interval']['over']}, or none that differs"
    assert html.count(said) == 2  # at its top, and among the measures


@pytest.mark.parametrize("names", [("building", "trees", "water"), ()])
def test_the_page_of_an_autoencoder_shows_tiles_drawn_again_and_no_classes(
    names: tuple[str, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store, bundle = little.drawing_project(tmp_path, Classes(names))
    monkeypatch.chdir(tmp_path)
    evaluate.run(EvaluateSection(split="test", batch_size=8), little.ENGINE, little.UNTRACKED)
    Path("predictions").mkdir()
    figure = Path("reports/figures/errors.png").read_bytes()
    Path("predictions/map.png").write_bytes(figure)  # of a classifier before it
    html = _run(layers=["encoder.conv1"])
    page = _parsed(html)
    assert page.open == []
    assert page.out == []
    assert "draws its input again" in html
    for heading in ("Band by band", "Tiles drawn again", "Filters of encoder.conv1"):
        assert heading in html
    for heading in ("What is taken for what", "<h2>Class by class", "Class maps", "Not measured"):
        assert heading not in html
    held = np.load("reports/visualize/reconstructions.npz")
    drawn = bundle.reconstructions(store.pixels("test", held["rows"]), batch_size=6)
    np.testing.assert_allclose(held["pixels"], drawn, rtol=1e-4, atol=1e-3)
    apart = (drawn - store.pixels("test", held["rows"]).astype(float)) / store.std
    errors = np.square(apart).mean((1, 2, 3))
    assert (np.diff(errors) >= 0).all()
    # Filters, activations, what excites and which class, kernels, reconstructions, walks; and some
    # of each class.
    assert page.images == 4 + 8 + 1 + bool(names) + 2 + 1 + 2 + max(1, len(names))


def test_measures_of_another_task_are_not_shown(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    little.drawing_project(tmp_path)
    monkeypatch.chdir(tmp_path)
    Path("reports").mkdir()
    Path("reports/metrics.json").write_text('{"accuracy": 1.0, "per_class": {}}')
    assert "Not measured yet" in _run(tiles=[0], layers=["encoder.conv1"])
