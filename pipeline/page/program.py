"""A network as steps that a script can run: each names its inputs, its weights, its numbers.

Composites come apart: what is left is layers in the order in which they run, and where branches
come together. A layer that the script does not know, or whose weights are too many, or too slow, is
``stored``: its outputs come with the page, for some tiles, and the steps behind go on from them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from pipeline.composites import Chain, Dense, Parallel, Residual
from pipeline.layers import GlobalAvgPool, GlobalMaxPool, LinearToMap, Normalize, SpectralIndices

if TYPE_CHECKING:
    from torch import nn

    from pipeline.network import Network

TILE = -1  # as an input: the raw pixels
WEIGHTS = 750_000  # numbers that a page holds
MACS = 400e6  # of a tile; a script does some 500 million a second
JOINS = ("add", "concat")
# Activations of torch.nn without arguments.
PLAIN = ("ReLU", "ReLU6", "Tanh", "Sigmoid", "SiLU", "Hardswish", "Mish")
SAME = ("Dropout", "Dropout2d", "Identity", "Flatten")  # numbers stay as they are

Arrays = dict[str, NDArray[np.float32]]


@dataclass(frozen=True)
class Step:
    """One layer, or a place where branches come together."""

    name: str  # of its module; of a join inside a dense block, the layer's whose output it takes
    op: str
    inputs: tuple[int, ...]  # numbers of the steps before, or TILE
    arrays: Arrays = field(default_factory=dict)
    facts: dict[str, Any] = field(default_factory=dict)
    shape: tuple[int, ...] = ()  # of its output, (C, H, W) or (F,)
    inner: bool = False  # a join that no module stands for

    @property
    def weights(self) -> int:
        """Numbers that it needs."""
        return sum(array.size for array in self.arrays.values())

    @property
    def macs(self) -> int:
        """Multiply-accumulates, of those layers that have many."""
        if self.op not in ("conv", "transposed", "linear"):
            return 0
        weight = self.arrays["weight"]
        return int(weight.size * np.prod(self.shape[1:]))

    def kept(self) -> Step:
        """The same as one whose outputs are stored."""
        return replace(self, op="stored", arrays={}, facts={"was": self.op})


def program(network: Network, weights: int = WEIGHTS, macs: float = MACS) -> list[Step]:
    """Steps of a network, within these limits."""
    steps: list[Step] = []
    _walk("", network, TILE, steps)
    shapes = _shapes(network, [step.name for step in steps if not step.inner])
    steps = _with_shapes(steps, shapes, network.input_shape)
    steps = _lighter(steps, lambda step: step.weights, weights)
    return _lighter(steps, lambda step: step.macs, macs)


def _lighter(steps: list[Step], cost: Callable[[Step], int], most: float) -> list[Step]:
    """The same with the heaviest stored, until the others are within the limit."""
    left = list(steps)
    for i in sorted(range(len(left)), key=lambda i: -cost(left[i])):
        if sum(map(cost, left)) <= most:
            break
        left[i] = left[i].kept()
    return left


def _walk(name: str, module: nn.Module, entry: int, steps: list[Step]) -> int:
    """Append the steps of a module that gets the output of ``entry``; its own output's number."""

    def inside(key: str, child: nn.Module, start: int) -> int:
        return _walk(f"{name}.{key}" if name else key, child, start, steps)

    def joined(op: str, inputs: Sequence[int], *, inner: str = "") -> int:
        steps.append(Step(inner or name, op, tuple(inputs), inner=bool(inner)))
        return len(steps) - 1

    children = list(module.named_children())
    if isinstance(module, Parallel):
        op = "concat" if module.join == "concat" else "add"
        return joined(op, [inside(key, child, entry) for key, child in children])
    if isinstance(module, Residual):
        body, shortcut = entry, entry
        for key, child in children:
            if key == "projection":
                shortcut = inside(key, child, entry)
            else:
                body = inside(key, child, body)
        return joined("add", [body, shortcut])
    if isinstance(module, Dense):
        seen = entry
        for key, child in children:
            last = key == children[-1][0]
            own = inside(key, child, seen)
            seen = joined("concat", [seen, own], inner="" if last else f"{name}.{key}")
        return seen
    if isinstance(module, Chain):
        for key, child in children:
            entry = inside(key, child, entry)
        return entry
    op, arrays, facts = known(module)
    steps.append(Step(name, op, (entry,), arrays, facts))
    return len(steps) - 1


