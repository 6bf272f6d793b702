from __future__ import annotations

import csv
import inspect
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch.nn.functional import avg_pool2d

from pipeline import __main__ as main
from pipeline import optimization
from pipeline.commands import lr_find
from pipeline.config import compose
from pipeline.errors import ConfigError, TrainingError
from pipeline.figures.rates import losses_by_rate
from pipeline.schema import TrackingSection
from pipeline.schema.learning import (
    ConstantSchedule,
    CosineSchedule,
    OneCycleSchedule,
    StepSchedule,
)
from pipeline.stages import train
from pipeline.store import Store
from pipeline.tasks.range_test import Found
from pipeline.tracking.client import connect, reaching
from pipeline.tracking.reading import recorded
from tests import little
from tests.test_train import DRAW, sections

PLAIN = {"flips": False, "quarter_turns": False, "noise": 0}
SGD = {"name": "sgd", "lr": 0.01, "momentum": 0.0, "nesterov": False, "weight_decay": 0.0}


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "data").mkdir()
    little.store(tmp_path / "data" / "tiles")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def optimizer(**options: Any) -> dict[str, Any]:
    """Sections with another kind of optimizer, whose keys are other keys."""
    made = sections(**options)
    made["optimizer"] = type_of_sgd(SGD)
    return made


def type_of_sgd(content: dict[str, Any]) -> Any:
    from pipeline.schema import SgdOptimizer

    return SgdOptimizer.model_validate(content)


def rows() -> dict[str, np.ndarray[Any, np.dtype[np.float64]]]:
    with (lr_find.OUT / "curve.csv").open(newline="") as file:
        content = list(csv.DictReader(file))
    return {key: np.array([float(row[key]) for row in content]) for key in content[0]}


def least_squares() -> dict[str, Any]:
    """A 1 x 1 convolution that is to sharpen blurred tiles, all 90 of them at each step."""
    layers = {
        "normalize": little.LAYERS["normalize"],
        "blur": {"_target_": "torch.nn.AvgPool2d", "kernel_size": 3, "stride": 1, "padding": 1},
        "conv": {"_target_": "torch.nn.Conv2d", "kernel_size": 1, "bias": False},
    }
    model = {"layers": layers, "task": "reconstruct"}
    return optimizer(
        model=model,
        loss={"name": "squared_error"},
        augment=PLAIN,
        train={"batch_size": 90, "monitor": "loss", "epochs": 5},
    )


def edge() -> float:
    """The rate from which on gradient descent on these squares diverges: 2 / curvature."""
    store = Store.open()
    pixels = torch.from_numpy((store.pixels("train").astype(float) - store.mean) / store.std)
    flat = avg_pool2d(pixels.permute(0, 3, 1, 2), 3, 1, 1).transpose(0, 1).flatten(1)
    # The mean is over bands, too: the curvature in the weights of one output is 2 / C E[x x'].
    largest = torch.linalg.eigvalsh(flat @ flat.T / flat.shape[1]).max().item()
    return float(len(flat) / largest)


def test_the_edge_of_least_squares_is_where_the_curvature_says(place: Path) -> None:
    lr_find.run(**least_squares(), start=1e-4, end=1e4, steps=200)
    found = rows()
    assert len(found["loss"]) < 200  # it stops when the loss is lost
    lowest = found["learning_rate"][found["smoothed"].argmin()]
    # The loss takes a few steps beyond the edge to grow; 200 rise by a tenth each.
    assert 0.5 < lowest / edge() < 2
    assert edge() < found["learning_rate"][-1] < 10 * edge()


