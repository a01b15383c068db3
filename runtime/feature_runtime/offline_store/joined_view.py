"""A view as a point-in-time join takes it, and what the join calls its columns."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
from feast import FeatureView

from feature_runtime.offline_store.history import History
from feature_runtime.offline_store.rows import unit_of
from feature_runtime.offline_store.vector import Part


@dataclass(frozen=True, kw_only=True)
class JoinedView:
    """A view as it is joined: under which name, on which columns of the labels (join key to column), and what of it."""

    name: str
    view: FeatureView
    history: History
    keys: Mapping[str, str]
    features: Sequence[str]

    @property
    def is_pushed(self) -> bool:
        """Whether values are pushed to the view too: then its source may know them later, or never."""
        return self.view.stream_source is not None

    def column(self, feature: str) -> str:
        """The name of a feature's column in the result."""
        return feature_column(self.name, feature)

    @property
    def time_column(self) -> str:
        """The name of the column with the event time of the row, a whole number; null where no row counts."""
        return time_column(self.name)


def feature_column(view: str, feature: str) -> str:
    """The name of a feature's column in the result of a join."""
    return f"{view}__{feature}"


def time_column(view: str) -> str:
    """The name of the column with the event times of a view's rows in the result of a join."""
    return f"{view}@event_timestamp"


def joined_views(parts: Iterable[Part], repo: Path) -> list[JoinedView]:
    """A vector's views as they are joined.

    Raises:
        Refusal: the history of one does not lie in parquet files.
    """
    return [
        JoinedView(name=part.name, view=part.view, history=History(part.view, part.source(repo)), keys=part.keys, features=part.features)
        for part in parts
    ]


def time_unit(labels: pa.DataType, views: Iterable[JoinedView]) -> str:
    """The unit in which the labels' and all views' times can be compared exactly."""
    return unit_of(labels, *(view.history.kind for view in views))


def ttl_of(view: FeatureView, unit: str) -> int:
    """A view's ttl in whole numbers of `unit`; 0 stands for ever, as in Feast."""
    if not view.ttl:
        return 0
    microseconds: int = (view.ttl.days * 86_400 + view.ttl.seconds) * 10**6 + view.ttl.microseconds
    return microseconds * 1_000 if unit == "ns" else microseconds
