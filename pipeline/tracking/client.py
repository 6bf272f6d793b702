"""The door to MLflow: opened quietly, by one process at a time, and with short patience."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from pipeline.errors import TrackingError
from pipeline.tracking.place import artifact_location, database_file

if TYPE_CHECKING:
    from mlflow import MlflowClient

# MLflow waits for minutes on a server that does not answer, reports its use to its makers, and
# draws bars where there is no terminal. A user's own setting of any of these stands.
DEFAULTS = {
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "2",
    "MLFLOW_HTTP_REQUEST_BACKOFF_FACTOR": "1",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "10",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",  # one bar a file
}
LOCK_PATIENCE = 120  # seconds; creating a database takes about ten on a busy machine
# The UI has two faces; this one shows metrics and parameters first, not traces and prompts.
KIND = {"mlflow.experimentKind": "custom_model_development"}


@contextmanager
def reaching(uri: str) -> Iterator[None]:
    """Any failure of the store becomes a TrackingError that says what to do."""
    for key, value in DEFAULTS.items():
        os.environ.setdefault(key, value)
    from mlflow.exceptions import MlflowException  # imports all of MLflow: two seconds

    try:
        yield
    except (MlflowException, OSError) as error:
        raise TrackingError(_advice(uri, error)) from error


def connect(uri: str, experiment: str) -> tuple[MlflowClient, str]:
    """Return a client and the experiment's id; make the store and the experiment if need be."""
    from mlflow import MlflowClient

    logging.getLogger("mlflow.store.db").setLevel(logging.WARNING)  # else it tells of each table
    with _alone(uri):
        client = MlflowClient(tracking_uri=uri)
        return client, _experiment(client, uri, experiment)


def _experiment(client: MlflowClient, uri: str, name: str) -> str:
    from mlflow.exceptions import MlflowException

    found = client.get_experiment_by_name(name)
    if found is None:
        try:
            return client.create_experiment(name, artifact_location(uri), KIND)
        except MlflowException:
            found = client.get_experiment_by_name(name)  # another process was first
            if found is None:
                raise
    if found.lifecycle_stage != "active":
        raise TrackingError(
            f"Expected an active MLflow experiment {name!r}, got a deleted one in {uri}. Bring it "
            f"back with `mlflow experiments restore -x {found.experiment_id}`, or name another "
            "with tracking.experiment."
        )
    for key, value in KIND.items():
        if key not in found.tags:
            client.set_experiment_tag(found.experiment_id, key, value)
    return str(found.experiment_id)


@contextmanager
def _alone(uri: str) -> Iterator[None]:
    """Two queue workers that start together must not both create the tables."""
    from filelock import FileLock, Timeout

    database = database_file(uri)
    if database is None:
        yield
        return
    database.parent.mkdir(parents=True, exist_ok=True)
    try:
        with FileLock(f"{database}.lock", timeout=LOCK_PATIENCE):
            yield
    except Timeout as error:
        raise TrackingError(
            f"Expected {error.lock_file} to be free within {LOCK_PATIENCE} s, but another process "
            "holds it. Wait for that process, or end it."
        ) from error


def _advice(uri: str, error: Exception) -> str:
    reason = (str(error).strip() or type(error).__name__).splitlines()[0][:200]
    remedy = "Start the server, set tracking.uri or MLFLOW_TRACKING_URI, or go without: "
    if "out-of-date database schema" in str(error):
        remedy = f"Keep a copy of it and run `mlflow db upgrade {uri}`, or go without: "
    elif "://" not in uri or uri.startswith("file:"):
        remedy = "Use a database such as sqlite:///mlflow.db, or go without: "
    return f"Expected an MLflow store at {uri}, got: {reason}. {remedy}tracking.enabled=false."
