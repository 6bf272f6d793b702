"""An epoch of `lecture` on packed tiles, over what one would write instead.

That is a Dataset that reads each tile's GeoTIFF with rasterio, a DataLoader of two workers, and a
plain PyTorch loop with the same network, batch and kind of optimizer, in a python of its own that
nothing is set for. Cutting the tiles counts on neither side, nor do imports.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import rasterio
import torch
from affine import Affine
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from benchmarks.children import serve, serving
from benchmarks.paired import Bar, LeftOut, Ratio, Row, compare
from benchmarks.training import (
    BANDS,
    CLASSES,
    CPU,
    NO_GPU,
    SAT6,
    lightning,
    loss,
    made_up,
    network,
    params,
)
from pipeline.schema import Params

FILES = 4_000
TILES = 12_000  # ours, on a CPU: as many files would take half a minute
SAID = "training lecture, over a Dataset of GeoTIFFs and a DataLoader"


class GeoTiffs(Dataset[tuple[Tensor, int]]):
    """Tiles (C, H, W) as floats, and labels."""

    def __init__(self, paths: Sequence[Path], labels: Sequence[int]) -> None:
        self.paths, self.labels = paths, labels

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        with rasterio.open(self.paths[index]) as dataset:
            return torch.from_numpy(dataset.read().astype(np.float32)), self.labels[index]


def measure() -> Iterator[Row]:
    """On the CPU, and on a GPU if there is one."""
    with TemporaryDirectory() as folder:
        files = _write(Path(folder))
        yield _measure(files, CPU, TILES, SAID, Bar(8))
        said, bar = f"{SAID}, on a GPU", Bar(50)
        if torch.cuda.is_available():
            yield _measure(files, torch.device("cuda"), SAT6, said, bar)
        else:
            yield LeftOut(said, bar, NO_GPU)


def _measure(files: GeoTiffs, device: torch.device, count: int, said: str, bar: Bar) -> Ratio:
    options, tiles = params("lecture"), made_up(count, device)
    # torch first: the policy by which threads wait here is not one that a plain script sets.
    script = "import torch; from benchmarks import loader; loader.plain()"
    with serving(script, {}) as ask:
        what = f"{files.paths[0].parent} {device}"
        return compare(
            said, lambda: lightning(options, tiles), lambda: ask(what), bar,
            tiles=(count, len(files)), pairs=3,
        )  # fmt: skip


def plain() -> None:
    """The other way, for every line that comes in: a folder and a device."""

    def epoch(line: str) -> None:
        folder, _, device = line.rpartition(" ")
        _plain(params("lecture"), _files(Path(folder)), torch.device(device))

    serve(epoch)


def _plain(params: Params, files: GeoTiffs, device: torch.device) -> None:
    model = network(params).to(device).train()
    learner = torch.optim.AdamW(model.parameters(), params.optimizer.lr)
    criterion = loss(params)
    loader = DataLoader(
        files, batch_size=params.train.batch_size, shuffle=True, num_workers=2,
        pin_memory=device.type == "cuda",
    )  # fmt: skip
    for pixels, labels in loader:
        loss_of_batch = criterion(model(pixels.to(device)), labels.to(device))
        learner.zero_grad()
        loss_of_batch.backward()
        learner.step()


def _write(folder: Path) -> GeoTiffs:
    rng = np.random.default_rng(0)
    files = _files(folder)
    place = Affine(1, 0, 500_000, 0, -1, 5_000_000)
    profile = {"driver": "GTiff", "count": len(BANDS), "height": 28, "width": 28, "dtype": "uint8",
               "crs": "EPSG:32633", "transform": place}  # fmt: skip
    for path in files.paths:
        with rasterio.open(path, "w", **profile) as out:
            out.write(rng.integers(0, 256, (len(BANDS), 28, 28), dtype=np.uint8))
    return files


def _files(folder: Path) -> GeoTiffs:
    labels = np.random.default_rng(1).integers(0, len(CLASSES), FILES).tolist()
    return GeoTiffs([folder / f"{index}.tif" for index in range(FILES)], labels)
