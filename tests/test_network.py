from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

from pipeline.analysis import describe
from pipeline.config import compose
from pipeline.errors import NetworkError
from pipeline.network import Network, build
from pipeline.schema import InitSection
from pipeline.types import Bands, Classes

BANDS = Bands(("red", "green", "blue", "nir"))
CLASSES = Classes(("building", "barren_land", "trees", "grassland", "road", "water"))
CONF = Path(__file__).resolve().parent.parent / "conf"
ACTIVATIONS = sorted(path.stem for path in (CONF / "activation").glob("*.yaml"))

CONV: dict[str, Any] = {"_target_": "torch.nn.Conv2d", "out_channels": 8, "kernel_size": 3}
NORM: dict[str, Any] = {"_target_": "torch.nn.BatchNorm2d"}
POOL: dict[str, Any] = {"_target_": "torch.nn.MaxPool2d", "kernel_size": 2}
FLATTEN: dict[str, Any] = {"_target_": "torch.nn.Flatten"}
HEAD: dict[str, Any] = {"_target_": "torch.nn.Linear"}


def network(layers: dict[str, Any], tile_size: int = 28, seed: int = 0) -> Network:
    return build(layers, bands=BANDS, classes=CLASSES, tile_size=tile_size, seed=seed)


def composed(*overrides: str) -> dict[str, Any]:
    layers: dict[str, Any] = yaml.safe_load(compose(overrides))["model"]["layers"]
    return layers


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_every_activation_reaches_the_layers(activation: str) -> None:
    layers = composed("model=lenet", f"activation={activation}")
    made = build(layers, bands=BANDS, classes=CLASSES, tile_size=28)
    name = type(made.get_submodule("act1")).__name__
    assert name.lower() == activation.replace("_", "")


def test_lecture_is_the_network_of_the_lecture() -> None:
    made = build(composed("model=lecture"), bands=BANDS, classes=CLASSES, tile_size=28)
    infos = {info.type: info for info in describe(made)}
    assert list(infos) == ["Normalize", "Conv2d", "ReLU", "MaxPool2d", "Flatten", "Linear"]
    assert infos["Conv2d"].weights == {"weight": (20, 4, 3, 3), "bias": (20,)}
    assert infos["MaxPool2d"].output == (20, 8, 8)
    assert infos["Linear"].weights["weight"] == (6, 20 * 8 * 8)


def test_input_sizes_are_inferred() -> None:
    made = network(dict(conv=CONV, norm=NORM, pool=POOL, flatten=FLATTEN, head=HEAD))
    assert made(torch.zeros(2, 4, 28, 28)).shape == (2, 6)
    assert made.get_submodule("conv").in_channels == 4
    assert made.get_submodule("norm").num_features == 8
    assert made.get_submodule("head").in_features == 8 * 13 * 13
    assert made.layer_names == ["conv", "norm", "pool", "flatten", "head"]


def test_only_the_last_linear_layer_gets_the_number_of_classes() -> None:
    with pytest.raises(NetworkError, match="Layer 'hidden': Linear needs the argument 'out_feat"):
        network(dict(flatten=FLATTEN, hidden=HEAD, head=HEAD))


def test_a_layer_set_to_null_is_left_out() -> None:
    made = network(dict(conv=CONV, norm=None, flatten=FLATTEN, head=HEAD))
    assert made.layer_names == ["conv", "flatten", "head"]
    assert "norm" not in made.spec


def test_statistics_go_into_normalize() -> None:
    layers = {"normalize": {"_target_": "pipeline.layers.Normalize"}, "f": FLATTEN, "head": HEAD}
    made = build(
        layers, bands=BANDS, classes=CLASSES, tile_size=4, mean=[1, 2, 3, 4], std=[1, 1, 2, 2]
    )
    layer = made.get_submodule("normalize")
    assert layer.get_buffer("mean").tolist() == [1, 2, 3, 4]
    assert layer.get_buffer("deviation").tolist() == [1, 1, 2, 2]


