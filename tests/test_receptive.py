"""Receptive fields against the footprint of a gradient: what an output really depends on."""

from __future__ import annotations

from copy import deepcopy
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from pipeline.analysis import describe, layers
from pipeline.composites import Composite
from pipeline.network import Network
from tests.networks import (
    AUTOENCODER,
    BLOCKS,
    FLATTEN,
    HEAD,
    MEANS,
    MODELS,
    NORM,
    RELU,
    conv,
    model,
    network,
    ours,
    pool,
)

ENDING = {"means": MEANS, "head": HEAD}
UP: dict[str, Any] = {"_target_": "torch.nn.Upsample", "scale_factor": 2}
CASES: dict[str, dict[str, Any]] = {
    "chain": {"c1": conv(4), "p1": pool(), "c2": conv(4, 5, dilation=2), "p2": pool(3, stride=2)},
    "sides": {"wide": conv(4, [1, 7]), "high": conv(4, [9, 1], padding=[4, 0]), "p": pool()},
    "same": {"even": conv(4, 4, padding="same"), "odd": conv(4, 5, padding="same", dilation=3)},
    "all composites": BLOCKS,
    "branches off centre": {
        "both": ours("Parallel", left=conv(4, 3), right=conv(4, 5, padding=[0, 2]), join="concat")
        | {"left": conv(4, 3, padding=[0, 1]), "right": conv(4, 5, padding=[1, 2])}
    },
    "projection wider than the body": {
        "r": ours("Residual", conv=conv(8, 1), projection=conv(8, 7, padding=3))
    },
    "dense chains": {
        "d": ours(
            "Dense",
            one={"norm": NORM, "act": RELU, "conv": conv(3, padding=1)},
            two=conv(3, 7, padding=3),
            three=ours("DepthwiseSeparable", out_channels=5, kernel_size=5),
        )
    },
    "upsampling": {"p": pool(4), "up": UP, "c": conv(4, 2), "up2": UP, "c2": conv(4, 3)},
    "bilinear": {"p": pool(4), "up": UP | {"mode": "bilinear"}, "c": conv(4, 3)},
    "bicubic": {"p": pool(2), "up": UP | {"mode": "bicubic"}, "c": conv(4, 3)},
    "transposed": {
        "p": pool(4),
        "up": {
            "_target_": "torch.nn.ConvTranspose2d",
            "out_channels": 4,
            "kernel_size": 5,
            "stride": 2,
            "padding": 1,
        },
        "c": conv(4, 2),
    },
    "shuffles": {
        "down": {"_target_": "torch.nn.PixelUnshuffle", "downscale_factor": 4},
        "c": conv(8, 3),
        "up": {"_target_": "torch.nn.PixelShuffle", "upscale_factor": 2},
        "c2": conv(4, 2),
    },
    "adaptive": {"a": {"_target_": "torch.nn.AdaptiveAvgPool2d", "output_size": 7}, "c": conv(4)},
}  # fmt: skip


def linear(made: Network) -> Network:
    """The same network with weights of 1, means in place of maxima, and nothing that bends."""
    copy = deepcopy(made).eval()
    for name, module in list(copy.named_modules()):
        above = copy.get_submodule(name.rpartition(".")[0])
        if isinstance(module, nn.MaxPool2d):
            mean = nn.AvgPool2d(
                module.kernel_size, module.stride, module.padding, ceil_mode=module.ceil_mode
            )
            setattr(above, name.rpartition(".")[2], mean)
        elif isinstance(module, nn.ReLU | nn.BatchNorm2d):
            setattr(above, name.rpartition(".")[2], nn.Identity())
        for key, parameter in module.named_parameters(recurse=False):
            nn.init.constant_(parameter, float(key == "weight"))
    return copy


def footprints(made: Network, positions: int) -> dict[str, int]:
    """Side of what one position of each map depends on, over so many positions in the middle."""
    copy = linear(made).double()
    outputs: dict[str, Tensor] = {}
    for name, module in layers(copy):
        if isinstance(module, Composite | nn.Upsample) or hasattr(module, "kernel_size"):
            module.register_forward_hook(
                lambda _, __, output, name=name: outputs.__setitem__(name, output)
            )
    pixels = torch.rand(1, *made.input_shape, dtype=torch.double, requires_grad=True)
    copy(pixels)
    found = {}
    for name, output in outputs.items():
        if output.dim() == 4:
            down, across = (size // 2 for size in output.shape[2:])
            some = range(min(positions, output.shape[2] - down, output.shape[3] - across))
            found[name] = max(_side(output[0, :, down + i, across + i].sum(), pixels) for i in some)
    return found


def _side(value: Tensor, pixels: Tensor) -> int:
    (gradient,) = torch.autograd.grad(value, pixels, retain_graph=True)
    touched = gradient[0].abs().sum(dim=0) > 0
    sides = [touched.any(dim=axis).nonzero() for axis in (0, 1)]
    return max(int(where.max() - where.min()) + 1 for where in sides)


# torch pads an even kernel by a copy of its input, and warns that it does.
@pytest.mark.filterwarnings("ignore:Using padding='same' with even kernel lengths")
@pytest.mark.parametrize("case", CASES)
def test_fields_are_what_outputs_depend_on(case: str) -> None:
    made = network(CASES[case] | ENDING, tile_size=96)
    infos = {info.name: info for info in describe(made, composites=True)}
    measured = footprints(made, 4)  # behind an upsampling not all see equally much
    assert measured
    assert {name: infos[name].reach for name in measured} == measured


@pytest.mark.parametrize("name", MODELS)
def test_fields_of_every_model_are_what_outputs_depend_on(name: str) -> None:
    made = model(name, 128)
    infos = {info.name: info for info in describe(made, composites=True)}
    # Where the tile's edge comes near, a position in the middle may see a little less.
    measured = {key: side for key, side in footprints(made, 1).items() if infos[key].reach < 100}
    assert {key: infos[key].reach for key in measured} == measured


def test_a_decoder_s_fields_are_what_outputs_depend_on() -> None:
    made = network(AUTOENCODER, tile_size=92, task="reconstruct")
    infos = {info.name: info for info in describe(made, composites=True)}
    measured = footprints(made, 4)
    assert {name: infos[name].reach for name in measured} == measured


def test_what_no_window_covers_is_not_seen_behind_a_linear_layer() -> None:
    # 28 pixels: 9 windows of 3 cover 27 of them.
    made = network({"pool": pool(3), "flatten": FLATTEN, "head": HEAD})
    infos = {info.name: info for info in describe(made)}
    assert infos["head"].field == 27


def test_strides_multiply_and_an_upsampling_divides_them() -> None:
    layers = {"c": conv(4, 3, stride=2), "p": pool(3, stride=3), "up": UP} | ENDING
    infos = {info.name: info for info in describe(network(layers), resolution=0.5)}
    assert [infos[name].stride for name in ("c", "p", "up")] == [2, 6, 3]
    assert infos["p"].stride_metres == 3.0
    assert (infos["p"].field, infos["p"].field_metres) == (7, 3.5)
