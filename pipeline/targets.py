"""From a name in a configuration to a layer's class, and from its arguments to a layer."""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Iterable, Mapping
from difflib import get_close_matches
from typing import Any, TypeGuard

from torch import nn

from pipeline.errors import NetworkError

# A target is one name in one of these modules, so nothing that they happen to import is in reach.
PREFIXES = ("torch.nn", "pipeline.layers")


def nearest(word: str, known: Iterable[str]) -> str:
    """A hint at the nearest spelling, or nothing."""
    close = get_close_matches(word, list(known), n=1, cutoff=0.5)
    return f" Did you mean {close[0]!r}?" if close else ""


def _is_layer(thing: object) -> TypeGuard[type[nn.Module]]:
    return isinstance(thing, type) and issubclass(thing, nn.Module) and thing is not nn.Module


def resolve(target: str) -> type[nn.Module]:
    """The layer class that a target names; runs and imports nothing else.

    Raises:
        NetworkError: The target is outside ``PREFIXES``, unknown, or not a layer.
    """
    prefix, _, name = str(target).rpartition(".")
    if prefix not in PREFIXES:
        allowed = " or ".join(f"{known}.<Layer>" for known in PREFIXES)
        raise NetworkError(f"Expected a target of the form {allowed}, got {target!r}.")
    module = importlib.import_module(prefix)
    found: object = getattr(module, name, None)
    if not _is_layer(found):
        layers = [key for key, value in vars(module).items() if _is_layer(value)]
        hint = nearest(name, layers)
        raise NetworkError(f"Expected a layer of {prefix}, got {target!r}.{hint}")
    return found


def arguments(layer: type[nn.Module]) -> dict[str, bool]:
    """The arguments that a layer takes, each with whether it must be given."""
    kinds = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
    return {
        name: parameter.default is inspect.Parameter.empty
        for name, parameter in inspect.signature(layer).parameters.items()
        if parameter.kind in kinds
    }


def refuse_unknown(layer: type[nn.Module], given: Mapping[str, Any]) -> None:
    """Raise NetworkError if an argument is none of the layer's."""
    known = arguments(layer)
    for name in given:
        if name not in known:
            hint = nearest(name, known)
            raise NetworkError(f"{layer.__name__} takes no argument {name!r}.{hint}")


def make(layer: type[nn.Module], given: Mapping[str, Any]) -> nn.Module:
    """A layer from its arguments.

    Raises:
        NetworkError: An argument is misspelt, missing or refused by the layer.
    """
    refuse_unknown(layer, given)
    known = arguments(layer)
    if missing := [name for name, needed in known.items() if needed and name not in given]:
        raise NetworkError(f"{layer.__name__} needs the argument {missing[0]!r}; give it.")
    try:
        return layer(**{name: _plain(value) for name, value in given.items()})
    except NetworkError:
        raise  # says by itself what it expected
    except Exception as error:  # whatever the layer's own checks raise, the values are the cause
        told = ", ".join(f"{name}={value!r}" for name, value in given.items())
        raise NetworkError(f"{layer.__name__} refuses its arguments: {error} ({told})") from error


def _plain(value: Any) -> Any:
    """Lists as tuples: layers compare and unpack sizes as tuples."""
    return tuple(_plain(item) for item in value) if isinstance(value, list) else value
