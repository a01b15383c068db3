"""An answer of a feature server, held against what must come back: by name, type and value."""

import math
import struct
from datetime import UTC, datetime
from typing import Any

from feature_runtime.question import Expected, Question, shown
from feature_runtime.source import Row

Columns = dict[str, dict[str, Any]]


def check(question: Question, answer: dict[str, Any]) -> tuple[list[dict[str, Any]], list[str]]:
    """The vectors of an answer in contract order, and everything that is wrong with them.

    The position in the answer means nothing (Feast's order differs between processes): features are found by name.
    """
    names = answer.get("metadata", {}).get("feature_names")
    results = answer.get("results")
    if not isinstance(names, list) or not isinstance(results, list) or len(names) != len(results):
        return [], [f"{question.service}: the answer has not the form of Feast's API"]
    columns: Columns = dict(zip(names, results, strict=True))
    wanted = {name for _, name, _ in question.features}
    keys = set(question.expected[0].key)
    wrong = [f"{question.service}: the feature {name} is missing" for name in sorted(wanted - columns.keys())]
    wrong += [f"{question.service}: {name} is not in the contract" for name in sorted(columns.keys() - wanted - keys)]
    vectors = []
    for position, expected in enumerate(question.expected):
        vector, found = _check_vector(question, expected, columns, position)
        vectors.append(vector)
        wrong += found
    return vectors, wrong


def _check_vector(question: Question, expected: Expected, columns: Columns, position: int) -> tuple[dict[str, Any], list[str]]:
    vector: dict[str, Any] = {"entity": expected.key, "online": [], "offline": [], "event_timestamp": None}
    wrong = []
    for view, name, dtype in question.features:
        if name not in columns:
            continue
        values = columns[name].get("values", [])
        value = values[position] if position < len(values) else None
        served = _time(columns[name], position)
        rows = expected.rows.get(view)
        row = next((row for row in rows or [] if row.event_timestamp == served), None)
        problem = _stale(name, value, rows[0], served) if rows and row is None else _difference(name, value, row, dtype)
        if problem:
            wrong.append(f"{question.service} {shown(expected.key)}: {problem}")
        vector["online"].append(value)
        vector["offline"].append(_plain(row.values[name] if row else None, dtype))
        if row is not None:
            vector["event_timestamp"] = row.event_timestamp.isoformat()
    return vector, wrong


def _stale(name: str, value: Any, newest: Row, served: datetime | None) -> str:
    return (
        f"{name} is of {served.isoformat() if served else 'no time'} ({value}), "
        f"the newest row of the source of {newest.event_timestamp.isoformat()} ({newest.values[name]})"
    )


def _difference(name: str, value: Any, row: Row | None, dtype: str) -> str | None:
    """What is wrong with a value; without a row (the source cannot be looked into) only its type can be."""
    offline = row.values[name] if row else None
    if value is None:
        return None if row and _is_missing(offline) else f"{name} is missing, the source says {offline}"
    if not _has_type(value, dtype):
        return f"{name} is {value!r}, not a {dtype}"
    if row and not _equal(value, offline, dtype):
        return f"{name} is {value}, the source says {offline}"
    return None


def _time(column: dict[str, Any], position: int) -> datetime | None:
    times = column.get("event_timestamps", [])
    if position >= len(times) or not times[position]:
        return None
    moment = datetime.fromisoformat(times[position])
    return moment if moment > datetime(1970, 1, 2, tzinfo=UTC) else None


def _has_type(value: Any, dtype: str) -> bool:
    if dtype.startswith(("Array(", "Set(")):
        inner = dtype[dtype.index("(") + 1 : -1]
        return isinstance(value, list) and all(_has_type(item, inner) for item in value)
    match dtype:
        case "Int32" | "Int64":
            return type(value) is int
        case "Float32" | "Float64":
            return type(value) in (int, float)
        case "Bool":
            return type(value) is bool
        case "String":
            return type(value) is str
        case _:
            return True


def _equal(value: Any, offline: Any, dtype: str) -> bool:
    if isinstance(value, list) and isinstance(offline, list):
        inner = dtype[dtype.index("(") + 1 : -1]
        return len(value) == len(offline) and all(_equal(*pair, inner) for pair in zip(value, offline, strict=True))
    match dtype:
        case "Float32":
            return _float32(value) == _float32(offline)
        case "Int32" | "Int64" | "Float64" | "Bool" | "String":
            return bool(value == offline)
        case _:
            # Other types come back in a form of Feast's own; that they came back is what is checked.
            return True


def _float32(value: Any) -> float:
    rounded: float = struct.unpack("f", struct.pack("f", float(value)))[0]
    return rounded


def _is_missing(value: Any) -> bool:
    return value is None or (isinstance(value, float) and math.isnan(value))


def _plain(value: Any, dtype: str) -> Any:
    if _is_missing(value):
        return None
    if dtype == "Float32":
        # As the server prints it: the shortest number that is this float.
        return float(f"{_float32(value):.9g}")
    return value if isinstance(value, bool | int | float | str | list) else str(value)
