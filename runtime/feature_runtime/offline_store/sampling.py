"""A sample of a service's entities: as likely each, the same on the same day, from a history of any length."""
# ruff: noqa: S608 - names in a query are our own, or quoted; a value from outside never becomes part of one

from collections.abc import Sequence
from datetime import datetime
from typing import Any

import duckdb
import pyarrow as pa

from feature_runtime.offline_store.history import Span, history_column, rows_of, unit_of
from feature_runtime.offline_store.point_in_time import MIB, PIECE_ROWS, PIECE_SHARE, JoinedView
from feature_runtime.offline_store.table_engine import connect


def sample(views: Sequence[JoinedView], ends: dict[str, datetime], *, count: int, seed: str, memory_mib: int) -> list[dict[str, Any]]:
    """At most `count` entities (key asked for to value) that have rows up to their view's end and within its ttl.

    Keys of one view belong together; keys of several are put together by chance.
    """
    chosen: dict[str, list[Any]] = {}
    for view in sorted(views, key=lambda view: (-len(view.keys), view.name)):
        if set(view.keys.values()) & chosen.keys():
            continue
        found = _keys(view, ends[view.name], count=count, seed=seed, memory_mib=memory_mib)
        chosen |= {view.keys[name]: [row[f"_{name}"] for row in found] for name in view.keys}
    least = min((len(values) for values in chosen.values()), default=1)
    return [{name: values[position] for name, values in chosen.items()} for position in range(least)]


def _keys(view: JoinedView, end: datetime, *, count: int, seed: str, memory_mib: int) -> list[dict[str, Any]]:
    """The `count` keys whose digest with the seed is least: any of them as likely as another."""
    if not view.keys:
        return []
    span = span_until(view, end)
    engine = connect(memory_mib=memory_mib)
    keys = ", ".join(history_column(name) for name in view.keys)
    present = " AND ".join(f"{history_column(name)} IS NOT NULL" for name in view.keys)
    text = " || chr(31) || ".join(f"CAST({history_column(name)} AS VARCHAR)" for name in view.keys)
    order = f"md5('{seed}' || {text})"
    pieces = rows_of(view.history.batches(span, list(view.keys), [], created=False), rows=PIECE_ROWS, size=memory_mib * MIB // PIECE_SHARE)
    least: pa.Table | None = None
    for piece in pieces:
        keys_of = piece.select([f"_{name}" for name in view.keys])
        engine.register("piece", pa.concat_tables([keys_of, least]) if least is not None else keys_of)
        least = _table(engine, f"SELECT {keys} FROM (SELECT DISTINCT {keys} FROM piece WHERE {present}) ORDER BY {order} LIMIT {count}")
        engine.unregister("piece")
    return least.to_pylist() if least is not None else []


def span_until(view: JoinedView, end: datetime) -> Span:
    """The time in which a view's rows count at `end`."""
    microseconds = epoch_microseconds(end)
    per = 1_000 if unit_of(*view.history.times) == "ns" else 1
    ttl = view.view.ttl
    earliest = microseconds - (ttl.days * 86_400 + ttl.seconds) * 10**6 - ttl.microseconds if ttl else None
    return Span(
        unit="ns" if per > 1 else "us",
        earliest=earliest * per if earliest is not None else None,
        latest=microseconds * per,
    )


def epoch_microseconds(moment: datetime) -> int:
    """A moment in microseconds since 1970, exactly."""
    return int(pa.scalar(moment, pa.timestamp("us", tz="UTC")).cast(pa.int64()).as_py())


def _table(engine: duckdb.DuckDBPyConnection, query: str) -> pa.Table:
    return engine.sql(query).to_arrow_reader().read_all()
