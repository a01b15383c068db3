"""What a change of `contract.lock.json` means for models: which vector each of them would receive."""

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import zip_longest
from typing import Any

Feature = tuple[str, str]
"""Name and type."""


@dataclass(frozen=True, kw_only=True)
class Vector:
    """A feature service, or a view, before and after: None where it does not exist."""

    name: str
    before: tuple[Feature, ...] | None
    after: tuple[Feature, ...] | None
    notes: tuple[str, ...] = ()

    @property
    def breaks(self) -> bool:
        """Whether who was built for the old one no longer gets it."""
        return self.before is not None and self.before != self.after

    @property
    def effects(self) -> tuple[str, ...]:
        """Each feature added, removed, re-typed or moved, in words; positions count from 1."""
        return tuple(_effects(self.before or (), self.after or ()))

    @property
    def lines(self) -> tuple[str, ...]:
        """The vector as a diff, one feature each line, in the order in which a model receives them."""
        before, after = self.before or (), self.after or ()
        kept = set(_longest_common(before, after))
        lines = [f"- {'':>2} {name} {dtype}" for name, dtype in before if (name, dtype) not in kept]
        lines += [
            f"{' ' if (name, dtype) in kept else '+'} {position:>2} {name} {dtype}" for position, (name, dtype) in enumerate(after, 1)
        ]
        return tuple(lines)


@dataclass(frozen=True, kw_only=True)
class FeatureChanges:
    """All that changes for features."""

    services: tuple[Vector, ...] = ()
    views: tuple[Vector, ...] = ()
    others: tuple[tuple[str, str, str], ...] = field(default=())
    """What else the contract says: path, before, after."""
    problem: str = ""

    def __bool__(self) -> bool:
        return bool(self.services or self.views or self.others or self.problem)

    @property
    def breaking(self) -> list[Vector]:
        """Services whose models would receive another vector, or none."""
        return [service for service in self.services if service.breaks]


def compare_contracts(before: str | None, after: str | None) -> FeatureChanges:
    """What the second lock file changes; None is no file, and nothing was asked if both are."""
    try:
        old, new = ({} if text is None else json.loads(text) for text in (before, after))
    except (ValueError, RecursionError) as error:
        return FeatureChanges(problem=f"the contract could not be read: {error}")
    if not isinstance(old, dict) or not isinstance(new, dict):
        return FeatureChanges(problem="the contract could not be read: it is no map")
    return FeatureChanges(
        services=tuple(_vectors(old, new, "services", _service_notes)),
        views=tuple(_vectors(_with_computed_views(old), _with_computed_views(new), "views", _view_notes)),
        others=() if before is None else tuple(_others(old, new)),
    )


def _vectors(old: dict[str, Any], new: dict[str, Any], key: str, notes: Callable[[Any, Any], Iterator[str]]) -> Iterator[Vector]:
    before, after = _map(old.get(key)), _map(new.get(key))
    for name in sorted(before.keys() | after.keys()):
        if before.get(name) == after.get(name):
            continue
        vector = Vector(
            name=name,
            before=_features(before[name]) if name in before else None,
            after=_features(after[name]) if name in after else None,
            notes=tuple(notes(before.get(name), after.get(name))) if name in before and name in after else (),
        )
        if vector.before != vector.after or vector.notes:
            yield vector


def _with_computed_views(contract: dict[str, Any]) -> dict[str, Any]:
    """On-demand views among the others: what they hand out is a part of a vector too."""
    return contract | {"views": {**_map(contract.get("views")), **_map(contract.get("on_demand_views"))}}


def _features(holder: Any) -> tuple[Feature, ...]:
    """Features of a view, [name, type], or of a service, [view, name, type]."""
    listed = _map(holder).get("features")
    pairs = [item for item in listed if isinstance(item, list) and len(item) > 1] if isinstance(listed, list) else []
    return tuple((str(item[-2]), str(item[-1])) for item in pairs)


def _effects(before: tuple[Feature, ...], after: tuple[Feature, ...]) -> Iterator[str]:
    old, new = dict(before), dict(after)
    places = {name: position for position, (name, _) in enumerate(after, 1)}
    for name, dtype in before:
        if name not in new:
            yield f"{name} {dtype} removed"
    for name, dtype in after:
        if name not in old:
            end = ", the end" if places[name] == len(after) else ""
            yield f"{name} {dtype} added at position {places[name]}{end}"
        elif old[name] != dtype:
            yield f"{name} was {old[name]}, is {dtype}"
    common = [[name for name, _ in side if name in old and name in new] for side in (before, after)]
    if common[0] != common[1]:
        moved = [f"{new_name} where {old_name} was" for old_name, new_name in zip_longest(*common) if old_name != new_name]
        yield f"the order changes: {', '.join(moved)}"


def _longest_common(before: tuple[Feature, ...], after: tuple[Feature, ...]) -> list[Feature]:
    """What keeps its type and its place relative to the others."""
    best: list[list[int]] = [[0] * (len(after) + 1) for _ in range(len(before) + 1)]
    for i in reversed(range(len(before))):
        for j in reversed(range(len(after))):
            best[i][j] = best[i + 1][j + 1] + 1 if before[i] == after[j] else max(best[i + 1][j], best[i][j + 1])
    kept, i, j = [], 0, 0
    while i < len(before) and j < len(after):
        if before[i] == after[j]:
            kept.append(before[i])
            i, j = i + 1, j + 1
        elif best[i + 1][j] >= best[i][j + 1]:
            i += 1
        else:
            j += 1
    return kept


def _service_notes(old: Any, new: Any) -> Iterator[str]:
    views = [[str(item[0]) for item in _map(side).get("features") or [] if isinstance(item, list) and item] for side in (old, new)]
    if _features(old) == _features(new) and views[0] != views[1]:
        yield "the features come from another view"


def _view_notes(old: Any, new: Any) -> Iterator[str]:
    before, after = _map(old), _map(new)
    for key in sorted((before.keys() | after.keys()) - {"features"}):
        if before.get(key) != after.get(key):
            yield f"{key}: {json.dumps(before.get(key))} is now {json.dumps(after.get(key))}"


def _others(old: dict[str, Any], new: dict[str, Any]) -> Iterator[tuple[str, str, str]]:
    for key in sorted((old.keys() | new.keys()) - {"services", "views", "on_demand_views", "definitions_sha256"}):
        before, after = old.get(key), new.get(key)
        if isinstance(before, dict) and isinstance(after, dict):
            for name in sorted(before.keys() | after.keys()):
                if before.get(name) != after.get(name):
                    yield f"{key}.{name}", json.dumps(before.get(name)), json.dumps(after.get(name))
        elif before != after:
            yield key, json.dumps(before), json.dumps(after)


def _map(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}
