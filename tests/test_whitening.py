from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import unfold

from pipeline import bundle, optimization
from pipeline.bundle import as_input
from pipeline.errors import NetworkError
from pipeline.layers import Whiten
from pipeline.network import Network, build
from pipeline.schema import AdamOptimizer
from pipeline.stages import train
from pipeline.store import Store
from pipeline.whitening import whiten
from tests import little
from tests.test_train import sections

WHITEN = {"_target_": "pipeline.layers.Whiten", "out_channels": 32, "kernel_size": 2}
LAYERS: dict[str, Any] = {
    "normalize": little.LAYERS["normalize"],
    "whiten": WHITEN,
    "act": {"_target_": "torch.nn.ReLU"},
    "pool": {"_target_": "pipeline.layers.GlobalAvgPool"},
    "head": {"_target_": "torch.nn.Linear"},
}


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Store:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "data").mkdir()
    return little.store(tmp_path / "data" / "tiles")


def network(store: Store, layers: dict[str, Any] = LAYERS) -> Network:
    return build(
        layers, bands=store.bands, classes=store.classes, tile_size=store.tile_size,
        mean=store.mean.tolist(), std=store.std.tolist(),
    )  # fmt: skip


def layer_of(made: Network, name: str = "whiten") -> Whiten:
    found = made.get_submodule(name)
    assert isinstance(found, Whiten)
    return found


def smooth(n: int = 400) -> Tensor:
    """Tiles whose pixels and bands resemble their neighbours."""
    noise = torch.randn(n, 3, 12, 12, generator=torch.Generator().manual_seed(0))
    blurred = nn.functional.avg_pool2d(noise, 3, 1)
    return blurred + 0.5 * blurred.mean(dim=1, keepdim=True)


def moments(x: Tensor, kernel: int = 2) -> Tensor:
    values = unfold(x, kernel).transpose(0, 1).flatten(1)
    return values @ values.T / values.shape[1]


def test_outputs_are_uncorrelated_and_of_variance_one() -> None:
    x = smooth()
    layer = Whiten(3, 24, 2, eps=0.0)
    layer.set_moments(moments(x))
    out = layer(x).transpose(0, 1).flatten(1)
    made = out[:12] @ out[:12].T / out.shape[1]
    torch.testing.assert_close(made, torch.eye(12), atol=1e-3, rtol=0)
    torch.testing.assert_close(out[12:], -out[:12])


def test_the_strongest_directions_come_first_and_faint_ones_stay_faint() -> None:
    x = smooth()
    layer = Whiten(3, 12, 2, eps=1.0)
    layer.set_moments(moments(x))
    values = torch.linalg.eigvalsh(moments(x)).flip(0)[:6]
    power = layer(x)[:, :6].square().mean(dim=(0, 2, 3))
    torch.testing.assert_close(power, values / (values + 1), rtol=1e-3, atol=1e-4)


def test_the_same_tiles_give_the_same_signs() -> None:
    layer = Whiten(3, 24, 2)
    layer.set_moments(moments(smooth()))
    for kernel in layer.weight[:12].flatten(1):
        assert kernel[kernel.abs().argmax()] > 0


@pytest.mark.parametrize("outputs", [7, 34])
def test_too_many_or_an_odd_number_of_outputs_is_one_sentence(store: Store, outputs: int) -> None:
    layers = {**LAYERS, "whiten": {**WHITEN, "out_channels": outputs}}
    with pytest.raises(NetworkError, match=r"'whiten'.*an even number.* up to 32.*4 x 2"):
        network(store, layers)


def test_filters_are_measured_where_the_layer_stands(store: Store) -> None:
    blocks = {
        "normalize": LAYERS["normalize"],
        "block": {
            "blur": {"_target_": "torch.nn.AvgPool2d", "kernel_size": 3, "stride": 1},
            "deep": {**WHITEN, "padding": 1},
        },
        **{name: LAYERS[name] for name in ("act", "pool", "head")},
    }
    made = network(store, blocks)
    before = {name: value.clone() for name, value in made.state_dict().items()}
    assert whiten(made, store) == ["block.deep"]
    changed = [n for n, v in made.state_dict().items() if not torch.equal(v, before[n])]
    assert changed == ["block.deep.weight"]
    assert made.training
    assert not layer_of(made, "block.deep")._forward_pre_hooks
    x = made.get_submodule("normalize")(as_input(torch.from_numpy(store.pixels("train"))))
    expected = Whiten(4, 32, 2)
    expected.set_moments(moments(nn.functional.avg_pool2d(x, 3, 1)))
    torch.testing.assert_close(
        layer_of(made, "block.deep").weight, expected.weight, atol=1e-3, rtol=1e-3
    )


def test_a_network_without_such_a_layer_stays_as_it_is(store: Store) -> None:
    made = network(store, little.LAYERS)
    before = {name: value.clone() for name, value in made.state_dict().items()}
    assert whiten(made, store) == []
    assert all(torch.equal(value, before[name]) for name, value in made.state_dict().items())


def test_measured_filters_do_not_learn(store: Store) -> None:
    made = network(store)
    adam = AdamOptimizer(name="adam", lr=0.01, betas=(0.9, 0.999), weight_decay=0.1)
    groups = optimization.optimizer(made, adam).param_groups
    learning = sum(p.numel() for group in groups for p in group["params"])
    assert learning == sum(p.numel() for p in made.get_submodule("head").parameters())


def test_training_measures_keeps_and_saves_them(store: Store) -> None:
    options = sections(train={"epochs": 2, "average": 0.5})
    options["model"] = options["model"].model_copy(update={"layers": LAYERS})
    train.run(**options)
    made = network(store)
    whiten(made, store)
    kept = bundle.load().network
    assert torch.equal(layer_of(kept).weight, layer_of(made).weight)
    assert kept.get_submodule("head").state_dict().keys()


def test_a_donor_s_filters_take_the_place_of_measured_ones(store: Store, tmp_path: Path) -> None:
    donor = little.train(store, tmp_path / "donor", LAYERS, steps=2)
    theirs = layer_of(donor.network).weight.clone()
    options = sections(train={"epochs": 1, "init_from": str(tmp_path / "donor")})
    options["model"] = options["model"].model_copy(update={"layers": LAYERS})
    train.run(**options)
    assert torch.equal(layer_of(bundle.load().network).weight, theirs)
