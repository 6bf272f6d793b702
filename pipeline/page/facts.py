"""What was trained on what, in words: a term and what is to say of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pipeline.split import SPLITS

if TYPE_CHECKING:
    from pipeline.store import Store

Facts = list[tuple[str, str]]


@dataclass(frozen=True, slots=True)
class Pace:
    """How fast training went; not of the parameters, so from the run's record alone."""

    tiles: int  # of an epoch
    rates: Sequence[float]  # tiles a second, epoch by epoch

    @property
    def seconds(self) -> float:
        """Time of all epochs, without what is measured between them."""
        return sum(self.tiles / rate for rate in self.rates if rate > 0)

    def sentence(self) -> str:
        """For people."""
        took = self.seconds
        rate = len(self.rates) * self.tiles / took
        shown = f"{took:.0f} s" if took < 120 else f"{took / 60:.1f} min"
        if took >= 7200:
            shown = f"{took / 3600:.1f} h"
        epochs = f"{len(self.rates)} epoch{'' if len(self.rates) == 1 else 's'}"
        return f"{shown} for {epochs}, {rate:,.0f} tiles/s, validation left out"


def training(
    store: Store, params: Mapping[str, Any], digest: str, network: Any, pace: Pace | None
) -> Facts:
    """The tiles, the network and how it learned."""
    found: Facts = [("tiles", _tiles(store))]
    if ground := _ground(store):
        found.append(("on the ground", ground))
    found.append(("bands", f"{', '.join(store.bands.names)} ({store.dtype.name})"))
    if network:
        totals = network["totals"]
        found.append((
            "network",
            f"{totals['parameters']:,} parameters, {totals['macs'] / 1e6:,.1f} million "
            "multiply-accumulates a tile",
        ))  # fmt: skip
    if learned := _learned(params):
        found.append(("training", learned))
    if pace and pace.seconds > 0:
        found.append(("time", pace.sentence()))
    return [*found, ("weights", digest[:12]), ("tiles' digest", store.digest[:12])]


def _tiles(store: Store) -> str:
    counts = ", ".join(f"{store.count(split):,} {split}" for split in SPLITS if store.count(split))
    return f"{counts}, of {store.tile_size} x {store.tile_size} pixels"


def _ground(store: Store) -> str:
    if not store.resolution:
        return ""
    metres = store.resolution
    return f"{metres:g} m a pixel, {metres * store.tile_size:g} m a tile"


def _learned(params: Mapping[str, Any]) -> str:
    train, optimizer = params.get("train", {}), params.get("optimizer", {})
    if "epochs" not in train or "name" not in optimizer:
        return ""
    parts = [f"{optimizer['name']}, learning rate {optimizer.get('lr', 0):g}"]
    if schedule := params.get("schedule", {}).get("name"):
        parts.append(str(schedule).replace("_", " "))
    parts.append(f"batches of {train.get('batch_size')}")
    return ", ".join(parts)
