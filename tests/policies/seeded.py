"""How a misconfiguration is seeded: what somebody did, where, and who must notice."""

import copy
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from feast_eks_policies.rule import Resource
from tests.policies.charts import handle
from tests.policies.recording import Recording

GONE = object()
"""The property, or with no path the whole resource, is removed."""


@dataclass(frozen=True, kw_only=True)
class Seed:
    """`what` somebody did, and `caught_by`: the name of a rule, or the path of a setting as the refusal names it."""

    id: str
    what: str
    caught_by: str


@dataclass(frozen=True, kw_only=True)
class Chosen(Seed):
    """A setting in a stack file: `key` has dots, None removes it. `also` are further keys, such as secrets, that it takes."""

    stack: str = "prod"
    key: str
    value: Any
    also: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Edited(Seed):
    """A change of one resource of production's program: `path` has dots, and `name=x` for the list element of that name.

    `value` may be a function of what was there. A path that starts with @ is a field of the resource itself, such as @protect.
    A chart's object is called by its kind too (`charts.handle`).
    """

    resource: str
    path: str = ""
    value: Any = GONE
    also: "tuple[Edited, ...]" = ()


@dataclass(frozen=True, kw_only=True)
class Added(Seed):
    """A resource that goes round our components: one of `bypass/`."""

    program: str
    resource: str


def edited(recording: Recording, seed: Edited) -> Recording:
    """The recording with the change, in what rules of one resource and rules of the stack see."""

    for other in seed.also:
        recording = edited(recording, other)

    def each(resources: list[Resource]) -> list[Resource]:
        assert seed.resource in {handle(resource) for resource in resources}, f"the program registers no {seed.resource}"
        kept = [r for r in resources if handle(r) != seed.resource or seed.path]
        return [_edited(r, seed) if handle(r) == seed.resource else r for r in kept]

    return Recording(each(recording.inputs), each(recording.outputs), [])


def _edited(resource: Resource, seed: Edited) -> Resource:
    if seed.path.startswith("@"):
        return replace(resource, **{seed.path[1:]: seed.value})
    return replace(resource, props=_changed(copy.deepcopy(dict(resource.props)), seed.path.split("."), seed.value))


def _changed(place: Any, path: list[str], value: Any) -> Any:
    """The value with one place in it changed; JSON text is edited as what it stands for."""
    if isinstance(place, str) and path:
        return json.dumps(_changed(json.loads(place), path, value))
    if not path:
        return value(place) if isinstance(value, Callable) else value
    key: Any = path[0].replace("~", ".")
    if isinstance(place, list):
        key = next(i for i, each in enumerate(place) if each["name"] == key[5:]) if key.startswith("name=") else int(key)
    if value is GONE and len(path) == 1:
        del place[key]
    elif isinstance(place, dict):
        place[key] = _changed(place.get(key, {}), path[1:], value)
    else:
        place[key] = _changed(place[key], path[1:], value)
    return place


def replaced(old: str, new: str) -> Callable[[str], str]:
    """An edit of a text, which must be there."""

    def edit(text: str) -> str:
        assert old in text, f"{old!r} is not there to be edited"
        return text.replace(old, new)

    return edit
