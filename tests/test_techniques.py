"""What a training is told to do beside plain steps, through the whole stage."""

from __future__ import annotations

import os
import pty
import re
import subprocess
import sys
from collections import Counter
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import pytorch_lightning as pl
import torch
from torch import Tensor

from pipeline import bundle
from pipeline.config import compose
from pipeline.data import TrainingBatches
from pipeline.errors import ConfigError
from pipeline.schema import EngineSection
from pipeline.stages import train
from pipeline.store import Store
from pipeline.tasks.curves import Curves
from tests import little
from tests.conftest import ROOT
from tests.test_train import curves, run_script, sections

# Adam would take the sign of a rounding error for a gradient.
MOMENTUM: dict[str, Any] = {
    "name": "sgd", "lr": 0.01, "momentum": 0.9, "nesterov": False, "weight_decay": 0,
}  # fmt: skip
WEIGHTS = {"class_weights": {"trees": 3.0}, "label_smoothing": 0.1}
FOCUS = {"name": "focal", "label_smoothing": 0.1, "class_weights": {"trees": 3.0}}
NORM = {**little.LAYERS, "relu1": {"_target_": "torch.nn.BatchNorm2d"}}


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "data").mkdir()
    little.store(tmp_path / "data" / "tiles")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def trained(**changes: Any) -> dict[str, Tensor]:
    train.run(**sections(optimizer=MOMENTUM, **changes))
    return bundle.load().network.state_dict()


def close(one: dict[str, Tensor], other: dict[str, Tensor], limit: float) -> None:
    assert one.keys() == other.keys()
    for name, value in one.items():
        torch.testing.assert_close(value, other[name], rtol=limit, atol=limit, msg=name)


@pytest.mark.parametrize("loss", [WEIGHTS, FOCUS])
def test_accumulated_batches_are_one_large_batch(place: Path, loss: dict[str, Any]) -> None:
    # 90 tiles, 16 a step: the last has 10. Augmentation and mixtures are the same, too.
    options: dict[str, Any] = {"loss": loss, "augment": {"mixup": 0.2, "cutmix": 1.0}}
    whole = trained(train={"batch_size": 16}, **options)
    rows = curves(place)
    for size, pieces in ((8, 2), (4, 4)):
        cut = trained(train={"batch_size": size, "accumulate": pieces}, **options)
        close(cut, whole, 1e-6)
        for one, other in zip(curves(place), rows, strict=True):
            assert one == pytest.approx(other, rel=1e-5)


def test_accumulated_batches_of_two_processes_are_one_large_batch(place: Path) -> None:
    options: dict[str, Any] = {"loss": FOCUS, "optimizer": MOMENTUM}
    two = run_script(
        place, train={"batch_size": 4, "accumulate": 2},
        trainer={"strategy": "ddp", "devices": 2}, **options,
    )  # fmt: skip
    assert two.returncode == 0, two.stderr[-2000:]
    both, rows = bundle.load().network.state_dict(), curves(place)
    close(both, trained(train={"batch_size": 16}, loss=FOCUS), 1e-6)
    for one, other in zip(curves(place), rows, strict=True):
        assert one == pytest.approx(other, rel=1e-4)


ALL: dict[str, Any] = {
    "train": {"epochs": 6, "swa": 0.5, "sampling": "balanced", "accumulate": 2, "batch_size": 8},
    "augment": {"mixup": 0.2, "cutmix": 1.0},
    "loss": FOCUS,
    "layers": NORM,
}


@pytest.mark.parametrize("mode", ["resident", "streamed"])
def test_training_that_was_broken_off_goes_on_with_all_of_it(
    place: Path, monkeypatch: pytest.MonkeyPatch, mode: str, capsys: pytest.CaptureFixture[str]
) -> None:
    options: dict[str, Any] = {**ALL, "data": {"mode": mode, "memory": None}}
    train.run(**sections(**{**options, "data": {"mode": "resident", "memory": None}}))
    whole, rows = bundle.load().digest, curves(place)

    def break_off(at: int) -> None:
        def stop(self: Curves, trainer: pl.Trainer, module: pl.LightningModule) -> None:
            if trainer.current_epoch == at:
                raise ConnectionError("pulled the plug")

        with monkeypatch.context() as patch:
            patch.setattr(Curves, "on_train_epoch_start", stop)
            train.run(**sections(**options))

    monkeypatch.setattr("pipeline.tasks.resuming.Resumable.__init__.__defaults__", (0.0,))
    for at in (2, 5):  # before the average begins, and after
        with pytest.raises(ConnectionError):
            break_off(at)
    train.run(**sections(**options))
    assert "Goes on after epoch 5" in capsys.readouterr().out
    assert (bundle.load().digest, curves(place)) == (whole, rows)


