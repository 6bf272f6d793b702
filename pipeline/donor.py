"""The trained network that a training starts from: a bundle in a folder, or in an MLflow store."""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from pipeline import bundle
from pipeline.bundle import FACTS, WEIGHTS, Bundle
from pipeline.errors import BundleError
from pipeline.tracking.fetching import ADDRESSES, fetch

if TYPE_CHECKING:
    from pipeline.schema import TrackingSection


def load(address: str, tracking: TrackingSection) -> Bundle:
    """Open a donor; of what lies at its address only the two files of a bundle are read.

    Args:
        address: A folder, or an MLflow model address.
        tracking: The store that addresses are looked up in, whether runs are recorded or not.

    Raises:
        BundleError: There is no whole bundle.
        TrackingError: The store can't be reached, or has no such model.
    """
    try:
        if not address.startswith(ADDRESSES):
            return bundle.load(Path(address))
        with TemporaryDirectory() as folder:
            fetch(address, (FACTS, WEIGHTS), Path(folder), tracking.uri)
            return bundle.load(Path(folder))
    except BundleError as error:
        raise BundleError(
            f"Expected a bundle, {WEIGHTS} and {FACTS}, in train.init_from={address}. {error}"
        ) from error
