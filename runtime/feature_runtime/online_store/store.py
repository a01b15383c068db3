"""Feast's Redis online store, written to by the batch: the same bytes in Redis, many times faster.

Everything that it does not write in bulk, it inherits. In `feature_store.yaml` it is
`online_store: {type: feature_runtime.online_store.PipelinedRedisOnlineStore}` with the keys of Feast's `redis`.
"""

from collections.abc import Callable, Iterator, Sequence
from datetime import datetime
from enum import Enum
from itertools import groupby, islice
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from feast import FeatureView, Field, RepoConfig, utils
from feast.infra.online_stores.redis import RedisOnlineStore, RedisOnlineStoreConfig, _redis_key, _versioned_fv_name
from feast.protos.feast.types.EntityKey_pb2 import EntityKey
from feast.protos.feast.types.Value_pb2 import Value
from google.protobuf.timestamp_pb2 import Timestamp
from redis.cluster import RedisCluster

from feature_runtime.online_store.binaries import content
from feature_runtime.online_store.commands import Rows, reading_moments, setting, writing
from feature_runtime.online_store.encoding import serialized, serialized_moments
from feature_runtime.online_store.keys import key_types, redis_keys
from feature_runtime.online_store.load_records import Claim
from feature_runtime.online_store.pipeline import Pipeline, pipeline
from feature_runtime.online_store.sentinels import client_of
from feature_runtime.retrying import first_line

PIECE_ROWS = 8192
PIECE_BYTES = 4 << 20
"""A piece is encoded and sent at once: at most so many rows, and fewer when they are large."""

SENT_BYTES = 1 << 20
"""What one send may hold: within a short socket timeout even over a slow network."""

Piece = tuple[Rows, npt.NDArray[np.int64]]
"""Rows, and their moments in microseconds since 1970."""

FeastRow = tuple[EntityKey, dict[str, Value], datetime, datetime | None]


class Keep(Enum):
    """Which stored rows a write leaves as they are."""

    NOTHING = "nothing"
    NEWER = "newer"
    NEWER_OR_EQUAL = "newer or equal"
    """As Feast does by itself."""


class PipelinedRedisOnlineStoreConfig(RedisOnlineStoreConfig):
    """The keys of Feast's `redis` store; only the type's name is another."""

    type: Literal["feature_runtime.online_store.PipelinedRedisOnlineStore"] = "feature_runtime.online_store.PipelinedRedisOnlineStore"


class PipelinedRedisOnlineStore(RedisOnlineStore):
    """Feast's Redis store with writes in bulk. Byte for byte Redis holds what Feast's own store would have written."""

    def online_write_batch(
        self,
        config: RepoConfig,
        table: FeatureView,
        data: list[FeastRow],
        progress: Callable[[int], Any] | None,
    ) -> None:
        """Write rows of Feast's; a row that is not newer than the stored one is left out, unless `skip_dedup`."""
        keep = Keep.NOTHING if config.online_store.skip_dedup else Keep.NEWER_OR_EQUAL
        self._write(config, _pieces_of_feast_rows(config, table, data), keep)
        if progress:
            progress(len(data))

    def write_arrow(
        self,
        config: RepoConfig,
        view: FeatureView,
        batch: pa.RecordBatch,
        *,
        keep: Keep,
        claim: Claim | None = None,
    ) -> int:
        """Write a record batch with the columns of the view (join keys, features and the source's times).

        A load's claim is checked before each piece of the batch, and its mark is set behind the batch.

        Returns how many rows were written; the others are older than what is stored. When it raises, some rows may be
        written; to write the batch again is safe.

        Raises:
            ValueError, TypeError: a join key or event timestamp is null, or a value is not of its field's type.
            RedisError: Redis is away or refuses.
            Refusal: the claim does not stand any more.
        """
        return self._write(config, _pieces_of_arrow(config, view, batch), keep, claim)

    def _get_client(self, online_store_config: RedisOnlineStoreConfig) -> Any:
        return client_of(self, online_store_config)

    def _write(
        self,
        config: RepoConfig,
        pieces: Iterator[Piece],
        keep: Keep,
        claim: Claim | None = None,
    ) -> int:
        client = self._get_client(config.online_store)
        ttl = config.online_store.key_ttl_seconds
        if isinstance(client, RedisCluster):
            return _write_through(client, pieces, keep, ttl, claim)
        written = 0
        with pipeline(client) as piped:
            for rows, moments in pieces:
                if claim:
                    claim.check()
                commands = writing(rows, key_ttl_seconds=ttl)
                if keep is not Keep.NOTHING:
                    asked = reading_moments(rows.view, rows.keys)
                    stored = [reply[0] for reply in piped.ask(content(asked), len(asked))]
                    commands = commands.filter(pa.array(_wins(rows.keys, moments, stored, keep)))
                _send(piped, commands, replies_per_row=2 if ttl else 1)
                written += len(commands)
            if claim:
                piped.send(memoryview(setting(*claim.mark())), 1)
        return written


