"""The network language: a named mapping of layers becomes a module, its faults named by layer.

Input sizes are never given: a blank tile passes through while the network is built, and each layer
takes its sizes from what reaches it.
"""

from __future__ import annotations

import keyword
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import torch
from torch import Tensor, nn

from pipeline.composites import Chain, Composite
from pipeline.errors import LayerError, NetworkError
from pipeline.layers import Normalize
from pipeline.pretrained import origin
from pipeline.spec import Spec, fault, head_of, pruned, taken_apart
from pipeline.targets import arguments, make
from pipeline.types import Bands, Classes

if TYPE_CHECKING:
    from pipeline.schema import InitSection

Task = Literal["classify", "reconstruct"]

# Arguments that follow from what comes in: the channels, (N, C, ...), or the last axis.
CHANNELS = ("in_channels", "num_features", "num_channels")
FEATURES = ("in_features",)
NOT_LOGITS = (nn.Softmax, nn.LogSoftmax, nn.Softmax2d, nn.Sigmoid)


class Network(Chain):
    """Named layers, one after the other: raw pixels (N, C, H, W) -> logits (N, K).

    A network that reconstructs gives normalized pixels (N, C, H, W) in place of logits.
    """

    def __init__(
        self,
        spec: Spec,
        bands: Bands,
        classes: Classes,
        tile_size: int,
        task: Task = "classify",
    ) -> None:
        super().__init__()
        self.spec = spec
        self.bands = bands
        self.classes = classes
        self.tile_size = tile_size
        self.task: Task = task
        self.frozen: tuple[str, ...] = ()  # dotted names of layers that don't learn

    @property
    def layer_names(self) -> list[str]:
        """Names of the layers at the top."""
        return [name for name, _ in self.named_children()]

    @property
    def input_shape(self) -> tuple[int, int, int]:
        """Shape (C, H, W) of a tile."""
        return len(self.bands), self.tile_size, self.tile_size

    @property
    def band_statistics(self) -> tuple[Tensor, Tensor]:
        """Mean and deviation (C, 1, 1) that the network's Normalize applies to the bands.

        A network that reconstructs is trained to give (pixels - mean) / deviation. Without a
        Normalize they are 0 and 1: it gives raw pixels.
        """
        bands = len(self.bands)
        for module in self.modules():
            if isinstance(module, Normalize):
                return module.mean[:bands, None, None], module.deviation[:bands, None, None]
        device = next((parameter.device for parameter in self.parameters()), None)
        return torch.zeros(bands, 1, 1, device=device), torch.ones(bands, 1, 1, device=device)

    def hold(self, layers: Sequence[str]) -> None:
        """Keep the statistics of frozen batch norms, in training too."""
        self.frozen = tuple(layers)
        self.train(self.training)

    def train(self, mode: bool = True) -> Network:
        """Set the mode of all layers but that of frozen batch norms, which stay in evaluation."""
        super().train(mode)
        for name in self.frozen:
            layer = self.get_submodule(name)
            if isinstance(layer, nn.modules.batchnorm._NormBase):
                layer.eval()
        return self


def build(
    layers: Mapping[str, Mapping[str, Any] | None],
    *,
    bands: Bands,
    classes: Classes,
    tile_size: int,
    mean: Sequence[float] | None = None,
    std: Sequence[float] | None = None,
    init: InitSection | None = None,
    seed: int = 0,
    task: Task = "classify",
) -> Network:
    """A network from its mapping of layers; a layer set to null is left out.

    Input sizes are inferred by running a blank tile through on the way, and the last linear layer
    or convolution gives one output a class (``task`` reconstruct: a band) unless told otherwise.
    The same arguments give the same weights.

    Raises:
        NetworkError: A layer can't be built or does not fit its input; says which.
    """
    spec = pruned(layers)
    if not spec:
        raise NetworkError("Expected a network of one layer or more, got none; see model.layers.")
    if task == "classify" and not len(classes):
        raise NetworkError(
            "Expected labelled tiles for a network that classifies, got tiles without labels. "
            "Ingest them with labels (source.labels), or take model=autoencoder."
        )
    network = Network(spec, bands, classes, tile_size, task)
    outputs = len(classes) if task == "classify" else len(bands)
    builder = Builder(bands, tile_size, *head_of(spec), outputs)
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        torch.manual_seed(seed)
        builder.fill(network, "", spec)
        x = network.grow(torch.zeros(1, *network.input_shape))
        _check_end(network, x)
        for module in network.modules():
            if isinstance(module, Normalize) and mean is not None and std is not None:
                module.set_statistics(mean, std)
        if init is not None:
            initialize(network, init)
    return network.train()