def test_weights_depend_on_the_seed_alone() -> None:
    layers = {"conv": CONV, "flatten": FLATTEN, "head": HEAD}
    torch.manual_seed(5)
    before = torch.random.get_rng_state()
    first = network(layers)
    assert torch.equal(torch.random.get_rng_state(), before)
    torch.rand(3)
    again, other = network(layers), network(layers, seed=1)
    assert torch.equal(first.get_parameter("conv.weight"), again.get_parameter("conv.weight"))
    assert not torch.equal(first.get_parameter("conv.weight"), other.get_parameter("conv.weight"))


@pytest.mark.parametrize(
    ("name", "deviation"),
    # Worked out from fan in 4 * 9 = 36 and fan out 200 * 9 = 1800.
    [("normal", 0.02), ("xavier", (2 / (36 + 1800)) ** 0.5), ("he", (2 / 36) ** 0.5)],
)
def test_init_draws_the_deviation_it_names(name: str, deviation: float) -> None:
    conv = {**CONV, "out_channels": 200}
    section = InitSection.model_validate({"name": name, "deviation": 0.02})
    layers = {"conv": conv, "flatten": FLATTEN, "head": HEAD}
    made = build(layers, bands=BANDS, classes=CLASSES, tile_size=6, init=section)
    weight = made.get_parameter("conv.weight")
    assert weight.std().item() == pytest.approx(deviation, rel=0.05)
    assert not made.get_parameter("conv.bias").any()


def test_init_torch_leaves_what_layers_draw() -> None:
    layers = {"conv": CONV, "flatten": FLATTEN, "head": HEAD}
    plain = network(layers)
    section = InitSection(name="torch")
    same = build(layers, bands=BANDS, classes=CLASSES, tile_size=28, init=section)
    assert torch.equal(plain.get_parameter("conv.weight"), same.get_parameter("conv.weight"))


