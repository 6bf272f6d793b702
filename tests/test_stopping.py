"""Signals and reasons end a program, once, even one that is stuck."""

from __future__ import annotations

import signal
import subprocess
import sys
import time

import pytest

from pipeline.stopping import Stopped, Stopper, status_of
from tests.conftest import ROOT

PROGRAM = """
import ctypes, os, signal, sys, threading, time
from pipeline import stopping
from pipeline.errors import TrainingError
stopping.GRACE = 0.5
def stuck():
    "As in a collective: no handler of Python's can run."
    lock = ctypes.create_string_buffer(64)
    for _ in range(2):
        ctypes.CDLL(None).pthread_mutex_lock(lock)
def swallowing():
    try:
        os.kill(os.getpid(), signal.SIGINT)
        time.sleep(20)
    except BaseException:
        print("swallowed", flush=True)
    stopper.check()
with stopping.Stopper(lambda reason: print("abandoned", type(reason).__name__)) as stopper:
    try:
        {first}
        print("ready", flush=True)
        {body}
    except BaseException as error:
        time.sleep(0.2)
        print("raised", type(error).__name__, error)
        sys.exit(stopping.status_of(error))
"""
SIGNAL = "threading.Timer(0.5, os.kill, [os.getpid(), signal.SIGTERM]).start(); "
REASON = "threading.Timer(0.5, stopper.stop, [TrainingError('of rank 1')]).start(); "


def run(body: str, *numbers: int, first: str = "pass") -> tuple[int, list[str], str]:
    """Status, lines and errors of a program that gets some signals once ``first`` is done."""
    program = PROGRAM.replace("{first}", first).replace("{body}", body)
    with subprocess.Popen(
        [sys.executable, "-c", program], cwd=ROOT, text=True,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    ) as process:  # fmt: skip
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        for number in numbers:
            process.send_signal(number)
            time.sleep(0.05)
        said = process.stdout.read()  # not communicate, which forgets what readline read ahead
        assert process.stderr is not None
        errors = process.stderr.read()
    return process.returncode, said.splitlines(), errors


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_raises_once_however_often_it_comes(number: signal.Signals) -> None:
    status, said, errors = run("time.sleep(20)", number, number, signal.SIGTERM, signal.SIGINT)
    assert (status, said, errors) == (128 + number, [f"raised Stopped {number.name}"], "")


def test_a_thread_gives_a_reason() -> None:
    assert run(REASON + "time.sleep(20)") == (1, ["raised TrainingError of rank 1"], "")


def test_the_first_reason_counts() -> None:
    status, said, _ = run(REASON + "time.sleep(20)", signal.SIGINT)
    assert (status, said) == (130, ["raised Stopped SIGINT"])


def test_a_reason_that_a_library_swallows_comes_again() -> None:
    _, said, _ = run("swallowing()")
    assert said == ["swallowed", "raised Stopped SIGINT"]


POLITE = "stopper.polite = True; stopping.PATIENCE = {}; stopping.TWICE = 0.3; "
WORK = "[time.sleep(0.1) for _ in range(100) if not stopper.asked()]; print('put down'); "


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_work_is_put_down_before_a_signal_is_raised(number: signal.Signals) -> None:
    once = "stopping.TWICE = 10; "  # the second of them comes with the first, however slow we are
    body = WORK + "stopper.polite = False; stopper.check()"
    status, said, errors = run(body, number, number, first=POLITE.format(20) + once)
    assert (status, said) == (128 + number, ["put down", f"raised Stopped {number.name}"])
    assert errors == ""


def test_a_second_signal_does_not_wait() -> None:
    again = "threading.Timer(0.6, os.kill, [os.getpid(), signal.SIGINT]).start(); "
    begun = time.monotonic()
    status, said, _ = run(again + "time.sleep(20)", signal.SIGTERM, first=POLITE.format(20))
    assert (status, said) == (143, ["raised Stopped SIGTERM"])
    assert time.monotonic() - begun < 15


def test_patience_ends() -> None:
    assert run("time.sleep(20)", signal.SIGINT, first=POLITE.format(0.3))[:2] == (
        130, ["raised Stopped SIGINT"],
    )  # fmt: skip
    assert run(SIGNAL + "stuck()", first=POLITE.format(0.3)) == (
        143, ["abandoned Stopped"], "stopped\n",
    )  # fmt: skip


def test_a_failure_elsewhere_is_raised_whatever_is_at_work() -> None:
    assert run(REASON + "time.sleep(20)", first=POLITE.format(20)) == (
        1,
        ["raised TrainingError of rank 1"],
        "",
    )


@pytest.mark.parametrize(
    ("body", "status", "said", "errors"),
    [
        (SIGNAL + "stuck()", 143, "abandoned Stopped", "stopped\n"),
        (REASON + "stuck()", 1, "abandoned TrainingError", "error: of rank 1\n"),
    ],
)
def test_a_program_that_is_stuck_is_given_up(
    body: str, status: int, said: str, errors: str
) -> None:
    assert run(body) == (status, [said], errors)


def test_all_is_as_before_afterwards() -> None:
    before = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
    with Stopper(lambda _: None) as stopper:
        assert signal.getsignal(signal.SIGTERM) != before[1]
    assert [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)] == before
    assert signal.set_wakeup_fd(-1) == -1
    stopper.stop(ValueError("too late"))  # would end the test
    assert stopper.reason is None


def test_statuses_are_those_of_shells() -> None:
    assert status_of(KeyboardInterrupt()) == 130
    assert status_of(Stopped(signal.SIGTERM)) == 143
    assert status_of(ValueError()) == 1
