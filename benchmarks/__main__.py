"""``make bench``: measure, print the table, and write it to benchmarks/RESULTS.md.

Named parts are measured and printed alone; the file keeps what a whole run found.
"""

from __future__ import annotations

import argparse
import io
from collections.abc import Iterator, Sequence
from contextlib import redirect_stdout
from pathlib import Path

from benchmarks import ingest, loader, memory, scaling, startup, streamed, training
from benchmarks.paired import Row
from benchmarks.table import machine
from pipeline.console import say

RESULTS = Path(__file__).with_name("RESULTS.md")
PARTS = {
    module.__name__.rpartition(".")[2]: module
    for module in (training, streamed, loader, memory, scaling, ingest, startup)
}
COLUMNS = """| measure | ratio, median | must reach | reached | spread | ours | other |
|---|---|---|---|---|---|---|"""
HEAD = """# Benchmarks

Written by `make bench`. The two ways of a line run in turn, in one run of the bench, one pair after
the other; the ratio is the median over pairs, and the spread goes from the lowest to the highest.
"""


def results(rows: Sequence[Row]) -> str:
    """The whole of RESULTS.md."""
    how = [f"- `{name}`: {_summary(part.__doc__)}" for name, part in PARTS.items()]
    told = ["What is measured (`python -m benchmarks PART` measures one part alone):", "", *how]
    parts = [HEAD, COLUMNS, *(row.row for row in rows), "", *told, "", f"Machine: {machine()}."]
    return "\n".join(parts) + "\n"


def _summary(text: str | None) -> str:
    return " ".join((text or "").split())


def _quietly(rows: Iterator[Row]) -> Iterator[Row]:
    """Without what training says of itself."""
    while True:
        with redirect_stdout(io.StringIO()):
            row = next(rows, None)
        if row is None:
            return
        yield row


def main(argv: Sequence[str] | None = None) -> None:
    """Measure everything, or the parts that are named."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("parts", nargs="*", metavar="part", help=", ".join(PARTS))
    wanted = parser.parse_args(argv).parts
    if unknown := [part for part in wanted if part not in PARTS]:
        parser.error(f"expected parts among {', '.join(PARTS)}, got {unknown[0]}")
    say(COLUMNS)
    rows: list[Row] = []
    for part in wanted or PARTS:
        for row in _quietly(PARTS[part].measure()):
            say(row.row)
            rows.append(row)
    if not wanted:
        RESULTS.write_text(results(rows), encoding="utf-8")


if __name__ == "__main__":
    main()
