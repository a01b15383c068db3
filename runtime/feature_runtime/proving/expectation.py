"""What the smoke test asks of one service, and what the history says must come back: the skew probe's comparison, of a few entities."""

from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from feature_runtime.offline_store.joined_view import joined_views
from feature_runtime.offline_store.rows import moment_of_epoch
from feature_runtime.offline_store.sampling import sample
from feature_runtime.offline_store.source import ViewSource
from feature_runtime.offline_store.vector import Vector
from feature_runtime.proving.agreement import NEVER_LOADED, Compared, Comparison, Entity, Known
from feature_runtime.proving.cells import cell, columns_of, wrong_form, wrong_status, wrong_type
from feature_runtime.proving.request import from_json, request_body, shown
from feature_runtime.refusal import Refusal
from feature_runtime.value_types import as_printed, json_form

SAMPLE = 3
# Of so many sampled entities those are asked for that most views know.
CANDIDATES = 30
MEMORY_MIB = 256


@dataclass(frozen=True, kw_only=True)
class Question:
    """Some entities of one service; `comparison` is of those features that can be compared."""

    vector: Vector
    entities: list[Entity]
    comparison: Comparison
    known: Known

    @property
    def body(self) -> bytes:
        """The request: all entities at once."""
        return request_body(self.vector, self.entities)

    def check(self, answer: dict[str, Any], asked: datetime) -> tuple[list[dict[str, Any]], list[str]]:
        """The vectors of an answer that was asked for at `asked`, in contract order, and everything that is wrong with them."""
        service, columns = self.vector.service, columns_of(answer)
        wrong = [f"{service}: {problem}" for problem in wrong_form(self.vector, columns)]
        if columns is None or not columns.keys() >= set(self.vector.names):
            return [], wrong
        count = len(self.entities)
        truths = self.known.truths(0, count, asked)
        offline = dict(zip(self.comparison.vector.names, truths[0], strict=True))
        times = self.known.times(asked)
        vectors = []
        for position, found in enumerate(self.comparison.compared(columns, truths, self.known.moments(0, count))):
            differing = {one.name: one for one in found if not one.right}
            vector: dict[str, Any] = {"entity": {name: json_form(value) for name, value in self.entities[position].items()}}
            vector |= {"online": [], "offline": [], "event_timestamp": _text(max(times[position].values(), default=None))}
            for name, feature in zip(self.vector.names, self.vector.features, strict=True):
                dtype = str(self.vector.dtypes[feature])
                value, status = cell(columns[name], position), cell(columns[name], position, "statuses")
                problem = wrong_type(name, value, dtype) or _difference(differing.get(name)) or wrong_status(name, value, status)
                if problem:
                    wrong.append(f"{service} {shown(self.entities[position])}: {problem}")
                vector["online"].append(value)
                vector["offline"].append(as_printed(offline[name][position], dtype) if name in offline else None)
            vectors.append(vector)
        return vectors, wrong


def _difference(compared: Compared | None) -> str | None:
    if compared is None:
        return None
    return f"{compared.name} is {'missing' if compared.value is None else compared.value}, the source says {compared.offline}"


def question(vector: Vector, ends: dict[str, datetime], repo: Path, named: dict[str, list[Any]]) -> Question:
    """What to ask for one service, of views that were loaded up to `ends` (by registered names); `named` entities, or a sample.

    Raises:
        Refusal: no entity to ask for, or the sources have no row of it that could be served.
    """
    compared = comparable(vector)
    views = joined_views(compared.parts, repo)
    ends = {view.name: ends.get(view.view.name, NEVER_LOADED) for view in views}
    comparison = Comparison(vector=compared, views=views, ends=ends, memory_mib=MEMORY_MIB)
    values = {name: [from_json(value, name, vector) for value in given] for name, given in named.items() if name in vector.keys}
    known = set(values).union(*(view.keys.values() for view in views))
    if missing := sorted(vector.keys.keys() - known):
        raise Refusal(
            f"feature service {vector.service!r}: no value to ask for is known for {', '.join(missing)}: "
            "their sources cannot be looked into. Name entities in SMOKE_ENTITIES."
        )
    count = max(map(len, values.values()), default=CANDIDATES)
    entities = sample(views, comparison.ends, count=count, seed=vector.service, memory_mib=MEMORY_MIB, named=values)
    if not entities:
        raise _nothing(vector, ", ".join(sorted(view.view.name for view in views)))
    if not values:
        entities = _best(comparison, entities)
    truth = comparison.known(entities)
    if values and views and not any(view.is_pushed for view in views):
        for entity, found in zip(entities, truth.times(datetime.now(UTC)), strict=True):
            # A view without entities has a row for anybody.
            if not any(view.keys and view.name in found for view in views):
                raise Refusal(
                    f"feature service {vector.service!r}: no source has a row of {shown(entity)} that is loaded and that its view's ttl "
                    "still lets count. Name entities in SMOKE_ENTITIES that the data has."
                )
    # A function that fails is said now; a replica would say it as a refusal of its own, again and again.
    truth.truths(0, len(entities), datetime.now(UTC))
    return Question(vector=vector, entities=entities, comparison=comparison, known=truth)


def _best(comparison: Comparison, entities: list[Entity]) -> list[Entity]:
    """Those of a sample that most views know, and for each view that knows none of them one that it knows."""
    found = comparison.known(entities).times(datetime.now(UTC))
    order = sorted(range(len(entities)), key=lambda number: -len(found[number]))[:SAMPLE]
    best = [entities[number] for number in order]
    covered = {view for number in order for view in found[number]}
    for view in comparison.views:
        if view.name in covered or view.is_pushed:
            continue
        own = sample([view], comparison.ends, count=1, seed=comparison.vector.service, memory_mib=MEMORY_MIB)
        if not view.keys or not own:
            raise _nothing(comparison.vector, view.view.name)
        best.append(entities[0] | own[0])
    return best


def _nothing(vector: Vector, views: str) -> Refusal:
    return Refusal(
        f"feature service {vector.service!r}: the source of {views} has no row up to the last load that its ttl still lets count, so there "
        "is nothing to ask for. Do the sources still get new data?"
    )


def comparable(vector: Vector) -> Vector:
    """A vector with what can be compared of it: what is read from files that can be looked into."""
    parts = [part for part in vector.parts if ViewSource.readable(part.view)]
    readable = {part.name for part in parts}
    computed = {
        name: view
        for name, view in vector.computed.items()
        if readable.issuperset(source.name_to_use() for source in view.source_feature_view_projections.values())
    }
    features = [(view, name) for view, name in vector.features if view in computed or view in readable]
    return replace(vector, features=features, parts=parts, computed=computed)


def _text(microseconds: int | None) -> str | None:
    return None if microseconds is None else moment_of_epoch(microseconds).isoformat()
