"""Attributions, dreams, embeddings and walks of little projects, as ``visualize`` draws them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pipeline import attributions as pure
from pipeline import embeddings as laid
from pipeline.errors import ClassError, ConfigError, NetworkError
from pipeline.looks import attributions, choosing, dreams, embeddings, walks
from pipeline.looks.base import Look
from pipeline.report import Section
from pipeline.schema import VisualizeSection
from pipeline.schema.seeing import AttributionsSection, DreamsSection, EmbeddingSection
from pipeline.trained import Trained
from pipeline.types import Classes
from tests import little

SETTINGS = VisualizeSection(
    layers=None,
    filters=None,
    tiles=[0, 1, 2],
    kernel_band=None,
    batch_size=8,
    attributions=AttributionsSection(tiles=5),
    dreams=DreamsSection(steps=4, starts=2),
    embedding=EmbeddingSection(thumbnails=True),
)


def _look(trained: Trained, out: Path, **changes: Any) -> Look:
    settings = SETTINGS.model_copy(update=changes)
    out.mkdir(parents=True, exist_ok=True)
    return Look(trained, choosing.tiles_of(trained, settings), settings, out)


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Trained:
    return Trained(*little.project(tmp_path_factory.mktemp("inside")))


@pytest.fixture(scope="module")
def drawing(tmp_path_factory: pytest.TempPathFactory) -> Trained:
    return Trained(*little.drawing_project(tmp_path_factory.mktemp("drawing")))


def _pictures(sections: list[Section], out: Path) -> list[str]:
    """Names of pictures, which are there and say what they show."""
    pictures = [picture for section in sections for picture in section.pictures]
    for picture in pictures:
        assert picture.path.parent == out
        assert min(picture.size) > 100
        assert picture.alt
    assert all(section.text and section.title for section in sections)
    return [picture.path.name for picture in pictures]


def test_attributions_are_of_the_class_that_is_named(trained: Trained, tmp_path: Path) -> None:
    look = _look(trained, tmp_path)
    sections = attributions.draw(look)
    assert [section.key for section in sections] == ["attributions", "bands", "trust"]
    assert _pictures(sections, tmp_path) == [
        "attributions.png", "attributions_bands.png", "band_shares.png", "trust.png",
    ]  # fmt: skip
    held = np.load(tmp_path / "attributions.npz")
    bundle = trained.bundle
    named = bundle.probabilities(look.shown.pixels, batch_size=8).argmax(axis=1)
    assert np.array_equal(held["class"], named)
    for method in pure.METHODS:
        expected = pure.attribute(bundle.network, look.shown.pixels, named, method)
        np.testing.assert_allclose(held[method], expected, rtol=1e-4, atol=1e-6)
    shares = np.load(tmp_path / "band_shares.npz")
    assert np.bincount(shares["class"]).max() == 5  # tiles a class
    np.testing.assert_allclose(shares["shares"].sum(axis=1), 1, rtol=1e-5)
    # Each class is bright in a band of its own: green, blue, near infrared.
    for label in np.unique(shares["class"]):
        lost = shares["lost"][shares["class"] == label].mean(axis=0)
        assert lost.argmax() == label + 1
    assert "Saliency" in sections[2].text
    assert "a tile that is all mean is taken for" in sections[1].text


def test_methods_are_chosen_and_those_that_do_not_fit_are_left_out(
    tmp_path: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    plain = Trained(*little.project(tmp_path_factory.mktemp("mlp"), little.MLP))
    chosen = AttributionsSection(methods=["grad_cam", "saliency", "guided_backprop"], tiles=4)
    first, _, trust = attributions.draw(_look(plain, tmp_path, attributions=chosen))
    assert "Without a ReLU guided_backprop is the saliency." in first.text
    assert "got none in this network" in first.text
    assert [picture.path.name for picture in first.pictures] == ["attributions.png"]
    assert "Grad-CAM" not in trust.text
    held = np.load(tmp_path / "attributions.npz")
    assert set(held.files) == {"rows", "class", "saliency", "guided_backprop"}
    np.testing.assert_allclose(held["saliency"], held["guided_backprop"], rtol=1e-5)
    # A linear network's gradient is its weights, which another draw changes altogether.
    correlation = np.load(tmp_path / "trust.npz")["saliency/correlation"]
    assert np.abs(correlation[-1]).max() < 0.5


def test_dreams_are_of_classes_and_of_filters(trained: Trained, tmp_path: Path) -> None:
    enough = DreamsSection(steps=40)
    sections = dreams.draw(_look(trained, tmp_path, dreams=enough))
    assert _pictures(sections, tmp_path) == ["dreams_classes.png", "dreams_filters.png"]
    held = np.load(tmp_path / "dreams_classes.npz")
    assert held["pixels"].shape == (3, 12, 12, 4)
    training = trained.store.pixels("train").astype(np.float64)
    low, high = np.percentile(training, (1, 99), axis=(0, 1, 2))
    assert (held["pixels"] >= low - 1e-3).all()
    assert (held["pixels"] <= high + 1e-3).all()
    named = trained.bundle.probabilities(held["pixels"], batch_size=8).argmax(axis=1)
    assert named.tolist() == held["class"].tolist() == [0, 1, 2]
    one = DreamsSection(steps=2, starts=1, classes=["water"], layer="conv1", filters=[4, 0])
    dreams.draw(_look(trained, tmp_path, dreams=one))
    assert np.load(tmp_path / "dreams_classes.npz")["class"].tolist() == [2]
    assert np.load(tmp_path / "dreams_filters.npz")["filter"].tolist() == [4, 0]


def test_tiles_are_laid_out_and_their_neighbours_shown(trained: Trained, tmp_path: Path) -> None:
    look = _look(trained, tmp_path)
    sections = embeddings.draw(look)
    names = ["embedding.png", "embedding_tiles.png", "neighbours.png"]
    assert _pictures(sections, tmp_path) == names
    held = np.load(tmp_path / "embedding.npz")
    assert held["pca"].shape == held["tsne"].shape == (31, 2)
    known = laid.features(trained.bundle.network, trained.store.pixels("train"))
    near = np.load(tmp_path / "neighbours.npz")["training_rows"]
    apart = np.linalg.norm(known[None] - held["features"][look.shown.rows][:, None], axis=2)
    assert np.array_equal(near[:, 0], apart.argmin(axis=1))
    assert "vote for the right class in" in sections[0].text


def test_of_an_autoencoder_there_are_walks_and_no_classes(drawing: Trained, tmp_path: Path) -> None:
    look = _look(drawing, tmp_path)
    assert attributions.draw(look) == []
    sections = [*walks.draw(look), *dreams.draw(look), *embeddings.draw(look)]
    assert _pictures(sections, tmp_path) == [
        "walks.png", "directions.png", "dreams_filters.png", "embedding.png", "embedding_tiles.png",
        "neighbours.png",
    ]  # fmt: skip
    assert np.load(tmp_path / "embedding.npz")["features"].shape == (31, 6)
    assert np.load(tmp_path / "directions.npz")["tiles"].shape == (6, 7, 12, 12, 4)
    assert np.load(tmp_path / "walks.npz")["tiles"].shape == (2, 7, 12, 12, 4)


def test_tiles_without_labels_are_laid_out_too(tmp_path: Path) -> None:
    unlabelled = Trained(*little.drawing_project(tmp_path, Classes(())))
    sections = embeddings.draw(_look(unlabelled, tmp_path / "out"))
    assert _pictures(sections, tmp_path / "out")
    assert "right class" not in sections[0].text


def test_what_is_set_to_null_is_left_out(trained: Trained, tmp_path: Path) -> None:
    look = _look(trained, tmp_path, attributions=None, dreams=None, embedding=None)
    assert [*attributions.draw(look), *dreams.draw(look), *embeddings.draw(look)] == []
    assert walks.draw(look) == []  # a classifier has no half that draws
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("changes", "error", "words"),
    [
        ({"dreams": DreamsSection(classes=["lawn"])}, ClassError, "building, trees, water, got"),
        ({"dreams": DreamsSection(layer="head")}, NetworkError, "got head, which has none"),
        ({"dreams": DreamsSection(layer="conv7")}, NetworkError, "got conv7. Known: "),
        (
            {"dreams": DreamsSection(layer="conv1", filters=[5])},
            ConfigError,
            r"conv1 from 0 to 4 in visualize\.dreams\.filters, got \[5\]",
        ),
        (
            {"dreams": DreamsSection(filters=[77])},
            ConfigError,
            r"conv2 from 0 to 3 in visualize\.dreams\.filters, got \[77\]",
        ),
        ({"dreams": DreamsSection(filters=[])}, ConfigError, r"got \[\]"),
        ({"embedding": EmbeddingSection(methods=[])}, ConfigError, "pca, tsne, umap or more"),
    ],
)
def test_mistakes_are_named_before_any_work(
    trained: Trained, changes: dict[str, Any], error: type[Exception], words: str
) -> None:
    settings = SETTINGS.model_copy(update=changes)
    check = embeddings.check if "embedding" in changes else dreams.check
    with pytest.raises(error, match=words):
        check(trained, settings)
