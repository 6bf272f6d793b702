"""What to say of a gradient that is not finite."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn


class Lengths(NamedTuple):
    """How long the gradients of some weights are, in the order of the network."""

    names: Sequence[str]
    values: Tensor  # (L,)


def culprit(lengths: Lengths) -> str:
    """Which weights a gradient that is not finite came from."""
    each = dict(zip(lengths.names, lengths.values.tolist(), strict=True))
    # It travels from the end to the front: the last weights that have a bad one had it first.
    bad = [name for name, length in each.items() if not math.isfinite(length)]
    if bad:
        return f"the gradient of {bad[-1]} went first"
    longest = max(each, key=each.__getitem__)
    return (
        f"each layer's is finite, but together they overflow, and that of {longest} is the "
        f"longest, {each[longest]:.3g}"
    )


def unsound(network: nn.Module, rate: float, clip: float | None) -> str:
    """What a network has that gives no finite outputs, and what to do."""
    state = network.state_dict().items()
    bad = next((name for name, value in state if not torch.isfinite(value).all()), None)
    if bad is None:
        return f"all weights are finite, but what they give overflows. {remedy(rate, clip)}"
    if bad.rpartition(".")[2].startswith("running_"):
        return (
            f"{bad}, measured on the training tiles, overflowed. Lower what augment does to "
            f"pixels, or optimizer.lr, now {rate:g}."
        )
    return f"{bad} is not finite. {remedy(rate, clip)}"


def remedy(rate: float, clip: float | None) -> str:
    """What to do, from the base rate and the length at which gradients are cut."""
    if clip is None:
        return f"Lower optimizer.lr, now {rate:g}, or set train.clip=1."
    return f"Lower optimizer.lr, now {rate:g}: train.clip={clip:g} was not enough."
