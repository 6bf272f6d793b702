"""Files that a run left, read; of what is torn a sentence says which file, and how to mend it."""

from __future__ import annotations

import csv
import json
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import yaml
from numpy.typing import NDArray

from pipeline.errors import ComparisonError

if TYPE_CHECKING:
    import pyarrow as pa

# What writes a file anew.
MAKERS = {
    "params.yaml": "python -m pipeline compose",
    "model.json": "dvc repro train",
    "baseline.json": "dvc repro baseline",
    "baseline.csv": "dvc repro baseline",
}
MEASURES = "dvc repro evaluate"


def json_of(path: Path) -> dict[str, Any]:
    """A mapping in JSON.

    Raises:
        ComparisonError: It is none.
    """
    with _told(path, "JSON", ValueError, RecursionError):
        return _mapping(json.loads(path.read_text(encoding="utf-8")))


def baselines_of(path: Path, measures: Collection[str] = ("accuracy",)) -> dict[str, Any]:
    """What ``baseline.json`` holds: methods that all have these measures, or nothing.

    Errors as those of ``json_of``.
    """
    content = json_of(path)
    methods = content.get("methods", {} if not content else None)
    whole = isinstance(methods, dict) and all(
        isinstance(each, dict) and set(measures) <= each.keys() for each in methods.values()
    )
    if not whole:
        raise torn(path, f"methods, each with its {', '.join(measures)}", "none or others")
    return content


def yaml_of(path: Path) -> dict[str, Any]:
    """A mapping in YAML; nothing is an empty one. Errors as those of ``json_of``."""
    with _told(path, "YAML", yaml.YAMLError, ValueError):
        return _mapping(yaml.safe_load(path.read_text(encoding="utf-8")) or {})


def columns_of(path: Path) -> dict[str, NDArray[np.str_]]:
    """Columns of a CSV file by name, as text. Errors as those of ``json_of``."""
    with _told(path, "a CSV file with a header", csv.Error, ValueError):
        with path.open(newline="", encoding="utf-8") as file:
            header, *rows = list(csv.reader(file)) or [[]]
        if not header:
            raise ValueError("no header")
        if odd := [n for n, row in enumerate(rows, 2) if len(row) != len(header)]:
            raise ValueError(f"{len(rows[odd[0] - 2])} of {len(header)} columns in row {odd[0]}")
        cells = np.array(rows, dtype=np.str_).reshape(len(rows), len(header))
    return {name: cells[:, place] for place, name in enumerate(header)}


def table_of(path: Path) -> pa.Table:
    """A Parquet file. Errors as those of ``json_of``."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    with _told(path, "a Parquet file", pa.ArrowException, OSError):
        return pq.read_table(path)


def torn(path: Path, expected: str, got: object) -> ComparisonError:
    """The error of a file that holds something else than it should."""
    said = " ".join(str(got).split()).rstrip(".")
    return ComparisonError(
        f"Expected {expected} in {path}, got {said}. Write it anew with "
        f"{MAKERS.get(path.name, MEASURES)}, where the run was made."
    )


@contextmanager
def _told(path: Path, expected: str, *errors: type[Exception]) -> Iterator[None]:
    try:
        yield
    except errors as error:
        raise torn(path, expected, error) from error


def _mapping(content: Any) -> dict[str, Any]:
    if not isinstance(content, dict):
        raise ValueError(f"{type(content).__name__} where a mapping belongs")
    return content