def initialize(network: nn.Module, init: InitSection) -> None:
    """Draw the weights of convolutions and linear layers anew; biases start at 0.

    ``xavier``: Glorot and Bengio 2010, ``he``: He et al. 2015, both normal; ``torch`` leaves what
    the layers drew by themselves. A model of timm keeps what its makers chose.
    """
    theirs = {part for module in network.modules() if origin(module) for part in module.modules()}
    for module in network.modules():
        weight = getattr(module, "weight", None)
        if init.name == "torch" or weight is None or weight.dim() < 2 or module in theirs:
            continue
        if init.name == "normal":
            nn.init.normal_(weight, std=init.deviation)
        elif isinstance(module, nn.ConvTranspose2d):
            nn.init.normal_(weight, std=_spread(module, init.name))
        elif init.name == "xavier":
            nn.init.xavier_normal_(weight)
        else:
            nn.init.kaiming_normal_(weight, nonlinearity="relu")
        if isinstance(bias := getattr(module, "bias", None), Tensor):
            nn.init.zeros_(bias)


def _spread(layer: nn.ConvTranspose2d, name: str) -> float:
    """Deviation of the weights of a transposed convolution.

    Each output gathers in x k x k / stride^2 inputs, which torch, that looks at the shape of the
    weights alone, takes for out x k x k.
    """
    inputs, outputs, down, across = layer.weight.shape
    kernel = down * across
    fan_in = inputs / layer.groups * kernel / (layer.stride[0] * layer.stride[1])
    return math.sqrt(2 / (fan_in if name == "he" else fan_in + outputs * kernel))


