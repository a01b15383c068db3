"""From the replies of Redis to the answer: values in canonical order, and for each what it is.

PRESENT; NULL_VALUE (a null is stored); NOT_FOUND (no such entity, or the field was never loaded for it);
OUTSIDE_MAX_AGE (older than the view's ttl: null, as in training); INVALID (stored with another type: null).
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

import orjson

from feature_runtime.serving.decoding import EPOCH, WrongType, event_time, json_decoder
from feature_runtime.serving.question import Column, Read
from feature_runtime.serving.quick_decoding import Decoder
from feature_runtime.serving.refused import MOST_ERRORS, Refused, problem
from feature_runtime.serving.requests import Asked

# feast.serving.FieldStatus
STATUS_NAMES = ("INVALID", "PRESENT", "NULL_VALUE", "NOT_FOUND", "OUTSIDE_MAX_AGE")
INVALID, PRESENT, NULL_VALUE, NOT_FOUND, OUTSIDE_MAX_AGE = range(5)

Reply = list[bytes | None]

NO_TIME = (0, 0, EPOCH)


@dataclass(frozen=True, slots=True)
class Policy:
    """Whether to answer or to refuse entities that are not there, and values older than their view's ttl."""

    refuse_not_found: bool = False
    refuse_outside_max_age: bool = False


@dataclass(slots=True)
class Rows:
    """The rows of one read or on-demand view, and what the event times say about each; `statuses` is None when all are PRESENT."""

    view: str
    replies: Sequence[Sequence[bytes | None]]
    statuses: list[int] | None
    times: list[tuple[int, int, str]]


@dataclass(slots=True)
class AnswerColumn:
    """One column before it is printed: for features the stored bytes where PRESENT, for entities the values asked for."""

    name: str
    values: list[Any]
    statuses: list[int]
    times: list[tuple[int, int, str]]
    is_entity: bool


@dataclass(slots=True)
class Judged:
    """A question with its rows, ready to be printed."""

    asked: Asked
    rows: list[Rows]
    tally: dict[str, list[int]] = field(default_factory=dict)
    """Filled by printing: per view, how many cells had each status."""

    def add_computed(self, view: str, columns: Sequence[Sequence[bytes]]) -> None:
        """Add the rows of the question's next on-demand view: its features in their order, as they would be stored."""
        self.rows.append(Rows(view, list(zip(*columns, strict=True)), None, [NO_TIME] * self.asked.count))

    def columns(self) -> list[AnswerColumn]:
        """The answer column by column, for printers other than JSON's."""
        count = self.asked.count
        found = [
            AnswerColumn(column.name, self.asked.values[column.name], [PRESENT] * count, [NO_TIME] * count, is_entity=True)
            for column in self.asked.question.entities
        ]
        for column in self.asked.question.columns:
            values, statuses = self.cells(column, _stored(column.dtype))
            times = self.rows[column.rows].times
            found.append(AnswerColumn(column.name, values, statuses or [PRESENT] * count, times, is_entity=False))
        return found

    def cells(self, column: Column, decode: Decoder) -> tuple[list[Any], list[int] | None]:
        """The decoded values of a column and their statuses; None when all are PRESENT."""
        rows, position = self.rows[column.rows], column.position
        counts = self.tally.get(rows.view)
        if counts is None:
            counts = self.tally[rows.view] = [0] * len(STATUS_NAMES)
        if rows.statuses is None:
            try:
                values = [decode(reply[position]) for reply in rows.replies]  # type: ignore[arg-type]
            except (WrongType, TypeError, IndexError, UnicodeDecodeError):
                # A field is missing, or not what it should be: which one, is found below.
                pass
            else:
                if None not in values:
                    counts[PRESENT] += len(values)
                    return values, None
        values, statuses = _one_by_one([reply[position] for reply in rows.replies], rows.statuses, decode)
        for status in statuses:
            counts[status] += 1
        return values, statuses


def judge(asked: Asked, replies: Sequence[Sequence[Reply]], now: float, policy: Policy) -> Judged:
    """What the event times say about every row.

    Raises:
        Refused: the policy refuses entities that are not there (404) or values too old (422).
    """
    rows = [_rows(read, read_replies, now) for read, read_replies in zip(asked.question.reads, replies, strict=True)]
    if policy.refuse_not_found or policy.refuse_outside_max_age:
        _refuse(asked, rows, policy)
    return Judged(asked, rows)


