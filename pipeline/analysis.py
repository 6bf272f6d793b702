"""What a network does to a tile: sizes, costs and receptive fields, layer by layer."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from copy import deepcopy
from dataclasses import dataclass
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from pipeline.composites import Composite
from pipeline.network import Network
from pipeline.receptive import Passed, View, views
from pipeline.wording import CONVOLUTIONS, TRANSPOSED, learnables, settings

Found = TypeVar("Found")


@dataclass(frozen=True)
class LayerInfo:
    """What a layer gives, learns, costs and sees; of a composite, all that is inside it."""

    name: str  # dotted
    type: str
    settings: str  # "3x3, stride 2"
    composite: bool  # a layer that holds others
    input: tuple[int, ...]  # (C, H, W) or (features,)
    output: tuple[int, ...]
    weights: dict[str, tuple[int, ...]]  # name -> shape as torch keeps it; none of a composite
    learnables: dict[str, str]  # name -> shape in words, "3x3x4x20"
    parameters: int
    learnable: int  # of them, those that are not frozen
    macs: int  # multiply-accumulates a tile, of convolutions and linear layers
    field: int  # side of the receptive field in pixels, at most the tile
    reach: int  # the same, beyond the tile's edge too
    stride: float  # pixels of the tile from one output to the next
    field_metres: float | None
    stride_metres: float | None


def describe(
    network: Network, *, resolution: float | None = None, composites: bool = False
) -> list[LayerInfo]:
    """Every layer that holds no others, in the order in which a tile passes them.

    Args:
        network: Any network; left as it was.
        resolution: Ground size of a pixel in metres, if known.
        composites: List the layers that hold others too, each before what is inside it.
    """
    passed = run_through(network, blank(network))
    seen = [views(network, passed, network.tile_size, axis) for axis in (0, 1)]
    return [
        _info(name, module, passed, [view[module] for view in seen], network.tile_size, resolution)
        for name, module in layers(network)
        if module in passed and (composites or not isinstance(module, Composite))
    ]


def layers(network: nn.Module) -> list[tuple[str, nn.Module]]:
    """Dotted names and modules of all layers; what a backbone is made of is not among them."""
    found = []
    for name, module in network.named_children():
        found.append((name, module))
        if isinstance(module, Composite):
            found += [(f"{name}.{inner}", layer) for inner, layer in layers(module)]
    return found


def parts(network: nn.Module) -> list[tuple[str, nn.Module]]:
    """Dotted names and modules of the layers that hold no others."""
    return [(name, part) for name, part in layers(network) if not isinstance(part, Composite)]


def blank(network: Network, tiles: int = 1) -> Tensor:
    """A batch of zeros (N, C, H, W) on the network's device."""
    parameter = next(network.parameters(), torch.zeros(0))
    return torch.zeros(tiles, *network.input_shape, device=parameter.device)


def run_through(network: nn.Module, pixels: Tensor) -> dict[nn.Module, Passed]:
    """Shapes at every layer that a batch passes, composites included, in evaluation mode."""
    with _evaluating(network):
        return observe(network, pixels, lambda x, y: Passed(tuple(x.shape[1:]), tuple(y.shape[1:])))


def observe(
    network: nn.Module, pixels: Tensor, look: Callable[[Tensor, Tensor], Found]
) -> dict[nn.Module, Found]:
    """What ``look`` finds in the input and the output of every layer, in the order they end in.

    Leaves no hook behind. What a layer gives is looked at before the next, which may work in place.
    """
    found: dict[nn.Module, Found] = {}

    def keep(module: nn.Module, given: Any, output: Any) -> None:
        found[module] = look(given[0].detach(), output.detach())

    with torch.no_grad():
        handles = []
        try:
            handles += [module.register_forward_hook(keep) for _, module in layers(network)]
            network(pixels)
        finally:
            for handle in handles:
                handle.remove()
    return found


@contextmanager
def _evaluating(network: nn.Module) -> Iterator[None]:
    modes = {module: module.training for module in network.modules()}
    network.eval()
    try:
        yield
    finally:
        for module, training in modes.items():
            module.training = training


def _info(
    name: str,
    module: nn.Module,
    passed: dict[nn.Module, Passed],
    seen: list[View],
    tile: int,
    resolution: float | None,
) -> LayerInfo:
    composite = isinstance(module, Composite)
    weights = list(module.named_parameters())
    reach = max(view.field for view in seen)
    field, stride = min(reach, tile), min(max(view.stride for view in seen), tile)
    return LayerInfo(
        name=name,
        type=type(module).__name__,
        settings=settings(module),
        composite=composite,
        input=passed[module].input,
        output=passed[module].output,
        weights={} if composite else {key: tuple(value.shape) for key, value in weights},
        learnables={} if composite else learnables(module),
        parameters=sum(value.numel() for _, value in weights),
        learnable=sum(value.numel() for _, value in weights if value.requires_grad),
        macs=sum(macs(part, passed[part]) for _, part in _within(module) if part in passed),
        field=field,
        reach=reach,
        stride=stride,
        field_metres=None if resolution is None else field * resolution,
        stride_metres=None if resolution is None else stride * resolution,
    )


def _within(module: nn.Module) -> list[tuple[str, nn.Module]]:
    return parts(module) if isinstance(module, Composite) else [("", module)]


def macs(module: nn.Module, passed: Passed) -> int:
    """Multiply-accumulates a tile: a filter's weights, as often as they are laid on the map."""
    if any(module.children()):
        return _counted(module, passed)
    if isinstance(module, TRANSPOSED):
        return module.weight[0].numel() * _product(passed.input)
    if isinstance(module, (*CONVOLUTIONS, nn.Linear)):
        return module.weight[0].numel() * _product(passed.output)
    return 0


def _counted(module: nn.Module, passed: Passed) -> int:
    """Of a layer with parts of its own, such as a backbone: what torch counts as it runs."""
    from torch.utils.flop_counter import FlopCounterMode

    parameter = next(module.parameters(), torch.zeros(0))
    with _evaluating(module), torch.no_grad(), FlopCounterMode(display=False) as counter:
        module(torch.zeros(1, *passed.input, device=parameter.device))
    return int(counter.get_total_flops()) // 2  # a multiplication and an addition


def kept_bytes(network: Network) -> int:
    """Bytes a tile that training keeps until the gradients are known, in float32.

    What autograd really holds on to, and not the sum of all outputs: an activation and the
    convolution behind it share one map, a mean pooling keeps none, a max pooling keeps positions.
    """
    two, four = (_kept(network, tiles) for tiles in (2, 4))
    return (four - two) // 2  # what does not grow with the batch cancels


def _kept(network: Network, tiles: int) -> int:
    copy = deepcopy(network).train()
    own = {value.untyped_storage().data_ptr() for value in copy.state_dict().values()}
    held: dict[int, int] = {}

    def keep(value: Tensor) -> Tensor:
        storage = value.untyped_storage()
        if storage.data_ptr() not in own:
            held[storage.data_ptr()] = storage.nbytes()
        return value

    with torch.random.fork_rng(devices=[]), torch.autograd.graph.saved_tensors_hooks(keep, _same):
        output = copy(blank(network, tiles))  # alive, so that no storage is given out twice
    del output
    return sum(held.values())


def _same(value: Tensor) -> Tensor:
    return value


def _product(shape: tuple[int, ...]) -> int:
    product = 1
    for size in shape:
        product *= size
    return product
