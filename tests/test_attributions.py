"""Attributions of networks so small that the numbers can be worked out by hand."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from pipeline import attributions
from pipeline.attributions import METHODS, Floats, attribute
from pipeline.errors import ConfigError, NetworkError
from pipeline.layers import GlobalAvgPool, Normalize
from pipeline.steps import last_map
from tests import networks

MEAN, DEVIATION = [10.0, 20.0], [2.0, 5.0]
# (class, band): weights of a 1 x 1 convolution, of normalized pixels.
WEIGHTS = np.array([[1.0, -2.0], [0.5, 3.0]], np.float32)


class Sum(nn.Module):
    """The sum over all positions."""

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W) -> (N, C)."""
        return x.sum(dim=(2, 3))


def _normalize() -> Normalize:
    layer = Normalize(2)
    layer.set_statistics(MEAN, DEVIATION)
    return layer


def _convolution(weights: np.ndarray[Any, Any]) -> nn.Conv2d:
    filters, channels, *kernel = weights.shape
    layer = nn.Conv2d(channels, filters, (kernel[0], kernel[1]), padding=kernel[0] // 2, bias=False)
    with torch.no_grad():
        layer.weight.copy_(torch.from_numpy(weights))
    return layer


def linear() -> nn.Sequential:
    """Output k is the sum over the tile of WEIGHTS[k] . (pixel - mean) / deviation."""
    return nn.Sequential(_normalize(), _convolution(WEIGHTS[..., None, None]), Sum())


def _tiles(count: int = 3, side: int = 6, bands: int = 2) -> np.ndarray[Any, Any]:
    return np.random.default_rng(5).integers(0, 40, (count, side, side, bands)).astype(np.uint8)


TARGETS = np.array([0, 1, 0])


def _normalized(tiles: np.ndarray[Any, Any]) -> Floats:
    found: Floats = ((tiles - np.array(MEAN)) / np.array(DEVIATION)).astype(np.float32)
    return found


@pytest.mark.parametrize("method", ["saliency", "guided_backprop"])
def test_the_gradient_of_a_linear_network_is_its_weights(method: Any) -> None:
    maps = attribute(linear(), _tiles(), TARGETS, method)
    expected = np.broadcast_to(WEIGHTS[TARGETS][:, None, None], maps.shape)
    np.testing.assert_allclose(maps, expected, rtol=1e-6)


def test_integrated_gradients_are_weights_times_the_way_from_the_mean() -> None:
    tiles = _tiles()
    maps = attribute(linear(), tiles, TARGETS, "integrated_gradients")
    by_hand = WEIGHTS[TARGETS][:, None, None] * _normalized(tiles)
    np.testing.assert_allclose(maps, by_hand, rtol=1e-4, atol=1e-5)
    assert attributions.completeness(linear(), tiles, TARGETS, maps).max() < 1e-4
    assert attributions.completeness(linear(), tiles, TARGETS, 2 * maps) == pytest.approx(1, 1e-3)


def test_occlusion_is_the_difference_that_hiding_a_square_makes() -> None:
    tiles = np.concatenate([_tiles(2, 14), np.full((1, 14, 14, 2), MEAN, np.uint8)])
    maps = attribute(linear(), tiles, TARGETS, "occlusion")
    alone = WEIGHTS[TARGETS][:, None, None] * _normalized(tiles)
    squares = alone.reshape(3, 7, 2, 7, 2, 2).sum(axis=(2, 4))  # of 2 x 2 pixels
    np.testing.assert_allclose(maps[:, ::2, ::2], squares, rtol=1e-3, atol=1e-3)
    np.testing.assert_array_equal(maps, np.repeat(np.repeat(maps[:, ::2, ::2], 2, 1), 2, 2))
    assert not maps[2].any()


def test_grad_cam_by_hand() -> None:
    rng = np.random.default_rng(2)
    kernels = rng.normal(size=(3, 2, 3, 3)).astype(np.float32)
    head = nn.Linear(3, 2)
    network = nn.Sequential(
        _normalize(), _convolution(kernels), nn.ReLU(inplace=True), GlobalAvgPool(), head
    )
    tiles = _tiles()
    assert last_map(network, tiles) == "2"
    maps = attribute(network, tiles, TARGETS, "grad_cam")
    padded = np.pad(_normalized(tiles), ((0, 0), (1, 1), (1, 1), (0, 0)))
    views = np.lib.stride_tricks.sliding_window_view(padded, (3, 3), axis=(1, 2))
    heard = np.maximum(np.einsum("nrcbij,fbij->nrcf", views, kernels), 0)
    # The mean over 36 places puts a gradient of weight / 36 on each of them.
    weights = head.weight.detach().numpy()[TARGETS] / 36
    by_hand = np.maximum(np.einsum("nrcf,nf->nrc", heard, weights), 0)[..., None]
    np.testing.assert_allclose(maps, by_hand, rtol=1e-4, atol=1e-6)


def test_guided_backprop_stops_what_is_negative_at_a_relu() -> None:
    # One filter a band, both open; the head takes the first and would rather lack the second.
    eye, head = np.eye(2, dtype=np.float32)[..., None, None], nn.Linear(2, 2)
    with torch.no_grad():
        head.weight.copy_(torch.tensor([[2.0, -1.0], [-3.0, 4.0]]))
    network = nn.Sequential(_convolution(eye), nn.ReLU(), Sum(), head)
    maps = attribute(network, 1 + _tiles(), TARGETS, "guided_backprop")
    expected = np.array([[2.0, 0.0], [0.0, 4.0]])[TARGETS][:, None, None]
    np.testing.assert_array_equal(maps, np.broadcast_to(expected, maps.shape))
    plain = attribute(network, 1 + _tiles(), TARGETS, "saliency")
    assert plain[0, 0, 0].tolist() == [2.0, -1.0]


def test_shares_of_bands_and_what_a_band_is_worth() -> None:
    tiles = _tiles()
    maps = attribute(linear(), tiles, TARGETS, "saliency")
    shares = attributions.band_shares(maps)
    np.testing.assert_allclose(shares, np.array([[1 / 3, 2 / 3], [1 / 7, 6 / 7], [1 / 3, 2 / 3]]),
                               rtol=1e-5)  # fmt: skip
    assert attributions.band_shares(0 * maps).tolist() == [[0, 0]] * 3
    lost = attributions.without_bands(linear(), tiles, TARGETS)
    raw = _normalized(tiles).sum(axis=(1, 2))  # (N, band)
    for i, target in enumerate(TARGETS):
        scores = raw[i] @ WEIGHTS.T
        for band in (0, 1):
            hidden = scores - raw[i, band] * WEIGHTS[:, band]
            by_hand = _share(scores, target) - _share(hidden, target)
            assert lost[i, band] == pytest.approx(by_hand, abs=1e-4)


def _share(scores: Floats, target: int) -> float:
    parts = np.exp(scores - scores.max())
    return float(parts[target] / parts.sum())


@pytest.mark.parametrize("name", networks.MODELS)
def test_every_network_answers_every_method_that_fits(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(attributions, "WINDOWS", 2)  # a few squares are enough
    monkeypatch.setattr(attributions, "STEPS", 4)
    network = networks.model(name)
    network.train()
    network.zero_grad()
    before = {key: value.clone() for key, value in network.state_dict().items()}
    tiles = np.random.default_rng(0).integers(0, 255, (2, 28, 28, 4)).astype(np.uint8)
    targets = np.array([1, 4]) * (network.task == "classify")
    reasons = attributions.fitting(network, tiles)
    for method in METHODS:
        if method == "grad_cam" and name == "mlp":
            with pytest.raises(NetworkError, match="leaves a map for grad_cam, got none"):
                attribute(network, tiles, targets, method)
            assert reasons[method]
            continue
        maps = attribute(network, tiles, targets, method)
        assert maps.shape == (2, 28, 28, 1 if method == "grad_cam" else 4)
        assert np.isfinite(maps).all()
        assert maps.any()
        assert not reasons[method]
    assert _untouched(network)
    assert all(torch.equal(value, before[key]) for key, value in network.state_dict().items())


def _untouched(network: nn.Module) -> bool:
    hooks = [
        hook
        for module in network.modules()
        for kind in ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks",
                     "_backward_pre_hooks")
        for hook in getattr(module, kind)
    ]  # fmt: skip
    gradients = [p for p in network.parameters() if p.grad is not None]
    return not hooks and not gradients and network.training


@pytest.mark.parametrize(
    ("name", "layer"),
    [
        ("vgg", "act3_1"),
        ("lenet", "act2"),
        ("googlenet", "inception4b"),  # not the convolution of one of its branches
        ("resnet", "act4b"),
        ("densenet", "act"),
        ("mobile", "act6"),
        ("autoencoder", "encoder.act3_1"),  # not the picture at its end
    ],
)
def test_the_last_map_is_what_the_head_is_given(name: str, layer: str) -> None:
    tile = np.zeros((1, 28, 28, 4), np.uint8)
    assert last_map(networks.model(name), tile) == layer


class Raises(nn.Module):
    """Passes on, and fails with a gradient or in the second half of a batch's way."""

    def forward(self, x: Tensor) -> Tensor:
        """Fail."""
        if x.requires_grad or len(x) > 1:
            raise RuntimeError("torn")
        return x


@pytest.mark.parametrize("method", METHODS)
def test_no_hook_stays_when_a_layer_raises(method: Any) -> None:
    network = nn.Sequential(
        _convolution(WEIGHTS[..., None, None]), nn.ReLU(inplace=True), Raises(), Sum()
    )
    with pytest.raises(RuntimeError, match="torn"):
        attribute(network, _tiles(), TARGETS, method)
    assert _untouched(network)
    relu = network[1]
    assert isinstance(relu, nn.ReLU)
    assert relu.inplace


def test_mistakes_are_named() -> None:
    with pytest.raises(ConfigError, match=r"Expected one of saliency, .*, got 'shap'"):
        attribute(linear(), _tiles(), TARGETS, "shap")  # type: ignore[arg-type]
    with pytest.raises(NetworkError, match=r"targets from 0 to 1, .* got 7"):
        attribute(linear(), _tiles(), np.array([0, 7, 1]), "saliency")
    without = nn.Sequential(_normalize(), nn.Conv2d(2, 2, 1), nn.Tanh(), Sum())
    reasons = attributions.fitting(without, _tiles())
    assert reasons["guided_backprop"] == "Without a ReLU guided_backprop is the saliency."
    assert not reasons["grad_cam"]


def test_maps_are_the_same_however_many_tiles_there_are() -> None:
    network = networks.model("lenet")
    tiles = np.random.default_rng(3).integers(0, 255, (40, 28, 28, 4)).astype(np.uint8)
    targets = np.arange(40) % 6
    for method in ("saliency", "integrated_gradients", "grad_cam"):
        whole = attribute(network, tiles, targets, method)
        one = attribute(network, tiles[37:38], targets[37:38], method)
        np.testing.assert_allclose(whole[37], one[0], rtol=1e-3, atol=1e-5)
    assert attribute(network, tiles[:0], targets[:0], "occlusion").shape == (0, 28, 28, 4)
