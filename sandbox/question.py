"""What a feature server can be asked: the services of a contract, else its views, each with a value for whatever a request must hold."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

VALUES: dict[str, Any] = {
    "Int32": 1,
    "Int64": 1,
    "Float32": 1.0,
    "Float64": 1.0,
    "Bool": True,
    "UnixTimestamp": 1_700_000_000,
    "Bytes": "YQ==",
}
"""What is sent for a field of a request, by its type; a text for the others."""


@dataclass(frozen=True, kw_only=True)
class Question:
    """One question: what it asks for, by which keys (each with its type), and which fields a request has to bring (with theirs).

    `features` are (name in the answer, view, feature).
    """

    what: str
    asked: dict[str, Any]
    features: list[tuple[str, str, str]]
    keys: dict[str, str] = field(default_factory=dict)
    fields: dict[str, str] = field(default_factory=dict)
    renamed: dict[str, dict[str, str]] = field(default_factory=dict)
    """View, as the service calls it, to its join keys and what the question calls them."""
    views: dict[str, str] = field(default_factory=dict)
    """What the service calls a view, to its name."""

    def body(self, entity: Mapping[str, Any]) -> dict[str, Any]:
        """The request for one entity."""
        columns = {key: [entity.get(key, a_value(kind))] for key, kind in self.keys.items()}
        columns |= {name: [entity.get(name, a_value(kind))] for name, kind in self.fields.items() if name not in columns}
        return {**self.asked, "entities": columns}


def questions(lock: Mapping[str, Any]) -> Iterator[Question]:
    """Every service in the contract's order; then, for those who read by feature name, every view that is loaded."""
    for name, service in lock["services"].items():
        full = bool(service.get("full_feature_names"))
        asked = {"feature_service": name, **({"full_feature_names": True} if full else {})}
        features = [(f"{label}__{feature}" if full else feature, label, feature) for label, feature, _ in service["features"]]
        yield _question(lock, f"feature service {name}", asked, features, service)
    for name, view in lock["views"].items():
        if view["online"] and view["features"] and not view.get("disabled"):
            named = [feature for feature, _ in view["features"]]
            asked = {"features": [f"{name}:{feature}" for feature in named]}
            yield _question(lock, f"feature view {name}", asked, [(feature, name, feature) for feature in named], {})


def a_value(kind: str) -> Any:
    """A value of a type, as JSON brings it."""
    for outer in ("Array(", "Set("):
        if kind.startswith(outer):
            return [a_value(kind.removeprefix(outer).removesuffix(")"))]
    if kind in ("Map", "Json") or kind.startswith("Struct("):
        return {} if kind == "Map" else "{}"
    return VALUES.get(kind, "a")


def _question(
    lock: Mapping[str, Any],
    what: str,
    asked: dict[str, Any],
    features: list[tuple[str, str, str]],
    service: Mapping[str, Any],
) -> Question:
    aliases, maps = service.get("aliases", {}), service.get("join_key_maps", {})
    question = Question(what=what, asked=asked, features=features)
    for label in dict.fromkeys(label for _, label, _ in features):
        _add(lock, question, label, aliases.get(label, label), maps.get(label, {}))
    return question


def _add(lock: Mapping[str, Any], question: Question, label: str, name: str, renamed: Mapping[str, str]) -> None:
    """Add what a view needs to be asked for."""
    if view := lock["views"].get(name):
        types = dict(view.get("entity_columns", []))
        keys = [lock["entities"][entity]["join_key"] for entity in view["entities"]]
        question.views[label] = name
        question.renamed[label] = {key: renamed.get(key, key) for key in keys}
        question.keys.update({renamed.get(key, key): types.get(key, "String") for key in keys})
        return
    for source, inputs in lock.get("on_demand_views", {}).get(name, {}).get("sources", {}).items():
        if "request" in inputs:
            question.fields.update(dict(inputs["request"]))
        else:
            _add(lock, question, source, inputs["view"], inputs.get("join_key_map", {}))
