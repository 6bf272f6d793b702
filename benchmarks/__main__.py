"""``make bench``: measure, print the table, and write it to benchmarks/RESULTS.md."""

from __future__ import annotations

import os
import platform
from importlib.metadata import version
from pathlib import Path

from benchmarks import ingest, training

RESULTS = Path(__file__).with_name("RESULTS.md")
HEAD = """# Benchmarks

Written by `make bench`. A ratio is the time of the other way over ours, so more is better; both
ways run in turn, one pair after the other, and the spread is that of the pairs' ratios.

| measure | ratio, median | spread | ours | other |
|---|---|---|---|---|
"""


def _machine() -> str:
    info = Path("/proc/cpuinfo")
    lines = info.read_text(encoding="utf-8").splitlines() if info.is_file() else []
    model = next((line.split(":")[1].strip() for line in lines if "model name" in line), "")
    parts = [model or platform.processor(), f"{os.cpu_count()} cores", platform.system()]
    parts += [f"{name} {version(name)}" for name in ("torch", "pytorch-lightning", "rasterio")]
    return ", ".join(parts)


def main() -> None:
    """Measure everything."""
    rows = [ratio.row for module in (ingest, training) for ratio in module.measure()]
    text = HEAD + "\n".join(rows) + f"\n\nMachine: {_machine()}.\n"
    RESULTS.write_text(text, encoding="utf-8")
    print(text)


if __name__ == "__main__":
    main()
