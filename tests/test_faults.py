from __future__ import annotations

from typing import Any

import pytest
import torch

from pipeline.errors import NetworkError
from pipeline.faults import Finding, inspect
from pipeline.network import Network
from pipeline.silence import random_tiles
from tests.networks import (
    AUTOENCODER,
    EVERYTHING,
    FLATTEN,
    HEAD,
    MEAN,
    MEANS,
    NORM,
    NORMALIZE,
    RELU,
    STD,
    conv,
    model,
    network,
    ours,
    pool,
)

ENDING = {"means": MEANS, "head": HEAD}


def layer(kind: str, **more: Any) -> dict[str, Any]:
    return {"_target_": f"torch.nn.{kind}", **more}


def look(made: Network, strict: bool = False) -> list[Finding]:
    return inspect(made, mean=MEAN, std=STD, strict=strict)


def kinds(layers: dict[str, Any], tile_size: int = 28) -> dict[str, str]:
    """Kind -> layer of what is found."""
    return {one.kind: one.layer for one in look(network(layers, tile_size))}


# Worked out by hand: sizes, fields and shares of the parameters of each.
KNOWN = {
    ("lecture", 28): {("pool", "stride"), ("pool", "field-small"), ("fc", "heavy-linear")},
    ("lecture", 64): {("pool", "stride"), ("pool", "field-small"), ("fc", "heavy-linear")},
    # 27 pixels behind the convolution are 9 windows of 3.
    ("lecture", 29): {("pool", "field-small"), ("fc", "heavy-linear")},
    ("lenet", 28): set(),
    ("lenet", 64): {("pool2", "field-small"), ("fc1", "heavy-linear")},
    ("vgg", 28): set(),
    ("vgg", 30): {("pool2", "stride")},
    ("vgg", 64): {("act3_1", "field-small")},
}


@pytest.mark.parametrize(("name", "size"), KNOWN)
def test_what_is_found_in_known_networks(name: str, size: int) -> None:
    assert {(one.layer, one.kind) for one in look(model(name, size))} == KNOWN[name, size]


def test_a_stride_that_loses_rows_is_an_error_where_it_is_asked_for() -> None:
    layers = {"c": conv(4), "p": pool(3), **ENDING}
    for strict, level in ((False, "warning"), (True, "error")):
        (fault,) = [one for one in look(network(layers), strict) if one.kind == "stride"]
        assert (fault.layer, fault.level) == ("p", level)
        assert "(26 - 3 + 2 x 0) / 3 = 7.67 is not whole" in fault.text
        assert "last 2 rows and 2 columns" in fault.text
        assert "ceil_mode: true would keep them" in fault.text


def test_ceil_mode_and_padding_are_respected() -> None:
    assert "stride" not in kinds({"c": conv(4), "p": pool(3, ceil_mode=True), **ENDING})
    assert "stride" not in kinds({"c": conv(4, 3, padding=1), "p": pool(2), **ENDING})


def test_unused_padding_is_a_note_even_where_strict() -> None:
    found = look(network({"c": conv(4, 3, stride=2, padding=1), **ENDING}), strict=True)
    (note,) = [one for one in found if one.kind == "stride"]
    assert note.level == "note"
    assert "(28 - 3 + 2 x 1) / 2 = 13.50" in note.text


def test_a_stride_that_skips_by_design_is_no_fault() -> None:
    assert "stride" not in kinds({"c": conv(4, 1, stride=2), **ENDING})


def test_rows_and_columns_are_told_apart() -> None:
    (fault,) = [
        one
        for one in look(network({"c": conv(4, [3, 2], stride=[3, 2]), **ENDING}))
        if one.kind == "stride"
    ]
    # 28 - 3 = 25 rows in steps of 3; 28 - 2 = 26 columns in steps of 2.
    assert "(28 - 3 + 2 x 0) / 3" in fault.text
    assert "column" not in fault.text


def test_strides_inside_composites_are_found() -> None:
    layers = {"r": ours("Parallel", a=conv(4, 5, stride=3), b=pool(5, stride=3)), **ENDING}
    found = [one.layer for one in look(network(layers)) if one.kind == "stride"]
    assert found == ["r.a", "r.b"]


