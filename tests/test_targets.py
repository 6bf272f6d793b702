from __future__ import annotations

import pytest
from torch import nn

from pipeline.errors import NetworkError
from pipeline.layers import Normalize
from pipeline.targets import arguments, make, nearest, resolve


def test_layers_of_torch_and_of_ours_are_found() -> None:
    assert resolve("torch.nn.Conv2d") is nn.Conv2d
    assert resolve("pipeline.layers.Normalize") is Normalize


@pytest.mark.parametrize(
    "target",
    [
        "os.system",
        "torch.hub.load",
        "torch.nn.modules.module.functools.partial",
        "torch.nn.functional.relu",
        "pipeline.layers.torch.load",
        "pipeline.stages.train.run",
        "builtins.eval",
        "Conv2d",
        "",
    ],
)
def test_targets_outside_the_allowed_modules_are_refused(target: str) -> None:
    with pytest.raises(NetworkError, match=r"of the form torch\.nn\.<Layer>"):
        resolve(target)


@pytest.mark.parametrize("target", ["torch.nn.Module", "torch.nn.init", "pipeline.layers.torch"])
def test_names_that_are_no_layer_are_refused(target: str) -> None:
    with pytest.raises(NetworkError, match="Expected a layer of"):
        resolve(target)


def test_a_misspelt_layer_gets_the_nearest_spelling() -> None:
    with pytest.raises(NetworkError, match=r"Did you mean 'Conv2d'\?"):
        resolve("torch.nn.Conv2D")


def test_a_misspelt_argument_gets_the_nearest_spelling() -> None:
    with pytest.raises(NetworkError, match=r"'kernel_siz'.*Did you mean 'kernel_size'\?"):
        make(nn.Conv2d, {"in_channels": 1, "out_channels": 1, "kernel_siz": 3})


def test_a_missing_argument_is_named() -> None:
    with pytest.raises(NetworkError, match="needs the argument 'kernel_size'"):
        make(nn.Conv2d, {"in_channels": 1, "out_channels": 1})


def test_what_a_layer_refuses_is_passed_on() -> None:
    with pytest.raises(NetworkError, match="Dropout refuses its arguments: dropout probability"):
        make(nn.Dropout, {"p": 2.0})


def test_lists_become_tuples() -> None:
    layer = make(nn.Conv2d, {"in_channels": 1, "out_channels": 1, "kernel_size": [3, 5]})
    assert isinstance(layer, nn.Conv2d)
    assert layer.kernel_size == (3, 5)


def test_arguments_tell_which_must_be_given() -> None:
    known = arguments(nn.Linear)
    assert known["in_features"]
    assert not known["bias"]


def test_nothing_near_gives_no_hint() -> None:
    assert nearest("zzz", ["red", "green"]) == ""