FAULTS: dict[str, tuple[dict[str, Any], str]] = {
    "unknown": ({"a": {"_target_": "torch.nn.Conv3x"}}, r"Layer 'a': .*Did you mean"),
    "forbidden": ({"a": {"_target_": "os.system"}}, r"Layer 'a': .*got 'os\.system'"),
    "no target": ({"a": {"out_channels": 3}}, r"Layer 'a': expected a _target_"),
    "misspelt": ({"a": {**CONV, "strid": 2}}, r"Layer 'a': .*'strid'.*'stride'"),
    "too small": (
        {"a": CONV, "b": {**POOL, "kernel_size": 99}},
        r"Layer 'b': does not fit its input \(N, 8, 26, 26\): its kernel spans 99 x 99",
    ),
    "wrong channels": ({"a": {**CONV, "in_channels": 3}}, r"Layer 'a': does not fit its input"),
    "not flat": ({"a": CONV, "fc": HEAD}, r"Layer 'fc': expected flat input, got \(N, 8, 26, 26\)"),
    "no head": ({"a": CONV, "f": FLATTEN}, r"Layer 'f': expected the network to end in \(N, 6\)"),
    "wrong size": ({"f": FLATTEN, "fc": {**HEAD, "out_features": 5}}, r"Layer 'fc': .*\(N, 5\)"),
    "softmax": (
        {"f": FLATTEN, "fc": HEAD, "s": {"_target_": "torch.nn.Softmax", "dim": 1}},
        r"Layer 's': a network ends in logits; drop Softmax",
    ),
    "taken name": (
        {"forward": FLATTEN, "fc": HEAD},
        r"Layer 'forward': expected a name of",
    ),
    "word of Python": ({"class": FLATTEN, "fc": HEAD}, r"Layer 'class': class is a word of Python"),
    "lambda": (
        {"a": {"lambda": CONV, "b": CONV}, "f": FLATTEN, "fc": HEAD},
        r"Layer 'a\.lambda': lambda is a word of Python's own; rename the layer",
    ),
    "hidden name": (
        {"__a": FLATTEN, "fc": HEAD},
        r"Layer '__a': expected a name of letters",
    ),
    "dotted name": ({"a.b": FLATTEN, "fc": HEAD}, r"Layer 'a\.b': expected a name of letters"),
    "empty": ({"a": None}, r"network of one layer or more"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_faults_name_the_layer(fault: str) -> None:
    layers, message = FAULTS[fault]
    with pytest.raises(NetworkError, match=message):
        network(layers)


def test_describe_against_numbers_by_hand() -> None:
    layers = dict(
        conv1={**CONV, "padding": 1},
        pool={"_target_": "torch.nn.MaxPool2d", "kernel_size": 2},
        conv2={**CONV, "out_channels": 5, "dilation": 2, "bias": False},
        gap={"_target_": "pipeline.layers.GlobalAvgPool"},
        head=HEAD,
    )
    made = network(layers, tile_size=20)
    conv1, pool, conv2, gap, head = describe(made, resolution=0.5)
    assert conv1.output == (8, 20, 20)
    assert conv1.parameters == 8 * 4 * 9 + 8
    assert conv1.macs == 8 * 20 * 20 * 4 * 9
    assert (conv1.field, conv1.stride, conv1.field_metres) == (3, 1, 1.5)
    assert (pool.output, pool.field, pool.stride, pool.macs) == ((8, 10, 10), 4, 2, 0)
    assert conv2.weights == {"weight": (5, 8, 3, 3)}
    assert conv2.macs == 5 * 6 * 6 * 8 * 9
    assert (conv2.field, conv2.stride) == (4 + 2 * 2 * 2, 2)
    assert (gap.output, gap.field) == ((5,), 20)
    assert (head.macs, head.parameters, head.field) == (5 * 6, 5 * 6 + 6, 20)


def test_describe_agrees_with_what_an_output_depends_on() -> None:
    # Max pooling passes the gradient of one input each, so the mean stands in for it here.
    average = {"_target_": "torch.nn.AvgPool2d", "kernel_size": 2}
    layers = {"c1": CONV, "p1": average, "c2": CONV, "p2": average, "f": FLATTEN, "head": HEAD}
    made = network(layers)
    infos = describe(made)
    pixels = torch.randn(1, 4, 28, 28, requires_grad=True)
    x = pixels
    for info in infos[:4]:
        x = made.get_submodule(info.name)(x)
        middle = x.shape[2] // 2
        (gradient,) = torch.autograd.grad(x[0, :, middle, middle].sum(), pixels, retain_graph=True)
        assert int(gradient.abs().sum(dim=(0, 1, 2)).count_nonzero()) == info.field, info.name


def test_describe_leaves_the_network_as_it_was() -> None:
    made = network(dict(conv=CONV, norm=NORM, flatten=FLATTEN, head=HEAD))
    before = {key: value.clone() for key, value in made.state_dict().items()}
    describe(made)
    assert made.training
    assert all(torch.equal(value, made.state_dict()[key]) for key, value in before.items())


def test_a_transposed_convolution_starts_at_the_size_of_its_input() -> None:
    # Each output gathers in x k x k / stride^2 = 64 * 16 / 4 inputs.
    up = {"_target_": "torch.nn.ConvTranspose2d", "out_channels": 40, "kernel_size": 4, "stride": 2}
    stem = {**CONV, "out_channels": 64}
    layers = {"stem": stem, "up": up, "flatten": FLATTEN, "head": HEAD}
    made = build(layers, bands=BANDS, classes=CLASSES, tile_size=8, init=InitSection(name="he"))
    weight = made.get_parameter("up.weight")
    assert weight.std().item() == pytest.approx((2 / (64 * 16 / 4)) ** 0.5, rel=0.05)


def test_a_pooling_that_keeps_no_stride_steps_by_its_kernel() -> None:
    pool = {"_target_": "torch.nn.LPPool2d", "norm_type": 2, "kernel_size": 2}
    made = network(dict(conv=CONV, pool=pool, flatten=FLATTEN, head=HEAD))
    infos = {info.name: info for info in describe(made)}
    assert (infos["pool"].output, infos["pool"].stride) == ((8, 13, 13), 2)
