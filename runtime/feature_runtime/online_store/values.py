"""Columns of feature values as Feast stores them: for every value the bytes of its `ValueProto`, empty for null.

Plain types are encoded by the column. Whatever else Feast knows goes through Feast's own conversion, value by value.
The bytes are the same either way, with two exceptions where Feast's conversion loses what it is given: an integer
beyond 2^53 in a column with nulls, which passes through a float there, and empty byte strings when nothing else is in
a batch, which become null there. Here both stay what they are.
"""

from collections.abc import Callable

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
from feast.type_map import python_values_to_proto_values
from feast.value_type import ValueType

from feature_runtime.online_store.binaries import (
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

VARINT, FIXED64, TEXT, FIXED32 = 0, 1, 2, 5
"""Protobuf's wire types."""


def tag(field: int, wire_type: int) -> bytes:
    """What stands before a field of a message."""
    return varint(field << 3 | wire_type)


def serialized(column: pa.Array, value_type: ValueType) -> pa.Array:
    """The bytes of every value as a binary column.

    Raises:
        TypeError, ValueError: Feast cannot make this type of a value, as it says itself.
    """
    encode = ENCODERS.get(value_type)
    encoded = encode(column) if encode else None
    return _by_feast(column, value_type) if encoded is None else encoded


def _by_feast(column: pa.Array, value_type: ValueType) -> pa.Array:
    protos = python_values_to_proto_values(python_values(column, value_type), value_type)
    return pa.array([proto.SerializeToString() for proto in protos], pa.binary())


def python_values(column: pa.Array, value_type: ValueType) -> list[object]:
    """The values as Feast's conversion takes them: as numpy makes them, as Feast itself does it."""
    if value_type in {ValueType.MAP, ValueType.MAP_LIST, ValueType.ZONED_TIMESTAMP}:
        # numpy turns maps into pairs and forgets time zones; Feast refuses both.
        return list(column.to_pylist(maps_as_pydicts="strict"))
    return column.to_numpy(zero_copy_only=False)  # type: ignore[no-any-return]


Encoder = Callable[[pa.Array], pa.Array | None]
"""Encodes a column, or returns None when the column is of a type that it does not know."""


def _floats(field: int, dtype: type[np.floating], wire_type: int) -> Encoder:
    prefix = np.frombuffer(tag(field, wire_type), np.uint8)

    def encode(column: pa.Array) -> pa.Array | None:
        if not (pa.types.is_floating(column.type) or _is_integer(column.type)):
            return None
        # By way of 64 bits, as Python's floats have them: an integer is not rounded twice in another way.
        numbers = column.to_numpy(zero_copy_only=False).astype(np.float64)
        valid = ~np.isnan(numbers)
        with np.errstate(over="ignore"):
            present = numbers[valid].astype(dtype)
        width = len(prefix) + present.itemsize
        matrix = np.empty((len(present), width), np.uint8)
        matrix[:, : len(prefix)] = prefix
        matrix[:, len(prefix) :] = present.view(np.uint8).reshape(len(present), present.itemsize)
        return binaries(matrix.reshape(-1), np.where(valid, width, 0))

    return encode


def _integers(field: int, fits: Callable[[pa.DataType], bool]) -> Encoder:
    prefix = tag(field, VARINT)

    def encode(column: pa.Array) -> pa.Array | None:
        if not fits(column.type):
            return None
        return _prefixed(prefix, binaries(*varints(_int64(column))), column)

    return encode


def _booleans(column: pa.Array) -> pa.Array | None:
    if not pa.types.is_boolean(column.type):
        return None
    valid = _valid(column)
    present = column.fill_null(False).to_numpy(zero_copy_only=False)[valid]
    matrix = np.empty((len(present), 2), np.uint8)
    matrix[:, 0] = tag(7, VARINT)[0]
    matrix[:, 1] = present
    return binaries(matrix.reshape(-1), np.where(valid, 2, 0))


def _texts(field: int, fits: Callable[[pa.DataType], bool]) -> Encoder:
    prefix = tag(field, TEXT)

    def encode(column: pa.Array) -> pa.Array | None:
        if not fits(column.type):
            return None
        texts = as_binaries(column)
        lengths = np.where(_valid(column), lengths_of(texts), -1)
        return join([by_length(lengths, lambda length: prefix + varint(length) if length >= 0 else b""), texts])

    return encode


def _moments(column: pa.Array) -> pa.Array | None:
    if not (pa.types.is_timestamp(column.type) or pa.types.is_date(column.type)):
        return None
    # Null becomes the smallest number there is, as Feast stores it.
    seconds = column.to_numpy(zero_copy_only=False).astype("datetime64[s]").astype(np.int64)
    return join([tag(8, VARINT), binaries(*varints(seconds))])


def _lists(field: int, elements: Callable[[pa.Array], pa.Array | None], *, packed: bool) -> Encoder:
    """Lists whose elements `elements` encodes; packed ones lie in one run of bytes, with its length before it."""
    prefix = tag(field, TEXT)
    run = tag(1, TEXT)

    def head(size: int) -> bytes:
        if size < 0:
            return b""
        before = run + varint(size) if packed and size else b""
        return prefix + varint(len(before) + size) + before

    def encode(column: pa.Array) -> pa.Array | None:
        if not (pa.types.is_list(column.type) or pa.types.is_large_list(column.type)):
            return None
        flat = column.flatten()
        # Feast puts something of its own in the place of a null within a list.
        encoded = elements(flat) if flat.null_count == 0 else None
        if encoded is None:
            return None
        counts = pc.fill_null(pc.list_value_length(column), 0).to_numpy(zero_copy_only=False)
        ends = np.concatenate([[0], np.cumsum(counts)])
        starts = np.frombuffer(encoded.buffers()[1], np.int32)[: len(encoded) + 1]
        sizes = np.diff(starts[ends].astype(np.int64))
        bodies = binaries(np.frombuffer(encoded.buffers()[2] or b"", np.uint8), sizes)
        return join([by_length(np.where(_valid(column), sizes, -1), head), bodies])

    return encode


def _raw_floats(dtype: type[np.floating]) -> Encoder:
    def encode(column: pa.Array) -> pa.Array | None:
        if not pa.types.is_floating(column.type):
            return None
        with np.errstate(over="ignore"):
            numbers = np.ascontiguousarray(column.to_numpy(zero_copy_only=False).astype(np.float64).astype(dtype))
        return rows_of(numbers.view(np.uint8).reshape(len(numbers), numbers.itemsize))

    return encode


def _raw_integers(fits: Callable[[pa.DataType], bool]) -> Encoder:
    return lambda column: binaries(*varints(_int64(column))) if fits(column.type) else None


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


def _is_integer(kind: pa.DataType) -> bool:
    return bool(pa.types.is_integer(kind)) and kind != pa.uint64()


def _fits_32_bits(kind: pa.DataType) -> bool:
    return _is_integer(kind) and kind not in {pa.int64(), pa.uint32()}


def _is_text(kind: pa.DataType) -> bool:
    kind = kind.value_type if pa.types.is_dictionary(kind) else kind
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind))


