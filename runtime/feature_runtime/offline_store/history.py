"""The history of a feature view: the rows of its source in the contract's types, in batches, however long it is.

Arrow's own scanner decodes whole row groups ahead of whoever reads slower; here one batch is decoded at a time.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as ds
import pyarrow.parquet as pq
from feast import FeatureView
from pyarrow.fs import LocalFileSystem

from feature_runtime.offline_store.source import UNREADABLE, ViewSource
from feature_runtime.refusal import Refusal
from feature_runtime.retrying import first_line
from feature_runtime.value_types.columns import arrow_type, as_field
from feature_runtime.value_types.columns import as_column as as_served

__all__ = ["arrow_type", "as_served"]

BATCH_ROWS = 65_536
PER_SECOND = {"s": 1, "ms": 10**3, "us": 10**6, "ns": 10**9}
TIME = "t"
CREATED = "c"
LEAST, MOST = -(2**63) + 1, 2**63 - 1
"""Of the whole numbers that are times."""


def as_integers(times: pa.Array, unit: str) -> pa.Array:
    """Timestamps (without a zone: in UTC, as Feast takes them) or dates as whole numbers of `unit` since 1970."""
    if not pa.types.is_timestamp(times.type):
        times = pc.cast(times, pa.timestamp("s"))
    return pc.cast(pc.cast(times, pa.timestamp(unit, times.type.tz)), pa.int64())


def unit_of(*kinds: pa.DataType) -> str:
    """The unit in which times of all these types can be compared without losing anything."""
    return "ns" if any(pa.types.is_timestamp(kind) and kind.unit == "ns" for kind in kinds) else "us"


@dataclass(frozen=True, kw_only=True)
class Span:
    """From when to when event times count, both included, in whole numbers of `unit`; no `earliest`: from the beginning."""

    unit: str
    earliest: int | None
    latest: int


class History:
    """The rows of one view's source."""

    def __init__(self, view: FeatureView, source: ViewSource) -> None:
        self._view = view
        self._source = source

    @cached_property
    def _dataset(self) -> ds.Dataset:
        # Opened once: both passes over it see the same files.
        return self._source.dataset()

    @property
    def times(self) -> list[pa.DataType]:
        """The types of the event and (where there is one) the created timestamp."""
        return [self._dataset.schema.field(name).type for name in self._time_columns]

    @property
    def has_created(self) -> bool:
        """Whether the source says when a row was written."""
        return bool(self._view.batch_source.created_timestamp_column)

    @property
    def _time_columns(self) -> list[str]:
        source = self._view.batch_source
        return [name for name in (source.timestamp_field, source.created_timestamp_column) if name]

    def batches(self, span: Span, keys: Sequence[str], features: Sequence[str], *, created: bool) -> Iterator[pa.RecordBatch]:
        """Rows of the span: TIME, CREATED when asked for, `keys` and `features` as `field_column`, in the contract's types.

        Raises:
            Refusal: the source cannot be read, or a value does not fit its field's type.
        """
        event, *written = self._time_columns
        dtypes = {field.name: field.dtype for field in [*self._view.entity_columns, *self._view.features]}
        columns = {name: self._source.column(name) for name in [*keys, *features]}
        wanted = list(dict.fromkeys([event, *(written if created else []), *columns.values()]))
        first, last = self._bounds(span, event)
        condition = (pc.field(event) >= first) & (pc.field(event) <= last)
        for batch in self._read(wanted, condition):
            # Before anything is converted: a time far outside may not fit the span's unit.
            inside = pc.and_(pc.greater_equal(batch[event], first), pc.less_equal(batch[event], last))
            rows = batch if pc.all(inside, skip_nulls=False).as_py() else batch.filter(inside)
            try:
                made = {TIME: as_integers(rows[event], span.unit)}
                if created and written:
                    made[CREATED] = as_integers(rows[written[0]], span.unit)
                made |= {field_column(name): as_field(rows[column], name, dtypes[name]) for name, column in columns.items()}
            except pa.ArrowException as error:
                raise Refusal(f"the source {self._source.uri} has a value that does not fit its field: {first_line(error)}.") from None
            yield pa.RecordBatch.from_pydict(made)

    def _read(self, columns: list[str], condition: pc.Expression) -> Iterator[pa.RecordBatch]:
        try:
            yield from parquet_batches(self._dataset, columns, condition)
        except UNREADABLE as error:
            raise Refusal(f"the source at {self._source.uri} cannot be read to its end: {first_line(error)}.") from None

    def _bounds(self, span: Span, event: str) -> tuple[pa.Scalar, pa.Scalar]:
        """The first and the last time of the span that the column can hold, in its own unit."""
        kind = self._dataset.schema.field(event).type
        here, there = PER_SECOND[kind.unit], PER_SECOND[span.unit]
        first = LEAST if span.earliest is None else -(-span.earliest * here // there)
        last = span.latest * here // there
        return pa.scalar(max(first, LEAST), kind), pa.scalar(min(last, MOST), kind)


def parquet_batches(dataset: ds.Dataset, columns: list[str], condition: pc.Expression | None = None) -> Iterator[pa.RecordBatch]:
    """The rows of parquet files in their order, row groups without a row of the condition left out.

    A column that a file does not have is null in its rows.
    """
    kinds = {name: dataset.schema.field(name).type for name in columns}
    for fragment in dataset.get_fragments(filter=condition):
        chosen = fragment.subset(filter=condition, schema=dataset.schema) if condition is not None else fragment
        # From a remote store the columns of a row group come in a few large reads.
        remote = not isinstance(fragment.filesystem, LocalFileSystem)
        with fragment.filesystem.open_input_file(fragment.path) as file:
            parquet = pq.ParquetFile(file, pre_buffer=remote)
            there = [name for name in columns if name in parquet.schema_arrow.names]
            for group in chosen.row_groups:
                for batch in parquet.iter_batches(BATCH_ROWS, row_groups=[group.id], columns=there):
                    yield pa.RecordBatch.from_pydict(
                        {name: batch[name] if name in there else pa.nulls(len(batch), kind) for name, kind in kinds.items()}
                    )


def rows_of(batches: Iterator[pa.RecordBatch], *, rows: int, size: int) -> Iterator[pa.Table]:
    """Batches put together to tables of about so many rows, or of so many bytes if that is less."""
    gathered: list[pa.RecordBatch] = []
    for batch in batches:
        if not batch.num_rows:
            continue
        gathered.append(batch)
        if sum(part.num_rows for part in gathered) >= rows or sum(part.nbytes for part in gathered) >= size:
            yield pa.Table.from_batches(gathered)
            gathered = []
    if gathered:
        yield pa.Table.from_batches(gathered)


def field_column(field: str) -> str:
    """The column of a field (of a join key or a feature) in a batch: its name can be none of ours, whatever the field's is."""
    return f"_{field}"
