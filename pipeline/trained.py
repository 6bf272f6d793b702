"""A trained network and the tiles that it is looked at with."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from pipeline import bundle as bundles
from pipeline import console
from pipeline.bundle import Bundle
from pipeline.errors import BundleError, StoreError
from pipeline.evidence import Evidence
from pipeline.matching import UNKNOWN, Kind, Match
from pipeline.places import Places
from pipeline.reconstruction import Errors
from pipeline.store import Store

if TYPE_CHECKING:
    from pipeline.schema import EngineSection, EvaluateSection

TILES, MODELS = Path("data/tiles"), Path("models")


@dataclass(frozen=True, slots=True)
class Trained:
    """A store and a bundle that fit each other."""

    store: Store
    bundle: Bundle
    match: Match | None = None  # None: the store has just the bands and classes of the network

    def heard(self, evaluate: EvaluateSection) -> Trained:
        """The same, answering as the votes and the views of a section have it."""
        return replace(self, bundle=self.bundle.heard(evaluate.vote, evaluate.tta))

    def member(self, index: int) -> Trained:
        """The same with one member of the ensemble."""
        return replace(self, bundle=self.bundle.member(index))

    @classmethod
    def open(cls, engine: EngineSection, tiles: Path = TILES, models: Path = MODELS) -> Trained:
        """Open both and check that the network was made for such tiles.

        Raises:
            StoreError: The store is missing or torn.
            BundleError: The bundle is, or its bands, classes or tile size differ from the store's.
        """
        limit_threads(engine)
        both = cls(Store.open(tiles), bundles.load(models))
        both._check(tiles, models)
        return both

    @classmethod
    def matched(cls, engine: EngineSection, tiles: Path, models: Path) -> Trained:
        """Open any store and any bundle; bands and classes are matched by name.

        Raises:
            StoreError: The store is missing or torn.
            BundleError: The bundle is, or it can't be used on such tiles.
        """
        limit_threads(engine)
        store, bundle = Store.open(tiles), bundles.load(models)
        if bundle.reconstructs:
            raise BundleError(
                f"Expected a network that tells classes in {models}, got one that reconstructs its "
                "tile. Name a classifier with --bundle."
            )
        match = Match.of(
            Kind(bundle.bands, bundle.classes, bundle.tile_size, str(models)),
            Kind(store.bands, store.classes, store.tile_size, str(tiles)),
        )
        both = cls(store, bundle, match)
        both._tell_of_other_tiles(tiles)
        return both

    def _check(self, tiles: Path, models: Path) -> None:
        store, bundle = self.store, self.bundle
        pairs = {
            "bands": (", ".join(bundle.bands), ", ".join(store.bands)),
            "tile size": (f"{bundle.tile_size} pixels", f"{store.tile_size} pixels"),
        }
        if not bundle.reconstructs:  # one that does takes tiles of any class, or of none
            pairs["classes"] = (", ".join(bundle.classes), ", ".join(store.classes))
        for what, (expected, got) in pairs.items():
            if expected != got:
                raise BundleError(
                    f"Expected tiles of the {what} that the network in {models} was trained for "
                    f"({expected}), got {got} in {tiles}. Train again, or ingest such tiles."
                )
        self._tell_of_other_tiles(tiles)

    def _tell_of_other_tiles(self, tiles: Path) -> None:
        seen, here = self.bundle.data_digest, self.store.digest
        if seen != here:
            console.say(
                f"The network was trained on other tiles ({seen[:12]}) than those in "
                f"{tiles} ({here[:12]}): it may have seen some of them in training."
            )

    def probabilities(self, split: str, batch_size: int) -> NDArray[np.float32]:
        """Probabilities (N, K) of a split's tiles, in its order.

        Raises:
            StoreError: The split is empty.
            BundleError: The network gives numbers that are not finite.
        """
        probabilities = np.concatenate(
            [
                self.bundle.probabilities(pixels, batch_size=batch_size)
                for pixels in self._batches(split, batch_size)
            ]
        )
        check_finite(probabilities)
        return probabilities

    def evidence(self, probabilities: NDArray[Any], split: str, places: str) -> Evidence:
        """What it says of a split's tiles, in its order; those of unknown classes left out.

        Args:
            probabilities: (N, K) of the split's tiles.
            split: Its name.
            places: As ``Places.of`` wants them.

        Raises:
            BundleError: The network knows none of their classes.
        """
        store, actual = self.store, self.labels(split)
        rows = store.split_range(split)
        if len(rows) and not (actual != UNKNOWN).any():
            counts = store.counts[split]
            raise BundleError(
                f"Expected {split} tiles of a class that the network knows "
                f"({', '.join(self.bundle.classes)}), got none: theirs are "
                f"{', '.join(name for name, tiles in counts.items() if tiles)}."
            )
        every = Evidence(
            tuple(store.index["id"].iloc[rows.start : rows.stop]),
            actual,
            probabilities.astype(np.float32, copy=False),
            Places.of(store.index, rows, places),
            self.bundle.classes,
        )
        return every if (known := actual != UNKNOWN).all() else every.part(known)

    def leaked(self, split: str) -> list[str]:
        """What the network saw in training of a split's tiles, in sentences."""
        from pipeline import leaks

        store, bundle = self.store, self.bundle
        if bundle.data_digest == store.digest:
            return leaks.again(store, split)
        bands = self.match.bands if self.match else None
        return leaks.known(store, split, bands, bundle.tiles, bundle.ground)

    def labels(self, split: str) -> NDArray[np.int64]:
        """Labels (N,) of a split as the network numbers its classes; UNKNOWN for another class."""
        labels = self.store.labels(split)
        return labels if self.match is None else self.match.labels[labels]

    def opinions(self, split: str, batch_size: int) -> list[NDArray[np.float32]]:
        """Probabilities (N, K) with which members of an ensemble vote; none of a single network.

        No temperature is in them. Errors as those of ``probabilities``.
        """
        each = [self.member(i) for i in range(len(self.bundle.members))]
        bare = [replace(one, bundle=replace(one.bundle, temperature=1.0)) for one in each]
        shares = []
        for i, (one, member) in enumerate(zip(bare, self.bundle.members, strict=True)):
            with console.marked(f"member {i} ({member.model}): "):
                shares.append(one.probabilities(split, batch_size))
        return shares

    def errors(self, split: str, batch_size: int) -> Errors:
        """Errors of the reconstructions of a split's tiles, in its order.

        Raises:
            StoreError: The split is empty.
            BundleError: The network gives numbers that are not finite.
        """
        errors = Errors.of(
            (pixels, self.bundle.reconstructions(pixels, batch_size=batch_size))
            for pixels in self._batches(split, batch_size)
        )
        check_finite(errors.squared, "reconstructions")
        return errors

    @property
    def deviation(self) -> NDArray[np.float64]:
        """Deviation (C,) by which the network normalizes each band."""
        _, deviation = self.bundle.network.band_statistics
        return deviation.flatten().cpu().numpy().astype(np.float64)

    def _batches(self, split: str, batch_size: int) -> Iterator[NDArray[Any]]:
        if not self.store.count(split):
            raise StoreError(f"Expected tiles in the {split} split, got none. See split.{split}.")
        starts = range(0, self.store.count(split), batch_size)
        for start in console.progress(starts, total=len(starts), what=f"batches of {split}"):
            pixels = self.store.pixels(split, slice(start, start + batch_size))
            yield pixels if self.match is None else pixels[..., list(self.match.bands)]


def check_finite(numbers: NDArray[Any], what: str = "probabilities") -> None:
    """Refuse what a network that diverged puts out: its largest output would mean nothing."""
    if bad := int((~np.isfinite(numbers).all(axis=1)).sum()):
        raise BundleError(
            f"Expected {what}, got {bad} of {len(numbers)} tiles without: the network diverged in "
            "training, or the pixels are not finite. Train with a lower optimizer.lr."
        )


def limit_threads(engine: EngineSection) -> None:
    """Use as many CPU threads as ``engine.threads`` says."""
    if engine.threads is not None:
        import torch

        torch.set_num_threads(engine.threads)
