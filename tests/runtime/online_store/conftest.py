"""A feature view of one's own over any columns, written by stock Feast and by ours into two databases of one Redis."""

from collections.abc import Callable
from datetime import timedelta

import pyarrow as pa
import pytest
import redis
from feast import Entity, FeatureView, Field, FileSource
from feast.infra.online_stores.redis import RedisOnlineStore
from feast.repo_config import RepoConfig
from feast.types import Int64
from feast.utils import _convert_arrow_to_proto

from feature_runtime.online_store import PipelinedRedisOnlineStore

PROJECT = "two_words"
OURS = "feature_runtime.online_store.PipelinedRedisOnlineStore"


class TwoStores:
    """Stock Feast's store on one database of a Redis, ours on another."""

    def __init__(self, port: int, password: str) -> None:
        self.port = port
        self.password = password
        self.stock, self.ours = RedisOnlineStore(), PipelinedRedisOnlineStore()
        self.stock_redis, self.ours_redis = (redis.Redis(port=port, password=password, db=db) for db in (7, 8))

    def config(self, *, ours: bool, **online_store: object) -> RepoConfig:
        connection = f"127.0.0.1:{self.port},password={self.password},db={8 if ours else 7}"
        return RepoConfig(
            project=PROJECT,
            provider="local",
            registry="unused.db",
            online_store={"type": OURS if ours else "redis", "connection_string": connection, **online_store},
            entity_key_serialization_version=3,
        )

    def clear(self) -> None:
        self.stock_redis.flushdb()
        self.ours_redis.flushdb()

    @staticmethod
    def dump(client: redis.Redis) -> dict[bytes, tuple[dict[bytes, bytes], bool]]:
        """Every key with all that is in it, and whether it fades."""
        keys = sorted(client.scan_iter(count=1000))
        with client.pipeline(transaction=False) as pipe:
            for key in keys:
                pipe.hgetall(key)
                pipe.ttl(key)
            found = pipe.execute()
        return {key: (found[2 * i], found[2 * i + 1] > 0) for i, key in enumerate(keys)}

    def stock_rows(self, view: FeatureView, batch: pa.RecordBatch) -> list:
        types = {column.name: column.dtype.to_value_type() for column in view.entity_columns}
        return _convert_arrow_to_proto(batch, view, types)


@pytest.fixture
def two(redis_port: int, acl_secrets: dict[str, str]) -> TwoStores:
    stores = TwoStores(redis_port, acl_secrets["default"])
    stores.clear()
    yield stores
    stores.clear()


@pytest.fixture(scope="session")
def make_view() -> Callable[..., FeatureView]:
    def make(features: dict[str, object], keys: dict[str, object] | None = None, name: str = "things", **options) -> FeatureView:
        keys = {"thing": Int64} if keys is None else keys
        entities = [Entity(name=f"entity_{key}", join_keys=[key], value_type=kind.to_value_type()) for key, kind in keys.items()]
        return FeatureView(
            name=name,
            entities=entities,
            ttl=timedelta(days=1),
            schema=[Field(name=n, dtype=t) for n, t in {**keys, **features}.items()],
            source=FileSource(name=f"{name}_source", path="nowhere.parquet", timestamp_field="at"),
            **options,
        )

    return make
