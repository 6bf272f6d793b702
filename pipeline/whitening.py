"""Measures the filters of ``Whiten`` layers on training tiles."""

from __future__ import annotations

from contextlib import suppress

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import unfold

from pipeline.bundle import as_input
from pipeline.layers import Whiten
from pipeline.store import Store

TILES = 500  # that are looked at, spread over the training split
TOGETHER = 100


@torch.no_grad()
def whiten(network: nn.Module, store: Store) -> list[str]:
    """Give every ``Whiten`` of a network its filters, the first one first; their dotted names."""
    layers = {name: part for name, part in network.named_modules() if isinstance(part, Whiten)}
    if not layers:
        return []
    training = network.training
    network.eval()
    count = store.count("train")
    rows = np.unique(np.linspace(0, count - 1, min(TILES, count)).round().astype(np.int64))
    tiles = as_input(torch.from_numpy(store.pixels("train", rows)))
    for layer in layers.values():
        layer.set_moments(_moments(network, layer, tiles).float())
    network.train(training)
    return list(layers)


class _Reached(Exception):
    """What comes behind the layer need not run."""


def _moments(network: nn.Module, layer: Whiten, tiles: Tensor) -> Tensor:
    """Mean products (F, F) of the values of a patch, over what reaches a layer of tiles."""
    reached: list[Tensor] = []

    def take(_: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        # Without its padding, which is no part of a tile.
        patches = unfold(inputs[0], layer.kernel_size, stride=layer.stride)  # (N, F, places)
        reached.append(patches.transpose(0, 1).flatten(1))
        raise _Reached

    total, places = torch.zeros((), dtype=torch.float64), 0
    handle = layer.register_forward_pre_hook(take)
    try:
        for batch in torch.split(tiles, TOGETHER):
            with suppress(_Reached):
                network(batch)
            values = reached.pop()
            total = total + (values @ values.T).double()
            places += values.shape[1]
    finally:
        handle.remove()
    return total / places
