"""The Redis key of an entity, by the column: Feast's serialized entity key, then the project's name."""

import struct
from collections.abc import Mapping
from typing import Any

import numpy as np
import pyarrow as pa
from feast import FeatureView
from feast.feature_view import DUMMY_ENTITY_ID
from feast.types import FeastType, String

from feature_runtime.online_store.binaries import as_binaries, by_length, join, lengths_of, rows_of
from feature_runtime.online_store.encoding import whole_seconds
from feature_runtime.value_types import KEY_BYTES, TYPES
from feature_runtime.value_types.columns import as_column

STRING = TYPES["String"].numbers[0]


def key_types(view: FeatureView) -> dict[str, FeastType]:
    """The join keys of a view and their types; a view without entities has Feast's stand-in for one."""
    # The registry gives such a view back without the column that Feast itself reads and writes by.
    return {column.name: column.dtype for column in view.entity_columns} or {DUMMY_ENTITY_ID: String}


def redis_keys(columns: Mapping[str, pa.Array], types: Mapping[str, FeastType], project: str) -> pa.Array:
    """The key of every row as a binary column; `columns` and `types` are by join key.

    Raises:
        ValueError: a join key is null, does not fit its type, or is of a type that Feast makes no key of.
    """
    names = sorted(types)
    if nulls := [name for name in names if columns[name].null_count]:
        raise ValueError(f"the join key {nulls[0]!r} is null in {columns[nulls[0]].null_count} rows: they belong to no entity")
    parts: list[pa.Array | bytes] = [struct.pack("<I", len(names))]
    for name in names:
        encoded = name.encode()
        parts.append(struct.pack("<II", STRING, len(encoded)) + encoded)
    for name in names:
        parts += _values(columns[name], name, types[name])
    return join([*parts, project.encode()])


def _values(column: pa.Array, name: str, dtype: Any) -> list[pa.Array | bytes]:
    row = TYPES.get(str(dtype))
    if row is None or row.key is None:
        raise ValueError(f"the join key {name!r} is a {dtype}, which Feast cannot make keys of")
    try:
        column = as_column(column, dtype)
    except pa.ArrowException as error:
        raise ValueError(f"the join key {name!r} ({dtype}): {error}") from error
    if row.key == KEY_BYTES:
        texts = as_binaries(column)
        return [by_length(lengths_of(texts), lambda length: struct.pack("<II", row.numbers[0], length)), texts]
    numbers = whole_seconds(column) if pa.types.is_timestamp(column.type) else column.to_numpy(zero_copy_only=False)
    packed = np.ascontiguousarray(numbers.astype(row.key))
    return [struct.pack("<II", row.numbers[0], packed.itemsize), rows_of(packed.view(np.uint8).reshape(len(packed), packed.itemsize))]
