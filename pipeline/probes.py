"""What a trained network holds: its filters, and what its layers answer to a tile.

Arrays leave here channel first, as torch orders them: filters (F, C, kh, kw), activations
(N, F, H, W). Names of layers are those of ``network.named_modules()``.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from pipeline.errors import ConfigError, NetworkError

if TYPE_CHECKING:
    from torch import nn

Floats = NDArray[np.float32]


def _kernel(rows: Sequence[Sequence[float]], scale: float = 1.0) -> Floats:
    return np.asarray(rows, dtype=np.float32) * np.float32(scale)


# Made by hand; each is a filter that a convolution could learn. All but the Laplacian and the
# Sobel pair (Sobel & Feldman 1968), which sum to 0, keep the level of the band.
KERNELS: dict[str, Floats] = {
    "identity": _kernel([[0, 0, 0], [0, 1, 0], [0, 0, 0]]),
    "box_blur": _kernel([[1, 1, 1], [1, 1, 1], [1, 1, 1]], 1 / 9),
    "gaussian_blur": _kernel([[1, 2, 1], [2, 4, 2], [1, 2, 1]], 1 / 16),
    "sobel_x": _kernel([[-1, 0, 1], [-2, 0, 2], [-1, 0, 1]]),
    "sobel_y": _kernel([[-1, -2, -1], [0, 0, 0], [1, 2, 1]]),
    "laplacian": _kernel([[0, 1, 0], [1, -4, 1], [0, 1, 0]]),
    "sharpen": _kernel([[0, -1, 0], [-1, 5, -1], [0, -1, 0]]),
}


Role = Literal["convolution", "activation", "pooling"]


@dataclass(frozen=True, slots=True)
class Step:
    """A layer on the way of a convolution's maps."""

    layer: str
    role: Role


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
    convolution(network, layer)
    steps = [Step(layer, "convolution")]
    for name, module in _after(network, layer):
        role = _role(module)
        if role == "end":
            break
        if role is not None:
            steps.append(Step(name, role))
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


@contextmanager
def _listening(network: nn.Module, layers: Sequence[str]) -> Iterator[dict[str, Floats]]:
    """Collect what layers put out; hooks go even when a module raises."""
    heard: dict[str, Floats] = {}
    modules = dict(network.named_modules())
    if unknown := [name for name in layers if name not in modules]:
        known = ", ".join(name for name in modules if name)
        raise NetworkError(f"Expected names of layers, got {', '.join(unknown)}. Known: {known}.")

    def hook(name: str) -> Any:
        def keep(_module: nn.Module, _inputs: Any, output: Any) -> None:
            first = output[0] if isinstance(output, tuple) else output
            # A copy: an in-place activation would change it after the fact.
            heard[name] = first.detach().float().cpu().numpy().copy()

        return keep

    handles = []
    try:
        for name in layers:
            handles.append(modules[name].register_forward_hook(hook(name)))
        yield heard
    finally:
        for handle in handles:
            handle.remove()


def activations(
    network: nn.Module, pixels: NDArray[Any], layers: Sequence[str]
) -> dict[str, Floats]:
    """Outputs of layers, by name, for raw tiles (N, H, W, C); the network is left as it was."""
    import torch

    weight = next(network.parameters(), None)
    device = torch.device("cpu") if weight is None else weight.device
    # uint16 has few operations in torch, hence the cast before the array becomes a tensor.
    batch = torch.from_numpy(np.ascontiguousarray(pixels, dtype=np.float32)).permute(0, 3, 1, 2)
    training = network.training
    network.eval()
    try:
        with torch.inference_mode(), _listening(network, layers) as heard:
            network(batch.to(device))
    finally:
        network.train(training)
    return heard


def apply_kernel(
    band: NDArray[Any], kernel: NDArray[Any], padding: Literal["same", "valid"] = "same"
) -> Floats:
    """Cross-correlation of a band (H, W) with a kernel (kh, kw), as a convolution layer does it.

    ``same`` repeats the edge pixels, so that a plain surface shows no frame; ``valid`` keeps only
    places where the kernel fits, (H - kh + 1, W - kw + 1).
    """
    height, width = kernel.shape
    if padding == "same":
        above, left = (height - 1) // 2, (width - 1) // 2
        margins = ((above, height - 1 - above), (left, width - 1 - left))
        band = np.pad(band, margins, mode="edge")
    if band.shape[0] < height or band.shape[1] < width:
        raise ConfigError(f"Expected a band no smaller than its kernel, got {band.shape}.")
    views = np.lib.stride_tricks.sliding_window_view(band.astype(np.float32), (height, width))
    answer: Floats = np.einsum("rcij,ij->rc", views, kernel.astype(np.float32))
    return answer
