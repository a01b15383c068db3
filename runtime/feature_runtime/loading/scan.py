"""The rows of a view's source within a window, in small batches, and what there is to say about them."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime

import pyarrow as pa
import pyarrow.compute as pc
from feast import FeatureView
from feast.feature_view import DUMMY_ENTITY_ID, DUMMY_ENTITY_VAL

from feature_runtime.loading.window import Window
from feature_runtime.offline_store.rows import TIME, Span, field_column, moment_of_epoch, span_of, whole_numbers
from feature_runtime.offline_store.source import LeftOut, ViewSource
from feature_runtime.online_store.keys import key_types
from feature_runtime.value_types.arrow_forms import PER_SECOND


@dataclass(kw_only=True)
class Scan:
    """The rows of one view within one window; the counts are right once all batches were taken."""

    view: FeatureView
    source: ViewSource
    window: Window
    rows: int = 0
    left_out: LeftOut = field(default_factory=LeftOut)
    newest: datetime | None = None
    oldest: datetime | None = None

    @property
    def keys(self) -> list[str]:
        """The columns of the join keys."""
        return [field_column(key) for key in key_types(self.view)]

    @property
    def planned(self) -> int:
        """How many rows lie in what is read."""
        return self.source.planned(self._span)

    @property
    def _span(self) -> Span:
        return span_of(self.window.start, self.window.end)

    def batches(self) -> Iterator[pa.RecordBatch]:
        """Batches as `ViewSource.rows` gives them, with all join keys and features."""
        names = [key for key in key_types(self.view) if key != DUMMY_ENTITY_ID] + [feature.name for feature in self.view.features]
        for batch in self.source.rows(self._span, names, served=False, left_out=self.left_out):
            self.rows += batch.num_rows
            seen = pc.min_max(whole_numbers(batch[TIME])).as_py()
            per_microsecond = PER_SECOND[batch[TIME].type.unit] // PER_SECOND["us"]
            oldest, newest = (moment_of_epoch(seen[end] // per_microsecond) for end in ("min", "max"))
            self.newest = max(filter(None, (self.newest, newest)))
            self.oldest = min(filter(None, (self.oldest, oldest)))
            if DUMMY_ENTITY_ID in key_types(self.view):
                yield batch.append_column(field_column(DUMMY_ENTITY_ID), pa.repeat(pa.scalar(DUMMY_ENTITY_VAL), batch.num_rows))
            else:
                yield batch

    def named(self, table: pa.Table) -> pa.Table:
        """Rows with their columns named as the online store takes them: as the fields are, and the event timestamp."""
        names = [*key_types(self.view), *(feature.name for feature in self.view.features)]
        columns = {name: table.column(field_column(name)) for name in names}
        return pa.table(columns | {self.view.batch_source.timestamp_field: table.column(TIME)})
