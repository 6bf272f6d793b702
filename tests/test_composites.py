from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

from pipeline.errors import NetworkError
from pipeline.layers import DepthwiseSeparable, SpectralIndices
from pipeline.network import Network, build
from pipeline.types import Bands, Classes

BANDS = Bands(("red", "green", "blue", "nir"))
CLASSES = Classes(("land", "water", "road"))


def torch_layer(kind: str, /, **given: Any) -> dict[str, Any]:
    return {"_target_": f"torch.nn.{kind}", **given}


def own(kind: str, /, **given: Any) -> dict[str, Any]:
    return {"_target_": f"pipeline.layers.{kind}", **given}


def conv(filters: int, kernel: int = 3, **given: Any) -> dict[str, Any]:
    return torch_layer("Conv2d", out_channels=filters, kernel_size=kernel, **given)


INPLACE = torch_layer("ReLU", inplace=True)
END = {"pool": own("GlobalAvgPool"), "fc": torch_layer("Linear")}


def network(size: int = 12, /, **layers: Any) -> Network:
    return build({**layers, **END}, bands=BANDS, classes=CLASSES, tile_size=size)


def run(made: Network, name: str, x: torch.Tensor) -> torch.Tensor:
    with torch.no_grad():
        out: torch.Tensor = made.get_submodule(name)(x)
    return out


X = torch.randn(2, 4, 12, 12, generator=torch.Generator().manual_seed(0))


def test_residual_adds_its_input() -> None:
    made = network(block=own("Residual", conv=conv(4, padding=1)))
    body = made.get_submodule("block.conv")
    assert torch.equal(run(made, "block", X), body(X) + X)
    assert [name for name, _ in made.get_submodule("block").named_children()] == ["conv"]


def test_residual_projects_where_channels_and_size_change() -> None:
    made = network(block=own("Residual", conv=conv(6, stride=2, padding=1)))
    projection = made.get_submodule("block.projection")
    assert isinstance(projection, nn.Conv2d)
    assert (projection.kernel_size, projection.stride) == ((1, 1), (2, 2))
    body = made.get_submodule("block.conv")
    assert torch.equal(run(made, "block", X), body(X) + projection(X))


def test_residual_takes_a_projection_of_ones_own() -> None:
    pooled = {"pool": torch_layer("AvgPool2d", kernel_size=2), "conv": conv(6, 1)}
    made = network(block=own("Residual", conv=conv(6, stride=2, padding=1), projection=pooled))
    assert made.get_submodule("block.projection.conv").get_parameter("weight").shape == (6, 4, 1, 1)


def test_parallel_concatenates_in_the_order_of_its_branches() -> None:
    made = network(
        fork=own("Parallel", one=conv(2, 1), three=dict(a=conv(3, 1), b=conv(5, padding=1)))
    )
    out = run(made, "fork", X)
    assert out.shape == (2, 7, 12, 12)
    assert torch.equal(out[:, :2], run(made, "fork.one", X))
    assert torch.equal(out[:, 2:], run(made, "fork.three", X))


def test_parallel_adds() -> None:
    made = network(fork=own("Parallel", join="add", one=conv(5, 1), three=conv(5, padding=1)))
    expected = run(made, "fork.one", X) + run(made, "fork.three", X)
    assert torch.equal(run(made, "fork", X), expected)


def test_dense_shows_each_layer_all_that_came_before() -> None:
    made = network(dense=own("Dense", a=conv(3, padding=1), b=conv(2, padding=1)))
    first = torch.cat([X, run(made, "dense.a", X)], dim=1)
    expected = torch.cat([first, run(made, "dense.b", first)], dim=1)
    assert torch.equal(run(made, "dense", X), expected)
    assert expected.shape[1] == 4 + 3 + 2


def test_a_mapping_without_a_target_is_a_chain() -> None:
    made = network(body={"conv": conv(3), "act": torch_layer("ReLU")})
    assert [name for name, _ in made.named_parameters()][:2] == [
        "body.conv.weight",
        "body.conv.bias",
    ]
    assert run(made, "body", X).min() == 0


