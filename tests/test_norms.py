from __future__ import annotations

from typing import Any

import pytest
import torch

from pipeline.network import Network, build
from pipeline.selection import freeze
from pipeline.tasks.norms import refresh
from tests import little
from tests.test_classifier import batches, classifier, fit

LAYERS: dict[str, Any] = {
    **little.LAYERS,
    "relu1": {"_target_": "torch.nn.BatchNorm2d", "momentum": 0.3},
    "pool1": {"_target_": "torch.nn.Dropout", "p": 0.5},
}


def network(*frozen: str) -> Network:
    made = build(LAYERS, bands=little.BANDS, classes=little.CLASSES, tile_size=little.SIZE)
    freeze(made, frozen)
    return made.eval()


def test_statistics_are_those_of_what_reaches_the_norm() -> None:
    made = network()
    norm: Any = made.get_submodule("relu1")
    norm.running_mean.fill_(7.0)
    with torch.no_grad():
        given = [made.get_submodule("conv1")(made.get_submodule("normalize")(b.pixels))
                 for b in batches()]  # fmt: skip
    refresh(made, batches())
    means = torch.stack([x.mean(dim=(0, 2, 3)) for x in given])
    variances = torch.stack([x.var(dim=(0, 2, 3)) for x in given])
    torch.testing.assert_close(norm.running_mean, means.mean(dim=0))
    torch.testing.assert_close(norm.running_var, variances.mean(dim=0))
    assert norm.momentum == 0.3
    assert not any(layer.training for layer in made.modules())


def test_frozen_norms_keep_what_they_have() -> None:
    made = network("relu1")
    before = {name: value.clone() for name, value in made.named_buffers()}
    refresh(made, batches())
    for name, value in made.named_buffers():
        assert torch.equal(value, before[name]), name


@pytest.mark.parametrize("swa", [0.5, 0.0])
def test_an_average_is_measured_with_statistics_of_its_own(swa: float) -> None:
    task = classifier(layers=LAYERS, swa=swa, average=0.9)
    fit(task, epochs=4)
    norm: Any = task.final.get_submodule("relu1")
    kept = norm.running_mean.clone()
    refresh(task.final, batches())
    assert torch.equal(norm.running_mean, kept) is (swa > 0)
