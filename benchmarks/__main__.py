"""``make bench``: measure, print the table, and write it to benchmarks/RESULTS.md."""

from __future__ import annotations

from pathlib import Path

from benchmarks import ingest, training
from benchmarks.table import machine

RESULTS = Path(__file__).with_name("RESULTS.md")
HEAD = """# Benchmarks

Written by `make bench`. A ratio is the time of the other way over ours, so more is better; both
ways run in turn, one pair after the other, and the spread is that of the pairs' ratios.

| measure | ratio, median | spread | ours | other |
|---|---|---|---|---|
"""


def main() -> None:
    """Measure everything."""
    rows = [ratio.row for module in (ingest, training) for ratio in module.measure()]
    text = HEAD + "\n".join(rows) + f"\n\nMachine: {machine()}.\n"
    RESULTS.write_text(text, encoding="utf-8")
    print(text)


if __name__ == "__main__":
    main()
