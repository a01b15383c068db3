"""One service's answers held against the history, value by value.

The history is joined as of the end of each view's last load. What the load could not have seen does not count: rows of
a later time, and rows that were written later. Nor does what became older than its ttl in between, nor a value that was
pushed and is newer than the history's.
"""

import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from feature_runtime.offline_store.joined_view import JoinedView, time_unit, ttl_of
from feature_runtime.offline_store.point_in_time import JoinSettings, join
from feature_runtime.offline_store.rows import LEAST, TIME, epoch_microseconds, field_column
from feature_runtime.offline_store.vector import Vector
from feature_runtime.offline_store.vector_values import values
from feature_runtime.progress import say
from feature_runtime.proving.cells import Columns, cell, columns_of, served_time
from feature_runtime.proving.http_client import Replica, addresses, reason
from feature_runtime.proving.request import request_body, request_values
from feature_runtime.refusal import Refusal
from feature_runtime.settings import SmokeSettings
from feature_runtime.value_types import equal, json_form
from feature_runtime.value_types.columns import arrow_type, pylist

BATCH = 500
PAUSE_SECONDS = 2
CLOCKS = timedelta(minutes=1)
"""How far the clocks of two pods may be apart."""
WORST = 5
NEVER_LOADED = datetime(1970, 1, 1, tzinfo=UTC)
"""The end of the last load of a view that is only pushed to so far."""
MICROSECONDS = pa.timestamp("us", tz="UTC")

Entity = dict[str, Any]
Moments = dict[str, int]
"""Of one entity by the view's name in the service: the event time of its row, in microseconds; none where it has no row."""
Vectors = list[list[Any]]
"""Per feature one value for each entity."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Compared:
    """One served value beside what the history says, and whether that is right."""

    name: str
    value: Any
    offline: Any
    right: bool


@dataclass
class Tally:
    """What was compared of one service; `examples` are entities (their keys) and which of their features differ."""

    entities: int = 0
    compared: int = 0
    differing: Counter[str] = field(default_factory=Counter)
    examples: list[dict[str, Any]] = field(default_factory=list)

    @property
    def ratio(self) -> float:
        """The share of values that differ."""
        return self.differing.total() / self.compared if self.compared else 0.0

    @property
    def worst(self) -> dict[str, int]:
        """The features that differ most often, and how often."""
        return dict(self.differing.most_common(WORST))

    @property
    def result(self) -> dict[str, Any]:
        """As the verb's result says it."""
        return {
            "ratio": self.ratio,
            "compared": self.compared,
            "differing": self.differing.total(),
            "entities": self.entities,
            "worst_features": self.worst,
            "examples": self.examples,
        }


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """Compares a service's vectors; `ends` is up to when each view (by its name in the service) was loaded."""

    vector: Vector
    views: list[JoinedView]
    ends: dict[str, datetime]
    memory_mib: int

    def of(self, entities: list[Entity], settings: SmokeSettings, *, wait_seconds: float) -> Tally:
        """What differs for some entities.

        Raises:
            Refusal: no feature server answers in time, or a source cannot be read.
        """
        tally = Tally(entities=len(entities))
        known = self.known(entities)
        for start in range(0, len(entities), BATCH):
            batch = entities[start : start + BATCH]
            before = datetime.now(UTC)
            answer = self._ask(batch, settings, wait_seconds)
            truths = known.truths(start, len(batch), before)
            for entity, found in zip(batch, self.compared(answer, truths, known.moments(start, len(batch))), strict=True):
                self._count(entity, found, tally)
        return tally

    def known(self, entities: list[Entity]) -> "Known":
        """What the history says of some entities.

        Raises:
            Refusal: a source cannot be read.
        """
        given = self._given(entities)
        histories = [self._joined(given, written_later=True)]
        if any(view.history.has_created for view in self.views):
            histories.append(self._joined(given, written_later=False))
        return Known(vector=self.vector, views=self.views, given=given, histories=histories)

    def compared(self, answer: Columns, truths: list[Vectors], moments: list[Moments]) -> Iterator[list[Compared]]:
        """For each entity, with the event times of what the history knows of it, its features that can be compared, in order."""
        pushed = {view.name for view in self.views if view.is_pushed}
        # Nothing in an answer says of what time they are.
        unsure = {
            name
            for name, view in self.vector.computed.items()
            if not pushed.isdisjoint(source.name_to_use() for source in view.source_feature_view_projections.values())
        }
        for position, known in enumerate(moments):
            found = []
            for number, (name, (view, feature)) in enumerate(zip(self.vector.names, self.vector.features, strict=True)):
                served = served_time(answer[name], position)
                if view in unsure or (served is not None and view in self.ends and self._newer(view, served, known, pushed)):
                    continue
                value, dtype = cell(answer[name], position), str(self.vector.dtypes[view, feature])
                right = any(_same(value, truth[number][position], dtype) for truth in truths)
                found.append(Compared(name=name, value=value, offline=truths[0][number][position], right=right))
            yield found

    def _newer(self, view: str, served: datetime, known: Moments, pushed: set[str]) -> bool:
        """Whether a value is none that the history must have: loaded since the record was read, or pushed."""
        return served > self.ends[view] or (view in pushed and epoch_microseconds(served) > known.get(view, LEAST))

    def _ask(self, entities: list[Entity], settings: SmokeSettings, wait_seconds: float) -> Columns:
        """The columns of the answer, from whichever server answers."""
        body = request_body(self.vector, entities)
        deadline = time.monotonic() + wait_seconds
        while True:
            found, problems = addresses(settings.replicas, settings.port)
            said = "; ".join(why for reasons in problems.values() for why in reasons)
            for address in found:
                try:
                    columns = columns_of(
                        Replica(address=address, port=settings.port).vectors(body, self.vector.service and self.vector.sha256)
                    )
                except (OSError, ValueError) as error:
                    said = f"{address}: {reason(error)}"
                    continue
                if columns is not None and columns.keys() >= set(self.vector.names):
                    return columns
                said = f"{address}: the answer has not the form of Feast's API, or lacks features"
            if time.monotonic() > deadline:
                raise Refusal(f"{self.vector.title}: no feature server gives an answer to compare: {said}.")
            say(f"skew: {self.vector.title}: {said}; trying again")
            time.sleep(PAUSE_SECONDS)

    def _given(self, entities: list[Entity]) -> pa.RecordBatch:
        """The entities as the join takes them, with the values of the request."""
        requests = request_values(self.vector)
        columns = {name: pa.array([entity[name] for entity in entities], arrow_type(dtype)) for name, dtype in self.vector.keys.items()}
        columns |= {name: pa.array([requests[name]] * len(entities), arrow_type(dtype)) for name, dtype in self.vector.requests.items()}
        return pa.RecordBatch.from_pydict(columns or {"one": [1]})

    def _joined(self, given: pa.RecordBatch, *, written_later: bool) -> pa.RecordBatch:
        """What the history says of each view at its end; event times in microseconds. Rows written after it count or do not."""
        columns: dict[str, pa.Array] = {}
        for view in self.views:
            unit = time_unit(MICROSECONDS, [view])
            per_microsecond = 1_000 if unit == "ns" else 1
            end = epoch_microseconds(self.ends[view.name]) * per_microsecond
            keys = {field_column(asked): given[asked] for asked in view.keys.values()}
            labels = pa.RecordBatch.from_pydict({**keys, TIME: pa.array([end] * given.num_rows, pa.int64())})
            settings = JoinSettings(memory_mib=self.memory_mib, unit=unit, with_ttl=False, created_until=None if written_later else end)
            found = pa.Table.from_batches(list(join([labels], [view], settings)))
            columns |= {name: found[name].combine_chunks() for name in found.column_names}
            columns[view.time_column] = pc.divide(columns[view.time_column], per_microsecond)
        return pa.RecordBatch.from_pydict(columns)

    def _count(self, entity: Entity, found: list[Compared], tally: Tally) -> None:
        wrong = [one.name for one in found if not one.right]
        tally.compared += len(found)
        tally.differing.update(wrong)
        if wrong and len(tally.examples) < WORST:
            tally.examples.append({"entity": {key: json_form(known) for key, known in entity.items()}, "features": wrong})


