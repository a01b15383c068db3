"""Which columns of a source can hold which of Feast's types."""

from collections.abc import Callable
from typing import Any

import pyarrow as pa

INTEGER_BITS = {"int8": 8, "int16": 16, "int32": 32, "int64": 64, "uint8": 9, "uint16": 17, "uint32": 33}
"""Integer types and how many bits a signed integer needs to hold them."""

INT32_BITS = 32


def _is_number(column: Any) -> bool:
    return pa.types.is_floating(column) or str(column) in INTEGER_BITS


ACCEPTED: dict[str, Callable[[Any], Any]] = {
    "Int32": lambda column: INTEGER_BITS.get(str(column), INT32_BITS + 1) <= INT32_BITS,
    "Int64": lambda column: str(column) in INTEGER_BITS,
    "Float32": _is_number,
    "Float64": _is_number,
    "Bool": pa.types.is_boolean,
    "String": lambda column: pa.types.is_string(column) or pa.types.is_large_string(column),
    "Bytes": lambda column: pa.types.is_binary(column) or pa.types.is_large_binary(column),
    "UnixTimestamp": lambda column: pa.types.is_timestamp(column) or pa.types.is_date(column),
}


def fits(column: Any, dtype: str) -> bool:
    """Whether a column's values can become values of a Feast type without being cut or guessed."""
    if dtype.startswith(("Array(", "Set(")) and dtype.endswith(")"):
        inner = dtype[dtype.index("(") + 1 : -1]
        is_list = pa.types.is_list(column) or pa.types.is_large_list(column)
        # Feast takes a date for a moment, but not a list of dates for moments.
        return is_list and not pa.types.is_date(column.value_type) and fits(column.value_type, inner)
    if pa.types.is_dictionary(column):
        column = column.value_type
    # Maps, structs, documents: Feast converts them in ways of its own.
    accepts: Callable[[Any], Any] = ACCEPTED.get(dtype, lambda _: True)
    return bool(accepts(column))
