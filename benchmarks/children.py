"""Pythons of their own, for what is measured from outside or waits for its threads otherwise."""

from __future__ import annotations

import io
import os
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, redirect_stdout
from pathlib import Path

from benchmarks.table import ROOT
from pipeline.config import compose

WAITING = ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT")  # how threads wait, which a process is told once
STEPPING = ["-m", "benchmarks.stepping"]


@contextmanager
def serving(script: str, waiting: Mapping[str, str]) -> Iterator[Callable[[str], None]]:
    """A python that does something for every line that it is told, and answers with another.

    Args:
        script: What it runs.
        waiting: Of the variables in ``WAITING``, those that it gets.
    """
    environment = {key: value for key, value in os.environ.items() if key not in WAITING}
    with subprocess.Popen(
        [sys.executable, "-c", script], env={**environment, **waiting},
        cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    ) as process:  # fmt: skip

        def ask(what: str) -> None:
            assert process.stdin is not None
            assert process.stdout is not None
            print(what, file=process.stdin, flush=True)
            if not process.stdout.readline():
                raise SystemExit(f"A python ended with status {process.wait()}.")

        try:
            yield ask
        finally:
            process.kill()


def serve(work: Callable[[str], object]) -> None:
    """Do a work for every line that comes in; the other end of ``serving``."""
    out = sys.stdout
    for line in sys.stdin:
        with redirect_stdout(io.StringIO()):  # what training says of itself
            work(line.strip())
        print("done", file=out, flush=True)


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
