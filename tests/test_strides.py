from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as some
from torch import nn

from pipeline.strides import Misfit, misfit


def seen(size: int, span: int, stride: int, padding: int) -> tuple[int, list[bool]]:
    """Size of the output, and which positions of the input any window covers."""
    layer = nn.Conv1d(1, 1, span, stride, padding, bias=False)
    nn.init.ones_(layer.weight)
    pixels = torch.zeros(1, 1, size, requires_grad=True)
    output = layer(pixels)
    (gradient,) = torch.autograd.grad(output.sum(), pixels)
    return output.shape[2], (gradient[0, 0] > 0).tolist()


@given(
    size=some.integers(1, 40),
    kernel=some.integers(1, 5),
    stride=some.integers(1, 5),
    padding=some.integers(0, 3),
    dilation=some.integers(1, 3),
)
def test_what_is_lost_is_what_no_window_covers(
    size: int, kernel: int, stride: int, padding: int, dilation: int
) -> None:
    span = dilation * (kernel - 1) + 1
    if size + 2 * padding < span or padding > span // 2:
        return
    out, covered = seen(size, span, stride, padding)
    found = misfit(size, out, kernel, stride, padding, dilation, most=span - 1)
    behind = covered[::-1].index(True) if True in covered else size
    if found is None:
        # What is left is less than what the stride skips everywhere.
        assert (size - span + 2 * padding) % stride == 0 or behind <= max(0, stride - span)
    else:
        assert found.lost == behind
        _fits(found)


def _fits(found: Misfit) -> None:
    """What is suggested leaves nothing over, and no nearer padding or stride would fit."""
    for padding in found.paddings:
        assert (found.size - found.span + 2 * padding) % found.stride == 0
    for stride in found.strides:
        assert stride > 1
        assert (found.size - found.span + 2 * found.padding) % stride == 0
    if found.paddings:
        away = abs(found.paddings[0] - found.padding)
        assert all(abs(padding - found.padding) >= away for padding in found.paddings)


def test_ceil_mode_leaves_nothing_over() -> None:
    assert nn.MaxPool2d(3, 3, ceil_mode=True)(torch.zeros(1, 1, 26, 26)).shape[2] == 9
    assert misfit(26, 9, kernel=3, stride=3, padding=0, dilation=1, most=1) is None


def test_the_sentence_tells_the_arithmetic_of_a_dilated_kernel() -> None:
    found = misfit(10, 3, kernel=3, stride=2, padding=0, dilation=2, most=4)
    assert found is not None
    assert found.text("rows").startswith(
        "(10 - 5 + 2 x 0) / 2 = 2.50 is not whole, where 5 = 2 x (3 - 1) + 1: the last 1 row of its"
    )


def test_where_only_padding_is_left_over_nothing_is_lost() -> None:
    found = misfit(28, 14, kernel=3, stride=2, padding=1, dilation=1, most=2)
    assert found is not None
    assert (found.left, found.lost) == (1, 0)
    assert "No pixel is lost" in found.text("rows", "columns")


@pytest.mark.parametrize(
    ("size", "said"), [(26, "fits, but stride 1"), (25, "Padding 1 would fit")]
)
def test_only_what_fits_is_suggested(size: int, said: str) -> None:
    found = misfit(size, (size - 3) // 3 + 1, kernel=3, stride=3, padding=0, dilation=1, most=1)
    assert found is not None
    assert said in found.text("rows").replace("Padding 1 or stride 2", "Padding 1")
