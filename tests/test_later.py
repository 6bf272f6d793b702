"""A run that a thread opens beside the work."""

from __future__ import annotations

import sys
from collections.abc import Callable
from threading import Event

import pytest

from pipeline.tracking.later import SWITCH, USUAL, LaterRun
from pipeline.tracking.run import Run


class Recorded(Run):
    """Knows how it was ended."""

    def __init__(self) -> None:
        super().__init__()
        self.ended = Event()
        self.status = ""

    def finish(self, status: str = "FINISHED") -> None:
        self.status = status
        self.ended.set()


def test_threads_are_not_kept_waiting_while_it_opens() -> None:
    seen: list[float] = []

    def opening() -> Run:
        seen.append(sys.getswitchinterval())
        return Run()

    LaterRun(opening).finish()
    assert seen == [pytest.approx(SWITCH)]
    assert sys.getswitchinterval() == pytest.approx(USUAL)


def test_the_interval_comes_back_after_a_failure() -> None:
    def opening() -> Run:
        raise RuntimeError("no store")

    with pytest.raises(RuntimeError, match="no store"):
        LaterRun(opening).finish()
    assert sys.getswitchinterval() == pytest.approx(USUAL)


def test_a_run_that_was_not_waited_for_is_ended_all_the_same(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    run, may_open = Recorded(), Event()

    def opening() -> Run:
        may_open.wait(10)
        return run

    later = LaterRun(opening)
    waiting = later._opening
    monkeypatch.setattr(waiting, "exception", interrupted_once(waiting.exception))
    with pytest.raises(KeyboardInterrupt):
        later.finish("KILLED")
    assert not run.ended.is_set()
    may_open.set()
    assert run.ended.wait(10)
    assert run.status == "KILLED"


def interrupted_once(ask: Callable[[], BaseException | None]) -> Callable[[], BaseException | None]:
    """A wait that a signal ends, the first time."""
    signals = [KeyboardInterrupt()]

    def exception() -> BaseException | None:
        if signals:
            raise signals.pop()
        return ask()

    return exception
