"""What the smoke test asks for, and what the offline store says must come back."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from feast import FeatureView

from feature_runtime.definitions import Definitions
from feature_runtime.refusal import Refusal
from feature_runtime.source import Row, ViewSource

SAMPLE = 3

Key = dict[str, Any]


@dataclass(frozen=True, kw_only=True)
class Expected:
    """What one service must answer for one entity: for every feature, the rows that may be served, the newest first."""

    key: Key
    rows: dict[str, list[Row]]


@dataclass(frozen=True, kw_only=True)
class Question:
    """One service, its features in contract order ([view, name, dtype]), and what it must answer."""

    service: str
    features: list[list[str]]
    expected: list[Expected]

    @property
    def body(self) -> bytes:
        """The request: all entities at once."""
        names = self.expected[0].key
        entities = {name: [entity.key[name] for entity in self.expected] for name in names}
        return json.dumps({"feature_service": self.service, "entities": entities}).encode()


@dataclass(frozen=True, kw_only=True)
class Truth:
    """Where the right answers come from: the definitions and their sources, as they are `now`.

    `named` are entities that must be asked for (join key to values), `fresh` is how long a new row may wait for its load.
    """

    definitions: Definitions
    repo: Path
    named: dict[str, list[Any]]
    now: datetime
    fresh: timedelta

    def question(self, service: str, features: list[list[str]]) -> Question:
        """What to ask for one service, and what must come back.

        Raises:
            Refusal: no entity to ask for, or the source has no row that could be served.
        """
        views = {view.name: view for view in self.definitions.views if view.name in {name for name, _, _ in features}}
        sources = {name: ViewSource(view, self.repo) for name, view in views.items() if ViewSource.readable(view)}
        keys = self._keys(service, list(views.values()), sources)
        served: list[dict[str, list[Row]]] = [{} for _ in keys]
        for name, source in sources.items():
            own = {column.name for column in views[name].entity_columns}
            history = source.newest_rows([{join: key[join] for join in own} for key in keys], self.now)
            for position, rows in enumerate(history):
                self._check_row(service, views[name], keys[position], rows)
                served[position][name] = self._servable(rows)
        expected = [Expected(key=key, rows=rows) for key, rows in zip(keys, served, strict=True)]
        return Question(service=service, features=features, expected=expected)

    def _keys(self, service: str, views: Sequence[FeatureView], sources: dict[str, ViewSource]) -> list[Key]:
        """The entities to ask for: the named ones; a join key that nobody named gets values from a source."""
        needed = {column.name for view in views for column in view.entity_columns}
        columns: dict[str, list[Any]] = {name: list(values) for name, values in self.named.items() if name in needed}
        # The view with the most keys first: its keys belong together.
        for view in sorted(views, key=lambda view: -len(view.entity_columns)):
            own = {column.name for column in view.entity_columns}
            if own & columns.keys() or view.name not in sources:
                continue
            for key in sources[view.name].sample_keys(self.now, SAMPLE):
                for name, value in key.items():
                    columns.setdefault(name, []).append(value)
        if missing := sorted(needed - columns.keys()):
            raise Refusal(
                f"feature service {service!r}: no value to ask for is known for {', '.join(missing)}: the source is "
                "empty, or SMOKE_ENTITIES names only a part of a view's keys. Load data, or name them all."
            )
        count = min(len(values) for values in columns.values())
        return [{name: columns[name][position] for name in sorted(needed)} for position in range(count)]

    def _check_row(self, service: str, view: FeatureView, key: Key, rows: list[Row]) -> None:
        if not rows:
            raise Refusal(
                f"feature service {service!r}: the source of {view.name!r} has no row of {shown(key)}. "
                "Name entities in SMOKE_ENTITIES that the data has."
            )
        age = self.now - rows[0].event_timestamp
        if view.ttl and age > view.ttl:
            raise Refusal(
                f"feature service {service!r}: the newest row of {shown(key)} in the source of {view.name!r} is "
                f"{age / timedelta(days=1):.1f} days old, older than the view's ttl ({view.ttl}), so nothing is served "
                "for it. Bring newer data, or name other entities in SMOKE_ENTITIES."
            )

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


def shown(key: Key) -> str:
    """A key as it reads in a message."""
    return " ".join(f"{name}={value}" for name, value in sorted(key.items()))
