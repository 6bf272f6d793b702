from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from pipeline import bundle, calibration
from pipeline.bundle import FACTS, WEIGHTS, Bundle
from pipeline.errors import BundleError
from tests import little


@pytest.fixture
def saved(tmp_path: Path) -> Bundle:
    return little.train(little.store(tmp_path / "tiles"), tmp_path / "models", steps=3)


def edit(path: Path, **changes: Any) -> None:
    facts = json.loads(path.read_text())
    path.write_text(json.dumps({**facts, **changes}))


def pixels(count: int, dtype: Any = np.uint8) -> np.ndarray[Any, Any]:
    return little.tiles(np.arange(count) % 3, 7).astype(dtype)


def test_what_goes_in_comes_out(saved: Bundle, tmp_path: Path) -> None:
    opened = bundle.load(tmp_path / "models")
    assert (opened.bands, opened.classes, opened.tile_size) == (
        little.BANDS,
        little.CLASSES,
        little.SIZE,
    )
    assert opened.layers == little.LAYERS
    assert opened.digest == saved.digest
    assert opened.params["model"]["name"] == "little"
    assert opened.versions["torch"] == torch.__version__
    assert not opened.network.training
    state = opened.network.state_dict()
    for key, value in saved.network.state_dict().items():
        assert torch.equal(value, state[key]), key
    assert state["normalize.mean"].any()


def test_the_same_network_gives_the_same_bytes(saved: Bundle, tmp_path: Path) -> None:
    # Another memory order of the weights is the same network.
    saved.network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    again = tmp_path / "again"
    bundle.save(saved.network, data_digest=saved.data_digest, params=saved.params, root=again)
    for name in (WEIGHTS, FACTS):
        assert (again / name).read_bytes() == (tmp_path / "models" / name).read_bytes()


@pytest.mark.parametrize("batch_size", [1, 7, 64])
def test_probabilities_do_not_depend_on_the_slicing(saved: Bundle, batch_size: int) -> None:
    whole = saved.probabilities(pixels(20), batch_size=20)
    parts = saved.probabilities(pixels(20), batch_size=batch_size)
    assert whole.shape == (20, 3)
    np.testing.assert_allclose(parts, whole, rtol=1e-5)
    np.testing.assert_allclose(whole.sum(axis=1), 1, rtol=1e-6)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.int16, np.float32, np.float64])
def test_probabilities_do_not_depend_on_the_number_type(saved: Bundle, dtype: Any) -> None:
    expected = saved.probabilities(pixels(5), batch_size=5)
    np.testing.assert_array_equal(saved.probabilities(pixels(5, dtype), batch_size=5), expected)


def test_a_read_only_map_of_a_file_will_do(saved: Bundle, tmp_path: Path) -> None:
    np.save(tmp_path / "tiles.npy", pixels(5))
    mapped = np.load(tmp_path / "tiles.npy", mmap_mode="r")
    expected = saved.probabilities(pixels(5), batch_size=2)
    np.testing.assert_array_equal(saved.probabilities(mapped, batch_size=2), expected)


def test_a_temperature_divides_the_logits_and_leaves_the_digest(
    saved: Bundle, tmp_path: Path
) -> None:
    plain = saved.probabilities(pixels(9), batch_size=9)
    warm = bundle.tempered(tmp_path / "models", 2.0)
    assert (warm.temperature, warm.digest) == (2.0, saved.digest)
    expected = calibration.tempered(plain, 2.0)
    np.testing.assert_allclose(warm.probabilities(pixels(9), batch_size=9), expected, rtol=1e-4)
    facts = json.loads((tmp_path / "models" / FACTS).read_text())
    del facts["temperature"]  # of a bundle that was written before there was one
    (tmp_path / "models" / FACTS).write_text(json.dumps(facts))
    assert bundle.load(tmp_path / "models").temperature == 1.0


@pytest.mark.parametrize("temperature", [0, -1.0, "hot", None])
def test_a_temperature_that_is_none_is_refused(
    saved: Bundle, tmp_path: Path, temperature: Any
) -> None:
    edit(tmp_path / "models" / FACTS, temperature=temperature)
    with pytest.raises(BundleError, match="temperature above 0"):
        bundle.load(tmp_path / "models")


def test_no_tiles_give_no_probabilities(saved: Bundle) -> None:
    assert saved.probabilities(pixels(0), batch_size=2).shape == (0, 3)


def test_other_tiles_are_refused(saved: Bundle) -> None:
    with pytest.raises(BundleError, match=r"shape \(N, 12, 12, 4\).*got \(5, 12, 12, 3\)"):
        saved.probabilities(pixels(5)[..., :3], batch_size=2)


def test_nothing_trained_says_so(tmp_path: Path) -> None:
    with pytest.raises(BundleError, match="Train first"):
        bundle.load(tmp_path / "models")


def test_torn_weights_are_refused(saved: Bundle, tmp_path: Path) -> None:
    weights = tmp_path / "models" / WEIGHTS
    weights.write_bytes(weights.read_bytes()[:-1])
    with pytest.raises(BundleError, match="torn or of another model"):
        bundle.load(tmp_path / "models")


def test_torn_facts_are_refused(saved: Bundle, tmp_path: Path) -> None:
    facts = tmp_path / "models" / FACTS
    facts.write_bytes(facts.read_bytes()[:-20])
    with pytest.raises(BundleError, match="Expected JSON in"):
        bundle.load(tmp_path / "models")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"format": 99}, "format 1"),
        ({"classes": ["a", "b"]}, "does not describe"),
        ({"classes": ["a", "a", "b"]}, "does not describe"),
        ({"layers": {**little.LAYERS, "conv1": {"_target_": "os.system"}}}, "does not describe"),
        ({"layers": {**little.LAYERS, "conv1": None}}, "does not describe"),
        ({"layers": "none"}, "does not describe"),
        ({"tile_size": "large"}, "does not describe"),
    ],
)
def test_facts_that_do_not_fit_are_refused(
    saved: Bundle, tmp_path: Path, changes: dict[str, Any], message: str
) -> None:
    edit(tmp_path / "models" / FACTS, **changes)
    with pytest.raises(BundleError, match=message):
        bundle.load(tmp_path / "models")


def test_a_missing_fact_is_named(saved: Bundle, tmp_path: Path) -> None:
    path = tmp_path / "models" / FACTS
    facts = json.loads(path.read_text())
    del facts["bands"]
    path.write_text(json.dumps(facts))
    with pytest.raises(BundleError, match="'bands'"):
        bundle.load(tmp_path / "models")