class Pending(nn.Module):
    """Stands for a layer that takes its sizes from the first thing that reaches it."""

    def __init__(self, place: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.place = place

    def forward(self, x: Tensor) -> Tensor:
        """Put the layer in its place and run it."""
        return self.place(x)


@dataclass(frozen=True)
class Builder:
    """What layers are told beside their arguments."""

    bands: Bands
    tile_size: int
    head: str
    head_argument: str
    outputs: int

    def fill(self, parent: nn.Module, prefix: str, layers: Mapping[str, Any]) -> None:
        """Give a composite its layers, each to be built when a blank tile comes by."""
        for key, spec in layers.items():
            name = f"{prefix}{key}"
            if keyword.iskeyword(key):
                raise fault(name, f"{key} is a word of Python's own; rename the layer")
            # Python itself would rename what begins with two underscores inside a class.
            if not key.isidentifier() or key.startswith("__") or hasattr(parent, key):
                raise fault(
                    name,
                    "expected a name of letters, digits and _ that is free here; rename the layer",
                )
            parent.add_module(key, Pending(self._placer(parent, key, name, spec)))

    def _placer(
        self, parent: nn.Module, key: str, name: str, spec: Any
    ) -> Callable[[Tensor], Tensor]:
        def place(x: Tensor) -> Tensor:
            layer = self.layer(name, spec, x)
            setattr(parent, key, layer)
            return _step(name, layer, x)

        return place

    def layer(self, name: str, spec: Any, x: Tensor) -> nn.Module:
        """One layer for an input like ``x``; what is inside it is still pending."""
        kind, given, inside = taken_apart(name, spec)
        try:
            layer = make(kind, {**self._inferred(name, kind, x), **given})
        except NetworkError as error:
            raise fault(name, str(error)) from error
        complete = any(layer.children())  # as DepthwiseSeparable is from the start
        if inside is not None and not inside and not complete:
            raise fault(name, f"expected layers inside {kind.__name__}, got none; add some")
        if inside and complete:
            raise fault(name, f"{kind.__name__} takes no layers, got {', '.join(inside)}")
        self.fill(layer, f"{name}.", inside or {})
        return layer

    def _inferred(self, name: str, kind: type[nn.Module], x: Tensor) -> dict[str, Any]:
        """Arguments that need not be given."""
        known = arguments(kind)
        if any(key in known for key in FEATURES) and x.dim() > 2:
            raise NetworkError(
                f"expected flat input, got {shape_of(x)}. Put torch.nn.Flatten or "
                "pipeline.layers.GlobalAvgPool before it"
            )
        found: dict[str, Any] = {key: x.shape[1] for key in CHANNELS if key in known}
        found |= {key: x.shape[-1] for key in FEATURES if key in known}
        if "bands" in known:
            if x.shape[1] != len(self.bands):
                raise NetworkError(
                    f"expected the {len(self.bands)} bands of the tile, got {shape_of(x)}; put it "
                    "first"
                )
            found["bands"] = self.bands.names
        if "tile_size" in known:
            found["tile_size"] = self.tile_size
        if name == self.head:
            found[self.head_argument] = self.outputs
        return found


def _step(name: str, layer: nn.Module, x: Tensor) -> Tensor:
    """Run a blank tile through one layer."""
    try:
        output = layer.grow(x) if isinstance(layer, Composite) else layer.eval()(x)
    except LayerError:
        raise  # of a layer inside
    except NetworkError as error:
        raise fault(name, str(error)) from error
    except Exception as error:  # torch raises many kinds; the shapes are the cause of all
        reason = _too_small(layer, x) or str(error).splitlines()[0]
        raise fault(name, f"does not fit its input {shape_of(x)}: {reason}") from error
    if not isinstance(output, Tensor) or 0 in output.shape:
        raise fault(name, f"leaves nothing of its input {shape_of(x)}")
    return output


def _too_small(layer: nn.Module, x: Tensor) -> str | None:
    """Say so if a kernel is larger than what it gets."""
    if not hasattr(layer, "kernel_size") or x.dim() != 4:
        return None
    spans, room, sums = [], [], []
    for axis in (0, 1):
        kernel, _, padding, dilation = geometry(layer, axis)
        spans.append(dilation * (kernel - 1) + 1)
        room.append(x.shape[2 + axis] + 2 * padding)
        sums.append(f"{x.shape[2 + axis]} - {spans[axis]} + 2 x {padding}")
    short = [axis for axis in (0, 1) if spans[axis] > room[axis]]
    if not short:
        return None
    return (
        f"its kernel spans {spans[0]} x {spans[1]} and is larger than the {room[0]} x {room[1]} "
        f"pixels left of the tile, padding included: {sums[short[0]]} is below 0; use larger "
        "tiles, padding or fewer poolings"
    )


def geometry(layer: Any, axis: int) -> tuple[int, int, int, int]:
    """Kernel, stride, padding and dilation of a convolution or pooling along an axis.

    The padding is that of one side; of ``same`` it is the half that goes before.
    """
    kernel = _along(layer.kernel_size, axis)
    dilation = _along(getattr(layer, "dilation", 1), axis)
    padding = getattr(layer, "padding", 0)
    if isinstance(padding, str):
        padding = dilation * (kernel - 1) // 2 if padding == "same" else 0
    stride = getattr(layer, "stride", 1)
    if stride is None:  # as some poolings keep what stands for their kernel
        stride = layer.kernel_size
    return kernel, _along(stride, axis), _along(padding, axis), dilation


def _along(size: Any, axis: int) -> int:
    """A size that torch keeps as a number or a pair, along one axis."""
    return int(size[axis % len(size)]) if isinstance(size, tuple) else int(size)


def _check_end(network: Network, x: Tensor) -> None:
    name, last = list(network.named_modules())[-1]
    if network.task == "reconstruct":
        if x.shape[1:] != network.input_shape:
            wanted = ", ".join(map(str, network.input_shape))
            raise fault(
                network.layer_names[-1],
                f"expected a network that reconstructs to end in (N, {wanted}), as the tile, got "
                f"{shape_of(x)}",
            )
        return
    if isinstance(last, NOT_LOGITS):
        raise fault(
            name,
            f"a network ends in logits; drop {type(last).__name__}, which loss and prediction "
            "apply by themselves",
        )
    outputs = len(network.classes)
    if tuple(x.shape) != (1, outputs):
        raise fault(
            network.layer_names[-1],
            f"expected the network to end in (N, {outputs}), one output a class, got "
            f"{shape_of(x)}. End it in torch.nn.Linear without out_features",
        )


def shape_of(x: Tensor) -> str:
    """Shape of a batch in words."""
    return "(" + ", ".join(["N", *map(str, x.shape[1:])]) + ")"
