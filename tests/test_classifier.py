from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from itertools import islice
from typing import Any
from unittest.mock import patch

import numpy as np
import pytest
import pytorch_lightning as pl
import torch
from torch import nn

from pipeline.data import Batch, Chunks
from pipeline.errors import TrainingError
from pipeline.mixing import Mixture
from pipeline.network import build
from pipeline.schema import (
    AdamOptimizer,
    ConstantSchedule,
    FocalSection,
    LossSection,
    SgdOptimizer,
    StepSchedule,
)
from pipeline.selection import freeze
from pipeline.tasks.averages import Average, Tail
from pipeline.tasks.classifier import Classifier, Counts
from pipeline.tasks.trainer import quiet
from tests import little

PLAIN = LossSection(name="cross_entropy", label_smoothing=0, class_weights="none")


def classifier(
    average: float = 0.0,
    layers: dict[str, Any] = little.LAYERS,
    frozen: Sequence[str] = (),
    **changes: Any,
) -> Classifier:
    network = build(layers, bands=little.BANDS, classes=little.CLASSES, tile_size=little.SIZE)
    freeze(network, frozen)
    options: dict[str, Any] = {
        "weights": np.ones(3),
        "loss": PLAIN,
        "optimizer": AdamOptimizer(name="adam", lr=0.003, betas=(0.9, 0.999), weight_decay=0),
        "schedule": ConstantSchedule(name="constant"),
        "epochs": 4,
        "epoch_steps": 2,
    }
    return Classifier(network, average=average, **(options | changes))


def batches(share: float = 1.0) -> list[Batch]:
    labels = np.arange(24) % 3
    pixels = torch.from_numpy(little.tiles(labels, 0)).float().permute(0, 3, 1, 2)
    classes = torch.from_numpy(labels)
    return [
        Batch(pixels[:10], classes[:10], share),
        Batch(pixels[10:], classes[10:], share),
    ]


class Loader:
    """An iterable that Lightning does not take for a collection of loaders, as it does a list."""

    def __iter__(self) -> Iterator[Batch]:
        return iter(batches())

    def __len__(self) -> int:
        return 2

    def after(self, done: int) -> Iterator[Batch]:
        return islice(iter(self), done, None)


def fit(task: Classifier, epochs: int = 1, **options: Any) -> pl.Trainer:
    quiet()
    trainer = pl.Trainer(
        accelerator="cpu",
        max_epochs=epochs,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        num_sanity_val_steps=0,
        **options,
    )
    trainer.fit(task, Chunks(Loader()), Loader())
    return trainer


def test_sums_are_exact_over_any_slicing() -> None:
    random = torch.Generator().manual_seed(0)
    logits = torch.randn(20, 3, generator=random)
    labels = torch.randint(3, (20,), generator=random)
    weights = torch.tensor([1.0, 2.0, 0.5])
    sums = Counts(3, torch.device("cpu"))
    for rows in (slice(0, 3), slice(3, 4), slice(4, 20)):
        loss = nn.functional.cross_entropy(logits[rows], labels[rows], weight=weights)
        sums.add(loss, weights[labels[rows]].sum(), logits[rows], labels[rows])
    trainer = fit(classifier())
    mean, counts = sums.mean(trainer), sums.confusion(trainer)
    whole = nn.functional.cross_entropy(logits, labels, weight=weights)
    assert mean == pytest.approx(whole.item(), rel=1e-6)
    assert counts.sum() == 20
    found = logits.argmax(dim=1)
    assert counts[1, 2] == int(((labels == 1) & (found == 2)).sum())


def test_validation_measures_are_those_of_the_whole_split() -> None:
    task = classifier()
    trainer = fit(task)
    pixels = torch.cat([batch.pixels for batch in batches()])
    labels = torch.cat([batch.labels for batch in batches()])
    task.network.eval()
    with torch.no_grad():
        logits = task.network(pixels)
    accuracy = (logits.argmax(dim=1) == labels).double().mean()
    assert trainer.callback_metrics["validation_accuracy"].item() == accuracy.item()
    loss = nn.functional.cross_entropy(logits, labels)
    assert trainer.callback_metrics["validation_loss"].item() == pytest.approx(
        loss.item(), rel=1e-5
    )


def test_training_learns() -> None:
    task = classifier()
    first = fit(task).callback_metrics["train_loss"].item()
    last = fit(task, epochs=30).callback_metrics["train_loss"].item()
    assert last < 0.5 * first


def test_the_share_scales_the_loss_and_not_the_curve() -> None:
    task = classifier()
    fit(task)
    task.on_train_epoch_start()
    (whole, _), (half, _) = batches(), batches(0.5)
    assert task.forward_loss(half).item() == pytest.approx(task.forward_loss(whole).item() / 2)
    task.training_sums.settle()
    first, second = task.training_sums.loss.tolist()
    assert first / second == pytest.approx(task.forward_loss(whole).item())