def render(judged: Judged) -> bytes:
    """The answer in JSON, shaped as Feast's own server shapes it."""
    asked = judged.asked
    question, count = asked.question, asked.count
    all_present, no_times = _present(count), _no_times(count)
    results: list[dict[str, Any]] = [
        {"values": asked.values[column.name], "statuses": all_present, "event_timestamps": no_times} for column in question.entities
    ]
    times = [orjson.Fragment(orjson.dumps([text for _, _, text in rows.times])) for rows in judged.rows]
    for column in question.columns:
        values, statuses = judged.cells(column, column.decode)
        named = all_present if statuses is None else [STATUS_NAMES[status] for status in statuses]
        results.append({"values": values, "statuses": named, "event_timestamps": times[column.rows]})
    return b'{"results":' + orjson.dumps(results) + (question.metadata_with_versions if asked.versions else question.metadata)


def inputs(judged: Judged, view: Any) -> dict[str, list[Any]]:
    """What an on-demand view is computed from: stored bytes (None unless PRESENT), entity values, values of the request."""
    columns: dict[str, list[Any]] = {**judged.asked.values, **judged.asked.request_data}
    for name, read, position, dtype in view.inputs:
        rows = judged.rows[read]
        raws = [reply[position] for reply in rows.replies]
        values, statuses = _one_by_one(raws, rows.statuses, _stored(dtype))
        columns[name] = [value if status == PRESENT else None for value, status in zip(values, statuses, strict=True)]
    return columns


def _rows(read: Read, replies: Sequence[Reply], now: float) -> Rows:
    oldest = now - read.ttl_seconds if read.ttl_seconds else -float("inf")
    times, statuses, all_present = [], [], True
    for reply in replies:
        raw = reply[0]
        status, time = PRESENT, NO_TIME
        if raw is None:
            status = NOT_FOUND
        else:
            try:
                time = event_time(raw)
            except WrongType:
                status = INVALID
            else:
                # Training takes a row that is exactly as old as the ttl.
                if time[0] + time[1] / 1e9 < oldest:
                    status = OUTSIDE_MAX_AGE
        times.append(time)
        statuses.append(status)
        all_present = all_present and status == PRESENT
    return Rows(read.view, replies, None if all_present else statuses, times)


def _one_by_one(raws: list[bytes | None], rows: list[int] | None, decode: Decoder) -> tuple[list[Any], list[int]]:
    values: list[Any] = []
    statuses: list[int] = []
    for position, raw in enumerate(raws):
        value, status = None, PRESENT if rows is None else rows[position]
        if status == PRESENT:
            if raw is None:
                status = NOT_FOUND
            else:
                try:
                    value = decode(raw) if raw else None
                except (WrongType, IndexError, UnicodeDecodeError):
                    status = INVALID
                else:
                    status = NULL_VALUE if value is None else PRESENT
        values.append(value)
        statuses.append(status)
    return values, statuses


def _refuse(asked: Asked, rows: list[Rows], policy: Policy) -> None:
    missing: list[dict[str, Any]] = []
    outdated: list[dict[str, Any]] = []
    for read, one in zip(asked.question.reads, rows, strict=True):
        for position, status in enumerate(one.statuses or ()):
            entity = {name: asked.values[name][position] for name in read.columns}
            place = f"entities[{position}]"
            if status == NOT_FOUND and policy.refuse_not_found:
                missing.append(problem(place, entity, f"the view {read.view!r} has no such entity", "Ask for entities that are loaded."))
            if status == OUTSIDE_MAX_AGE and policy.refuse_outside_max_age:
                rule = f"its values in {read.view!r} are of {one.times[position][2]}, older than the view's ttl of {read.ttl_seconds} s"
                outdated.append(problem(place, entity, rule, "Load newer values, or raise the view's ttl."))
    if missing:
        raise Refused(404, missing[:MOST_ERRORS])
    if outdated:
        raise Refused(422, outdated[:MOST_ERRORS])


@lru_cache(maxsize=2_000)
def _present(count: int) -> orjson.Fragment:
    return orjson.Fragment(orjson.dumps(["PRESENT"] * count))


@lru_cache(maxsize=2_000)
def _no_times(count: int) -> orjson.Fragment:
    return orjson.Fragment(orjson.dumps([EPOCH] * count))


@lru_cache(maxsize=1_000)
def _stored(dtype: str) -> Decoder:
    """Leaves the stored bytes as they are, when they are of the type."""
    decode = json_decoder(dtype)

    def check(raw: bytes) -> bytes | None:
        return None if decode(raw) is None else raw

    return check
