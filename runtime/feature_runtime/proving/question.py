"""What the smoke test asks for, and what the offline store says must come back."""

import itertools
import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
from feast.on_demand_feature_view import OnDemandFeatureView
from feast.types import FeastType

from feature_runtime.offline_store.history import arrow_type, as_served
from feature_runtime.offline_store.source import Row, ViewSource
from feature_runtime.offline_store.vector import Feature, Part, Vector
from feature_runtime.refusal import Refusal

SAMPLE = 3
# Of so many sampled entities those are asked for that every view knows.
CANDIDATES = 30

Key = dict[str, Any]

REQUEST_VALUES = {"String": "a", "Bool": True, "Int32": 1, "Int64": 1, "Float32": 1.0, "Float64": 1.0}
"""What a request brings for on-demand features, by type."""


@dataclass(frozen=True, kw_only=True)
class Expected:
    """What one service must answer for one entity.

    `rows` has for every view whose source can be looked into the rows that may be served, the newest first; `computed`
    for every on-demand feature that follows from these the values that it may have.
    """

    key: Key
    rows: dict[str, list[Row]]
    computed: dict[Feature, list[Any]]


@dataclass(frozen=True, kw_only=True)
class Question:
    """One service, and what it must answer."""

    vector: Vector
    expected: list[Expected]

    @property
    def service(self) -> str:
        """The feature service's name."""
        return self.vector.service

    @property
    def features(self) -> list[list[str]]:
        """The contract: [view, name, dtype] in order."""
        return [[view, name, str(self.vector.dtypes[view, name])] for view, name in self.vector.features]

    @property
    def body(self) -> bytes:
        """The request: all entities at once."""
        entities = {name: [entity.key[name] for entity in self.expected] for name in self.vector.keys}
        entities |= {name: [value] * len(self.expected) for name, value in request_values(self.vector).items()}
        return json.dumps({"feature_service": self.service, "entities": entities}).encode()


