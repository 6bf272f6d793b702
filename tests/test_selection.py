from __future__ import annotations

import copy
import math
from typing import Any

import pytest
import torch
import yaml
from pydantic import TypeAdapter
from torch import Tensor

from pipeline.analysis import describe
from pipeline.config import compose
from pipeline.errors import LayerError, NetworkError
from pipeline.network import Network, build
from pipeline.optimization import optimizer
from pipeline.schema import AdamOptimizer, CosineSchedule, Optimizer
from pipeline.selection import factors, freeze, select
from tests import little
from tests.test_classifier import classifier, fit

CONV: dict[str, Any] = {
    "_target_": "torch.nn.Conv2d", "out_channels": 6, "kernel_size": 3, "padding": 1,
}  # fmt: skip
NORM = {"_target_": "torch.nn.BatchNorm2d"}
LAYERS: dict[str, Any] = {
    "normalize": {"_target_": "pipeline.layers.Normalize"},
    "conv1": CONV,
    "norm1": NORM,
    "relu1": {"_target_": "torch.nn.ReLU"},
    "block2": {"conv1": CONV, "norm1": NORM, "inner": {"conv1": CONV, "norm1": NORM}},
    "plain": {"_target_": "torch.nn.BatchNorm2d", "affine": False},
    "pool": {"_target_": "pipeline.layers.GlobalAvgPool"},
    "head": {"_target_": "torch.nn.Linear"},
}
BLOCK = ["block2.conv1", "block2.norm1", "block2.inner.conv1", "block2.inner.norm1"]


def network() -> Network:
    return build(LAYERS, bands=little.BANDS, classes=little.CLASSES, tile_size=little.SIZE)


@pytest.mark.parametrize(
    ("pattern", "names"),
    [
        ("conv1", ["conv1"]),
        ("conv*", ["conv1"]),
        ("*conv1", ["conv1", "block2.conv1", "block2.inner.conv1"]),
        ("block2", ["block2", "block2.conv1", "block2.norm1", "block2.inner", *BLOCK[2:]]),
        ("block2.*", ["block2.conv1", "block2.norm1", "block2.inner", *BLOCK[2:]]),
        ("block2.inner", ["block2.inner", *BLOCK[2:]]),
        ("*norm?", ["norm1", "block2.norm1", "block2.inner.norm1"]),
    ],
)
def test_a_name_or_a_glob_names_layers_and_all_inside_them(pattern: str, names: list[str]) -> None:
    assert select(network(), [pattern], "train.freeze") == {pattern: names}


@pytest.mark.parametrize(
    ("pattern", "message"),
    [
        ("conv2", r"in train\.freeze, got 'conv2', which names none\. Did you mean 'conv1'\?"),
        ("blok2.*", r"'blok2\.\*', which names none.*The layers are normalize, conv1, norm1"),
        ("relu*", r"layers with weights in train\.freeze, got 'relu\*', which names only relu1"),
    ],
)
def test_a_pattern_that_freezes_nothing_is_named(pattern: str, message: str) -> None:
    with pytest.raises(LayerError, match=message):
        freeze(network(), [pattern])


def test_freezing_everything_is_refused() -> None:
    with pytest.raises(NetworkError, match=r"layer that learns, got none: train\.freeze names all"):
        freeze(network(), ["*"])


def test_frozen_layers_learn_nothing_and_analysis_shows_it() -> None:
    made = network()
    assert freeze(made, ["conv1", "block2.*"]) == ["conv1", *BLOCK]
    infos = {info.name: info for info in describe(made)}
    assert all(infos[name].learnable == 0 < infos[name].parameters for name in ["conv1", *BLOCK])
    assert infos["norm1"].learnable == infos["norm1"].parameters == 12
    assert infos["head"].learnable == infos["head"].parameters == 21
    assert freeze(network(), []) == []


def test_frozen_batch_norms_stay_in_evaluation_whatever_mode_is_set() -> None:
    made = network()
    freeze(made, ["block2.inner", "plain"])
    held = ["block2.inner.norm1", "plain"]
    for _ in range(2):
        training = {name: made.get_submodule(name).training for name in ("norm1", *held)}
        assert training == {"norm1": True, "block2.inner.norm1": False, "plain": False}
        made.eval()
        assert not made.get_submodule("norm1").training
        made.train()
    assert copy.deepcopy(made).train().get_submodule("plain").training is False


def state(made: Network) -> dict[str, Tensor]:
    return {key: value.clone() for key, value in made.state_dict().items()}


