"""What to say of a gradient that is not finite."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

from torch import Tensor


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


def remedy(rate: float, clip: float | None) -> str:
    """What to do, from the base rate and the length at which gradients are cut."""
    if clip is None:
        return f"Lower optimizer.lr, now {rate:g}, or set train.clip=1."
    return f"Lower optimizer.lr, now {rate:g}: train.clip={clip:g} was not enough."
