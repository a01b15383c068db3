"""Reads from Redis: all requests share one connection, and Redis answers them in order (pipelining).

A store that is away fails at once (StoreAway); while requests wait for an answer, a second without a byte counts as
away. Connecting is tried again without end, so the first answer comes as soon as there can be one. Requests whose
replies are known to be large take turns on a second connection, in pieces: nobody else waits behind them.
"""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

from feature_runtime.online_store.sentinels import Sentinels
from feature_runtime.online_store.wire import MOST_BYTES, TICK_SECONDS, TIMEOUT_SECONDS, Done, Replies, StoreAway, Wire
from feature_runtime.serving.question import Read
from feature_runtime.serving.refused import Refused, problem

__all__ = ["Link", "OnlineStore", "SentinelStore", "StoreAway"]

Reads = Sequence[tuple[Read, list[bytes]]]

PAUSES = (0, 0.05, 0.1, 0.2, 0.5)
"""Seconds before the tries to connect; the last one repeats."""
IDLE_SECONDS = 1.0
LIGHT_BYTES = 1 << 20
"""Replies beyond this go over the second connection."""
MANY_ROWS = 1_000
"""Whose rows are so small that this many are light, is not kept in mind."""
PIECE_BYTES = 1 << 20
MOST_HEAVY = 64
"""Requests that may wait for their turn on the second connection."""
MOST_REMEMBERED = 1_000
CHECK_SECONDS = 3.0
"""Between two questions to the Sentinels, while the connection to the master is well."""
NO_VALUE = b"\xff"
"""Bytes of no type at all: what is read where a key is something else than Feast's hash."""


