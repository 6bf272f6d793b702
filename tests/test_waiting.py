"""How threads wait: awake for a moment, or as the user says."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from pipeline import waiting

KEYS = ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT")


@pytest.mark.parametrize(
    ("given", "after"),
    [
        ({}, ("PASSIVE", waiting.LOOKS)),
        ({"OMP_WAIT_POLICY": ""}, ("PASSIVE", waiting.LOOKS)),
        ({"OMP_WAIT_POLICY": "ACTIVE"}, ("ACTIVE", None)),
        ({"OMP_WAIT_POLICY": "PASSIVE"}, ("PASSIVE", None)),
        ({"GOMP_SPINCOUNT": "10000"}, ("PASSIVE", "10000")),
    ],
)
def test_what_the_user_set_stays(
    given: dict[str, str], after: tuple[str, str | None], monkeypatch: pytest.MonkeyPatch
) -> None:
    # Set and taken away, so that the patch puts back what was there.
    for key in KEYS:
        monkeypatch.setenv(key, "")
        monkeypatch.delenv(key)
    for key, value in given.items():
        monkeypatch.setenv(key, value)
    waiting.briefly()
    assert tuple(map(os.environ.get, KEYS)) == after


@pytest.mark.parametrize("package", ["pipeline.__main__", "benchmarks"])
def test_it_is_said_before_torch_is_there(package: str) -> None:
    script = f"import sys, os, {package}; print('torch' in sys.modules, *map(os.getenv, {KEYS}))"
    free = {key: value for key, value in os.environ.items() if key not in KEYS}
    said = subprocess.check_output([sys.executable, "-c", script], env=free, text=True)
    assert said.split() == ["False", "PASSIVE", waiting.LOOKS]
