"""Files of a model that an MLflow store keeps."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from pipeline.errors import TrackingError
from pipeline.tracking.client import reaching
from pipeline.tracking.place import tracking_uri

if TYPE_CHECKING:
    from mlflow import MlflowClient

# A run's artifacts, and a registered model.
ADDRESSES = ("runs:/", "models:/")


def fetch(address: str, files: Sequence[str], folder: Path, uri: str | None = None) -> None:
    """Copy files of a model into a folder; nothing else of it is fetched, and nothing is run.

    Args:
        address: ``runs:/<run id>/model`` or ``models:/<name>/<version>``.
        files: Names below the address.
        folder: Where they go.
        uri: ``tracking.uri``; None: the store that runs go to.

    Raises:
        TrackingError: The store can't be reached, or has no such file.
    """
    store = tracking_uri(uri)
    with reaching(store):
        from mlflow import MlflowClient
        from mlflow.artifacts import download_artifacts
        from mlflow.exceptions import MlflowException

        name = ""
        try:
            place = _place(MlflowClient(tracking_uri=store, registry_uri=store), address)
            for name in files:
                source = f"{place.rstrip('/')}/{name}"
                download_artifacts(artifact_uri=source, dst_path=str(folder), tracking_uri=store)
        except (MlflowException, OSError, ValueError) as error:
            reason = (str(error).strip() or type(error).__name__).splitlines()[0][:200]
            raise TrackingError(
                f"Expected {name or 'a model'} at {address} in {store}, got: "
                f"{reason.rstrip('.')}. Look up the runs and their artifacts with make ui."
            ) from error


def _place(client: MlflowClient, address: str) -> str:
    """Where the files of a model lie; MLflow's own look-up asks the process's global registry."""
    kind, _, rest = address.partition("/")
    if kind == "runs:":
        return address
    name, slash, version = rest.rpartition("/")
    if not slash and "@" in rest:
        name, _, alias = rest.partition("@")
        version = client.get_model_version_by_alias(name, alias).version
    if not name:
        raise ValueError("an address of the form models:/<name>/<version> names a model")
    return str(client.get_model_version_download_uri(name, version))
