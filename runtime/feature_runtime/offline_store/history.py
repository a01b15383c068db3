"""The history of a feature view as it was served: the rows of its source in the contract's types, in batches, however long it is."""

from collections.abc import Iterator, Sequence

import pyarrow as pa
from feast import FeatureView

from feature_runtime.offline_store.rows import CREATED, TIME, Span, field_column, in_utc, whole_numbers
from feature_runtime.offline_store.source import LeftOut, ViewSource


class History:
    """The rows of one view's source."""

    def __init__(self, view: FeatureView, source: ViewSource) -> None:
        self._view = view
        self._source = source
        self.left_out = LeftOut()
        """What the last pass over keys and times left out."""

    @property
    def kind(self) -> pa.DataType:
        """The type of the source's times."""
        return pa.timestamp(self._source.unit, "UTC")

    @property
    def has_created(self) -> bool:
        """Whether the source says when a row was written."""
        return bool(self._view.batch_source.created_timestamp_column)

    def batches(
        self, span: Span, keys: Sequence[str], features: Sequence[str], *, created: bool, left_out: LeftOut | None = None
    ) -> Iterator[pa.RecordBatch]:
        """Rows of the span: TIME, CREATED when asked for, `keys` and `features` as `field_column`, in the contract's types.

        Times are whole numbers of the span's unit. Rows that belong to no entity or no moment are counted in `left_out`.

        Raises:
            Refusal: the source cannot be read, or a value does not fit its field's type.
        """
        names = [TIME, *([CREATED] if created and self.has_created else [])]
        for batch in self._source.rows(span, [*keys, *features], served=True, left_out=left_out):
            made = {name: whole_numbers(in_utc(batch[name], span.unit)) for name in names}
            made |= {field_column(name): batch[field_column(name)] for name in [*keys, *features]}
            yield pa.RecordBatch.from_pydict(made)