def test_two_processes_train_alike_with_balanced_tiles_and_averaged_norms(place: Path) -> None:
    options = {**ALL, "train": {**ALL["train"], "batch_size": 4}}
    done = run_script(place, trainer={"strategy": "ddp", "devices": 2}, **options)
    assert done.returncode == 0, done.stderr[-2000:]
    rows = curves(place)
    assert len(rows) == 6
    store = Store.open()
    found = bundle.load().probabilities(store.pixels("validation"), batch_size=64).argmax(axis=1)
    best = max(rows, key=lambda row: (row["validation_accuracy"], -row["validation_loss"]))
    accuracy = float((found == store.labels("validation")).mean())
    assert accuracy == pytest.approx(best["validation_accuracy"], abs=1e-6)


def test_balanced_tiles_reach_the_network(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[Counter[int]] = []
    batches = TrainingBatches.after

    def watched(self: TrainingBatches, done: int) -> Any:
        seen.append(Counter())
        for batch in batches(self, done):
            seen[-1].update(batch.labels.tolist())
            yield batch

    monkeypatch.setattr(TrainingBatches, "after", watched)
    train.run(**sections(train={"epochs": 2, "sampling": {"building": 4.0, "trees": 0.0}}))
    assert [dict(one) for one in seen] == [{0: 72, 2: 18}] * 2


def test_throughput_is_told_and_not_in_the_curves(
    place: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    logged: list[str] = []
    from pipeline.tracking.lightning import RunLogger

    def record(self: RunLogger, metrics: dict[str, float], step: int | None = None) -> None:
        logged.extend(metrics)

    monkeypatch.setattr(RunLogger, "log_metrics", record)
    train.run(**sections(train={"epochs": 2}))
    told = capsys.readouterr().out
    assert re.search(r"Trained 2 epochs of 90 tiles in \d+\.\d s: [\d,]+ tiles/s\.\n", told)
    assert {"throughput", "learning_rate", "gradient_norm", "dead_relus"} <= set(logged)
    assert "throughput" not in (place / "reports/train/curves.csv").read_text()


def test_a_terminal_shows_tiles_a_second(place: Path) -> None:
    code = (
        "from tests.test_train import sections\nfrom pipeline.stages import train\n"
        "train.run(**sections(train={'epochs': 40}))"
    )
    ours, theirs = pty.openpty()
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "TERM": "xterm", "COLUMNS": "100"}
    with subprocess.Popen(
        [sys.executable, "-c", code], stdout=theirs, stderr=theirs, env=environment
    ):
        os.close(theirs)
        text = b""
        while part := _read(ours):
            text += part
    shown = re.sub(rb"\x1b\[[0-9;?]*[a-zA-Z]", b"", text).decode()
    assert re.search(r"Epoch \d+/39 .*tiles/s: [\d,]+", shown), shown[-2000:]
    assert "it/s" not in shown


def _read(terminal: int) -> bytes:
    try:
        return os.read(terminal, 4096)
    except OSError:  # as Linux says that nobody writes any more
        return b""


def test_a_compiled_network_trains_as_the_plain_one_and_keeps_its_names(
    place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain = trained()
    # Captured as for any compiler, but run by torch: C++ would take half a minute.
    graphs: list[Any] = []

    def backend(graph: Any, _: Any) -> Any:
        graphs.append(graph)
        return graph

    monkeypatch.setattr(torch, "compile", partial(torch.compile, backend=backend))
    options = sections(optimizer=MOMENTUM)
    options["engine"] = EngineSection(precision="32", compile=True, threads=1, workers=None)
    train.run(**options)
    close(bundle.load().network.state_dict(), plain, 1e-6)
    assert len(graphs) > 1  # the network, beside the trial


def test_without_a_compiler_there_is_one_sentence(
    place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: Any) -> Any:
        raise RuntimeError("\nNo working C++ compiler found.\ntraceback")

    monkeypatch.setattr(torch, "compile", fail)
    options = sections()
    options["engine"] = EngineSection(precision="32", compile=True, threads=1, workers=None)
    with pytest.raises(ConfigError, match=r"this cpu, .*No working C\+\+ compiler found\. Install"):
        train.run(**options)


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["train.sampling=balanced", "loss=balanced"], "balance the classes twice"),
        (["+train.sampling.roads=2"], "train.sampling"),
        (["train.sampling={roads: 2}"], "classes of the source in train.sampling, got 'roads'"),
        (["model=autoencoder", "augment=flips", "augment.cutmix=1"], "augment.cutmix=0 .*labels"),
        (["model=autoencoder", "loss=focal"], "loss=squared_error"),
        (["train.swa=1.5"], "train.swa"),
        (["train.accumulate=0"], "train.accumulate"),
    ],
)
def test_what_does_not_fit_is_one_sentence(overrides: list[str], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        compose(overrides)


def test_what_fits_composes() -> None:
    text = compose(
        ["loss=focal", "train.sampling={road: 3}", "train.swa=0.25", "augment.mixup=0.2"]
    )
    assert np.all([word in text for word in ("gamma: 2.0", "road: 3", "swa: 0.25", "mixup: 0.2")])
