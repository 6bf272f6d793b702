"""Fixtures that several test modules share."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest

# Before torch is imported: the suite runs in as many processes as there are cores, and more threads
# than cores wait for each other. Those that some tests ask for sleep while they do.
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
# A shell that starts the suite in the background has it, and all its children, ignore Ctrl-C.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

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
