"""Weights of a trained network into a new one: by layer, by band and by class, all by name.

Nothing is assumed but names: a layer is the donor's where it is called the same and its weights
have the same shapes. First layers and heads go further than that, band by band and class by class,
since those are named, too.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

from torch import Tensor

from pipeline.channels import Seen, rebanded, seen
from pipeline.errors import BundleError
from pipeline.layers import Normalize
from pipeline.network import Network
from pipeline.pretrained import origin
from pipeline.spec import head_of

InitBands = Literal["by_name", "mean", "random"]
Layer = dict[str, Tensor]  # weights and buffers of a layer by their own names

MOST_NAMED = 8  # layers that a line of the terminal names


@dataclass
class Transfer:
    """What came of it, by the dotted names of layers that hold weights."""

    init_bands: InitBands
    taken: list[str] = field(default_factory=list)  # as the donor has them
    by_band: list[str] = field(default_factory=list)
    by_class: list[str] = field(default_factory=list)
    fresh: dict[str, str] = field(default_factory=dict)  # name -> why it is drawn anew
    new_bands: list[str] = field(default_factory=list)  # that the donor did not know
    new_classes: list[str] = field(default_factory=list)

    def facts(self) -> dict[str, Any]:
        """The same, for the record."""
        return asdict(self)

    def lines(self) -> list[str]:
        """What to tell of it."""
        moved = len({*self.taken, *self.by_band, *self.by_class})
        said = [f"{moved} of {moved + len(self.fresh)} layers with weights start from the donor."]
        if self.by_band:
            way = "by the names" if self.init_bands == "by_name" else "from the mean"
            new = _unknown(self.new_bands)
            said.append(f"Started {way} of the donor's bands: {_some(self.by_band)}{new}.")
        if self.by_class:
            new = _unknown(self.new_classes)
            said.append(
                f"Started by the names of the donor's classes: {_some(self.by_class)}{new}."
            )
        if self.fresh:
            reasons = [f"{name} ({why})" for name, why in self.fresh.items()]
            said.append(f"Drawn anew: {_some(reasons)}.")
        return said


def transfer(network: Network, donor: Network, init_bands: InitBands = "by_name") -> Transfer:
    """Give a network the donor's weights where layers match; the rest stays as it was drawn.

    Normalize keeps the statistics that it has, those of the new data: they describe pixels and are
    not learned. With the donor's, tiles of another sensor would reach the first layer off centre
    and off scale, which is what that layer is there to prevent.

    Args:
        network: Takes the weights, in place.
        donor: Gives them; may have other bands, classes and layers, and another task.
        init_bands: How layers that see the bands start. ``by_name``: each band from the donor's of
            that name, and one that the donor did not know from the mean of all that it knew.
            ``mean``: every band from that mean. ``random``: drawn anew.

    Raises:
        BundleError: No layer matches.
    """
    moving = _Moving(network, donor, init_bands)
    for name, layer in layers_of(network).items():
        if not isinstance(network.get_submodule(name), Normalize):
            moving.take(name, layer)
    found = moving.found
    if not (found.taken or found.by_band or found.by_class):
        raise BundleError(
            "Expected a donor with a layer of the same name and shape as one here, got none: it "
            f"has {_shapes(donor)}; this network has {_shapes(network)}. Rename the layers of one "
            "of them, or set train.init_from=null."
        )
    return found


def layers_of(network: Network) -> dict[str, Layer]:
    """Dotted name -> weights and buffers, of the layers that hold any themselves."""
    found: dict[str, Layer] = {}
    for key, value in network.state_dict().items():
        name, _, own = key.rpartition(".")
        found.setdefault(name, {})[own] = value
    return found


class _Moving:
    """The two networks, and what has come of them so far."""

    def __init__(self, network: Network, donor: Network, init_bands: InitBands) -> None:
        self.network, self.donor, self.init_bands = network, donor, init_bands
        self.theirs = layers_of(donor)
        self.here, self.there = seen(network), seen(donor)
        self.heads = (_head(network), _head(donor))
        self.by_name = init_bands == "by_name"
        known = {*donor.bands, *_channels(self.there)}
        self.found = Transfer(
            init_bands,
            new_bands=[name for name in _channels(self.here) if name not in known],
            new_classes=[name for name in network.classes if name not in donor.classes.names],
        )

    def take(self, name: str, layer: Layer) -> None:
        """Fill a layer in place, whole or not at all, and note what came of it."""
        reason = self._refusal(name, layer)
        if reason is None:
            filled = {key: self._filled(name, mine, self.theirs[name][key])
                      for key, mine in layer.items()}  # fmt: skip
            reason = self._misfit(name, layer, filled)
        if reason is not None:
            self.found.fresh[name] = reason
            return
        for key, value in filled.items():
            assert value is not None, "a misfit otherwise"
            layer[key].copy_(value)
        by_band, by_class = self._other_bands(name), self._other_classes(name)
        self.found.by_band += [name] if by_band else []
        self.found.by_class += [name] if by_class else []
        self.found.taken += [] if by_band or by_class else [name]

    def _refusal(self, name: str, layer: Layer) -> str | None:
        """Why a layer is drawn anew whatever its shapes."""
        theirs = self.theirs.get(name)
        if theirs is None:
            return "not in the donor"
        if self.init_bands == "random" and name in self.here:
            return "init_bands=random"
        if name in self.heads and (reason := self._other_outputs()):
            return reason
        if theirs.keys() != layer.keys():
            return f"has {', '.join(layer)}, the donor's {', '.join(theirs)}"
        return None

    def _other_outputs(self) -> str | None:
        """Why the layer that gives the outputs is drawn anew."""
        if self.network.task != self.donor.task:
            return f"the donor was trained to {self.donor.task}"
        if self.heads[0] != self.heads[1]:
            return f"outputs come from {self.heads[0]}, the donor's from {self.heads[1]}"
        if self.network.task == "reconstruct":
            same = self.network.bands == self.donor.bands
            return None if same else f"the donor reconstructs {', '.join(self.donor.bands)}"
        if not set(self.network.classes) & set(self.donor.classes):
            return f"no class of the donor's, {', '.join(self.donor.classes)}"
        return None

    def _misfit(self, name: str, layer: Layer, filled: dict[str, Tensor | None]) -> str | None:
        for key, value in filled.items():
            if value is None:
                return f"{_shape(layer[key])}, the donor's {_shape(self.theirs[name][key])}"
        return None

    def _other_bands(self, name: str) -> bool:
        """Whether a layer sees bands in both networks, and they can't be taken as they are."""
        if name not in self.here or name not in self.there:
            return False
        return self.here[name] != self.there[name] or not self.by_name

    def _other_classes(self, name: str) -> bool:
        if name not in self.heads or self.network.task == "reconstruct":
            return False
        return self.network.classes != self.donor.classes

    def _filled(self, name: str, mine: Tensor, theirs: Tensor) -> Tensor | None:
        """A tensor like ``mine`` with what the donor has for it; None: the shapes don't match."""
        filled = mine.clone()
        to: Any = ...
        if self._other_classes(name):
            shared = [c for c in self.network.classes if c in self.donor.classes.names]
            if len(mine) != len(self.network.classes) or len(theirs) != len(self.donor.classes):
                return None
            to = [self.network.classes.index(c) for c in shared]
            theirs = theirs[[self.donor.classes.index(c) for c in shared]]
        given: Tensor | None = theirs
        if self._other_bands(name) and mine.dim() > self.here[name].axis:
            given = rebanded(filled[to], theirs, self.here[name], self.there[name], self.by_name)
        if given is None or given.shape != filled[to].shape:
            return None
        filled[to] = given
        return filled


def _channels(seen: Mapping[str, Seen]) -> list[str]:
    """Names of the bands and spectral indices that layers see."""
    return list(dict.fromkeys(name for layer in seen.values() for name in layer.channels))


def _head(network: Network) -> str:
    """Dotted name of the layer that gives the outputs."""
    name, _ = head_of(network.spec)
    model = origin(network.get_submodule(name)) if name else None
    return name if model is None else f"{name}.{model.head}"


def _unknown(names: list[str]) -> str:
    return f"; new to the donor: {', '.join(names)}" if names else ""


def _shapes(network: Network) -> str:
    layers = layers_of(network).items()
    return _some([f"{name} {_shape(next(iter(layer.values())))}" for name, layer in layers])


def _shape(value: Tensor) -> str:
    return " x ".join(map(str, value.shape)) or "a number"


def _some(names: Collection[str]) -> str:
    """The first names, and how many more there are."""
    shown = list(names)[:MOST_NAMED]
    more = len(names) - len(shown)
    return ", ".join(shown) + (f" and {more} more" if more else "")
