from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from pipeline import steps, walks
from pipeline.errors import NetworkError
from pipeline.network import Network
from pipeline.walks import Halves
from tests import networks
from tests.test_attributions import _untouched


def _tiles(count: int = 5) -> np.ndarray[Any, Any]:
    return np.random.default_rng(0).integers(0, 255, (count, 28, 28, 4)).astype(np.uint8)


def _drawn(network: Network, tiles: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    import torch

    network.eval()
    mean, deviation = network.band_statistics
    with torch.no_grad():
        raw = network(torch.from_numpy(tiles.astype(np.float32)).permute(0, 3, 1, 2))
    return np.asarray((raw * deviation + mean).permute(0, 2, 3, 1).numpy())


@pytest.fixture(params=["conf", "map"])
def network(request: pytest.FixtureRequest) -> Network:
    """One whose narrowest layer leaves a vector, and one whose leaves a map."""
    if request.param == "conf":
        return networks.model("autoencoder")
    return networks.network(networks.AUTOENCODER, task="reconstruct")


def test_halves_put_together_are_the_network(network: Network) -> None:
    drawn = _drawn(network, _tiles())
    network.train()
    halves = Halves.of(network, _tiles())
    codes = halves.encode(_tiles())
    assert codes[0].numel() < _tiles()[0].size / 4
    np.testing.assert_allclose(halves.decode(codes), drawn, rtol=1e-3, atol=1e-2)
    assert _untouched(network)


def test_a_walk_begins_and_ends_at_its_tiles(network: Network) -> None:
    tiles = _tiles()
    halves = Halves.of(network, tiles)
    way = walks.between(halves, tiles[:2], tiles[2:4], 5)
    assert way.shape == (2, 5, 28, 28, 4)
    drawn = _drawn(network, tiles)
    np.testing.assert_allclose(way[:, 0], drawn[:2], rtol=1e-3, atol=1e-2)
    np.testing.assert_allclose(way[:, -1], drawn[2:4], rtol=1e-3, atol=1e-2)
    middle = halves.decode((halves.encode(tiles[:2]) + halves.encode(tiles[2:4])) / 2)
    np.testing.assert_allclose(way[:, 2], middle, rtol=1e-3, atol=1e-2)


def test_directions_pass_the_mean_and_are_the_strongest_first(network: Network) -> None:
    tiles = _tiles(30)
    halves = Halves.of(network, tiles)
    found = walks.along(halves, tiles, directions=3, count=5)
    assert found.tiles.shape == (3, 5, 28, 28, 4)
    assert found.positions.tolist() == [-2.5, -1.25, 0, 1.25, 2.5]
    codes = halves.encode(tiles)
    mean = halves.decode(codes.mean(dim=0, keepdim=True))[0]
    for walk in found.tiles:
        np.testing.assert_allclose(walk[2], mean, rtol=1e-3, atol=1e-2)
    assert (np.diff(found.shares) <= 0).all()
    flat = codes.flatten(1).numpy()
    values = np.linalg.svd(flat - flat.mean(axis=0), compute_uv=False) ** 2
    np.testing.assert_allclose(found.shares, (values / values.sum())[:3], rtol=1e-3)


def test_a_network_that_is_nowhere_narrow_has_no_walks() -> None:
    wide = networks.network({"a": networks.conv(8, padding=1), "b": networks.conv(4, padding=1)},
                            task="reconstruct")  # fmt: skip
    with pytest.raises(NetworkError, match="narrower than the tile, got none"):
        Halves.of(wide, _tiles())
    network = networks.model("autoencoder")
    names = [name for name, _ in steps.steps(network)]
    assert names[steps.narrowest(network, _tiles())] == "latent"
