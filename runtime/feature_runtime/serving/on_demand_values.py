"""The values that functions of on-demand views take and give, held against their types; nothing is converted that could lose."""

import numbers
import struct
from base64 import b64decode
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import pyarrow as pa
from feast.protos.feast.types.Value_pb2 import Value
from feast.type_map import feast_value_type_to_python_type

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)

CHECKS: dict[str, Callable[[Any], bool]] = {
    "Bool": lambda value: isinstance(value, bool),
    "Bytes": lambda value: isinstance(value, bytes),
    "Float32": lambda value: isinstance(value, numbers.Real) and not isinstance(value, bool),
    "Float64": lambda value: isinstance(value, numbers.Real) and not isinstance(value, bool),
    "Int32": lambda value: isinstance(value, int) and not isinstance(value, bool),
    "Int64": lambda value: isinstance(value, int) and not isinstance(value, bool),
    "String": lambda value: isinstance(value, str),
    "UnixTimestamp": lambda value: isinstance(value, datetime),
}

FLOAT32 = struct.Struct("<f")
FROM_JSON: dict[str, Callable[[Any], Any]] = {
    "Bytes": b64decode,
    "Float32": lambda value: FLOAT32.unpack(FLOAT32.pack(value))[0],
    "Float64": float,
    "UnixTimestamp": lambda value: EPOCH + timedelta(seconds=value),
}
"""By the types that have another form in Python."""


WHOLE_NUMBERS = {"Int32": 2**31, "Int64": 2**63}
"""The types of whole numbers, and the first that each cannot hold."""


def as_python(stored: bytes | None) -> Any:
    """A stored value as Feast's SDK gives it to a function; None for null, for what is not there, and for a moment beyond Python's."""
    try:
        return feast_value_type_to_python_type(Value.FromString(stored)) if stored else None
    except (ValueError, OverflowError, OSError):
        return None


def as_in_training(values: Sequence[Any], dtype: str) -> Sequence[Any]:
    """Values of the request, as JSON brings them, as training has them in its data frame.

    Raises:
        ValueError, OverflowError: one is beyond what the type holds.
    """
    convert = FROM_JSON.get(dtype)
    return values if convert is None else [convert(value) for value in values]


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
    return [_value(value, name, dtype) for value in values]


def _value(value: Any, name: str, dtype: str) -> Any:
    if isinstance(value, np.generic):
        value = value.item()
    if value is None or (isinstance(value, float) and np.isnan(value)):
        return None
    if not dtype.startswith("Array("):
        return _checked(value, name, dtype)
    if not isinstance(value, list | tuple | np.ndarray):
        raise _wrong_type(value, name, dtype)
    inner = dtype[len("Array(") : -1]
    return [_checked(item.item() if isinstance(item, np.generic) else item, name, inner) for item in value]


def _checked(value: Any, name: str, dtype: str) -> Any:
    beyond = WHOLE_NUMBERS.get(dtype)
    if beyond and isinstance(value, float) and (value.is_integer() or np.isinf(value)):
        # pandas has no missing integers, and turns the whole column into floats
        value = int(value) if value.is_integer() else value
    elif dtype in CHECKS and not CHECKS[dtype](value):
        raise _wrong_type(value, name, dtype)
    if beyond and not -beyond <= value < beyond:
        raise OverflowError(f"its function gave {value} for {name!r}, beyond what {dtype} holds")
    return value


def _wrong_type(value: Any, name: str, dtype: str) -> ValueError:
    return ValueError(f"its function gave a {type(value).__name__} for {name!r}, which is {dtype}")
