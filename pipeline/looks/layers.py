"""Which convolutions are looked at, and what each of them sees."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import takewhile
from typing import TYPE_CHECKING

from pipeline import channels, probes
from pipeline.errors import ConfigError
from pipeline.layers import Normalize
from pipeline.looks.base import under
from pipeline.trained import Trained
from pipeline.types import Bands

if TYPE_CHECKING:
    from pipeline.network import Network
    from pipeline.schema import VisualizeSection

FILTERS = 6  # whose activations are shown unless some are named
# What Normalize did, by its ``scale``.
SCALED = {
    True: "centred and divided band by band: a weight is for a step of one deviation of its band",
    False: "centred and divided by one number for all bands: a weight is for a step of that size",
}
MODERATE = 64  # filters of a layer that still fit on a picture


def check(trained: Trained, settings: VisualizeSection) -> None:
    """Refuse layers that are no convolutions, and filters that they lack."""
    with under("visualize.layers"):
        found = names(trained, settings)
    for layer in found:
        chosen(trained, layer, settings.filters)
    named = settings.filters if isinstance(settings.filters, dict) else {}
    if missing := [layer for layer in named if layer not in found]:
        raise ConfigError(
            f"Expected layers of visualize.layers ({', '.join(found) or 'none'}) in "
            f"visualize.filters, got {', '.join(missing)}."
        )


def names(trained: Trained, settings: VisualizeSection) -> list[str]:
    """Convolutions named in ``visualize.layers``, or the first and the last of moderate size."""
    network = trained.bundle.network
    if settings.layers is not None:
        for layer in settings.layers:
            probes.convolution(network, layer)
        return list(dict.fromkeys(settings.layers))
    found = probes.convolutions(network)
    last = [name for name in found if _moderate(network, name)]
    return list(dict.fromkeys([*found[:1], *last[-1:]]))


def _moderate(network: Network, layer: str) -> bool:
    """Whether filters are few enough to be shown together, and more than a point each."""
    filters, _, *side = probes.filters(network, layer).shape
    return bool(filters <= MODERATE and max(side) > 1)


def chosen(
    trained: Trained, layer: str, wanted: list[int] | dict[str, list[int]] | None
) -> list[int]:
    """The filters named in ``visualize.filters``, or those with the largest norm."""
    weights = probes.filters(trained.bundle.network, layer)
    mine = wanted.get(layer) if isinstance(wanted, dict) else wanted
    if mine is None:
        return probes.strongest(weights, FILTERS)
    if not mine or not all(0 <= index < len(weights) for index in mine):
        raise ConfigError(
            f"Expected filters of {layer} from 0 to {len(weights) - 1} in visualize.filters, "
            f"got {mine}. For several layers: visualize.filters={{{layer}: [0]}}."
        )
    return mine


@dataclass(frozen=True, slots=True)
class Sight:
    """What a convolution sees."""

    channels: tuple[str, ...]  # a name for each input channel of a filter
    bands: Bands | None  # the same, where a filter sees the bands themselves
    normalized: str  # how, by a Normalize before it; "": not at all

    @classmethod
    def of(cls, network: Network, layer: str) -> Sight:
        """Names of what reaches a filter, or numbers where bands are mixed already."""
        seen, module = channels.seen(network).get(layer), probes.convolution(network, layer)
        depth = module.weight.shape[1]
        if seen is None or seen.axis != 1 or len(set(seen.channels)) != depth:
            numbers = [str(i) for i in range(depth)] if depth > 1 else ["its own"]
            return cls(tuple(numbers), None, "")
        before = takewhile(lambda part: part is not module, network.modules())
        scales = [part.scale for part in before if isinstance(part, Normalize)]
        return cls(seen.channels, Bands(seen.channels), SCALED[scales[0]] if scales else "")
