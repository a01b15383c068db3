"""Which Redis is the master, as its Sentinels say: all are asked side by side, and the latest election counts.

For the feature server in asyncio, and for Feast's client in its own way. redis-py asks one Sentinel after the other, each
with retries that take seconds; those of a dead node come first as often as any.
"""

import asyncio
from collections import Counter
from collections.abc import Coroutine, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, TypeVar

import redis.asyncio
import redis.sentinel
from feast.infra.online_stores.redis import RedisOnlineStore, RedisOnlineStoreConfig, RedisType

from feature_runtime.online_store.addresses import addresses_and_options
from feature_runtime.online_store.wire import TIMEOUT_SECONDS, Names, StoreAway, Wire, open_wire, role

GRACE_SECONDS = 0.2
"""For the others, once a majority has answered."""

Given = TypeVar("Given")


@dataclass(frozen=True)
class Opinion:
    """What a Sentinel says: the master, and in which election it became that."""

    epoch: int
    host: str
    port: int


class Sentinels:
    """The Sentinels of a master, as Feast's connection string names them. Raises StoreAway where the master is not found."""

    def __init__(self, config: RedisOnlineStoreConfig, names: Names) -> None:
        hosts, options = addresses_and_options(config)
        self._hosts = hosts
        self._client = redis.asyncio.Sentinel(hosts, **options).master_for(config.sentinel_master)
        self._sentinels = self._client.connection_pool.sentinel_manager.sentinels
        self._least_others = int(options.get("min_other_sentinels", 0))
        self._force_host = options.get("force_master_ip")
        self._set = config.sentinel_master
        self._names = names
        self.epoch = -1
        """The election of the master that was connected to last."""

    async def master(self) -> Opinion:
        """The master of the latest election that a Sentinel who answers knows of."""
        asked = [asyncio.create_task(self._ask(sentinel)) for sentinel in self._sentinels]
        try:
            await _most_of(asked)
        finally:
            for task in asked:
                task.cancel()
            answers = await asyncio.gather(*asked, return_exceptions=True)
        said = [answer for answer in answers if isinstance(answer, Opinion)]
        if not said:
            reasons = (f"{host}:{port} {_reason(answer)}" for (host, port), answer in zip(self._hosts, answers, strict=True))
            raise StoreAway(f"no Sentinel names a master of {self._set!r}: {'; '.join(reasons)}")
        votes = Counter(said)
        latest = max(votes, key=lambda opinion: (opinion.epoch, votes[opinion]))
        if latest.epoch < self.epoch and 2 * len(said) <= len(asked):
            raise StoreAway(f"the Sentinels that answer have missed the latest election of {self._set!r}")
        return latest

    async def connect(self) -> Wire:
        """A connection to the master, which says itself that it is."""
        named = await self.master()
        wire = await open_wire(self._names, self._client.connection_pool.make_connection(), (named.host, named.port))
        try:
            async with asyncio.timeout(TIMEOUT_SECONDS):
                said = await role(wire)
        except BaseException as error:
            wire.fail(str(error))
            raise
        if said != "master":
            wire.fail(said)
            raise StoreAway(f"the Sentinels name {named.host}:{named.port} as the master, which says that it is a {said}")
        self.epoch = named.epoch
        return wire

    async def _ask(self, sentinel: Any) -> Opinion | str:
        """What it says, or why that does not help."""
        wire = await open_wire(self._names, sentinel.connection_pool.make_connection())
        try:
            masters = await wire.ask(b"SENTINEL", b"MASTERS")
        finally:
            wire.fail("asked")
        states = ({key.decode(): value.decode() for key, value in zip(one[::2], one[1::2], strict=True)} for one in masters)
        state = next((state for state in states if state["name"] == self._set), None)
        if state is None:
            return "knows none"
        if {"s_down", "o_down"} & set(state["flags"].split(",")):
            return f"holds {state['ip']}:{state['port']} for down"
        if int(state["num-other-sentinels"]) < self._least_others:
            return "sees too few others"
        return Opinion(int(state["config-epoch"]), self._force_host or state["ip"], int(state["port"]))


async def _most_of(asked: Sequence["asyncio.Task[Opinion | str]"]) -> None:
    """Until all are done; at most the timeout, and a moment after a majority has answered."""
    loop = asyncio.get_running_loop()
    deadline = loop.time() + TIMEOUT_SECONDS
    pending: set[asyncio.Task[Opinion | str]] = set(asked)
    while pending and (left := deadline - loop.time()) > 0:
        _, pending = await asyncio.wait(pending, timeout=left, return_when=asyncio.FIRST_COMPLETED)
        if 2 * sum(task.done() and not task.cancelled() and not task.exception() for task in asked) > len(asked):
            deadline = min(deadline, loop.time() + GRACE_SECONDS)


def _reason(answer: Opinion | str | BaseException) -> str:
    return "does not answer" if isinstance(answer, asyncio.CancelledError) else str(answer) or type(answer).__name__


class _SentinelsOfRedisPy(redis.sentinel.Sentinel):
    """redis-py's Sentinels, asked in our way."""

    def __init__(self, config: RedisOnlineStoreConfig) -> None:
        hosts, options = addresses_and_options(config)
        super().__init__(hosts, **options)
        self._config = config

    def discover_master(self, service_name: str) -> tuple[str, int]:
        """The master, which says itself that it is."""

        async def find() -> tuple[str, int]:
            wire = await Sentinels(self._config, Names()).connect()
            wire.fail("found")
            return wire.address

        try:
            return _run_apart(find())
        except (StoreAway, OSError) as error:
            raise redis.sentinel.MasterNotFoundError(f"No master found for {service_name!r}: {error}") from None


def _run_apart(coroutine: Coroutine[Any, Any, Given]) -> Given:
    """In a thread: the caller may be within an event loop."""
    with ThreadPoolExecutor(1) as thread:
        return thread.submit(asyncio.run, coroutine).result()


def client_of(store: RedisOnlineStore, config: RedisOnlineStoreConfig) -> Any:
    """Feast's client of its online store, a redis-py Redis or RedisCluster; behind Sentinels one that asks all of them."""
    if store._client is None and config.redis_type == RedisType.redis_sentinel:  # noqa: SLF001  Feast has no public way to it
        store._client = _SentinelsOfRedisPy(config).master_for(config.sentinel_master)  # noqa: SLF001
    return RedisOnlineStore._get_client(store, config)  # noqa: SLF001
