"""Reads from Redis: all requests share one connection, and Redis answers them in order (pipelining).

redis-py connects (TLS, users, Sentinel discovery); what is then sent and received is Redis's protocol,
parsed by hiredis. A store that is away fails at once (StoreAway); while requests wait for an answer, longer than the
timeout counts as away. Connecting is tried again without end, so the first answer comes as soon as there can be one.
"""

import asyncio
import contextlib
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any

import hiredis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

from feature_runtime.serving.question import Read

Replies = list[Any]
Done = Callable[["list[Replies] | StoreAway"], None]

PAUSES = (0, 0.05, 0.1, 0.2, 0.5)
"""Seconds before the tries to connect; the last one repeats."""
TIMEOUT_SECONDS = 1.0
TICK_SECONDS = 0.1
IDLE_SECONDS = 1.0
PING = b"*1\r\n$4\r\nPING\r\n"
NO_VALUE = b"\xff"
"""Bytes of no type at all: what is read where a key is something else than Feast's hash."""
_INCOMPLETE = object()


class StoreAway(Exception):
    """Redis does not answer, or not as it should; asking again later helps."""


class _Waiting:
    __slots__ = ("count", "done", "replies", "since")

    def __init__(self, count: int, done: Callable[[Replies | StoreAway], None], since: float) -> None:
        self.count = count
        self.done = done
        self.since = since
        self.replies: Replies = []


class _Pipeline(asyncio.Protocol):
    """One connection after the handshake: bytes out, as many replies in."""

    def __init__(self, streams: Any, closed: "asyncio.Future[str]") -> None:
        self._transport = streams.transport
        # Whoever drops the streams closes their connection.
        self._streams = streams
        self._closed = closed
        self._parser = hiredis.Reader(notEnoughData=_INCOMPLETE)
        self.waiting: deque[_Waiting] = deque()
        self.usable = True

    def send(self, commands: bytes, waiting: _Waiting) -> None:
        self.waiting.append(waiting)
        self._transport.write(commands)

    def data_received(self, data: bytes) -> None:
        parser, waiting = self._parser, self.waiting
        try:
            parser.feed(data)
            while (reply := parser.gets()) is not _INCOMPLETE:
                first = waiting[0]
                first.replies.append(reply)
                if len(first.replies) == first.count:
                    waiting.popleft()
                    first.done(first.replies)
        except (hiredis.ProtocolError, IndexError) as error:
            self.fail(f"Redis answered what was not asked ({error})")

    def connection_lost(self, exc: Exception | None) -> None:
        self.fail(f"the connection to Redis is lost ({exc or 'closed'})")

    def fail(self, reason: str) -> None:
        """Close, and tell everybody who waits."""
        self.usable = False
        if not self._closed.done():
            self._closed.set_result(reason)
        self._transport.abort()
        while self.waiting:
            self.waiting.popleft().done(StoreAway(reason))


