"""What a trained network holds: its filters, and what its layers answer to a tile.

Arrays leave here channel first, as torch orders them: filters (F, C, kh, kw), activations
(N, F, H, W). Names of layers are those of ``network.named_modules()``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from pipeline.errors import NetworkError

if TYPE_CHECKING:
    from torch import Tensor, nn

Floats = NDArray[np.float32]
Role = Literal["convolution", "activation", "pooling"]


@dataclass(frozen=True, slots=True)
class Step:
    """A layer on the way of a convolution's maps."""

    layer: str
    role: Role
    norms: tuple[str, ...] = ()  # normalizations passed on the way to it


def convolutions(network: nn.Module) -> list[str]:
    """Names of all two-dimensional convolutions, in the order of the layers."""
    from torch import nn

    return [name for name, module in network.named_modules() if isinstance(module, nn.Conv2d)]


def first_convolution(network: nn.Module) -> str | None:
    """Name of the convolution nearest to the tile; None for a network without any."""
    return next(iter(convolutions(network)), None)


def convolution(network: nn.Module, layer: str) -> nn.Conv2d:
    """The convolution of that name, or an error that names those there are."""
    from torch import nn

    module = dict(network.named_modules()).get(layer)
    if isinstance(module, nn.Conv2d):
        return module
    got = "no such layer" if module is None else f"a {type(module).__name__}"
    known = ", ".join(convolutions(network)) or "none in this network"
    raise NetworkError(f"Expected the name of a convolution, got {layer!r}: {got}. Known: {known}.")


def filters(network: nn.Module, layer: str) -> Floats:
    """Weights (F, C, kh, kw) of a convolution; C is its input channels over its groups."""
    return convolution(network, layer).weight.detach().float().cpu().numpy().copy()


def strongest(weights: Floats, count: int) -> list[int]:
    """Indices of the filters with the largest Euclidean norm, largest first."""
    norms = np.sqrt((weights.astype(np.float64) ** 2).sum(axis=(1, 2, 3)))
    return [int(i) for i in np.argsort(-norms, kind="stable")[:count]]


def _role(module: nn.Module) -> Role | Literal["end"] | None:
    from torch import nn

    from pipeline.composites import Parallel

    kind = type(module).__name__
    # Behind a flattening or a global pooling there is no map left to look at, behind a fork many.
    if isinstance(module, nn.Linear | nn.Flatten | Parallel) or kind.startswith("Global"):
        return "end"
    if isinstance(module, nn.Conv2d):
        return "convolution"
    if "Pool" in kind:
        return "pooling"
    # torch.nn.modules.activation; timm has a few modules of activations of its own.
    if type(module).__module__.rpartition(".")[2].startswith("activation"):
        return "activation"
    return None


def chain(network: nn.Module, layer: str) -> list[Step]:
    """A convolution and what its maps pass up to the first pooling, other convolutions included.

    Where no pooling comes, the way ends before the next convolution.
    """
    from pipeline.wording import NORMS

    convolution(network, layer)
    steps, norms = [Step(layer, "convolution")], []
    for name, module in _after(network, layer):
        role = _role(module)
        if role == "end":
            break
        if isinstance(module, NORMS):
            norms.append(name)
        if role is not None:
            steps.append(Step(name, role, tuple(norms)))
            norms = []
        if role == "pooling":
            return steps
    others = (i for i, step in enumerate(steps) if i and step.role == "convolution")
    return steps[: next(others, None)]


def _after(network: nn.Module, layer: str) -> Iterator[tuple[str, nn.Module]]:
    """Layers that hold no others and that a layer's maps pass, in order; a fork is one."""
    from pipeline.composites import Parallel

    path = layer.split(".")
    for depth in reversed(range(len(path))):  # the layer's own composite first, then the outer
        outer = network.get_submodule(".".join(path[:depth]))
        if isinstance(outer, Parallel) or path[depth] == "projection":
            continue  # what stands beside it sees other maps
        passed = False
        for name, module in outer.named_children():
            if passed and name != "projection":
                yield from _leaves(".".join([*path[:depth], name]), module)
            passed = passed or name == path[depth]


def _leaves(name: str, module: nn.Module) -> Iterator[tuple[str, nn.Module]]:
    if _role(module) == "end" or not any(module.children()):
        yield name, module
        return
    for inner, child in module.named_children():
        if inner != "projection":  # of a Residual: beside the way
            yield from _leaves(f"{name}.{inner}", child)


