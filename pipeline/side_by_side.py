"""Members of an ensemble trained at the same time: a process each, on a device of its own.

They share nothing but the folder of the training, so that each is trained as it would be alone.
What a process prints and measures comes to this one, which writes the record of the run.
"""

from __future__ import annotations

import io
import os
import threading
from collections.abc import Callable, Mapping, Sequence
from contextlib import redirect_stdout, suppress
from dataclasses import dataclass, replace
from multiprocessing import connection, get_context, parent_process
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import torch

from pipeline.console import say
from pipeline.errors import ConfigError, PipelineError, TrainingError
from pipeline.feeding import MEBIBYTE, room
from pipeline.members import keep, name_of
from pipeline.network import Network
from pipeline.stopping import GRACE, Stopped, Stopper
from pipeline.store import Store
from pipeline.tasks.fitting import Fitting, Plan, prepare
from pipeline.tasks.folders import member_folder
from pipeline.tasks.lifeline import words
from pipeline.tracking.lightning import RunLogger

GPUS = "CUDA_VISIBLE_DEVICES"


def at_once(plan: Plan, waiting: int) -> int:
    """How many members to train at a time.

    Raises:
        ConfigError: Several were asked for, where all devices work on each member.
    """
    wanted = plan.engine.members
    alone = plan.trainer.strategy == "auto" and plan.trainer.num_nodes == 1
    if not alone or "LOCAL_RANK" in os.environ:
        if (wanted or 1) > 1:
            raise ConfigError(
                f"Expected engine.members=1 where all processes work on each member "
                f"(trainer=ddp, or torchrun), got {wanted}. Take trainer=auto for a process a "
                "member."
            )
        return 1
    return min(waiting, wanted or max(1, len(gpus(plan))))


def gpus(plan: Plan) -> list[str]:
    """The GPUs that a training may use, as the environment names them."""
    if plan.trainer.accelerator == "cpu" or not torch.cuda.is_available():
        return []
    visible = os.environ.get(GPUS)
    names = visible.split(",") if visible else [str(i) for i in range(torch.cuda.device_count())]
    return names if plan.trainer.devices == "auto" else names[: plan.trainer.devices]


@dataclass(frozen=True)
class Work:
    """What a process is to do."""

    plan: Plan
    member: int
    folder: Path  # of the training
    donor: Network | None
    gpu: str | None


class Crew:
    """The processes, some at a time.

    Args:
        each: Plans of all members.
        donors: Whose weights each starts from.
        folder: Of the training.
        record: Takes numbers of a member by name, and their epoch.
    """

    def __init__(
        self,
        each: Sequence[Plan],
        donors: Sequence[Network | None],
        folder: Path,
        record: Callable[[Mapping[str, float], int | None], None],
    ) -> None:
        self.each, self.donors, self.folder = each, donors, folder
        self.record = record
        self.running: dict[Connection, tuple[int, BaseProcess]] = {}

    def train(self, waiting: Sequence[int], count: int) -> None:
        """Train the members that wait, so many at a time.

        Raises:
            TrainingError: One of them failed; the others are stopped.
        """
        names, left = gpus(self.each[0]), list(waiting)
        free: list[str | None] = [names[i % len(names)] if names else None for i in range(count)]
        where = f" on GPUs {', '.join(names)}" if names else ""
        say(f"{count} members at a time, a process each{where}.")
        used: dict[int, str | None] = {}
        try:
            while left or self.running:
                while left and free:
                    used[left[0]] = free.pop()
                    self._start(left[0], used[left[0]], count)
                    left.pop(0)
                for line in connection.wait(list(self.running)):
                    assert isinstance(line, Connection)
                    member = self.running[line][0]
                    if self._over(line):
                        free.append(used[member])
        finally:
            self._stop()

    def _start(self, member: int, gpu: str | None, count: int) -> None:
        plan = alone(self.each[member], gpu, count)
        work = Work(plan, member, self.folder, self.donors[member], gpu)
        # Spawned: a fork would take over the threads and the CUDA context of this process, torn.
        context = get_context("spawn")
        mine, theirs = context.Pipe(duplex=False)
        process = context.Process(target=do, args=(work, theirs), daemon=True)
        process.start()
        theirs.close()
        self.running[mine] = (member, process)

    def _over(self, line: Connection) -> bool:
        """Take what a process has to say; whether it has ended, and well."""
        member, process = self.running[line]
        name = name_of(member, self.each[member])
        try:
            kind, content = line.recv()
        except (EOFError, OSError):
            process.join()
            del self.running[line]
            line.close()
            if process.exitcode:
                raise TrainingError(_fate(name, process.exitcode)) from None
            return True
        if kind == "failed":
            raise TrainingError(f"{name[0].upper()}{name[1:]}: {content}")
        if kind == "said":
            say(f"{name}: {content}")
        elif kind == "measured":
            self.record(*content)
        return False

    def _stop(self) -> None:
        """End the processes that still run: what they have is in their checkpoints."""
        for _, process in self.running.values():
            process.terminate()
        for line, (_, process) in self.running.items():
            process.join(GRACE)
            if process.is_alive():
                process.kill()
                process.join()
            line.close()
        self.running.clear()


