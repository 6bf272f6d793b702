"""Sizes, counts and costs: worked examples of the textbooks, and what torch itself counts."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from pipeline.analysis import LayerInfo, blank, describe, kept_bytes, layers, observe, run_through
from pipeline.faults import inspect
from pipeline.network import Network
from tests.networks import (
    AUTOENCODER,
    EVERYTHING,
    FLATTEN,
    HEAD,
    MEAN,
    MEANS,
    MODELS,
    STD,
    conv,
    model,
    network,
    pool,
)


def info(made: Network, name: str) -> LayerInfo:
    return {one.name: one for one in describe(made, composites=True)}[name]


def counted(made: Network) -> int:
    """Multiply-accumulates as torch counts them while it runs: two operations each."""
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        made.eval()(blank(made))
    return int(counter.get_total_flops()) // 2


@pytest.mark.parametrize(("stride", "size"), [(1, 5), (2, 3)])
def test_a_window_of_3_on_7_pixels(stride: int, size: int) -> None:
    made = network({"c": conv(2, 3, stride=stride), "means": MEANS, "head": HEAD}, tile_size=7)
    assert info(made, "c").output == (2, size, size)
    assert "stride" not in {one.kind for one in inspect(made, mean=MEAN, std=STD)}


def test_a_window_of_3_on_7_pixels_with_stride_3_loses_one() -> None:
    made = network({"c": conv(2, 3, stride=3), "means": MEANS, "head": HEAD}, tile_size=7)
    (fault,) = [one for one in inspect(made, mean=MEAN, std=STD) if one.kind == "stride"]
    assert fault.layer == "c"
    assert "(7 - 3 + 2 x 0) / 3 = 1.33 is not whole" in fault.text
    assert "the last 1 row and 1 column of its input are lost" in fault.text
    assert "Padding 1 or stride 2 would fit" in fault.text


@pytest.mark.parametrize(("kernel", "padding"), [(3, 1), (5, 2), (7, 3)])
def test_a_padding_of_half_the_kernel_keeps_the_size(kernel: int, padding: int) -> None:
    layers = {"c": conv(2, kernel, padding=padding), "means": MEANS, "head": HEAD}
    assert info(network(layers, tile_size=32), "c").output == (2, 32, 32)


@pytest.mark.parametrize(
    "halving", [pool(2), conv(2, 2, stride=2), conv(2, 3, stride=2, padding=1)]
)
def test_a_stride_of_2_halves_the_map(halving: dict[str, Any]) -> None:
    made = network({"halved": halving, "means": MEANS, "head": HEAD}, tile_size=32)
    assert info(made, "halved").output[1:] == (16, 16)


@pytest.mark.parametrize(("kernel", "filters"), [(1, 3), (3, 20), (5, 6)])
def test_a_convolution_has_a_bias_and_a_weight_for_each_place_of_its_kernel(
    kernel: int, filters: int
) -> None:
    made = network({"c": conv(filters, kernel), "means": MEANS, "head": HEAD})
    assert info(made, "c").parameters == (kernel * kernel * 4 + 1) * filters


def test_a_sliding_product_by_hand() -> None:
    layer = nn.Conv2d(1, 1, 2)
    with torch.no_grad():
        layer.weight.copy_(torch.tensor([[[[1.0, 0.0], [-1.0, 2.0]]]]))
        assert layer.bias is not None
        layer.bias.fill_(0.5)
    pixels = torch.tensor([[[[1.0, 2.0, 0.0], [3.0, 4.0, 1.0]]]])
    # 1 x 1 + 0 x 2 - 1 x 3 + 2 x 4 = 6, and one to the right 1 x 2 + 0 x 0 - 1 x 4 + 2 x 1 = 0.
    assert layer(pixels).tolist() == [[[[6.5, 0.5]]]]


@pytest.mark.parametrize("name", MODELS)
def test_macs_of_every_model_are_those_that_torch_counts(name: str) -> None:
    made = model(name)
    assert sum(one.macs for one in describe(made)) == counted(made)


@pytest.mark.parametrize(
    "layers",
    [
        EVERYTHING,
        {"c": conv(12, 5, groups=4, stride=2, dilation=2), "f": FLATTEN, "head": HEAD},
        {"c": conv(6, [1, 7], padding="same", bias=False), "means": MEANS, "head": HEAD},
    ],
)
def test_macs_are_those_that_torch_counts(layers: dict[str, Any]) -> None:
    made = network(layers)
    assert sum(one.macs for one in describe(made)) == counted(made)


def test_macs_of_transposed_convolutions_are_those_that_torch_counts() -> None:
    made = network(AUTOENCODER, task="reconstruct")
    assert info(made, "decoder.up").macs == 6 * 6 * 6 * 8 * 4 * 4
    assert sum(one.macs for one in describe(made)) == counted(made)


def test_macs_of_a_layer_made_of_others_are_counted() -> None:
    encoder = {
        "_target_": "torch.nn.TransformerEncoderLayer",
        "d_model": 4 * 25,
        "nhead": 2,
        "dim_feedforward": 16,
    }
    made = network({"flatten": FLATTEN, "encoder": encoder, "head": HEAD}, tile_size=5)
    # The two linear layers alone: 100 in, 16 between, 100 out.
    assert info(made, "encoder").macs >= 2 * 100 * 16


def test_a_composite_sums_what_is_inside_it() -> None:
    made = network(EVERYTHING)
    infos = describe(made, composites=True)
    assert [one.name for one in infos] == [name for name, _ in layers(made)]
    for outer in (one for one in infos if one.composite):
        inner = [
            one for one in infos if one.name.startswith(f"{outer.name}.") and not one.composite
        ]
        assert len(inner) > 1
        assert outer.parameters == sum(one.parameters for one in inner)
        assert outer.macs == sum(one.macs for one in inner)
    assert describe(made) == [one for one in infos if not one.composite]


def test_frozen_weights_do_not_learn() -> None:
    made = network({"c": conv(8), "means": MEANS, "head": HEAD})
    made.get_parameter("c.weight").requires_grad_(False)
    assert (info(made, "c").parameters, info(made, "c").learnable) == (8 * 4 * 9 + 8, 8)
    assert info(made, "head").learnable == info(made, "head").parameters


def test_what_training_keeps_by_hand() -> None:
    made = model("lecture")
    # Normalized tile, 20 maps of 26 x 26 behind the activation, 20 x 8 x 8 maxima; as many places
    # of maxima, of 8 bytes. What the convolution gives is not needed again.
    assert kept_bytes(made) == 4 * (4 * 28**2 + 20 * 26**2 + 20 * 8**2) + 8 * 20 * 8**2


def test_what_training_keeps_leaves_the_network_as_it_was() -> None:
    made = network(EVERYTHING)
    before = {key: value.clone() for key, value in made.state_dict().items()}
    torch.manual_seed(3)
    state = torch.random.get_rng_state()
    kept_bytes(made)
    assert torch.equal(torch.random.get_rng_state(), state)
    assert all(torch.equal(value, made.state_dict()[key]) for key, value in before.items())


def test_no_hook_stays_behind_even_where_a_layer_raises() -> None:
    made = network(EVERYTHING)
    with pytest.raises(IndexError):  # of the indices, which look for the fourth band
        run_through(made, torch.zeros(1, 3, 28, 28))
    observe(made, blank(made, 2), lambda _, output: output.shape)
    assert not any(module._forward_hooks for module in made.modules())
    assert made.training
