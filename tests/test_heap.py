"""Memory that a step gives back is there for the next one."""

from __future__ import annotations

import os
import platform
import subprocess
import sys

import pytest

from tests.conftest import ROOT

# Twenty mebibytes are taken, written and given back, over and over, as in steps.
PROGRAM = """
import resource, numpy
from pipeline.tasks import heap
{}
def step():
    return sum(part[0] for part in [numpy.ones(2**18) for _ in range(10)])
def faults():
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt
[step() for _ in range(5)]
before = faults()
[step() for _ in range(50)]
print(faults() - before)
"""


def faults(call: str, **environment: str) -> int:
    """Pages that the system gave the process in fifty steps."""
    plain = {key: value for key, value in os.environ.items() if not key.startswith("MALLOC_")}
    ran = subprocess.run(
        [sys.executable, "-c", PROGRAM.format(call)], cwd=ROOT, env=plain | environment,
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    return int(ran.stdout)


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="no glibc here")
def test_steps_get_no_memory_anew_unless_a_user_has_set_it() -> None:
    assert faults("heap.keep()") < 500
    trims = {"MALLOC_TRIM_THRESHOLD_": "100000"}
    assert faults("heap.keep()", **trims) > 50 * 1000
    assert faults("", **trims) > 50 * 1000
