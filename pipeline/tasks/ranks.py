"""The processes of a distributed training: started, brought together, and ended together.

``trainer=ddp`` starts them itself, one a device; between machines torchrun or SLURM does, or a
person who runs the command on each. They find each other by the address of rank zero, which
``MASTER_ADDR`` and ``MASTER_PORT`` name.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from time import sleep
from typing import NoReturn

import pytorch_lightning as pl
import torch
from lightning_fabric.plugins.environments.cluster_environment import ClusterEnvironment
from lightning_fabric.plugins.environments.lightning import LightningEnvironment
from lightning_fabric.plugins.environments.slurm import SLURMEnvironment
from lightning_fabric.plugins.environments.torchelastic import TorchElasticEnvironment
from pytorch_lightning.strategies import DDPStrategy

from pipeline.console import say
from pipeline.errors import ConfigError, PipelineError, TrainingError
from pipeline.stopping import GRACE, Stopper, status_of
from pipeline.tasks.lifeline import Desk, Lifeline, Member, connect, words

PARENT = "QUADBAND_PARENT"  # process that started this one
LOOK = 0.2  # seconds between two looks at processes
BRIEF = 3.0  # seconds until what broke a collective is known, and until others ended for it


def environment() -> ClusterEnvironment:
    """Who starts the processes: torchrun, SLURM, or this program.

    Raises:
        ConfigError: SLURM does not say how many run on a machine.
    """
    if TorchElasticEnvironment.detect():
        return TorchElasticEnvironment()
    # A batch script that starts one task is a machine like any other.
    if int(os.environ.get("SLURM_NTASKS", "1")) > 1 and SLURMEnvironment.detect():
        try:
            # Lightning would save in the middle of an epoch and go on from there by itself.
            return SLURMEnvironment(auto_requeue=False)
        except RuntimeError as error:
            raise ConfigError(
                "Expected SLURM_NTASKS_PER_NODE, got none: give sbatch --ntasks-per-node, not "
                "--ntasks alone."
            ) from error
    return LightningEnvironment()


def check_started(where: ClusterEnvironment, trainer: pl.Trainer) -> None:
    """Whether as many processes were started as the trainer counts on.

    Raises:
        ConfigError: Each would wait for others that don't come, or train by itself.
    """
    asked = trainer.num_nodes * trainer.num_devices
    if isinstance(where, LightningEnvironment) or where.world_size() == asked:
        return
    starter = "torchrun" if isinstance(where, TorchElasticEnvironment) else "SLURM"
    raise ConfigError(
        f"Expected {asked} processes, as trainer.devices and trainer.num_nodes "
        f"({trainer.num_nodes}) have it, got {where.world_size()} from {starter}. Compose with "
        "trainer=ddp trainer.num_nodes=<machines> trainer.devices=<processes on each>."
    )


@contextmanager
def together(trainer: pl.Trainer, stopper: Stopper, same: Mapping[str, str]) -> Iterator[None]:
    """Train in here with all ranks; each ends when one does, and says why.

    Args:
        trainer: Lightning's, before it fits.
        stopper: Ends this process.
        same: What must be the same on all ranks, by the name that a person knows it by.

    Raises:
        TrainingError: Another rank ended before its time, with its reason.
        SystemExit: The same on a rank whose reason is printed by another on its machine.
    """
    if trainer.world_size == 1:
        yield
        return
    assert isinstance(trainer.strategy, DDPStrategy)
    children = _launch(trainer.strategy)
    lifeline, patience = None, 0.0
    try:
        lifeline = _meet(trainer, stopper, children)
        stopper.heard = lifeline.tell  # even where a collective holds the main thread
        patience = BRIEF  # one that stands in a collective with this process never ends by itself
        _agree(trainer, same)
        yield
        lifeline.done()
        patience = GRACE
    except BaseException as error:
        _end(error, trainer, stopper, lifeline)
    finally:
        if lifeline:
            lifeline.close()
        _wait_for(children, patience)


def _launch(strategy: DDPStrategy) -> dict[int, subprocess.Popen[bytes]]:
    """Start the other processes of this machine, by global rank, if nobody else does.

    Lightning's own launcher kills all processes within five seconds after one failed: no reason
    is printed, no run is ended, and a main process that was killed leaves its children behind.
    """
    where = strategy.cluster_environment
    assert where is not None
    if where.creates_processes_externally:
        return {}
    os.environ |= {
        "MASTER_ADDR": where.main_address,
        "MASTER_PORT": str(where.main_port),
        "NODE_RANK": str(where.node_rank()),
        "LOCAL_RANK": "0",  # Lightning, too, then sees that processes are started
        "WORLD_SIZE": str(strategy.num_nodes * strategy.num_processes),
    }
    command = [sys.executable, *sys.orig_argv[1:]]
    first = where.node_rank() * strategy.num_processes
    return {
        first + local: subprocess.Popen(
            command, env=os.environ | {"LOCAL_RANK": str(local), PARENT: str(os.getpid())}
        )
        for local in range(1, strategy.num_processes)
    }


def _meet(
    trainer: pl.Trainer, stopper: Stopper, children: Mapping[int, subprocess.Popen[bytes]]
) -> Lifeline:
    """Wait for the other ranks, and connect to them."""
    strategy = trainer.strategy
    assert isinstance(strategy, DDPStrategy)
    address, port = os.environ.get("MASTER_ADDR", ""), os.environ.get("MASTER_PORT", "")
    if trainer.num_nodes > 1 and trainer.is_global_zero:
        say(f"Waits for {trainer.world_size} processes on {trainer.num_nodes} machines.")
    with _watched(children, stopper):
        try:
            strategy.setup_environment()  # Lightning does so again, which then changes nothing
        except torch.distributed.DistError as error:
            raise TrainingError(
                f"Expected {trainer.world_size} processes to meet at {address}:{port}, got: "
                f"{words(error)}. Start each, and rank 0 on the machine that MASTER_ADDR names."
            ) from error
        return _connect(trainer, stopper.stop, children)


def _connect(
    trainer: pl.Trainer,
    stop: Callable[[BaseException], None],
    children: Mapping[int, subprocess.Popen[bytes]],
) -> Lifeline:
    me = Member.me(trainer.global_rank)
    address = os.environ["MASTER_ADDR"]
    desk = None
    if trainer.is_global_zero:
        desk = Desk("" if trainer.num_nodes > 1 else "127.0.0.1")
    place = (desk.port, desk.token, me) if desk else (0, "", me)
    port, token, zero = trainer.strategy.broadcast(place)
    if desk:
        lines = desk.meet(trainer.world_size - 1)
    else:
        address = address if trainer.num_nodes > 1 else "127.0.0.1"
        lines = [connect(address, port, token, zero, me)]
    return Lifeline(me, lines, stop, lambda member: _fate(children.get(member.rank)))


@contextmanager
def _watched(children: Mapping[int, subprocess.Popen[bytes]], stopper: Stopper) -> Iterator[None]:
    """See to it that nobody waits for a process of this machine that ended meanwhile."""
    met = threading.Event()

    def watch() -> None:
        parent = int(os.environ.get(PARENT, os.getppid()))
        while not met.wait(LOOK):
            if os.getppid() != parent:
                os._exit(1)  # nobody is left to be told
            for rank, child in children.items():
                if child.poll() is not None:
                    stopper.stop(TrainingError(f"Rank {rank} {_fate(child)}"))
                    return

    threading.Thread(target=watch, name="watch", daemon=True).start()
    try:
        yield
    finally:
        met.set()


def _agree(trainer: pl.Trainer, same: Mapping[str, str]) -> None:
    """Stop where another rank would train something else."""
    theirs: Mapping[str, str] = trainer.strategy.broadcast(dict(same))
    for name, value in same.items():
        if value != theirs[name]:
            raise TrainingError(
                f"Expected the same {name} as on rank 0, {theirs[name]}, got {value}. Give all "
                "machines the same project, params.yaml and data/tiles."
            )


def _end(
    error: BaseException, trainer: pl.Trainer, stopper: Stopper, lifeline: Lifeline | None
) -> NoReturn:
    """Raise what this process ends with, after all others were told."""
    # A collective breaks on all ranks when one is gone; which it was, comes in a moment.
    hearsay = isinstance(error, Exception) and _is_of_a_collective(error)
    reason = stopper.settle(BRIEF if hearsay else 0)
    reason = reason or error
    if lifeline:
        lifeline.tell(reason)
    told_by_another = trainer.local_rank > 0 and lifeline and not lifeline.orphaned
    if told_by_another and isinstance(reason, PipelineError | KeyboardInterrupt):
        raise SystemExit(status_of(reason)) from error
    raise reason from (error if reason is not error else error.__cause__)


def _is_of_a_collective(error: Exception) -> bool:
    """Whether it is another rank's fault, seen from here."""
    text = str(error).lower()
    return isinstance(error, torch.distributed.DistError) or "gloo" in text or "nccl" in text


def _wait_for(children: Mapping[int, subprocess.Popen[bytes]], seconds: float) -> None:
    """Let the processes that were started here end; kill those that don't."""
    for child in children.values():
        try:
            child.wait(seconds)
        except subprocess.TimeoutExpired:
            child.kill()
            child.wait()


def _fate(child: subprocess.Popen[bytes] | None) -> str:
    """What became of a process that ended without a word."""
    if child is None:
        return "ended without a word: it was killed, or its machine is gone."
    for _ in range(10):  # its connections are closed a moment before it is gone
        if child.poll() is not None:
            break
        sleep(LOOK)
    code = child.returncode
    if code == -signal.SIGKILL:
        return "was killed by SIGKILL, as a system does that runs out of memory."
    if code is not None and code < 0:
        return f"was ended by {signal.Signals(-code).name}."
    return f"ended with status {code}; what it said stands above."
