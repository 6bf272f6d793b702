"""The network language: a named mapping of layers becomes a module, its faults named by layer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from pipeline.errors import NetworkError
from pipeline.layers import GlobalAvgPool, GlobalMaxPool, Normalize
from pipeline.targets import arguments, make, resolve
from pipeline.types import Bands, Classes

if TYPE_CHECKING:
    from pipeline.schema import InitSection

Layers = Mapping[str, Mapping[str, Any] | None]

# Arguments that follow from what comes in: the channels, (N, C, ...), or the last axis.
CHANNELS = ("in_channels", "num_features", "num_channels")
FEATURES = ("in_features",)
NOT_LOGITS = (nn.Softmax, nn.LogSoftmax, nn.Softmax2d, nn.Sigmoid)


class Network(nn.Module):
    """Named layers, one after the other: raw pixels (N, C, H, W) -> logits (N, K)."""

    def __init__(
        self, spec: dict[str, dict[str, Any]], bands: Bands, classes: Classes, tile_size: int
    ) -> None:
        super().__init__()
        self.spec = spec
        self.bands = bands
        self.classes = classes
        self.tile_size = tile_size
        self.layer_names: list[str] = []

    def append(self, name: str, layer: nn.Module) -> None:
        """Add a layer at the end."""
        if not name.isidentifier() or hasattr(self, name):
            raise NetworkError(f"Layer {name!r}: expected a free, simple name; rename the layer.")
        self.add_module(name, layer)
        self.layer_names.append(name)

    def forward(self, pixels: Tensor) -> Tensor:
        """(N, C, H, W) raw values as floats -> (N, K) logits."""
        x = pixels
        for name in self.layer_names:
            x = self.get_submodule(name)(x)
        return x


def build(
    layers: Layers,
    *,
    bands: Bands,
    classes: Classes,
    tile_size: int,
    mean: Sequence[float] | None = None,
    std: Sequence[float] | None = None,
    init: InitSection | None = None,
    seed: int = 0,
) -> Network:
    """A network from its mapping of layers; a layer set to null is left out.

    Input sizes are inferred by running a blank tile through on the way, and the last linear layer
    gives one output a class unless told otherwise. The same arguments give the same weights.

    Raises:
        NetworkError: A layer can't be built or does not fit its input; says which.
    """
    spec = {str(name): dict(layer) for name, layer in layers.items() if layer is not None}
    network = Network(spec, bands, classes, tile_size)
    x = torch.zeros(1, len(bands), tile_size, tile_size)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        for name, layer in _with_head(spec, len(classes)).items():
            module = _layer(name, layer, x)
            if isinstance(module, Normalize) and mean is not None and std is not None:
                module.set_statistics(mean, std)
            network.append(name, module)
            x = _step(name, module, x)
        _check_end(network, x)
        if init is not None:
            initialize(network, init)
    return network


def initialize(network: nn.Module, init: InitSection) -> None:
    """Draw the weights of convolutions and linear layers anew; biases start at 0.

    ``xavier``: Glorot and Bengio 2010, ``he``: He et al. 2015, both normal; ``torch`` leaves what
    the layers drew by themselves.
    """
    for module in network.modules():
        weight = getattr(module, "weight", None)
        if init.name == "torch" or weight is None or weight.dim() < 2:
            continue
        if init.name == "normal":
            nn.init.normal_(weight, std=init.deviation)
        elif init.name == "xavier":
            nn.init.xavier_normal_(weight)
        else:
            nn.init.kaiming_normal_(weight, nonlinearity="relu")
        if isinstance(bias := getattr(module, "bias", None), Tensor):
            nn.init.zeros_(bias)


def _with_head(spec: dict[str, dict[str, Any]], outputs: int) -> dict[str, dict[str, Any]]:
    """The same layers, with one output a class in a last linear layer that names no number."""
    linear = [name for name, layer in spec.items() if layer.get("_target_") == "torch.nn.Linear"]
    if not linear:
        return spec
    head = linear[-1]
    return {**spec, head: {"out_features": outputs, **spec[head]}}


def _layer(name: str, spec: Mapping[str, Any], x: Tensor) -> nn.Module:
    """Build one layer for an input like ``x``."""
    given = dict(spec)
    target = given.pop("_target_", None)
    if target is None:
        raise NetworkError(f"Layer {name!r}: expected a _target_ such as torch.nn.Conv2d.")
    try:
        layer = resolve(target)
        return make(layer, {**_inferred(layer, x), **given})
    except NetworkError as error:
        raise NetworkError(f"Layer {name!r}: {error}") from error


def _inferred(layer: type[nn.Module], x: Tensor) -> dict[str, int]:
    known = arguments(layer)
    flat = x.dim() < 4
    if any(name in known for name in FEATURES) and not flat:
        raise NetworkError(
            f"expected flat input, got {_shape(x)}. Put torch.nn.Flatten or "
            "pipeline.layers.GlobalAvgPool before it."
        )
    sizes = {name: x.shape[1] for name in CHANNELS if name in known and x.dim() > 1}
    return sizes | {name: x.shape[-1] for name in FEATURES if name in known}


def _step(name: str, module: nn.Module, x: Tensor) -> Tensor:
    """Run a blank tile through one layer."""
    module.eval()
    try:
        with torch.no_grad():
            output = module(x)
    except Exception as error:  # torch raises many kinds; the shapes are the cause of all
        reason = str(error).splitlines()[0]
        if "Kernel size can't be greater" in reason or "too small" in reason:
            reason = (
                "its kernel is larger than what is left of the tile; use larger tiles, padding or "
                "fewer pooling layers"
            )
        raise NetworkError(f"Layer {name!r}: does not fit its input {_shape(x)}: {reason}.") from (
            error
        )
    finally:
        module.train()
    if not isinstance(output, Tensor) or 0 in output.shape:
        raise NetworkError(f"Layer {name!r}: leaves nothing of its input {_shape(x)}.")
    return output


def _check_end(network: Network, x: Tensor) -> None:
    if not network.layer_names:
        raise NetworkError("Expected a network of one layer or more, got none; see model.layers.")
    name, outputs = network.layer_names[-1], len(network.classes)
    last = network.get_submodule(name)
    if isinstance(last, NOT_LOGITS):
        raise NetworkError(
            f"Layer {name!r}: a network ends in logits; drop {type(last).__name__}, which loss "
            "and prediction apply by themselves."
        )
    if tuple(x.shape) != (1, outputs):
        raise NetworkError(
            f"Layer {name!r}: expected the network to end in (N, {outputs}), one output a class, "
            f"got {_shape(x)}. End it in torch.nn.Linear without out_features."
        )


def _shape(x: Tensor) -> str:
    return "(" + ", ".join(["N", *map(str, x.shape[1:])]) + ")"


@dataclass(frozen=True)
class LayerInfo:
    """What a layer gives, learns, costs and sees."""

    name: str
    type: str
    output: tuple[int, ...]  # (C, H, W) or (features,)
    weights: dict[str, tuple[int, ...]]  # name -> shape, learnable ones
    parameters: int
    macs: int  # multiply-accumulates a tile, of convolutions and linear layers
    field: int  # side of the receptive field in pixels, at most the tile
    stride: int  # pixels of the tile from one output to the next
    field_metres: float | None


def describe(network: Network, *, resolution: float | None = None) -> list[LayerInfo]:
    """Every layer's shape, parameters, cost and receptive field.

    Receptive fields by the recurrence of Araujo, Norris and Sim 2019,
    https://distill.pub/2019/computing-receptive-fields/.

    Args:
        network: Any network; left as it was.
        resolution: Ground size of a pixel in metres, if known.
    """
    parameter = next(network.parameters(), torch.zeros(1))
    x = torch.zeros(1, len(network.bands), network.tile_size, network.tile_size)
    x = x.to(parameter.device)
    field = stride = 1
    layers = []
    training = network.training
    network.eval()
    with torch.no_grad():
        for name in network.layer_names:
            module = network.get_submodule(name)
            x = module(x)
            field, stride = _sees(module, field, stride, network.tile_size)
            layers.append(_info(name, module, x, field, stride, resolution))
    network.train(training)
    return layers


def _info(
    name: str, module: nn.Module, x: Tensor, field: int, stride: int, resolution: float | None
) -> LayerInfo:
    weights = {key: tuple(value.shape) for key, value in module.named_parameters()}
    return LayerInfo(
        name=name,
        type=type(module).__name__,
        output=tuple(x.shape[1:]),
        weights=weights,
        parameters=sum(value.numel() for value in module.parameters()),
        macs=_macs(module, x),
        field=field,
        stride=stride,
        field_metres=None if resolution is None else field * resolution,
    )


def _sees(module: nn.Module, field: int, stride: int, tile: int) -> tuple[int, int]:
    """Receptive field and stride behind a layer, from those before it."""
    if isinstance(module, nn.Linear | GlobalAvgPool | GlobalMaxPool):
        return tile, tile
    if not hasattr(module, "kernel_size"):
        return field, stride
    kernel, dilation = _side(module.kernel_size), _side(getattr(module, "dilation", 1))
    grown = field + dilation * (kernel - 1) * stride
    return min(grown, tile), min(stride * _side(getattr(module, "stride", 1)), tile)


def _side(size: Any) -> int:
    """The longer side of a size that torch keeps as a number or a pair."""
    return int(max(size)) if isinstance(size, tuple) else int(size)


def _macs(module: nn.Module, x: Tensor) -> int:
    """Multiply-accumulates a tile: a filter's weights times the outputs that it gives."""
    if isinstance(module, nn.Conv2d | nn.Linear):
        return module.weight[0].numel() * x[0].numel()
    return 0
