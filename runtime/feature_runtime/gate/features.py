"""Rules about the features of a view: what is stored, and what it means."""

from collections.abc import Iterator

from feature_runtime.gate.comparison import YES, Comparison, Description, tags, view_of
from feature_runtime.gate.rule import BREAKING, INFO, WARNING, Hit, Severity, rule
from feature_runtime.gate.services import features as service_features
from feature_runtime.gate.services import listed

NEW_FEATURE = "Add the feature under a new name, load it, move the models to a service that has it, and remove the old one."
VECTOR = ("vector_index", "vector_length", "vector_search_metric")
CODE = ("transformation_sha256", "mode", "singleton", "aggregations")
MEANING = ("default", "nullable")
"""Tags of a field that say what a missing value is taken for."""


def _types(view: Description) -> dict[str, str]:
    return dict(view["features"])


def _gone_and_new(before: Description, after: Description) -> tuple[list[str], list[str]]:
    old, new = _types(before), _types(after)
    return [name for name in old if name not in new], [name for name in new if name not in old]


def _renamed(before: Description, after: Description) -> tuple[str, str] | None:
    """One feature gone and one new of the same type: most likely one that was renamed."""
    gone, new = _gone_and_new(before, after)
    if len(gone) == len(new) == 1 and _types(before)[gone[0]] == _types(after)[new[0]]:
        return gone[0], new[0]
    return None


@rule(
    "F010",
    "a feature is removed from a view",
    BREAKING,
    but="warning when no service uses it",
    why="its readers lose it, and what is stored of it stays behind",
    remedy="Remove it from every service first and deploy that; remove it from the view afterwards.",
)
def removed(c: Comparison) -> Iterator[Hit]:
    """A feature that a view had; one that was renamed is F012's."""
    for name, before, after in c.kept("views"):
        renamed = _renamed(before, after) or ()
        for feature in _gone_and_new(before, after)[0]:
            if feature not in renamed:
                yield Hit(f"views.{name}.{feature}", f"{name} no longer has {feature}", BREAKING if c.in_use(name, feature) else WARNING)


@rule(
    "F011",
    "a feature is added to a view",
    INFO,
    but="breaking when a service uses the whole view (as F003 or F004 of that service)",
    why="it is null until it was loaded; the rollout loads it",
    remedy="Nothing to do: list it in a new service when a model needs it.",
)
def added(c: Comparison) -> Iterator[Hit]:
    """A feature that a view had not."""
    for name, before, after in c.kept("views"):
        renamed = _renamed(before, after) or ()
        for feature in _gone_and_new(before, after)[1]:
            if feature not in renamed:
                yield Hit(f"views.{name}.{feature}", f"{name} gets {feature} {_types(after)[feature]}")


@rule(
    "F012",
    "a feature is renamed (one removed and one added, of one type)",
    BREAKING,
    but="warning when no service uses it",
    why="for Feast these are two features: the new one is empty, the old one is gone",
    remedy=NEW_FEATURE,
)
def renamed(c: Comparison) -> Iterator[Hit]:
    """A feature that most likely got another name."""
    for name, before, after in c.kept("views"):
        if pair := _renamed(before, after):
            severity = BREAKING if c.in_use(name, pair[0]) else WARNING
            yield Hit(f"views.{name}.{pair[0]}", f"{pair[0]} of {name} seems to be renamed to {pair[1]}", severity)


@rule(
    "F013",
    "a feature's type changes, to a wider one too",
    BREAKING,
    but="warning with the view's tag `retype_ok: true`, or when no service uses it",
    why="a stored value of the old type is answered as null until its entity is loaded again, and a model was trained on the old one",
    remedy=f"{NEW_FEATURE} If all readers take both types, tag the view `retype_ok: true` and load everything again.",
)
def retyped(c: Comparison) -> Iterator[Hit]:
    """Another type in a view; or in a service, where its view does not show it."""
    shown = set()
    for name, before, after in c.kept("views"):
        new = _types(after)
        for feature, dtype in before["features"]:
            if new.get(feature, dtype) != dtype:
                shown.add((name, feature))
                tolerated = tags(after).get("retype_ok") == YES or not c.in_use(name, feature)
                reason = f"{feature} of {name} was {dtype}, is now {new[feature]}"
                yield Hit(f"views.{name}.{feature}", reason, WARNING if tolerated else BREAKING)
    for name, before, after in c.kept("services"):
        received = service_features(after)
        for feature, (label, dtype) in service_features(before).items():
            now = received.get(feature, (label, dtype))
            if now[1] != dtype and (view_of(after, now[0]), feature) not in shown:
                yield Hit(f"services.{name}.{feature}", f"{feature} of {name} was {dtype}, is now {now[1]}")


