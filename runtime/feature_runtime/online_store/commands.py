"""Rows of a feature view as Redis commands: what one hash per entity holds, and the bytes that write it.

The layout is Feast's: beside the fields of all other views of the same entity, a view has one field per feature (the
murmur3 hash of `view:feature`) and `_ts:view`, when the values were true.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import pyarrow as pa
from feast.infra.online_stores.helpers import _mmh3

from feature_runtime.online_store.binaries import by_length, join, lengths_of


@dataclass(frozen=True, kw_only=True)
class Rows:
    """Rows to write: keys, moments and the values of each feature, all as columns of bytes of one length."""

    view: str
    keys: pa.Array
    moments: pa.Array
    features: Sequence[tuple[str, pa.Array]]

    def fields(self) -> list[tuple[bytes, pa.Array]]:
        """The fields of the hash in the order that Feast writes them."""
        named = [(feature_field(self.view, feature), values) for feature, values in self.features]
        return [(moment_field(self.view), self.moments), *named]


def feature_field(view: str, feature: str) -> bytes:
    """The field of the hash that holds a feature."""
    return bytes(_mmh3(f"{view}:{feature}"))


def moment_field(view: str) -> bytes:
    """The field of the hash that holds when the view's values were true."""
    return f"_ts:{view}".encode()


def writing(rows: Rows, *, key_ttl_seconds: int | None) -> pa.Array:
    """One HSET per row, each followed by an EXPIRE when keys have a time to live."""
    command = _Command(2 + 2 * (1 + len(rows.features)), b"HSET")
    command.add(rows.keys)
    for field, values in rows.fields():
        command.add(field)
        command.add(values)
    if key_ttl_seconds:
        command.begin(3, b"EXPIRE")
        command.add(rows.keys)
        command.add(b"%d" % key_ttl_seconds)
    return command.encoded()


def reading_moments(view: str, keys: pa.Array) -> pa.Array:
    """One HMGET per key for the moment that is stored."""
    command = _Command(3, b"HMGET")
    command.add(keys)
    command.add(moment_field(view))
    return command.encoded()


def setting(key: str, value: bytes) -> bytes:
    """One SET."""
    name = key.encode()
    return b"*3\r\n$3\r\nSET\r\n$%d\r\n%s\r\n$%d\r\n%s\r\n" % (len(name), name, len(value), value)


class _Command:
    """The bytes of commands that differ only in columns; constant bytes are collected, so that few columns are joined."""

    def __init__(self, count: int, name: bytes) -> None:
        self._parts: list[pa.Array | bytes] = []
        self._constant = b""
        self.begin(count, name)

    def begin(self, count: int, name: bytes) -> None:
        self._constant += b"*%d\r\n" % count
        self.add(name)

    def add(self, argument: pa.Array | bytes) -> None:
        if isinstance(argument, bytes):
            self._constant += b"$%d\r\n%s\r\n" % (len(argument), argument)
            return
        before = self._constant
        self._parts += [by_length(lengths_of(argument), lambda length: before + b"$%d\r\n" % length), argument]
        self._constant = b"\r\n"

    def encoded(self) -> pa.Array:
        return join([*self._parts, self._constant])
