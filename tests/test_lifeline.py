"""What one rank says, all hear; and so they do of one that can't say anything any more."""

from __future__ import annotations

import json
import queue
import socket
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress

import pytest

from pipeline.errors import TrainingError
from pipeline.stopping import Stopped
from pipeline.tasks import lifeline
from pipeline.tasks.lifeline import Desk, Lifeline, Line, Member, connect, words

HOST = "127.0.0.1"
RANKS = 3
Ranks = list[tuple[Lifeline, "queue.Queue[BaseException]"]]


def _rank(me: Member, lines: list[Line]) -> tuple[Lifeline, queue.Queue[BaseException]]:
    reasons: queue.Queue[BaseException] = queue.Queue()
    return Lifeline(me, lines, reasons.put, lambda member: f"left {member.host}."), reasons


@pytest.fixture
def ranks() -> Iterator[Ranks]:
    """Three ranks of one process: their lifelines, and the reasons that they get."""
    desk, zero = Desk(HOST), Member(0, "here", 10)
    others = [Member(rank, f"there{rank}", 10 + rank) for rank in (1, 2)]
    with ThreadPoolExecutor(RANKS) as pool:
        met = pool.submit(desk.meet, RANKS - 1)
        lines = [connect(HOST, desk.port, desk.token, zero, member) for member in others]
        made = [_rank(zero, met.result())]
    made += [_rank(member, [line]) for member, line in zip(others, lines, strict=True)]
    yield made
    for one, _ in made:
        one.close()


def told(ranks: Ranks, *which: int) -> list[str]:
    reasons = [ranks[rank][1].get(timeout=10) for rank in which]
    assert all(ranks[rank][1].empty() for rank in range(RANKS))
    return [str(reason) for reason in reasons]


@pytest.mark.parametrize(("teller", "hearers"), [(0, (1, 2)), (1, (0, 2)), (2, (0, 1))])
def test_a_failure_reaches_all_others(ranks: Ranks, teller: int, hearers: tuple[int, int]) -> None:
    ranks[teller][0].tell(MemoryError("no\nroom"))
    place = "here" if teller == 0 else f"there{teller}"
    expected = f"Rank {teller} (process {10 + teller} on {place}) failed: MemoryError: no room"
    assert told(ranks, *hearers) == [expected] * 2


def test_a_signal_reaches_all_others_as_a_signal(ranks: Ranks) -> None:
    ranks[2][0].tell(Stopped(15))
    for rank in (0, 1):
        reason = ranks[rank][1].get(timeout=10)
        assert isinstance(reason, Stopped)
        assert reason.number == 15


def test_a_rank_that_is_gone_is_missed(ranks: Ranks) -> None:
    ranks[1][0].lines[0].hang_up()  # as the system does for a process that is killed
    assert told(ranks, 0, 1, 2)[::2] == ["Rank 1 (process 11 on there1) left there1."] * 2
    assert not ranks[2][0].orphaned


def test_without_rank_zero_the_others_are_orphans(ranks: Ranks) -> None:
    ranks[0][0].lines[1].hang_up()
    assert "Rank 0 (process 10 on here) left here." in told(ranks, 0, 1, 2)[2]
    assert ranks[2][0].orphaned


def test_all_leave_together_and_nobody_is_missed(ranks: Ranks) -> None:
    left = []

    def leave(rank: int) -> None:
        ranks[rank][0].done()
        left.append(rank)

    threads = [threading.Thread(target=leave, args=[rank]) for rank in range(RANKS)]
    for thread in threads[:2]:
        thread.start()
    threads[1].join(10)
    assert left == [1]  # rank 0 still waits for rank 2
    threads[2].start()
    for thread in threads:
        thread.join(10)
    for one, _ in ranks:
        one.close()
    assert sorted(left) == [0, 1, 2]
    assert told(ranks) == []


def test_strangers_are_turned_away() -> None:
    desk = Desk(HOST)
    with ThreadPoolExecutor() as pool:
        met = pool.submit(desk.meet, 1)
        for said in (b"GET / HTTP/1.1\r\n\r\n", b'{"token": "x", "member": [1, "", 2]}\n', b"[]\n"):
            with socket.create_connection((HOST, desk.port)) as stranger:
                stranger.sendall(said)
                with suppress(ConnectionResetError):
                    assert stranger.recv(1) == b""
        line = connect(HOST, desk.port, desk.token, Member(0, "here", 1), Member(7, "far", 3))
        found = met.result()
    assert [one.member for one in found] == [Member(7, "far", 3)]
    for one in (line, *found):
        one.close()


def test_ranks_that_do_not_come_are_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lifeline, "PATIENCE", 0.1)
    desk = Desk(HOST)
    with pytest.raises(TrainingError, match=rf"Expected 2 other ranks on port {desk.port}, got 0"):
        desk.meet(2)
    with pytest.raises(TrainingError, match=rf"can't reach rank 0 at {HOST}:{desk.port}"):
        connect(HOST, desk.port, "", Member(0, "", 1), Member(1, "", 2))


def test_words_are_short_and_in_one_line() -> None:
    assert words(TrainingError("Expected\nthis.")) == "Expected this."
    assert words(KeyError("a")) == "KeyError: 'a'"
    assert len(json.dumps(words(ValueError("x" * 10_000)))) < 600
