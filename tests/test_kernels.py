"""Kernels made by hand against textbooks, scipy and torch."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy import ndimage, signal
from torch import nn

from pipeline.errors import ConfigError
from pipeline.figures.kernels import told
from pipeline.kernels import KERNELS, PADDINGS, Padding, Slid, Slide, parse


@pytest.mark.parametrize("name", KERNELS)
def test_kernels_are_correlated_as_scipy_and_torch_do(name: str) -> None:
    band = np.random.default_rng(2).random((9, 7)).astype(np.float32)
    kernel = KERNELS[name]
    ours = Slide().apply(band, kernel)
    np.testing.assert_allclose(ours, ndimage.correlate(band, kernel, mode="nearest"), atol=1e-5)
    inner = Slide("valid").apply(band, kernel)
    np.testing.assert_allclose(inner, signal.correlate2d(band, kernel, "valid"), atol=1e-5)
    layer = nn.Conv2d(1, 1, 3, bias=False)
    with torch.no_grad():
        layer.weight.copy_(torch.from_numpy(kernel)[None, None])
        torch.testing.assert_close(
            layer(torch.from_numpy(band)[None, None])[0, 0], torch.from_numpy(inner)
        )


def test_kernels_do_what_they_are_named_for() -> None:
    step = np.repeat([[0, 0, 0, 10, 10, 10]], 6, axis=0)  # an edge from left to right
    flat = np.full((6, 6), 7)
    run = {name: Slide().apply(step, kernel) for name, kernel in KERNELS.items()}
    assert np.array_equal(run["identity"], step)
    assert run["sobel_x"].max() == 40
    assert not run["sobel_y"].any()
    assert run["box_blur"][3] == pytest.approx([0, 0, 10 / 3, 20 / 3, 10, 10])
    assert run["sharpen"].max() == 20
    for name in ("sobel_x", "sobel_y", "laplacian"):
        assert not Slide().apply(flat, KERNELS[name]).any()
    for name in ("identity", "box_blur", "gaussian_blur", "sharpen"):
        assert Slide().apply(flat, KERNELS[name]) == pytest.approx(flat)


def test_kernels_of_any_shape_keep_the_size_and_unsigned_bands_do_not_wrap() -> None:
    band = np.zeros((6, 5), dtype=np.uint8)
    band[3, 2] = 200
    assert Slide().apply(band, np.ones((2, 4))).shape == (6, 5)
    assert Slide().apply(band, KERNELS["laplacian"]).min() == -800
    with pytest.raises(ConfigError, match="no smaller"):
        Slide("valid").apply(band, np.ones((7, 7)))


def test_textbook_results() -> None:
    rows, columns = np.mgrid[:12, :10].astype(np.float64)
    plain, ramp = np.full((12, 10), 40.0), 3 * columns + 5 * rows + 7
    run = {name: Slide("valid") for name in KERNELS}
    valid = {name: slide.apply(ramp, KERNELS[name]) for name, slide in run.items()}
    for name in ("box_blur", "gaussian_blur"):
        assert Slide().apply(plain, KERNELS[name]) == pytest.approx(plain)
        assert valid[name] == pytest.approx(ramp[1:-1, 1:-1])  # a mean of a ramp is its middle
    assert valid["sobel_x"] == pytest.approx(np.full((10, 8), 8 * 3.0))  # 1 + 2 + 1, twice apart
    assert valid["sobel_y"] == pytest.approx(np.full((10, 8), 8 * 5.0))
    assert valid["laplacian"] == pytest.approx(np.zeros((10, 8)), abs=1e-4)
    bowl = rows**2 + columns**2
    assert Slide("valid").apply(bowl, KERNELS["laplacian"]) == pytest.approx(np.full((10, 8), 4.0))
    assert np.array_equal(Slide().apply(ramp, KERNELS["identity"]), ramp)


def test_a_box_blur_is_scipy_s_uniform_filter_and_sobel_is_scipy_s() -> None:
    band = np.random.default_rng(3).random((11, 13))
    expected = ndimage.uniform_filter(band, 3, mode="nearest")
    np.testing.assert_allclose(Slide().apply(band, KERNELS["box_blur"]), expected, atol=1e-6)
    for axis, name in ((0, "sobel_y"), (1, "sobel_x")):
        expected = ndimage.sobel(band, axis, mode="nearest")
        np.testing.assert_allclose(Slide().apply(band, KERNELS[name]), expected, atol=1e-5)


def test_sharpening_is_the_band_less_its_laplacian() -> None:
    band = np.random.default_rng(4).random((9, 9))
    expected = band - Slide().apply(band, KERNELS["laplacian"])
    np.testing.assert_allclose(Slide().apply(band, KERNELS["sharpen"]), expected, atol=1e-5)


@pytest.mark.parametrize("kernel", [(3, 3), (2, 4), (1, 5), (4, 2)])
@pytest.mark.parametrize("stride", [1, 2, 3])
@pytest.mark.parametrize("dilation", [1, 2])
@pytest.mark.parametrize("padding", PADDINGS)
def test_strides_and_dilations_are_those_of_torch(
    kernel: tuple[int, int], stride: int, dilation: int, padding: Padding
) -> None:
    rng = np.random.default_rng(5)
    band, weights = rng.random((10, 11)), rng.normal(size=kernel).astype(np.float32)
    slide = Slide(padding, stride, dilation)
    ours = slide.apply(band, weights)
    assert ours.shape == slide.size(band.shape, weights)
    x = torch.from_numpy(band.astype(np.float32))[None, None]
    if padding != "valid":
        spans = [dilation * (side - 1) for side in kernel]
        sides = [part for span in reversed(spans) for part in (span // 2, span - span // 2)]
        x = nn.functional.pad(x, sides, "replicate" if padding == "same" else "constant")
    mask = torch.from_numpy(weights)[None, None]
    theirs = nn.functional.conv2d(x, mask, stride=stride, dilation=dilation)[0, 0]
    np.testing.assert_allclose(ours, theirs.numpy(), atol=1e-5)
    odd = all(side % 2 for side in kernel)
    if padding == "zeros" and stride == 1 and odd:  # as a layer with padding="same" has it
        whole = torch.from_numpy(band.astype(np.float32))[None, None]
        layer = nn.functional.conv2d(whole, mask, padding="same", dilation=dilation)[0, 0]
        np.testing.assert_allclose(ours, layer.numpy(), atol=1e-5)


@pytest.mark.parametrize("padding", PADDINGS)
def test_a_window_told_in_numbers_is_what_the_answer_is_made_of(padding: Padding) -> None:
    rng = np.random.default_rng(6)
    band, kernel = rng.integers(0, 200, (9, 8)), rng.normal(size=(3, 2)).astype(np.float32)
    slide = Slide(padding, 2, 2)
    answer = slide.apply(band, kernel)
    for place in np.ndindex(*answer.shape):
        slid = Slid("own", kernel, band, slide, place)
        assert float(slid.products.sum()) == pytest.approx(float(answer[place]), rel=1e-4, abs=1e-3)
        row, column = slid.start
        for (i, j), value in np.ndenumerate(slid.window):
            y, x = row + 2 * i, column + 2 * j
            if 0 <= y < 9 and 0 <= x < 8:
                assert value == band[y, x]
            elif padding == "zeros":
                assert value == 0
            else:
                assert padding == "same"
                assert value == band[min(max(y, 0), 8), min(max(x, 0), 7)]
    peak = Slid.peak("own", kernel, band, slide)
    assert abs(answer[peak.place]) == np.abs(answer).max()


def test_sums_that_are_no_numbers_are_refused() -> None:
    kernel = np.full((2, 2), 1e38, np.float32)
    with pytest.raises(ConfigError, match=r"below 3\.4e38, got up to 1e\+38 for values up to 255"):
        Slide("valid").apply(np.full((4, 4), 255.0, np.float32), kernel)


@pytest.mark.parametrize(
    ("text", "wrong"),
    [
        ("[[1, 2], [3]]", True), ("[1, 2]", True), ("sobel", True), ("[[]]", True), ("[]", True),
        ("[['1']]", True), ('[["1"]]', True), ("[[true]]", True), ("[[NaN]]", True), ("3", True),
        ("[[1e300, 1]]", True),
        ("[[1, 0, -1]]", False), ("[[0.5]]", False),
    ],
)  # fmt: skip
def test_a_matrix_is_rows_of_numbers(text: str, wrong: bool) -> None:
    if wrong:
        with pytest.raises(ConfigError, match=r"rows of numbers.*--matrix"):
            parse(text)
    else:
        assert parse(text).ndim == 2
        assert parse("[[1,0,-1],[2,0,-2]]").tolist() == [[1, 0, -1], [2, 0, -2]]


@pytest.mark.parametrize(
    ("value", "text"),
    [(3.0, "3"), (-2, "-2"), (1 / 9, "1/9"), (0, "0"), (-0.25, "-1/4"), (0.123456, "0.1235"),
     (12345.0, "12345"), (65535.0, "65535"), (2.5e-7, "2.5e-07")],
)  # fmt: skip
def test_numbers_are_told_in_few_letters(value: float, text: str) -> None:
    assert told(value) == text.replace("-", "\N{MINUS SIGN}")


def test_a_kernel_that_spans_more_than_the_band_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"got 5 x 5 pixels .* spans 7 x 7 at a dilation of 3"):
        Slide("same", 1, 3).apply(np.zeros((5, 5)), KERNELS["sobel_x"])