def test_smoothing_and_weights_reach_the_loss() -> None:
    weights = np.array([1.0, 3.0, 0.5])
    smooth = LossSection(name="cross_entropy", label_smoothing=0.2, class_weights="none")
    task = classifier(weights=weights, loss=smooth)
    fit(task)
    batch = batches()[0]
    expected = nn.functional.cross_entropy(
        task.network(batch.pixels), batch.labels, torch.tensor([1.0, 3.0, 0.5]), label_smoothing=0.2
    )
    torch.testing.assert_close(task.forward_loss(batch), expected)


def focal(gamma: float, smoothing: float = 0.0) -> FocalSection:
    return FocalSection(
        name="focal", gamma=gamma, label_smoothing=smoothing, class_weights="balanced"
    )


def test_focal_loss_against_a_formula_by_hand() -> None:
    task = classifier(loss=focal(2.0), weights=np.array([1.0, 3.0, 0.5]))
    logits = torch.tensor([[2.0, 0.0, -1.0], [0.5, 0.5, 0.5], [0.0, 3.0, 1.0]])
    batch = Batch(logits, torch.tensor([0, 2, 1]), 1.0)
    p = [math.exp(2) / (math.exp(2) + 1 + math.exp(-1)), 1 / 3]
    p.append(math.exp(3) / (1 + math.exp(3) + math.exp(1)))
    terms = [w * (1 - q) ** 2 * -math.log(q) for w, q in zip((1.0, 0.5, 3.0), p, strict=True)]
    assert task.loss_of(logits, batch).item() == pytest.approx(sum(terms) / 4.5, rel=1e-6)


@pytest.mark.parametrize("smoothing", [0.0, 0.2])
@pytest.mark.parametrize("weights", [[1.0, 1.0, 1.0], [1.0, 3.0, 0.5], [0.0, 3.0, 0.5]])
def test_focal_loss_without_focus_is_cross_entropy(smoothing: float, weights: list[float]) -> None:
    batch = batches()[0]
    task = classifier(loss=focal(0.0, smoothing), weights=np.array(weights))
    outputs = task.network(batch.pixels)
    expected = nn.functional.cross_entropy(
        outputs, batch.labels, torch.tensor(weights), label_smoothing=smoothing
    )
    torch.testing.assert_close(task.loss_of(outputs, batch), expected)
    close = classifier(loss=focal(1e-9, smoothing), weights=np.array(weights))
    torch.testing.assert_close(close.loss_of(outputs, batch), expected)


@pytest.mark.parametrize("gamma", [0.5, 2.0])
def test_focal_loss_has_a_gradient_where_the_network_is_sure(gamma: float) -> None:
    task = classifier(loss=focal(gamma))
    logits = torch.tensor([[500.0, 0.0, 0.0], [-500.0, 0.0, 0.0]], requires_grad=True)
    loss = task.loss_of(logits, Batch(logits, torch.tensor([0, 0]), 1.0))
    loss.backward()  # type: ignore[no-untyped-call]
    assert loss.item() == pytest.approx((500 + math.log(2)) / 2)
    assert logits.grad is not None
    assert logits.grad.tolist() == [[0, 0, 0], [-0.5, 0.25, 0.25]]


def test_tiles_that_weigh_nothing_have_no_gradient() -> None:
    # As they may make up all that a rank has of a batch.
    task = classifier(weights=np.array([0.0, 1.0, 1.0]))
    logits = torch.randn(4, 3, requires_grad=True)
    task.loss_of(logits, Batch(logits, torch.zeros(4).long(), 0.0)).backward()  # type: ignore[no-untyped-call]
    assert logits.grad is not None
    assert not logits.grad.any()


@pytest.mark.parametrize("smoothing", [0.0, 0.2])
def test_a_mixture_is_the_cross_entropy_of_both_its_labels(smoothing: float) -> None:
    random = torch.Generator().manual_seed(0)
    logits = torch.randn(6, 3, generator=random)
    labels, others = torch.randint(3, (2, 6), generator=random)
    shares = torch.rand(6, generator=random)
    loss = LossSection(name="cross_entropy", label_smoothing=smoothing, class_weights="none")
    one_hot = nn.functional.one_hot
    soft = shares[:, None] * one_hot(labels, 3) + (1 - shares[:, None]) * one_hot(others, 3)
    assert soft.sum(dim=1).tolist() == pytest.approx([1] * 6)
    expected = nn.functional.cross_entropy(logits, soft, label_smoothing=smoothing)
    batch = Batch(logits, labels, 1.0, Mixture(others, shares))
    torch.testing.assert_close(classifier(loss=loss).loss_of(logits, batch), expected)


