"""A sample of a service's entities: as likely each, the same on the same day, from a history of any length."""
# ruff: noqa: S608 - names in a query are our own, and a value from outside never becomes part of one

from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from functools import partial
from typing import Any

import pyarrow as pa

from feature_runtime.offline_store.joined_view import JoinedView, ttl_of
from feature_runtime.offline_store.point_in_time import MIB, PIECE_ROWS, PIECE_SHARE
from feature_runtime.offline_store.rows import Span, epoch_microseconds, field_column, rows_of, span_of, unit_of
from feature_runtime.offline_store.table_engine import connect


def sample(
    views: Sequence[JoinedView],
    ends: dict[str, datetime],
    *,
    count: int,
    seed: str,
    memory_mib: int,
    named: Mapping[str, list[Any]] | None = None,
) -> list[dict[str, Any]]:
    """At most `count` entities (key asked for to value) that have rows up to their view's end and within its ttl.

    Of a view that is pushed to, and has none, any that it ever had.
    Keys of one view belong together, also with those that another view shares; otherwise they are put together by chance.
    Keys that are `named` have these values, whether or not there are rows of them.
    """
    chosen: dict[str, list[Any]] = dict(named or {})
    for view in sorted(views, key=lambda view: (-len(view.keys), view.name)):
        new = [asked for asked in view.keys.values() if asked not in chosen]
        if not new:
            continue
        keys_of = partial(_keys, view, _span(view, ends[view.name]), count=count, seed=seed, memory_mib=memory_mib)
        if view.is_pushed and not keys_of():
            now = span_of(None, datetime.now(UTC))
            keys_of = partial(_keys, view, now, count=count, seed=seed, memory_mib=memory_mib)
        shared = {asked: chosen[asked] for asked in view.keys.values() if asked in chosen}
        rows = _completed(shared, keys_of) if shared else keys_of()
        chosen |= {asked: [row[asked] for row in rows] for asked in new}
    least = min((len(values) for values in chosen.values()), default=1)
    return [{name: values[position] for name, values in chosen.items()} for position in range(least)]


def _completed(shared: dict[str, list[Any]], keys_of: Callable[..., list[dict[str, Any]]]) -> list[dict[str, Any]]:
    """For each of the shared keys' values a key of the view that has them; where it has none, any that it has."""
    known = {tuple(row[asked] for asked in shared): row for row in keys_of(among=shared)}
    others = list(known.values()) or keys_of()
    if not others:
        return []
    return [known.get(values) or others[position % len(others)] for position, values in enumerate(zip(*shared.values(), strict=False))]


def _keys(
    view: JoinedView, span: Span, *, count: int, seed: str, memory_mib: int, among: Mapping[str, list[Any]] | None = None
) -> list[dict[str, Any]]:
    """The `count` keys (as asked for) whose digest with the seed is least: any of them as likely as another.

    With `among`, values of some of them: one key for each of these that the view has.
    """
    names = {asked: f"k{number}" for number, asked in enumerate(view.keys.values())}
    engine = connect(memory_mib=memory_mib)
    keys = ", ".join(names.values())
    present = " AND ".join(f"{name} IS NOT NULL" for name in names.values())
    text = " || chr(31) || ".join(f"CAST({name} AS VARCHAR)" for name in names.values())
    order = f"md5($seed || {text})"
    shared = ", ".join(names[asked] for asked in among or {})
    rows = f"piece SEMI JOIN among USING ({shared})" if shared else "piece"
    one_each = f"QUALIFY row_number() OVER (PARTITION BY {shared} ORDER BY {order}) = 1" if shared else ""
    batches = view.history.batches(span, list(view.keys), [], created=False)
    least: pa.Table | None = None
    for piece in rows_of(batches, rows=PIECE_ROWS, size=memory_mib * MIB // PIECE_SHARE):
        keys_of = piece.select([field_column(name) for name in view.keys]).rename_columns(list(names.values()))
        if among and least is None:
            kinds = keys_of.schema
            engine.register(
                "among", pa.table({names[asked]: pa.array(values, kinds.field(names[asked]).type) for asked, values in among.items()})
            )
        engine.register("piece", pa.concat_tables([keys_of, least]) if least is not None else keys_of)
        distinct = f"SELECT DISTINCT {keys} FROM {rows} WHERE {present}"
        chosen = f"SELECT {keys} FROM ({distinct}) {one_each} ORDER BY {order} LIMIT {count}"
        least = engine.sql(chosen, params={"seed": seed}).to_arrow_reader().read_all()
        engine.unregister("piece")
    return [dict(zip(names, row.values(), strict=True)) for row in least.to_pylist()] if least is not None else []


def _span(view: JoinedView, end: datetime) -> Span:
    """The time in which a view's rows count at `end`."""
    unit = unit_of(view.history.kind)
    latest = epoch_microseconds(end) * (1_000 if unit == "ns" else 1)
    ttl = ttl_of(view.view, unit)
    return Span(unit=unit, earliest=latest - ttl if ttl else None, latest=latest)
