"""Columns of feature values as Feast stores them: for every value the bytes of its `Value` message, empty for null.

A column is brought into its type's one form first, from which training sets are made too. Then plain types and their
lists are encoded by the column, maps, structs and lists of lists value by value. The bytes are those of Feast's own
conversion, except where that loses what it is given: docs/materialization.md lists these places.
"""

from collections.abc import Callable, Iterable
from datetime import datetime
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
from feast.protos.feast.types.Value_pb2 import Value
from feast.type_map import _zone_name

from feature_runtime.online_store.binaries import (
    Bytes,
    Lengths,
    as_binaries,
    binaries,
    by_length,
    join,
    lengths_of,
    rows_of,
    varint,
    varints,
)
from feature_runtime.value_types import TYPES, Parsed, ValueType, Wire, json_form, parse
from feature_runtime.value_types.columns import converted, countable

SECOND = 1_000_000
"""In microseconds."""
NO_MOMENT = -(2**63)
"""What Feast stores for a null."""


def tag(field: int, wire: Wire) -> bytes:
    """What stands before a field of a message."""
    return varint(field << 3 | wire.value)


def serialized(column: pa.Array, dtype: Any) -> pa.Array:
    """The bytes of every value as a binary column; `dtype` is a type of Feast's that accepts the column.

    Raises:
        pa.ArrowException: a value does not fit the type.
    """
    kind = parse(dtype)
    # Its encoder knows a NaN for a null.
    column = converted(column, kind)
    if kind.row and kind.row.name in SCALARS:
        return SCALARS[kind.row.name](column)
    if kind.inner and kind.inner.row and kind.inner.row.name in ELEMENTS:
        return _lists(column, kind, ELEMENTS[kind.inner.row.name])
    return _messages(column, kind)


Encoder = Callable[[pa.Array], pa.Array]


def _scalar(row: ValueType) -> Encoder:
    """Encodes a column of a plain type: every value with its tag, a null as nothing."""
    prefix = tag(row.numbers[0], row.wire)
    if row.name == "UnixTimestamp":
        return lambda column: join([prefix, binaries(*varints(whole_seconds(column)))])
    if row.name == "Bool":
        return lambda column: _fixed(prefix, column.fill_null(False).to_numpy(zero_copy_only=False).view(np.uint8), _valid(column))
    match row.wire:
        case Wire.VARINT:
            return lambda column: _prefixed(prefix, binaries(*varints(_int64(column))), column)
        case Wire.BYTES:
            return lambda column: _texts(prefix, column)
    return lambda column: _floats(prefix, column)


def _floats(prefix: bytes, column: pa.Array) -> pa.Array:
    numbers = column.to_numpy(zero_copy_only=False)
    return _fixed(prefix, numbers, ~np.isnan(numbers))


def _fixed(prefix: bytes, numbers: npt.NDArray[Any], valid: npt.NDArray[np.bool_]) -> pa.Array:
    """Numbers of as many bytes each."""
    present = numbers[valid]
    width = len(prefix) + present.itemsize
    matrix = np.empty((len(present), width), np.uint8)
    matrix[:, : len(prefix)] = np.frombuffer(prefix, np.uint8)
    matrix[:, len(prefix) :] = present.view(np.uint8).reshape(len(present), present.itemsize)
    return binaries(matrix.reshape(-1), np.where(valid, width, 0))


def _texts(prefix: bytes, column: pa.Array) -> pa.Array:
    texts = as_binaries(column)
    lengths = np.where(_valid(column), lengths_of(texts), -1)
    return join([by_length(lengths, lambda length: prefix + varint(length) if length >= 0 else b""), texts])


def _zoned(column: pa.Array) -> pa.Array:
    zone = (_zone_name(pa.scalar(0, column.type).as_py().tzinfo) if column.type.tz else "").encode()
    named = tag(2, Wire.BYTES) + varint(len(zone)) + zone if zone else b""
    return _texts(
        tag(TYPES["ZonedTimestamp"].numbers[0], Wire.BYTES), _with_nulls(join([_optional(1, whole_seconds(column)), named]), column)
    )


def _with_nulls(encoded: pa.Array, column: pa.Array) -> pa.Array:
    return pc.if_else(column.is_valid(), encoded, None)


def _element(row: ValueType) -> Encoder:
    """Encodes the values of lists of a plain type, without tags where lists are packed."""
    if row.name == "UnixTimestamp":
        return lambda column: binaries(*varints(whole_seconds(column)))
    if row.name == "Bool":
        return lambda column: rows_of(np.ascontiguousarray(column.to_numpy(zero_copy_only=False)).view(np.uint8).reshape(-1, 1))
    match row.wire:
        case Wire.VARINT:
            return lambda column: binaries(*varints(_int64(column)))
        case Wire.BYTES:
            prefix = tag(1, row.wire)
            return lambda column: _texts(prefix, column)
    return lambda column: rows_of(_bytes_of(np.ascontiguousarray(column.to_numpy(zero_copy_only=False))))


def _bytes_of(numbers: npt.NDArray[Any]) -> Bytes:
    return numbers.view(np.uint8).reshape(len(numbers), numbers.itemsize)