def own_activation(network: nn.Module, layer: str) -> str | None:
    """The activation that a convolution's maps alone pass next; None where others join them first.

    Behind a shortcut, or branches that are joined, there are maps of more than one layer.
    """
    from pipeline.composites import Dense, Parallel, Residual

    steps = chain(network, layer)
    if len(steps) < 2 or steps[1].role != "activation":
        return None
    path, own = layer.split("."), steps[1].layer.split(".")[:-1]
    for depth in range(1, len(path)):
        outer = network.get_submodule(".".join(path[:depth]))
        if path[:depth] != own[:depth] and isinstance(outer, Dense | Parallel | Residual):
            return None
    return steps[1].layer


@contextmanager
def _listening(
    network: nn.Module, layers: Sequence[str], keep: Callable[[str, Tensor], None]
) -> Iterator[None]:
    """Hand on what layers put out, by name; hooks go even when a module raises."""
    modules = dict(network.named_modules())
    if unknown := [name for name in layers if name not in modules]:
        known = ", ".join(name for name in modules if name)
        raise NetworkError(f"Expected names of layers, got {', '.join(unknown)}. Known: {known}.")

    def hook(name: str) -> Any:
        def hear(_module: nn.Module, _inputs: Any, output: Any) -> None:
            first = output[0] if isinstance(output, tuple) else output
            keep(name, first.detach().float())

        return hear

    handles = []
    try:
        for name in layers:
            handles.append(modules[name].register_forward_hook(hook(name)))
        yield
    finally:
        for handle in handles:
            handle.remove()


def _run(network: nn.Module, pixels: NDArray[Any]) -> None:
    """Let raw tiles (N, H, W, C) pass in evaluation mode; the network is left as it was."""
    import torch

    weight = next(network.parameters(), None)
    device = torch.device("cpu") if weight is None else weight.device
    # uint16 has few operations in torch, hence the cast before the array becomes a tensor.
    batch = torch.from_numpy(np.ascontiguousarray(pixels, dtype=np.float32)).permute(0, 3, 1, 2)
    training = network.training
    network.eval()
    try:
        with torch.inference_mode():
            network(batch.to(device))
    finally:
        network.train(training)


def activations(
    network: nn.Module, pixels: NDArray[Any], layers: Sequence[str]
) -> dict[str, Floats]:
    """Outputs of layers, by name, for raw tiles (N, H, W, C); the network is left as it was."""
    heard: dict[str, Floats] = {}

    def keep(name: str, output: Tensor) -> None:
        # A copy: an in-place activation would change it after the fact.
        heard[name] = output.cpu().numpy().copy()

    with _listening(network, layers, keep):
        _run(network, pixels)
    return heard


@dataclass(frozen=True, slots=True)
class Peaks:
    """How strongly each of F filters answers to each of N tiles."""

    highest: Floats  # (N, F)
    places: NDArray[np.int64]  # (N, F, 2) row and column of the map where it is highest
    means: Floats  # (N, F) over the map, of what is positive


def peaks(
    network: nn.Module, batches: Iterable[NDArray[Any]], layers: Sequence[str]
) -> dict[str, Peaks]:
    """Highest and mean answers of layers that give maps; never are all maps in memory at once.

    Args:
        network: Left as it was.
        batches: Raw tiles (n, H, W, C).
        layers: Names.
    """
    found: dict[str, list[Peaks]] = {name: [] for name in layers}

    def keep(name: str, maps: Tensor) -> None:
        flat = maps.flatten(2)
        highest, place = flat.max(dim=2)
        rows, columns = place // maps.shape[3], place % maps.shape[3]
        found[name].append(
            Peaks(
                highest.cpu().numpy(),
                np.stack([rows.cpu().numpy(), columns.cpu().numpy()], axis=2),
                flat.clamp_min(0).mean(dim=2).cpu().numpy(),
            )
        )

    with _listening(network, layers, keep):
        for pixels in batches:
            _run(network, pixels)
    return {
        name: Peaks(*(np.concatenate([getattr(one, key) for one in parts])
                      for key in ("highest", "places", "means")))
        for name, parts in found.items()
    }  # fmt: skip