def test_a_kernel_larger_than_its_map_tells_the_arithmetic() -> None:
    layers = {"p": pool(4), "p2": pool(2), "c": conv(4, 3, dilation=2), **ENDING}
    with pytest.raises(NetworkError, match=r"Layer 'c': .*spans 5 x 5.*3 - 5 \+ 2 x 0 is below 0"):
        network(layers)


def test_a_field_larger_than_the_tile_names_the_first_layer() -> None:
    layers = {f"c{i}": conv(4, 5, padding=2) for i in range(6)} | ENDING  # 5, 9, 13, 17, 21, 25
    assert kinds(layers, tile_size=20)["field-large"] == "c4"
    assert "field-large" not in kinds(layers, tile_size=25)
    (note,) = [one for one in look(network(layers, 20)) if one.kind == "field-large"]
    assert note.level == "note"
    assert "sees 21 px, more than the tile of 20 px, and 'c5', the last map, 25 px" in note.text
    (warning,) = [one for one in look(network(layers, 8)) if one.kind == "field-large"]
    assert warning.level == "warning"


def test_a_field_much_smaller_than_the_tile_is_told_at_the_last_map() -> None:
    layers = {"c": conv(8, 3), "r": RELU, "both": ours("Parallel", a=conv(4, 3), b=conv(4, 3))}
    assert kinds(layers | ENDING)["field-small"] == "both"
    assert "field-small" not in kinds(layers | ENDING, tile_size=10)
    # Without a convolution there is no map to widen.
    assert "field-small" not in kinds({"f": FLATTEN, "head": HEAD})


@pytest.mark.parametrize("kind", ["Softmax", "LogSoftmax", "Softmin"])
def test_a_softmax_inside_is_found(kind: str) -> None:
    layers = {"c": conv(4), "means": MEANS, "s": layer(kind, dim=1), "head": HEAD}
    assert kinds(layers)["softmax"] == "s"


def test_an_activation_as_gate_is_no_softmax() -> None:
    found = kinds({"c": conv(16), "a": layer("Sigmoid"), **ENDING})
    assert not {"softmax", "ending"} & set(found)


@pytest.mark.parametrize("kind", ["Sigmoid", "ReLU", "Tanh"])
def test_an_activation_behind_the_last_layer_that_learns_is_found(kind: str) -> None:
    # The builder refuses a sigmoid at the very end; behind it a layer hides it.
    layers = {"c": conv(4), "means": MEANS, "head": HEAD, "a": layer(kind), "f": FLATTEN}
    assert kinds(layers)["ending"] == "a"


def test_an_activation_that_cuts_nothing_may_end_a_network() -> None:
    layers = {"c": conv(4), "means": MEANS, "head": HEAD, "a": layer("LeakyReLU")}
    assert "ending" not in kinds(layers)


def test_a_reconstruction_that_ends_in_an_activation_is_found() -> None:
    decoder = AUTOENCODER["decoder"] | {"end": layer("Sigmoid")}
    made = network(AUTOENCODER | {"decoder": decoder}, task="reconstruct")
    (found,) = [one for one in look(made) if one.kind == "ending"]
    assert found.layer == "decoder.end"
    assert "normalized pixels may be any number" in found.text


def test_batch_norm_behind_an_activation_is_found_in_its_chain() -> None:
    layers = {"c": conv(4), "r": RELU, "n": NORM, **ENDING}
    assert kinds(layers)["norm-order"] == "n"
    inside = {"d": ours("Dense", one={"c": conv(4, padding=1), "r": RELU, "n": NORM}), **ENDING}
    assert kinds(inside)["norm-order"] == "d.one.n"


def test_batch_norm_that_begins_a_branch_is_none() -> None:
    branch = {"n": NORM, "r": RELU, "c": conv(4, padding=1)}
    layers = {"c": conv(4), "r": RELU, "d": ours("Dense", one=branch), **ENDING}
    assert "norm-order" not in kinds(layers)
    layers = {"c": conv(4), "r": RELU, "b": ours("Parallel", r=RELU, n=NORM), **ENDING}
    assert "norm-order" not in kinds(layers)  # r and n see the same input, not each other


