"""What people call a network, or several that vote: by the parameters that they are made with."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any


def models(params: Mapping[str, Any], unknown: str = "network") -> list[str]:
    """The model of each network that is trained: one, or as many as vote."""
    train = params.get("train", {})
    wanted, layers = train.get("member_models") or [], train.get("member_networks") or {}
    own = str(params.get("model", {}).get("name", unknown))
    named = [str(layers.get(name, {}).get("name", name)) for name in wanted] or [own]
    count = max(int(train.get("members", 1)), len(wanted))
    return [named[i % len(named)] for i in range(count)]


def together(models: Sequence[str]) -> str:
    """``vgg``, or ``3 x lenet, vgg`` of several."""
    kinds = ", ".join(dict.fromkeys(models))
    return f"{len(models)} x {kinds}" if len(models) > 1 else kinds
