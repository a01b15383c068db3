"""The point-in-time join: for every label what was known of its entities at its time, and nothing later.

Of a view's rows for the label's entity the newest counts (which that is, `rows` says) whose event timestamp is at most
the label's time and, when the view has a ttl, at least the label's time less the ttl: both bounds included, as in
Feast's own offline stores. Every label comes back exactly once, in its place, whatever else is equal to it; where no row
counts its features are null.

Two passes over the history, both in pieces of bounded size. The first reads only keys and times and finds the time of
each label's row; the second takes the features of these rows. So nothing that grows with the history is ever held or
sorted, and what grows with the labels is the engine's, which spills.
"""
# ruff: noqa: S608 - names in a query are our own, and a value from outside never becomes part of one

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from feature_runtime.offline_store.joined_view import JoinedView, ttl_of
from feature_runtime.offline_store.rows import CREATED, NEWEST_FIRST, PLACE, TIME, Span, field_column, rows_of
from feature_runtime.offline_store.source import LeftOut
from feature_runtime.offline_store.table_engine import connect
from feature_runtime.refusal import Refusal

PIECE_ROWS = 500_000
PIECE_SHARE = 8
"""A piece of history takes at most this fraction of the engine's memory."""
OUT_ROWS = 65_536
MIB = 2**20


@dataclass(frozen=True, kw_only=True)
class JoinSettings:
    """How to join: memory of the engine in MiB, the unit of all times, and whether views' ttl count.

    With `created_until` only rows written by then count, of views that say when a row was written.
    """

    memory_mib: int
    unit: str
    with_ttl: bool = True
    created_until: int | None = None


@dataclass(frozen=True, kw_only=True)
class _Place:
    """A view in the engine, where columns have numbers for names: SQL's take no account of case, and some are ours.

    Its key `k0` is equal to column `keys[0]` of the labels; its features are `f0` and so on.
    """

    number: int
    joined: JoinedView
    keys: list[str]

    @property
    def found(self) -> str:
        return f"found_{self.number}"

    @property
    def rows(self) -> str:
        return f"rows_{self.number}"

    @property
    def features(self) -> list[str]:
        return [f"f{number}" for number in range(len(self.joined.features))]


def join(labels: Iterable[pa.RecordBatch], views: Sequence[JoinedView], settings: JoinSettings) -> Iterator[pa.RecordBatch]:
    """What each view knew at each label, in the labels' order.

    `labels` have the keys (as `field_column`) in their join keys' types, and TIME as whole numbers of the settings' unit;
    neither may be null. The result has for each view its `time_column` and the `column` of each of its features.

    Raises:
        Refusal: a source cannot be read, or was changed in between.
    """
    engine = connect(memory_mib=settings.memory_mib)
    asked = dict.fromkeys(column for view in views for column in view.keys.values())
    names = {column: f"k{number}" for number, column in enumerate(asked)}
    renamed = {TIME: TIME, **{field_column(column): name for column, name in names.items()}}
    count = _make(engine, "labels", _numbered(_renamed(labels, renamed), "id"), "SELECT * FROM piece")
    if not count:
        return
    places = [
        _Place(number=number, joined=view, keys=[names[column] for column in view.keys.values()]) for number, view in enumerate(views)
    ]
    for place in places:
        _find_times(engine, place, settings, count)
    filled = [place for place in places if _take_rows(engine, place, settings)]
    yield from _result(engine, places, filled)


def _make(engine: duckdb.DuckDBPyConnection, table: str, batches: Iterable[pa.RecordBatch], query: str) -> int:
    """Make a table of what a query gives over `piece`, the batches one at a time; its rows. Without batches none is made."""
    refusals: list[Refusal] = []

    def watched() -> Iterator[pa.RecordBatch]:
        # The engine tells of an error in its input as one of its own.
        try:
            yield from batches
        except Refusal as refusal:
            refusals.append(refusal)
            raise

    rows = watched()
    first = next(rows, None)
    if first is None:
        return 0
    engine.register("piece", pa.RecordBatchReader.from_batches(first.schema, chain([first], rows)))
    try:
        count: int = engine.execute(f"CREATE TABLE {table} AS {query}").fetchall()[0][0]
    except duckdb.Error:
        if refusals:
            raise refusals[0] from None
        raise
    finally:
        engine.unregister("piece")
    return count


