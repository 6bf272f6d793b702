"""Sizes, settings and weights of a layer in the words of the field, for tables and diagrams.

Sizes are told as height x width x channels and weights as kernel height x width x channels in x
filters, which is how MATLAB's network analyzer writes them; torch keeps channels and filters first.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from torch import nn

from pipeline.composites import Parallel

MANY = 4  # arrays of weights that are told one by one
CONVOLUTIONS = (
    nn.Conv1d, nn.Conv2d, nn.Conv3d, nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d,
)  # fmt: skip
TRANSPOSED = (nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d)
BATCH_NORMS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)
NORMS = (
    *BATCH_NORMS, nn.GroupNorm, nn.LayerNorm, nn.InstanceNorm1d, nn.InstanceNorm2d,
    nn.InstanceNorm3d,
)  # fmt: skip
SOFTMAX = (nn.Softmax, nn.LogSoftmax, nn.Softmax2d, nn.Softmin)
ACTIVATIONS = (
    nn.ReLU, nn.ReLU6, nn.LeakyReLU, nn.PReLU, nn.RReLU, nn.ELU, nn.CELU, nn.SELU, nn.GELU,
    nn.SiLU, nn.Mish, nn.Hardswish, nn.Sigmoid, nn.Hardsigmoid, nn.LogSigmoid, nn.Tanh,
    nn.Hardtanh, nn.Softplus, nn.Softsign, nn.Softshrink, nn.Hardshrink, nn.Tanhshrink,
    nn.Threshold,
)  # fmt: skip


def sizes(shape: Sequence[int]) -> str:
    """A shape without its batch, channels last: (20, 26, 26) is 26x26x20."""
    return "x".join(map(str, [*shape[1:], shape[0]]))


def settings(module: nn.Module) -> str:
    """What a layer is told beside its sizes, as far as it departs from what is usual."""
    if isinstance(module, Parallel):
        return module.join
    if isinstance(module, nn.Dropout):
        return f"p {module.p:g}"
    if isinstance(module, nn.Upsample):
        return module.mode
    return ", ".join(_kernel(module)) if hasattr(module, "kernel_size") else ""


def _kernel(module: Any) -> list[str]:
    usual = 1 if isinstance(module, CONVOLUTIONS) else module.kernel_size
    kernel = _sides(module.kernel_size)
    told = [kernel if "x" in kernel else f"{kernel}x{kernel}"]
    for key, plain in (("stride", usual), ("padding", 0), ("dilation", 1), ("groups", 1)):
        given = getattr(module, key, plain)
        value = _sides(plain if given is None else given)  # None stands for the usual
        if value != _sides(plain):
            told.append(f"{key} {value}")
    return told + ["ceil mode"] * bool(getattr(module, "ceil_mode", False))


def _sides(size: Any) -> str:
    """A size that torch keeps as a number or one an axis: 3, or 3x1 where the sides differ."""
    sides = size if isinstance(size, tuple) else (size,)
    return str(sides[0]) if len(set(sides)) == 1 else "x".join(map(str, sides))


def learnables(module: nn.Module) -> dict[str, str]:
    """Name and shape of each array of weights: weights 3x3x4x20, bias 1x1x20.

    Of a linear layer outputs x inputs, and of the scale and the offset of a normalization a number
    a channel. A layer made of more than a few arrays is told by their number.
    """
    shapes = {name: tuple(value.shape) for name, value in module.named_parameters()}
    if len(shapes) > MANY:
        return {"arrays": str(len(shapes))}
    return {_noun(module, name): _weights(module, shape) for name, shape in shapes.items()}


def _noun(module: nn.Module, name: str) -> str:
    if isinstance(module, NORMS):
        return {"weight": "scale", "bias": "offset"}.get(name, name)
    return "weights" if name == "weight" else name


def _weights(module: nn.Module, shape: tuple[int, ...]) -> str:
    if isinstance(module, CONVOLUTIONS) and len(shape) > 2:
        filters, channels, *kernel = shape
        if isinstance(module, TRANSPOSED):
            filters, channels = channels, filters
        return "x".join(map(str, [*kernel, channels, filters]))
    if len(shape) == 1:
        flat = isinstance(module, nn.Linear | nn.BatchNorm1d)
        return f"{shape[0]}x1" if flat else f"1x1x{shape[0]}"
    return "x".join(map(str, shape))


def told(shapes: Mapping[str, str]) -> str:
    """Arrays of weights in a line."""
    return ", ".join(f"{name} {shape}" for name, shape in shapes.items())