def _lists(column: pa.Array, kind: Parsed, elements: Encoder) -> pa.Array:
    """Lists of plain values; packed ones lie in one run of bytes, with its length before it."""
    assert kind.inner is not None
    assert kind.inner.row is not None
    prefix, run = tag(kind.number, Wire.BYTES), tag(1, Wire.BYTES)
    packed = kind.inner.row.wire is not Wire.BYTES

    def head(size: int) -> bytes:
        if size < 0:
            return b""
        before = run + varint(size) if packed and size else b""
        return prefix + varint(len(before) + size) + before

    encoded = elements(column.flatten())
    counts = pc.fill_null(pc.list_value_length(column), 0).to_numpy(zero_copy_only=False)
    ends = np.concatenate([[0], np.cumsum(counts)])
    starts = np.frombuffer(encoded.buffers()[1], np.int32)[: len(encoded) + 1]
    sizes = np.diff(starts[ends].astype(np.int64))
    bodies = binaries(np.frombuffer(encoded.buffers()[2] or b"", np.uint8), sizes)
    return join([by_length(np.where(_valid(column), sizes, -1), head), bodies])


def _messages(column: pa.Array, kind: Parsed) -> pa.Array:
    """Values that hold values, one by one."""
    return pa.array([encoded(value, kind) for value in column.cast(countable(column.type)).to_pylist()], pa.binary())


def encoded(value: Any, dtype: Any) -> bytes:
    """The bytes of one value in Python; moments as datetimes or as microseconds since 1970.

    Raises:
        ValueError, TypeError: it does not fit the type.
    """
    message = Value()
    if value is not None:
        _fill(message, value, parse(dtype))
    content: bytes = message.SerializeToString()
    return content


def _fill(message: Any, value: Any, kind: Parsed) -> None:
    """Put a value that is not null into a `Value` message, in the field of its type."""
    name = f"{kind.stem}_val"
    if kind.row is None:
        (_fill_list if kind.inner else _fill_map)(getattr(message, name), value, kind)
        return
    match kind.row.name:
        case "Map":
            _fill_map(message.map_val, value, kind)
        case "ZonedTimestamp":
            message.zoned_timestamp_val.unix_timestamp = _second(value)
            message.zoned_timestamp_val.zone = _zone_name(value.tzinfo) if isinstance(value, datetime) else "UTC"
        case "UnixTimestamp":
            message.unix_timestamp_val = _second(value)
        case _:
            setattr(message, name, value)


def _second(value: datetime | int) -> int:
    return value // SECOND if isinstance(value, int) else json_form(value)


def _fill_map(message: Any, value: Any, kind: Parsed) -> None:
    message.SetInParent()
    values = dict(value)
    fields = kind.fields or [(key, TEXT) for key in values]
    for key, inner in fields:
        # Asked for, an entry is there: without a value it is a null.
        entry = message.val[key]
        if values[key] is not None:
            _fill(entry, values[key], inner)


def _fill_list(message: Any, values: Iterable[Any], kind: Parsed) -> None:
    message.SetInParent()
    inner = kind.inner
    assert inner is not None
    if inner.row and inner.row.name == "UnixTimestamp":
        message.val.extend(NO_MOMENT if value is None else _second(value) for value in values)
    elif inner.row and inner.row.name != "Map":
        message.val.extend(values)
    else:
        for value in values:
            item = message.val.add()
            if not inner.inner:
                _fill_map(item, value, inner)
            elif value is not None:
                _fill(item, value, inner)


TEXT = parse("String")


def _int64(column: pa.Array) -> npt.NDArray[np.int64]:
    return np.ascontiguousarray(column.cast(pa.int64()).fill_null(0).to_numpy(zero_copy_only=False))


def _prefixed(prefix: bytes, encoded: pa.Array, column: pa.Array) -> pa.Array:
    """The prefix before every value; nothing at all where the column is null."""
    joined = join([prefix, encoded])
    if not column.null_count:
        return joined
    return pc.if_else(pa.array(_valid(column)), joined, pa.scalar(b"", pa.binary()))


def _valid(column: pa.Array) -> npt.NDArray[np.bool_]:
    return np.asarray(column.is_valid().to_numpy(zero_copy_only=False), np.bool_)


ELEMENTS = {name: _element(row) for name, row in TYPES.items() if row.numbers[1] and name != "Map"}
SCALARS: dict[str, Encoder] = {name: _scalar(row) for name, row in TYPES.items() if name in ELEMENTS}
SCALARS["ZonedTimestamp"] = _zoned
"""What is encoded by the column: a type's values, and those within its lists."""


def whole_seconds(column: pa.Array) -> npt.NDArray[np.int64]:
    """Moments in whole seconds; null becomes the smallest number there is, as Feast stores it."""
    numbers = column.cast(pa.int64())
    seconds = np.floor_divide(numbers.fill_null(0).to_numpy(zero_copy_only=False), SECOND)
    return np.where(_valid(column), seconds, NO_MOMENT) if column.null_count else seconds


def serialized_moments(microseconds: npt.NDArray[np.int64]) -> pa.Array:
    """The bytes of a protobuf `Timestamp` for each moment, given in microseconds since 1970 in UTC."""
    seconds, rest = np.divmod(microseconds, 1_000_000)
    return join([_optional(1, seconds), _optional(2, rest * 1000)])


def _optional(field: int, numbers: npt.NDArray[np.int64]) -> pa.Array:
    """A number of a message; zero is left out."""
    flat, lengths = varints(numbers)
    encoded: Lengths = np.where(numbers == 0, -1, lengths)
    kept = flat[np.repeat(numbers != 0, lengths)]
    prefix = tag(field, Wire.VARINT)
    heads = by_length(encoded, lambda length: prefix if length > 0 else b"")
    return join([heads, binaries(kept, np.maximum(encoded, 0))])
