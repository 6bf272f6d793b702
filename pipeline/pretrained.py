"""A network that others designed, and pretrained if wanted, as one layer: timm's models.

timm is an optional extra and imported when such a layer is made: nothing else here needs it.
"""

from __future__ import annotations

import importlib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any

import torch
from torch import nn

from pipeline.errors import NetworkError

ORIGIN = "quadband_origin"  # attribute of a model that holds its Origin
# resnet18, or resnet18.a1_in1k with the name of its weights. Nothing with a colon or a slash:
# hf-hub:user/model and local-dir:folder would read what a stranger's model.json names.
NAME = re.compile(r"(\w+)(\.\w+)?", re.ASCII)


@dataclass(frozen=True)
class Origin:
    """What is known of a model of timm: names of layers inside it."""

    first: tuple[str, ...]  # that see the bands
    head: str  # that gives one output a class; "": none


class Timm(nn.Module):
    """A model of timm (Wightman 2019, https://github.com/huggingface/pytorch-image-models).

    What is made is the model itself, not a layer around it, so its layers keep timm's names below
    this one's: ``backbone.conv1``. ``origin`` tells such a model from other layers. timm fits the
    first layer to the bands: it repeats the filters over them and scales them by 3 / bands.

    Args:
        in_channels: Bands; filled in.
        name: ``resnet18``, or ``resnet18.a1_in1k`` to choose among its weights.
        pretrained: Whether weights are fetched from where timm keeps them.
        num_classes: Outputs; filled in where it is a network's last layer. 0: features (N, F).
    """

    def __new__(  # type: ignore[misc]
        cls, in_channels: int, name: str, pretrained: bool = False, num_classes: int = 0
    ) -> nn.Module:
        """Make the model.

        Raises:
            NetworkError: timm is not there, has no such model, or can't fetch its weights.
        """
        timm = _timm()
        _check(name, timm.list_models())
        try:
            model: nn.Module = timm.create_model(
                name, pretrained=pretrained, in_chans=in_channels, num_classes=num_classes
            )
        except Exception as error:  # of the network, of the disk, of timm itself
            reason = " ".join(str(error).split())[:200]
            remedy = " pretrained=false goes without weights." if pretrained else ""
            raise NetworkError(f"timm can't make {name}: {reason.rstrip('.')}.{remedy}") from error
        setattr(model, ORIGIN, _origin(model))
        return model


def origin(module: nn.Module) -> Origin | None:
    """What is known of a model of timm; None for any other layer."""
    found = vars(module).get(ORIGIN)
    return found if isinstance(found, Origin) else None


def _origin(model: nn.Module) -> Origin:
    known = {name for name, _ in model.named_modules()}
    facts = getattr(model, "pretrained_cfg", None)
    facts = facts if isinstance(facts, Mapping) else {}

    def names(key: str) -> tuple[str, ...]:
        value = facts.get(key) or ()
        value = (value,) if isinstance(value, str) else tuple(value)
        return tuple(name for name in value if name in known)

    return Origin(names("first_conv"), next(iter(names("classifier")), ""))


def _check(name: Any, known: list[str]) -> None:
    """Refuse what is no plain name of a model."""
    found = NAME.fullmatch(name) if isinstance(name, str) else None
    if found is not None and found[1] in known:
        return
    close = get_close_matches(str(name), known, n=1, cutoff=0.5)
    hint = f"Did you mean {close[0]!r}?" if close else "timm.list_models() tells all."
    raise NetworkError(
        f"expected the name of one of timm's {len(known)} models, got {name!r}. {hint}"
    )


def _timm() -> Any:
    """The package, imported late.

    Raises:
        NetworkError: It is not installed, or does not import.
    """
    try:
        return importlib.import_module("timm")
    except ModuleNotFoundError as error:
        if error.name == "timm":
            raise NetworkError(
                "expected timm, which is not installed; run pip install 'quadband[timm]'"
            ) from error
        raise _broken(error) from error
    except Exception as error:  # a torchvision of another torch raises RuntimeError, among others
        raise _broken(error) from error


def _broken(error: Exception) -> NetworkError:
    reason = " ".join(str(error).split())[:200]
    return NetworkError(
        f"expected timm, which is installed but does not import: {reason.rstrip('.')}; install the "
        f"torchvision that was built for torch {torch.__version__}"
    )
