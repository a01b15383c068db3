"""Byte strings by the column: build, measure and join them for a whole batch at once, without a Python object per row.

A column of byte strings is an Arrow binary array without nulls: one buffer of bytes and where each string begins.
Joined element-wise, such columns become one buffer that goes to Redis as it is.
"""

from collections.abc import Callable, Sequence

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

Bytes = npt.NDArray[np.uint8]
Lengths = npt.NDArray[np.int64]

SEVEN_BITS = 7
VARINT_BYTES = 10
"""A varint holds seven bits per byte: ten bytes for the 64 of a negative number."""


def binaries(flat: Bytes, lengths: Lengths) -> pa.Array:
    """The column whose strings lie one after the other in `flat`."""
    offsets = np.zeros(len(lengths) + 1, np.int32)
    np.cumsum(lengths, out=offsets[1:])
    return pa.Array.from_buffers(pa.binary(), len(lengths), [None, pa.py_buffer(offsets), pa.py_buffer(np.ascontiguousarray(flat))])


def rows_of(matrix: Bytes) -> pa.Array:
    """The column whose strings are the rows of a matrix of bytes."""
    count, width = matrix.shape
    return binaries(matrix.reshape(-1), np.full(count, width, np.int64))


def as_binaries(column: pa.Array) -> pa.Array:
    """A column of strings or byte strings, however Arrow keeps it, as binary without nulls (empty instead)."""
    if pa.types.is_dictionary(column.type):
        column = column.dictionary_decode()
    return column.cast(pa.binary()).fill_null(b"")


def lengths_of(column: pa.Array) -> Lengths:
    """How many bytes each string has."""
    return np.asarray(pc.binary_length(column).to_numpy(zero_copy_only=False), np.int64)


def by_length(lengths: Lengths, render: Callable[[int], bytes]) -> pa.Array | bytes:
    """What stands before strings of these lengths; one byte string where all are of the same length."""
    unique, where = np.unique(lengths, return_inverse=True)
    if len(unique) == 1:
        return render(int(unique[0]))
    table = pa.array([render(int(length)) for length in unique], pa.binary())
    return table.take(pa.array(where))


def join(parts: Sequence[pa.Array | bytes]) -> pa.Array:
    """Element by element the parts one after the other; bytes stand for every element. One part must be a column."""
    scalars = [pa.scalar(part, pa.binary()) if isinstance(part, bytes) else part for part in parts]
    return pc.binary_join_element_wise(*scalars, pa.scalar(b"", pa.binary()))


def varint(number: int) -> bytes:
    """Protobuf's varint of one number."""
    flat, _ = varints(np.array([number], np.int64))
    return flat.tobytes()


def varints(numbers: npt.NDArray[np.int64]) -> tuple[Bytes, Lengths]:
    """Protobuf's varints of 64-bit numbers, one after the other, and how many bytes each has."""
    left = numbers.view(np.uint64)
    lengths = np.ones(len(left), np.int64)
    for size in range(1, VARINT_BYTES):
        lengths += left >= np.uint64(1 << (SEVEN_BITS * size))
    width = int(lengths.max()) if len(lengths) else 1
    matrix = np.empty((len(left), width), np.uint8)
    for place in range(width):
        group = ((left >> np.uint64(SEVEN_BITS * place)) & np.uint64(0x7F)).astype(np.uint8)
        matrix[:, place] = group | np.where(lengths > place + 1, np.uint8(0x80), np.uint8(0))
    return matrix[np.arange(width) < lengths[:, None]], lengths


def content(column: pa.Array) -> memoryview:
    """All strings of a column in one piece, without a copy."""
    if not len(column):
        return memoryview(b"")
    offsets = np.frombuffer(column.buffers()[1], np.int32)[column.offset : column.offset + len(column) + 1]
    return memoryview(column.buffers()[2])[int(offsets[0]) : int(offsets[-1])]