def test_training_falls_at_what_is_found_and_diverges_at_a_hundred_times_that(
    place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    options = least_squares()
    lr_find.run(**options, start=1e-4, end=1e4, steps=200)
    said = re.search(r"a tenth, (\S+), as a rate that stays", capsys.readouterr().out)
    assert said is not None
    rate = float(said.group(1))
    options["optimizer"] = type_of_sgd({**SGD, "lr": rate})
    train.run(**options)
    lines = (place / "reports/train/curves.csv").read_text().splitlines()
    losses = [float(line.split(",")[2]) for line in lines[1:]]
    assert losses == sorted(losses, reverse=True)
    assert losses[-1] < 0.9 * losses[0]
    options["optimizer"] = type_of_sgd({**SGD, "lr": 100 * rate})
    options["train"] = options["train"].model_copy(update={"epochs": 200})
    with pytest.raises(TrainingError, match="finite"):
        train.run(**options)


def test_it_writes_the_curve_and_nothing_else_and_repeats(
    place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = {path for path in place.rglob("*") if path.is_file()}
    lr_find.run(**sections(), steps=60)
    files = {place / lr_find.OUT / name for name in ("curve.csv", "curve.png")}
    assert {path for path in place.rglob("*") if path.is_file()} == before | files
    first = [path.read_bytes() for path in sorted(files)]
    torch.manual_seed(5)
    lr_find.run(**sections(), steps=60)
    assert [path.read_bytes() for path in sorted(files)] == first
    found = rows()
    assert found["learning_rate"][0] == pytest.approx(1e-6)
    assert (np.diff(np.log(found["learning_rate"])) > 0).all()
    found_rate = re.search(r"pipeline compose (optimizer\.lr=\S+)", capsys.readouterr().out)
    assert found_rate is not None
    assert "optimizer" in compose([found_rate.group(1)])


FOUND = Found(*(np.arange(1.0, 4.0),) * 3, least=0.2)
CONSTANT = ConstantSchedule(name="constant")


@pytest.mark.parametrize(
    ("overrides", "command"),
    [
        ([], "optimizer.lr=0.02"),
        (["model=lenet", "optimizer=momentum", "optimizer.lr=0.1", "train.epochs=9"],
         "model=lenet optimizer=momentum train.epochs=9 optimizer.lr=0.02"),
        (["+optimizer.lr=1", "~model.layers.drop"], "'~model.layers.drop' optimizer.lr=0.02"),
        (["train.freeze=[conv1*]"], "'train.freeze=[conv1*]' optimizer.lr=0.02"),
    ],
)  # fmt: skip
def test_the_command_to_try_a_rate_keeps_all_other_overrides(
    overrides: list[str], command: str
) -> None:
    told = lr_find.told(FOUND, 0.1, CONSTANT, overrides)
    assert told[-1] == f"To try one: python -m pipeline compose {command} && dvc repro"


@pytest.mark.parametrize(
    ("schedule", "words"),
    [
        (CONSTANT, "the rate of all steps"),
        (StepSchedule(name="step", every=5, factor=0.3), "of the first 5 epochs, and then falls"),
        (OneCycleSchedule(name="one_cycle", warmup=0.25, start=25),
         "is the peak: the rate begins at lr / 25, is there after 25% of the steps, and falls to "
         "almost 0"),
        (CosineSchedule(name="cosine", warmup=0.05, final=0.01),
         "begins at near 0, is there after 5% of the steps, and falls to lr x 0.01"),
    ],
)  # fmt: skip
def test_what_the_schedule_makes_of_the_rate_is_told(schedule: Any, words: str) -> None:
    *_, what, command = lr_find.told(FOUND, 0.1, schedule, [])
    assert words in what
    wanted = "0.067" if schedule.name in ("one_cycle", "cosine") else "0.02"
    assert f"{lr_find.RATE}={wanted} " in command
    factors = [
        optimization.rate(schedule, step, total=1000, epoch_steps=10) for step in range(1000)
    ]
    assert max(factors) == pytest.approx(1, abs=0.03)


def test_the_curve_and_the_rates_are_a_run_of_their_own(
    place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("MLFLOW_TRACKING_URI", "DVC_EXP_NAME"):
        monkeypatch.delenv(name, raising=False)
    uri = f"sqlite:///{place}/mlflow.db"
    tracked = TrackingSection(enabled=True, experiment="test", uri=uri)
    params = {"model": {"name": "little"}, "optimizer": {"lr": 0.01}}
    lr_find.run(
        **sections() | {"tracking": tracked}, steps=40, overrides=["train.epochs=3"],
        composed=params,
    )  # fmt: skip
    with reaching(uri):
        client, experiment = connect(uri, "test")
    (run,) = client.search_runs([experiment])
    assert (run.info.run_name, run.info.status) == ("lr-find little epochs=3", "FINISHED")
    assert run.data.tags["command"] == "lr-find"
    assert run.data.params["optimizer.lr"] == "0.01"
    history = client.get_metric_history(run.info.run_id, "loss")
    assert [point.value for point in history] == pytest.approx(rows()["loss"], rel=1e-5)
    assert [point.step for point in history] == list(range(1, len(history) + 1))
    assert 0 < run.data.metrics["rate_staying"] < run.data.metrics["rate_least"] <= 10
    assert {item.path for item in client.list_artifacts(run.info.run_id, "lr_find")} == {
        "lr_find/curve.csv", "lr_find/curve.png",
    }  # fmt: skip
    assert recorded("lr-find little epochs=3", "test", uri)[0].id == run.info.run_id
    assert recorded("*little*", "test", uri) == []


def test_the_optimizer_s_own_rate_changes_nothing_but_the_last_mark(place: Path) -> None:
    seen = []
    for rate in (0.01, 0.5):
        lr_find.run(**sections(optimizer={"lr": rate}), steps=40)
        seen.append((lr_find.OUT / "curve.csv").read_bytes())
    assert seen[0] == seen[1]


def test_an_autoencoder_finds_one_too(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    lr_find.run(**sections(train={"monitor": "loss"}, **DRAW), steps=60)
    assert "optimizer.lr=" in capsys.readouterr().out


def test_a_donor_s_and_frozen_layers_are_as_in_training(place: Path) -> None:
    little.train(Store.open(), place / "donor")
    start = {"init_from": str(place / "donor"), "freeze": ["conv1"]}
    lr_find.run(**sections(train=start), steps=40)
    trained = rows()["loss"][0]
    lr_find.run(**sections(), steps=40)
    assert trained < 0.8 * rows()["loss"][0]


def test_devices_that_are_asked_for_make_larger_batches(place: Path) -> None:
    both: list[bytes] = []
    for size, devices in ((8, 2), (16, 1)):
        options = sections(train={"batch_size": size}, trainer={"devices": devices})
        lr_find.run(**options, steps=30)
        both.append((lr_find.OUT / "curve.csv").read_bytes())
    assert both[0] == both[1]


@pytest.mark.parametrize(
    ("start", "end", "steps", "words"),
    [
        (1.0, 0.1, 100, "0 < --start < --end, got 1 and 0.1"),
        (0.0, 0.1, 100, "0 < --start"),
        (0.1, float("inf"), 100, "--end"),
        (0.1, 1.0, 5, "20 --steps or more, got 5"),
    ],
)
def test_what_is_no_range_is_one_sentence(start: float, end: float, steps: int, words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        lr_find.run(**sections(), start=start, end=end, steps=steps)


def test_rates_that_are_all_too_large_are_told(place: Path) -> None:
    with pytest.raises(TrainingError, match="Lower --start"):
        lr_find.run(**least_squares(), start=1e3, end=1e6, steps=40)


def test_the_command_line_gives_the_range_and_says_the_defaults(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    given: dict[str, Any] = {}
    monkeypatch.setattr(main, "_run_stage", lambda stage, rest: given.update(rest, stage=stage))
    assert main.main(["lr-find", "--end", "1", "--steps", "50"]) == 0
    assert given == {"stage": "lr-find", "end": 1.0, "steps": 50}
    with pytest.raises(SystemExit):
        main.main(["lr-find", "--help"])
    said = capsys.readouterr().out
    for name, parameter in inspect.signature(lr_find.run).parameters.items():
        if isinstance(parameter.default, int | float):
            assert re.search(rf"--{name} .*: {parameter.default:g}".replace("-06", "-6"), said)


def test_every_command_is_listed_and_there(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main.main(["--help"])
    said = capsys.readouterr().out
    assert all(f"\n    {name} " in said for name in main.COMMANDS)
    files = {path.stem for path in Path(lr_find.__file__).parent.glob("[!_]*.py")}
    assert files == {name.replace("-", "_") for name in main.COMMANDS}


def test_marks_are_told_beside_the_curve() -> None:
    rates, losses = np.geomspace(1e-4, 1, 50), np.linspace(2, 1, 50)
    figure = losses_by_rate(rates, losses, losses, {"a": 1e-3, "b": 0.1}, "Title")
    legend = figure.axes[0].get_legend()
    assert legend is not None
    assert [text.get_text() for text in legend.get_texts()] == ["a: 0.001", "b: 0.1"]
