"""The values that functions of on-demand views take and give, held against their types; nothing is converted that could lose."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa
from feast.protos.feast.types.Value_pb2 import Value
from feast.type_map import feast_value_type_to_python_type

from feature_runtime.online_store.encoding import serialized
from feature_runtime.value_types import TYPES, Parsed, ValueType, parse
from feature_runtime.value_types.columns import as_list

SAME_IN_ARROW = {"Bool", "Bytes", "Float32", "Float64", "ImageBytes", "Int32", "Int64", "PdfBytes", "String"}
"""Types whose values are the same in Python, by way of Arrow and by way of Feast."""

FROM_JSON = {row.name: row.from_json for row in TYPES.values() if row.request}


WHOLE_NUMBERS = {row.name: 2 ** (row.column.kind.bit_width - 1) for row in TYPES.values() if row.column.kind in (pa.int32(), pa.int64())}
"""The types of whole numbers, and the first that each cannot hold."""


def as_python(stored: bytes | None) -> Any:
    """A stored value as Feast's SDK gives it to a function; None for null, for what is not there, and for what Python cannot hold."""
    try:
        return feast_value_type_to_python_type(Value.FromString(stored)) if stored else None
    except (ValueError, ArithmeticError, OSError):
        # A moment beyond Python's calendar, a text that is no UUID or no number.
        return None


def python_values(column: pa.Array, dtype: Any) -> list[Any]:
    """The values of a column in its type's form, as a function gets them when they are stored."""
    kind = parse(dtype)
    row = (kind.inner or kind).row if kind.outer != "Set" else None
    if row and row.name in SAME_IN_ARROW:
        return column.to_pylist()  # type: ignore[no-any-return]
    return [as_python(stored) for stored in serialized(column, kind).to_pylist()]


def as_in_training(values: Sequence[Any], dtype: str) -> Sequence[Any]:
    """Values of the request, as JSON brings them, as training has them in its data frame.

    Raises:
        ValueError, OverflowError: one is beyond what the type holds.
    """
    return [FROM_JSON[dtype](value) for value in values]


def output_column(raw: Any, name: str, dtype: str, count: int) -> list[Any]:
    """One feature of what a function gave: `count` values of its type, None for null.

    Raises:
        ValueError: it is missing, or of another length or type.
        OverflowError: a number is beyond what the type holds.
    """
    names = raw.column_names if isinstance(raw, pa.Table) else raw
    if name not in names:
        raise ValueError(f"its function gave no {name!r}")
    column = raw[name]
    values = column.to_pylist() if isinstance(column, pa.ChunkedArray) else column
    if not isinstance(values, list | tuple | np.ndarray) or len(values) != count:
        shown = f"{len(values)} values" if isinstance(values, list | tuple | np.ndarray) else f"a {type(values).__name__}"
        raise ValueError(f"its function gave {shown} of {name!r} for {count} rows")
    kind = parse(dtype)
    return [_value(value, name, kind) for value in values]


def _value(value: Any, name: str, kind: Parsed) -> Any:
    """In the form that a column of the type has, so that what is trained on is what is stored."""
    if isinstance(value, np.generic):
        value = value.item()
    if value is None or (isinstance(value, float) and np.isnan(value)):
        return None
    if kind.row:
        return _plain(value, name, kind.row)
    if kind.inner is None:
        if not isinstance(value, dict):
            raise _wrong_type(value, name, str(kind))
        return {field: _value(value.get(field), name, inner) for field, inner in kind.fields}
    if not isinstance(value, list | tuple | set | np.ndarray):
        raise _wrong_type(value, name, str(kind))
    return as_list([_value(item, name, kind.inner) for item in value], kind)


def _plain(value: Any, name: str, row: ValueType) -> Any:
    beyond = WHOLE_NUMBERS.get(row.name)
    if beyond and isinstance(value, float) and (value.is_integer() or np.isinf(value)):
        # pandas has no missing integers, and turns the whole column into floats
        value = int(value) if value.is_integer() else value
    elif not row.is_python(value):
        raise _wrong_type(value, name, row.name)
    if beyond and not -beyond <= value < beyond:
        raise OverflowError(f"its function gave {value} for {name!r}, beyond what {row.name} holds")
    return row.stored(value)


def _wrong_type(value: Any, name: str, dtype: str) -> ValueError:
    return ValueError(f"its function gave a {type(value).__name__} for {name!r}, which is {dtype}")
