"""Runs that were recorded, and files of theirs, for reading alone: nothing is made or changed."""

from __future__ import annotations

import re
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline.tracking.client import reaching
from pipeline.tracking.opening import newest
from pipeline.tracking.place import database_file, rank_zero, tracking_uri

if TYPE_CHECKING:
    from mlflow import MlflowClient

    from pipeline.schema import TrackingSection

ID = re.compile(r"[0-9a-f]{32}")
MOST = 200  # runs that a name is looked up in at once


@dataclass(frozen=True, slots=True)
class Record:
    """A run of the store."""

    id: str
    name: str
    tags: Mapping[str, str]
    when: int  # it started, in milliseconds since 1970


def recorded(run: str, experiment: str, uri: str | None = None) -> list[Record]:
    """The run with this id, or those with this name, newest first; ``*`` stands for any letters.

    Args:
        run: An id or a name.
        experiment: MLflow's, in which names are looked up; an id is looked up in all.
        uri: ``tracking.uri``; None: the store that runs go to.

    Raises:
        TrackingError: The store can't be reached.
    """
    store = tracking_uri(uri)
    database = database_file(store)
    if database is not None and not database.is_file():
        return []
    with reaching(store), warnings.catch_warnings():
        # MLflow's tables use an option that SQLAlchemy 2.1 announces to drop.
        warnings.filterwarnings("ignore", category=DeprecationWarning)
        from mlflow import MlflowClient
        from mlflow.exceptions import MlflowException

        client = MlflowClient(tracking_uri=store)
        if ID.fullmatch(run):
            try:
                return [_record(client.get_run(run))]
            except MlflowException:
                return []
        return _named(client, run, experiment)


def _named(client: MlflowClient, name: str, experiment: str) -> list[Record]:
    found = client.get_experiment_by_name(experiment)
    if found is None:
        return []
    # MLflow's pattern has % for any letters, and no way to mean the sign itself.
    like = name.replace("'", "").replace("*", "%")
    wanted = f"attributes.run_name LIKE '{like}'"
    runs = client.search_runs([found.experiment_id], wanted, max_results=MOST)
    # What a command left is no pass of the pipeline, and has to be named in full.
    passes = [run for run in runs if "*" not in name or "command" not in run.data.tags]
    records = [_record(run) for run in passes]
    pattern = re.compile(".*".join(map(re.escape, name.split("*"))))
    return [record for record in records if pattern.fullmatch(record.name)]


def _record(run: Any) -> Record:
    return Record(run.info.run_id, run.info.run_name, run.data.tags, run.info.start_time)


def throughput(tracking: TrackingSection, model_digest: str) -> list[float]:
    """Tiles a second of each epoch that led to these weights; none where no run tells of it.

    Raises:
        TrackingError: The store can't be reached.
    """
    store = tracking_uri(tracking.uri)
    database = database_file(store)
    if not tracking.enabled or not rank_zero() or (database and not database.is_file()):
        return []
    with reaching(store), warnings.catch_warnings():
        # As above.
        warnings.filterwarnings("ignore", category=DeprecationWarning)
        from mlflow import MlflowClient

        client = MlflowClient(tracking_uri=store)
        place = client.get_experiment_by_name(tracking.experiment)
        run = place and newest(client, store, place.experiment_id, model_digest)
        if not run:
            return []
        keys = [key for key in client.get_run(run.id).data.metrics if key.startswith("throughput")]
        points = [point for key in keys for point in client.get_metric_history(run.id, key)]
        return [float(point.value) for point in points]


def copy_files(run: str, names: Sequence[str], folder: Path, uri: str | None = None) -> None:
    """Copy those of a run's artifacts that are there, by path, into a folder, flat.

    Raises:
        TrackingError: The store can't be reached.
    """
    store = tracking_uri(uri)
    with reaching(store):
        from mlflow import MlflowClient
        from mlflow.artifacts import download_artifacts

        client = MlflowClient(tracking_uri=store)
        homes = {name.rpartition("/")[0] for name in names}
        present = {item.path for home in homes for item in client.list_artifacts(run, home or None)}
        for name in names:
            if name in present:
                address = f"runs:/{run}/{name}"
                got = download_artifacts(artifact_uri=address, tracking_uri=store)
                (folder / Path(name).name).write_bytes(Path(got).read_bytes())
