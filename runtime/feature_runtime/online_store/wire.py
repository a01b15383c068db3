"""One connection to a Redis server, plainly in asyncio: commands out, as many replies in. hiredis parses them.

redis-py says how to log in (users, passwords, TLS, database), as it reads Feast's connection string; its own connections,
with their retries, are not used.
"""

import asyncio
import contextlib
import socket
import threading
from collections import deque
from collections.abc import Callable
from typing import Any

import hiredis

Replies = list[Any]

TIMEOUT_SECONDS = 1.0
"""To connect, and for each of the replies while logging in; a TLS handshake may take three times as long."""
TICK_SECONDS = 0.1
SILENT_TICKS = 10
"""Without a byte, while somebody waits: longer is away."""
LONGEST_TICKS = 300
"""For one reply, whatever arrives meanwhile."""
IDLE_TICKS = 10
"""Between two PINGs while nobody asks."""
MOST_WAITING = 1_000
"""Commands in line behind one that waits for longer than `SILENT_TICKS`; more are turned away."""
MOST_BYTES = 32 << 20
"""Kept of the replies to one request: from them its answer is made, and a pod's memory holds a few."""
PING = b"*1\r\n$4\r\nPING\r\n"
_INCOMPLETE = object()


class StoreAway(Exception):
    """Redis does not answer, or not as it should; asking again later helps."""


Done = Callable[["Replies | StoreAway", int], None]
"""Gets the replies and how many bytes they had, as far as they came in several parts (0: in one)."""


class _Waiting:
    __slots__ = ("bytes", "count", "done", "replies", "since")

    def __init__(self, count: int, done: Done, since: int) -> None:
        self.count = count
        self.done = done
        self.since = since
        self.bytes = 0
        self.replies: Replies = []


class Wire(asyncio.Protocol):
    """The connection; `lost` is done with the reason once it is closed."""

    def __init__(self) -> None:
        self.lost: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        self.usable = True
        self.crowded = False
        """More wait than can be answered soon."""
        self.address = ("", 0)
        self._transport: Any = None
        self._parser = hiredis.Reader(notEnoughData=_INCOMPLETE)
        self._waiting: deque[_Waiting] = deque()
        self._heard = False
        self._clock = self._silent = 0

    @property
    def is_idle(self) -> bool:
        """Whether nobody waits for a reply."""
        return not self._waiting

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep it."""
        self._transport = transport

    def send(self, commands: bytes, count: int, done: Done) -> None:
        """Send `count` commands; `done` gets their replies."""
        self._waiting.append(_Waiting(count, done, self._clock))
        self._transport.write(commands)

    async def ask(self, *words: bytes) -> Any:
        """The reply to one command; raises StoreAway, also for an error that Redis replies."""
        future = asyncio.get_running_loop().create_future()

        def answered(replies: Replies | StoreAway, _: int) -> None:
            if future.done():
                return
            if isinstance(replies, StoreAway):
                future.set_exception(replies)
            elif isinstance(replies[0], hiredis.ReplyError):
                future.set_exception(StoreAway(f"Redis refuses {words[0].decode()}: {replies[0]}"))
            else:
                future.set_result(replies[0])

        self.send(command(*words), 1, answered)
        return await future

    def data_received(self, data: bytes) -> None:
        """Hand out whole replies."""
        self._heard = True
        parser, waiting = self._parser, self._waiting
        try:
            parser.feed(data)
            while (reply := parser.gets()) is not _INCOMPLETE:
                if not waiting:
                    self.fail("Redis answered what was not asked")
                    return
                first = waiting[0]
                replies = first.replies
                replies.append(reply)
                if len(replies) == first.count:
                    waiting.popleft()
                    first.done(replies, first.bytes)
        except hiredis.ProtocolError as error:
            self.fail(f"Redis answered what is not its protocol ({error})")
        if waiting:
            first = waiting[0]
            first.bytes += len(data)
            if first.bytes > MOST_BYTES:
                # Too large to be of use: read on to its end, but do not keep it.
                first.replies[:] = [None] * len(first.replies)

    def connection_lost(self, exc: Exception | None) -> None:
        """Tell everybody."""
        self.fail(f"the connection to Redis is lost ({exc or 'closed'})")

    def tick(self) -> None:
        """To be called every `TICK_SECONDS`. Ticks are counted, not seconds: while this process stands still, nobody is late."""
        self._clock += 1
        waiting = self._waiting
        self._silent = self._silent + 1 if waiting and not self._heard else 0
        self._heard = False
        self.crowded = len(waiting) > MOST_WAITING and self._clock - waiting[0].since > SILENT_TICKS
        if not waiting:
            if self._clock % IDLE_TICKS == 0:
                self.send(PING, 1, lambda *_: None)
        elif self._silent > SILENT_TICKS:
            self.fail(f"Redis did not answer within {SILENT_TICKS * TICK_SECONDS:g} s")
        elif self._clock - waiting[0].since > LONGEST_TICKS:
            self.fail(f"Redis did not end its answer within {LONGEST_TICKS * TICK_SECONDS:g} s")

    def fail(self, reason: str) -> None:
        """Close, and tell everybody who waits."""
        self.usable = False
        if not self.lost.done():
            self.lost.set_result(reason)
        if self._transport is not None:
            self._transport.abort()
        while self._waiting:
            self._waiting.popleft().done(StoreAway(reason), 0)


def command(*words: bytes) -> bytes:
    """One command in Redis's protocol."""
    return b"*%d\r\n" % len(words) + b"".join(b"$%d\r\n%b\r\n" % (len(word), word) for word in words)