def test_depthwise_separable_against_its_formula() -> None:
    layer = DepthwiseSeparable(16, 32, kernel_size=5, bias=False)
    assert sum(p.numel() for p in layer.parameters()) == 5 * 5 * 16 + 16 * 32
    x = torch.randn(1, 16, 9, 9)
    assert layer(x).shape == (1, 32, 9, 9)
    # Full rank one: the same as one convolution whose kernels are products of the two steps.
    whole = layer.pointwise.weight * layer.depthwise.weight[:, 0][None]
    expected = nn.functional.conv2d(x, whole, padding=2)
    torch.testing.assert_close(layer(x), expected, rtol=1e-4, atol=1e-5)


def test_spectral_indices_by_hand() -> None:
    layer = SpectralIndices(BANDS.names)
    pixel = torch.tensor([50.0, 60.0, 10.0, 150.0])[None, :, None, None]
    ndvi, ndwi = (150 - 50) / 200, (60 - 150) / 210
    torch.testing.assert_close(layer(pixel).flatten()[4:], torch.tensor([ndvi, ndwi]))
    assert layer(torch.zeros(1, 4, 1, 1)).flatten()[4:].tolist() == [0, 0]


def test_spectral_indices_stay_indices_where_values_are_below_0() -> None:
    # Red -9.99 and near infrared 10 add up to 0.01: their ratio would be 1999.
    pixel = torch.tensor([-9.99, 12.0, 0.0, 10.0])[None, :, None, None]
    found = SpectralIndices(BANDS.names)(pixel).flatten()[4:]
    torch.testing.assert_close(found, torch.tensor([1.0, 2 / 22]))


def test_spectral_indices_of_ones_own_and_their_channels() -> None:
    indices = own("SpectralIndices", indices={"gr": ["green", "red"]})
    made = network(indices=indices, normalize=own("Normalize"), conv=conv(3))
    assert made.get_parameter("conv.weight").shape[1] == 5
    assert made.get_submodule("indices")(X * 0 + 1).shape[1] == 5


def test_indices_pass_normalization_as_they_are() -> None:
    layers = {
        "indices": own("SpectralIndices"),
        "normalize": own("Normalize"),
        "conv": conv(3),
        **END,
    }
    made = build(layers, bands=BANDS, classes=CLASSES, tile_size=12, mean=[9.0] * 4, std=[2.0] * 4)
    pixels = torch.full((1, 4, 12, 12), 9.0)
    pixels[:, 3] = 27.0
    seen = made.get_submodule("normalize")(made.get_submodule("indices")(pixels))[0, :, 0, 0]
    assert seen.tolist() == [0, 0, 0, 9, 0.5, -0.5]


def test_null_drops_a_layer_at_any_depth_and_in_what_is_kept() -> None:
    made = network(block=own("Residual", conv=conv(4, padding=1), act=None), other=None)
    assert made.spec["block"] == own("Residual", conv=conv(4, padding=1))
    assert "other" not in made.spec


def test_building_leaves_no_trace_in_batch_norms() -> None:
    norm = torch_layer("BatchNorm2d")
    made = network(fork=own("Parallel", a=dict(c=conv(2, 1), n=norm), b=dict(c=conv(2, 1), n=norm)))
    for name in ("fork.a.n", "fork.b.n"):
        assert made.get_buffer(f"{name}.running_mean").tolist() == [0, 0]
        assert int(made.get_buffer(f"{name}.num_batches_tracked")) == 0
    assert all(module.training for module in made.modules())


