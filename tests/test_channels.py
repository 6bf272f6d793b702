from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from pipeline.channels import Seen, rebanded, seen
from pipeline.network import Network, build
from pipeline.types import Bands, Classes

RGB = Bands(("red", "green", "blue"))
CLASSES = Classes(("trees", "water"))
NORMALIZE = {"_target_": "pipeline.layers.Normalize"}
INDICES = {"_target_": "pipeline.layers.SpectralIndices", "indices": {"gr": ["green", "red"]}}
CONV: dict[str, Any] = {"_target_": "torch.nn.Conv2d", "out_channels": 3, "kernel_size": 3}
FLATTEN = {"_target_": "torch.nn.Flatten"}
FC = {"_target_": "torch.nn.Linear"}


def network(**layers: Any) -> Network:
    return build(layers, bands=RGB, classes=CLASSES, tile_size=6)


def test_the_first_convolution_sees_the_bands_and_no_later_layer_does() -> None:
    made = network(n=NORMALIZE, conv1=CONV, conv2=CONV, flat=FLATTEN, fc=FC)
    assert seen(made) == {"conv1": Seen(RGB.names, 1)}


def test_what_treats_bands_one_by_one_hands_their_names_on() -> None:
    made = network(
        norm={"_target_": "torch.nn.BatchNorm2d"},
        pool={"_target_": "torch.nn.MaxPool2d", "kernel_size": 2},
        act={"_target_": "torch.nn.ReLU"},
        flat=FLATTEN,
        drop={"_target_": "torch.nn.Dropout"},
        fc=FC,
    )
    assert seen(made) == {"norm": Seen(RGB.names, 0), "fc": Seen(RGB.names, 1)}


def test_a_spectral_index_is_named_by_its_two_bands() -> None:
    made = network(i=INDICES, n=NORMALIZE, gap={"_target_": "pipeline.layers.GlobalAvgPool"}, fc=FC)
    assert seen(made) == {"fc": Seen((*RGB.names, "green over red"), 1)}


def test_a_depthwise_step_keeps_bands_apart_and_the_pointwise_one_mixes_them() -> None:
    block = {"_target_": "pipeline.layers.DepthwiseSeparable", "out_channels": 5}
    made = network(block=block, flat=FLATTEN, fc=FC)
    assert seen(made) == {
        "block.depthwise": Seen(RGB.names, 0),
        "block.pointwise": Seen(RGB.names, 1),
    }


def test_every_branch_sees_the_bands_and_what_joins_them_is_known() -> None:
    pool = {"_target_": "torch.nn.AvgPool2d", "kernel_size": 3, "stride": 1, "padding": 1}
    identity = {"_target_": "torch.nn.Identity"}
    concat = {"_target_": "pipeline.layers.Parallel", "a": pool, "b": identity}
    made = network(both=concat, conv=CONV, flat=FLATTEN, fc=FC)
    assert seen(made) == {"conv": Seen((*RGB.names, *RGB.names), 1)}
    mixed = {**concat, "a": {**CONV, "padding": 1}}
    assert seen(network(both=mixed, conv=CONV, flat=FLATTEN, fc=FC)) == {
        "both.a": Seen(RGB.names, 1)
    }


def test_a_shortcut_keeps_bands_only_where_its_body_does() -> None:
    residual = {"_target_": "pipeline.layers.Residual"}
    apart = {**CONV, "groups": 3, "padding": 1}
    made = network(r={**residual, "dw": apart}, conv=CONV, flat=FLATTEN, fc=FC)
    assert set(seen(made)) == {"r.dw", "conv"}
    made = network(
        r={**residual, "c": {**CONV, "out_channels": 7, "padding": 1}},
        conv=CONV,
        flat=FLATTEN,
        fc=FC,
    )
    assert set(seen(made)) == {"r.c", "r.projection"}


def test_a_dense_layer_that_mixes_ends_what_is_known() -> None:
    dense = {"_target_": "pipeline.layers.Dense", "a": {**CONV, "padding": 1}}
    made = network(d={**dense, "b": {**CONV, "padding": 1}}, conv=CONV, flat=FLATTEN, fc=FC)
    assert set(seen(made)) == {"d.a"}


