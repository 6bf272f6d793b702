"""What a network answered of every tile that it was measured on, as ``evaluate`` wrote it down."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline import metrics
from pipeline.errors import ComparisonError
from pipeline.evidence import Evidence
from pipeline.kept import columns_of, table_of, torn
from pipeline.measuring import OF_COUNTS, told
from pipeline.places import Places
from pipeline.resampling import Resampling
from pipeline.types import Classes

Names = NDArray[np.str_]
Labels = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Answers:
    """Tiles by id, the class of each and the one that was found, by name."""

    ids: Names  # (N,)
    actual: Names
    predicted: Names
    confidence: NDArray[np.float64]  # of what was found; nan: not known
    places: Names | None = None  # what each tile lies in; "": nothing that it shares

    def __len__(self) -> int:
        return len(self.ids)

    @classmethod
    def read(cls, predictions: Path, probabilities: Path | None = None) -> Answers:
        """Read ``predictions.csv``, and the places in ``probabilities.parquet`` if it is there.

        Raises:
            ComparisonError: They are torn, hold no answers, or are of other tiles than each other.
        """
        columns = columns_of(predictions)
        if missing := {"tile_id", "actual", "predicted"} - columns.keys():
            raise ComparisonError(
                f"Expected the columns tile_id, actual and predicted in {predictions}, got no "
                f"{sorted(missing)[0]}: only networks that tell classes can be compared."
            )
        count = len(columns["tile_id"])
        try:
            confidence = columns.get("confidence", np.full(count, "nan")).astype(np.float64)
        except ValueError as error:
            raise torn(predictions, "numbers in the column confidence", error) from error
        return cls(
            columns["tile_id"],
            columns["actual"],
            columns["predicted"],
            confidence,
            None if probabilities is None else _places(probabilities, columns["tile_id"]),
        )

    @classmethod
    def of(cls, seen: Evidence) -> Answers:
        """What a network said of tiles just now."""
        names = np.array(seen.classes.names, dtype=np.str_)
        places = None if seen.places.over == "tiles" else seen.places.names.astype(np.str_)
        ids = np.array(seen.ids, dtype=np.str_)
        return cls(ids, names[seen.actual], names[seen.predicted], seen.confidence, places)

    @classmethod
    def joined(cls, parts: Sequence[Answers]) -> Answers:
        """Those of several sets of tiles, in turn; places where all know them."""
        places = [part.places for part in parts if part.places is not None]
        return cls(
            np.concatenate([part.ids for part in parts]),
            np.concatenate([part.actual for part in parts]),
            np.concatenate([part.predicted for part in parts]),
            np.concatenate([part.confidence for part in parts]),
            np.concatenate(places) if len(places) == len(parts) else None,
        )

    def rows(self, ids: Names) -> Answers:
        """The answers of these tiles, in this order; each must be there."""
        order = np.argsort(self.ids)
        at = order[np.searchsorted(self.ids, ids, sorter=order)]
        places = None if self.places is None else self.places[at]
        return Answers(ids, self.actual[at], self.predicted[at], self.confidence[at], places)


def _places(path: Path, ids: Names) -> Names | None:
    table = table_of(path)
    if "group" not in table.column_names:
        return None
    if "tile_id" not in table.column_names:
        raise torn(path, "a column tile_id", "none")
    known = dict(zip(table["tile_id"].to_pylist(), table["group"].to_pylist(), strict=True))
    if len(known) != len(ids) or not known.keys() >= set(ids.tolist()):
        raise ComparisonError(
            f"Expected the tiles of predictions.csv in {path}, got others. Run dvc repro evaluate."
        )
    return np.array([known[tile] or "" for tile in ids.tolist()], dtype=np.str_)


def labels(names: Sequence[Names]) -> list[NDArray[np.int64]]:
    """Arrays of names as numbers, the same name the same number in all."""
    _, codes = np.unique(np.concatenate(names), return_inverse=True)
    ends = np.cumsum([len(part) for part in names])[:-1]
    return [np.asarray(part, np.int64) for part in np.split(codes, ends)]


def units(places: Names | None) -> NDArray[np.int64] | None:
    """Places as numbers; a tile without one is a place of its own."""
    if places is None or not (places != "").any():
        return None
    _, codes = np.unique(places, return_inverse=True)
    own = codes.max() + 1 + np.arange(len(places))
    return np.unique(np.where(places == "", own, codes), return_inverse=True)[1].astype(np.int64)


def measured(actual: Labels, found: Labels, classes: Classes, places: Places) -> dict[str, Any]:
    """What labels (N,) that were found are worth, with intervals over places.

    As ``reports/metrics.json`` has it, less what takes probabilities.
    """
    again, size, hits = Resampling.of(places), len(classes), (found == actual).astype(np.float64)
    counts = metrics.confusion(actual, found, size)
    draws = again.histograms(actual * size + found, size * size).reshape(-1, size, size)
    summary = metrics.summarize(counts, classes)
    per_class = summary.pop("per_class")
    reach = again.share(hits, np.ones(len(hits), bool), metrics.accuracy(draws))
    summary |= told("accuracy", metrics.accuracy(counts), reach)
    for name, of in OF_COUNTS.items():
        summary |= told(name, of(counts), again.interval(of(draws)))
    return summary | {"per_class": per_class}
