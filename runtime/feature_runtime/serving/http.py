"""The HTTP server: it listens, keeps the connections, and takes them down without losing a request."""

import asyncio
from email.utils import formatdate

from feature_runtime.serving.connection import Connection
from feature_runtime.serving.message import Application


class Server:
    """Listens, and keeps the connections."""

    def __init__(self, application: Application) -> None:
        self.application = application
        self.connections: set[Connection] = set()
        self.draining = False
        self.clock = 0.0
        self.date = b""
        self._listener: asyncio.Server | None = None
        self._sweeper: asyncio.Task[None] | None = None

    async def start(self, host: str, port: int) -> int:
        """Listen; returns the port, which is another one when 0 was asked for."""
        loop = asyncio.get_running_loop()
        self._tick(loop.time())
        self._listener = await loop.create_server(lambda: Connection(self), host, port, backlog=2048)
        self._sweeper = loop.create_task(self._sweep())
        bound: int = self._listener.sockets[0].getsockname()[1]
        return bound

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
