from __future__ import annotations

import csv
import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from pydantic import TypeAdapter

from pipeline import bundle, calibration, metrics
from pipeline.errors import ConfigError, DivergenceError
from pipeline.schema import (
    AugmentSection,
    DataSection,
    EngineSection,
    InitSection,
    Loss,
    ModelSection,
    Optimizer,
    Schedule,
    TrainerSection,
    TrainSection,
)
from pipeline.stages import train
from pipeline.store import Store
from pipeline.tasks.fitting import Plan
from pipeline.tasks.keeping import direction
from pipeline.tasks.trainer import make, precision
from pipeline.types import Classes
from tests import forked, little

HERE = Path(__file__).resolve().parent.parent
TRAIN = {
    "epochs": 3, "min_steps": 0, "batch_size": 16, "seed": 0, "monitor": "accuracy",
    "patience": None, "average": 0.0,
}  # fmt: skip
TRAINER = {
    "accelerator": "cpu", "devices": 1, "num_nodes": 1, "strategy": "auto", "detect_anomaly": False,
}  # fmt: skip


def sections(**changes: dict[str, Any]) -> dict[str, Any]:
    """What ``run`` takes; ``changes`` are keys of sections."""

    def options(name: str, default: dict[str, Any]) -> dict[str, Any]:
        return default | changes.get(name, {})

    optimizers: TypeAdapter[Optimizer] = TypeAdapter(Optimizer)
    schedules: TypeAdapter[Schedule] = TypeAdapter(Schedule)
    augment = {"flips": True, "quarter_turns": True, "brightness": 0, "contrast": 0, "noise": 0.1}
    adam = {"name": "adam", "lr": 0.01, "betas": [0.9, 0.999], "weight_decay": 0}
    entropy = {"name": "cross_entropy", "label_smoothing": 0, "class_weights": "none"}
    # Others have other keys.
    loss = {} if "name" in changes.get("loss", {}) else entropy
    adam = {} if "name" in changes.get("optimizer", {}) else adam
    losses: TypeAdapter[Loss] = TypeAdapter(Loss)
    model = {"name": "little", "layers": options("layers", little.LAYERS)}
    return {
        "model": ModelSection(**options("model", model)),
        "init": InitSection(name="he"),
        "augment": AugmentSection(**options("augment", augment)),
        "optimizer": optimizers.validate_python(options("optimizer", adam)),
        "schedule": schedules.validate_python(options("schedule", {"name": "constant"})),
        "loss": losses.validate_python(options("loss", loss)),
        "train": TrainSection(**options("train", TRAIN)),
        "trainer": TrainerSection(**options("trainer", TRAINER)),
        "engine": little.ENGINE,
        "data": DataSection(**options("data", {"mode": "auto", "memory": None})),
        "tracking": little.UNTRACKED,
    }


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "data").mkdir()
    little.store(tmp_path / "data" / "tiles")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def curves(place: Path) -> list[dict[str, float]]:
    with (place / "reports/train/curves.csv").open(newline="") as file:
        return [{key: float(value) for key, value in row.items()} for row in csv.DictReader(file)]