def _is_bytes(kind: pa.DataType) -> bool:
    return bool(pa.types.is_binary(kind) or pa.types.is_large_binary(kind))


ENCODERS: dict[ValueType, Encoder] = {
    ValueType.BYTES: _texts(1, _is_bytes),
    ValueType.PDF_BYTES: _texts(1, _is_bytes),
    ValueType.IMAGE_BYTES: _texts(1, _is_bytes),
    ValueType.STRING: _texts(2, _is_text),
    ValueType.INT32: _integers(3, _fits_32_bits),
    ValueType.INT64: _integers(4, _is_integer),
    ValueType.DOUBLE: _floats(5, np.float64, FIXED64),
    ValueType.FLOAT: _floats(6, np.float32, FIXED32),
    ValueType.BOOL: _booleans,
    ValueType.UNIX_TIMESTAMP: _moments,
    ValueType.UUID: _texts(36, _is_text),
    ValueType.TIME_UUID: _texts(37, _is_text),
    ValueType.DECIMAL: _texts(44, _is_text),
    ValueType.STRING_LIST: _lists(12, _texts(1, _is_text), packed=False),
    ValueType.INT32_LIST: _lists(13, _raw_integers(_fits_32_bits), packed=True),
    ValueType.INT64_LIST: _lists(14, _raw_integers(_is_integer), packed=True),
    ValueType.DOUBLE_LIST: _lists(15, _raw_floats(np.float64), packed=True),
    ValueType.FLOAT_LIST: _lists(16, _raw_floats(np.float32), packed=True),
}
"""Field numbers as in Feast's `Value` message. What is not here, Feast converts."""


def serialized_moments(microseconds: npt.NDArray[np.int64]) -> pa.Array:
    """The bytes of a protobuf `Timestamp` for each moment, given in microseconds since 1970 in UTC."""
    seconds, rest = np.divmod(microseconds, 1_000_000)
    return join([_optional(1, seconds), _optional(2, rest * 1000)])


def _optional(field: int, numbers: npt.NDArray[np.int64]) -> pa.Array:
    """A number of a message; zero is left out."""
    flat, lengths = varints(numbers)
    encoded: Lengths = np.where(numbers == 0, -1, lengths)
    kept = flat[np.repeat(numbers != 0, lengths)]
    prefix = tag(field, VARINT)
    heads = by_length(encoded, lambda length: prefix if length > 0 else b"")
    return join([heads, binaries(kept, np.maximum(encoded, 0))])
