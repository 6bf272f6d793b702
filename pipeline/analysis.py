"""What a network does to a tile: sizes, costs and receptive fields, layer by layer."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from pipeline.composites import Chain, Composite, Dense, Parallel, Residual
from pipeline.layers import GlobalAvgPool, GlobalMaxPool
from pipeline.network import Network, geometry
from pipeline.pretrained import origin

WHOLE = (nn.Linear, GlobalAvgPool, GlobalMaxPool)  # what lies behind sees all
COUNTED = (nn.Conv2d, nn.ConvTranspose2d, nn.Linear)  # whose multiply-accumulates are


class View(NamedTuple):
    """What one position of a map sees of the tile, in pixels."""

    field: int  # side of its receptive field
    stride: float  # from one position to the next; below 1 behind an upsampling


@dataclass(frozen=True)
class LayerInfo:
    """What a layer gives, learns, costs and sees."""

    name: str  # dotted
    type: str
    input: tuple[int, ...]  # (C, H, W) or (features,)
    output: tuple[int, ...]
    weights: dict[str, tuple[int, ...]]  # name -> shape, of parameters
    parameters: int
    learnable: int  # of them, those that are not frozen
    macs: int  # multiply-accumulates a tile, of convolutions and linear layers
    field: int  # side of the receptive field in pixels, at most the tile
    reach: int  # the same, beyond the tile's edge too
    stride: float  # pixels of the tile from one output to the next
    field_metres: float | None
    stride_metres: float | None


def describe(network: Network, *, resolution: float | None = None) -> list[LayerInfo]:
    """Every layer that holds no others, in the order in which a tile passes them.

    Receptive fields by the recurrence of Araujo, Norris and Sim 2019,
    https://distill.pub/2019/computing-receptive-fields/; of branches that join, the largest.

    Args:
        network: Any network; left as it was.
        resolution: Ground size of a pixel in metres, if known.
    """
    passed = run_through(network, blank(network))
    views: dict[nn.Module, View] = {}
    _look(network, View(1, 1), network.tile_size, views)
    return [
        _info(name, module, passed[module], views[module], network.tile_size, resolution)
        for name, module in parts(network)
        if module in passed
    ]


def parts(network: nn.Module) -> list[tuple[str, nn.Module]]:
    """Dotted names and modules of the layers that hold no others."""
    return [
        (name, module)
        for name, module in network.named_modules()
        if not isinstance(module, Composite) and not _inside_leaf(network, name)
    ]


def _inside_leaf(network: nn.Module, name: str) -> bool:
    """Whether a module is a part of a layer that is no composite, such as a backbone."""
    above = name.rpartition(".")[0]
    return bool(above) and not isinstance(network.get_submodule(above), Composite)


def blank(network: Network, tiles: int = 1) -> Tensor:
    """A batch of zeros (N, C, H, W) on the network's device."""
    parameter = next(network.parameters(), torch.zeros(0))
    return torch.zeros(tiles, *network.input_shape, device=parameter.device)


class Passed(NamedTuple):
    """What went into a layer and what came out of it."""

    input: Tensor
    output: Tensor


def run_through(
    network: nn.Module, pixels: Tensor, layers: Sequence[nn.Module] | None = None
) -> dict[nn.Module, Passed]:
    """Input and output of every layer for a batch, in evaluation mode; leaves no trace.

    ``layers``: those to listen to; None: all that hold no others.
    """
    heard = [module for _, module in parts(network)] if layers is None else layers
    passed: dict[nn.Module, Passed] = {}

    def keep(module: nn.Module, given: Any, output: Any) -> None:
        # A copy: a layer that works in place would change what the one before it gave.
        passed[module] = Passed(given[0].detach().clone(), output.detach().clone())

    with _evaluating(network), torch.no_grad():
        handles = []
        try:
            handles += [module.register_forward_hook(keep) for module in heard]
            network(pixels)
        finally:
            for handle in handles:
                handle.remove()
    return passed


@contextmanager
def _evaluating(network: nn.Module) -> Iterator[None]:
    modes = {module: module.training for module in network.modules()}
    network.eval()
    try:
        yield
    finally:
        for module, training in modes.items():
            module.training = training


def _look(module: nn.Module, before: View, tile: int, views: dict[nn.Module, View]) -> View:
    """View behind a layer, and of all layers inside it, from the view before it."""
    if isinstance(module, Parallel):
        after = _widest([_look(branch, before, tile, views) for branch in module.children()])
    elif isinstance(module, Residual):
        body = shortcut = before
        for name, layer in module.named_children():
            if name == "projection":
                shortcut = _look(layer, before, tile, views)
            else:
                body = _look(layer, body, tile, views)
        after = View(max(body.field, shortcut.field), body.stride)
    elif isinstance(module, Dense):
        after = before
        for layer in module.children():
            after = _widest([after, _look(layer, after, tile, views)])
    elif isinstance(module, Chain):
        after = before
        for layer in module.children():
            after = _look(layer, after, tile, views)
    else:
        after = _sees(module, before, tile)
    views[module] = after
    return after


def _widest(views: list[View]) -> View:
    return View(max(view.field for view in views), views[-1].stride)


def _sees(module: nn.Module, before: View, tile: int) -> View:
    """View behind a layer that holds no others."""
    if isinstance(module, WHOLE) or origin(module):
        return View(max(tile, before.field), tile)
    if isinstance(module, nn.Upsample):
        factor = module.scale_factor
        return View(before.field, before.stride / float(factor or 1))  # type: ignore[arg-type]
    if not hasattr(module, "kernel_size"):
        return before
    kernel, stride, _, dilation = (
        max(geometry(module, 0)[i], geometry(module, 1)[i]) for i in range(4)
    )
    if isinstance(module, nn.ConvTranspose2d):
        # An output gathers ceil(kernel / stride) inputs at most.
        return View(
            int(before.field + (-(-kernel // stride) - 1) * before.stride), before.stride / stride
        )
    return View(int(before.field + dilation * (kernel - 1) * before.stride), before.stride * stride)


def _info(
    name: str,
    module: nn.Module,
    passed: Passed,
    view: View,
    tile: int,
    resolution: float | None,
) -> LayerInfo:
    weights = list(module.named_parameters())
    seen, stride = min(view.field, tile), min(view.stride, tile)
    return LayerInfo(
        name=name,
        type=type(module).__name__,
        input=tuple(passed.input.shape[1:]),
        output=tuple(passed.output.shape[1:]),
        weights={key: tuple(value.shape) for key, value in weights},
        parameters=sum(value.numel() for _, value in weights),
        learnable=sum(value.numel() for _, value in weights if value.requires_grad),
        macs=macs(module, passed),
        field=seen,
        reach=view.field,
        stride=stride,
        field_metres=None if resolution is None else seen * resolution,
        stride_metres=None if resolution is None else stride * resolution,
    )


def macs(module: nn.Module, passed: Passed) -> int:
    """Multiply-accumulates a tile: a filter's weights, as often as they are laid on the map.

    Of a layer that is a network of its own, such as a model of timm, those of its convolutions and
    linear layers.
    """
    if isinstance(module, nn.ConvTranspose2d):
        return module.weight[0].numel() * passed.input[0].numel()
    if isinstance(module, nn.Conv2d | nn.Linear):
        return module.weight[0].numel() * passed.output[0].numel()
    inner = [part for part in module.modules() if isinstance(part, COUNTED)]
    if not inner:
        return 0
    return sum(macs(*pair) for pair in run_through(module, passed.input, inner).items())