def test_training_writes_the_bundle_and_the_curves(
    place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    train.run(**sections(train={"epochs": 8}))
    rows = curves(place)
    assert [row["epoch"] for row in rows] == list(range(1, 9))
    assert set(rows[0]) == {
        "epoch", "train_loss", "validation_loss", "validation_accuracy",
        "validation_balanced_accuracy", "learning_rate", "dead_relus",
    }  # fmt: skip
    assert rows[-1]["train_loss"] < 0.5 * rows[0]["train_loss"]
    kept = bundle.load()
    assert kept.layers == little.LAYERS
    assert set(kept.params) == {
        "model", "init", "augment", "optimizer", "schedule", "loss", "train",
    }  # fmt: skip
    printed = capsys.readouterr().out
    assert printed.count("\nepoch ") == 8
    assert "Kept epoch" in printed
    assert not list((place / ".checkpoints").iterdir())


def test_the_temperature_is_fitted_to_the_validation_tiles(
    place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    train.run(**sections(train={"epochs": 8}))
    kept, store = bundle.load(), Store.open(place / "data/tiles")
    pixels, actual = store.pixels("validation"), store.labels("validation")
    plain = replace(kept, temperature=1.0).probabilities(pixels, batch_size=12)
    assert kept.temperature == pytest.approx(calibration.fit(plain, actual), rel=1e-3)
    assert kept.temperature != 1.0
    warm = kept.probabilities(pixels, batch_size=12)
    assert metrics.nll(warm, actual) < metrics.nll(plain, actual)
    assert f"Temperature {kept.temperature:g}" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("swa", "schedule", "warned"),
    [
        (0.25, {"name": "one_cycle", "warmup": 0.3, "start": 25}, True),
        (0.25, {"name": "cosine", "warmup": 0, "final": 0}, True),
        (0.25, {"name": "constant"}, False),
        (0.0, {"name": "cosine", "warmup": 0, "final": 0}, False),
    ],
)
def test_a_mean_of_weights_that_hardly_move_is_warned_of(
    swa: float, schedule: dict[str, Any], warned: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    plan = Plan(**sections(train={"swa": swa}, schedule=schedule))
    learning: Any = SimpleNamespace(lines=[])
    train._tell([plan], [learning])
    told = f"hardly move while schedule={schedule['name']} lowers the rate: it gains little"
    assert (told in capsys.readouterr().err) is warned


def test_the_best_epoch_is_kept(place: Path) -> None:
    train.run(**sections(train={"epochs": 6}, optimizer={"lr": 0.03}))
    rows = curves(place)
    best = max(rows, key=lambda row: (row["validation_accuracy"], -row["validation_loss"]))
    kept = bundle.load()
    store = Store.open()
    found = kept.probabilities(store.pixels("validation"), batch_size=64).argmax(axis=1)
    accuracy = float((found == store.labels("validation")).mean())
    assert accuracy == pytest.approx(best["validation_accuracy"], abs=1e-6)


def test_the_same_parameters_give_the_same_bytes(place: Path) -> None:
    options = sections(train={"average": 0.9, "epochs": 2})
    train.run(**options)
    first = [(place / "models" / name).read_bytes() for name in (bundle.WEIGHTS, bundle.FACTS)]
    torch.manual_seed(99)
    train.run(**options)
    assert first == [(place / "models" / n).read_bytes() for n in (bundle.WEIGHTS, bundle.FACTS)]
    train.run(**sections(train={"average": 0.9, "epochs": 2, "seed": 1}))
    assert first[0] != (place / "models" / bundle.WEIGHTS).read_bytes()


def test_small_sets_train_for_min_steps(place: Path) -> None:
    # 90 tiles, 16 a step: 6 steps, the last of 10 tiles; 25 steps are 5 epochs.
    train.run(**sections(train={"min_steps": 25, "epochs": 2}))
    assert len(curves(place)) == 5


def test_training_stops_when_nothing_is_gained(place: Path) -> None:
    train.run(**sections(train={"patience": 2, "epochs": 30}, optimizer={"lr": 1e-9}))
    assert len(curves(place)) == 3


def test_class_weights_reach_the_loss(place: Path) -> None:
    train.run(**sections(loss={"class_weights": {"trees": 0.0, "water": 0.0}}))
    found = bundle.load().probabilities(Store.open().pixels("test"), batch_size=64)
    assert set(found.argmax(axis=1)) == {0}


def test_hardware_that_is_not_there_is_one_sentence(
    place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(ConfigError, match=r"trainer\.accelerator=gpu.*trainer=cpu"):
        train.run(**sections(trainer={"accelerator": "gpu"}))


def test_precision_names_its_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    assert precision("32", gpu=True) == ("32", "asked for")
    assert precision("bf16", gpu=False) == ("bf16", "asked for")
    for name in ("_is_amx_tile_supported", "_is_avx512_bf16_supported"):
        monkeypatch.setattr(torch.cpu, name, lambda: False)
    assert precision("auto", gpu=False)[0] == "32"
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: True)
    assert precision("auto", gpu=False) == ("bf16", "this CPU has AVX-512 BF16")
    for supported, expected in ((True, "bf16"), (False, "32")):
        monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda has=supported, **_: has)
        assert precision("auto", gpu=True)[0] == expected


def test_bf16_trains_and_measures_in_float32(place: Path) -> None:
    options = sections(train={"epochs": 6})
    options["engine"] = EngineSection(precision="bf16", threads=1, workers=None)
    train.run(**options)
    kept = bundle.load()
    assert {value.dtype for value in kept.network.state_dict().values()} == {torch.float32}
    assert curves(place)[-1]["train_loss"] < curves(place)[0]["train_loss"]


@pytest.mark.parametrize(("measure", "expected"), [("validation_loss", "min"), ("f1", "max")])
def test_the_direction_of_a_measure(measure: str, expected: str) -> None:
    assert direction(measure) == expected


def test_a_validation_loss_that_is_no_number_stops_training_before_a_bundle(place: Path) -> None:
    options = sections(
        train={"epochs": 2, "average": 0.9}, augment={"noise": 1e30},
        layers={"relu1": {"_target_": "torch.nn.BatchNorm2d"}},
    )  # fmt: skip
    told = r"validation loss, got nan after epoch 1, step 6, at.*0\.01: relu1\.running_.*augment"
    with pytest.raises(DivergenceError, match=told):
        train.run(**options)
    assert not (place / "models").exists()


def test_a_loss_far_above_that_of_guessing_is_warned_of(
    place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for lr, warned in ((0.01, False), (1000.0, True)):
        train.run(**sections(train={"epochs": 1}, optimizer={"lr": lr}))
        told = "where guessing has 1.1: training diverged. Lower optimizer.lr, now 1000"
        assert (told in capsys.readouterr().err) is warned


DRAW: dict[str, Any] = {
    "model": {"layers": little.AUTOENCODER, "task": "reconstruct"},
    "loss": {"name": "squared_error"},
}


@pytest.mark.parametrize("classes", [little.CLASSES, Classes(())])
def test_an_autoencoder_trains_with_labels_and_without(
    classes: Classes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    (tmp_path / "data").mkdir()
    store = little.store(tmp_path / "data" / "tiles", classes)
    monkeypatch.chdir(tmp_path)
    train.run(**sections(train={"epochs": 5, "monitor": "loss", "average": 0.5}, **DRAW))
    rows = curves(tmp_path)
    assert list(rows[0]) == [
        "epoch", "train_loss", "validation_loss", "learning_rate", "dead_relus",
    ]  # fmt: skip
    assert rows[-1]["validation_loss"] < rows[0]["validation_loss"]
    kept = bundle.load()
    assert kept.reconstructs
    assert kept.classes == classes
    pixels = store.pixels("validation")
    apart = (kept.reconstructions(pixels, batch_size=12) - pixels.astype(float)) / store.std
    best = min(row["validation_loss"] for row in rows)
    assert np.square(apart).mean() == pytest.approx(best, rel=1e-4)
    assert "accuracy" not in capsys.readouterr().out


def test_an_autoencoder_of_two_processes_is_that_of_one(place: Path) -> None:
    where = {"strategy": "ddp", "devices": 2}
    two = run_script(place, train={"batch_size": 8, "monitor": "loss"}, trainer=where, **DRAW)
    assert two.returncode == 0, two.stderr
    rows = curves(place)
    train.run(**sections(train={"batch_size": 16, "monitor": "loss"}, **DRAW))
    for one, other in zip(curves(place), rows, strict=True):
        assert one == pytest.approx(other, rel=1e-3)


SCRIPT = """
import json, sys
from tests.test_train import sections
from pipeline.stages import train
from pipeline.store import Store
if __name__ == "__main__":
    train.run(**sections(**json.loads(sys.argv[1])))
"""


def run_script(
    place: Path, script: str = SCRIPT, **changes: Any
) -> subprocess.CompletedProcess[str]:
    (place / "go.py").write_text(script)
    env = os.environ | {"PYTHONPATH": str(HERE), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "go.py", json.dumps(changes)]
    return subprocess.run(
        command, cwd=place, env=env, capture_output=True, text=True, timeout=300, check=False
    )


def test_two_processes_train_as_one_does(place: Path) -> None:
    # The global batches are the same, augmented ones, so the gradients are too, but for rounding.
    weights = {"class_weights": {"trees": 3.0}, "label_smoothing": 0.1}
    options: dict[str, Any] = {"loss": weights}
    two = run_script(
        place, train={"batch_size": 8}, trainer={"strategy": "ddp", "devices": 2}, **options
    )
    assert two.returncode == 0, two.stderr
    assert two.stdout.count("\nepoch ") == 3
    assert two.stdout.count("Kept epoch") == 1
    both, rows = bundle.load(), curves(place)
    train.run(**sections(train={"batch_size": 16}, **options))
    for one, other in zip(curves(place), rows, strict=True):
        assert one == pytest.approx(other, rel=1e-3)
    for key, value in bundle.load().network.state_dict().items():
        torch.testing.assert_close(both.network.state_dict()[key], value, rtol=0, atol=1e-5)


def test_a_rank_without_validation_tiles_waits_for_those_that_have_some(tmp_path: Path) -> None:
    places = [tmp_path / name for name in ("one", "two")]
    for place in places:
        (place / "data").mkdir(parents=True)
        little.store(place / "data/tiles", counts=(90, 1, 31))
    options = {"train": {"batch_size": 8, "epochs": 2}}
    where = {"strategy": "ddp", "num_nodes": 2}
    ranks = forked.Training(places, {**options, "trainer": where})
    assert ranks.run() == [0, 0], ranks.said()
    both = curves(places[0])
    alone = forked.Training([places[1]], {"train": {"batch_size": 16, "epochs": 2}})
    assert alone.run() == [0], alone.said()
    for one, other in zip(curves(places[1]), both, strict=True):
        assert one == pytest.approx(other, rel=1e-3)


def test_ranks_that_diverge_say_so_in_one_line(tmp_path: Path) -> None:
    places = [tmp_path / name for name in ("one", "two")]
    for place in places:
        (place / "data").mkdir(parents=True)
        little.store(place / "data/tiles")
    where = {"strategy": "ddp", "num_nodes": 2}
    ranks = forked.Training(places, {"trainer": where}, ("nan", 1, 3))
    assert ranks.run() == [1, 1], ranks.said()
    for said in ranks.said():
        assert "a loss of nan on rank 1" in said.splitlines()[-1]
        assert "deprecated" not in said


WATCHED = SCRIPT.replace(
    "if __name__",
    """
import torch
from pipeline.tasks.learner import Learner
step = Learner.validation_step
def watched(self, batch, index):
    for network in (self.network, self.final):
        for name, value in network.named_buffers():
            mine = value.double().flatten()
            others = [torch.empty_like(mine) for _ in range(2)]
            torch.distributed.all_gather(others, mine)
            assert torch.equal(others[0], others[1]), f"{name} differs between ranks"
    return step(self, batch, index)
Learner.validation_step = watched
if __name__""",
)


@pytest.mark.parametrize("average", [{}, {"average": 0.9}, {"swa": 0.6}])
def test_ranks_validate_with_the_same_batch_norms(place: Path, average: dict[str, float]) -> None:
    done = run_script(
        place, WATCHED, train={"batch_size": 8, **average},
        layers={"relu1": {"_target_": "torch.nn.BatchNorm2d"}},
        trainer={"strategy": "ddp", "devices": 2},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-2000:]
    assert done.stdout.count("\nepoch ") == 3


def test_make_takes_no_more_threads_than_asked_for() -> None:
    before = torch.get_num_threads()
    try:
        from pytorch_lightning.loggers.logger import DummyLogger

        engine = EngineSection(precision="32", threads=before + 1, workers=None)
        where = TrainerSection.model_validate(TRAINER)
        made = make(where, engine, logger=DummyLogger(), callbacks=[])
        assert torch.get_num_threads() == before + 1
        assert made.world_size == 1
    finally:
        torch.set_num_threads(before)


def test_data_and_parameters_make_the_key() -> None:
    keys = {train._key({"a": a}, data) for a in (1, 2) for data in ("x", "y")}
    assert len(keys) == 4
    assert train._key({"a": 1, "b": 2}, "x") == train._key({"b": 2, "a": 1}, "x")
    assert np.char.isalnum(list(keys)).all()
