"""The layers of a network one after the other, and where its last maps are."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from numpy.typing import NDArray
from torch import nn

from pipeline import probes
from pipeline.composites import Chain
from pipeline.ensemble import Ensemble, ManyViews
from pipeline.errors import NetworkError
from pipeline.probes import Floats
from pipeline.subjects import Drawn


def last_map(network: nn.Module, pixels: NDArray[Any]) -> str:
    """Name of the layer with the last convolution's maps, its norm and activation included.

    Blocks with branches count as one layer, as a convolution inside sees only a part.

    Args:
        network: Any.
        pixels: A raw tile or more, (N, H, W, C).

    Raises:
        NetworkError: There is no convolution that leaves a map, or several networks vote.
    """
    if isinstance(network, Ensemble | ManyViews):
        raise NetworkError(
            "Expected a single network for grad_cam, got several that vote: their last "
            "convolutions differ. Look into a member."
        )
    order = dict(steps(network))
    inner = {name: network.get_submodule(name) for name in probes.convolutions(network)}
    heard = probes.activations(network, pixels[:1], list(dict.fromkeys([*order, *inner])))
    found = _last(order, heard) or _last(inner, heard)  # timm's layers don't stand in their order
    if found is None:
        raise NetworkError(
            "Expected a convolution that leaves a map for grad_cam, got none in this network. "
            "Take another method."
        )
    return found


def _last(layers: dict[str, nn.Module], heard: dict[str, Floats]) -> str | None:
    found: str | None = None
    shape: tuple[int, ...] | None = None
    for name, module in layers.items():
        out = heard.get(name)
        if out is None:
            continue
        if out.ndim != 4 or out.shape[2] * out.shape[3] == 1:
            if found is not None:
                break
        elif out.shape == shape or any(isinstance(m, nn.Conv2d) for m in module.modules()):
            found, shape = name, out.shape
        else:
            shape = None
    return found


def steps(network: nn.Module, prefix: str = "") -> Iterator[tuple[str, nn.Module]]:
    """Layers one after the other, through chains inside chains."""
    for name, module in network.named_children():
        straight = isinstance(module, Chain | nn.Sequential) or isinstance(network, Drawn)
        if straight and any(module.children()):
            yield from steps(module, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", module


def head(network: nn.Module) -> str:
    """Name of the layer that gives the outputs: the last linear one or convolution.

    Raises:
        NetworkError: There is none.
    """
    kinds = (nn.Linear, nn.Conv2d)
    names: list[str] = [
        name for name, module in network.named_modules() if isinstance(module, kinds)
    ]
    if not names:
        raise NetworkError("Expected a linear layer or a convolution at the end, got none.")
    return names[-1]


def narrowest(network: nn.Module, pixels: NDArray[Any]) -> int:
    """Place in ``steps`` of the layer that leaves fewest values of a tile: the bottleneck.

    Args:
        network: One that reconstructs its tile.
        pixels: A raw tile or more, (N, H, W, C).

    Raises:
        NetworkError: No layer but the last one is to be found.
    """
    names = [name for name, _ in steps(network)]
    heard = probes.activations(network, pixels[:1], names)
    sizes = [heard[name][0].size for name in names[:-1]]
    if not sizes or sizes[(place := sizes.index(min(sizes)))] >= pixels[0].size:
        raise NetworkError("Expected a layer that is narrower than the tile, got none.")
    return place