def known(module: nn.Module) -> tuple[str, Arrays, dict[str, Any]]:
    """What a layer does, its weights and its numbers; ``stored`` for what no script does."""
    from torch import nn

    kind = type(module).__name__
    theirs = type(module).__module__.startswith("torch.nn.modules")
    if isinstance(module, Normalize):
        return "normalize", _arrays(mean=module.mean, deviation=module.deviation), {}
    if isinstance(module, SpectralIndices):
        return "indices", {}, {"over": module.over, "under": module.under}
    if isinstance(module, GlobalAvgPool | GlobalMaxPool):
        return ("mean" if kind == "GlobalAvgPool" else "most"), {}, {}
    if isinstance(module, nn.Conv2d | nn.ConvTranspose2d):
        return _convolution(module)
    if isinstance(module, nn.Linear) and (theirs or isinstance(module, LinearToMap)):
        return "linear", _arrays(weight=module.weight, bias=module.bias), {}
    if theirs and kind == "BatchNorm2d":
        return _normalization(module)
    if theirs and kind in ("MaxPool2d", "AvgPool2d"):
        return _pooling(module)
    if theirs and kind == "Upsample" and module.mode == "nearest":
        return "nearest", {}, {}
    if theirs and kind in SAME and getattr(module, "start_dim", 1) == 1:
        return ("flatten" if kind == "Flatten" else "same"), {}, {}
    return _activation(module, kind) if theirs else ("stored", {}, {})


def _arrays(**tensors: Any) -> Arrays:
    return {
        name: tensor.detach().float().cpu().numpy().copy()
        for name, tensor in tensors.items()
        if tensor is not None
    }


def _convolution(module: Any) -> tuple[str, Arrays, dict[str, Any]]:
    from torch import nn

    from pipeline.network import geometry

    if module.padding_mode != "zeros":
        return "stored", {}, {}
    both = [geometry(module, axis) for axis in (0, 1)]
    facts = {
        key: [along[place] for along in both]
        for place, key in enumerate(("kernel", "stride", "padding", "dilation"))
    }
    transposed = isinstance(module, nn.ConvTranspose2d)
    arrays = _arrays(weight=module.weight, bias=module.bias)
    return "transposed" if transposed else "conv", arrays, {**facts, "groups": module.groups}


def _normalization(module: Any) -> tuple[str, Arrays, dict[str, Any]]:
    """A batch norm as it is after training: (x - mean) / root of the variance, scaled, shifted."""
    if module.running_mean is None:
        return "stored", {}, {}
    mean, variance = module.running_mean.double(), module.running_var.double()
    scale = 1 / (variance + module.eps).sqrt()
    shift = -mean * scale
    if module.weight is not None:
        scale, shift = scale * module.weight, shift * module.weight + module.bias
    return "affine", _arrays(scale=scale, shift=shift), {}


def _pooling(module: Any) -> tuple[str, Arrays, dict[str, Any]]:
    from pipeline.network import geometry

    both = [geometry(module, axis) for axis in (0, 1)]
    facts: dict[str, Any] = {
        key: [along[place] for along in both]
        for place, key in enumerate(("kernel", "stride", "padding", "dilation"))
    }
    if type(module).__name__ == "MaxPool2d":
        return "maxpool", {}, facts
    if module.divisor_override is not None:
        return "stored", {}, {}
    return "avgpool", {}, {**facts, "padded": module.count_include_pad}


def _activation(module: Any, kind: str) -> tuple[str, Arrays, dict[str, Any]]:
    facts: dict[str, Any] = {"function": kind}
    if kind == "LeakyReLU":
        facts["slope"] = module.negative_slope
    elif kind == "ELU":
        facts["slope"] = module.alpha
    elif kind == "GELU":
        facts["tanh"] = module.approximate == "tanh"
    elif kind == "Softplus" and module.beta == 1:
        pass
    elif kind not in PLAIN:
        return "stored", {}, {}
    return "activation", {}, facts


def _shapes(network: Network, names: list[str]) -> dict[str, tuple[int, ...]]:
    from pipeline import probes

    channels, height, width = network.input_shape
    blank = np.zeros((1, height, width, channels), np.float32)
    heard = probes.activations(network, blank, names)
    return {name: values.shape[1:] for name, values in heard.items()}


def _with_shapes(
    steps: list[Step], shapes: dict[str, tuple[int, ...]], tile: tuple[int, ...]
) -> list[Step]:
    done: list[Step] = []
    for step in steps:
        if step.inner:  # of a dense block, by channel
            parts = [tile if i == TILE else done[i].shape for i in step.inputs]
            shape = (sum(part[0] for part in parts), *parts[0][1:])
        else:
            shape = shapes[step.name]
        done.append(replace(step, shape=tuple(int(size) for size in shape)))
    return done
