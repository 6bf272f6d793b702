"""Every network of conf/model: builds at other bands and sizes, learns, and is as it says."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import pytest
import torch
import yaml
from torch import Tensor, nn

from benchmarks.networks import depth
from pipeline.analysis import describe
from pipeline.config import compose
from pipeline.network import Network, build
from pipeline.schema import InitSection
from pipeline.types import Bands
from tests.networks import CLASSES, MODELS

# What a network of this name has been since it was published: layers with weights.
DEPTHS = {"lecture": 2, "mlp": 3, "lenet": 5, "alexnet": 8, "resnet": 14, "satcnn": 7}


@lru_cache(maxsize=64)
def section(model: str) -> dict[str, Any]:
    composed: dict[str, Any] = yaml.safe_load(compose([f"model={model}"]))
    return composed


def network(model: str, bands: int = 4, size: int = 28) -> Network:
    params = section(model)
    return build(
        params["model"]["layers"],
        bands=Bands(tuple(f"band{i}" for i in range(bands))),
        classes=CLASSES,
        tile_size=size,
        mean=[100.0] * bands,
        std=[50.0] * bands,
        init=InitSection.model_validate(params["init"]),
        task=params["model"].get("task", "classify"),
    )


def batch(made: Network, tiles: int = 12) -> tuple[Tensor, Tensor]:
    torch.manual_seed(0)
    return 100 + 50 * torch.randn(tiles, *made.input_shape), torch.arange(tiles) % len(CLASSES)


def loss_of(made: Network, pixels: Tensor, labels: Tensor) -> Tensor:
    output = made(pixels)
    if made.task == "reconstruct":
        return nn.functional.mse_loss(output, (pixels - 100) / 50)
    return nn.functional.cross_entropy(output, labels)


@pytest.mark.parametrize("size", [28, 64])
@pytest.mark.parametrize("bands", [4, 13])
@pytest.mark.parametrize("model", MODELS)
def test_builds_at_other_bands_and_sizes(model: str, bands: int, size: int) -> None:
    made = network(model, bands, size).eval()
    pixels, _ = batch(made, 2)
    expected = made.input_shape if made.task == "reconstruct" else (len(CLASSES),)
    with torch.no_grad():
        assert made(pixels).shape == (2, *expected)


@pytest.mark.parametrize("model", MODELS)
def test_every_learnable_gets_a_finite_gradient(model: str) -> None:
    made = network(model)
    torch.autograd.backward(loss_of(made, *batch(made)))
    for name, parameter in made.named_parameters():
        if not parameter.requires_grad:  # measured, not learned
            continue
        assert parameter.grad is not None, name
        assert parameter.grad.isfinite().all(), name
        assert parameter.grad.any(), name


@pytest.mark.parametrize("model", MODELS)
def test_overfits_one_batch(model: str) -> None:
    made = network(model)
    for module in made.modules():
        if isinstance(module, nn.Dropout):
            module.p = 0.0  # it is there to prevent just this
    pixels, labels = batch(made)
    optimizer = torch.optim.Adam(made.parameters(), lr=0.001)
    first = loss_of(made, pixels, labels).item()
    for _ in range(60):
        optimizer.zero_grad()
        torch.autograd.backward(loss_of(made, pixels, labels))
        optimizer.step()
    last = loss_of(made, pixels, labels).item()
    # Noise of 3,136 numbers a tile does not go through a small latent vector.
    assert last < (0.95 if made.task == "reconstruct" else 0.1) * first


@pytest.mark.parametrize("model", DEPTHS)
def test_has_the_depth_of_its_paper(model: str) -> None:
    assert depth(network(model)) == DEPTHS[model]


def test_mobile_fits_a_small_device() -> None:
    assert sum(layer.parameters for layer in describe(network("mobile"))) <= 50_000


def test_resnet_projects_only_where_the_shape_changes() -> None:
    names = [name for name, _ in network("resnet").named_modules() if name.endswith("projection")]
    assert names == ["block3a.projection", "block4a.projection"]


def test_densenet_grows_by_twelve_channels_a_layer() -> None:
    infos = {info.name: info for info in describe(network("densenet"))}
    seen = [infos[f"dense1.layer{i}.conv"].input[0] for i in range(1, 5)]
    assert seen == [24, 36, 48, 60]
    assert infos["transition1.norm"].input == (72, 28, 28)


def test_googlenet_sets_its_branches_side_by_side() -> None:
    made = network("googlenet")
    branches = [name for name, _ in made.get_submodule("inception3a").named_children()]
    assert branches == ["one", "three", "five", "pooled"]
    infos = {info.name: info for info in describe(made)}
    assert infos["inception3b.one.conv"].input[0] == 16 + 24 + 8 + 8


def test_a_layer_inside_a_block_is_overridden_by_its_dotted_name() -> None:
    text = compose(["model=resnet", "model.layers.block3a.conv1.out_channels=24"])
    layers = yaml.safe_load(text)["model"]["layers"]
    made = build(layers, bands=Bands(("a", "b")), classes=CLASSES, tile_size=28)
    assert made.get_parameter("block3a.conv1.weight").shape[0] == 24


def test_a_layer_inside_a_block_is_dropped_by_its_dotted_name() -> None:
    layers = yaml.safe_load(compose(["model=resnet", "~model.layers.block3a.norm2"]))["model"]
    made = build(layers["layers"], bands=Bands(("a",)), classes=CLASSES, tile_size=28)
    names = [name for name, _ in made.get_submodule("block3a").named_children()]
    assert names == ["conv1", "norm1", "act1", "conv2", "projection"]
