"""Fixtures that several test modules share."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="session")
def root() -> Path:
    """The project's root: the folder that holds dvc.yaml."""
    return ROOT


@pytest.fixture(scope="session")
def real_data() -> Path:
    """Real imagery, where this machine has it."""
    place = Path(os.environ.get("QUADBAND_DATA", ROOT.parent / "shared" / "data"))
    if not place.is_dir():
        pytest.skip(f"no real imagery: set QUADBAND_DATA, or put it at {place}")
    return place
