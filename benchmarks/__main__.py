"""``make bench``: measure, print the table, and write it to benchmarks/RESULTS.md.

Named parts are measured anew alone; the file keeps what was found of the others.
"""

from __future__ import annotations

import argparse
import io
import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import redirect_stdout
from pathlib import Path
from typing import TypedDict

from benchmarks import ingest, loader, memory, scaling, startup, streamed, training, waiting
from benchmarks.paired import Row
from benchmarks.table import machine
from pipeline.console import say

RESULTS = Path(__file__).with_name("RESULTS.md")
KEPT = Path(__file__).with_name("results.json")  # part -> what was found, and where
PARTS = {
    module.__name__.rpartition(".")[2]: module
    for module in (training, waiting, streamed, loader, memory, scaling, ingest, startup)
}


class Part(TypedDict):
    """What was found of a part."""

    machine: str
    rows: list[str]  # of the table


COLUMNS = """| measure | ratio, median | must reach | reached | spread | ours | other |
|---|---|---|---|---|---|---|"""
HEAD = """# Benchmarks

Written by `make bench`. The two ways of a line run in turn, in one run of the bench, one pair after
the other; the ratio is the median over pairs, and the spread goes from the lowest to the highest.
"""


def results(found: Mapping[str, Part]) -> str:
    """The whole of RESULTS.md."""
    known = {name: found[name] for name in PARTS if name in found}
    how = [f"- `{name}`: {_summary(PARTS[name].__doc__)}" for name in known]
    told = ["What is measured (`python -m benchmarks PART` measures one part anew):", "", *how]
    rows = [row for part in known.values() for row in part["rows"]]
    return "\n".join([HEAD, COLUMNS, *rows, "", *told, "", *_machines(known)]) + "\n"


def _machines(found: Mapping[str, Part]) -> list[str]:
    """One machine for all parts, or those of each."""
    places: dict[str, list[str]] = {}
    for name, part in found.items():
        places.setdefault(part["machine"], []).append(f"`{name}`")
    if len(places) == 1:
        return [f"Machine: {next(iter(places))}."]
    return [f"- {', '.join(names)} on: {place}." for place, names in places.items()]


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
    for part in wanted or PARTS:
        rows = []
        for row in _quietly(PARTS[part].measure()):
            say(row.row)
            rows.append(row.row)
        _keep(part, {"machine": machine(), "rows": rows})


def _keep(name: str, part: Part) -> None:
    found = json.loads(KEPT.read_text(encoding="utf-8")) if KEPT.is_file() else {}
    found[name] = part
    KEPT.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    RESULTS.write_text(results(found), encoding="utf-8")


if __name__ == "__main__":
    main()
