"""Redis in production's shapes, as processes of this machine that a test may freeze: a master with replicas and Sentinels, and a Cluster."""

import contextlib
import shutil
import signal
import socket
import subprocess
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import redis

from bench.ports import free_port
from tests.waiting import wait_for, wait_until

AWAY = redis.exceptions.RedisError
TIMEOUTS = "socket_timeout=1,socket_connect_timeout=1"


@dataclass
class Server:
    """A process, and where it listens."""

    port: int
    process: subprocess.Popen[bytes]
    password: str | None = None

    @property
    def client(self) -> redis.Redis:
        return redis.Redis(port=self.port, password=self.password, socket_timeout=5)

    def freeze(self) -> None:
        """As a dead machine does: nothing is refused, nothing is answered."""
        self.process.send_signal(signal.SIGSTOP)

    def thaw(self) -> None:
        self.process.send_signal(signal.SIGCONT)

    def kill(self) -> None:
        self.process.kill()
        self.process.wait(10)


@contextlib.contextmanager
def ending() -> Iterator[list[Server]]:
    """Servers that are put into the list end with the block."""
    servers: list[Server] = []
    try:
        yield servers
    finally:
        for server in servers:
            server.kill()


def start(servers: list[Server], directory: Path, *options: str, password: str | None = None) -> Server:
    """A Redis that keeps nothing; it is added to the servers."""
    port = free_port()
    where = directory / str(port)
    where.mkdir(exist_ok=True)
    binary = shutil.which("redis-server")
    assert binary, "Redis is not installed: apt-get install redis-server"
    command = [binary, "--port", str(port), "--bind", "127.0.0.1", "--save", "", "--dir", str(where), *options]
    servers.append(Server(port, subprocess.Popen(command, stdout=subprocess.DEVNULL), password))
    wait_for(servers[-1].client.ping, AWAY)
    return servers[-1]


@dataclass
class Replicated:
    """Three nodes: a Redis and a Sentinel each. The first is the master at first."""

    redis: list[Server]
    sentinels: list[Server]

    def master(self, sentinel: int) -> int:
        """The port of the master, as a Sentinel says."""
        return int(self.sentinels[sentinel].client.sentinel_get_master_addr_by_name("feast")[1])


@contextlib.contextmanager
def replicated(directory: Path, *options: str, down_after: int = 2000, nodes: int = 3, sentinel_options: str = "") -> Iterator[Replicated]:
    """Production's shape: a node is waited for so many milliseconds, and a majority elects."""
    with ending() as servers:
        master = start(servers, directory, *options)
        follow = ["--replicaof", "127.0.0.1", str(master.port)]
        replicas = [start(servers, directory, *options, *follow) for _ in range(nodes - 1)]
        for replica in replicas:
            wait_until(lambda replica=replica: replica.client.info("replication")["master_link_status"] == "up", "it follows", AWAY)
        sentinels = []
        for _ in range(nodes):
            port = free_port()
            config = directory / f"sentinel-{port}.conf"
            config.write_text(
                f"port {port}\nbind 127.0.0.1\nsentinel monitor feast 127.0.0.1 {master.port} {nodes // 2 + 1}\n"
                f"sentinel down-after-milliseconds feast {down_after}\nsentinel failover-timeout feast 6000\n{sentinel_options}\n"
            )
            process = subprocess.Popen([str(shutil.which("redis-server")), str(config), "--sentinel"], stdout=subprocess.DEVNULL)
            servers.append(Server(port, process))
            sentinels.append(servers[-1])
        if not sentinel_options:
            for sentinel in sentinels:
                wait_until(lambda sentinel=sentinel: _knows(sentinel, nodes), "the Sentinels know each other", AWAY)
        yield Replicated([master, *replicas], sentinels)


def _knows(sentinel: Server, nodes: int) -> bool:
    state = sentinel.client.sentinel_masters()["feast"]
    return bool(state["num-slaves"] == nodes - 1 and state["num-other-sentinels"] == nodes - 1)


@contextlib.contextmanager
def silent() -> Iterator[int]:
    """A port that accepts connections and never says anything."""
    with socket.create_server(("127.0.0.1", 0), backlog=50) as listener:
        yield listener.getsockname()[1]


@contextlib.contextmanager
def dropping() -> Iterator[int]:
    """A port whose packets get no answer, as those of a machine that is off."""
    with socket.create_server(("127.0.0.1", 0), backlog=0) as listener, contextlib.ExitStack() as stack:
        port = listener.getsockname()[1]
        # Linux drops what comes to a full queue.
        for _ in range(3):
            filler = stack.enter_context(socket.socket())
            filler.setblocking(False)
            filler.connect_ex(("127.0.0.1", port))
        yield port


class Narrow:
    """A port of a Redis that is reached over a link of so many bytes per second."""

    def __init__(self, port: int, bytes_per_second: float) -> None:
        self._to, self._rate = port, bytes_per_second
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        self._listener.close()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                near, _ = self._listener.accept()
                far = socket.create_connection(("127.0.0.1", self._to))
                threading.Thread(target=self._pump, args=(near, far, 0.0), daemon=True).start()
                threading.Thread(target=self._pump, args=(far, near, self._rate), daemon=True).start()

    @staticmethod
    def _pump(source: socket.socket, to: socket.socket, rate: float) -> None:
        paused = threading.Event()
        with contextlib.suppress(OSError), source, to:
            while data := source.recv(1 << 16):
                to.sendall(data)
                if rate:
                    paused.wait(len(data) / rate)
            to.shutdown(socket.SHUT_RDWR)
