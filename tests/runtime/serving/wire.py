"""HTTP as bytes on a socket: sends what it is given, right or wrong, and reads whole answers within a bound."""

import contextlib
import socket
import time
from dataclasses import dataclass

SECONDS = 20.0
"""Every answer must come within it; an answer takes a millisecond, so this is a hang even on a busy machine."""


@dataclass(frozen=True)
class Answer:
    status: int
    headers: dict[str, str]
    body: bytes


class Hang(AssertionError):
    """Nothing came in time."""


class Wire:
    """One connection, opened again when it was closed."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._socket: socket.socket | None = None
        self._received = b""

    def send(self, *pieces: bytes, pause: float = 0.0) -> bool:
        """False when the server closed its side before everything was sent."""
        if self._socket is None:
            self._socket = socket.create_connection(("127.0.0.1", self._port), timeout=SECONDS)
            self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self._received = b""
        try:
            for piece in pieces:
                self._socket.sendall(piece)
                if pause:
                    time.sleep(pause)
        except TimeoutError:
            raise Hang("the server does not read") from None
        except OSError:
            return False
        return True

    def finish_sending(self) -> None:
        """Say that nothing more will come."""
        if self._socket is not None:
            with contextlib.suppress(OSError):
                self._socket.shutdown(socket.SHUT_WR)

    def answer(self, *, head_only: bool = False) -> Answer | None:
        """The next answer; None when the connection ends instead."""
        while (end := self._received.find(b"\r\n\r\n")) < 0:
            if not self._receive():
                assert not self._received, f"an unfinished answer: {self._received!r}"
                return None
        lines = self._received[:end].decode("latin-1").split("\r\n")
        headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines[1:])}
        status = int(lines[0].split()[1])
        length = 0 if head_only or status < 200 else int(headers["content-length"])
        while len(self._received) < end + 4 + length:
            assert self._receive(), f"the answer ends in its middle: {self._received!r}"
        body, self._received = self._received[end + 4 : end + 4 + length], self._received[end + 4 + length :]
        if status < 200:
            return self.answer(head_only=head_only)
        if headers.get("connection") == "close":
            self.close()
        return Answer(status, headers, body)

    def close(self) -> None:
        if self._socket is not None:
            self._socket.close()
        self._socket, self._received = None, b""

    def _receive(self) -> bool:
        if self._socket is None:
            return False
        try:
            chunk = self._socket.recv(1 << 18)
        except TimeoutError:
            raise Hang(f"no answer within {SECONDS} s; so far {self._received[:200]!r}") from None
        except OSError:
            chunk = b""
        if not chunk:
            self._socket.close()
            self._socket = None
        self._received += chunk
        return bool(chunk)
