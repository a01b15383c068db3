"""Where Redis is and how to log in: Feast's connection string, as redis-py understands its options.

redis-py's clients are only asked for what they were told. None of them ever connects.
"""

from typing import Any

import redis.asyncio
from feast.infra.online_stores.redis import RedisOnlineStore, RedisOnlineStoreConfig
from redis.asyncio.cluster import ClusterNode

from feature_runtime.online_store.wire import Names, Wire, open_wire

Address = tuple[str, int]


def addresses_and_options(config: RedisOnlineStoreConfig) -> tuple[list[Address], dict[str, Any]]:
    """The hosts with their ports, and what redis-py is to be told beside them."""
    nodes, options = RedisOnlineStore._parse_connection_string(config.connection_string)  # noqa: SLF001  Feast has no public way
    return [(node["host"], int(node["port"])) for node in nodes], options


class Single:
    """One Redis."""

    def __init__(self, config: RedisOnlineStoreConfig, names: Names) -> None:
        ((host, port), *_), options = addresses_and_options(config)
        self._pool = redis.asyncio.Redis(host=host, port=port, **options).connection_pool
        self._names = names

    async def connect(self) -> Wire:
        """Open a connection; raises StoreAway, OSError."""
        return await open_wire(self._names, self._pool.make_connection())


class Nodes:
    """The nodes of a Redis Cluster, all with the same login; `seeds` are those that Feast was told of."""

    def __init__(self, config: RedisOnlineStoreConfig, names: Names) -> None:
        self.seeds, options = addresses_and_options(config)
        cluster = redis.asyncio.RedisCluster(startup_nodes=[ClusterNode(*seed) for seed in self.seeds], **options)
        self._options = {
            key: value for key, value in cluster.get_connection_kwargs().items() if key not in {"max_connections", "response_callbacks"}
        }
        self._class = self._options.pop("connection_class")
        self._names = names

    async def connect(self, node: Address) -> Wire:
        """Open a connection to a node; raises StoreAway, OSError."""
        return await open_wire(self._names, self._class(host=node[0], port=node[1], **self._options))