def _find_times(engine: duckdb.DuckDBPyConnection, place: _Place, settings: JoinSettings, count: int) -> None:
    """Make the table of the `count` labels with the event time of the row that counts (`best`), null where none does."""
    keys = "".join(f", {label} AS k{number}" for number, label in enumerate(place.keys))
    engine.execute(f"CREATE TABLE {place.found} AS SELECT id, {TIME}{keys}, NULL::BIGINT AS best FROM labels")
    named = "".join(f"found.k{number}, " for number in range(len(place.keys)))
    same = "".join(f"found.k{number} = piece.k{number} AND " for number in range(len(place.keys)))
    place.joined.history.left_out = LeftOut()
    history = _rows(place, settings, _span(engine, place, settings), whole=False)
    for piece in rows_of(history, rows=max(PIECE_ROWS, count), size=settings.memory_mib * MIB // PIECE_SHARE):
        engine.register("piece", piece)
        engine.execute(
            f"CREATE OR REPLACE TABLE {place.found} AS SELECT found.id, found.{TIME}, {named}greatest(best, piece.{TIME}) AS best "
            f"FROM {place.found} AS found ASOF LEFT JOIN piece ON {same}found.{TIME} >= piece.{TIME}"
        )
        engine.unregister("piece")
    if settings.with_ttl and (ttl := ttl_of(place.joined.view, settings.unit)):
        engine.execute(f"UPDATE {place.found} SET best = NULL WHERE {TIME}::HUGEINT - best > {ttl}")


def _take_rows(engine: duckdb.DuckDBPyConnection, place: _Place, settings: JoinSettings) -> bool:
    """Make the table of the rows that count: label, event time, features; one for each label that has one. False where none does."""
    same = "".join(f" AND found.k{number} = piece.k{number}" for number in range(len(place.keys)))
    wanted, first, last = engine.sql(f"SELECT count(best), min(best), max(best) FROM {place.found}").fetchall()[0]
    if not wanted:
        return False
    span = Span(unit=settings.unit, earliest=first, latest=last)
    columns = "".join(f", piece.{name}" for name in place.features)
    created = f"piece.{CREATED}" if place.joined.history.has_created else f"NULL::BIGINT AS {CREATED}"
    query = (
        f"SELECT found.id, piece.{PLACE}, {created}, piece.{TIME}{columns} FROM piece "
        f"JOIN {place.found} AS found ON piece.{TIME} = found.best{same}"
    )
    rows = _make(engine, place.rows, _numbered(_rows(place, settings, span, whole=True), PLACE), query)
    distinct = engine.sql(f"SELECT count(DISTINCT id) FROM {place.rows}").fetchall()[0][0] if rows else 0
    if distinct != wanted:
        raise Refusal(f"the source of the feature view {place.joined.view.name!r} changed while it was read. Run it again.")
    if rows != wanted:
        engine.execute(
            f"DELETE FROM {place.rows} WHERE (id, {PLACE}) NOT IN (SELECT (id, {PLACE}) FROM (SELECT id, {PLACE}, row_number() OVER "
            f"(PARTITION BY id ORDER BY {NEWEST_FIRST}) AS place FROM {place.rows}) WHERE place = 1)"
        )
    return True


def _result(engine: duckdb.DuckDBPyConnection, places: Sequence[_Place], filled: Sequence[_Place]) -> Iterator[pa.RecordBatch]:
    columns, names = [], []
    joins = [f" LEFT JOIN {place.rows} ON labels.id = {place.rows}.id" for place in filled]
    for place in places:
        view, table, there = place.joined, place.rows, place in filled
        columns.append(f"{table}.{TIME}" if there else "NULL::BIGINT")
        columns += [f"{table}.{name}" if there else "NULL" for name in place.features]
        names += [view.time_column, *(view.column(name) for name in view.features)]
    query = f"SELECT {', '.join(columns) or 'labels.id'} FROM labels{''.join(joins)} ORDER BY labels.id"
    for batch in engine.sql(query).to_arrow_reader(OUT_ROWS):
        yield pa.RecordBatch.from_arrays(batch.columns, names or ["id"])


def _rows(place: _Place, settings: JoinSettings, span: Span, *, whole: bool) -> Iterator[pa.RecordBatch]:
    """The history of the span: keys and times, and when `whole` the features and when a row was written."""
    view, until = place.joined, settings.created_until
    created = view.history.has_created and (whole or until is not None)
    features = view.features if whole else []
    renamed = {TIME: TIME, **({CREATED: CREATED} if created else {})}
    renamed |= {field_column(name): f"k{number}" for number, name in enumerate(view.keys)}
    renamed |= {field_column(name): f"f{number}" for number, name in enumerate(features)}
    counted = None if whole else view.history.left_out
    for batch in _renamed(view.history.batches(span, list(view.keys), features, created=created, left_out=counted), renamed):
        if created and until is not None:
            # A row that does not say when it was written was there all along.
            yield batch.filter(pc.fill_null(pc.less_equal(batch[CREATED], until), fill_value=True))
        else:
            yield batch


def _span(engine: duckdb.DuckDBPyConnection, place: _Place, settings: JoinSettings) -> Span:
    first, last = engine.sql(f"SELECT min({TIME}), max({TIME}) FROM labels").fetchall()[0]
    ttl = ttl_of(place.joined.view, settings.unit) if settings.with_ttl else 0
    return Span(unit=settings.unit, earliest=first - ttl if ttl else None, latest=last)


def _renamed(batches: Iterable[pa.RecordBatch], names: Mapping[str, str]) -> Iterator[pa.RecordBatch]:
    """Of the batches these columns, and their new names."""
    for batch in batches:
        yield pa.RecordBatch.from_arrays([batch[name] for name in names], list(names.values()))


def _numbered(batches: Iterable[pa.RecordBatch], name: str) -> Iterator[pa.RecordBatch]:
    """The batches with one more column, in which their rows are counted from 0 on."""
    start = 0
    for batch in batches:
        yield batch.append_column(name, pa.array(np.arange(start, start + batch.num_rows, dtype=np.int64)))
        start += batch.num_rows
