"""An answer of a feature server, held against what must come back: by position, name, type, status and value."""

from datetime import UTC, datetime
from typing import Any

from feature_runtime.offline_store.vector import Vector
from feature_runtime.value_types import printed

Columns = dict[str, dict[str, Any]]
PRESENT = "PRESENT"
ABSENT = {"NULL_VALUE", "NOT_FOUND", "OUTSIDE_MAX_AGE"}
NEVER = datetime(1970, 1, 2, tzinfo=UTC)
"""Feast prints the beginning of 1970 where there is no time."""


def wrong_form(vector: Vector, columns: Columns | None) -> list[str]:
    """What is wrong with an answer's columns: their names and their order."""
    if columns is None:
        return ["the answer has not the form of Feast's API"]
    wanted, keys = vector.names, sorted(vector.keys)
    wrong = [f"the feature {name} is missing" for name in sorted(set(wanted) - columns.keys())]
    wrong += [f"{name} is not in the contract" for name in sorted(columns.keys() - set(wanted) - set(keys))]
    if not wrong and list(columns) != [*keys, *wanted]:
        wrong.append(f"the order is {', '.join(columns)}; the contract says {', '.join([*keys, *wanted])}")
    return wrong


def wrong_type(name: str, value: Any, dtype: str) -> str | None:
    """What is wrong with a value's type."""
    return None if value is None or printed(value, dtype) else f"{name} is {value!r}, not a {dtype}"


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
