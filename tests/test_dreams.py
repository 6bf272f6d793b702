from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from pipeline import dreams, probes
from pipeline.dreams import Plausible, answers, dream
from pipeline.errors import NetworkError
from tests import networks
from tests.test_attributions import Sum, _convolution, _untouched


def _training(bands: int = 2) -> np.ndarray[Any, Any]:
    """Tiles whose first two bands vary together."""
    rng = np.random.default_rng(0)
    shared = rng.normal(size=(60, 10, 10, 1))
    own = rng.normal(size=(60, 10, 10, bands))
    values = np.array([100.0, 50.0, 90.0, 120.0][:bands]) + 10 * (0.9 * shared + 0.4 * own)
    return np.asarray(values.round().astype(np.uint8))


def test_what_is_plausible_stays_in_the_range_and_bands_vary_together() -> None:
    tiles = _training()
    plausible = Plausible.of(tiles)
    flat = tiles.reshape(-1, 2)
    assert plausible.low == pytest.approx(np.percentile(flat, 1, axis=0))
    assert plausible.high == pytest.approx(np.percentile(flat, 99, axis=0))
    free = torch.randn(50, 2, 8, 8, generator=torch.Generator().manual_seed(0))
    for strength in (0.0, 1.0, 50.0):
        pixels = plausible.pixels(strength * free).numpy().transpose(0, 2, 3, 1)
        assert (pixels >= plausible.low - 1e-3).all()
        assert (pixels <= plausible.high + 1e-3).all()
    assert plausible.pixels(0 * free).numpy()[0, :, 0, 0] == pytest.approx(plausible.mean, abs=0.01)
    near = plausible.pixels(0.1 * free).numpy().transpose(0, 2, 3, 1).reshape(-1, 2)
    assert near.std(axis=0) == pytest.approx(0.1 * plausible.deviation, rel=0.05)
    expected = np.corrcoef(flat.T)[0, 1]
    assert expected > 0.7
    assert np.corrcoef(near.T)[0, 1] == pytest.approx(expected, abs=0.03)


def test_a_constant_band_is_no_trouble() -> None:
    tiles = _training()
    tiles[..., 1] = 7
    pixels = Plausible.of(tiles).pixels(torch.randn(3, 2, 6, 6))
    assert pixels[:, 1] == pytest.approx(7, abs=0.01)
    assert torch.isfinite(pixels).all()


def test_log_odds_are_those_of_the_softmax() -> None:
    logits = torch.tensor([[2.0, -1.0, 0.5], [3.0, 3.0, -50.0]])
    p = logits.double().softmax(dim=1)
    torch.testing.assert_close(dreams.log_odds(logits).double(), (p / (1 - p)).log())


def _two() -> nn.Sequential:
    """Class 0 likes the first band bright and the second dark, class 1 the reverse."""
    weights = np.array([[1.0, -1.0], [-1.0, 1.0]], np.float32)[..., None, None]
    return nn.Sequential(_convolution(weights), Sum())


def test_a_dream_gets_what_the_class_asks_for() -> None:
    plausible = Plausible.of(_training())
    made = dream(_two(), plausible, 10, [0, 1], steps=60)
    assert made.pixels.shape == (2, 10, 10, 2)
    # As far apart as two bands that vary together can be got.
    apart = (made.pixels.mean(axis=(1, 2)) - plausible.mean) / plausible.deviation
    assert apart[0, 0] - apart[0, 1] > 1
    assert apart[1, 1] - apart[1, 0] > 1
    assert (made.reached > made.start).all()
    assert (made.reached > answers(_two(), _training()).max(axis=0)).all()
    np.testing.assert_allclose(
        answers(_two(), made.pixels)[[0, 1], [0, 1]], made.reached, rtol=1e-4
    )


def test_the_same_seed_gives_the_same_dream_and_more_starts_no_worse() -> None:
    plausible = Plausible.of(_training(4))
    network = networks.model("lenet")
    first, again, other = (
        dream(network, plausible, 28, [2], steps=5, starts=1, seed=seed) for seed in (0, 0, 1)
    )
    np.testing.assert_array_equal(first.pixels, again.pixels)
    assert not np.array_equal(first.pixels, other.pixels)
    assert dream(network, plausible, 28, [2], steps=5, starts=4).reached[0] > first.start[0]


@pytest.mark.parametrize(
    ("name", "layer"),
    [("vgg", "act3_1"), ("googlenet", "inception4b"), ("autoencoder", "encoder.act1_2")],
)
def test_filters_are_dreamt_of_and_the_network_is_left_alone(name: str, layer: str) -> None:
    network = networks.model(name)
    network.train()
    tiles = np.random.default_rng(0).integers(0, 255, (4, 28, 28, 4))
    lively = np.argsort(-answers(network, tiles, layer).mean(axis=0))[:2].tolist()
    made = dream(network, Plausible.of(tiles), 28, lively, layer, steps=6)
    assert np.isfinite(made.pixels).all()
    assert (made.reached > made.start).all()
    assert _untouched(network)
    heard = probes.activations(network, made.pixels, [layer])[layer].mean(axis=(2, 3))
    np.testing.assert_allclose(answers(network, made.pixels, layer), heard, rtol=1e-3, atol=1e-5)


def test_mistakes_are_named() -> None:
    plausible, network = Plausible.of(_training()), _two()
    with pytest.raises(NetworkError, match=r"got 'conv9'\. Known: 0, 1"):
        dream(network, plausible, 10, [0], "conv9")
    with pytest.raises(NetworkError, match="channels from 0 to 1, got 5"):
        dream(network, plausible, 10, [5], "0")
    assert _untouched(network)


def test_a_filter_that_is_shut_opens() -> None:
    convolution = nn.Conv2d(2, 1, 1)
    with torch.no_grad():
        convolution.weight.fill_(1.0)
        convolution.bias = nn.Parameter(torch.tensor([-172.0]))  # the two bands are 150 together
    network = nn.Sequential(convolution, nn.ReLU(inplace=True), Sum())
    made = dream(network, Plausible.of(_training()), 10, [0], "1", starts=1, seed=2)
    assert made.start[0] == 0
    assert made.reached[0] > 1
    relu = network[1]
    assert isinstance(relu, nn.ReLU)
    assert relu.inplace
    np.testing.assert_allclose(answers(network, made.pixels, "1")[0], made.reached, rtol=1e-4)
