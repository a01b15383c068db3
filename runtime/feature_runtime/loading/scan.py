"""The rows of a view's source within a window, in small batches: memory does not grow with the file.

Parquet is decoded page by page (Arrow's own scan of a data set takes whole row groups, several ahead), and row groups
whose statistics lie outside the window are not read. Rows that can belong to no entity or no moment are counted.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as ds
import pyarrow.parquet as pq
from feast import FeatureView
from feast.feature_view import DUMMY_ENTITY_ID, DUMMY_ENTITY_VAL

from feature_runtime.loading.window import BEGINNING, Window
from feature_runtime.offline_store.source import UNREADABLE, ViewSource
from feature_runtime.online_store.keys import key_types

BATCH_ROWS = 32_768
READ_BYTES = 4 << 20
"""What is read ahead of all columns together."""


@dataclass(kw_only=True)
class Scan:
    """The rows of one view within one window; the counts are right once all batches were taken."""

    view: FeatureView
    source: ViewSource
    window: Window
    rows: int = 0
    without_key: int = 0
    without_time: int = 0
    newest: datetime | None = None
    oldest: datetime | None = None
    planned: int = 0
    """How many rows lie in what will be read; known once the first batch was taken."""
    keys: list[str] = field(init=False)

    def __post_init__(self) -> None:
        self.keys = list(key_types(self.view))

    def batches(self) -> Iterator[pa.RecordBatch]:
        """Batches with the columns named as the fields are: join keys, features, event timestamp, created timestamp."""
        moments = self.view.batch_source.timestamp_field
        for batch in self._readable():
            times = batch.column(moments)
            wanted = _within(times, self.window)
            for key in self.keys:
                known = batch.column(key).is_valid()
                self.without_key += int(np.sum(wanted & ~_array(known)))
                wanted &= _array(known)
            if not wanted.any():
                continue
            found = batch if wanted.all() else batch.filter(pa.array(wanted))
            self.rows += found.num_rows
            values = microseconds(found.column(moments))
            self.newest = max(filter(None, (self.newest, _moment(values.max()))))
            self.oldest = min(filter(None, (self.oldest, _moment(values.min()))))
            yield found

    def _readable(self) -> Iterator[pa.RecordBatch]:
        try:
            yield from self._read()
        except UNREADABLE as error:
            raise self.source.refusal(error) from None

    def _names(self) -> list[str]:
        source = self.view.batch_source
        times = [column for column in (source.timestamp_field, source.created_timestamp_column) if column]
        return list(dict.fromkeys([*self.keys, *(feature.name for feature in self.view.features), *times]))

    def _read(self) -> Iterator[pa.RecordBatch]:
        dataset = self.source.dataset()
        names = [name for name in self._names() if name != DUMMY_ENTITY_ID]
        columns = {name: self.source.column(name) for name in names}
        bounds = self.source.within(self.window.start, self.window.end)
        files = [_File(fragment, bounds, self.view.batch_source.timestamp_field) for fragment in dataset.get_fragments()]
        self.planned = sum(file.rows for file in files)
        for file in files:
            self.without_time += file.without_time
            for batch in file.batches(list(columns.values()), dataset.schema):
                arrays = [_plain(batch.column(column)) for column in columns.values()]
                if DUMMY_ENTITY_ID in self.keys:
                    arrays.append(pa.array([DUMMY_ENTITY_VAL] * batch.num_rows, pa.string()))
                    yield pa.RecordBatch.from_arrays(arrays, [*columns, DUMMY_ENTITY_ID])
                else:
                    yield pa.RecordBatch.from_arrays(arrays, list(columns))


class _File:
    """One parquet file of a source: the row groups that can hold rows of the window."""

    def __init__(self, fragment: ds.ParquetFileFragment, bounds: pc.Expression, moments: str) -> None:
        fragment.ensure_complete_metadata()
        self._fragment = fragment
        self._groups = [group.id for group in fragment.subset(bounds).row_groups]
        metadata = fragment.metadata
        self.rows = sum(metadata.row_group(group).num_rows for group in self._groups)
        place = fragment.physical_schema.get_field_index(moments)
        self.without_time = sum(_nulls(metadata.row_group(group), moments) for group in range(metadata.num_row_groups)) if place >= 0 else 0

    def batches(self, columns: Sequence[str], schema: pa.Schema) -> Iterator[pa.RecordBatch]:
        wanted = [schema.field(column) for column in columns]
        if not self._groups:
            return
        buffer_size = max(1 << 16, min(1 << 20, READ_BYTES // len(columns)))
        with pq.ParquetFile(self._fragment.open(), metadata=self._fragment.metadata, buffer_size=buffer_size, pre_buffer=False) as file:
            for batch in file.iter_batches(BATCH_ROWS, row_groups=self._groups, columns=list(dict.fromkeys(columns)), use_threads=False):
                # The files of one source may differ in what they call the same type, and an older one may lack a column.
                yield pa.RecordBatch.from_arrays([_column(batch, field) for field in wanted], schema=pa.schema(wanted))


def _column(batch: pa.RecordBatch, wanted: pa.Field) -> pa.Array:
    place = batch.schema.get_field_index(wanted.name)
    if place < 0:
        return pa.nulls(batch.num_rows, wanted.type)
    column = batch.column(place)
    return column if column.type == wanted.type else column.cast(wanted.type)


def _nulls(group: Any, column: str) -> int:
    for place in range(group.num_columns):
        described = group.column(place)
        if described.path_in_schema == column:
            return int(described.statistics.null_count or 0) if described.statistics else 0
    return 0


def _plain(column: pa.Array) -> pa.Array:
    return column.dictionary_decode() if pa.types.is_dictionary(column.type) else column


def _within(times: pa.Array, window: Window) -> npt.NDArray[np.bool_]:
    values = times.to_numpy(zero_copy_only=False).astype("datetime64[us]")
    start, end = (np.datetime64(moment.replace(tzinfo=None), "us") for moment in (window.start, window.end))
    # No time compares as false with everything.
    return np.asarray((values >= start) & (values <= end), np.bool_)


def microseconds(times: pa.Array) -> npt.NDArray[np.int64]:
    """Moments as numbers that sort as they do; no moment is the smallest."""
    return np.asarray(times.to_numpy(zero_copy_only=False).astype("datetime64[us]").astype(np.int64))


def _moment(value: np.int64) -> datetime:
    return BEGINNING + timedelta(microseconds=int(value))


def _array(column: pa.Array) -> npt.NDArray[np.bool_]:
    return np.asarray(column.to_numpy(zero_copy_only=False), np.bool_)
