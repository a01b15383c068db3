"""Reads from Redis Cluster, as from a single Redis; redis-py knows which node has which key."""

import asyncio
import contextlib
from collections.abc import Callable, Sequence
from typing import Any

from redis.asyncio import RedisCluster

from feature_runtime.serving.online_store import IDLE_SECONDS, PAUSES, TIMEOUT_SECONDS, Done, OnlineStore, StoreAway
from feature_runtime.serving.question import Read


class ClusterStore(OnlineStore):
    """A Redis Cluster; `make_client` gives redis-py's client of it."""

    def __init__(self, make_client: Callable[[], RedisCluster]) -> None:
        super().__init__(make_client)
        self._client: Any = None
        self._answering = False
        self._running: set[asyncio.Task[None]] = set()

    @property
    def up(self) -> bool:
        """Whether requests are being answered, as far as is known."""
        return self._answering

    async def stop(self) -> None:
        """Close all connections."""
        await super().stop()
        if self._client is not None:
            await self._client.aclose()

    def read(self, reads: Sequence[tuple[Read, list[bytes]]], done: Done) -> None:
        """One HMGET per key, each at its node; as the single server's."""
        task = asyncio.get_running_loop().create_task(self._read(reads, done))
        self._running.add(task)
        task.add_done_callback(self._running.discard)

    async def command(self, *words: bytes) -> Any:
        """The reply to one command; raises StoreAway."""
        name, *arguments = words
        return await self._ask(lambda client: client.execute_command(name.decode(), *arguments))

    async def _read(self, reads: Sequence[tuple[Read, list[bytes]]], done: Done) -> None:
        def ask(client: Any) -> Any:
            pipeline = client.pipeline()
            for read, keys in reads:
                for key in keys:
                    pipeline.execute_command("HMGET", key, *read.fields)
            return pipeline.execute(raise_on_error=False)

        try:
            replies = await self._ask(ask) if any(keys for _, keys in reads) else []
        except StoreAway as away:
            done(away)
        else:
            done(self.by_read(reads, replies))

    async def _ask(self, ask: Callable[[Any], Any]) -> Any:
        if self._client is None:
            raise StoreAway("the online store is away: not connected yet")
        try:
            async with asyncio.timeout(TIMEOUT_SECONDS):
                reply = await ask(self._client)
        except Exception as error:
            self._answering = False
            raise StoreAway(f"the online store is away: {error or type(error).__name__}") from error
        self._answering = True
        return reply

    async def _stay_connected(self) -> None:
        while True:
            self._client = self._client or self._make_client()
            with contextlib.suppress(StoreAway):
                await self._ask(lambda client: client.ping())
            await asyncio.sleep(IDLE_SECONDS if self._answering else PAUSES[-1])

    async def _watch(self) -> None:
        return
