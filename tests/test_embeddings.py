from __future__ import annotations

import sys
from importlib.util import find_spec
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from sklearn.metrics import silhouette_score
from torch import nn

from pipeline import probes, steps
from pipeline.embeddings import METHODS, features, neighbours, place, separation
from pipeline.errors import ConfigError, NetworkError
from tests import networks
from tests.test_attributions import Sum, _untouched


def _tiles(count: int = 3) -> np.ndarray[Any, Any]:
    return np.random.default_rng(0).integers(0, 255, (count, 28, 28, 4)).astype(np.uint8)


def _groups(each: int = 20) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    """Three groups far apart in six dimensions, and their labels."""
    rng = np.random.default_rng(1)
    labels = np.repeat(np.arange(3), each)
    middles = 10 * np.eye(6)[:3]
    found = middles[labels] + rng.normal(size=(3 * each, 6))
    return found.astype(np.float32), labels


@pytest.mark.parametrize("name", networks.MODELS)
def test_features_are_what_the_last_layer_is_given(name: str) -> None:
    network = networks.model(name)
    network.train()
    found = features(network, _tiles())
    assert _untouched(network)
    if network.task == "reconstruct":
        heard = probes.activations(network, _tiles(), ["latent"])["latent"]
        np.testing.assert_allclose(found, heard, rtol=1e-4, atol=1e-5)
        return
    head = network.get_submodule(steps.head(network))
    assert isinstance(head, nn.Linear)
    outputs = probes.activations(network, _tiles(), [steps.head(network)])[steps.head(network)]
    weight, bias = head.weight.detach().numpy(), head.bias.detach().numpy()
    np.testing.assert_allclose(found @ weight.T + bias, outputs, rtol=1e-3, atol=1e-4)


def test_a_map_before_the_head_counts_by_its_mean() -> None:
    network = nn.Sequential(nn.Conv2d(4, 5, 3), nn.Conv2d(5, 2, 1), Sum())
    found = features(network, _tiles())
    heard = probes.activations(network, _tiles(), ["0"])["0"]
    np.testing.assert_allclose(found, heard.mean(axis=(2, 3)), rtol=1e-4)
    with pytest.raises(NetworkError, match="a linear layer or a convolution"):
        features(nn.Sequential(Sum()), _tiles())


@pytest.mark.parametrize("method", ["pca", "tsne"])
def test_layouts_keep_groups_together_and_repeat(method: Any) -> None:
    found, labels = _groups()
    placed = place(found, method, seed=4)
    assert placed.places.shape == (60, 2)
    assert placed.trustworthiness > 0.8
    assert silhouette_score(placed.places, labels) > 0.5
    np.testing.assert_array_equal(place(found, method, seed=4).places, placed.places)


def test_pca_tells_how_much_its_axes_hold() -> None:
    along = np.zeros((32, 3), np.float32)
    along[:, 0], along[:, 1] = np.tile([-3.0, 3.0], 16), np.repeat([-1.0, 1.0], 16)
    placed = place(along, "pca")
    assert placed.axes == ("90 % of the variance", "10 % of the variance")
    assert np.abs(placed.places).max(axis=0) == pytest.approx([3, 1])


def test_few_and_narrow_features_are_laid_out_too() -> None:
    with pytest.raises(ConfigError, match=r"four tiles or more to lay out, got 3; .*\.tiles"):
        place(np.zeros((3, 5), np.float32), "pca")
    for method in ("pca", "tsne"):
        placed = place(np.random.default_rng(0).random((6, 1)).astype(np.float32), method)
        assert placed.places.shape == (6, 2)
        assert np.isfinite(placed.places).all()


def test_neighbours_are_the_nearest_in_units_of_the_usual_distance() -> None:
    known = np.array([[0.0], [2.0], [9.0], [14.0]], np.float32)  # pairs from end to end: 14, 7
    found = neighbours(np.array([[1.9], [9.5]], np.float32), known, 2)
    assert found.rows.tolist() == [[1, 0], [2, 3]]
    usual = np.median([14, 7, 7, 14])
    np.testing.assert_allclose(
        found.distances, np.array([[0.1, 1.9], [0.5, 4.5]]) / usual, rtol=1e-4
    )
    assert neighbours(known, known, 99).rows.shape == (4, 4)


def test_separation_by_neighbours_and_silhouette() -> None:
    found, labels = _groups()
    apart = separation(found, labels, (found + 0.1).astype(np.float32), labels)
    assert apart.neighbours == 1
    assert apart.silhouette == pytest.approx(silhouette_score(found, labels))
    mixed = np.roll(labels, 20)
    assert separation(found, labels, found, mixed).neighbours == 0
    alone = separation(found[:5], labels[:5], found, labels)
    assert alone.neighbours == 1
    assert np.isnan(alone.silhouette)


def test_umap_is_asked_for_the_same_places_again(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[dict[str, Any]] = []

    class Reducer:
        def __init__(self, **arguments: Any) -> None:
            asked.append(arguments)

        def fit_transform(self, found: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
            return found[:, :2]

    monkeypatch.setitem(sys.modules, "umap", SimpleNamespace(UMAP=Reducer, __spec__=None))
    found, _ = _groups()
    np.testing.assert_array_equal(place(found, "umap", seed=7).places, found[:, :2])
    assert asked == [{"n_neighbors": 15, "random_state": 7, "n_jobs": 1}]


def test_without_umap_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(ConfigError, match=r"pip install 'quadband\[umap\]'"):
        place(_groups()[0], "umap")


@pytest.mark.skipif(find_spec("umap") is None, reason="needs the extra: quadband[umap]")
@pytest.mark.filterwarnings("ignore")  # its numba compiles, and says so in many ways
def test_the_real_umap_keeps_groups_together() -> None:
    found, labels = _groups()
    placed = place(found, "umap", seed=0)
    assert silhouette_score(placed.places, labels) > 0.5
    np.testing.assert_array_equal(place(found, "umap", seed=0).places, placed.places)


def test_the_settings_know_the_same_methods() -> None:
    from typing import get_args

    from pipeline import attributions
    from pipeline.schema import seeing

    assert get_args(seeing.Attribution) == attributions.METHODS
    (methods,) = get_args(seeing.EmbeddingSection.model_fields["methods"].annotation)
    assert get_args(methods) == METHODS