def test_the_weight_of_a_mixture_is_shared_by_its_classes() -> None:
    task = classifier(weights=np.array([1.0, 3.0, 0.5]))
    mixture = Mixture(torch.tensor([1, 2]), torch.tensor([0.25, 1.0]))
    batch = Batch(torch.zeros(2, 4, 12, 12), torch.tensor([0, 1]), 1.0, mixture)
    assert float(task.weight_of(batch)) == pytest.approx(0.25 * 1 + 0.75 * 3 + 3)


@pytest.mark.parametrize("count", [2, 3, 4])
def test_pieces_of_a_batch_give_its_gradient(count: int) -> None:
    random = torch.Generator().manual_seed(0)
    shares, others = torch.rand(14, generator=random), torch.randint(3, (14,), generator=random)
    batch = batches()[1]._replace(mixture=Mixture(others, shares))
    found = []
    for pieces in (1, count):
        task = classifier(loss=focal(2.0, 0.1), weights=np.array([1.0, 3.0, 0.5]))
        fit(task)
        task.network.load_state_dict(classifier().network.state_dict())
        task.zero_grad()
        task.accumulate = pieces
        loss = task._backward(batch)
        gradients = [p.grad for p in task.network.parameters() if p.grad is not None]
        found.append((loss, nn.utils.parameters_to_vector(gradients)))
    for one, other in zip(*found, strict=True):
        torch.testing.assert_close(one, other)


def test_pieces_hold_two_tiles_or_more() -> None:
    batch = batches()[0]  # of 10
    assert [len(piece.labels) for piece in batch.pieces(4)] == [3, 3, 2, 2]
    assert [len(piece.labels) for piece in batch.pieces(8)] == [2, 2, 2, 2, 2]
    assert batch.pieces(1)[0] is batch
    pixels = torch.cat([piece.pixels for piece in batch.pieces(3)])
    assert torch.equal(pixels, batch.pixels)


def test_the_learning_rate_follows_the_schedule_by_the_step() -> None:
    task = classifier(schedule=StepSchedule(name="step", every=1, factor=0.1))
    trainer = fit(task, epochs=3)
    # Two steps an epoch: the third epoch's steps are numbers 4 and 5.
    assert trainer.callback_metrics["learning_rate"].item() == pytest.approx(0.003 * 0.01)
    assert trainer.optimizers[0].param_groups[0]["lr"] == pytest.approx(0.003 * 0.01)
    # Of Lightning's own count a chunk is a step.
    assert (task.steps, trainer.global_step) == (6, 3)


def test_a_gradient_that_is_not_finite_stops_before_the_step_and_names_its_layer() -> None:
    task = classifier()
    fit(task)
    before = {name: value.clone() for name, value in task.network.named_parameters()}
    conv2 = task.network.get_submodule("conv2")
    conv2.register_full_backward_hook(lambda *_: (torch.full((14, 5, 5, 5), torch.nan),))
    message = (
        r"in epoch 1, step 2, at a learning rate of 0\.003 and a loss of [\d.]+: the gradient of "
        r"conv1\.bias went first\. Lower optimizer\.lr, now 0\.003, or set train\.clip=1\."
    )
    task.progress.steps = 1
    with pytest.raises(TrainingError, match=message):
        task._learn(batches()[1], task.optimizers())  # type: ignore[arg-type]
    for name, value in task.network.named_parameters():
        assert torch.equal(value, before[name]), name


def test_a_cut_gradient_that_is_not_finite_is_not_told_to_cut_it() -> None:
    task = classifier(clip=0.5)
    fit(task)
    task.network.get_submodule("conv2").register_full_backward_hook(
        lambda *_: (torch.full((14, 5, 5, 5), torch.nan),)
    )
    message = r"Lower optimizer\.lr, now 0\.003: train\.clip=0\.5 was not enough\.$"
    with pytest.raises(TrainingError, match=message):
        task._learn(batches()[1], task.optimizers())  # type: ignore[arg-type]


@pytest.mark.parametrize("clip", [None, 1.0])
def test_gradients_that_overflow_together_name_the_longest(clip: float | None) -> None:
    task = classifier(clip=clip)
    fit(task)
    before = nn.utils.parameters_to_vector(task.network.parameters()).clone()
    for name, parameter in task.network.named_parameters():
        length = {"conv1.weight": 1.5e19, "head.weight": 1.6e19}.get(name, 0.0)
        each = torch.full_like(parameter, length / parameter.numel() ** 0.5)
        parameter.register_hook(lambda _, each=each: each)  # type: ignore[no-untyped-call]
    message = (
        "each layer's is finite, but together they overflow, and that of head.weight is the "
        r"longest, 1\.6e\+19\. Lower"
    )
    with pytest.raises(TrainingError, match=message):
        task._learn(batches()[1], task.optimizers())  # type: ignore[arg-type]
    assert torch.equal(nn.utils.parameters_to_vector(task.network.parameters()), before)


