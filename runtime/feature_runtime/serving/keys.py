"""Where Feast keeps the values of an entity in Redis: the key of its hash, and the names of the fields in it.

Promises the bytes of Feast's `serialize_entity_key` (version 3) and `_mmh3`; tests hold the two together.
"""

import struct
from base64 import b64decode
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import mmh3

# The numbers of feast.types.ValueType that an entity key can hold.
STRING = 2
KEY_TYPES = {"Bytes": 1, "String": STRING, "Int32": 3, "Int64": 4, "UnixTimestamp": 8}

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


def _numbers(dtype: str, form: str) -> Callable[[Sequence[int]], list[bytes]]:
    number = struct.Struct(form)
    head, pack = _head(KEY_TYPES[dtype], number.size), number.pack
    return lambda values: [head + pack(value) for value in values]


def _texts(values: Sequence[str]) -> list[bytes]:
    return [_head(STRING, len(text)) + text for text in map(str.encode, values)]


def _binaries(values: Sequence[str]) -> list[bytes]:
    return [_head(KEY_TYPES["Bytes"], len(data)) + data for data in map(b64decode, values)]


_PARTS: dict[str, Callable[[Sequence[Any]], list[bytes]]] = {
    "Bytes": _binaries,
    "String": _texts,
    "Int32": _numbers("Int32", "<i"),
    "Int64": _numbers("Int64", "<q"),
    "UnixTimestamp": _numbers("UnixTimestamp", "<q"),
}
