"""An answer of a feature server, held against what must come back: by position, name, type, status and value."""

from datetime import UTC, datetime
from typing import Any

from feature_runtime.offline_store.source import Row
from feature_runtime.proving.question import Expected, Question
from feature_runtime.proving.request import shown
from feature_runtime.value_types import as_printed, equal, is_missing, json_form, printed

Columns = dict[str, dict[str, Any]]
PRESENT, NULL_VALUE = "PRESENT", "NULL_VALUE"
NEVER = datetime(1970, 1, 2, tzinfo=UTC)
"""Feast prints the beginning of 1970 where there is no time."""


def check(question: Question, answer: dict[str, Any]) -> tuple[list[dict[str, Any]], list[str]]:
    """The vectors of an answer in contract order, and everything that is wrong with them."""
    columns = columns_of(answer)
    if columns is None:
        return [], [f"{question.service}: the answer has not the form of Feast's API"]
    wanted = [name for _, name, _ in question.features]
    keys = sorted(question.vector.keys)
    wrong = [f"{question.service}: the feature {name} is missing" for name in sorted(set(wanted) - columns.keys())]
    wrong += [f"{question.service}: {name} is not in the contract" for name in sorted(columns.keys() - set(wanted) - set(keys))]
    if not wrong and list(columns) != [*keys, *wanted]:
        wrong.append(f"{question.service}: the order is {', '.join(columns)}; the contract says {', '.join([*keys, *wanted])}")
    vectors = []
    for position, expected in enumerate(question.expected):
        vector, found = _check_vector(question, expected, columns, position)
        vectors.append(vector)
        wrong += found
    return vectors, wrong


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


def _check_vector(question: Question, expected: Expected, columns: Columns, position: int) -> tuple[dict[str, Any], list[str]]:
    vector: dict[str, Any] = {
        "entity": {name: json_form(value) for name, value in expected.key.items()},
        "online": [],
        "offline": [],
        "event_timestamp": None,
    }
    wrong = []
    for view, name, dtype in question.features:
        if name not in columns:
            continue
        value, status = cell(columns[name], position), cell(columns[name], position, "statuses")
        if view in question.vector.computed:
            choices = expected.computed.get((view, name), [])
            problem, offline = _computed_difference(name, value, choices, dtype), choices[0] if choices else value
        else:
            served = served_time(columns[name], position)
            rows = expected.rows.get(view)
            row = next((row for row in rows or [] if _same_moment(row.event_timestamp, served)), None)
            problem = _stale(name, value, rows[0], served) if rows and row is None else _difference(name, value, row, dtype)
            offline = row.values[name] if row else None
            if row is not None:
                vector["event_timestamp"] = row.event_timestamp.isoformat()
        if not problem and status != (NULL_VALUE if value is None else PRESENT):
            problem = f"{name} is {value} with the status {status}"
        if problem:
            wrong.append(f"{question.service} {shown(expected.key)}: {problem}")
        vector["online"].append(value)
        vector["offline"].append(as_printed(offline, dtype))
    return vector, wrong


def _same_moment(moment: datetime, served: datetime | None) -> bool:
    return served == moment


def _stale(name: str, value: Any, newest: Row, served: datetime | None) -> str:
    return (
        f"{name} is of {served.isoformat() if served else 'no time'} ({value}), "
        f"the newest row of the source of {newest.event_timestamp.isoformat()} ({newest.values[name]})"
    )


def _difference(name: str, value: Any, row: Row | None, dtype: str) -> str | None:
    """What is wrong with a value; without a row (the source cannot be looked into) only its type can be."""
    offline = row.values[name] if row else None
    if value is None:
        return None if row and is_missing(offline) else f"{name} is missing, the source says {offline}"
    if not printed(value, dtype):
        return f"{name} is {value!r}, not a {dtype}"
    if row and not equal(value, offline, dtype):
        return f"{name} is {value}, the source says {offline}"
    return None


def _computed_difference(name: str, value: Any, choices: list[Any], dtype: str) -> str | None:
    """What is wrong with an on-demand value; without choices (its sources cannot be looked into) only its type can be."""
    if value is not None and not printed(value, dtype):
        return f"{name} is {value!r}, not a {dtype}"
    if choices and not any(equal(value, choice, dtype) for choice in choices):
        return f"{name} is {value}, the definitions compute {choices[0]}"
    return None
