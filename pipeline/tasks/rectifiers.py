"""Rectifiers that died: channels of ReLUs that give nothing but 0, through which nothing learns."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from pipeline.network import Network

KINDS = (nn.ReLU, nn.ReLU6)


class Rectifiers:
    """Which channels of a network's ReLUs gave a positive value to any of the tiles watched."""

    def __init__(self, network: Network) -> None:
        self.alive: dict[str, Tensor] = {}  # dotted name -> (C,) bool
        self._learn_sizes(network)

    @torch.no_grad()
    def _learn_sizes(self, network: Network) -> None:
        # A rank without validation tiles must know, too, how many channels there are to count.
        device = next(network.parameters()).device
        training = network.training
        network.eval()
        with self.watching(network):
            network.forward(torch.zeros(1, *network.input_shape, device=device))
        network.train(training)
        self.clear()

    def clear(self) -> None:
        """Begin anew."""
        for alive in self.alive.values():
            alive.zero_()

    @contextmanager
    def watching(self, network: Network) -> Iterator[None]:
        """A while in which what the ReLUs give is looked at."""
        with ExitStack() as hooks:
            for name, layer in network.named_modules():
                if isinstance(layer, KINDS):
                    hooks.enter_context(layer.register_forward_hook(self._noting(name)))
            yield

    def _noting(self, name: str) -> Any:
        @torch.no_grad()
        def note(layer: nn.Module, given: Any, output: Tensor) -> None:
            others = [axis for axis in range(output.dim()) if axis != 1]
            alive = output.amax(dim=others) > 0
            self.alive[name] = self.alive[name] | alive if name in self.alive else alive

        return note
