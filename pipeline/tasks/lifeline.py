"""Connections between rank zero and every other rank, on which the end of one reaches all.

A process that fails says why. One that is killed says nothing, but the system closes its
connections, and so the others know. Without them a collective of torch would wait for up to half an
hour, or name the address of a peer for a cause.
"""

from __future__ import annotations

import json
import os
import secrets
import socket
import threading
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any, NamedTuple, Self

from pipeline.errors import PipelineError, TrainingError
from pipeline.stopping import Stopped

PATIENCE = 60.0  # seconds for all ranks, which are up by now, to connect
# A machine that lost its power closes nothing: it is given up after 10 + 3 x 5 silent seconds.
KEEPALIVE = {"TCP_KEEPIDLE": 10, "TCP_KEEPINTVL": 5, "TCP_KEEPCNT": 3}


class Member(NamedTuple):
    """A process of a training."""

    rank: int
    host: str
    process: int

    def __str__(self) -> str:
        return f"Rank {self.rank} (process {self.process} on {self.host})"

    @classmethod
    def me(cls, rank: int) -> Self:
        """This process."""
        return cls(rank, socket.gethostname(), os.getpid())


class Line:
    """A connection to another rank: messages, each a line of JSON."""

    def __init__(self, connection: socket.socket, member: Member) -> None:
        self.member = member
        self.connection = connection
        connection.settimeout(None)
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        for name, value in KEEPALIVE.items():
            if option := getattr(socket, name, None):  # other systems have other names
                connection.setsockopt(socket.IPPROTO_TCP, option, value)
        self.messages = connection.makefile("r", encoding="utf-8")

    def send(self, message: Mapping[str, Any]) -> None:
        """Send, if there is still anybody."""
        with suppress(OSError):
            self.connection.sendall(f"{json.dumps(message)}\n".encode())

    def hang_up(self) -> None:
        """End the connection; a thread that reads from it wakes."""
        with suppress(OSError):
            self.connection.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        """Give it back to the system."""
        self.messages.close()
        self.connection.close()


class Desk:
    """Where rank zero waits for the others to connect."""

    def __init__(self, host: str) -> None:
        # Between machines any of its addresses may be the one that the others see.
        self.server = socket.create_server((host, 0))
        self.port: int = self.server.getsockname()[1]
        self.token = secrets.token_hex(16)  # a stranger on the port must not end a training

    def meet(self, count: int) -> list[Line]:
        """Connections to so many other ranks.

        Raises:
            TrainingError: They don't come.
        """
        lines: list[Line] = []
        self.server.settimeout(PATIENCE)
        with self.server:
            while len(lines) < count:
                try:
                    lines += self._met(self.server.accept()[0])
                except TimeoutError as error:
                    raise TrainingError(
                        f"Expected {count} other ranks on port {self.port}, got {len(lines)}. "
                        "Open the ports above 1024 between the machines."
                    ) from error
        return lines

    def _met(self, connection: socket.socket) -> list[Line]:
        connection.settimeout(PATIENCE / 10)
        with suppress(OSError, ValueError, TypeError, KeyError):
            said = json.loads(_first_line(connection))
            if secrets.compare_digest(said["token"], self.token):
                return [Line(connection, Member(*said["member"]))]
        connection.close()
        return []


def _first_line(connection: socket.socket) -> bytes:
    """Byte by byte: what follows belongs to another reader."""
    line = b""
    while not line.endswith(b"\n") and len(line) < 1000:
        if not (byte := connection.recv(1)):
            break
        line += byte
    return line


def connect(address: str, port: int, token: str, zero: Member, me: Member) -> Line:
    """The connection of another rank to rank zero.

    Raises:
        TrainingError: Rank zero can't be reached.
    """
    try:
        connection = socket.create_connection((address, port), PATIENCE)
        connection.sendall(f"{json.dumps({'token': token, 'member': me})}\n".encode())
    except OSError as error:
        raise TrainingError(
            f"{me} can't reach rank 0 at {address}:{port}: {error}. Open the ports above 1024 "
            "between the machines."
        ) from error
    return Line(connection, zero)


class Lifeline:
    """The connections of one rank, each with a thread that listens.

    Args:
        me: This process.
        lines: Rank zero's to all others, or another rank's to rank zero.
        stop: Gets the reason when another rank ends before its time.
        fate: What is known of a process that ended without a word, as ``was killed``.
    """

    def __init__(
        self,
        me: Member,
        lines: list[Line],
        stop: Callable[[BaseException], None],
        fate: Callable[[Member], str],
    ) -> None:
        self.me, self.lines = me, lines
        self.orphaned = False  # whether rank zero is gone
        self._stop, self._fate = stop, fate
        self._ended = threading.Event()
        self._threads = [
            threading.Thread(target=self._listen, args=[line], name="lifeline", daemon=True)
            for line in lines
        ]
        for thread in self._threads:
            thread.start()

    def tell(self, reason: BaseException) -> None:
        """Tell all why this rank ends."""
        self._ended.set()
        if isinstance(reason, KeyboardInterrupt):
            self._send({"stopped": getattr(reason, "number", Stopped().number)})
        else:
            self._send({"failed": f"{self.me} failed: {words(reason)}"})

    def done(self) -> None:
        """Say that this rank is through, and wait until the others are."""
        self._send({"done": True})
        for thread in self._threads:
            thread.join()

    def close(self) -> None:
        """Hang up."""
        self._ended.set()
        for line, thread in zip(self.lines, self._threads, strict=True):
            line.hang_up()
            thread.join()
            line.close()

    def _send(self, message: Mapping[str, Any]) -> None:
        for line in self.lines:
            line.send(message)

    def _listen(self, line: Line) -> None:
        with suppress(OSError, ValueError):  # a closed line, or one that was cut
            for text in line.messages:
                message = json.loads(text)
                if "done" in message:
                    return
                self._end(message)
                return
        if self._ended.is_set():
            return
        self.orphaned |= line.member.rank == 0
        self._end({"failed": f"{line.member} {self._fate(line.member)}"})

    def _end(self, message: Mapping[str, Any]) -> None:
        if self._ended.is_set():
            return
        self._ended.set()
        if self.me.rank == 0:
            self._send(message)
        number = message.get("stopped")
        self._stop(Stopped(number) if number else TrainingError(message["failed"]))


def words(reason: BaseException) -> str:
    """What an exception says, short and in one line; with its type where that is no sentence."""
    text = " ".join(str(reason).split())
    text = text if len(text) <= 500 else f"{text[:500]} ..."
    return text if isinstance(reason, PipelineError) else f"{type(reason).__name__}: {text}"
