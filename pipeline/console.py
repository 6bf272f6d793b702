"""What a person sees while a stage runs: plain lines, and a bar where there is a terminal."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from time import perf_counter
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from rich.table import Table

Item = TypeVar("Item")

_mark = ""  # what lines begin with

LOG_WIDTH = 120  # characters; where there is no terminal rich would cut at 80


def say(text: str) -> None:
    """Print one line, at once, so that it interleaves rightly with the output of workers."""
    print(f"{_mark}{text}", flush=True)


@contextmanager
def marked(mark: str) -> Iterator[None]:
    """Begin the lines that are said in here with a mark."""
    global _mark
    before, _mark = _mark, mark
    try:
        yield
    finally:
        _mark = before


def warn(text: str) -> None:
    """Print one line of warning."""
    print(f"warning: {text}", file=sys.stderr, flush=True)


def table(content: Table) -> None:
    """Print a table: as wide as the terminal or a log may well be, or wider: no number is cut."""
    from rich.console import Console

    console = Console(width=None if sys.stdout.isatty() else LOG_WIDTH)
    wanted = console.measure(content).minimum
    console = Console(width=max(wanted, console.width))
    console.print(content, soft_wrap=False, crop=False)


def progress(items: Iterable[Item], *, total: int, what: str) -> Iterator[Item]:
    """Pass items through with a bar on a terminal, and with one line at the end elsewhere."""
    if sys.stdout.isatty():
        from rich.progress import track

        yield from track(items, total=total, description=what)
        return
    start = perf_counter()
    count = 0
    for item in items:
        yield item
        count += 1
    say(f"{what}: {count} in {perf_counter() - start:.1f} s")