class OnlineStore:
    """Redis, alone or behind Sentinels. `make_client` gives redis-py's client of it, with nothing connected yet."""

    def __init__(self, make_client: Callable[[], Any]) -> None:
        self._make_client = make_client
        self._pipeline: _Pipeline | None = None
        self._reason = "not connected yet"
        self._tasks: list[asyncio.Task[None]] = []
        self._now = 0.0

    @property
    def up(self) -> bool:
        """Whether requests are being answered, as far as is known."""
        return self._pipeline is not None and self._pipeline.usable

    def start(self) -> None:
        """Connect, and stay connected."""
        loop = asyncio.get_running_loop()
        self._now = loop.time()
        self._tasks = [loop.create_task(self._stay_connected()), loop.create_task(self._watch())]

    async def stop(self) -> None:
        """Close the connection."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        if self._pipeline is not None:
            self._pipeline.fail("stopped")

    def read(self, reads: Sequence[tuple[Read, list[bytes]]], done: Done) -> None:
        """One HMGET per key; `done` gets, per read, the replies of its keys in order, or StoreAway. May call at once."""
        count = sum(len(keys) for _, keys in reads)
        if not count:
            done([[] for _ in reads])
            return
        parts: list[bytes] = []
        for read, keys in reads:
            head, tail = read.head, read.tail
            for key in keys:
                parts += (head, b"%d\r\n" % len(key), key, tail)

        def answered(replies: Replies | StoreAway) -> None:
            done(replies if isinstance(replies, StoreAway) else self.by_read(reads, replies))

        self._send(b"".join(parts), count, answered)

    def by_read(self, reads: Sequence[tuple[Read, list[bytes]]], replies: Replies) -> "list[Replies] | StoreAway":
        """The replies to all keys of all reads, read by read; StoreAway when Redis would not read one."""
        split, start = [], 0
        for read, keys in reads:
            rows = replies[start : start + len(keys)] if len(reads) > 1 else replies
            start += len(keys)
            for position, reply in enumerate(rows):
                if type(reply) is not list:
                    if not str(reply).startswith("WRONGTYPE"):
                        self._distrust(str(reply))
                        return StoreAway(f"Redis refuses to read: {reply}")
                    rows[position] = [NO_VALUE] * len(read.fields)
            split.append(rows)
        return split

    def _distrust(self, reason: str) -> None:
        """Connect anew: the server is loading, or no longer the master; Sentinels may know another one."""
        if self._pipeline is not None and not reason.startswith("NOPERM"):
            asyncio.get_running_loop().call_soon(self._pipeline.fail, reason)

    async def command(self, *words: bytes) -> Any:
        """The reply to one command; raises StoreAway."""
        future = asyncio.get_running_loop().create_future()

        def answered(replies: Replies | StoreAway) -> None:
            if future.done():
                return
            if isinstance(replies, StoreAway):
                future.set_exception(replies)
            elif isinstance(replies[0], hiredis.ReplyError):
                future.set_exception(StoreAway(f"Redis refuses {words[0].decode()}: {replies[0]}"))
            else:
                future.set_result(replies[0])

        self._send(b"*%d\r\n" % len(words) + b"".join(b"$%d\r\n%b\r\n" % (len(word), word) for word in words), 1, answered)
        return await future

    def _send(self, commands: bytes, count: int, done: Callable[[Replies | StoreAway], None]) -> None:
        pipeline = self._pipeline
        if pipeline is None or not pipeline.usable:
            done(StoreAway(f"the online store is away: {self._reason}"))
        else:
            pipeline.send(commands, _Waiting(count, done, self._now))

    async def _stay_connected(self) -> None:
        tries = 0
        client = None
        while True:
            await asyncio.sleep(PAUSES[min(tries, len(PAUSES) - 1)])
            closed = asyncio.get_running_loop().create_future()
            try:
                client = client or self._make_client()
                async with asyncio.timeout(3 * TIMEOUT_SECONDS):
                    self._pipeline = await _connect(client, closed)
            except Exception as error:  # noqa: BLE001  whatever it is, the next try may do better
                tries += 1
                self._reason = str(error) or type(error).__name__
                continue
            connected = self._now
            self._reason = await closed
            self._pipeline = None
            # At once, unless it goes like this again and again.
            tries = 0 if self._now - connected > IDLE_SECONDS else tries + 1

    async def _watch(self) -> None:
        """Find the store that accepts and never answers, also while nobody asks."""
        loop = asyncio.get_running_loop()
        pinged = 0.0
        while True:
            await asyncio.sleep(TICK_SECONDS)
            late = loop.time() - self._now > 3 * TICK_SECONDS
            self._now = now = loop.time()
            pipeline = self._pipeline
            if pipeline is None or not pipeline.usable or late:
                # Late: it was this process that did nothing, and the answers may be there.
                continue
            if pipeline.waiting:
                if now - pipeline.waiting[0].since > TIMEOUT_SECONDS:
                    pipeline.fail(f"Redis did not answer within {TIMEOUT_SECONDS:g} s")
            elif now - pinged > IDLE_SECONDS:
                pinged = now
                self._send(PING, 1, lambda _: None)


async def _connect(client: Any, closed: "asyncio.Future[str]") -> _Pipeline:
    """A connection that redis-py has opened and logged in, from here on read by ours."""
    connection = client.connection_pool.make_connection()
    # Its own retries would wait for seconds between tries.
    connection.retry = Retry(NoBackoff(), 0)
    try:
        await connection.connect()
        streams = connection._writer  # noqa: SLF001  redis-py has no other way to its socket
    except BaseException:
        with contextlib.suppress(Exception):
            await connection.disconnect(nowait=True)
        raise
    pipeline = _Pipeline(streams, closed)
    streams.transport.set_protocol(pipeline)
    connection._reader = connection._writer = None  # noqa: SLF001  it must not close what it no longer owns
    return pipeline
