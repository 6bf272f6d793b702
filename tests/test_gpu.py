"""What only a GPU can show; each test says what it misses where there is none."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from pipeline import bundle
from pipeline.feeding import MEBIBYTE, Resident, Streamed, choose, room
from pipeline.order import Order, shares
from pipeline.stages import train
from tests import little
from tests.forked import Training
from tests.test_ranks import TWO, project
from tests.test_train import place, run_script, sections

__all__ = ["place"]  # a fixture

DEVICES = torch.cuda.device_count()
pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(DEVICES < 1, reason="no CUDA device here"),
]
two = pytest.mark.skipif(DEVICES < 2, reason=f"NCCL needs two CUDA devices, here are {DEVICES}")
GPU = {"accelerator": "gpu"}
PLAIN = {"flips": False, "quarter_turns": False, "noise": 0}


def weights() -> dict[str, np.ndarray[Any, Any]]:
    return {key: value.cpu().numpy() for key, value in bundle.load().network.state_dict().items()}


@pytest.mark.usefixtures("place")
def test_a_gpu_trains_to_what_a_cpu_trains_to() -> None:
    train.run(**sections(trainer=GPU, augment=PLAIN, train={"epochs": 1}))
    ours = weights()
    train.run(**sections(augment=PLAIN, train={"epochs": 1}))
    for name, value in weights().items():
        np.testing.assert_allclose(ours[name], value, rtol=0, atol=1e-3)


@pytest.mark.usefixtures("place")
def test_mixed_precision_trains_and_keeps_weights_in_float32(
    capsys: pytest.CaptureFixture[str],
) -> None:
    mixed = little.ENGINE.model_copy(update={"precision": "bf16"})
    train.run(**sections(trainer=GPU, train={"epochs": 8}) | {"engine": mixed})
    assert "Precision bf16: asked for." in capsys.readouterr().out
    kept = bundle.load().network
    assert {value.dtype for value in kept.parameters()} == {torch.float32}


def test_tiles_stay_within_their_share_of_the_memory() -> None:
    device = torch.device("cuda")
    assert room(device, 1, limit=1) == MEBIBYTE
    free = torch.cuda.mem_get_info(device)[0]
    assert 0 < room(device, 1) < free
    assert choose("auto", free, room(device, 1), "GPU memory")[0] == "streamed"
    before = torch.cuda.memory_allocated(device)
    tiles = Resident(np.zeros((4096, 28, 28, 4), np.uint8), np.zeros(4096, np.int64), device)
    taken = torch.cuda.memory_allocated(device) - before
    assert tiles.pixels.device.type == "cuda"
    assert taken < 1.1 * 4096 * 28 * 28 * 4  # bytes, not floats


@pytest.mark.usefixtures("place")
def test_streamed_and_resident_tiles_give_the_same_weights(
    capsys: pytest.CaptureFixture[str],
) -> None:
    train.run(**sections(trainer=GPU, augment=PLAIN, data={"mode": "streamed"}))
    assert "Tiles streamed" in capsys.readouterr().out
    streamed = weights()
    train.run(**sections(trainer=GPU, augment=PLAIN, data={"mode": "resident"}))
    for name, value in weights().items():
        np.testing.assert_allclose(streamed[name], value, rtol=0, atol=1e-4)


def test_streaming_takes_a_part_of_the_memory(tmp_path: Path) -> None:
    device = torch.device("cuda")
    store = little.store(tmp_path / "tiles", counts=(8000, 12, 12))
    streamed = Streamed(store, "train", device)
    size = 8000 * streamed.tile_bytes
    before = torch.cuda.memory_allocated(device)
    torch.cuda.reset_peak_memory_stats(device)
    order = Order(8000, streamed.tile_bytes, 0)
    streamed.start(order)
    for _, rows in shares(order, batch_size=16):
        pixels, _ = streamed.take(rows)
        assert pixels.device.type == "cuda"
    assert torch.cuda.max_memory_allocated(device) - before < size / 2
    resident = Resident(store.pixels("train"), store.labels("train"), device)
    assert torch.cuda.memory_allocated(device) - before >= size
    assert len(resident) == 8000


def test_one_gpu_alone_meets_itself_by_nccl(place: Path) -> None:
    alone = GPU | {"devices": 1, "strategy": "ddp"}
    ran = run_script(place, trainer=alone, augment=PLAIN)
    assert ran.returncode == 0, ran.stderr
    by_nccl = weights()
    train.run(**sections(trainer=GPU, augment=PLAIN))
    for name, value in weights().items():
        np.testing.assert_allclose(by_nccl[name], value, rtol=0, atol=1e-4)


@two
def test_batch_norms_measure_the_tiles_of_all_gpus(place: Path) -> None:
    # A bias before a batch norm has no gradient but rounding, which Adam would make steps of.
    conv = {**little.LAYERS["conv1"], "bias": False}
    layers = {"conv1": conv, "relu1": {"_target_": "torch.nn.BatchNorm2d"}}
    pair = GPU | {"devices": 2, "strategy": "ddp"}
    options: dict[str, Any] = {"augment": PLAIN, "layers": layers}
    ran = run_script(place, trainer=pair, train={"batch_size": 8, "epochs": 1}, **options)
    assert ran.returncode == 0, ran.stderr
    assert "Batch norms of" not in ran.stdout
    together = weights()
    train.run(**sections(trainer=GPU, train={"batch_size": 16, "epochs": 1}, **options))
    for name, value in weights().items():
        np.testing.assert_allclose(together[name], value, rtol=1e-3, atol=2e-3)


@two
@pytest.mark.parametrize("kind", ["raise", "kill"])
def test_a_collective_on_gpus_ends_when_a_rank_does(tmp_path: Path, kind: str) -> None:
    changes = TWO | {"trainer": {**TWO["trainer"], "accelerator": "gpu"}}
    places = [project(tmp_path / name) for name in ("first", "second")]
    training = Training(places, changes, (kind, 1, 14), gpus=True)
    assert training.run()[0] == 1  # after GRACE at most, where NCCL holds the main thread
    assert "error: Rank 1 (process" in training.said()[0]


@two
def test_two_gpus_train_as_one_does(place: Path) -> None:
    pair = GPU | {"devices": 2, "strategy": "ddp"}
    ran = run_script(place, trainer=pair, train={"batch_size": 8})
    assert ran.returncode == 0, ran.stderr
    together = weights()
    train.run(**sections(trainer=GPU, train={"batch_size": 16}))
    for name, value in weights().items():
        np.testing.assert_allclose(together[name], value, rtol=0, atol=1e-4)