FAULTS: dict[str, tuple[dict[str, Any], str]] = {
    "do not add": (
        {"block": own("Residual", conv=conv(8))},
        r"Layer 'block': expected shapes that add, got \(N, 8, 10, 10\) from the body and "
        r"\(N, 8, 12, 12\) beside it; pad",
    ),
    "do not concatenate": (
        {"fork": own("Parallel", one=conv(8, 1), three=conv(8))},
        r"Layer 'fork': expected branches that concatenate, got \(N, 8, 12, 12\) from one, "
        r"\(N, 8, 10, 10\) from three",
    ),
    "branches do not add": (
        {"fork": own("Parallel", join="add", one=conv(8, 1), three=conv(4, padding=1))},
        r"Layer 'fork': expected branches that add, got \(N, 8, 12, 12\) from one, \(N, 4",
    ),
    "join": (
        {"fork": own("Parallel", join="stack", one=conv(8, 1))},
        r"Layer 'fork': Parallel refuses its arguments: join is concat or add, got 'stack'",
    ),
    "dense shrinks": (
        {"dense": own("Dense", a=conv(8))},
        r"Layer 'dense': expected a to keep the size of \(N, 4, 12, 12\), got \(N, 8, 10, 10\)",
    ),
    "inner argument": (
        {"block": own("Residual", conv={**conv(8), "strid": 2})},
        r"Layer 'block\.conv': Conv2d takes no argument 'strid'\. Did you mean 'stride'\?",
    ),
    "inner target": (
        {"body": {"a": {"b": {"_target_": "torch.nn.Conv2"}}}},
        r"Layer 'body\.a\.b': Expected a layer of torch\.nn, got 'torch\.nn\.Conv2'\. Did you mean",
    ),
    "inner kernel": (
        {"body": {"conv": conv(4, 15, padding=1)}},
        r"Layer 'body\.conv': does not fit its input \(N, 4, 12, 12\): its kernel spans 15 x 15 "
        r"and is larger than the 14 x 14",
    ),
    "nothing inside": (
        {"block": own("Residual")},
        r"Layer 'block': expected layers inside Residual",
    ),
    "takes no layers": (
        {"dw": own("DepthwiseSeparable", out_channels=4, act=torch_layer("ReLU"))},
        r"Layer 'dw': DepthwiseSeparable takes no layers, got act",
    ),
    "missing band": (
        {"indices": own("SpectralIndices", indices={"ndre": ["nir", "rededge"]})},
        r"Layer 'indices': .*ndre needs the band rededge, got red, green, blue, nir",
    ),
    "unknown index": (
        {"indices": own("SpectralIndices", indices=["evi"])},
        r"Layer 'indices': .*expected two bands for the index 'evi'",
    ),
    "indices too late": (
        {"conv": conv(7), "indices": own("SpectralIndices")},
        r"Layer 'indices': expected the 4 bands of the tile, got \(N, 7, 10, 10\)",
    ),
    "in place in a residual": (
        {"c": conv(4, 1), "block": own("Residual", act=INPLACE, conv=conv(4, 1))},
        r"Layer 'block': expected act to leave its input as it is, .*drop inplace",
    ),
    "in place in a branch": (
        {"c": conv(4, 1), "fork": own("Parallel", one={"act": INPLACE}, two=conv(4, 1))},
        r"Layer 'fork': expected one to leave its input as it is",
    ),
    "in place in a dense block": (
        {"c": conv(4, 1), "dense": own("Dense", one={"act": INPLACE, "conv": conv(4, 1)})},
        r"Layer 'dense': expected one to leave its input as it is",
    ),
    "values of arguments": (
        {"c": {**conv(4), "out_channels": "abc"}},
        r"Layer 'c': Conv2d refuses its arguments: .*out_channels='abc'",
    ),
    "a number for a layer": ({"body": {"a": 3}}, r"Layer 'body': expected a _target_"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_faults_name_the_layer_by_its_dotted_name(fault: str) -> None:
    layers, message = FAULTS[fault]
    with pytest.raises(NetworkError, match=message) as found:
        network(**layers)
    assert str(found.value).count("Layer '") == 1
    assert "\n" not in str(found.value)


def test_a_projection_of_ones_own_is_never_replaced() -> None:
    identity = {"_target_": "torch.nn.Identity"}
    with pytest.raises(NetworkError, match=r"\(N, 8, 12, 12\) from the body and \(N, 4, 12, 12\)"):
        network(block=own("Residual", conv=conv(8, padding=1), projection=identity))


def test_in_place_is_free_where_no_other_sees_the_input() -> None:
    body = {"conv": conv(4, padding=1), "act": INPLACE, "conv2": conv(4, padding=1)}
    made = network(block=own("Residual", **body))
    assert [name for name, _ in made.get_submodule("block").named_children()] == list(body)