class Later(Classifier):
    """Looks at gradients at the end of an epoch, as on a GPU."""

    def on_train_epoch_start(self) -> None:
        super().on_train_epoch_start()
        self.later = True


def test_where_gradients_are_looked_at_later_the_step_and_the_layer_are_told(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("tests.test_classifier.Classifier", Later)
    task = classifier()
    seen: list[torch.Tensor] = []

    def spoil(_: nn.Module, given: tuple[torch.Tensor, ...], __: object) -> object:
        seen.append(given[0])
        return (given[0] * torch.nan,) if len(seen) == 3 else None

    task.network.get_submodule("conv2").register_full_backward_hook(spoil)
    message = (
        r"in epoch 2, step 1, at a learning rate of 0\.003: the gradient of conv1\.bias went "
        r"first\. Lower"
    )
    with pytest.raises(TrainingError, match=message):
        fit(task, epochs=4)
    assert len(seen) == 4  # the whole epoch


def test_a_long_gradient_is_cut_and_its_length_is_told() -> None:
    plain = SgdOptimizer(name="sgd", lr=1.0, momentum=0, nesterov=False, weight_decay=0)
    cut = classifier(clip=0.001, optimizer=plain)
    before = nn.utils.parameters_to_vector(cut.network.parameters()).clone()
    told = fit(cut).callback_metrics["gradient_norm"].item()
    moved = nn.utils.parameters_to_vector(cut.network.parameters()) - before
    assert moved.norm().item() == pytest.approx(2 * 0.001, rel=0.05)  # two steps, much alike
    assert told > 1  # measured before the cut
    assert {type(norm) for norm in cut.norms} == {float}  # no tensor stays after its step


def test_average_against_numbers_by_hand() -> None:
    layer = nn.BatchNorm1d(1)
    average = Average(layer, keep=0.5)
    for step, value in enumerate((10.0, 20.0, 30.0), 1):
        layer.running_mean.fill_(value)  # type: ignore[union-attr]
        layer.num_batches_tracked.fill_(step)  # type: ignore[union-attr]
        average.update(layer)
    # Shares kept: min(0.5, 2/11), min(0.5, 3/12), min(0.5, 4/13).
    expected = 0.0
    for value, keep in zip((10.0, 20.0, 30.0), (2 / 11, 3 / 12, 4 / 13), strict=True):
        expected = keep * expected + (1 - keep) * value
    state = average.network.state_dict()
    assert state["running_mean"].item() == pytest.approx(expected)
    assert state["num_batches_tracked"].item() == 3


def test_a_plain_average_against_numbers_by_hand() -> None:
    layer = nn.Linear(1, 1, bias=False)
    average = Tail(layer, start=2)
    found = []
    for value in (10.0, 20.0, 30.0, 40.0, 80.0):
        layer.weight.data.fill_(value)
        average.update(layer)
        found.append((average.network.get_parameter("weight").item(), average.begun))
    # What it is of before is the weights themselves: an epoch that early can be the best one, too.
    assert found == [(10, False), (20, False), (30, False), (35, True), (50, True)]


def test_the_last_weights_are_averaged_and_measured() -> None:
    task = classifier(swa=0.25, average=0.9, epochs=4)  # 8 steps, 2 an epoch
    kept: list[torch.Tensor] = []
    update = Tail.update

    def watched(self: Tail, network: nn.Module) -> None:
        kept.append(nn.utils.parameters_to_vector(network.parameters()).detach().clone())
        update(self, network)

    with patch.object(Tail, "update", watched):
        fit(task, epochs=4)
    final = nn.utils.parameters_to_vector(task.final.parameters())
    assert len(kept) == 8
    torch.testing.assert_close(final, torch.stack(kept[6:]).mean(dim=0))
    assert task.final is task.averaged


def test_the_averaged_network_is_measured_and_kept_and_not_trained() -> None:
    task = classifier(average=0.9)
    assert task.final is task.averaged
    fit(task, epochs=3)
    averaged = task.final.get_parameter("conv1.weight")
    assert not averaged.requires_grad
    assert not torch.equal(averaged, task.network.get_parameter("conv1.weight"))
    assert any(key.startswith("averaged.") for key in task.state_dict())
    assert classifier().final is not classifier().averaged
