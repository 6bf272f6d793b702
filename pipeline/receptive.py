"""What a position of a map sees of the tile: receptive fields by intervals of pixels.

The recurrence of Araujo, Norris and Sim 2019, https://distill.pub/2019/computing-receptive-fields/,
runs here on intervals instead of their lengths: which positions of its input a layer looks at, and
through these which pixels. Branches that join then see what any of them sees, shifted or not, and
an upsampling, behind which neighbours see unequally much, needs no formula of its own.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from math import lcm
from typing import NamedTuple

from torch import nn

from pipeline.composites import Chain, Composite, Dense, Parallel, Residual
from pipeline.layers import GlobalAvgPool, GlobalMaxPool
from pipeline.network import geometry
from pipeline.pretrained import origin
from pipeline.wording import TRANSPOSED

Shape = tuple[int, ...]
Reach = Callable[[int, int], tuple[int, int]]  # positions first to last -> pixels first to last
WHOLE = (nn.Linear, GlobalAvgPool, GlobalMaxPool)  # what lies behind sees all
ADAPTIVE = (nn.AdaptiveAvgPool2d, nn.AdaptiveMaxPool2d)


class Passed(NamedTuple):
    """Shapes of what went into a layer and of what came out of it, without the batch."""

    input: Shape
    output: Shape


@dataclass(frozen=True)
class View:
    """What the positions of a map see along one axis; the tile's edge cuts nothing off."""

    reach: Reach
    stride: float  # pixels from one position to the next; below 1 behind an upsampling
    phases: int  # positions after which what they see repeats itself, shifted
    size: int  # positions there are

    @property
    def field(self) -> int:
        """Pixels that one position sees, at most."""
        seen = [self.reach(i, i) for i in range(min(self.phases, self.size))]
        return max(last - first + 1 for first, last in seen)


def views(
    network: nn.Module, passed: Mapping[nn.Module, Passed], tile_size: int, axis: int
) -> dict[nn.Module, View]:
    """View behind every layer that a tile passes, composites included.

    Args:
        network: A chain of layers.
        passed: Shapes at every layer.
        tile_size: Pixels of the tile.
        axis: 0 down, 1 across.
    """
    found: dict[nn.Module, View] = {}
    _look(network, View(lambda first, last: (first, last), 1, 1, tile_size), passed, axis, found)
    return found


def _look(
    module: nn.Module,
    before: View,
    passed: Mapping[nn.Module, Passed],
    axis: int,
    found: dict[nn.Module, View],
) -> View:
    """View behind a layer, and of all layers inside it, from the view before it."""

    def inside(layer: nn.Module, start: View) -> View:
        return _look(layer, start, passed, axis, found)

    after = before
    if isinstance(module, Parallel):
        after = _any_of([inside(branch, before) for branch in module.children()])
    elif isinstance(module, Residual):
        shortcut = before
        for name, layer in module.named_children():
            if name == "projection":
                shortcut = inside(layer, before)
            else:
                after = inside(layer, after)
        after = _any_of([after, shortcut])
    elif isinstance(module, Dense):
        for layer in module.children():
            after = _any_of([after, inside(layer, after)])
    elif isinstance(module, Chain):
        for layer in module.children():
            after = inside(layer, after)
    elif module in passed and not isinstance(module, Composite):
        after = _behind(module, before, passed[module], axis)
    found[module] = after
    return after


def _any_of(views: Sequence[View]) -> View:
    """What a position sees through any of several branches."""

    @cache
    def reach(first: int, last: int) -> tuple[int, int]:
        seen = [view.reach(first, last) for view in views]
        return min(low for low, _ in seen), max(high for _, high in seen)

    return replace(views[0], reach=reach, phases=lcm(*(view.phases for view in views)))


def _behind(module: nn.Module, before: View, passed: Passed, axis: int) -> View:
    """View behind a layer that holds no others."""
    size = passed.output[1 + axis] if len(passed.output) == 3 else before.size
    if (isinstance(module, WHOLE) or origin(module)) and len(passed.output) == 1:
        low, high = before.reach(0, before.size - 1)
        return View(lambda first, last: (low, high), before.stride * before.size, 1, 1)
    if isinstance(module, nn.Unflatten) and len(passed.output) == 3:
        return View(before.reach, before.stride / size, 1, size)
    steps = _steps(module, before, size, axis)
    if steps is None:
        return replace(before, size=size)
    towards, stride, phases = steps

    @cache
    def reach(first: int, last: int) -> tuple[int, int]:
        return before.reach(*towards(first, last))

    return View(reach, before.stride * stride, before.phases * phases, size)


def _steps(
    module: nn.Module, before: View, size: int, axis: int
) -> tuple[Reach, float, int] | None:
    """Positions of its input that a layer looks at, its stride, and its phases."""
    given = before.size
    if isinstance(module, nn.Upsample):
        return _mixing(module.mode, given, size), given / size, size
    if isinstance(module, ADAPTIVE):
        return (
            lambda first, last: (first * given // size, -(-(last + 1) * given // size) - 1),
            given / size,
            size,
        )
    if isinstance(module, nn.PixelShuffle):
        up = module.upscale_factor
        return lambda first, last: (first // up, last // up), 1 / up, up
    if isinstance(module, nn.PixelUnshuffle):
        down = module.downscale_factor
        return lambda first, last: (first * down, last * down + down - 1), down, 1
    return _sliding(module, axis) if hasattr(module, "kernel_size") else None


def _mixing(mode: str, given: int, size: int) -> Reach:
    """Of an upsampling: neighbours are mixed, one on each side of where a position falls.

    A cubic mixes two on each side, and ``nearest`` none.
    """
    if mode.startswith("nearest"):
        return lambda first, last: (first * given // size, last * given // size)
    more = 1 if mode == "bicubic" else 0

    def floor(position: int) -> int:
        return ((2 * position + 1) * given - size) // (2 * size)

    return lambda first, last: (floor(first) - more, floor(last) + 1 + more)


def _sliding(module: nn.Module, axis: int) -> tuple[Reach, float, int]:
    """Of a convolution or a pooling."""
    kernel, stride, padding, dilation = geometry(module, axis)
    start, end = -padding, dilation * (kernel - 1) - padding  # of the window of position 0
    if isinstance(module, TRANSPOSED):
        # The windows lie on the output: those of positions from p to q reach first to last.
        return (
            lambda first, last: (-(-(first - end) // stride), (last - start) // stride),
            1 / stride,
            stride,
        )
    return lambda first, last: (first * stride + start, last * stride + end), stride, 1
