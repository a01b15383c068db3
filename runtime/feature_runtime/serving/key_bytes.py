"""Where Feast keeps the values of an entity in Redis: the key of its hash, and the names of the fields in it.

Promises the bytes of Feast's `serialize_entity_key` (version 3) and `_mmh3`; tests hold the two together.
"""

import struct
from base64 import b64decode
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import mmh3

from feature_runtime.value_types import KEY_BYTES, TYPES, ValueType

# An entity key has the numbers of feast.types.ValueType, which are those of the fields in a Value message.
KEY_TYPES = {row.name: row.numbers[0] for row in TYPES.values() if row.key}
STRING = KEY_TYPES["String"]

DUMMY_JOIN_KEY = "__dummy_id"
"""The join key of views without an entity; its value is the empty string."""

_word = struct.Struct("<I").pack
_head = struct.Struct("<II").pack


def hash_field(view: str, feature: str) -> bytes:
    """The field of a feature's value; `view` is the name that the view is stored as."""
    return _word(mmh3.hash(f"{view}:{feature}", signed=False))


def time_field(view: str) -> bytes:
    """The field of the moment when a view's values were true."""
    return f"_ts:{view}".encode()


class EntityKeys:
    """Makes the keys of one view's entities.

    `join_keys` are the view's own names of them with their types; `project` is the feature store's.
    """

    def __init__(self, join_keys: Iterable[tuple[str, str]], project: str) -> None:
        ordered = sorted(join_keys)
        self.order = tuple(name for name, _ in ordered)
        names = [name.encode() for name in self.order]
        self._prefix = _word(len(names)) + b"".join(_head(STRING, len(name)) + name for name in names)
        self._parts = [_PARTS[dtype] for _, dtype in ordered]
        self._suffix = project.encode()

    def of(self, columns: Sequence[Sequence[Any]]) -> list[bytes]:
        """One key per row; `columns` are the values of each join key in `order`, valid for its type."""
        prefix, suffix = self._prefix, self._suffix
        parts = [part(values) for part, values in zip(self._parts, columns, strict=True)]
        if len(parts) == 1:
            return [prefix + part + suffix for part in parts[0]]
        return [b"".join((prefix, *row, suffix)) for row in zip(*parts, strict=True)]


def _part(row: ValueType) -> Callable[[Sequence[Any]], list[bytes]]:
    if row.name == "Bytes":
        return _binaries
    assert row.key
    return _texts if row.key == KEY_BYTES else _numbers(row.numbers[0], row.key)


def _numbers(key_type: int, form: str) -> Callable[[Sequence[int]], list[bytes]]:
    number = struct.Struct(form)
    head, pack = _head(key_type, number.size), number.pack
    return lambda values: [head + pack(value) for value in values]


def _texts(values: Sequence[str]) -> list[bytes]:
    return [_head(STRING, len(text)) + text for text in map(str.encode, values)]


def _binaries(values: Sequence[str]) -> list[bytes]:
    return [_head(KEY_TYPES["Bytes"], len(data)) + data for data in map(b64decode, values)]


_PARTS = {name: _part(TYPES[name]) for name in KEY_TYPES}
