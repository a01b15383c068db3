"""Rows of history: what their columns are called, their times, and which of them counts.

**Of the rows of one entity that count at a moment, the newest is the one with the greatest event timestamp; of these the
one with the greatest created timestamp (one that has none comes first); of these the last in the source: the later row
of a file, the later file by its path.** Times are compared to the nanosecond. A load, a training set, the skew probe and
the smoke test pick by this rule, which is said here and nowhere else.

A time without a zone is in UTC, as Feast takes it.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from feature_runtime.value_types.arrow_forms import PER_SECOND

LEAST, MOST = -(2**63) + 1, 2**63 - 1
"""Of the whole numbers that are times."""
TIME = "t"
CREATED = "c"
PLACE = "n"
"""The column with a row's place in its source, for the engine that joins."""
NEWEST_FIRST = f"{TIME} DESC, {CREATED} DESC NULLS LAST, {PLACE} DESC"
"""The rule as SQL says it."""
BEGINNING = datetime(1970, 1, 1, tzinfo=UTC)


def ranks(table: pa.Table) -> npt.NDArray[np.int64]:
    """The rule for rows in the order of their source: which place each takes, the newest the last."""
    times = [whole_numbers(table.column(TIME)).to_numpy()]
    if CREATED in table.column_names:
        times.insert(0, pc.fill_null(whole_numbers(table.column(CREATED)), LEAST - 1).to_numpy())
    # Stable: of equal times the later row stays the later.
    order = np.lexsort(times)
    places = np.empty(len(order), np.int64)
    places[order] = np.arange(len(order))
    return places


def field_column(field: str) -> str:
    """The column of a field (of a join key or a feature) in a batch: its name can be none of ours, whatever the field's is."""
    return f"_{field}"


@dataclass(frozen=True, kw_only=True)
class Span:
    """From when to when event times count, both included, in whole numbers of `unit`; no `earliest`: from the beginning."""

    unit: str
    earliest: int | None
    latest: int

    def within(self, unit: str) -> tuple[int, int]:
        """The first and the last moment of the span in another unit, as far as a column of it can hold them."""
        here, there = PER_SECOND[unit], PER_SECOND[self.unit]
        first = LEAST if self.earliest is None else -(-self.earliest * here // there)
        return max(first, LEAST), min(self.latest * here // there, MOST)


def span_of(earliest: datetime | None, latest: datetime) -> Span:
    """The span between two moments."""
    return Span(unit="us", earliest=None if earliest is None else epoch_microseconds(earliest), latest=epoch_microseconds(latest))


def epoch_microseconds(moment: datetime) -> int:
    """A moment in microseconds since 1970, exactly."""
    return (moment - BEGINNING) // timedelta(microseconds=1)


def moment_of_epoch(microseconds: int) -> datetime:
    """The moment so many microseconds after the beginning of 1970; what `epoch_microseconds` counts."""
    return BEGINNING + timedelta(microseconds=microseconds)


def unit_of(*kinds: pa.DataType) -> str:
    """The unit in which times of all these types can be compared without losing anything."""
    return "ns" if any(pa.types.is_timestamp(kind) and kind.unit == "ns" for kind in kinds) else "us"


def in_utc(times: pa.Array, unit: str) -> pa.Array:
    """Timestamps (or nulls) in UTC and in a unit that is no coarser; what this cannot hold becomes the nearest that it can."""
    if pa.types.is_null(times.type):
        return pa.nulls(len(times), pa.timestamp(unit, "UTC"))
    times = times.view(pa.timestamp(times.type.unit, "UTC"))
    if times.type.unit == unit:
        return times
    most = MOST // (PER_SECOND[unit] // PER_SECOND[times.type.unit])
    numbers = whole_numbers(times)
    inside = pc.max_element_wise(pc.min_element_wise(numbers, most, skip_nulls=False), -most, skip_nulls=False)
    return inside.view(times.type).cast(pa.timestamp(unit, "UTC"))


def whole_numbers(times: pa.Array) -> pa.Array:
    """Timestamps as whole numbers of their unit since 1970."""
    return times.cast(pa.int64()) if isinstance(times, pa.ChunkedArray) else times.view(pa.int64())


def as_integers(times: pa.Array, unit: str) -> pa.Array:
    """Timestamps or dates as whole numbers of `unit` since 1970.

    Raises:
        pa.ArrowInvalid: a time is one that the unit cannot hold.
    """
    if not pa.types.is_timestamp(times.type):
        times = pc.cast(times, pa.timestamp("s"))
    return pc.cast(pc.cast(times, pa.timestamp(unit, times.type.tz)), pa.int64())


def rows_of(batches: Iterator[pa.RecordBatch], *, rows: int, size: int) -> Iterator[pa.Table]:
    """Batches put together to tables of about so many rows, or of so many bytes if that is less."""
    gathered: list[pa.RecordBatch] = []
    rows_gathered = bytes_gathered = 0
    for batch in batches:
        if not batch.num_rows:
            continue
        gathered.append(batch)
        rows_gathered += batch.num_rows
        bytes_gathered += batch.nbytes
        if rows_gathered >= rows or bytes_gathered >= size:
            yield pa.Table.from_batches(gathered)
            gathered, rows_gathered, bytes_gathered = [], 0, 0
    if gathered:
        yield pa.Table.from_batches(gathered)
