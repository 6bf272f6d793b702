"""How threads wait for each other: ours look for a moment before they sleep.

An epoch of the default model without augmentation, over threads that sleep at once
(`OMP_WAIT_POLICY=PASSIVE`) and over threads that look as often as GNU's OpenMP has them by itself
(`GOMP_SPINCOUNT=300000`), on a machine that does nothing else and beside a process that counts on
one of its cores. Each way is a python of its own.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext

from benchmarks.children import serve, serving
from benchmarks.paired import Bar, Row, compare
from benchmarks.training import CPU, lightning, made_up, params

TILES = 2_000
OTHERS = {
    "sleep at once": {"OMP_WAIT_POLICY": "PASSIVE"},
    "look on as by default": {"GOMP_SPINCOUNT": "300000"},
}
BARS = {
    ("sleep at once", False): Bar(1.25),
    ("sleep at once", True): Bar(0.75),
    ("look on as by default", False): Bar(0.75),
    ("look on as by default", True): Bar(1.25),
}
SCRIPT = "from benchmarks import waiting; waiting.train()"


def measure() -> Iterator[Row]:
    """Ours over each other, alone and beside a busy process."""
    for (name, busy), bar in BARS.items():
        said = f"training vgg, our threads over some that {name}"
        beside = counting() if busy else nullcontext()
        with serving(SCRIPT, {}) as ours, serving(SCRIPT, OTHERS[name]) as other, beside:
            yield compare(
                f"{said}, beside a busy process" if busy else said,
                lambda ask=ours: ask("train"),  # type: ignore[misc]
                lambda ask=other: ask("train"),  # type: ignore[misc]
                bar,
                tiles=(TILES, TILES),
            )


@contextmanager
def counting() -> Iterator[None]:
    """A process that keeps one core busy."""
    with subprocess.Popen([sys.executable, "-c", "while True: pass"]) as process:
        try:
            yield
        finally:
            process.kill()


def train() -> None:
    """Train an epoch for every line that comes in."""
    options, tiles = params("vgg"), made_up(TILES, CPU)
    serve(lambda _: lightning(options, tiles))
