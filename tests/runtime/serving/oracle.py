"""What the server has to answer to a body, decided without the server's code: by Python's own JSON parser and the tables of `people`."""

import json
from dataclasses import dataclass, field
from typing import Any

from tests.runtime.serving.people import FEATURES, KEYS, SERVICES, answered

MAX_ENTITIES = 1000
KNOWN = {"entities", "feature_service", "features", "full_feature_names", "include_feature_view_version_metadata"}
FLAGS = ("full_feature_names", "include_feature_view_version_metadata")
DEEPEST = 100
DIGITS = 300


@dataclass
class Verdict:
    """The statuses that may come, the fields that may be named, and for 200 the columns in their order."""

    statuses: set[int] = field(default_factory=set)
    fields: set[str] = field(default_factory=set)
    columns: list[tuple[str, list[Any], list[str]]] = field(default_factory=list)

    def refuse(self, status: int, where: str) -> None:
        self.statuses.add(status)
        self.fields.add(where)


class NotJson(Exception):
    pass


def parse(body: bytes) -> tuple[Any, set[str]]:
    """JSON as the standard has it (UTF-8, no NaN, no half characters, not nested without end), and names given twice."""
    twice: set[str] = set()

    def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        names = [name for name, _ in pairs]
        twice.update(name for name in names if names.count(name) > 1)
        return dict(pairs)

    def constant(name: str) -> Any:
        raise NotJson

    try:
        found = json.loads(body.decode(), object_pairs_hook=unique, parse_constant=constant, parse_int=_integer)
        _check(found, DEEPEST)
    except (ValueError, RecursionError, NotJson) as error:
        raise NotJson from error
    return found, twice


def _integer(text: str) -> int:
    # Beyond what a double holds there is no number that readers of JSON agree on.
    if len(text) > DIGITS:
        raise NotJson
    return int(text)


def _check(value: Any, depth: int) -> None:
    if not depth:
        raise NotJson
    if isinstance(value, str):
        value.encode()
    elif isinstance(value, float):
        if value - value != 0:
            raise NotJson
    elif isinstance(value, list):
        for item in value:
            _check(item, depth - 1)
    elif isinstance(value, dict):
        for key, item in value.items():
            key.encode()
            _check(item, depth - 1)


def judge(body: bytes) -> Verdict:
    verdict = Verdict()
    try:
        asked, twice = parse(body)
    except NotJson:
        verdict.refuse(400, "body")
        return verdict
    if not isinstance(asked, dict):
        verdict.refuse(422, "body")
        return verdict
    for name in twice:
        verdict.refuse(422, name)
    for key in asked.keys() - KNOWN:
        verdict.refuse(422, key)
    for flag in FLAGS:
        if not isinstance(asked.get(flag, False), bool):
            verdict.refuse(422, flag)
    refs = _refs(asked, verdict)
    _entities(asked, refs, verdict)
    if not verdict.statuses:
        verdict.statuses = {200}
        verdict.columns = _columns(refs or [], asked)
    return verdict


def _refs(asked: dict[str, Any], verdict: Verdict) -> list[str] | None:
    """The features that are asked for; None when that cannot be said."""
    service, features = asked.get("feature_service"), asked.get("features")
    if service is not None and not isinstance(service, str):
        verdict.refuse(422, "feature_service")
    if features is not None and not isinstance(features, list):
        verdict.refuse(422, "features")
        return None
    if bool(features) == (service is not None):
        # Both, or neither.
        verdict.refuse(422, "feature_service")
        verdict.refuse(422, "features")
    if isinstance(service, str) and service not in SERVICES:
        verdict.refuse(404, "feature_service")
    if features:
        return _named(features, asked, verdict)
    return SERVICES.get(service) if isinstance(service, str) else None


def _named(features: list[Any], asked: dict[str, Any], verdict: Verdict) -> list[str] | None:
    good = True
    for number, ref in enumerate(features):
        view, colon, name = ref.partition(":") if isinstance(ref, str) else ("", "", "")
        if not (colon and view and name) or "@" in view:
            verdict.refuse(422, f"features[{number}]")
            good = False
        elif name not in FEATURES.get(view, []):
            verdict.refuse(404, f"features[{number}]")
            good = False
    if not good:
        return None
    names = _names(features, asked)
    for number, name in enumerate(names):
        if name in names[:number]:
            verdict.refuse(422, f"features[{number}]")
    return features


def _names(refs: list[str], asked: dict[str, Any]) -> list[str]:
    full = asked.get("full_feature_names") is True
    return [ref.replace(":", "__", 1) if full else ref.partition(":")[2] for ref in refs]


def _entities(asked: dict[str, Any], refs: list[str] | None, verdict: Verdict) -> None:
    entities = asked.get("entities")
    if not isinstance(entities, dict):
        verdict.refuse(422, "entities")
        return
    lists = {key: values for key, values in entities.items() if isinstance(values, list) and values}
    for key in entities.keys() - lists.keys():
        verdict.refuse(422, f"entities.{key}")
    if len({len(values) for values in entities.values() if isinstance(values, list)}) > 1:
        verdict.refuse(422, "entities")
    if any(len(values) > MAX_ENTITIES for values in lists.values()):
        verdict.refuse(413, "entities")
    if refs is None:
        # Which keys are needed is not known, so no key can be blamed.
        return
    needed = {key for ref in refs for key in KEYS[ref.partition(":")[0]]}
    for key in needed.symmetric_difference(entities):
        verdict.refuse(422, f"entities.{key}")
    for key in needed.intersection(lists):
        for number, value in enumerate(lists[key]):
            right = isinstance(value, str) if key == "office" else type(value) is int and -(2**63) <= value < 2**63
            if not right:
                verdict.refuse(422, f"entities.{key}[{number}]")


def _columns(refs: list[str], asked: dict[str, Any]) -> list[tuple[str, list[Any], list[str]]]:
    entities = asked["entities"]
    count = len(next(iter(entities.values())))
    columns = [(key, entities[key], ["PRESENT"] * count) for key in sorted(entities)]
    for ref, name in zip(refs, _names(refs, asked), strict=True):
        view, _, feature = ref.partition(":")
        keys = zip(*(entities[key] for key in KEYS[view]), strict=True)
        cells = [answered(view, feature, key) for key in keys]
        columns.append((name, [value for value, _ in cells], [status for _, status in cells]))
    return columns
