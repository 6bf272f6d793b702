"""Trainings in processes that are forked from one that has imported everything: they start at once.

Each is a rank as SLURM starts it, or a training of its own; it ends with the status that
``python -m pipeline train`` would end with.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import socket
import sys
import time
from collections.abc import Callable, Mapping
from contextlib import chdir
from dataclasses import dataclass, field
from multiprocessing import forkserver
from multiprocessing.context import ForkServerContext, ForkServerProcess
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tests.conftest import ROOT

if TYPE_CHECKING:
    from pipeline.data import Batch

Fault = tuple[str, int, int]  # what happens, on which rank, before which of its steps
NONE: Fault = ("none", -1, -1)

CONTEXT = multiprocessing.get_context("forkserver")
CONTEXT.set_forkserver_preload(
    ["pipeline.stages.train", "mlflow", "torch._dynamo", "pyarrow.dataset", "tests.test_train"]
)
PATIENCE = 60.0  # seconds for a run of a little network on a busy machine


def context() -> ForkServerContext:
    """It, once the process that all are forked from is there, with the code beside these tests.

    That process looks for it in the folder that it was started in.
    """
    with chdir(ROOT):
        forkserver.ensure_running()
    return CONTEXT


def _raise(_: Batch) -> None:
    raise MemoryError("no room for 7 GiB")


def _interrupt(_: Batch) -> None:
    os.kill(os.getpid(), signal.SIGINT)


def _hang(_: Batch) -> None:
    print("hangs", flush=True)
    time.sleep(PATIENCE)


FAULTS: Mapping[str, Callable[[Batch], object]] = {
    "raise": _raise,
    "kill": lambda _: os.kill(os.getpid(), signal.SIGKILL),
    "interrupt": _interrupt,
    "hang": _hang,
    "nan": lambda batch: batch.pixels.fill_(float("nan")),
}


def _train(
    place: Path,
    environment: dict[str, str],
    changes: dict[str, Any],
    fault: Fault,
    chunk: int,
    patience: float,
) -> None:
    """What runs in the process: the stage, with its output in a file and perhaps a fault."""
    from pipeline import __main__ as command
    from pipeline import data, stopping
    from pipeline.schema import TrackingSection
    from pipeline.stages import train
    from pipeline.tasks import resuming
    from pipeline.tasks.learner import Learner
    from tests.test_train import sections

    os.chdir(place)
    os.environ |= environment
    said = os.open(
        f"said-{environment.get('SLURM_PROCID', '0')}", os.O_CREAT | os.O_TRUNC | os.O_WRONLY, 0o600
    )
    os.dup2(said, 1)
    os.dup2(said, 2)
    resuming.Resumable.__init__.__defaults__ = (0.0,)  # after every epoch
    data.CHUNK = chunk
    stopping.PATIENCE = patience
    kind, rank, step = fault
    learn = Learner._learn

    def faulty(self: Learner, batch: Any, optimizer: Any) -> None:
        if (self.global_rank, self.steps) == (rank, step):
            FAULTS[kind](batch)
        learn(self, batch, optimizer)

    Learner._learn = faulty  # type: ignore[method-assign]
    tracked = TrackingSection(enabled=True, experiment="test", uri=None)
    options = sections(**changes) | ({"tracking": tracked} if "DVC_ROOT" in environment else {})
    command._run_stage = lambda *_: train.run(**options)
    sys.exit(command.main(["train"]))


@dataclass
class Training:
    """Ranks of a training, each a process."""

    places: list[Path]  # the folder of each rank
    changes: dict[str, Any]
    fault: Fault = NONE
    environment: dict[str, str] = field(default_factory=dict)
    gpus: bool = False  # one for each rank
    chunk: int = 64  # steps
    patience: float = 10.0  # seconds for a step after a signal
    processes: list[ForkServerProcess] = field(default_factory=list)

    def begin(self) -> None:
        """Start all ranks."""
        with socket.create_server(("127.0.0.1", 0)) as free:
            port = str(free.getsockname()[1])
        for rank, place in enumerate(self.places):
            mine = self.environment | (self._slurm(rank, port) if len(self.places) > 1 else {})
            arguments = (place, mine, self.changes, self.fault, self.chunk, self.patience)
            process = context().Process(target=_train, args=arguments, daemon=True)
            process.start()
            self.processes.append(process)

    def _slurm(self, rank: int, port: str) -> dict[str, str]:
        """What SLURM tells a process: a machine a rank."""
        count = str(len(self.places))
        return {
            "SLURM_JOB_ID": "7", "SLURM_NTASKS": count, "SLURM_NTASKS_PER_NODE": "1",
            "SLURM_NNODES": count, "SLURM_PROCID": str(rank), "SLURM_LOCALID": "0",
            "SLURM_NODEID": str(rank), "SLURM_NODELIST": "localhost", "MASTER_ADDR": "127.0.0.1",
            "MASTER_PORT": port, "GLOO_SOCKET_IFNAME": "lo",
            **({"CUDA_VISIBLE_DEVICES": str(rank)} if self.gpus else {}),
        }  # fmt: skip

    def end(self) -> list[int | None]:
        """Wait for all; their exit statuses."""
        for process in self.processes:
            process.join(PATIENCE)
        hung = [process.is_alive() for process in self.processes]
        for process in self.processes:
            process.kill()
        assert not any(hung), self.said()
        return [process.exitcode for process in self.processes]

    def run(self) -> list[int | None]:
        """Start all, and wait for them."""
        self.begin()
        return self.end()

    def said(self) -> list[str]:
        """What each rank printed."""
        files = [place / f"said-{rank}" for rank, place in enumerate(self.places)]
        return [path.read_text(encoding="utf-8") if path.exists() else "" for path in files]

    def send(self, number: int, *ranks: int) -> None:
        """A signal to some ranks."""
        for rank in ranks:
            os.kill(self.processes[rank].pid or 0, number)

    def await_hang(self) -> None:
        """Wait until a rank hangs."""
        deadline = time.monotonic() + PATIENCE
        while "hangs" not in "".join(self.said()):
            assert time.monotonic() < deadline, self.said()
            time.sleep(0.01)
