"""A network on tiles of any store: bands and classes are found by name, or a sentence says why not.

A store may have more bands than the network looks at, in another order, and classes in another
order, fewer or more. Tiles of a class that the network does not know are left out, and counted.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from pipeline.errors import BundleError
from pipeline.types import Bands, Classes

UNKNOWN = -1  # label of a class that the network does not know


@dataclass(frozen=True, slots=True)
class Kind:
    """What a network takes, or what a store has."""

    bands: Bands
    classes: Classes
    tile_size: int
    where: str  # for messages


@dataclass(frozen=True, slots=True)
class Match:
    """Where in a store's tiles a network finds its bands, and what it calls the store's classes."""

    bands: tuple[int, ...]  # position of each of the network's bands
    labels: NDArray[np.int64]  # (store's classes,) label of the network; UNKNOWN
    names: tuple[str, ...] = field(default=())  # the store's classes that the network lacks

    @classmethod
    def of(cls, network: Kind, store: Kind) -> Match:
        """Match by name.

        Raises:
            BundleError: A band is missing, no class is shared, or tiles have another size.
        """
        if network.tile_size != store.tile_size:
            raise _unfit(
                f"tiles of {network.tile_size} x {network.tile_size} pixels",
                f"{store.tile_size} x {store.tile_size}", network, store,
                f"Ingest them with tiles.size={network.tile_size}.",
            )  # fmt: skip
        if missing := [name for name in network.bands if name not in store.bands.names]:
            raise _unfit(
                f"the bands {', '.join(network.bands)}", ", ".join(store.bands), network, store,
                f"Ingest tiles that have {' and '.join(missing)}, by that name.",
            )  # fmt: skip
        known = {name: k for k, name in enumerate(network.classes)}
        if not known.keys() & set(store.classes):
            raise _unfit(
                f"tiles of a class among {', '.join(network.classes)}",
                ", ".join(store.classes) or "tiles without labels", network, store,
                "Name the classes alike.",
            )  # fmt: skip
        return cls(
            tuple(store.bands.index(name) for name in network.bands),
            np.array([known.get(name, UNKNOWN) for name in store.classes], np.int64),
            tuple(name for name in store.classes if name not in known),
        )

    def left_out(self, counts: Mapping[str, int]) -> dict[str, int]:
        """Tiles of classes that the network does not know, of a split's counts by class."""
        return {name: counts[name] for name in self.names if counts[name]}


def _unfit(expected: str, got: str, network: Kind, store: Kind, advice: str) -> BundleError:
    return BundleError(
        f"Expected {expected}, as the network in {network.where} takes them, got {got} in "
        f"{store.where}. {advice}"
    )
