"""The Lightning trainer: where it runs, in which precision, what it keeps and what it says."""

from __future__ import annotations

import logging
import os
import sys
import warnings
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Literal

import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import Checkpoint, EarlyStopping
from torch import nn

from pipeline.console import say
from pipeline.errors import ConfigError
from pipeline.network import Network
from pipeline.stopping import Stopper
from pipeline.tasks import heap
from pipeline.tasks.keeping import direction
from pipeline.tasks.ranks import check_started, environment
from pipeline.tasks.throughput import Bar
from pipeline.wording import BATCH_NORMS

if TYPE_CHECKING:
    from pytorch_lightning.loggers import Logger

    from pipeline.schema import EngineSection, TrainerSection


class Interruptible(pl.Callback):
    """Keeps signals with the stopper: Lightning would let ranks wait for each other on SIGTERM."""

    def __init__(self, stopper: Stopper) -> None:
        self.stopper = stopper

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Take them back: Lightning has just taken them over. From here on steps are put down."""
        self.stopper.hold()
        self.stopper.polite = True

    def on_train_batch_start(self, *_: Any) -> None:
        """Look for a reason to stop that went lost."""
        self.stopper.check()


def make(
    where: TrainerSection,
    engine: EngineSection,
    *,
    logger: Logger,
    callbacks: Sequence[pl.Callback],
) -> pl.Trainer:
    """A Lightning trainer; says in which precision it computes, and why.

    Raises:
        ConfigError: The hardware that was asked for isn't there.
    """
    from lightning_fabric.utilities.exceptions import MisconfigurationException

    quiet()
    heap.keep()
    if engine.threads is not None:
        torch.set_num_threads(engine.threads)
        os.environ["OMP_NUM_THREADS"] = str(engine.threads)  # else ranks take their share of cores
    bar = sys.stdout.isatty()
    starter = environment()
    gpu = where.accelerator != "cpu" and torch.cuda.is_available()
    number, reason = precision(engine.precision, gpu=gpu)
    try:
        trainer = pl.Trainer(
            accelerator=where.accelerator,
            devices=where.devices,
            num_nodes=where.num_nodes,
            strategy=where.strategy,
            plugins=[starter],
            detect_anomaly=where.detect_anomaly,
            sync_batchnorm=gpu,  # of several GPUs; torch has none for CPUs
            precision={"32": "32-true", "bf16": "bf16-mixed"}[number],  # type: ignore[arg-type]
            max_epochs=1,  # set when the length of an epoch is known, which depends on devices
            logger=logger,
            callbacks=[*callbacks, *_bar(bar)],
            reload_dataloaders_every_n_epochs=1,  # the batches of an epoch are its own
            num_sanity_val_steps=0,
            # Without a keeper among the callbacks Lightning would write its own into the root.
            enable_checkpointing=any(isinstance(one, Checkpoint) for one in callbacks),
            log_every_n_steps=1,  # nothing is logged by the step; other values warn of few steps
            enable_model_summary=False,
            enable_progress_bar=bar,
            use_distributed_sampler=False,
        )
    except MisconfigurationException as error:
        raise ConfigError(
            f"trainer.accelerator={where.accelerator} with trainer.devices={where.devices} can't "
            f"run here: {' '.join(str(error).split())} Take trainer=auto or trainer=cpu."
        ) from error
    check_started(starter, trainer)
    if trainer.is_global_zero:
        say(f"Precision {number}: {reason}.")
    return trainer


def compile_network(network: nn.Module, engine: EngineSection, device: torch.device) -> None:
    """Have a network compiled when it first runs, if asked to; its weights keep their names.

    Raises:
        ConfigError: There is no compiler here for this device.
    """
    if not engine.compile:
        return
    try:
        torch.compile(torch.square)(torch.ones(2, device=device))
    except Exception as error:  # torch raises many kinds; what it lacks is the cause of all
        reason = next((line for line in str(error).splitlines() if line.strip()), "no reason told")
        raise ConfigError(
            f"engine.compile=true needs a compiler for this {device.type}, and torch found none "
            f"that works: {reason.rstrip('.')}. Install g++, or leave engine.compile=false."
        ) from error
    network.compile()


def own_statistics(network: Network, trainer: pl.Trainer) -> str | None:
    """A sentence where batch norms see the tiles of their own process alone."""
    learning = any(
        isinstance(module, BATCH_NORMS) and name not in network.frozen
        for name, module in network.named_modules()
    )
    on_cpu = trainer.strategy.root_device.type == "cpu"
    if not (learning and on_cpu and trainer.world_size > 1):
        return None
    return (
        f"Batch norms of {trainer.world_size} processes take mean and deviation from their own "
        "tiles each: torch has no SyncBatchNorm for CPUs. The network that is kept has those of "
        "rank 0."
    )


def early_stopping(measure: str, patience: int | None) -> list[pl.Callback]:
    """Stops when a measure has not gained for ``patience`` epochs."""
    if patience is None:
        return []
    return [Patience(measure, patience=patience, mode=direction(measure))]


class Patience(EarlyStopping):
    """Lightning's, which forgets that it stopped a training when that one goes on from its end."""

    def on_fit_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Train no further; what it waited comes from the checkpoint."""
        trainer.should_stop = trainer.should_stop or self.wait_count >= self.patience


def quiet() -> None:
    """Silence Lightning's hints and device lists; its warnings still come through."""
    for name in ("pytorch_lightning", "lightning_fabric"):
        logging.getLogger(name).setLevel(logging.WARNING)
    # Lightning's own call of a function that torch deprecated; nothing that a user could change.
    warnings.filterwarnings("ignore", module=r"pytorch_lightning\.utilities\._pytree")
    # The same, where ranks that diverge tell each other of their losses.
    warnings.filterwarnings("ignore", message=r"torch\.distributed\S*\.all_gather is deprecated")
    # Frozen batch norms are meant to be.
    warnings.filterwarnings("ignore", message=r"Found \d+ module\(s\) in eval mode")
    # A training that goes on finds its checkpoints there.
    warnings.filterwarnings("ignore", message=r"Checkpoint directory .* exists and is not empty")
    # What is logged are sums over all ranks already, the same on each.
    warnings.filterwarnings("ignore", message=r"It is recommended to use `self\.log\(.*sync_dist")


def _bar(wanted: bool) -> list[pl.Callback]:
    return [Bar(leave=False)] if wanted else []


def precision(wanted: str, *, gpu: bool) -> tuple[Literal["32", "bf16"], str]:
    """Which number type training computes in, and why.

    Weights and sums stay in float32 either way. Without instructions for bfloat16 a CPU converts
    back and forth, which costs more than it saves.
    """
    if wanted == "32":
        return "32", "asked for"
    if wanted == "bf16":
        return "bf16", "asked for"
    if gpu:
        if torch.cuda.is_bf16_supported(including_emulation=False):
            return "bf16", "this GPU has bfloat16 units"
        return "32", "this GPU has no bfloat16 units"
    for check, what in (
        ("_is_amx_tile_supported", "AMX"),
        ("_is_avx512_bf16_supported", "AVX-512 BF16"),
    ):
        # Not in torch's public interface, so it may go.
        if getattr(torch.cpu, check, lambda: False)():
            return "bf16", f"this CPU has {what}"
    return "32", "this CPU has no bfloat16 instructions"
