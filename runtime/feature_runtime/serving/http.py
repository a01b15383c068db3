"""The HTTP server: it listens, keeps the connections within its limits, and takes them down without losing a request."""

import asyncio
import resource
import socket
from email.utils import formatdate

from feature_runtime.serving.connection import Connection
from feature_runtime.serving.message import Application

MOST_CONNECTIONS = 4096
MOST_HELD_BYTES = 64 << 20
"""What requests that are not answered yet may hold together."""
MOST_UNSENT_BYTES = 64 << 20
"""What answers that their clients do not read may hold together."""
SOCKET_BYTES = 128 * 1024
"""Of each connection the kernel keeps as much, in each direction: its buffers are the pod's memory too."""
BACKLOG = 2048
OTHER_FILES = 128
"""What the process opens beside connections."""


class Server:
    """Listens, and keeps the connections."""

    def __init__(self, application: Application) -> None:
        self.application = application
        self.connections: set[Connection] = set()
        self.strangers: dict[Connection, None] = {}
        """Those that have not sent a whole request yet, and those that were refused: the first to go when there are too many."""
        self.draining = False
        self.clock = 0.0
        self.date = b""
        self.held = 0
        self.most_held = max(MOST_HELD_BYTES, 4 * application.max_body_bytes)
        files = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
        self._most_connections = MOST_CONNECTIONS if files == resource.RLIM_INFINITY else min(MOST_CONNECTIONS, files - OTHER_FILES)
        self._slow: dict[Connection, None] = {}
        self._unsent = 0
        self._listener: asyncio.Server | None = None
        self._sweeper: asyncio.Task[None] | None = None

    async def start(self, host: str, port: int) -> int:
        """Listen, with "" for a host on every address; returns the port, which is another one when 0 was asked for."""
        loop = asyncio.get_running_loop()
        self._tick(loop.time())
        listening = socket.create_server((host, port), backlog=BACKLOG) if host else every_address(port)
        for option in (socket.SO_SNDBUF, socket.SO_RCVBUF):
            # Every connection has those of the socket that accepts it.
            listening.setsockopt(socket.SOL_SOCKET, option, SOCKET_BYTES)
        self._listener = await loop.create_server(lambda: Connection(self), sock=listening, backlog=BACKLOG)
        self._sweeper = loop.create_task(self._sweep())
        bound: int = listening.getsockname()[1]
        return bound

    def admit(self, connection: Connection) -> None:
        """Keep a connection. If there are too many, one that does nothing goes for it; if all are busy, it is refused."""
        self.connections.add(connection)
        self.strangers[connection] = None
        if len(self.connections) <= self._most_connections:
            return
        idle = next(iter(self.strangers))
        if idle is connection:
            idle = next((one for one in self.connections if not one.is_busy and one is not connection), connection)
        if idle is connection:
            connection.turn_away()
        else:
            self.forget(idle)
            idle.abort()

    def forget(self, connection: Connection) -> None:
        """It has gone."""
        self.connections.discard(connection)
        self.strangers.pop(connection, None)

    def slow(self, connection: Connection, unsent: int) -> None:
        """A client does not read so many bytes. If all together are too many, who has not read for longest is let go."""
        self._slow[connection] = None
        self._unsent += unsent
        while self._unsent > MOST_UNSENT_BYTES and len(self._slow) > 1:
            next(iter(self._slow)).abort()

    def no_longer_slow(self, connection: Connection, unsent: int) -> None:
        """It has read them, or has gone."""
        self._slow.pop(connection, None)
        self._unsent -= unsent

    async def drain(self, *, listening_seconds: float, seconds: float) -> None:
        """Answer what still comes and close each connection with its answer; stop listening, finish, close the rest."""
        loop = asyncio.get_running_loop()
        self.draining = True
        await asyncio.sleep(listening_seconds)
        if self._listener is not None:
            self._listener.close()
        deadline = loop.time() + seconds
        while any(connection.is_busy for connection in self.connections) and loop.time() < deadline:  # noqa: ASYNC110  many, not one
            await asyncio.sleep(0.01)
        for connection in list(self.connections):
            connection.close()
        if self._sweeper is not None:
            self._sweeper.cancel()

    async def _sweep(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            await asyncio.sleep(1)
            self._tick(loop.time())
            for connection in list(self.connections):
                connection.check(self.clock)

    def _tick(self, now: float) -> None:
        self.clock = now
        self.date = b"date: " + formatdate(usegmt=True).encode() + b"\r\n"


def every_address(port: int) -> socket.socket:
    """A socket that listens on the machine's addresses of both families, or of IPv4 where the kernel has no IPv6."""
    if socket.has_dualstack_ipv6():
        return socket.create_server(("", port), family=socket.AF_INET6, dualstack_ipv6=True, backlog=BACKLOG)
    return socket.create_server(("", port), backlog=BACKLOG)
