"""The stage train in a process and a folder of its own, for what is measured from outside."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from benchmarks.table import ROOT
from pipeline.config import compose

STEPPING = ["-m", "benchmarks.stepping"]


def prepare(folder: Path, overrides: Sequence[str]) -> None:
    """Write its parameters."""
    (folder / "params.yaml").write_text(compose(overrides), encoding="utf-8")


@contextmanager
def started(arguments: Sequence[str], folder: Path) -> Iterator[subprocess.Popen[str]]:
    """A python that runs in a folder; it is killed at the end of the block."""
    # MLflow belongs to the folder, whatever the user has set.
    environment = {key: value for key, value in os.environ.items() if key != "MLFLOW_TRACKING_URI"}
    with subprocess.Popen(
        [sys.executable, *arguments],
        cwd=folder, env=environment | {"PYTHONPATH": str(ROOT)}, text=True, stdout=subprocess.PIPE,
    ) as process:  # fmt: skip
        try:
            yield process
        finally:
            process.kill()


def lines(process: subprocess.Popen[str], start: str) -> Iterator[str]:
    """What it prints, of the lines that start so."""
    assert process.stdout is not None
    for line in process.stdout:
        if line.startswith(start):
            yield line.strip()
    raise SystemExit(f"A python ended with status {process.wait()} before it was measured.")