@pytest.mark.parametrize("average", [0.0, 0.9])
def test_training_leaves_frozen_weights_and_statistics_to_the_bit(average: float) -> None:
    task = classifier(average=average, layers=LAYERS, frozen=["conv1", "norm1", "block2", "plain"])
    before = state(task.network)
    fit(task, epochs=3)
    for made in (task.network, task.final):
        after = state(made)
        for key, value in before.items():
            changed = not torch.equal(after[key], value)
            assert changed == key.startswith("head"), key


def test_batch_norms_that_are_not_frozen_go_on_adapting() -> None:
    task = classifier(layers=LAYERS, frozen=["conv1"])
    before = state(task.network)
    fit(task)
    after = state(task.network)
    assert torch.equal(after["conv1.weight"], before["conv1.weight"])
    for key in ("norm1.running_mean", "norm1.num_batches_tracked", "plain.running_var"):
        assert not torch.equal(after[key], before[key]), key


def test_frozen_weights_have_no_gradient_and_no_state_in_the_optimizer() -> None:
    task = classifier(layers=LAYERS, frozen=["conv1", "block2.inner"])
    trainer = fit(task)
    names = {parameter: name for name, parameter in task.network.named_parameters()}
    held = {names[p] for group in trainer.optimizers[0].param_groups for p in group["params"]}
    assert held == {
        name for name in names.values() if not name.startswith(("conv1", "block2.inner"))
    }
    assert len(trainer.optimizers[0].state) == len(held)
    assert task.network.get_parameter("conv1.weight").grad is None


def test_the_last_factor_that_names_a_layer_counts() -> None:
    wanted = {"*": 0.1, "block2": 0.5, "block2.inner.*": 2.0, "head": 1.0}
    found = dict(factors(network(), wanted))
    assert found["conv1.weight"] == found["norm1.bias"] == 0.1
    assert found["block2.conv1.weight"] == 0.5
    assert found["block2.inner.norm1.weight"] == 2.0
    assert found["head.bias"] == 1.0
    assert set(dict(factors(network(), {})).values()) == {1.0}


def test_a_factor_for_no_layer_is_named() -> None:
    with pytest.raises(LayerError, match=r"in optimizer\.factors, got 'haed'.*mean 'head'\?"):
        list(factors(network(), {"haed": 2}))


@pytest.mark.parametrize("choice", ["sgd", "momentum", "adam", "adamw"])
def test_factors_are_seen_in_the_groups_of_every_optimizer(choice: str) -> None:
    overrides = [f"optimizer={choice}", "optimizer.factors={conv1: 0.1, block2.*: 0.5}"]
    adapter: TypeAdapter[Optimizer] = TypeAdapter(Optimizer)
    section = adapter.validate_python(yaml.safe_load(compose(overrides))["optimizer"])
    made = network()
    driver = optimizer(made, section)
    rates = {p: group["lr"] / section.lr for group in driver.param_groups for p in group["params"]}
    found = {name: rates[p] for name, p in made.named_parameters()}
    assert found["conv1.weight"] == found["conv1.bias"] == pytest.approx(0.1)
    assert found["block2.inner.norm1.weight"] == pytest.approx(0.5)
    assert found["head.weight"] == found["norm1.weight"] == 1
    for group in driver.param_groups:
        decays = {p.dim() > 1 for p in group["params"]}
        assert decays == {group["weight_decay"] > 0} or section.weight_decay == 0


def test_the_schedule_moves_every_group_by_its_own_factor() -> None:
    adam = AdamOptimizer(
        name="adam", lr=0.01, betas=(0.9, 0.99), weight_decay=0, factors={"conv1": 0.1}
    )
    schedule = CosineSchedule(name="cosine", warmup=0, final=0.2)
    task = classifier(optimizer=adam, schedule=schedule)
    trainer = fit(task, epochs=2)  # 4 of 8 steps: the last began at 3 / 8 of the half cosine
    rate = 0.2 + 0.8 * (1 + math.cos(math.pi * 3 / 8)) / 2
    conv1 = task.network.get_parameter("conv1.weight")
    for group in trainer.optimizers[0].param_groups:
        slow = any(parameter is conv1 or parameter.shape == (5,) for parameter in group["params"])
        assert group["lr"] == pytest.approx(0.01 * rate * (0.1 if slow else 1.0))


def test_without_factors_a_factor_of_one_changes_nothing() -> None:
    trained = []
    for given in (None, {"conv1": 1.0}):
        adam = AdamOptimizer(
            name="adam", lr=0.01, betas=(0.9, 0.99), weight_decay=0.1, factors=given
        )
        task = classifier(optimizer=adam)
        fit(task)
        trained.append(state(task.network))
    assert all(torch.equal(trained[0][key], value) for key, value in trained[1].items())