@dataclass(frozen=True, kw_only=True)
class Truth:
    """Where the right answers come from: the definitions' sources, as they are `now`.

    `named` are entities that must be asked for (join key to values), `fresh` is how long a new row may wait for its load.
    """

    repo: Path
    named: dict[str, list[Any]]
    now: datetime
    fresh: timedelta

    def question(self, vector: Vector) -> Question:
        """What to ask for one service, and what must come back.

        Raises:
            Refusal: no entity to ask for, or the sources have no row of it that could be served.
        """
        parts = [part for part in vector.parts if ViewSource.readable(part.view)]
        keys = self._keys(vector, parts)
        rows: list[dict[str, list[Row]]] = [{} for _ in keys]
        for part in parts:
            own = [{name: key[asked] for name, asked in part.keys.items()} for key in keys]
            for position, history in enumerate(part.source(self.repo).newest_rows(own, self.now)):
                rows[position][part.name] = history
        asked = list(range(len(keys)))
        if not vector.keys.keys() & self.named.keys():
            known = [position for position in asked if not self._missing(vector, parts, keys[position], rows[position])]
            asked = (known or asked)[:SAMPLE]
        for position in asked:
            if missing := self._missing(vector, parts, keys[position], rows[position]):
                raise missing
        return Question(vector=vector, expected=[self._expected(vector, keys[position], rows[position]) for position in asked])

    def _expected(self, vector: Vector, key: Key, history: dict[str, list[Row]]) -> Expected:
        rows = {name: self._servable(found) for name, found in history.items()}
        computed: dict[Feature, list[Any]] = {}
        for name, view in vector.computed.items():
            for features in _computations(vector, view, key, rows):
                for feature, value in features.items():
                    computed.setdefault((name, feature), []).append(value)
        return Expected(key=key, rows=rows, computed=computed)

    def _keys(self, vector: Vector, parts: list[Part]) -> list[Key]:
        """The entities to ask for: the named ones; a join key that nobody named gets values from a source."""
        columns: dict[str, list[Any]] = {name: list(values) for name, values in self.named.items() if name in vector.keys}
        count = SAMPLE if columns else CANDIDATES
        # The view with the most keys first: its keys belong together.
        for part in sorted(parts, key=lambda part: -len(part.keys)):
            if set(part.keys.values()) & columns.keys():
                continue
            for key in part.source(self.repo).sample_keys(self.now, count):
                for name, value in key.items():
                    columns.setdefault(part.keys[name], []).append(value)
        if missing := sorted(vector.keys.keys() - columns.keys()):
            raise Refusal(
                f"feature service {vector.service!r}: no value to ask for is known for {', '.join(missing)}: the source is "
                "empty, or SMOKE_ENTITIES names only a part of a view's keys. Load data, or name them all."
            )
        least = min((len(values) for values in columns.values()), default=1)
        return [{name: columns[name][position] for name in vector.keys} for position in range(least)]

    def _missing(self, vector: Vector, parts: list[Part], key: Key, history: dict[str, list[Row]]) -> Refusal | None:
        """Why nothing could be served of an entity."""
        for part in parts:
            own = {name: key[asked] for name, asked in part.keys.items()}
            rows = history[part.name]
            if not rows:
                return Refusal(
                    f"feature service {vector.service!r}: the source of {part.view.name!r} has no row of {shown(own)}. "
                    "Name entities in SMOKE_ENTITIES that the data has."
                )
            age = self.now - rows[0].event_timestamp
            if part.view.ttl and age > part.view.ttl:
                return Refusal(
                    f"feature service {vector.service!r}: the newest row of {shown(own)} in the source of {part.view.name!r} is "
                    f"{age / timedelta(days=1):.1f} days old, older than the view's ttl ({part.view.ttl}), so nothing is served "
                    "for it. Bring newer data, or name other entities in SMOKE_ENTITIES."
                )
        return None

    def _servable(self, rows: list[Row]) -> list[Row]:
        """The rows that may be served now: the newest, and the one before while newer ones may wait for their load."""
        servable: list[Row] = []
        for row in rows:
            # Of rows of one time only the first counts, the one that was created last.
            if servable and row.event_timestamp == servable[-1].event_timestamp:
                continue
            servable.append(row)
            if row.event_timestamp <= self.now - self.fresh:
                break
        return servable


def request_values(vector: Vector) -> dict[str, Any]:
    """A value for everything that a request must bring.

    Raises:
        Refusal: of a type for which none is at hand.
    """
    if other := sorted(f"{name} ({dtype})" for name, dtype in vector.requests.items() if str(dtype) not in REQUEST_VALUES):
        raise Refusal(f"feature service {vector.service!r}: no value to ask with is at hand for {', '.join(other)}.")
    return {name: REQUEST_VALUES[str(dtype)] for name, dtype in vector.requests.items()}


def _computations(vector: Vector, view: OnDemandFeatureView, key: Key, rows: Mapping[str, list[Row]]) -> list[dict[str, Any]]:
    """What an on-demand view may answer: one set of features for every choice of rows that its sources may serve."""
    from feature_runtime.serving.on_demand import OnDemandView  # noqa: PLC0415  only who has such views pays for it

    sources = list(view.source_feature_view_projections.values())
    if any(source.name_to_use() not in rows for source in sources):
        return []
    found = []
    for chosen in itertools.product(*(rows[source.name_to_use()] for source in sources)):
        columns = {
            f"{source.name}__{field.name}": [_served(row.values[field.name], field.dtype)]
            for source, row in zip(sources, chosen, strict=True)
            for field in source.features
        }
        columns |= {name: [value] for name, value in {**key, **request_values(vector)}.items()}
        computed = OnDemandView(view).compute(columns, 1)
        found.append({name: values[0] for name, values in computed.items()})
    return found


def _served(value: Any, dtype: FeastType) -> Any:
    return as_served(pa.array([value], arrow_type(dtype)), dtype)[0].as_py()


def shown(key: Key) -> str:
    """A key as it reads in a message."""
    return " ".join(f"{name}={value}" for name, value in sorted(key.items()))
