"""A light HTTP client that keeps a server busy: some connections, each with one request at a time, for some seconds.

It runs as a process of its own (`load` starts it), reads one JSON object from stdin and prints one. Requests are built
before the clock runs, answers are kept as bytes and every one of them is compared with the known truth after it has
stopped, so that the client takes as little as it can of the cores that it shares with the server.
"""

import gc
import json
import random
import re
import select
import socket
import struct
import subprocess
import sys
import time
from bisect import bisect_right
from dataclasses import asdict, dataclass
from typing import Any

CONTENT_LENGTH = re.compile(rb"(?i)\r\ncontent-length: *(\d+)")
REQUESTS = 2_000
"""So many different requests are prepared; they are sent round and round."""
DRAIN_SECONDS = 10.0
"""An answer that has not come so long after the last request was sent counts as an error."""


@dataclass(frozen=True, kw_only=True)
class Load:
    """What to ask, of whom, how much at once and for how long; `truth` is employee to values in order of `features`.

    A server that has not given `at_least` answers after `seconds` gets up to four times as long.
    """

    port: int
    connections: int
    entities: int
    seconds: float
    service: str
    features: list[str]
    truth: dict[str, list[Any]]
    at_least: int = 0
    seed: int = 0


@dataclass(frozen=True, kw_only=True)
class Measured:
    """One window: answers per second within it, latencies in seconds, and what went wrong.

    A connection that waits for a slow answer asks nothing meanwhile, so a hole of a second costs it one slow answer
    where steady callers would have had dozens. `p99` puts those back: for an answer slower than the median, one more
    that waited a median less, and so on (what HdrHistogram calls the correction for coordinated omission); `p99_seen`
    is the one of the answers alone.

    `errors` counts refused and reset connections, answers that did not come, and other statuses than 200; `wrong`
    counts answers of status 200 whose body was not right. `cpu` is the share of one core that the client itself took.
    """

    rps: float
    p50: float
    p99: float
    p99_seen: float
    slowest: float
    answers: int
    errors: int
    wrong: int
    cpu: float
    complaint: str = ""


