"""Finds runs: in a folder, as an experiment or a revision of DVC, or in MLflow."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from fnmatch import fnmatchcase
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from pipeline.comparison.outcome import FILES, Outcome, files
from pipeline.errors import ComparisonError
from pipeline.tracking.place import project_root
from pipeline.tracking.reading import ID, Record, copy_files, recorded

# Where the stages put files of FILES in a run of MLflow.
ARTIFACTS = (
    "params.yaml", "model/model.json", "evaluate/metrics.json", "evaluate/predictions.csv",
    "evaluate/probabilities.parquet", "evaluate/baseline.json",
)  # fmt: skip
SHORT = 8  # letters of an id


@dataclass(frozen=True, slots=True)
class Finder:
    """Looks runs up, and reads them."""

    uri: str  # of MLflow's store
    experiment: str  # of MLflow, where names are looked up

    def find(self, run: str) -> list[Outcome]:
        """The run of this name; with ``*`` in it, all whose names fit, sorted.

        Raises:
            ComparisonError: There is none, or more than one with the very name.
            TrackingError: MLflow's store can't be reached.
        """
        if "*" in run:
            return self._fitting(run)
        if Path(run).is_dir():
            return [of_folder(Path(run))]
        found = None if ID.fullmatch(run) else of_revision(run)
        if found is not None and found.answers is not None:
            return [found]
        records = self._records(run)
        if len(records) > 1:
            raise ComparisonError(_ambiguous(run, records))
        if records:
            return [self._of_record(records[0])]
        if found is not None:
            return [found]
        raise ComparisonError(
            f"Expected a run of MLflow (id or name), an experiment or revision of DVC, or a "
            f"folder, got {run!r}, which is none. dvc exp show and make ui list them."
        )

    def _fitting(self, pattern: str) -> list[Outcome]:
        names = sorted(name for name in experiments() if fnmatchcase(name, pattern))
        if names:
            return [outcome for name in names for outcome in self.find(name)]
        records = sorted(self._records(pattern), key=lambda record: (record.name, record.when))
        if not records:
            raise ComparisonError(
                f"Expected names of DVC's experiments or MLflow's runs like {pattern}, got none. "
                "dvc exp show and make ui list them."
            )
        return [self._of_record(record) for record in records]

    def _records(self, run: str) -> list[Record]:
        return recorded(run, self.experiment, self.uri)

    def _of_record(self, record: Record) -> Outcome:
        origin = f"MLflow run {record.id[:SHORT]}"
        with _copied(origin) as place:
            copy_files(record.id, ARTIFACTS, place, self.uri)
            digest = record.tags.get("data_digest", "")
            return Outcome.read(place, record.name, origin, digest)


def _ambiguous(run: str, records: Sequence[Record]) -> str:
    told = ", ".join(
        f"{record.id} of {datetime.fromtimestamp(record.when / 1000, UTC):%Y-%m-%d %H:%M}"
        for record in records[:4]
    )
    return (
        f"Expected one MLflow run named {run}, got {len(records)}: {told}"
        f"{', ...' if len(records) > 4 else ''}. Name it by its id."
    )


def of_folder(folder: Path) -> Outcome:
    """A project, its reports, or a bundle; what was not measured yet is, on the project's tiles."""
    found = files(folder)
    whole = folder.resolve()
    name = (whole.parent if whole.name in FILES.values() else whole).name
    if "metrics.json" in found or "model.json" not in found:
        return Outcome.read(folder, name, f"folder {folder}")
    from pipeline.comparison.unmeasured import measure

    return measure(found["model.json"].parent, name)


def of_revision(run: str) -> Outcome | None:
    """What DVC and git keep of an experiment or a revision; None where there is none."""
    if not (project_root() / ".dvc").is_dir():
        return None
    from dvc.api import DVCFileSystem
    from dvc.exceptions import DvcException
    from dvc.scm import SCMError

    logging.getLogger("dvc").setLevel(logging.ERROR)
    kept = DVCFileSystem(str(project_root()), rev=run)
    try:
        kept.repo  # noqa: B018  # looks the revision up
    except (DvcException, SCMError):
        return None
    origin = f"DVC revision {run}"
    with _copied(origin) as place, closing(kept.repo):
        for name, home in FILES.items():
            _copy(kept, f"{home}/{name}".removeprefix("./"), place / name)
        return Outcome.read(place, run, origin)


@contextmanager
def _copied(origin: str) -> Iterator[Path]:
    """A folder for copies of a run's files; an error names where they are from, not the copy."""
    with TemporaryDirectory() as place:
        try:
            yield Path(place)
        except ComparisonError as error:
            raise ComparisonError(str(error).replace(f"{place}/", f"{origin}, ")) from error


def _copy(kept: Any, name: str, to: Path) -> None:
    """Copy a file that is there, and in DVC's cache if DVC keeps it."""
    with suppress(OSError):
        to.write_bytes(kept.read_bytes(name))


def experiments() -> list[str]:
    """Names of DVC's experiments, of whatever commit."""
    if not (project_root() / ".dvc").is_dir():
        return []
    from dvc.repo import Repo

    with Repo(str(project_root())) as repo:
        found = repo.experiments.ls(all_commits=True)
    return [name for ones in found.values() for name, _ in ones]
