"""Averages of a network's weights over the steps of its training."""

from __future__ import annotations

import copy
from typing import NamedTuple

import torch
from torch import Tensor, nn


class Average:
    """A running average of all weights and buffers of a network.

    Polyak averaging with an exponential window; in the first steps the window is as long as what
    there is to average, after the usual rule min(keep, (1 + n) / (10 + n)).
    """

    def __init__(self, network: nn.Module, keep: float) -> None:
        self.network = copy.deepcopy(network).requires_grad_(False)
        self.keep = keep
        self.updates = 0
        self._pairs: _Pairs | None = None

    def update(self, network: nn.Module) -> None:
        """Take in the network's present state."""
        self.updates += 1
        if self._pairs is None:  # not before: on the way to its device a network changes buffers
            self._pairs = _pairs(self.network, network)
        torch._foreach_lerp_(self._pairs.averages, self._pairs.values, 1 - self.kept())
        for old, new in self._pairs.counters:
            old.copy_(new)

    def kept(self) -> float:
        """Share of the average so far in the next one."""
        return min(self.keep, (1 + self.updates) / (10 + self.updates))


class Tail(Average):
    """The plain mean of the weights after each of the last steps; before, the weights themselves.

    Stochastic weight averaging (Izmailov et al. 2018), with each step in place of each epoch.

    Args:
        network: Whose weights.
        start: Steps before the first that counts.
    """

    def __init__(self, network: nn.Module, start: int) -> None:
        super().__init__(network, 0.0)
        self.start = start

    @property
    def begun(self) -> bool:
        """Whether several weights are averaged."""
        return self.updates > self.start + 1

    def kept(self) -> float:
        """All weights count alike."""
        return 1 - 1 / max(1, self.updates - self.start)


class _Pairs(NamedTuple):
    averages: list[Tensor]
    values: list[Tensor]  # what each is the average of
    counters: list[tuple[Tensor, Tensor]]  # whole numbers have no average


def _pairs(average: nn.Module, network: nn.Module) -> _Pairs:
    # Of neither is there a gradient: a state is cut off from it.
    both = list(zip(average.state_dict().values(), network.state_dict().values(), strict=True))
    floats = [pair for pair in both if pair[0].is_floating_point()]
    counters = [pair for pair in both if not pair[0].is_floating_point()]
    return _Pairs([old for old, _ in floats], [new for _, new in floats], counters)
