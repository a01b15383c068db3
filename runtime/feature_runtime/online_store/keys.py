"""The Redis key of an entity, by the column: Feast's serialized entity key, then the project's name."""

import struct
from collections.abc import Mapping

import numpy as np
import pyarrow as pa
from feast import FeatureView
from feast.feature_view import DUMMY_ENTITY_ID
from feast.infra.key_encoding_utils import serialize_entity_key
from feast.protos.feast.types.EntityKey_pb2 import EntityKey
from feast.type_map import python_values_to_proto_values
from feast.value_type import ValueType

from feature_runtime.online_store.binaries import as_binaries, by_length, join, lengths_of, rows_of

VERSION = 3
"""Feast's layout of an entity key; the only one that is written here."""

INTEGERS = {ValueType.INT32: "<i4", ValueType.INT64: "<i8"}


def key_types(view: FeatureView) -> dict[str, ValueType]:
    """The join keys of a view and their types; a view without entities has Feast's stand-in for one."""
    # The registry gives such a view back without the column that Feast itself reads and writes by.
    return {column.name: column.dtype.to_value_type() for column in view.entity_columns} or {DUMMY_ENTITY_ID: ValueType.STRING}


def redis_keys(columns: Mapping[str, pa.Array], types: Mapping[str, ValueType], project: str) -> pa.Array:
    """The key of every row as a binary column; `columns` and `types` are by join key.

    Raises:
        ValueError: a join key is null, or of a type that Feast makes no key of.
    """
    names = sorted(types)
    if nulls := [name for name in names if columns[name].null_count]:
        raise ValueError(f"the join key {nulls[0]!r} is null in {columns[nulls[0]].null_count} rows: they belong to no entity")
    parts: list[pa.Array | bytes] = [struct.pack("<I", len(names))]
    for name in names:
        encoded = name.encode()
        parts.append(struct.pack("<II", ValueType.STRING.value, len(encoded)) + encoded)
    for name in names:
        values = _values(columns[name], types[name])
        if values is None:
            return _by_feast(columns, types, project)
        parts += values
    return join([*parts, project.encode()])


def _values(column: pa.Array, value_type: ValueType) -> list[pa.Array | bytes] | None:
    dtype = INTEGERS.get(value_type)
    if dtype and pa.types.is_integer(column.type):
        numbers = column.cast(pa.int32() if value_type is ValueType.INT32 else pa.int64()).to_numpy(zero_copy_only=False)
        packed = np.ascontiguousarray(numbers.astype(dtype))
        head = struct.pack("<II", value_type.value, packed.itemsize)
        return [head, rows_of(packed.view(np.uint8).reshape(len(packed), packed.itemsize))]
    kind = column.type.value_type if pa.types.is_dictionary(column.type) else column.type
    if value_type is ValueType.STRING and (pa.types.is_string(kind) or pa.types.is_large_string(kind)):
        texts = as_binaries(column)
        return [by_length(lengths_of(texts), lambda length: struct.pack("<II", value_type.value, length)), texts]
    return None


def _by_feast(columns: Mapping[str, pa.Array], types: Mapping[str, ValueType], project: str) -> pa.Array:
    protos = [python_values_to_proto_values(columns[name].to_numpy(zero_copy_only=False), value_type) for name, value_type in types.items()]
    names = list(types)
    suffix = project.encode()
    return pa.array(
        [
            serialize_entity_key(EntityKey(join_keys=names, entity_values=values), entity_key_serialization_version=VERSION) + suffix
            for values in zip(*protos, strict=True)
        ],
        pa.binary(),
    )
