"""What only a GPU can show; each test says what it misses where there is none."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from pipeline import bundle
from pipeline.feeding import MEBIBYTE, Resident, choose, room
from pipeline.stages import train
from tests import little
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


@two
def test_two_gpus_train_as_one_does(place: Path) -> None:
    pair = GPU | {"devices": 2, "strategy": "ddp"}
    ran = run_script(place, trainer=pair, augment=PLAIN, train={"batch_size": 8})
    assert ran.returncode == 0, ran.stderr
    together = weights()
    train.run(**sections(trainer=GPU, augment=PLAIN, train={"batch_size": 16}))
    for name, value in weights().items():
        np.testing.assert_allclose(together[name], value, rtol=0, atol=1e-4)