def load(asked: Load) -> Measured:
    """Run the client in a process of its own."""
    command = [sys.executable, "-m", "bench.load"]
    done = subprocess.run(command, input=json.dumps(asdict(asked)), capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise RuntimeError(f"the load client ended with {done.returncode}\n{done.stderr}")
    return Measured(**json.loads(done.stdout))


class Connection:
    """One keep-alive connection with at most one request on its way."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._received = b""
        self.request = -1
        self.asked = 0.0
        self.connect()

    def connect(self) -> None:
        """Open it (again)."""
        self.socket = socket.create_connection(("127.0.0.1", self._port), timeout=DRAIN_SECONDS)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._received = b""

    def receive(self) -> tuple[bytes, bytes] | None:
        """Head and body of the answer once it is whole, else None.

        Raises:
            ConnectionError: the server closed the connection before.
        """
        chunk = self.socket.recv(1 << 18)
        if not chunk:
            raise ConnectionResetError("closed without an answer")
        self._received = received = self._received + chunk if self._received else chunk
        end = received.find(b"\r\n\r\n")
        if end < 0:
            return None
        length = CONTENT_LENGTH.search(received, 0, end + 2)
        if length is None:
            raise ConnectionAbortedError("an answer without a Content-Length")
        if len(received) < end + 4 + int(length[1]):
            return None
        self._received = b""
        return received[:end], received[end + 4 :]

    def close(self) -> None:
        """Close it without waiting for the other side."""
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.socket.close()


class Client:
    """The closed loop: what was sent when, and everything that came back."""

    def __init__(self, asked: Load) -> None:
        self._asked = asked
        chooser = random.Random(asked.seed)  # noqa: S311  which employees to ask for is no secret
        employees = sorted(asked.truth, key=int)
        self._chosen = [chooser.sample(employees, asked.entities) for _ in range(REQUESTS)]
        self._requests = [self._request(chosen) for chosen in self._chosen]
        self._next = 0
        self._poll = select.epoll()
        self._connections: dict[int, Connection] = {}
        self._kept: list[tuple[int, bytes, bytes]] = []
        self._latencies: list[float] = []
        self._errors = 0

    def run(self) -> Measured:
        """Open the connections, keep them busy for the time asked, then look at every answer."""
        for _ in range(self._asked.connections):
            self._add(Connection(self._asked.port))
        gc.disable()
        cpu, started = time.process_time(), time.perf_counter()
        for connection in list(self._connections.values()):
            self._send(connection)
        within, stopped = self._loop(started)
        cpu, seconds = time.process_time() - cpu, stopped - started
        gc.enable()
        statuses, wrong, complaint = self._judge()
        latencies = sorted(self._latencies) or [float("inf")]
        corrected = sorted(_with_omitted(latencies))
        return Measured(
            rps=within / seconds,
            p50=latencies[len(latencies) // 2],
            p99=corrected[int(len(corrected) * 0.99)],
            p99_seen=latencies[int(len(latencies) * 0.99)],
            slowest=latencies[-1],
            answers=len(self._latencies),
            errors=self._errors + statuses,
            wrong=wrong,
            cpu=cpu / seconds,
            complaint=complaint,
        )

    def _loop(self, started: float) -> tuple[int, float]:
        """How many answers came before the load stopped, and when it did."""
        asked, within, busy = self._asked, 0, len(self._connections)
        now, end, latest = started, started + asked.seconds, started + 4 * asked.seconds
        stopped = latest
        while busy and now < stopped + DRAIN_SECONDS:
            for number, _ in self._poll.poll(1.0):
                connection = self._connections[number]
                try:
                    answer = connection.receive()
                    if answer is None:
                        continue
                    now = time.perf_counter()
                    self._latencies.append(now - connection.asked)
                    self._kept.append((connection.request, *answer))
                    if now < end or (within < asked.at_least and now < latest):
                        within += 1
                        self._send(connection)
                    else:
                        busy -= 1
                        stopped = min(stopped, now)
                except OSError:
                    self._again(connection, number)
            now = time.perf_counter()
        for connection in self._connections.values():
            connection.close()
        self._errors += busy
        return within, stopped

    def _again(self, connection: Connection, number: int) -> None:
        """The same request on a new connection; its clock runs on, as the caller's would."""
        self._errors += 1
        del self._connections[number]
        connection.socket.close()
        connection.connect()
        self._add(connection)
        connection.socket.sendall(self._requests[connection.request])

    def _add(self, connection: Connection) -> None:
        self._connections[connection.socket.fileno()] = connection
        self._poll.register(connection.socket, select.EPOLLIN)

    def _send(self, connection: Connection) -> None:
        connection.request = self._next
        self._next = (self._next + 1) % REQUESTS
        connection.asked = time.perf_counter()
        connection.socket.sendall(self._requests[connection.request])

    def _request(self, employees: list[str]) -> bytes:
        asked = {"feature_service": self._asked.service, "entities": {"employee_id": [int(employee) for employee in employees]}}
        body = json.dumps(asked).encode()
        fields = f"Host: 127.0.0.1\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
        return b"POST /get-online-features HTTP/1.1\r\n" + fields.encode() + body

    def _judge(self) -> tuple[int, int, str]:
        """Number of answers of another status than 200, of wrong bodies, and the first of them in words."""
        statuses = wrong = 0
        complaint = ""
        for number, head, body in self._kept:
            if head[9:12] != b"200":
                statuses += 1
                complaint = complaint or f"{head[:60]!r} {body[:200]!r}"
            elif problem := self._problem(self._chosen[number], json.loads(body)):
                wrong += 1
                complaint = complaint or f"{problem}: {body[:300]!r}"
        return statuses, wrong, complaint

    def _problem(self, employees: list[str], answer: Any) -> str:
        """What is wrong with an answer; by name, because stock Feast's order differs from process to process."""
        columns = dict(zip(answer["metadata"]["feature_names"], answer["results"], strict=True))
        if columns.keys() != {"employee_id", *self._asked.features}:
            return f"the columns {sorted(columns)}"
        if columns["employee_id"]["values"] != [int(employee) for employee in employees]:
            return "other entities than asked"
        truth = [self._asked.truth[employee] for employee in employees]
        for place, feature in enumerate(self._asked.features):
            values, statuses = columns[feature]["values"], columns[feature]["statuses"]
            if not _same(values, [row[place] for row in truth]) or statuses != ["PRESENT"] * len(truth):
                return f"the values of {feature}"
        return ""


def _with_omitted(latencies: list[float]) -> list[float]:
    """Sorted latencies, and those of the requests that would have been sent meanwhile at the pace of the median."""
    pace = latencies[len(latencies) // 2]
    found = list(latencies)
    for latency in latencies[bisect_right(latencies, 2 * pace) :]:
        found += [latency - pace * missed for missed in range(1, int(latency / pace))]
    return found


def _same(values: list[Any], truth: list[Any]) -> bool:
    """Equal one by one; a float may be written as short as a 32 bit float allows."""
    if values == truth:
        return True
    if [type(value) for value in values] != [type(value) for value in truth]:
        return False
    return all(found == true or (isinstance(true, float) and _float32(found) == true) for found, true in zip(values, truth, strict=True))


def _float32(value: float) -> float:
    narrow: float = struct.unpack("<f", struct.pack("<f", value))[0]
    return narrow


if __name__ == "__main__":
    sys.stdout.write(json.dumps(asdict(Client(Load(**json.load(sys.stdin))).run())))
