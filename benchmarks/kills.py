"""``python -m benchmarks.kills``: training that is killed again and again, against one that is not.

A small network is trained on small made-up scenes by ``python -m pipeline train``. Then the same
again, and each time it gets SIGKILL, with all its processes, at a random moment: while it starts,
somewhere in an epoch, or while it writes a checkpoint. It is started again until it has been killed
often enough; a training that comes to its end is compared and begun anew. What is compared are the
digests of ``models/model.safetensors`` and ``reports/train/curves.csv``. The result goes to
benchmarks/KILLS.md; status 1 if a digest differs.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import random
import re
import shutil
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from threading import Event, Thread
from time import perf_counter, sleep

from benchmarks.table import ROOT, machine
from pipeline.config import compose
from pipeline.console import say

RESULT = Path(__file__).with_name("KILLS.md")
SMALL = [
    "sample={scenes: 2, size: 504}", "model=lecture", "train.epochs=150", "train.min_steps=0",
    "tracking=none", "predict=none", "trainer.accelerator=cpu", "engine.threads=1",
]  # fmt: skip
COMPARED = ("models/model.safetensors", "reports/train/curves.csv")
# Where a kill is to hit, and how often of ten.
WHERE = {"while it starts": 2, "in an epoch": 5, "while it writes a checkpoint": 3}
LOOK = 0.0002  # seconds between two looks for a checkpoint that is being written


class Training:
    """One process of a training, or one and those that it starts."""

    def __init__(self, place: Path) -> None:
        environment = {**os.environ, "PYTHONPATH": str(ROOT)}
        self.place = place
        self.lines: list[str] = []
        self.began = Event()  # the first epoch is through
        self.process = subprocess.Popen(
            [sys.executable, "-m", "pipeline", "train"], cwd=place, env=environment, text=True,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, start_new_session=True,
        )  # fmt: skip
        self.reader = Thread(target=self._read)
        self.reader.start()

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self.lines.append(line.rstrip())
            if line.startswith("epoch "):
                self.began.set()
        self.began.set()

    def kill(self, where: str, start: float, rng: random.Random) -> bool:
        """Kill all of it, in a moment; whether it was still there."""
        if where == "while it starts":
            self._wait(rng.uniform(0, start))
        else:
            self.began.wait()
            self._wait(rng.uniform(0, 2))
        if where == "while it writes a checkpoint":
            while not self._writes() and self.process.poll() is None:
                sleep(LOOK)
            sleep(rng.uniform(0, 0.003))
        alive = self.process.poll() is None
        if alive:
            os.killpg(self.process.pid, signal.SIGKILL)
        self.end()
        return alive

    def end(self) -> int:
        """Wait until all its processes are gone; the status."""
        self.reader.join()  # the pipe is open for as long as one of them lives
        return self.process.wait()

    def _wait(self, seconds: float) -> None:
        deadline = perf_counter() + seconds
        while perf_counter() < deadline and self.process.poll() is None:
            sleep(0.001)

    def _writes(self) -> bool:
        return any(self.place.glob(".checkpoints/*/epoch.part"))

    @property
    def epoch(self) -> int:
        """The last epoch that it told of, or that it went on from; 0 if it came to none."""
        said = re.findall(r"^(?:epoch|Goes on after epoch) (\d+)", "\n".join(self.lines), re.M)
        return int(said[-1]) if said else 0


@dataclass
class Found:
    """What came of it."""

    processes: int
    expected: tuple[str, ...] = ()  # digests of the training that was left alone
    digests: list[tuple[str, ...]] = field(default_factory=list)  # of those that were killed
    kills: list[tuple[str, int]] = field(default_factory=list)  # where, and in which epoch
    torn: int = 0  # checkpoints that were begun and never finished
    passed_over: int = 0  # checkpoints that were damaged under their final name
    resumed: int = 0
    seconds: float = 0.0

    @property
    def same(self) -> bool:
        """Whether all trainings ended alike."""
        return all(digests == self.expected for digests in self.digests)


def study(place: Path, kills: int, processes: int, seed: int) -> Found:
    """Train undisturbed, then kill so many times."""
    found, rng, begun = Found(processes), random.Random(seed), perf_counter()
    start = _undisturbed(place, found)
    while len(found.kills) < kills:
        training = Training(place)
        (where,) = rng.choices([*WHERE], [*WHERE.values()])
        killed = training.kill(where, start, rng)
        _note(training, found)
        if killed:
            found.kills.append((where, training.epoch))
            found.torn += training._writes()
            say(f"kill {len(found.kills)}/{kills}, {where}, in epoch {training.epoch + 1}")
        else:
            _compare(training, found)
    training = Training(place)
    training.end()
    _note(training, found)
    _compare(training, found)
    found.seconds = perf_counter() - begun
    return found


def _undisturbed(place: Path, found: Found) -> float:
    """The training to compare with; seconds that it took to start."""
    begun = perf_counter()
    training = Training(place)
    training.began.wait()
    start = perf_counter() - begun
    training.end()
    found.expected = _digests(training)
    return start


def _note(training: Training, found: Found) -> None:
    text = "\n".join(training.lines)
    found.resumed += "Goes on after epoch" in text
    found.passed_over += text.count("Passed over")


def _compare(training: Training, found: Found) -> None:
    found.digests.append(_digests(training))
    say(f"training {len(found.digests)} is through: {'the same' if found.same else 'DIFFERENT'}")


def _digests(training: Training) -> tuple[str, ...]:
    """Digests of what a whole training left; removed, so that the next must write its own."""
    if training.end() != 0:
        raise SystemExit("\n".join(["Expected a whole training, got:", *training.lines[-30:]]))
    files = [training.place / name for name in COMPARED]
    made = tuple(hashlib.sha256(file.read_bytes()).hexdigest() for file in files)
    for file in files:
        shutil.rmtree(file.parent)
    return made


def prepare(place: Path, processes: int) -> None:
    """Scenes, tiles and params.yaml."""
    ranks = [f"trainer.devices={processes}", *(["trainer=ddp"] if processes > 1 else [])]
    (place / "params.yaml").write_text(compose([*SMALL, *ranks]), encoding="utf-8")
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    for stage in ("sample", "ingest"):
        command = [sys.executable, "-m", "pipeline", stage]
        subprocess.run(command, cwd=place, env=environment, check=True, stdout=subprocess.DEVNULL)


def lines(found: Found) -> Iterator[str]:
    """A section of the file."""
    noun = "process" if found.processes == 1 else "processes"
    yield f"## {found.processes} {noun}"
    yield ""
    yield (
        f"Kills: {len(found.kills)}. Trainings that came to their end: {len(found.digests)}. "
        f"Starts that went on from a checkpoint: {found.resumed}. Kills that left a checkpoint "
        f"half written: {found.torn}. Checkpoints that were damaged under their final name and "
        f"passed over: {found.passed_over}."
    )
    yield ""
    yield "| where the kill hit | kills | epochs |"
    yield "|---|---:|---|"
    for where, count in Counter(where for where, _ in found.kills).items():
        epochs = sorted(epoch + 1 for place, epoch in found.kills if place == where)
        yield f"| {where} | {count} | {', '.join(map(str, epochs))} |"
    yield ""
    yield "| file | undisturbed | killed |"
    yield "|---|---|---|"
    for index, name in enumerate(COMPARED):
        killed = sorted({digests[index] for digests in found.digests})
        yield f"| `{name}` | `{found.expected[index][:16]}` | {_short(killed)} |"
    yield ""
    yield (
        f"All trainings ended alike: {'yes' if found.same else 'NO'}. "
        f"{found.seconds / 60:.0f} minutes."
    )
    yield ""


def _short(digests: Sequence[str]) -> str:
    return ", ".join(f"`{digest[:16]}`" for digest in digests)


def main() -> int:
    """Kill, compare, and write it down."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.kills", description=__doc__)
    parser.add_argument("--kills", type=int, default=50, help="of a training in one process")
    parser.add_argument("--kills-of-two", type=int, default=20, help="of one in two processes")
    parser.add_argument("--seed", type=int, default=0, help="of the moments")
    arguments = parser.parse_args()
    results = []
    for processes, kills in ((1, arguments.kills), (2, arguments.kills_of_two)):
        with TemporaryDirectory() as folder:
            prepare(Path(folder), processes)
            results.append(study(Path(folder), kills, processes, arguments.seed))
    about = (__doc__ or "").split("\n\n", 1)[1].partition(" The result")[0].replace("``", "`")
    text = [
        "# Killed and killed again", "",
        f"Written by `python -m benchmarks.kills`. {' '.join(about.split())}", "",
        *(line for found in results for line in lines(found)),
        f"Seed {arguments.seed}. Machine: {machine()}.",
    ]  # fmt: skip
    RESULT.write_text("\n".join(text) + "\n", encoding="utf-8")
    say(RESULT.read_text(encoding="utf-8"))
    return int(not all(found.same for found in results))


if __name__ == "__main__":
    sys.exit(main())
