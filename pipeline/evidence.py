"""What a network said of labelled tiles: all that measures are made from.

``reports/probabilities.parquet`` holds it: tile_id, actual, group (the tile's place, as intervals
resample it) and one column ``p/<class>`` a class.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from pipeline import metrics
from pipeline.errors import StoreError
from pipeline.places import Places
from pipeline.types import Classes

PREFIX = "p/"
OVER = b"group_is"  # metadata of the file: what the column group stands for


@dataclass(frozen=True, slots=True)
class Evidence:
    """Probabilities of tiles whose class is known."""

    ids: tuple[str, ...]
    actual: NDArray[np.int64]  # (N,)
    probabilities: NDArray[np.float32]  # (N, K)
    places: Places
    classes: Classes

    @classmethod
    def joined(cls, slices: Sequence[Evidence]) -> Evidence:
        """One from slices, in the order of the ids: the same however the tiles were sliced."""
        ids = [tile for part in slices for tile in part.ids]
        order = np.argsort(np.array(ids), kind="stable")
        names = np.concatenate([part.places.names for part in slices])
        return cls(
            tuple(ids[i] for i in order),
            np.concatenate([part.actual for part in slices])[order],
            np.concatenate([part.probabilities for part in slices])[order],
            Places(slices[0].places.over, names[order]),
            slices[0].classes,
        )

    def part(self, rows: NDArray[np.bool_]) -> Evidence:
        """Some of the tiles (N,), in their order."""
        return Evidence(
            tuple(tile for tile, wanted in zip(self.ids, rows, strict=True) if wanted),
            self.actual[rows],
            self.probabilities[rows],
            Places(self.places.over, self.places.names[rows]),
            self.classes,
        )

    @classmethod
    def none(cls) -> Evidence:
        """Of no tile, as of a network that tells no classes."""
        nothing = np.zeros(0, np.int64)
        return cls((), nothing, np.zeros((0, 0), np.float32), Places.alone(()), Classes(()))

    @property
    def predicted(self) -> NDArray[np.int64]:
        """The likeliest class (N,)."""
        likeliest: NDArray[np.int64] = self.probabilities.argmax(axis=1).astype(np.int64)
        return likeliest

    @property
    def confidence(self) -> NDArray[np.float64]:
        """Probability (N,) of the likeliest class."""
        most: NDArray[np.float64] = self.probabilities.max(axis=1).astype(np.float64)
        return most

    @property
    def hits(self) -> NDArray[np.bool_]:
        """Whether the likeliest class is the true one (N,)."""
        return np.asarray(self.predicted == self.actual)

    @property
    def counts(self) -> metrics.Counts:
        """The confusion matrix (K, K), rows true, columns predicted."""
        return metrics.confusion(self.actual, self.predicted, len(self.classes))


def write(evidence: Evidence, path: Path) -> None:
    """Write a row a tile; the same evidence gives the same bytes."""
    names = np.array(evidence.classes.names, object)
    columns = {
        "tile_id": pa.array(evidence.ids, pa.string()),
        "actual": pa.array(names[evidence.actual] if len(evidence.ids) else [], pa.string()),
        "group": pa.array(evidence.places.names, pa.string()),
    } | {
        f"{PREFIX}{name}": pa.array(evidence.probabilities[:, k], pa.float32())
        for k, name in enumerate(evidence.classes)
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    table = pa.table(columns).replace_schema_metadata({OVER: evidence.places.over})
    pq.write_table(table, path)


def read(path: Path) -> Evidence:
    """What was written.

    Raises:
        StoreError: There is no such file, or it is of another kind.
    """
    try:
        table = pq.read_table(path)
        actual = table["actual"].to_pylist()
        classes = Classes(tuple(c[len(PREFIX) :] for c in table.column_names if PREFIX in c[:2]))
        over = table.schema.metadata[OVER].decode()
        shares = [table[f"{PREFIX}{name}"].to_numpy() for name in classes]
        ids, groups = table["tile_id"].to_pylist(), table["group"].to_pylist()
    except (OSError, KeyError, TypeError, pa.ArrowInvalid) as error:
        raise StoreError(
            f"Expected probabilities of tiles in {path}, got {error}. Run dvc repro evaluate."
        ) from error
    places = {name: k for k, name in enumerate(classes)}
    return Evidence(
        tuple(ids),
        np.array([places[name] for name in actual], np.int64),
        np.stack(shares, axis=1) if shares else np.zeros((0, 0), np.float32),
        Places(over, np.array(groups, object)),
        classes,
    )