def test_a_linear_layer_with_nearly_all_parameters_is_found() -> None:
    found = look(network({"c": conv(4), "f": FLATTEN, "hidden": HEAD | {"out_features": 50},
                          "head": HEAD}))  # fmt: skip
    (heavy,) = [one for one in found if one.kind == "heavy-linear"]
    total = 4 * 4 * 9 + 4 + 4 * 26 * 26 * 50 + 50 + 50 * 6 + 6
    assert heavy.layer == "hidden"
    assert f"holds {4 * 26 * 26 * 50 + 50:,} of {total:,} parameters (99.7%)" in heavy.text
    assert "heavy-linear" not in kinds({"f": FLATTEN, "head": HEAD})  # there is no other


def test_a_dropout_of_everything_is_constant_in_training() -> None:
    layers = {"n": NORMALIZE, "c": conv(4), "drop": layer("Dropout", p=1.0), **ENDING}
    (found,) = [one for one in look(network(layers)) if one.kind == "constant"]
    assert found.layer == "drop"
    assert "in training" in found.text


def test_an_activation_that_nothing_passes_is_constant() -> None:
    layers = {"n": NORMALIZE, "c": conv(4), "r": RELU, "norm": NORM, **ENDING}
    made = network(layers)
    with torch.no_grad():
        made.get_parameter("c.bias").fill_(-1e6)
    found = [one for one in look(made) if one.kind == "constant"]
    assert [one.layer for one in found] == ["r"]


def test_dropout_does_not_hide_what_is_constant() -> None:
    made = network({"c": conv(4), "drop": layer("Dropout", p=0.5), **ENDING})
    with torch.no_grad():
        made.get_parameter("c.weight").fill_(0)
    assert [one.layer for one in look(made) if one.kind == "constant"] == ["c"]


def test_values_that_are_no_number_are_found() -> None:
    made = network({"c": conv(4), **ENDING})
    with torch.no_grad():
        made.get_parameter("c.bias").fill_(float("inf"))
    (found,) = [one for one in look(made) if one.kind == "constant"]
    assert "no finite number" in found.text


def test_a_sound_network_has_no_constant_layer() -> None:
    assert "constant" not in kinds(EVERYTHING)


def test_the_worst_comes_first_and_the_network_is_left_as_it_was() -> None:
    layers = {"c": conv(4, 3, stride=2, padding=1), "r": RELU, "n": NORM, "p": pool(3), **ENDING}
    made = network(layers)
    before = {key: value.clone() for key, value in made.state_dict().items()}
    torch.manual_seed(1)
    state = torch.random.get_rng_state()
    found = look(made, strict=True)
    assert [one.level for one in found] == ["error", "warning", "warning", "warning", "note"]
    assert [one.layer for one in found] == ["p", "c", "n", "p", "c"]
    assert torch.equal(torch.random.get_rng_state(), state)
    assert made.training
    assert all(torch.equal(value, made.state_dict()[key]) for key, value in before.items())


def test_random_tiles_have_the_statistics_of_the_bands() -> None:
    made = network({"c": conv(4), **ENDING}, tile_size=200)
    tiles = random_tiles(made, [10.0, -5.0, 100.0, 0.0], [1.0, 2.0, 3.0, 0.0])
    # Eight tiles: their own colours spread the mean by up to a deviation.
    torch.testing.assert_close(
        tiles.mean(dim=(0, 2, 3)), torch.tensor([10.0, -5.0, 100.0, 0.0]), atol=2.0, rtol=0
    )
    within = tiles.std(dim=(2, 3)).mean(dim=0)
    expected = torch.tensor([1.0, 2.0, 3.0, 0.0]) / 2**0.5
    torch.testing.assert_close(within, expected, atol=0.05, rtol=0)


def test_raw_values_that_nothing_normalizes_are_told_at_the_first_layer() -> None:
    found = {one.kind: one for one in look(network({"conv": conv(4), **ENDING}))}
    assert found["raw-input"].layer == "conv"
    assert "raw-input" not in kinds({"n": NORMALIZE, "conv": conv(4), **ENDING})


def test_indices_of_normalized_values_are_told() -> None:
    indices = ours("SpectralIndices")
    late = {"n": NORMALIZE, "indices": indices, "conv": conv(4), **ENDING}
    early = {"indices": indices, "n": NORMALIZE, "conv": conv(4), **ENDING}
    assert kinds(late)["indices-late"] == "indices"
    assert "indices-late" not in kinds(early)