def _fate(name: str, code: int) -> str:
    told = f"was ended by signal {-code}" if code < 0 else f"ended with status {code}"
    hint = ", as a system does that runs out of memory; set engine.members to less" * (code == -9)
    return f"The process of {name} {told}{hint}."


def alone(plan: Plan, gpu: str | None, count: int) -> Plan:
    """The plan of a process that has one device, and its share of the machine's memory."""
    memory = plan.data.memory
    if gpu is None:
        memory = room(torch.device("cpu"), count, memory) // MEBIBYTE
    elif memory is not None:
        memory //= count
    return replace(
        plan,
        trainer=plan.trainer.model_copy(update={"devices": 1}),
        data=plan.data.model_copy(update={"memory": memory and max(1, memory)}),
    )


class Lines(io.TextIOBase):
    """A standard output whose lines go to another process."""

    def __init__(self, line: Connection) -> None:
        self.line = line
        self.rest = ""

    def write(self, text: str) -> int:
        """Send whole lines, keep the rest."""
        *whole, self.rest = (self.rest + text).split("\n")
        for each in whole:
            self.line.send(("said", each))
        return len(text)


class Wire:
    """Stands for the run in a process that has none: numbers go to the one that has it."""

    name = id = ""

    def __init__(self, line: Connection) -> None:
        self.line = line

    def metrics(self, values: Mapping[str, float], step: int | None = None) -> None:
        """Send numbers and their epoch."""
        self.line.send(("measured", (dict(values), step)))


def do(work: Work, line: Connection) -> None:
    """What a process does; it ends with the one that started it."""
    if work.gpu is not None:
        os.environ[GPUS] = work.gpu  # before anything looks for GPUs
    threading.Thread(target=_follow, name="parent", daemon=True).start()
    with suppress(BrokenPipeError), redirect_stdout(Lines(line)):
        try:
            with Stopper(lambda _: None) as stopper:
                _train(work, line, stopper)
        except Stopped:
            os._exit(1)  # asked to by the one that started it, or with it
        except Exception as error:
            if not isinstance(error, PipelineError):
                import traceback

                traceback.print_exc()
            line.send(("failed", words(error)))
    line.close()


def _follow() -> None:
    """End with the process that started this one, however it ends."""
    parent = parent_process()
    assert parent is not None
    connection.wait([parent.sentinel])
    os._exit(1)


def _train(work: Work, line: Connection, stopper: Stopper) -> None:
    store = Store.open()
    folder = member_folder(work.folder, work.member)
    folder.mkdir(parents=True, exist_ok=True)
    wire: Any = Wire(line)
    fitting = Fitting(
        work.plan,
        prepare(work.plan, store, work.donor),
        store,
        folder,
        stopper=stopper,
        curves=folder / "curves.csv",
        logger=RunLogger(wire, folder.name),
    )
    kept = fitting.run()
    assert kept is not None, "a process by itself is rank zero"
    keep(kept, folder, work.plan, store.digest)