@rule(
    "F014",
    "the length, index or metric of a vector feature changes",
    BREAKING,
    why="stored vectors and the index do not fit the new ones",
    remedy=NEW_FEATURE,
)
def vector_changed(c: Comparison) -> Iterator[Hit]:
    """Another length, index or metric of a feature that stays."""
    for name, feature, before, after in _settings(c):
        old, new = ({key: said[key] for key in VECTOR if key in said} for said in (before, after))
        if old != new:
            yield Hit(f"views.{name}.{feature}", f"the vector {feature} of {name}: {old or 'none'} is now {new or 'none'}")


@rule(
    "F015",
    "a transformation's code, or the default of a feature, changes",
    WARNING,
    but="breaking with the tag `training_frozen: true` on the view or a service that uses it",
    why="a model gets numbers of another meaning under the name that it was trained on",
    remedy="Compute the new meaning in a new view (…_v2), and train on that.",
)
def meaning_changed(c: Comparison) -> Iterator[Hit]:
    """Other code for the same features."""
    for name, before, after in c.kept("views"):
        changed = [key for key in CODE if before.get(key) != after.get(key)]
        if changed:
            yield Hit(f"views.{name}", f"{name} computes its features another way ({', '.join(changed)})", _frozen(c, name))
    for name, feature, before, after in _settings(c):
        old, new = ({key: tags(said)[key] for key in MEANING if key in tags(said)} for said in (before, after))
        if old != new:
            yield Hit(
                f"views.{name}.{feature}", f"{feature} of {name}: {old or 'no default'} is now {new or 'no default'}", _frozen(c, name)
            )


@rule(
    "F016",
    "an on-demand view asks for other request data",
    BREAKING,
    but="warning when no service uses it",
    why="requests that carry the old data are refused",
    remedy="Make a new on-demand view and a new service for it.",
)
def request_changed(c: Comparison) -> Iterator[Hit]:
    """Other names or types of what a request must carry."""
    for name, before, after in c.kept("views"):
        old, new = _requested(before), _requested(after)
        if old != new:
            reason = f"{name} asked for {listed(old)}, asks for {listed(new)}"
            yield Hit(f"views.{name}", reason, BREAKING if c.in_use(name) else WARNING)


@rule(
    "F017",
    "an on-demand view computes from other features, or by other keys",
    WARNING,
    but="info when features are only added; breaking with the tag `training_frozen: true`",
    why="a model gets numbers of another meaning under the name that it was trained on",
    remedy="Compute the new meaning in a new view (…_v2), and train on that.",
)
def inputs_changed(c: Comparison) -> Iterator[Hit]:
    """Other inputs of a computed view. A type that changes is F013's of the view that it comes from."""
    for name, before, after in c.kept("views"):
        old, new = _inputs(before), _inputs(after)
        if old - new:
            yield Hit(f"views.{name}", f"{name} no longer computes from {', '.join(sorted(old - new))}", _frozen(c, name))
        elif new - old:
            yield Hit(f"views.{name}", f"{name} may also compute from {', '.join(sorted(new - old))}", INFO)


def _settings(c: Comparison) -> Iterator[tuple[str, str, Description, Description]]:
    """(view, feature, settings before, settings after) of features that stay."""
    for name, before, after in c.kept("views"):
        for feature in [name for name in _types(before) if name in _types(after)]:
            old, new = (said.get("settings", {}).get(feature, {}) for said in (before, after))
            if old != new:
                yield name, feature, old, new


def _frozen(c: Comparison, view: str) -> Severity:
    return BREAKING if c.frozen(view) else WARNING


def _requested(view: Description) -> dict[str, str]:
    return dict(pair for source in view.get("sources", {}).values() for pair in source.get("request", []))


def _inputs(view: Description) -> set[str]:
    return {
        f"{source['view']}.{name}" + "".join(f" by {key}" for _, key in sorted(source.get("join_key_map", {}).items()))
        for source in view.get("sources", {}).values()
        for name, _ in source.get("features", [])
    }
