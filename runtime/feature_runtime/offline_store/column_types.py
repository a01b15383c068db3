"""Which columns of a source can hold which of Feast's types, and the values in the form in which the online store holds them."""

from collections.abc import Callable
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
from feast.types import FeastType, from_feast_to_pyarrow_type

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


def arrow_type(dtype: FeastType) -> pa.DataType | None:
    """The Arrow type of a Feast type's values; None for types that stay as the source has them."""
    if str(dtype) == "Bytes":
        return pa.binary()
    try:
        return from_feast_to_pyarrow_type(dtype)
    except ValueError:
        return None


def as_served(values: pa.Array, dtype: FeastType) -> pa.Array:
    """Values in the form in which the online store holds them: the contract's type, timestamps in whole seconds."""
    kind = arrow_type(dtype)
    if kind is None:
        return values
    if "UnixTimestamp" in str(dtype):
        whole = pa.list_(pa.timestamp("s", tz="UTC")) if pa.types.is_list(kind) else pa.timestamp("s", tz="UTC")
        if pa.types.is_timestamp(values.type):
            # A cast cuts towards 1970; without a zone, rounding needs no time zone database.
            values = pc.floor_temporal(pc.cast(values, pa.timestamp(values.type.unit)), unit="second")
        values = pc.cast(values, whole, safe=False)
    # A number becomes the nearest float; an integer that does not fit is an error.
    values = pc.cast(values, kind, safe="Float" not in str(dtype))
    # What some libraries write for a null among numbers is stored as one.
    return pc.if_else(pc.is_nan(values), None, values) if pa.types.is_floating(kind) else values