def _send(piped: Pipeline, commands: pa.Array, *, replies_per_row: int) -> None:
    size = max(1, int(SENT_BYTES * len(commands) / max(1, commands.nbytes)))
    for start in range(0, len(commands), size):
        part = commands.slice(start, size)
        piped.send(content(part), len(part) * replies_per_row)


def _wins(keys: pa.Array, moments: npt.NDArray[np.int64], stored: Sequence[bytes | None], keep: Keep) -> npt.NDArray[np.bool_]:
    """Which rows are written, given the moments that are stored and those of earlier rows of the same key."""
    latest: dict[bytes, int] = {}
    wins = np.empty(len(moments), np.bool_)
    for number, (key, moment, before) in enumerate(zip(keys.to_pylist(), moments.tolist(), stored, strict=True)):
        if key not in latest:
            latest[key] = _microseconds(before)
        # Feast takes the beginning of 1970 for "nothing stored".
        newer = not latest[key] or (moment >= latest[key] if keep is Keep.NEWER else moment > latest[key])
        wins[number] = newer
        if newer:
            latest[key] = max(moment, latest[key])
    return wins


def _microseconds(stored: bytes | None) -> int:
    moment = Timestamp.FromString(stored) if stored else Timestamp()
    return int(moment.seconds) * 1_000_000 + int(moment.nanos) // 1000


def _write_through(
    client: RedisCluster,
    pieces: Iterator[Piece],
    keep: Keep,
    ttl: int | None,
    claim: Claim | None,
) -> int:
    """The slower way for a cluster, whose client knows which node holds a key."""
    written = 0
    for rows, moments in pieces:
        if claim:
            claim.check()
        keys = rows.keys.to_pylist()
        wins = np.ones(len(keys), np.bool_)
        if keep is not Keep.NOTHING:
            with client.pipeline(transaction=False) as pipe:
                for key in keys:
                    pipe.hmget(key, rows.fields()[0][0])
                wins = _wins(rows.keys, moments, [reply[0] for reply in pipe.execute()], keep)
        fields = [(field, values.to_pylist()) for field, values in rows.fields()]
        with client.pipeline(transaction=False) as pipe:
            for number, key in enumerate(keys):
                if wins[number]:
                    pipe.hset(key, mapping={field: values[number] for field, values in fields})
                    if ttl:
                        pipe.expire(key, ttl)
            pipe.execute()
        written += int(wins.sum())
    if claim:
        client.set(*claim.mark())
    return written


def _pieces_of_arrow(config: RepoConfig, view: FeatureView, batch: pa.RecordBatch) -> Iterator[Piece]:
    utils._validate_vector_field_lengths(batch, view)  # noqa: SLF001  as Feast checks before it converts
    types = key_types(view)
    size = max(1, min(PIECE_ROWS, int(PIECE_BYTES * batch.num_rows / max(1, batch.nbytes))))
    name = _versioned_fv_name(view, config)
    for start in range(0, batch.num_rows, size):
        piece = batch.slice(start, size)
        moments = microseconds(piece.column(view.batch_source.timestamp_field))
        keys = redis_keys({key: piece.column(key) for key in types}, types, config.project)
        features = [(field.name, _stored(piece.column(field.name), field)) for field in view.features]
        yield Rows(view=name, keys=keys, moments=serialized_moments(moments), features=features), moments


def _stored(column: pa.Array, field: Field) -> pa.Array:
    try:
        return serialized(column, field.dtype)
    except pa.ArrowException as error:
        raise ValueError(f"the feature {field.name!r} ({field.dtype}): {first_line(error)}") from error


def microseconds(times: pa.Array) -> npt.NDArray[np.int64]:
    """Microseconds since 1970 in UTC, as exact as Feast keeps moments; a column without a time zone is in UTC."""
    if times.null_count:
        raise ValueError(f"the event timestamp is null in {times.null_count} rows: nobody knows when they were true")
    return np.ascontiguousarray(times.to_numpy(zero_copy_only=False).astype("datetime64[us]").astype(np.int64))


def _pieces_of_feast_rows(config: RepoConfig, view: FeatureView, data: Sequence[FeastRow]) -> Iterator[Piece]:
    name = _versioned_fv_name(view, config)
    # Rows may bring different features; those that bring the same are written together.
    for names, group in groupby(data, key=lambda row: tuple(row[1])):
        while some := list(islice(group, PIECE_ROWS)):
            moments = [_timestamp(row[2]) for row in some]
            keys = [_redis_key(config.project, row[0], config.entity_key_serialization_version) for row in some]
            features = [(feature, _binary([row[1][feature].SerializeToString() for row in some])) for feature in names]
            rows = Rows(view=name, keys=_binary(keys), moments=_binary([m.SerializeToString() for m in moments]), features=features)
            yield rows, np.array([moment.seconds * 1_000_000 + moment.nanos // 1000 for moment in moments], np.int64)


def _timestamp(moment: datetime) -> Timestamp:
    timestamp = Timestamp()
    timestamp.FromDatetime(utils.make_tzaware(moment))
    return timestamp


def _binary(values: list[bytes]) -> pa.Array:
    return pa.array(values, pa.binary())
