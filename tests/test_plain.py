"""The exported file gives what the network gives, to the bit, and needs nothing of this project."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from pipeline import layers as own
from pipeline.composites import Composite
from pipeline.network import Network
from pipeline.plain import source_of
from pipeline.silence import random_tiles
from tests import little
from tests.networks import (
    AUTOENCODER,
    BLOCKS,
    EVERYTHING,
    FLATTEN,
    HEAD,
    MEAN,
    MEANS,
    MODELS,
    NORMALIZE,
    RELU,
    STD,
    conv,
    model,
    network,
    ours,
)

ENDING = {"means": MEANS, "head": HEAD}
ODD: dict[str, dict[str, Any]] = {
    "everything": EVERYTHING,
    "names that a file uses itself": {
        "torch": conv(4, padding=1),
        "nn": RELU,
        "network": {"x": conv(4), "y": RELU},
        "normalize": {"normalize": NORMALIZE, "tensor": RELU},
        "both": ours("Parallel", x=conv(3), shortcut=conv(3), self=conv(3), join="concat"),
        "dense": ours("Dense", x={"dense": conv(3, padding=1)}),
        **ENDING,
    },
    "settings": {
        "c1": conv(8, [3, 5], stride=[1, 2], padding=[1, 2], padding_mode="reflect"),
        "c2": conv(8, 3, groups=4, dilation=2, padding="same", bias=False),
        "n": {"_target_": "torch.nn.BatchNorm2d", "eps": 0.01, "momentum": None, "affine": False},
        "g": {"_target_": "torch.nn.GroupNorm", "num_groups": 2},
        "p": {"_target_": "torch.nn.PReLU", "num_parameters": 8, "init": 0.1},
        "l": {"_target_": "torch.nn.LeakyReLU", "negative_slope": 0.2, "inplace": True},
        "a": {"_target_": "torch.nn.AvgPool2d", "kernel_size": 3, "ceil_mode": True,
              "count_include_pad": False, "padding": 1},
        "u": {"_target_": "torch.nn.Upsample", "scale_factor": [2, 1], "mode": "bilinear"},
        "f": {"_target_": "torch.nn.Flatten", "end_dim": 2},
        "ln": {"_target_": "torch.nn.LayerNorm", "normalized_shape": [5], "bias": False},
        "f2": FLATTEN,
        "gelu": {"_target_": "torch.nn.GELU", "approximate": "tanh"},
        "head": HEAD,
    },
    "branches whose names collide": {
        "both": ours("Parallel", x=conv(3), x_=conv(2), nn_=conv(3), nn=conv(2), join="concat"),
        **ENDING,
    },
    "encoder": {
        "flatten": FLATTEN,
        "encoder": {"_target_": "torch.nn.TransformerEncoderLayer", "d_model": 784 * 4, "nhead": 2,
                    "dim_feedforward": 8, "activation": "gelu"},
        "head": HEAD,
    },
}  # fmt: skip


def loaded(text: str) -> nn.Module:
    """The network of an exported file, as its own program has it."""
    assert "pipeline" not in text
    namespace: dict[str, Any] = {"__name__": "network"}
    exec(compile(text, "network.py", "exec"), namespace)
    made: nn.Module = namespace["Network"]()
    return made


def same(made: Network, name: str = "some") -> None:
    """Compare an export with its network: names, shapes, outputs when predicting and training."""
    other = loaded(source_of(made, name))
    tiles = random_tiles(made, MEAN, STD)
    made(tiles)  # gives batch norms statistics of their own
    theirs, mine = other.state_dict(), made.state_dict()
    assert list(theirs) == list(mine)
    assert all(theirs[key].shape == mine[key].shape for key in mine)
    other.load_state_dict(mine)
    for training in (False, True):
        made.train(training)
        other.train(training)
        assert torch.equal(_seeded(made, tiles), _seeded(other, tiles))


def _seeded(module: nn.Module, tiles: Tensor) -> Tensor:
    torch.manual_seed(7)  # of dropout
    with torch.no_grad():
        out: Tensor = module(tiles)
    return out


@pytest.mark.parametrize("name", MODELS)
def test_every_model_gives_the_same_to_the_bit(name: str) -> None:
    same(model(name), name)


@pytest.mark.parametrize("case", ODD)
@pytest.mark.filterwarnings("ignore:enable_nested_tensor")
def test_made_up_networks_give_the_same_to_the_bit(case: str) -> None:
    same(network(ODD[case]), case)


def test_a_network_that_reconstructs_gives_the_same_to_the_bit() -> None:
    made = network(AUTOENCODER, task="reconstruct")
    same(made)
    assert "the same tiles\ngo out, normalized band by band" in source_of(made, "some")


def test_every_composite_is_among_the_networks_tried_here() -> None:
    composites = {kind for kind in vars(own).values() if isinstance(kind, type)}
    composites = {kind for kind in composites if issubclass(kind, Composite)}
    tried = {type(module) for module in network(EVERYTHING).modules()}
    assert composites <= tried


def test_the_files_run_outside_of_the_project(tmp_path: Path) -> None:
    made = {name: model(name) for name in MODELS} | {
        "everything": network(EVERYTHING),
        "autoencoder": network(AUTOENCODER, task="reconstruct"),
    }
    paths = []
    for name, one in made.items():
        paths.append(tmp_path / f"{name}.py")
        paths[-1].write_text(source_of(one, name), encoding="utf-8")
    program = (
        "import runpy, sys\n"
        "for path in sys.argv[1:]: runpy.run_path(path, run_name='__main__')\n"
        "assert not any(name.startswith('pipeline') for name in sys.modules)"
    )
    # -I: neither the working folder nor PYTHONPATH is searched.
    ended = subprocess.run(
        [sys.executable, "-I", "-c", program, *map(str, paths)],
        cwd=tmp_path, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert ended.returncode == 0, ended.stderr
    shapes = [tuple(one.eval()(torch.zeros(1, *one.input_shape)).shape) for one in made.values()]
    assert ended.stdout.splitlines() == [str(shape) for shape in shapes]


def test_weights_of_a_bundle_load(tmp_path: Path) -> None:
    from safetensors.torch import load_file

    tiles, bundle = little.project(tmp_path)
    other = loaded(source_of(bundle.network, "little"))
    other.load_state_dict(load_file(tmp_path / "models/model.safetensors"))
    pixels = torch.rand(5, 4, tiles.tile_size, tiles.tile_size) * 200
    assert torch.equal(other.eval()(pixels), bundle.network(pixels))


def test_the_file_reads_well() -> None:
    text = source_of(network({"normalize": NORMALIZE, **BLOCKS, **ENDING}), "blocks")
    assert max(map(len, text.splitlines())) <= 100
    for line in (
        'BANDS = ("red", "green", "blue", "nir")',
        "TILE_SIZE = 28  # pixels a side",
        "        x = self.stem(x)  # (N, 8, 28, 28)",
        "        return torch.cat([one, three, pooled], dim=1)  # (N, 16, 28, 28)",
        "        return y + shortcut  # (N, 16, 28, 28)",
        "        x = torch.cat([x, self.layer2(x)], dim=1)  # (N, 24, 28, 28)",
        "        self.head = nn.Linear(in_features=10, out_features=6, bias=True)",
    ):
        assert line in text.splitlines(), line
    assert "left_out" not in text
    assert source_of(network({"normalize": NORMALIZE, **BLOCKS, **ENDING}), "blocks") == text


def test_a_name_can_not_end_its_quotes() -> None:
    text = source_of(network({"f": FLATTEN, "head": HEAD}), 'x"""\nimport os\\')
    assert loaded(text)
    assert not any(line.startswith("import os") for line in text.splitlines())
