"""Rectifiers that died: channels of ReLUs that give nothing but 0, through which nothing learns."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from pipeline.console import warn
from pipeline.network import Network

KINDS = (nn.ReLU, nn.ReLU6)


class Rectifiers:
    """Watches which channels of a network's ReLUs give a positive value to any validation tile."""

    def __init__(self) -> None:
        self._alive: dict[str, Tensor] = {}  # dotted name -> (C,) bool
        self._told: set[str] = set()

    @torch.no_grad()
    def begin(self, network: Network) -> None:
        """Begin anew, with a network in evaluation mode."""
        self._alive = {}
        device = next(network.parameters()).device
        # So that a rank that gets no tiles, too, knows how many channels there are.
        with self.watching(network):
            network.forward(torch.zeros(1, *network.input_shape, device=device))
        for alive in self._alive.values():
            alive.zero_()

    @contextmanager
    def watching(self, network: nn.Module) -> Iterator[None]:
        """A while in which what the ReLUs give is looked at; no hook stays behind."""
        with ExitStack() as hooks:
            for name, layer in network.named_modules():
                if isinstance(layer, KINDS):
                    hooks.enter_context(layer.register_forward_hook(self._noting(name)))
            yield

    def _noting(self, name: str) -> Callable[[nn.Module, Any, Tensor], None]:
        def note(layer: nn.Module, given: Any, output: Tensor) -> None:
            others = [axis for axis in range(output.dim()) if axis != 1]
            # Nothing is below 0, and a sum takes a tenth of the time of a maximum.
            alive = output.detach().sum(dim=others) > 0
            self._alive[name] = alive | self._alive[name] if name in self._alive else alive

        return note

    def measures(self, total_of: Callable[[Tensor], Tensor], *, tell: bool) -> dict[str, float]:
        """Share of channels that died, of networks that have ReLUs; warns of whole layers, once.

        Args:
            total_of: Sums a tensor over all ranks.
            tell: Whether this rank is the one that warns.
        """
        if not self._alive:
            return {}
        dead = total_of(torch.cat(list(self._alive.values())).double()) == 0
        sizes = [len(alive) for alive in self._alive.values()]
        for name, layer in zip(self._alive, torch.split(dead, sizes), strict=True):
            if tell and layer.all() and name not in self._told:
                self._told.add(name)
                warn(
                    f"layer {name} died: it gives 0 in every channel for every validation tile, "
                    "and nothing learns through it. Lower optimizer.lr, or take "
                    "activation=leaky_relu."
                )
        return {"dead_relus": dead.double().mean().item()}
