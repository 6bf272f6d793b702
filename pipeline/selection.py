"""Layers chosen by name or glob: which of them learn, and how fast."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from fnmatch import fnmatchcase

from torch import nn

from pipeline.errors import LayerError, NetworkError
from pipeline.network import Network
from pipeline.targets import nearest


def select(network: nn.Module, patterns: Iterable[str], key: str) -> dict[str, list[str]]:
    """Pattern -> dotted names of the layers that it names, those inside them included.

    ``block2`` and ``block2.*`` both name all that ``block2`` holds: in a glob, ``*`` crosses dots.

    Args:
        network: Any network.
        patterns: Dotted names, or globs of them.
        key: The parameter that holds the patterns, for the message.

    Raises:
        LayerError: A pattern names no layer, or none that holds weights or statistics.
    """
    modules = {name: module for name, module in network.named_modules() if name}
    found = {}
    for pattern in patterns:
        named = [name for name in modules if fnmatchcase(name, pattern)]
        if not named:
            raise LayerError(
                f"Expected a layer's name or a glob in {key}, got {pattern!r}, which names none."
                f"{nearest(pattern, modules)} The layers are {', '.join(modules)}."
            )
        if not any(modules[name].state_dict() for name in named):
            raise LayerError(
                f"Expected layers with weights in {key}, got {pattern!r}, which names only "
                f"{', '.join(named)}; drop it."
            )
        found[pattern] = [name for name in modules if _within(name, named)]
    return found


def _within(name: str, outer: list[str]) -> bool:
    return any(name == other or name.startswith(f"{other}.") for other in outer)


def freeze(network: Network, patterns: Iterable[str]) -> list[str]:
    """Keep layers from learning; returns the dotted names of those with weights or statistics.

    Frozen weights get no gradient. Frozen batch norms keep their statistics, too, and use them in
    training: ``Network.train`` leaves them in evaluation mode. Statistics that go on adapting
    would change what a frozen layer gives.

    Raises:
        LayerError: A pattern names no layer with weights.
        NetworkError: Nothing would be left to learn.
    """
    chosen = select(network, patterns, "train.freeze")
    names = list(dict.fromkeys(name for names in chosen.values() for name in names))
    for name in names:
        network.get_submodule(name).requires_grad_(False)
    network.hold(names)
    if names and not any(parameter.requires_grad for parameter in network.parameters()):
        raise NetworkError(
            "Expected a layer that learns, got none: train.freeze names all that hold weights "
            f"({', '.join(chosen)}); leave out the last one at least."
        )
    return [name for name in names if _has_state(network.get_submodule(name))]


def _has_state(layer: nn.Module) -> bool:
    """Whether a layer holds weights or statistics itself."""
    own = (*layer.parameters(recurse=False), *layer.buffers(recurse=False))
    return len(own) > 0


def factors(network: nn.Module, wanted: Mapping[str, float]) -> Iterator[tuple[str, float]]:
    """Every parameter's dotted name and the factor of its learning rate, 1 where none is given.

    Where several patterns name a layer the last of them counts, so that a glob can come first and
    its exceptions behind it.

    Raises:
        LayerError: A pattern names no layer with weights.
    """
    given: dict[str, float] = {}
    for pattern, names in select(network, wanted, "optimizer.factors").items():
        given |= dict.fromkeys(names, wanted[pattern])
    for name, _ in network.named_parameters():
        yield name, given.get(name.rpartition(".")[0], 1.0)
