"""A little project for tests: a store of made-up tiles and a network trained on them in a second.

Tiles are 12 x 12 pixels of four bands; each class is bright in a band of its own.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import torch
from numpy.typing import NDArray

from pipeline import bundle
from pipeline.bundle import Bundle
from pipeline.ensemble import Ensemble, Member
from pipeline.network import Task, build
from pipeline.schema import (
    AttributionsSection,
    DreamsSection,
    EmbeddingSection,
    EngineSection,
    EvaluateSection,
    TrackingSection,
)
from pipeline.store import Store, StoreWriter
from pipeline.types import Bands, Classes

BANDS = Bands(("red", "green", "blue", "nir"))
CLASSES = Classes(("building", "trees", "water"))
SIZE = 12
ENGINE = EngineSection(precision="32", threads=1, workers=None)
UNTRACKED = TrackingSection(enabled=False, experiment="test", uri=None)
HEARD = EvaluateSection(split="test", batch_size=8)
# What takes longest when a network is looked into, in short.
LOOK: dict[str, Any] = {
    "attributions": AttributionsSection(tiles=2),
    "dreams": DreamsSection(steps=2, starts=1),
    "embedding": EmbeddingSection(tiles=20),
}
LAYERS: dict[str, dict[str, Any]] = {
    "normalize": {"_target_": "pipeline.layers.Normalize"},
    "conv1": {"_target_": "torch.nn.Conv2d", "out_channels": 5, "kernel_size": 3},
    "relu1": {"_target_": "torch.nn.ReLU"},
    "pool1": {"_target_": "torch.nn.MaxPool2d", "kernel_size": 2},
    "conv2": {"_target_": "torch.nn.Conv2d", "out_channels": 4, "kernel_size": 3},
    "flatten": {"_target_": "torch.nn.Flatten"},
    "head": {"_target_": "torch.nn.Linear"},
}
# Its narrowest layer keeps 6 numbers of the tile's 576.
AUTOENCODER: dict[str, dict[str, Any]] = {
    "normalize": {"_target_": "pipeline.layers.Normalize"},
    "encoder": {
        "conv1": {"_target_": "torch.nn.Conv2d", "out_channels": 5, "kernel_size": 3},
        "relu1": {"_target_": "torch.nn.ReLU"},
        "pool1": {"_target_": "torch.nn.MaxPool2d", "kernel_size": 2},
    },
    "flatten": {"_target_": "torch.nn.Flatten"},
    "latent": {"_target_": "torch.nn.Linear", "out_features": 6},
    "decoder": {
        "unfold": {"_target_": "pipeline.layers.LinearToMap", "out_channels": 5, "shrink": 2},
        "relu": {"_target_": "torch.nn.ReLU"},
        "up": {"_target_": "torch.nn.Upsample", "scale_factor": 2},
        "conv": {"_target_": "torch.nn.Conv2d", "kernel_size": 3, "padding": 1},
    },
}
MLP = {name: LAYERS[name] for name in ("normalize", "flatten", "head")}


def tiles(labels: NDArray[Any], seed: int) -> NDArray[np.uint8]:
    """Tiles (N, H, W, C) of these labels."""
    rng = np.random.default_rng(seed)
    pixels = rng.integers(20, 120, (len(labels), SIZE, SIZE, len(BANDS)))
    pixels[np.arange(len(labels)), :, :, labels + 1] += 50
    return pixels.astype(np.uint8)


def store(
    root: Path, classes: Classes = CLASSES, counts: tuple[int, int, int] = (90, 12, 31)
) -> Store:
    """Write a store with so many tiles in training, validation and test."""
    rows: list[dict[str, Any]] = []
    labelled = len(classes) > 0
    with StoreWriter(root, BANDS, classes, SIZE, np.dtype(np.uint8)) as writer:
        train = tiles(np.arange(counts[0]) % 3, 0)
        for seed, (split, count) in enumerate(
            zip(("train", "validation", "test"), counts, strict=True)
        ):
            labels = np.arange(count) % 3
            writer.append(split, tiles(labels, seed))
            kept = labels if labelled else 0 * labels
            rows += [_row(split, i, int(label)) for i, label in enumerate(kept)]
        flat = train.reshape(-1, len(BANDS)).astype(np.float64)
        writer.finish(pa.Table.from_pylist(rows), flat.mean(axis=0), flat.std(axis=0), 1.0)
    return Store.open(root)


def noise(
    root: Path, bands: Bands, classes: Classes, size: int, dtype: str = "uint8", count: int = 7
) -> Store:
    """A store of random tiles of any kind, as many in each split, each from a place of its own."""
    rng = np.random.default_rng(1)
    rows: list[dict[str, Any]] = []
    top = 60_000 if dtype == "uint16" else 250
    with StoreWriter(root, bands, classes, size, np.dtype(dtype)) as writer:
        for split in ("train", "validation", "test"):
            writer.append(
                split, rng.integers(0, top, (count, size, size, len(bands))).astype(dtype)
            )
            labels = np.arange(count) % max(1, len(classes))
            rows += [_row(split, i, int(label)) for i, label in enumerate(labels)]
        zeros = np.zeros(len(bands))
        writer.finish(pa.Table.from_pylist(rows), zeros + top / 2, zeros + top / 4, None)
    return Store.open(root)


def rearranged(old: Store, root: Path, bands: Bands, classes: Classes) -> Store:
    """The same test tiles with other bands, and classes that are numbered in another way.

    Tiles of classes that the old store lacks are added after them, as many as there are of all.
    """
    pixels, names = old.pixels("test"), old.names("test")
    known = [old.bands.names.index(name) if name in old.bands.names else 0 for name in bands]
    new = [name for name in classes if name not in old.classes.names]
    labels = [classes.index(name) for name in (*names, *(new * len(names)))]
    again = np.concatenate([pixels[..., known]] * (1 + len(new)))
    with StoreWriter(root, bands, classes, SIZE, np.dtype(np.uint8)) as writer:
        for split in ("train", "validation", "test"):
            writer.append(split, again[: len(labels) if split == "test" else 0])
        rows = [_row("test", i, label) for i, label in enumerate(labels)]
        zeros = np.zeros(len(bands))
        writer.finish(pa.Table.from_pylist(rows), zeros, zeros + 1, 1.0)
    return Store.open(root)


def _row(split: str, i: int, label: int) -> dict[str, Any]:
    window = {"window_row": 0, "window_col": SIZE * i, "window_height": SIZE, "window_width": SIZE}
    bounds: dict[str, Any] = dict.fromkeys(("left", "bottom", "right", "top"), float("nan"))
    place = {"source": f"{split}.tif", "crs": None, "group": "", "purity": 1.0}
    return {"id": f"{split}:{i}", "split": split, "label": label} | window | bounds | place


def train(
    tiles: Store,
    root: Path,
    layers: dict[str, Any] = LAYERS,
    steps: int = 40,
    task: Task = "classify",
) -> Bundle:
    """Train a network on a store and save it; the first class and the third stay a bit confused."""
    network = build(
        layers,
        bands=tiles.bands,
        classes=tiles.classes,
        tile_size=tiles.tile_size,
        mean=tiles.mean.tolist(),
        std=tiles.std.tolist(),
        task=task,
    )
    pixels = torch.from_numpy(tiles.pixels("train").astype(np.float32)).permute(0, 3, 1, 2)
    labels = torch.tensor(tiles.labels("train"))
    optimizer = torch.optim.Adam(network.parameters(), lr=0.003)
    for _ in range(steps):
        optimizer.zero_grad()
        outputs = network(pixels)
        if task == "classify":
            loss = torch.nn.functional.cross_entropy(outputs, labels)
        else:
            mean, deviation = network.band_statistics
            loss = torch.nn.functional.mse_loss(outputs, (pixels - mean) / deviation)
        torch.autograd.backward(loss)
        optimizer.step()
    params = {"model": {"name": "little", "layers": layers}}
    return bundle.save(network, data_digest=tiles.digest, params=params, root=root)


def project(folder: Path, layers: dict[str, Any] = LAYERS) -> tuple[Store, Bundle]:
    """A folder with ``data/tiles`` and ``models``."""
    (folder / "data").mkdir()
    made = store(folder / "data" / "tiles")
    return made, train(made, folder / "models", layers)


def drawing_project(folder: Path, classes: Classes = CLASSES) -> tuple[Store, Bundle]:
    """The same with an autoencoder; ``Classes(())`` makes the tiles unlabelled."""
    (folder / "data").mkdir()
    made = store(folder / "data" / "tiles", classes)
    return made, train(made, folder / "models", AUTOENCODER, 60, "reconstruct")


def ensemble_project(folder: Path) -> tuple[Store, Bundle]:
    """The same with three members: a perceptron, and two networks that were trained less."""
    (folder / "data").mkdir()
    made = store(folder / "data" / "tiles")
    each = [
        train(made, folder / "member", layers, steps).network
        for layers, steps in ((MLP, 3), (LAYERS, 25), (LAYERS, 12))
    ]
    facts = [Member("mlp", 0, 0.5), Member("little", 11, 0.9), Member("little", 12, 0.7)]
    params = {"model": {"name": "little", "layers": LAYERS}}
    network = Ensemble(each, facts)
    root = folder / "models"
    return made, bundle.save(network, data_digest=made.digest, params=params, root=root)