class Link:
    """A connection that stays: `connect` is called again and again until there is one, and when it is lost."""

    def __init__(self, connect: Callable[[], Awaitable[Wire]]) -> None:
        self._connect = connect
        self._task: asyncio.Task[None] | None = None
        self._came = asyncio.Event()
        self.wire: Wire | None = None
        self.reason = "not connected yet"

    @property
    def up(self) -> bool:
        """Whether requests are being answered, as far as is known."""
        return self.wire is not None and self.wire.usable

    def start(self) -> None:
        """Connect, and stay connected."""
        if self._task is None:
            self._task = asyncio.get_running_loop().create_task(self._stay())

    async def came(self) -> None:
        """Until it is up, for a while; raises StoreAway."""
        self.start()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(3 * TIMEOUT_SECONDS):
                await self._came.wait()
                return
        raise StoreAway(f"the online store is away: {self.reason}")

    async def stop(self) -> None:
        """Close the connection."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        if self.wire is not None:
            self.wire.fail("stopped")

    def send(self, commands: bytes, count: int, done: Done) -> None:
        """Send `count` commands; `done` gets their replies, or at once StoreAway."""
        wire = self.wire
        if wire is None or not wire.usable:
            done(StoreAway(f"the online store is away: {self.reason}"), 0)
        elif wire.crowded:
            done(StoreAway("too many requests wait for the online store"), 0)
        else:
            wire.send(commands, count, done)

    async def replies(self, commands: bytes, count: int) -> Replies:
        """The replies to `count` commands; raises StoreAway."""
        replies, _ = await _replies(lambda done: self.send(commands, count, done))
        return replies

    async def ask(self, *words: bytes) -> Any:
        """The reply to one command; raises StoreAway."""
        if self.wire is None or not self.wire.usable:
            raise StoreAway(f"the online store is away: {self.reason}")
        return await self.wire.ask(*words)

    def tick(self) -> None:
        """Find the store that accepts and never answers, also while nobody asks."""
        if self.wire is not None and self.wire.usable:
            self.wire.tick()

    async def _stay(self) -> None:
        tries, loop = 0, asyncio.get_running_loop()
        while True:
            await asyncio.sleep(PAUSES[min(tries, len(PAUSES) - 1)])
            try:
                self.wire = wire = await self._connect()
            except Exception as error:  # noqa: BLE001  whatever it is, the next try may do better
                tries += 1
                self.reason = str(error) or type(error).__name__
                continue
            connected = loop.time()
            self._came.set()
            self.reason = await wire.lost
            self._came.clear()
            self.wire = None
            # At once, unless it goes like this again and again.
            tries = 0 if loop.time() - connected > IDLE_SECONDS else tries + 1


class OnlineStore:
    """One Redis; `connect` opens a connection to it."""

    def __init__(self, connect: Callable[[], Awaitable[Wire]]) -> None:
        self._link = Link(connect)
        self._heavy_link = Link(connect)
        self._row_bytes: dict[bytes, float] = {}
        self._heavy = asyncio.Lock()
        self._heavy_waiting = 0
        self._tasks: set[asyncio.Task[None]] = set()

    @property
    def up(self) -> bool:
        """Whether requests are being answered, as far as is known."""
        return self._link.up

    def links(self) -> list[Link]:
        """All connections."""
        return [self._link, self._heavy_link]

    def start(self) -> None:
        """Connect, and stay connected."""
        self._link.start()
        self._run(self._watch())

    async def stop(self) -> None:
        """Close the connections."""
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await asyncio.gather(*(link.stop() for link in self.links()))

    def read(self, reads: Reads, done: Callable[[Any], None]) -> None:
        """One HMGET per key; `done` gets, per read, the replies of its keys in order, or StoreAway, or Refused. May call at once."""
        if self._row_bytes and self._expected_bytes(reads) > LIGHT_BYTES:
            self._run(self._read_in_turn(reads, done))
            return

        def answered(replies: Replies | StoreAway, received: int) -> None:
            if isinstance(replies, StoreAway):
                done(replies)
            elif received > MOST_BYTES:
                self._remember(reads, [received / len(replies)] * len(reads))
                done(_too_large(len(replies)))
            else:
                outcome = self.by_read(reads, replies)
                if received and isinstance(outcome, list):
                    self._remember(reads, [_bytes_of(rows) / max(1, len(rows)) for rows in outcome])
                done(outcome)

        self._send(reads, answered)

    async def command(self, *words: bytes) -> Any:
        """The reply to one command; raises StoreAway."""
        return await self._link.ask(*words)

    def by_read(self, reads: Reads, replies: Replies) -> list[Replies] | StoreAway:
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

    def _send(self, reads: Reads, done: Done, *, heavy: bool = False) -> None:
        commands: list[bytes] = []
        for read, keys in reads:
            head, tail = read.head, read.tail
            commands += [b"%b%d\r\n%b%b" % (head, len(key), key, tail) for key in keys]
        if commands:
            (self._heavy_link if heavy else self._link).send(b"".join(commands), len(commands), done)
        else:
            done([], 0)

    async def _ready_for_heavy(self) -> None:
        if not self.up:
            # Whoever waits in line behind this one has to hear of it too.
            raise StoreAway(f"the online store is away: {self._link.reason}")
        await self._heavy_link.came()

    def _distrust(self, reason: str) -> None:
        """Connect anew: the server is loading, or no longer the master; Sentinels may know another one."""
        if not reason.startswith("NOPERM"):
            for link in self.links():
                if link.wire is not None:
                    asyncio.get_running_loop().call_soon(link.wire.fail, reason)

    # Large replies

    def _expected_bytes(self, reads: Reads) -> float:
        known = self._row_bytes
        return sum(known.get(read.tail, 0) * len(keys) for read, keys in reads)

    def _remember(self, reads: Reads, row_bytes: Sequence[float]) -> None:
        known = self._row_bytes
        if len(known) > MOST_REMEMBERED:
            known.clear()
        for (read, keys), size in zip(reads, row_bytes, strict=True):
            if size * MANY_ROWS > LIGHT_BYTES:
                known[read.tail] = size
            elif keys:
                known.pop(read.tail, None)

    async def _read_in_turn(self, reads: Reads, done: Callable[[Any], None]) -> None:
        """One request after the other, each in pieces: Redis, the network and the memory of this process hold one at a time."""
        if self._heavy_waiting >= MOST_HEAVY:
            done(StoreAway("too many large requests wait for the online store"))
            return
        self._heavy_waiting += 1
        try:
            async with self._heavy:
                outcome: list[Replies] | Exception = await self._read_in_pieces(reads)
        except asyncio.CancelledError:
            done(StoreAway("stopped"))
            raise
        except Exception as error:  # noqa: BLE001  the one who asked must hear of it
            outcome = error
        finally:
            self._heavy_waiting -= 1
        done(outcome)

    async def _read_in_pieces(self, reads: Reads) -> list[Replies] | Refused:
        await self._ready_for_heavy()
        found: list[Replies] = []
        total = 0
        for read, keys in reads:
            rows: Replies = []
            before = total
            size = max(1, int(PIECE_BYTES / max(1.0, self._row_bytes.get(read.tail, 0))))
            for start in range(0, len(keys), size):
                piece = [(read, keys[start : start + size])]
                replies, received = await _replies(lambda done, piece=piece: self._send(piece, done, heavy=True))  # type: ignore[misc]
                if received > MOST_BYTES:
                    # Its rows are larger than those seen before.
                    self._remember(piece, [received / len(replies)])
                    return _too_large(sum(len(keys) for _, keys in reads))
                outcome = self.by_read(piece, replies)
                if isinstance(outcome, StoreAway):
                    raise outcome
                rows += outcome[0]
                total += _bytes_of(outcome[0])
                if total > MOST_BYTES:
                    self._remember([(read, keys)], [(total - before) / len(rows)])
                    return _too_large(sum(len(keys) for _, keys in reads))
            self._remember([(read, keys)], [(total - before) / max(1, len(rows))])
            found.append(rows)
        return found

    # What goes on all the time

    def _run(self, work: Any) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _watch(self) -> None:
        while True:
            await asyncio.sleep(TICK_SECONDS)
            for link in self.links():
                link.tick()


class SentinelStore(OnlineStore):
    """The master that Sentinels name. It is asked for again all the time: one that was cut off would serve what it had."""

    def __init__(self, sentinels: Sentinels) -> None:
        super().__init__(sentinels.connect)
        self._sentinels = sentinels

    def start(self) -> None:
        """Connect, and stay connected to whoever is the master."""
        super().start()
        self._run(self._follow())

    async def _follow(self) -> None:
        while True:
            await asyncio.sleep(CHECK_SECONDS)
            if not self.up:
                continue
            try:
                named = await self._sentinels.master()
            except StoreAway:
                continue
            if named.epoch <= self._sentinels.epoch:
                continue
            for link in self.links():
                if link.wire is not None and link.wire.address != (named.host, named.port):
                    link.wire.fail(f"the Sentinels name {named.host}:{named.port} as the master")


async def _replies(send: Callable[[Done], None]) -> tuple[Replies, int]:
    future: asyncio.Future[tuple[Replies | StoreAway, int]] = asyncio.get_running_loop().create_future()
    send(lambda *answer: None if future.done() else future.set_result(answer))
    replies, received = await future
    if isinstance(replies, StoreAway):
        raise replies
    return replies, received


def _bytes_of(rows: Sequence[Sequence[bytes | None]]) -> int:
    return sum(len(value) for row in rows for value in row if value)


def _too_large(rows: int) -> Refused:
    rule = f"the stored values of {rows} rows are more than {MOST_BYTES >> 20} MiB, the most that one answer is made of"
    return Refused(413, [problem("entities", None, rule, "Ask for fewer entities, or fewer features, in one request.")])
