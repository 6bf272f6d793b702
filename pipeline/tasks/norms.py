"""Statistics of batch norms for weights that no batch was ever normalized with."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch.nn.modules.batchnorm import _BatchNorm

from pipeline.data import Batch
from pipeline.network import Network


@torch.no_grad()
def refresh(network: Network, batches: Iterable[Batch]) -> None:
    """Measure mean and variance of what reaches each batch norm anew; in float32, without dropout.

    An average of weights needs it (Izmailov et al. 2018, section 3.2): what its layers give is not
    the average of what theirs gave. Frozen batch norms keep what they have. The network is left in
    evaluation mode.

    Args:
        network: Its batch norms forget what they measured before.
        batches: All count alike, whatever their length.
    """
    norms = _learning(network)
    if not norms:
        return
    momenta = [norm.momentum for norm in norms]
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None  # a plain mean over batches
        norm.train()
    for batch in batches:
        with torch.autocast(batch.pixels.device.type, enabled=False):
            network.forward(batch.pixels)
    for norm, momentum in zip(norms, momenta, strict=True):
        norm.momentum = momentum
    network.eval()


def _learning(network: Network) -> list[_BatchNorm]:
    """Batch norms that would follow their batches in training; leaves all in evaluation mode."""
    network.train()
    norms = [
        layer
        for layer in network.modules()
        if isinstance(layer, _BatchNorm) and layer.training and layer.track_running_stats
    ]
    network.eval()
    return norms
