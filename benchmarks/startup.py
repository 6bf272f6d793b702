"""From the command to the end of its first step, over the imports of torch and Lightning alone.

`python -m pipeline train` with the default parameters, MLflow included, and a fresh python for
`import torch, pytorch_lightning`: less is better.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

from benchmarks import stores
from benchmarks.children import STEPPING, lines, prepare, started
from benchmarks.paired import Bar, Ratio, Row, compare

TILES = 5_000  # about as many as the sample has
IMPORT = ["-c", "import torch, pytorch_lightning; print('steps 0', flush=True)"]
BAR = Bar(most=1.5)
RECORD = ("mlflow.db", "mlartifacts")


def measure() -> Iterator[Row]:
    """With MLflow's store in its place, and with one that is to be made."""
    with TemporaryDirectory() as name:
        folder = Path(name)
        stores.write(folder / "data" / "tiles", TILES)
        prepare(folder, ["train.epochs=1", "train.min_steps=0"])
        with started(["-m", "pipeline", "train"], folder) as process:
            process.communicate()
        prepare(folder, [])
        for said, gone in (("start", ()), ("first start, which makes MLflow's store", RECORD)):
            yield _measure(folder, said, gone)


def _measure(folder: Path, said: str, gone: Sequence[str]) -> Ratio:
    def train() -> None:
        for name in (*gone, ".checkpoints"):
            remove(folder / name)
        _until_first(STEPPING, folder)

    def bare() -> None:
        _until_first(IMPORT, folder)

    name = f"{said}, from the command to the first step, over imports"
    return compare(name, train, bare, BAR, longer=True)


def remove(path: Path) -> None:
    """A file or a folder, if it is there."""
    shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)


def _until_first(arguments: Sequence[str], folder: Path) -> None:
    with started(arguments, folder) as process:
        next(lines(process, "steps"))