@dataclass(frozen=True, kw_only=True)
class Known:
    """What the history says of some entities (`given`, with the values of the request): one history for each way to see late rows."""

    vector: Vector
    views: list[JoinedView]
    given: pa.RecordBatch
    histories: list[pa.RecordBatch]

    def truths(self, start: int, count: int, asked: datetime) -> list[Vectors]:
        """Vectors that would be right if asked for between `asked` and now: one for each way to see rows that nobody can be sure of."""
        moments = (asked - CLOCKS, datetime.now(UTC) + CLOCKS)
        return [
            [
                pylist(column, self.vector.dtypes[feature])
                for feature, column in zip(self.vector.features, values(self.vector, self.given.slice(start, count), seen), strict=True)
            ]
            for history in self.histories
            for seen in self._young(history.slice(start, count), moments)
        ]

    def moments(self, start: int, count: int) -> list[Moments]:
        """Of some entities the event times of their rows."""
        found: list[Moments] = [{} for _ in range(count)]
        for view in self.views:
            for own, moment in zip(found, self.histories[0][view.time_column].slice(start, count).to_pylist(), strict=True):
                if moment is not None:
                    own[view.name] = moment
        return found

    def times(self, now: datetime) -> list[Moments]:
        """Of all entities the event times of their rows that count at a moment."""
        ttls = {view.name: ttl_of(view.view, "us") for view in self.views}
        oldest = {name: max(LEAST, epoch_microseconds(now) - ttl) if ttl else LEAST for name, ttl in ttls.items()}
        every = self.moments(0, self.given.num_rows)
        return [{name: moment for name, moment in own.items() if moment >= oldest[name]} for own in every]

    def _young(self, joined: pa.RecordBatch, moments: tuple[datetime, ...]) -> Iterator[pa.RecordBatch]:
        """What was joined, without what is older than its view's ttl at each of some moments."""
        for now in moments:
            columns = dict(zip(joined.schema.names, joined.columns, strict=True))
            for view in self.views:
                if not view.view.ttl:
                    continue
                young = pc.greater_equal(columns[view.time_column], max(LEAST, epoch_microseconds(now) - ttl_of(view.view, "us")))
                for name in (view.column(feature) for feature in view.features):
                    columns[name] = pc.if_else(young, columns[name], pa.scalar(None, columns[name].type))
            yield pa.RecordBatch.from_pydict(columns)


def _same(value: Any, offline: Any, dtype: str) -> bool:
    try:
        return equal(value, offline, dtype)
    except (TypeError, ValueError, OverflowError):
        # A value of another type altogether.
        return False