def weights(*rows: list[float]) -> Tensor:
    """(F, C, 1, 1): a filter a row, one weight a band."""
    return torch.tensor(rows, dtype=torch.float32)[:, :, None, None]


RGBN = (*RGB.names, "nir")


@pytest.mark.parametrize(
    ("bands", "by_name", "expected"),
    [
        # The mean of 3, 6 and 12 is 7; three bands over four are 0.75.
        (RGBN, True, [2.25, 4.5, 9, 5.25]),
        (RGBN, False, [5.25] * 4),
        (("blue", "red", "green"), True, [12, 3, 6]),
        (("nir", "green"), True, [10.5, 9]),
        (("x",), True, [21]),
        (RGB.names, False, [7, 7, 7]),
    ],
)
def test_bands_move_as_worked_out_by_hand(
    bands: tuple[str, ...], by_name: bool, expected: list[float]
) -> None:
    mine = torch.full((1, len(bands), 1, 1), float("nan"))
    theirs = weights([3, 6, 12])
    moved = rebanded(mine, theirs, Seen(bands, 1), Seen(RGB.names, 1), by_name)
    assert moved is not None
    assert moved.flatten().tolist() == expected


def test_a_tile_alike_in_all_bands_gets_the_donor_s_response() -> None:
    random = torch.Generator().manual_seed(0)
    theirs = torch.randn(5, 3, 3, 3, generator=random)
    mine = torch.zeros(5, 4, 3, 3)
    moved = rebanded(mine, theirs, Seen(RGBN, 1), Seen(RGB.names, 1), True)
    assert moved is not None
    grey = torch.randn(1, 1, 9, 9, generator=random)
    expected = nn.functional.conv2d(grey.expand(1, 3, 9, 9), theirs)
    got = nn.functional.conv2d(grey.expand(1, 4, 9, 9), moved)
    torch.testing.assert_close(got, expected)


def test_what_is_apart_for_each_band_is_not_scaled() -> None:
    moved = rebanded(
        torch.zeros(4), torch.tensor([3.0, 6, 12]), Seen(RGBN, 0), Seen(RGB.names, 0), True
    )
    assert moved is not None
    assert moved.tolist() == [3, 6, 12, 7]


def test_positions_behind_a_flattening_stay_with_their_band() -> None:
    theirs = torch.arange(6.0)[None]  # one output; red at two positions, then green, then blue
    moved = rebanded(torch.zeros(1, 4), theirs, Seen(("blue", "red"), 1), Seen(RGB.names, 1), True)
    assert moved is not None
    assert moved.tolist() == [[6, 7.5, 0, 1.5]]  # times three over two


def test_an_index_moves_unscaled_and_a_new_one_stays_as_drawn() -> None:
    there = Seen((*RGB.names, "green over red"), 1)
    here = Seen((*RGBN, "nir over red", "green over red"), 1)
    mine = weights([0, 0, 0, 0, 0.5, 0])
    moved = rebanded(mine, weights([3, 6, 12, 100]), here, there, True)
    assert moved is not None
    assert moved.flatten().tolist() == [2.25, 4.5, 9, 5.25, 0.5, 100]


def test_branches_that_repeat_the_bands_keep_their_order() -> None:
    both = Seen(RGB.names * 2, 1)
    there = Seen(("green", "blue") * 2, 1)
    moved = rebanded(weights([0] * 6), weights([1, 2, 10, 20]), both, there, True)
    assert moved is not None
    scale = 2 / 3
    expected = [8.25 * scale, scale, 2 * scale, 8.25 * scale, 10 * scale, 20 * scale]
    assert moved.flatten().tolist() == pytest.approx(expected)


@pytest.mark.parametrize("shape", [(2, 3, 3, 3), (1, 3, 5, 5), (1, 4, 3, 3)])
def test_other_shapes_do_not_move(shape: tuple[int, ...]) -> None:
    mine = torch.zeros(1, 4, 3, 3)
    assert rebanded(mine, torch.zeros(shape), Seen(RGBN, 1), Seen(RGB.names, 1), True) is None
