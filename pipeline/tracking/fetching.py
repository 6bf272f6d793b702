"""Files of a model that an MLflow store keeps."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from pipeline.errors import TrackingError
from pipeline.tracking.client import reaching
from pipeline.tracking.place import tracking_uri

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
        from mlflow.artifacts import download_artifacts
        from mlflow.exceptions import MlflowException

        for name in files:
            try:
                download_artifacts(
                    artifact_uri=f"{address.rstrip('/')}/{name}",
                    dst_path=str(folder),
                    tracking_uri=store,
                    registry_uri=store,
                )
            except (MlflowException, OSError, ValueError) as error:
                reason = (str(error).strip() or type(error).__name__).splitlines()[0][:200]
                raise TrackingError(
                    f"Expected {name} at {address} in {store}, got: {reason.rstrip('.')}. The runs "
                    "of that store and their artifacts are on the pages of make ui."
                ) from error