class Names:
    """Looks names up in threads of their own, at most one per name: a resolver that hangs holds up no other name.

    While one is being looked up for longer than usual, the addresses that it had last are taken.
    """

    USUAL_SECONDS = 0.3

    def __init__(self) -> None:
        self._last: dict[tuple[str, int], list[Any]] = {}
        self._running: dict[tuple[str, int], asyncio.Future[list[Any]]] = {}

    async def addresses(self, host: str, port: int) -> list[Any]:
        """As `socket.getaddrinfo` gives them; raises OSError."""
        name = (host, port)
        running = self._running.get(name) or self._start(name)
        await asyncio.wait([running], timeout=self.USUAL_SECONDS if name in self._last else None)
        if name in self._last and (not running.done() or running.exception()):
            return self._last[name]
        return await asyncio.shield(running)

    def _start(self, name: tuple[str, int]) -> "asyncio.Future[list[Any]]":
        loop = asyncio.get_running_loop()
        future: asyncio.Future[list[Any]] = loop.create_future()

        def found(addresses: list[Any] | Exception) -> None:
            del self._running[name]
            if isinstance(addresses, Exception):
                future.set_exception(addresses)
                # Who asked may have given up.
                future.exception()
            else:
                self._last[name] = addresses
                future.set_result(addresses)

        def look_up() -> None:
            try:
                addresses: list[Any] | Exception = socket.getaddrinfo(*name, type=socket.SOCK_STREAM)
            except (OSError, UnicodeError) as error:
                # UnicodeError: what cannot be a name at all.
                addresses = error
            with contextlib.suppress(RuntimeError):  # the loop has ended
                loop.call_soon_threadsafe(found, addresses)

        self._running[name] = future
        threading.Thread(target=look_up, daemon=True, name=f"looking up {name[0]}").start()
        return future


async def open_wire(names: Names, options: Any, address: tuple[str, int] | None = None) -> Wire:
    """Connect and log in as `options` say, a connection of redis.asyncio that is not connected; to `address` if it is given.

    Raises:
        StoreAway, OSError, TimeoutError: it did not work; the message says why.
    """
    loop = asyncio.get_running_loop()
    context = options.ssl_context.get() if hasattr(options, "ssl_context") else None
    if hasattr(options, "path"):
        host, where = options.path, [(socket.AF_UNIX, socket.SOCK_STREAM, 0, "", options.path)]
    else:
        host, port = address or (options.host, int(options.port))
        where = await names.addresses(host, port)
    sock = await _connected(where, options)
    wire = None
    try:
        async with asyncio.timeout(TIMEOUT_SECONDS * (3 if context else 1)):
            _, wire = await loop.create_connection(Wire, sock=sock, ssl=context, server_hostname=host if context else None)
            wire.address = (host, 0) if hasattr(options, "path") else (host, port)
            await _log_in(wire, options)
    except BaseException as error:
        if wire is not None:
            wire.fail(str(error))
        else:
            sock.close()
        if isinstance(error, TimeoutError):
            raise StoreAway(f"{host} accepts connections and does not answer") from None
        raise
    return wire


async def _connected(where: list[Any], options: Any) -> socket.socket:
    for number, (family, kind, protocol, _, at) in enumerate(where):
        sock = socket.socket(family, kind, protocol)
        sock.setblocking(False)
        if family != socket.AF_UNIX:
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, bool(options.socket_keepalive))
        try:
            async with asyncio.timeout(TIMEOUT_SECONDS / len(where)):
                await asyncio.get_running_loop().sock_connect(sock, at)
        except BaseException as error:
            sock.close()
            if number == len(where) - 1 or not isinstance(error, OSError):
                if isinstance(error, TimeoutError):
                    raise StoreAway(f"{at[0]}:{at[1]} does not accept a connection") from None
                raise
        else:
            return sock
    raise OSError("the name has no address")


async def _log_in(wire: Wire, options: Any) -> None:
    encode = options.encoder.encode
    if options.username:
        try:
            await wire.ask(b"AUTH", encode(options.username), encode(options.password or ""))
        except StoreAway as refused:
            # Redis before version 6 knows no users.
            if "wrong number of arguments" not in str(refused):
                raise
            await wire.ask(b"AUTH", encode(options.password or ""))
    elif options.password:
        await wire.ask(b"AUTH", encode(options.password))
    if options.client_name:
        await wire.ask(b"CLIENT", b"SETNAME", encode(options.client_name))
    if options.db:
        await wire.ask(b"SELECT", encode(options.db))
    try:
        # A process that hangs accepts connections, and one that loads its data answers nothing else either.
        await wire.ask(b"PING")
    except StoreAway as refused:
        if "NOPERM" not in str(refused):
            raise


async def role(wire: Wire) -> str:
    """`master` or `replica`, as the server sees itself; raises StoreAway."""
    try:
        # Whoever may log in may ask this; ROLE needs a right of its own.
        said = await wire.ask(b"HELLO", b"2")
    except StoreAway:
        if not wire.usable:
            raise
        # Before version 6.
        return "master" if (await wire.ask(b"ROLE"))[0] == b"master" else "replica"
    return str(dict(zip(said[::2], said[1::2], strict=True))[b"role"].decode())
