"""One way to end early, whoever asks for it: Ctrl-C, SIGTERM, or another thread with a reason."""

from __future__ import annotations

import os
import signal
import socket
import sys
import threading
from collections.abc import Callable
from time import monotonic
from types import FrameType, TracebackType
from typing import Self

OURS = signal.SIGUSR2  # what a thread wakes the main thread with; no library takes it over
SIGNALS = (signal.SIGINT, signal.SIGTERM, OURS)
GRACE = 10.0  # seconds that the main thread has to end by itself once it is told to
PATIENCE = 10.0  # seconds that it has before that, to bring work to where it can be put down
TWICE = 1.0  # seconds in which another signal is the same one: a terminal's and a starter's


class Stopped(KeyboardInterrupt):
    """A signal that asks to stop."""

    def __init__(self, number: int = signal.SIGINT) -> None:
        super().__init__(signal.Signals(number).name)
        self.number = number


def status_of(reason: BaseException) -> int:
    """Exit status: 128 + n after signal n, as shells count; 1 after a failure."""
    if isinstance(reason, KeyboardInterrupt):
        return 128 + getattr(reason, "number", signal.SIGINT)
    return 1


class Stopper:
    """While it is entered, SIGINT and SIGTERM raise ``Stopped`` in the main thread, once.

    ``stop`` raises a reason there from any thread. A main thread that is stuck inside a library,
    as one that waits for a process that is gone, is given up after ``GRACE``: ``abandon`` gets the
    reason, the reason is printed and the process ends. Further signals change nothing.

    While ``polite`` is set, the first signal raises nothing: the main thread looks at ``asked``,
    puts its work down and raises by itself. A second signal raises at once, and so does time:
    after ``PATIENCE``.

    Args:
        abandon: What is still to be done then, from another thread.
    """

    def __init__(self, abandon: Callable[[BaseException], None]) -> None:
        self.reason: BaseException | None = None
        self.heard: Callable[[Stopped], None] | None = None  # told of a signal, from another thread
        self.polite = False
        self._abandon = abandon
        self._raised = False
        self._hurried = False  # whether patience is at its end
        self._first = 0.0  # when the first signal came
        self._told = threading.Event()
        self._over = threading.Event()
        self._lock = threading.Lock()

    def __enter__(self) -> Self:
        self._before = {number: signal.getsignal(number) for number in SIGNALS}
        if self._before[signal.SIGINT] == signal.SIG_IGN:
            del self._before[signal.SIGINT]  # as shells set it for programs in the background
        self._woken, waking = socket.socketpair()
        waking.setblocking(False)
        self._waking = waking
        # Written to even while the main thread is stuck, when no handler of Python's can run.
        self._wakeup = signal.set_wakeup_fd(waking.fileno(), warn_on_full_buffer=False)
        self.hold()
        threading.Thread(target=self._watch, name="stopper", daemon=True).start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: object, at: TracebackType | None
    ) -> None:
        self._raised = True  # from here on signals come too late
        with self._lock:
            self._over.set()
        signal.set_wakeup_fd(self._wakeup)
        for number, handler in self._before.items():
            signal.signal(number, handler)
        self._waking.close()

    def hold(self) -> None:
        """Take the signals; once more after a library has taken them over."""
        for number in self._before:
            signal.signal(number, self._hear)

    def check(self) -> None:
        """Raise the reason to stop if there is one that got lost: libraries swallow exceptions."""
        if self.reason is not None and not self._waits():
            self._raised = True  # a signal that comes now is one more of the same
            raise self.reason

    def asked(self) -> bool:
        """Whether to put the work down, and to stop."""
        return self.reason is not None

    def settle(self, seconds: float) -> BaseException | None:
        """Raise nothing more; the reason, if there is one or one comes within some seconds."""
        self._raised = True
        self._told.wait(seconds)
        return self.reason

    def stop(self, reason: BaseException) -> None:
        """Raise a reason in the main thread, from any thread; the first reason counts."""
        with self._lock:
            if self._over.is_set() or self.reason is not None:
                return
            self.reason = reason
            self._told.set()
            signal.pthread_kill(threading.main_thread().ident or 0, OURS)

    def _hear(self, number: int, frame: FrameType | None) -> None:
        now = monotonic()
        self._first = self._first or now
        self._hurried |= number != OURS and now - self._first > TWICE
        self.reason = self.reason or Stopped(number)
        self._told.set()
        if self._raised or self._waits():
            return
        self._raised = True
        raise self.reason

    def _waits(self) -> bool:
        """Whether the main thread stops by itself."""
        stopped = self.reason is None or isinstance(self.reason, Stopped)
        return self.polite and stopped and not (self._raised or self._hurried)

    def _watch(self) -> None:
        with self._woken:
            while numbers := self._woken.recv(64):
                if seen := [number for number in numbers if number in SIGNALS]:
                    if self.heard and seen[0] != OURS:
                        self.heard(Stopped(seen[0]))
                    if self._waits() and not self._over.wait(PATIENCE):
                        self._hurry(self.reason or Stopped(seen[0]))
                    if not self._over.wait(GRACE):
                        self._give_up(self.reason or Stopped(seen[0]))
                    return

    def _hurry(self, reason: BaseException) -> None:
        """Raise in the main thread after all, if it has not done so."""
        self.reason, self._hurried = reason, True
        with self._lock:
            if not self._over.is_set():
                signal.pthread_kill(threading.main_thread().ident or 0, OURS)

    def _give_up(self, reason: BaseException) -> None:
        last = threading.Timer(GRACE, os._exit, [status_of(reason)])
        last.daemon = True
        last.start()  # should what is left to do be stuck, too
        told = "stopped" if isinstance(reason, KeyboardInterrupt) else f"error: {reason}"
        print(told, file=sys.stderr, flush=True)
        self._abandon(reason)
        os._exit(status_of(reason))
