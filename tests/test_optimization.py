from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
import yaml
from pydantic import TypeAdapter
from torch import nn

from pipeline.config import compose
from pipeline.errors import ClassError
from pipeline.optimization import class_weights, optimizer, rate
from pipeline.schema import LossSection, Optimizer, Schedule
from pipeline.types import Classes

CLASSES = Classes(("trees", "road", "water"))


def schedule(**section: Any) -> Schedule:
    adapter: TypeAdapter[Schedule] = TypeAdapter(Schedule)
    return adapter.validate_python(section)


def made(**section: Any) -> torch.optim.Optimizer:
    adapter: TypeAdapter[Optimizer] = TypeAdapter(Optimizer)
    layers = nn.Sequential(nn.Linear(2, 3), nn.BatchNorm1d(3))
    return optimizer(layers, adapter.validate_python(section))


def rates(steps: list[int], total: int = 100, epoch_steps: int = 10, **section: Any) -> list[float]:
    known = schedule(**section)
    return [rate(known, step, total=total, epoch_steps=epoch_steps) for step in steps]


def test_constant() -> None:
    assert rates([0, 50, 99], name="constant") == [1, 1, 1]


def test_step_against_numbers_by_hand() -> None:
    got = rates([0, 19, 20, 39, 40, 99], name="step", every=2, factor=0.1)
    assert got == pytest.approx([1, 1, 0.1, 0.1, 0.01, 1e-4])


def test_cosine_against_numbers_by_hand() -> None:
    # Warm-up of 20 steps: 1/21, 2/21 ...; then half a cosine over 80: its middle is at step 60.
    got = rates([0, 9, 19, 20, 40, 60, 100], name="cosine", warmup=0.2, final=0.2)
    quarter = 0.2 + 0.8 * (1 + 0.5**0.5) / 2
    assert got == pytest.approx([1 / 21, 10 / 21, 20 / 21, 1, quarter, 0.6, 0.2])


def test_one_cycle_against_numbers_by_hand() -> None:
    # Half a cosine from 1/10 to 1 in 40 steps, then another to 1e-5 in 60.
    got = rates([0, 20, 40, 70, 100], name="one_cycle", warmup=0.4, start=10)
    assert got == pytest.approx([0.1, 0.55, 1, (1 + 1e-5) / 2, 1e-5])


@pytest.mark.parametrize("name", ["cosine", "one_cycle"])
@pytest.mark.parametrize("warmup", [0.0, 1.0])
def test_no_warm_up_and_nothing_but_warm_up_are_fine(name: str, warmup: float) -> None:
    other = {"final": 0.0} if name == "cosine" else {"start": 25}
    got = rates(list(range(101)), name=name, warmup=warmup, **other)
    assert all(0 <= value <= 1 for value in got)


def test_optimizers_and_their_options() -> None:
    sgd = made(name="sgd", lr=0.1, momentum=0.9, nesterov=True, weight_decay=0.01)
    assert isinstance(sgd, torch.optim.SGD)
    assert sgd.param_groups[0]["momentum"] == 0.9
    adam = made(name="adam", lr=0.1, betas=[0.8, 0.9], weight_decay=0.0)
    assert type(adam) is torch.optim.Adam
    assert adam.param_groups[0]["betas"] == (0.8, 0.9)
    assert type(made(name="adamw", lr=0.1, betas=[0.8, 0.9], weight_decay=0.1)) is torch.optim.AdamW


def test_weight_decay_spares_vectors_and_no_parameter_is_lost() -> None:
    decayed, spared = made(name="adamw", lr=0.1, betas=[0.9, 0.99], weight_decay=0.1).param_groups
    assert [tuple(p.shape) for p in decayed["params"]] == [(3, 2)]
    assert [tuple(p.shape) for p in spared["params"]] == [(3,), (3,), (3,)]
    assert (decayed["weight_decay"], spared["weight_decay"]) == (0.1, 0.0)


@pytest.mark.parametrize(
    "choice",
    ["optimizer=sgd", "optimizer=momentum", "optimizer=adam", "optimizer=adamw"],
)
def test_every_optimizer_lowers_a_loss(choice: str) -> None:
    torch.manual_seed(0)
    adapter: TypeAdapter[Optimizer] = TypeAdapter(Optimizer)
    section = adapter.validate_python(yaml.safe_load(compose([choice]))["optimizer"])
    layer, x = nn.Linear(3, 1), torch.randn(20, 3)
    driver = optimizer(layer, section)
    first = layer(x).square().mean().item()
    for _ in range(50):
        driver.zero_grad()
        loss = layer(x).square().mean()
        loss.backward()
        driver.step()
    assert loss.item() < 0.7 * first


@pytest.mark.parametrize("choice", ["constant", "step", "cosine", "one_cycle"])
def test_every_schedule_composes_and_stays_within_bounds(choice: str) -> None:
    section = yaml.safe_load(compose([f"schedule={choice}"]))["schedule"]
    got = rates(list(range(100)), **section)
    assert max(got) == pytest.approx(1.0)
    assert min(got) > 0


def loss(weights: Any) -> LossSection:
    return LossSection(name="cross_entropy", label_smoothing=0, class_weights=weights)


def test_balanced_weights_against_numbers_by_hand() -> None:
    # 120 tiles, 3 classes: 120 / (3 * 60), 120 / (3 * 40), 120 / (3 * 20).
    weights = class_weights(loss("balanced"), CLASSES, {"trees": 60, "road": 40, "water": 20})
    assert weights.tolist() == pytest.approx([2 / 3, 1, 2])
    assert weights @ np.array([60, 40, 20]) == pytest.approx(120)


def test_a_class_without_tiles_weighs_nothing() -> None:
    weights = class_weights(loss("balanced"), CLASSES, {"trees": 60, "water": 20})
    assert weights[1] == 0


def test_weights_by_hand_default_to_one() -> None:
    assert class_weights(loss({"road": 3.0}), CLASSES, {}).tolist() == [1, 3, 1]
    assert class_weights(loss("none"), CLASSES, {}).tolist() == [1, 1, 1]


def test_weights_that_leave_no_tile_are_refused() -> None:
    tiles = {"trees": 60, "road": 40}
    assert class_weights(loss({"trees": 0.0}), CLASSES, tiles).tolist() == [0, 1, 1]
    with pytest.raises(ClassError, match=r"above 0 in loss\.class_weights, got none; raise"):
        class_weights(loss({"trees": 0.0, "road": 0.0}), CLASSES, tiles)


def test_a_misspelt_class_is_refused() -> None:
    with pytest.raises(ClassError, match=r"'roads'\. Did you mean 'road'\?"):
        class_weights(loss({"roads": 3.0}), CLASSES, {})
