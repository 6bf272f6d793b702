"""Networks for tests: every file of ``conf/model``, and made-up ones that hold every composite."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from pipeline.config import compose
from pipeline.network import Network, Task, build
from pipeline.types import Bands, Classes

BANDS = Bands(("red", "green", "blue", "nir"))
CLASSES = Classes(("building", "barren_land", "trees", "grassland", "road", "water"))
MEAN, STD = [90.0, 95.0, 80.0, 130.0], [30.0, 25.0, 28.0, 40.0]
FOLDER = Path(__file__).resolve().parent.parent / "conf" / "model"
# timm is an optional extra: tests/test_timm.py
MODELS = sorted({path.stem for path in FOLDER.glob("*.yaml")} - {"timm"})

RELU: dict[str, Any] = {"_target_": "torch.nn.ReLU"}
NORM: dict[str, Any] = {"_target_": "torch.nn.BatchNorm2d"}
FLATTEN: dict[str, Any] = {"_target_": "torch.nn.Flatten"}
HEAD: dict[str, Any] = {"_target_": "torch.nn.Linear"}
NORMALIZE: dict[str, Any] = {"_target_": "pipeline.layers.Normalize"}
MEANS: dict[str, Any] = {"_target_": "pipeline.layers.GlobalAvgPool"}


def conv(filters: int, kernel: int | list[int] = 3, **more: Any) -> dict[str, Any]:
    """A convolution."""
    return {
        "_target_": "torch.nn.Conv2d",
        "out_channels": filters,
        "kernel_size": kernel,
        **more,
    }


def pool(kernel: int = 2, kind: str = "MaxPool2d", **more: Any) -> dict[str, Any]:
    """A pooling."""
    return {"_target_": f"torch.nn.{kind}", "kernel_size": kernel, **more}


def ours(kind: str, **inside: Any) -> dict[str, Any]:
    """A composite of ``pipeline.layers``."""
    return {"_target_": f"pipeline.layers.{kind}", **inside}


# Parallel inside Residual, Dense with chains, shortcuts with a projection and without.
BLOCKS: dict[str, Any] = {
    "stem": conv(8, 5, padding="same"),
    "left_out": None,
    "block1": ours(
        "Residual",
        mixed=ours(
            "Parallel",
            one=conv(4, 1),
            three={"reduce": conv(4, 1), "act": RELU, "conv": conv(8, padding=1)},
            pooled={"pool": pool(3, stride=1, padding=1), "left_out": None, "conv": conv(4, 1)},
        ),
        norm=NORM,
    ),
    "act1": RELU,
    "dense": ours(
        "Dense",
        layer1={"norm": NORM, "act": RELU, "conv": conv(4, padding="same", bias=False)},
        layer2=conv(4, padding=2, dilation=2),
        separable=ours("DepthwiseSeparable", out_channels=6),
    ),
    "sum": ours(
        "Parallel",
        join="add",
        a=conv(12, stride=2, padding=1, groups=2),
        b=ours("Residual", conv=conv(12, 2, stride=2), act=RELU),
    ),
    "block2": ours("Residual", projection=conv(12, 1), conv=conv(12, padding=1)),
    "separable": ours("DepthwiseSeparable", out_channels=10, stride=2),
    "pool": pool(3, stride=2, ceil_mode=True),
}
EVERYTHING: dict[str, Any] = {
    "indices": ours("SpectralIndices", indices={"ndvi": ["nir", "red"], "own": ["green", "nir"]}),
    "normalize": NORMALIZE,
    **BLOCKS,
    "pools": ours("Parallel", mean=MEANS, most=ours("GlobalMaxPool")),
    "dropout": {"_target_": "torch.nn.Dropout", "p": 0.3},
    "fc": HEAD,
}
AUTOENCODER: dict[str, Any] = {
    "normalize": NORMALIZE,
    "encoder": {"conv": conv(8, stride=2, padding=1), "act": RELU, "deeper": conv(6, 4, stride=2)},
    "decoder": {
        "up": {"_target_": "torch.nn.ConvTranspose2d", "out_channels": 8, "kernel_size": 4,
               "stride": 2},
        "act": RELU,
        "wide": {"_target_": "torch.nn.Upsample", "scale_factor": 2},
        "last": {"_target_": "torch.nn.Conv2d", "kernel_size": 3, "padding": 1},
    },
}  # fmt: skip


def network(layers: dict[str, Any], tile_size: int = 28, task: Task = "classify") -> Network:
    """A network of these layers."""
    return build(
        layers,
        bands=BANDS,
        classes=CLASSES,
        tile_size=tile_size,
        mean=MEAN,
        std=STD,
        task=task,
    )


def model(name: str, tile_size: int = 28) -> Network:
    """The network of a file of ``conf/model``."""
    section = yaml.safe_load(compose([f"model={name}"]))["model"]
    return network(section["layers"], tile_size, section.get("task", "classify"))
