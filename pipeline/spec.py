"""The mapping that describes a network, taken apart; nothing is built here.

A layer is a mapping with a ``_target_`` and arguments. In a composite of ``pipeline.layers``
further mappings are the layers inside it, and a mapping without a ``_target_`` is a chain of
layers. Names join with dots: ``block2.conv1`` is the key of an override, the name of the weights,
and what ``visualize.layers`` takes.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from torch import nn

from pipeline.composites import Chain, Composite
from pipeline.errors import LayerError, NetworkError
from pipeline.targets import arguments, refuse_unknown, resolve

Spec = dict[str, Any]

# Layers that may be a network's last one, and the argument that is then filled in.
HEADS = {
    "torch.nn.Linear": "out_features",
    "torch.nn.Conv2d": "out_channels",
    "torch.nn.ConvTranspose2d": "out_channels",
    "pipeline.layers.Timm": "num_classes",
}


def leaves(spec: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Dotted names and mappings of the layers that hold no others, in order."""
    for name, layer in spec.items():
        inside = inside_of(layer)
        if inside is None:
            yield f"{prefix}{name}", layer
        else:
            yield from leaves(inside, f"{prefix}{name}.")


def pruned(layers: Mapping[str, Mapping[str, Any] | None]) -> Spec:
    """The same layers without those set to null, at any depth."""
    return {str(name): _pruned(layer) for name, layer in layers.items() if layer is not None}


def _pruned(layer: Any) -> Any:
    inside = inside_of(layer)
    if inside is None:
        return dict(layer) if isinstance(layer, Mapping) else layer
    outer = {name: value for name, value in layer.items() if name not in inside}
    return {**outer, **pruned(inside)}


def offline(layers: Mapping[str, Any]) -> dict[str, Any]:
    """The same layers, none of which fetches pretrained weights when it is built."""
    return {
        name: (False if name == "pretrained" and value is not None else value)
        if not isinstance(value, Mapping)
        else offline(value)
        for name, value in layers.items()
    }


def inside_of(layer: Any) -> dict[str, Any] | None:
    """The layers inside a layer; None: it is of a kind that holds none."""
    if not isinstance(layer, Mapping):
        return None
    if "_target_" not in layer:
        mappings = all(value is None or isinstance(value, Mapping) for value in layer.values())
        return dict(layer) if layer and mappings else None
    try:
        kind = resolve(layer["_target_"])
    except NetworkError:
        return None  # told when the layer is built
    if not issubclass(kind, Composite):
        return None
    taken = {"_target_", *arguments(kind)}
    return {
        name: value
        for name, value in layer.items()
        if name not in taken and (value is None or isinstance(value, Mapping))
    }


def taken_apart(
    name: str, layer: Any
) -> tuple[type[nn.Module], dict[str, Any], dict[str, Any] | None]:
    """Class of a layer, the arguments given, and the layers inside it, as of :func:`inside_of`.

    Raises:
        LayerError: It has no target, another one than a layer, or an argument that is misspelt.
    """
    inside = inside_of(layer)
    if not isinstance(layer, Mapping) or ("_target_" not in layer and inside is None):
        raise fault(name, "expected a _target_ such as torch.nn.Conv2d")
    given = {k: v for k, v in layer.items() if k != "_target_" and k not in (inside or {})}
    try:
        kind = resolve(layer["_target_"]) if "_target_" in layer else Chain
        refuse_unknown(kind, given)
    except NetworkError as error:
        raise fault(name, str(error)) from error
    return kind, given, inside


def check(layers: Mapping[str, Any], prefix: str = "") -> None:
    """Raise LayerError for what is wrong with layers whatever reaches them; builds none."""
    for key, layer in pruned(layers).items():
        _, _, inside = taken_apart(f"{prefix}{key}", layer)
        check(inside or {}, f"{prefix}{key}.")


def fault(name: str, text: str) -> LayerError:
    """An error that names the layer it is about."""
    end = "" if text.endswith((".", "?")) else "."
    return LayerError(f"Layer {name!r}: {text}{end}")


def head_of(spec: Spec) -> tuple[str, str]:
    """Name of the layer that gives the outputs, and the argument that says how many."""
    found = [(name, layer["_target_"]) for name, layer in leaves(spec) if _may_end(layer)]
    name, target = found[-1] if found else ("", "torch.nn.Linear")
    return name, HEADS[target]


def _may_end(layer: Any) -> bool:
    return isinstance(layer, Mapping) and layer.get("_target_") in HEADS
