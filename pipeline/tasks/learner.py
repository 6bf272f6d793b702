"""What all tasks share: steps, their gradients and rates, and what is measured after an epoch."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import pytorch_lightning as pl
import torch
from pytorch_lightning.core.optimizer import LightningOptimizer
from pytorch_lightning.strategies import ParallelStrategy
from torch import Tensor, nn

from pipeline import optimization
from pipeline.augment import entropy
from pipeline.data import Batch, Chunks
from pipeline.errors import DivergenceError
from pipeline.network import Network
from pipeline.tasks import midway
from pipeline.tasks.averages import Average, Tail
from pipeline.tasks.divergence import Lengths, culprit, remedy, unsound
from pipeline.tasks.norms import refresh
from pipeline.tasks.rectifiers import Rectifiers
from pipeline.tasks.sums import Sums, total_of

if TYPE_CHECKING:
    from pipeline.schema import Optimizer, Schedule


@dataclass(slots=True)
class Progress:
    """What changes with each step: a module would look at what is assigned each time."""

    steps: int = 0


class Learner(pl.LightningModule):
    """Training with exact validation measures at the end of each epoch.

    A task says what the loss of a batch is, what each tile weighs in it, and what is summed.

    Args:
        network: From raw pixels.
        optimizer: Which, and how fast.
        schedule: The learning rate over time.
        epochs: Length of the training.
        epoch_steps: Steps of an epoch.
        seed: Of what layers draw, such as dropout.
        average: Share of the running average of weights kept a step; 0 for none.
        swa: Share of the steps, the last, whose weights are averaged alike; 0 for none.
        accumulate: Pieces that a batch is cut into, whose gradients are summed.
        clip: Longest gradient that is followed as it is; None for any.
    """

    def __init__(
        self,
        network: Network,
        *,
        optimizer: Optimizer,
        schedule: Schedule,
        epochs: int,
        epoch_steps: int,
        seed: int = 0,
        average: float = 0.0,
        swa: float = 0.0,
        accumulate: int = 1,
        clip: float | None = None,
    ) -> None:
        super().__init__()
        self.automatic_optimization = False  # steps are taken in chunks
        self.network = network
        self.clip = clip
        self.accumulate = accumulate
        self.progress = Progress()
        self.optimizer = optimizer
        self.schedule = schedule
        self.total_steps = epochs * epoch_steps
        self.epoch_steps = epoch_steps
        self.seed = seed
        self.average = Average(network, average) if average else None
        if swa:
            self.average = Tail(network, round((1 - swa) * self.total_steps))
        self.averaged = self.average.network if self.average else None
        self.rectifiers = Rectifiers()
        self.asked_to_stop: Callable[[], bool] = lambda: False  # asked after each step
        self.begun: list[midway.State] | None = None  # of an epoch that was broken off, by rank

    @property
    def steps(self) -> int:
        """Steps that are taken so far."""
        return self.progress.steps

    @property
    def done(self) -> int:
        """Steps of the present epoch that are taken, if it is not whole."""
        return self.steps % self.epoch_steps

    def loss_of(self, outputs: Tensor, batch: Batch) -> Tensor:
        """Mean loss of a batch."""
        raise NotImplementedError

    def weight_of(self, batch: Batch) -> Tensor | float:
        """Weight of a batch in the mean over all tiles."""
        raise NotImplementedError

    @property
    def guessing(self) -> float:
        """Loss of a network that has learned nothing: here of one that gives the mean pixel."""
        return 1.0

    def sums(self) -> Sums:
        """An empty sheet to count on."""
        return Sums(self.device)

    @property
    def final(self) -> Network:
        """The network to measure and to keep: the averaged one if there is one."""
        network = self.averaged or self.network
        assert isinstance(network, Network)
        return network

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """The optimizer; its rate is set before every step."""
        optimizer = optimization.optimizer(self.network, self.optimizer)
        for group in optimizer.param_groups:
            group["initial_lr"] = group["lr"]
        return optimizer

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Keep what is no weight, but decides how training goes on."""
        self.look()
        checkpoint["learner"] = {
            "steps": self.steps,
            "updates": self.average.updates if self.average else 0,
            "begun": midway.states(self) if self.done else None,
        }

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Go on from there."""
        self.progress.steps = checkpoint["learner"]["steps"]
        self.begun = checkpoint["learner"]["begun"]
        if self.average:
            self.average.updates = checkpoint["learner"]["updates"]

    def on_train_epoch_start(self) -> None:
        """Begin to count; what layers draw depends on seed, epoch and rank alone."""
        torch.manual_seed(entropy(self.seed, self.current_epoch, self.global_rank))
        self.learning = [(n, p) for n, p in self.network.named_parameters() if p.requires_grad]
        self.training_sums = self.sums()
        # Of each step's gradient, as numbers: little tensors that stay would break up the memory in
        # which the large ones of a step lie, and the next step's would have to be got anew.
        self.norms: list[float] = []
        self.unseen: list[tuple[Tensor, Lengths]] = []  # the same, of steps not looked at
        self.alone = self.trainer.world_size == 1
        self.later = self.device.type != "cpu"  # each look would make a GPU wait for this process
        if self.begun:
            midway.go_on(self, self.begun[self.global_rank])
            self.begun = None

    def training_step(self, chunk: Iterable[Batch], _: int) -> None:
        """Take the steps of a chunk of batches.

        What Lightning does around each step costs as much as a fifth of a step of a small network;
        it is told of one step a chunk.
        """
        optimizer = self.optimizers()
        assert isinstance(optimizer, LightningOptimizer)
        for batch in chunk:
            self._learn(batch, optimizer.optimizer)
            # Copies of the weights in a narrower type, kept for the span of an autocast.
            torch.clear_autocast_cache()
            if self.asked_to_stop():
                break
        optimizer.zero_grad()
        optimizer.step()  # without gradients: it moves nothing

    def _learn(self, batch: Batch, optimizer: torch.optim.Optimizer) -> None:
        factor = self._rate(self.steps)
        for group in optimizer.param_groups:
            group["lr"] = factor * group["initial_lr"]
        for _, parameter in self.learning:
            parameter.grad = None
        self._watch(self._backward(batch))
        optimizer.step()
        self.progress.steps += 1
        if self.average is not None:
            self.average.update(self.network)

    def _backward(self, batch: Batch) -> Tensor:
        """Gradient of a rank's part of a step, in one piece or in several; returns the loss."""
        pieces = batch.pieces(self.accumulate) if self.accumulate > 1 else [batch]
        losses = []
        for piece in pieces:
            loss = self.forward_loss(piece)
            if len(pieces) > 1:  # a mean of its own tiles; in sum they are that of the batch
                loss = loss * (self.weight_of(piece) / self.weight_of(batch))
            if self.alone:
                loss.backward()  # type: ignore[no-untyped-call]
            else:  # tells the ranks to share what comes of it, once all of it is there
                with nullcontext() if piece is pieces[-1] else self._unshared():
                    self.manual_backward(loss)
            losses.append(loss)
        return losses[0] if len(losses) == 1 else torch.stack(losses).detach().sum()

    def _unshared(self) -> AbstractContextManager[None]:
        """A while in which ranks keep their gradients to themselves."""
        strategy = self.trainer.strategy
        assert isinstance(strategy, ParallelStrategy), "several processes train"
        return strategy.block_backward_sync()

    def forward_loss(self, batch: Batch) -> Tensor:
        """Loss of a rank's part, counted, and so weighed that the mean over ranks is the global."""
        outputs = self.network(batch.pixels).float()
        loss = self.loss_of(outputs, batch)
        self.training_sums.add(loss, self.weight_of(batch), outputs, batch.labels)
        return loss if batch.share == 1 else loss * batch.share

    def _watch(self, loss: Tensor) -> None:
        """Measure the gradient, stop at one that is not finite, and cut it if asked to."""
        gradients = [g for _, p in self.learning if (g := p.grad) is not None]
        lengths = torch.stack(torch._foreach_norm(gradients))
        norm = torch.linalg.vector_norm(lengths)
        if self.later:
            self.unseen.append((norm, self._named(lengths)))
        else:
            self.norms.append(norm.item())
            if not math.isfinite(self.norms[-1]):
                raise DivergenceError(self._broken(self.steps, self._named(lengths), loss))
        if self.clip is not None:
            nn.utils.clip_grads_with_norm_([p for _, p in self.learning], self.clip, norm)

    def _named(self, lengths: Tensor) -> Lengths:
        return Lengths([name for name, p in self.learning if p.grad is not None], lengths)

    def look(self) -> None:
        """Look at the gradients of the steps since the last look.

        Raises:
            DivergenceError: One of them is not finite.
        """
        if not self.unseen:
            return
        norms = torch.stack([norm for norm, _ in self.unseen]).tolist()
        for step, norm in enumerate(norms, start=self.steps - len(norms)):
            if not math.isfinite(norm):
                raise DivergenceError(self._broken(step, self.unseen[step - self.steps][1]))
        self.norms += norms
        self.unseen.clear()

    def _broken(self, at: int, lengths: Lengths, loss: Tensor | None = None) -> str:
        epoch, step = divmod(at, self.epoch_steps)
        rate = self.optimizer.lr * self._rate(at)
        return (
            f"Expected a finite gradient, got none in epoch {epoch + 1}, step {step + 1}, at a "
            f"learning rate of {rate:.3g}{self._loss_on_its_rank(loss)}: "
            f"{culprit(lengths)}. {remedy(self.optimizer.lr, self.clip)}"
        )

    def _loss_on_its_rank(self, loss: Tensor | None) -> str:
        """The bad loss, which one of the ranks has; all have the same gradient, and come here."""
        if loss is None:
            return ""
        gathered = self.all_gather(loss.detach())
        assert isinstance(gathered, Tensor)
        losses = gathered.reshape(-1).tolist()
        rank = next((i for i, value in enumerate(losses) if not math.isfinite(value)), 0)
        return f" and a loss of {losses[rank]:.3g}" + f" on rank {rank}" * (len(losses) > 1)

    def _rate(self, step: int) -> float:
        return optimization.rate(
            self.schedule, step, total=self.total_steps, epoch_steps=self.epoch_steps
        )

    def on_validation_epoch_start(self) -> None:
        """Begin to count, with one and the same network on all ranks.

        Each rank's batch norms keep statistics of its own tiles. Those of rank zero count, as it is
        the one whose network is kept.
        """
        self.validation_sums = self.sums()
        if isinstance(self.average, Tail) and self.average.begun:
            batches = self.trainer.train_dataloader
            assert isinstance(batches, Chunks), "an epoch was trained on them"
            refresh(self.final, batches.first())  # of the epoch: tiles of all kinds
        if self.trainer.world_size > 1:
            for buffer in (*self.network.buffers(), *self.final.buffers()):
                torch.distributed.broadcast(buffer, 0)
        self.rectifiers.begin(self.final)

    def validation_step(self, batch: Batch, _: int) -> None:
        """Count in float32, whatever the training's precision; not compiled, as nobody hooks in."""
        if not len(batch.labels):  # of a rank that gets none of few tiles
            return
        with torch.autocast(self.device.type, enabled=False), self.rectifiers.watching(self.final):
            outputs = self.final.forward(batch.pixels)
        loss = self.loss_of(outputs, batch)
        self.validation_sums.add(loss, self.weight_of(batch), outputs, batch.labels)

    def on_validation_epoch_end(self) -> None:
        """Measures over all ranks, the same on each; the epoch's training is over by now, too."""
        self.look()
        trained = self.training_sums.mean(self.trainer)
        if not math.isfinite(trained):
            raise DivergenceError(
                f"Expected a finite training loss, got {trained} in epoch "
                f"{self.current_epoch + 1}; lower optimizer.lr, now {self.optimizer.lr:g}."
            )
        loss = self.validation_sums.mean(self.trainer)
        if not math.isfinite(loss):
            rate = self.optimizer.lr * self._rate(self.steps - 1)
            raise DivergenceError(
                f"Expected a finite validation loss, got {loss} after epoch "
                f"{self.current_epoch + 1}, step {self.steps}, at a learning rate of {rate:.3g}: "
                f"{unsound(self.final, self.optimizer.lr, self.clip)}"
            )
        found = self.validation_sums.measures(self.trainer)
        values = {f"validation_{name}": value for name, value in found.items()}
        tell = self.trainer.is_global_zero
        values |= self.rectifiers.measures(partial(total_of, self.trainer), tell=tell)
        values |= {"train_loss": trained, "validation_loss": loss}
        values["learning_rate"] = self.optimizer.lr * self._rate(self.steps - 1)
        # Of this rank, whose gradients are all ranks' mean.
        values["gradient_norm"] = math.fsum(self.norms) / len(self.norms)
        # float64 would be cut to float32 on the way; the measures keep their digits.
        self.log_dict(
            {key: torch.tensor(value, dtype=torch.float64) for key, value in values.items()}
        )
