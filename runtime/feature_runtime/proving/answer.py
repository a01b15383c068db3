"""An answer of a feature server, held against what must come back: by position, name, type, status and value."""

import math
import struct
from datetime import UTC, datetime
from typing import Any

from feature_runtime.offline_store.vector import Vector
from feature_runtime.proving.request import as_json

Columns = dict[str, dict[str, Any]]
PRESENT = "PRESENT"
ABSENT = {"NULL_VALUE", "NOT_FOUND", "OUTSIDE_MAX_AGE"}
NOT_FINITE = {"NaN": math.nan, "Infinity": math.inf, "-Infinity": -math.inf}
"""The floats that JSON has no numbers for, as the server says them."""
NEVER = datetime(1970, 1, 2, tzinfo=UTC)
"""Feast prints the beginning of 1970 where there is no time."""


def wrong_form(vector: Vector, columns: Columns | None) -> list[str]:
    """What is wrong with an answer's columns: their names and their order."""
    if columns is None:
        return ["the answer has not the form of Feast's API"]
    wanted, keys = [name for _, name in vector.features], sorted(vector.keys)
    wrong = [f"the feature {name} is missing" for name in sorted(set(wanted) - columns.keys())]
    wrong += [f"{name} is not in the contract" for name in sorted(columns.keys() - set(wanted) - set(keys))]
    if not wrong and list(columns) != [*keys, *wanted]:
        wrong.append(f"the order is {', '.join(columns)}; the contract says {', '.join([*keys, *wanted])}")
    return wrong


def wrong_type(name: str, value: Any, dtype: str) -> str | None:
    """What is wrong with a value's type."""
    return None if value is None or _has_type(value, dtype) else f"{name} is {value!r}, not a {dtype}"


def wrong_status(name: str, value: Any, status: Any) -> str | None:
    """What is wrong with a value's status."""
    return None if status in (ABSENT if value is None else {PRESENT}) else f"{name} is {value} with the status {status}"


def columns_of(answer: dict[str, Any]) -> Columns | None:
    """An answer's columns by name, in its order; None if it has not the form of Feast's API."""
    metadata, results = answer.get("metadata"), answer.get("results")
    names = metadata.get("feature_names") if isinstance(metadata, dict) else None
    if not isinstance(names, list) or not isinstance(results, list) or len(names) != len(results) or len(set(names)) != len(names):
        return None
    return dict(zip(names, results, strict=True))


def cell(column: dict[str, Any], position: int, field: str = "values") -> Any:
    """What a column says in one row; None if it is shorter."""
    cells = column.get(field, [])
    return cells[position] if position < len(cells) else None


def served_time(column: dict[str, Any], position: int) -> datetime | None:
    """When a value was true, None for a value that has no time."""
    text = cell(column, position, "event_timestamps")
    moment = datetime.fromisoformat(text) if text else NEVER
    return moment if moment > NEVER else None


def equal(value: Any, offline: Any, dtype: str) -> bool:
    """Whether a served value (as JSON has it) is the one that the offline store (or a function) says."""
    if value is None or is_missing(offline):
        return value is None and is_missing(offline)
    if dtype.startswith(("Array(", "Set(")):
        return _equal_items(value, list(offline), dtype)
    match dtype:
        case "Float32":
            same = _float32(_number(value)) == _float32(offline)
        case "Float64":
            same = _number(value) == offline
        case "UnixTimestamp" | "Bytes" | "Int32" | "Int64" | "Bool" | "String":
            same = value == as_json(offline)
        case _:
            # Other types come back in a form of Feast's own; that they came back is what is checked.
            same = True
    return bool(same)


def is_missing(value: Any) -> bool:
    """Whether there is no value: null, or what some libraries write for it among numbers."""
    return value is None or (isinstance(value, float) and math.isnan(value))


def _has_type(value: Any, dtype: str) -> bool:
    if dtype.startswith(("Array(", "Set(")):
        inner = dtype[dtype.index("(") + 1 : -1]
        return isinstance(value, list) and all(item is None or _has_type(item, inner) for item in value)
    match dtype:
        case "Int32" | "Int64" | "UnixTimestamp":
            return type(value) is int
        case "Float32" | "Float64":
            return type(value) in (int, float) or (type(value) is str and value in NOT_FINITE)
        case "Bool":
            return type(value) is bool
        case "String" | "Bytes":
            return type(value) is str
        case _:
            return True


def _equal_items(value: Any, offline: list[Any], dtype: str) -> bool:
    inner = dtype[dtype.index("(") + 1 : -1]
    if not isinstance(value, list) or len(value) != len(offline):
        return False
    if dtype.startswith("Set("):
        # In no order; each of one must be among the other.
        return all(any(_equal_item(item, other, inner) for other in offline) for item in value)
    return all(_equal_item(*pair, inner) for pair in zip(value, offline, strict=True))


def _equal_item(item: Any, offline: Any, dtype: str) -> bool:
    # Lists of floats have no nulls: Feast stores them as NaN, and a NaN as it is.
    if dtype in ("Float32", "Float64") and item == "NaN":
        return is_missing(offline)
    return equal(item, offline, dtype)


def _number(value: Any) -> Any:
    return NOT_FINITE.get(value, value) if isinstance(value, str) else value


def _float32(value: Any) -> float:
    rounded: float = struct.unpack("f", struct.pack("f", float(value)))[0]
    return rounded


def plain(value: Any, dtype: str) -> Any:
    """A value of the offline store as the server would print it."""
    if value is None or isinstance(value, str):
        return value
    if isinstance(value, float) and not math.isfinite(value):
        return next(name for name, number in NOT_FINITE.items() if repr(number) == repr(value))
    if dtype == "Float32":
        # As the server prints it: the shortest number that is this float.
        return float(f"{_float32(value):.9g}")
    if isinstance(value, list):
        return [plain(item, dtype[dtype.index("(") + 1 : -1]) for item in value]
    return value if isinstance(value, bool | int | float) else str(value)
