"""Filters told as dead or alike, in order, and what excites them, against numbers by hand."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import nn

from pipeline import probes
from pipeline.looks import census as counting
from pipeline.looks import excitement, filters
from pipeline.looks.base import Look
from pipeline.looks.census import Census, census
from pipeline.looks.filters import Marks, ordered
from pipeline.looks.layers import Sight, names
from pipeline.network import Network
from tests.networks import BLOCKS, CLASSES, HEAD, MEANS, NORM, NORMALIZE, RELU, conv, network, pool
from tests.test_looks import SECTION, look_of, untrained

# Strides, paddings, dilation and branches: what a place of a map sees is a different patch each.
DEEP: dict[str, dict[str, Any]] = {
    "chain": {"c1": conv(5, 5, stride=2, padding=1), "a1": RELU, "p1": pool(3, stride=2),
              "c2": conv(6, 3, padding=2, dilation=2), "a2": RELU},
    "same": {"c1": conv(4, 4, padding="same"), "p1": pool(2), "c2": conv(6, [1, 5], padding=[0, 2]),
             "n2": NORM, "a2": RELU},
    "branches": BLOCKS,
}  # fmt: skip


def _look(layers: dict[str, Any], folder: Path, **changes: Any) -> tuple[Look, Network]:
    torch.manual_seed(1)
    trained = untrained(network({"normalize": NORMALIZE, **layers, "m": MEANS, "fc": HEAD}), folder)
    return look_of(trained, folder / "out", **changes), trained.bundle.network


@pytest.mark.filterwarnings("ignore:Using padding='same' with even kernel")
@pytest.mark.parametrize("case", DEEP)
def test_pixels_outside_the_framed_patch_never_change_the_peak(case: str, tmp_path: Path) -> None:
    look, inside = _look(DEEP[case], tmp_path)
    layers = probes.convolutions(inside)
    found = census(look, layers)
    rng = np.random.default_rng(2)
    store = look.trained.store
    for layer, one in found.items():
        felt = 0
        for index in range(0, one.peaks.highest.shape[1], 3):
            tile = one.top(index, 1)[0]
            pixels = store.pixels("test", one.rows[[tile]]).astype(np.float32)
            box = one.patch(tile, index)
            assert box is not None
            patch = (slice(max(0, box[0]), box[1] + 1), slice(max(0, box[2]), box[3] + 1))
            other = rng.uniform(0, 255, pixels.shape).astype(np.float32)
            outside, within = other.copy(), pixels.copy()
            outside[0][patch], within[0][patch] = pixels[0][patch], other[0][patch]
            heard = probes.activations(
                inside, np.concatenate([pixels, outside, within]), [one.heard]
            )[one.heard]
            row, column = one.peaks.places[tile, index]
            values = heard[:, index, row, column]
            assert values[0] == pytest.approx(one.peaks.highest[tile, index], rel=1e-4)
            assert values[1] == pytest.approx(values[0], rel=1e-4, abs=1e-6), (layer, index)
            felt += not np.isclose(values[2], values[0], rtol=1e-4)
        assert felt > 0, layer  # the patch is what the answer hangs on


@pytest.mark.parametrize("side", ["top", "left", "bottom", "right"])
def test_the_framed_patch_is_no_larger_than_it_must_be(side: str, tmp_path: Path) -> None:
    """Of a place in the middle, each edge of the frame holds a pixel that counts."""
    look, inside = _look({"c1": conv(3, 3, stride=2), "p": pool(2), "c2": conv(2, 3)}, tmp_path)
    with torch.no_grad():
        for name in ("c1", "c2"):
            weight = inside.get_submodule(name).get_parameter("weight")
            weight.fill_(1.0)
    inside.get_submodule("p").forward = lambda x: nn.functional.avg_pool2d(x, 2)
    one = census(look, ["c2"])["c2"]
    box = one.patch_at(1, 1)
    assert box is not None
    top, bottom, left, right = box
    assert (top, bottom, left, right) == (4, 16, 4, 16)  # 3, then 5 wide at 4, then 13 wide
    pixel = {
        "top": (top, left + 2),
        "bottom": (bottom, left + 2),
        "left": (top + 2, left),
        "right": (top + 2, right),
    }
    pixels = np.zeros((2, 28, 28, 4), np.float32)
    pixels[1][pixel[side]] = 1000
    heard = probes.activations(inside, pixels, ["c2"])["c2"][:, 0, 1, 1]
    assert heard[1] > heard[0]


def test_a_census_is_what_the_layers_give(tmp_path: Path) -> None:
    look, inside = _look(DEEP["chain"], tmp_path, batch_size=2)
    store = look.trained.store
    one = census(look, ["c1", "c2"])["c2"]
    assert (one.heard, one.rectified) == ("a2", True)
    maps = probes.activations(inside, store.pixels("test"), ["a2"])["a2"]
    np.testing.assert_allclose(one.peaks.highest, maps.max(axis=(2, 3)), rtol=1e-4)
    np.testing.assert_allclose(one.peaks.means, maps.mean(axis=(2, 3)), rtol=1e-4)
    assert one.rows.tolist() == list(range(store.count("test")))
    for index in range(6):
        best = one.top(index, 3)
        assert one.peaks.highest[best[0], index] == one.peaks.highest[:, index].max()
        assert (np.diff(one.peaks.highest[best, index]) <= 0).all()


def test_of_many_tiles_some_evenly_spread_ones_are_counted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(counting, "TILES", 3)
    look, _ = _look({"c1": conv(2, 3)}, tmp_path)
    one = census(look, ["c1"])["c1"]
    assert one.rows.tolist() == [0, 3, 6]
    assert one.labels.tolist() == look.trained.store.labels("test")[[0, 3, 6]].tolist()
    assert (one.heard, one.rectified) == ("c1", False)


@pytest.mark.parametrize(
    ("layer", "own"),
    [("stem", None), ("block1.mixed.one", None), ("block1.mixed.three.reduce",
      "block1.mixed.three.act"),
     ("dense.layer1.conv", None), ("sum.b.conv", "sum.b.act")],
)  # fmt: skip
def test_a_filter_s_own_activation_is_one_that_nothing_joins_before(
    layer: str, own: str | None
) -> None:
    assert probes.own_activation(network({**BLOCKS, "m": MEANS, "fc": HEAD}), layer) == own


def _census(highest: NDArray[Any], rectified: bool = True) -> Census:
    shape = highest.shape
    peaks = probes.Peaks(highest, np.zeros((*shape, 2), np.int64), highest.clip(0))
    rows = np.arange(len(highest))
    return Census("conv1", "relu1", rectified, rows, rows * 0, peaks, None)


def _weights(rng: np.random.Generator) -> NDArray[np.float32]:
    weights = rng.normal(size=(7, 4, 3, 3)).astype(np.float32)
    weights[2] = 1e-5 * weights[0]  # next to nothing, and so like no other
    weights[4] = 3 * weights[1]
    weights[6] = -weights[3]
    return weights


def test_dead_filters_and_duplicates_are_marked_and_told() -> None:
    weights = _weights(np.random.default_rng(3))
    highest = np.ones((5, 7), np.float32)
    highest[:, 5] = -0.1
    marks = Marks.of(weights, _census(highest))
    assert (marks.faint, marks.silent) == ([2], [5])
    assert {(a, b) for a, b, _ in marks.pairs} == {(1, 4), (3, 6)}
    said = " ".join(marks.sentences(5))
    assert "Next to no weight in filter 2." in said
    assert "Dead: filter 5, never above 0 behind relu1 on 5 test tiles." in said
    assert "1 and 4 (1.00)" in said
    assert "3 and 6 (-1.00)" in said
    labels = [marks.label(i) for i in range(7)]
    assert labels == ["0", "1 ≈4", "2†", "3 ≈−6", "4 ≈1", "5†", "6 ≈−3"]  # noqa: RUF001
    unrectified = Marks.of(weights, _census(highest, rectified=False))
    assert unrectified.silent == []  # below 0 is as good as above it
    fresh = np.random.default_rng(4).normal(size=(5, 4, 3, 3))
    none = Marks.of(fresh, _census(highest[:, :5]))
    assert none.sentences(5) == ["No filter is dead, and no two are the same."]
    assert none.legend() == ""


def test_filters_without_any_weight_are_all_dead_and_alike_to_none() -> None:
    marks = Marks.of(np.zeros((3, 4, 3, 3)), _census(np.zeros((2, 3), np.float32)))
    assert marks.faint == [0, 1, 2]
    assert marks.pairs == []


def test_filters_are_ordered_by_norm_or_like_beside_like() -> None:
    rng = np.random.default_rng(5)
    centres = rng.normal(size=(3, 36))
    groups = np.array([0, 1, 2, 0, 1, 2, 0, 1, 2])
    flat = centres[groups] + 0.05 * rng.normal(size=(9, 36))
    weights = (flat * np.arange(1, 10)[:, None]).reshape(9, 4, 3, 3)
    by_norm = ordered(weights, "norm")
    norms = np.sqrt(np.square(weights).sum(axis=(1, 2, 3)))[by_norm]
    assert (np.diff(norms) <= 0).all()
    alike = groups[ordered(weights, "similarity")]
    assert (np.diff(alike) != 0).sum() == 2  # three groups, each in one piece
    assert sorted(ordered(weights, "similarity")) == list(range(9))
    two = ordered(weights[:2], "similarity")
    assert sorted(two) == [0, 1]
    dead = np.concatenate([weights, np.zeros((2, 4, 3, 3))])
    assert sorted(ordered(dead, "similarity")) == list(range(11))


def test_of_many_filters_the_largest_are_shown() -> None:
    weights = np.random.default_rng(6).normal(size=(80, 2, 3, 3))
    for sort in ("norm", "similarity"):
        assert sorted(ordered(weights, sort)) == sorted(probes.strongest(weights, 64))  # type: ignore[arg-type]


def test_selectivity_by_hand() -> None:
    # One class alone; all alike; silent; the mean of the others is (1 + 2) / 2 of 3: 1.5 / 4.5.
    means = np.array([[5.0, 2.0, 0.0, 3.0], [0.0, 2.0, 0.0, 1.0], [0.0, 2.0, 0.0, 2.0]])
    assert excitement.selectivity(means) == pytest.approx([1.0, 0.0, 0.0, 1 / 3])
    answers = np.array([[1.0, 0.0], [3.0, 2.0], [10.0, 4.0]], np.float32)
    found = excitement.by_class(answers, np.array([0, 0, 2]), 3)
    assert found.tolist() == [[2.0, 1.0], [0.0, 0.0], [10.0, 4.0]]


def test_what_a_layer_sees_is_told_as_an_inspector_lists_it(tmp_path: Path) -> None:
    layers = {"c1": conv(5, 3, padding=1, stride=2, bias=False), "a": RELU, "c2": conv(6, 3)}
    look, inside = _look(layers, tmp_path)
    told = {
        section.key: section.text for section in filters.sections(look, census(look, ["c1", "c2"]))
    }
    assert "Conv2d 3x3, stride 2, padding 1: weights 3x3x4x5, no bias." in told["filters-c1"]
    assert "red, green, blue, nir, which Normalize has centred and divided band by band" in told[
        "filters-c1"
    ]  # fmt: skip
    assert "Conv2d 3x3: weights 3x3x5x6, bias 1x1x6. It sees 5 maps" in told["filters-c2"]
    raw = network({"c": conv(3), "m": MEANS, "fc": HEAD})
    assert Sight.of(raw, "c").normalized == ""
    scaled = network({"n": {**NORMALIZE, "scale": False}, "c": conv(3), "m": MEANS, "fc": HEAD})
    assert "by one number" in Sight.of(scaled, "c").normalized
    apart = network({"c": conv(8, 3, groups=4), "m": MEANS, "fc": HEAD})
    assert Sight.of(apart, "c").channels == ("its own",)
    assert len(CLASSES) == len(inside.classes)


def test_the_last_layer_that_is_shown_is_not_a_large_one(tmp_path: Path) -> None:
    layers = {"c1": conv(80, 3), "c2": conv(9, 3), "c3": conv(70, 3), "c4": conv(5, 1)}
    look, _ = _look(layers, tmp_path)
    assert names(look.trained, SECTION) == ["c1", "c2"]
    assert names(look.trained, SECTION.model_copy(update={"layers": ["c4", "c1", "c4"]})) == [
        "c4", "c1",
    ]  # fmt: skip
