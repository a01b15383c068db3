"""Rules about feature services: the vector that a model receives."""

import re
from collections.abc import Iterator
from datetime import date

from feature_runtime.contract import vector_names
from feature_runtime.gate.comparison import YES, Comparison, Description, Snapshot, tags, view_of
from feature_runtime.gate.rule import BREAKING, NEW_SERVICE, WARNING, Hit, rule

DEPRECATION_DAYS = 30
VERSIONED = re.compile(r".*_v[0-9]+")


def names(service: Description) -> list[str]:
    """The columns of a service's vectors in their order; a name stands for one feature."""
    return vector_names(service)


def features(service: Description) -> dict[str, tuple[str, str]]:
    """(the service's name for the view, type) by column of the vector."""
    return {name: (label, dtype) for name, (label, _, dtype) in zip(names(service), service["features"], strict=True)}


def required_keys(side: Snapshot, service: Description) -> dict[str, str]:
    """What a request for a service must carry, and of which types: keys of its views and of what its on-demand views read, request data."""
    views = side.section("views")
    keys: dict[str, str] = {}
    requested: dict[str, str] = {}
    for label in sorted({label for label, *_ in service["features"]}):
        view = views.get(view_of(service, label), {})
        if view.get("kind") != "on_demand":
            keys |= _mapped(view, service.get("join_key_maps", {}).get(label, {}))
            continue
        for source in view["sources"].values():
            requested |= dict(source.get("request", []))
            keys |= _mapped(views.get(source.get("view"), {}), source.get("join_key_map", {}))
    return requested | keys


def listed(types: dict[str, str]) -> str:
    """Names with their types, for people."""
    return ", ".join(f"{name} {dtype}" for name, dtype in sorted(types.items())) or "nothing"


def _mapped(view: Description, join_key_map: dict[str, str]) -> dict[str, str]:
    return {join_key_map.get(name, name): dtype for name, dtype in view.get("entity_columns", [])}


def _common(service: Description, other: Description) -> list[str]:
    kept = set(names(other))
    return [name for name in names(service) if name in kept]


def _front_and_end(before: Description, after: Description) -> tuple[list[str], list[str]]:
    """The features of a service up to the last that it had before, and those behind it: all new."""
    had, has = set(names(before)), names(after)
    behind = next((count for count, feature in enumerate(reversed(has)) if feature in had), len(has))
    return has[: len(has) - behind], has[len(has) - behind :]


@rule(
    "F001",
    "a feature service is removed",
    BREAKING,
    but=f"warning when its tag `deprecated_at` is at least {DEPRECATION_DAYS} days old",
    why="whoever asks for it gets 404",
    remedy=f"Tag it `deprecated_at: YYYY-MM-DD`, deploy that, and remove it {DEPRECATION_DAYS} days later.",
)
def service_removed(c: Comparison) -> Iterator[Hit]:
    """A service of the old side that the new side has not."""
    for name, before in c.removed("services"):
        since = tags(before).get("deprecated_at", "")
        try:
            deprecated = (c.today - date.fromisoformat(since)).days >= DEPRECATION_DAYS
        except ValueError:
            deprecated = False
        reason = f"the feature service {name} is removed" + (f"; it was deprecated on {since}" if since else "")
        yield Hit(f"services.{name}", reason, WARNING if deprecated else BREAKING)


@rule("F002", "a feature is removed from a service", BREAKING, why="the vector shrinks", remedy=NEW_SERVICE)
def feature_left_out(c: Comparison) -> Iterator[Hit]:
    """A feature that a service had and has no longer."""
    for name, before, after in c.kept("services"):
        gone = [feature for feature in names(before) if feature not in set(names(after))]
        for feature in gone:
            yield Hit(f"services.{name}.{feature}", f"{name} no longer has {feature}: its vector has {len(names(after))} features")


@rule("F003", "a feature is inserted, not at the end of a service", BREAKING, why="the positions behind it move", remedy=NEW_SERVICE)
def feature_inserted(c: Comparison) -> Iterator[Hit]:
    """A new feature in front of one that was there."""
    for name, before, after in c.kept("services"):
        front, _ = _front_and_end(before, after)
        for position, feature in enumerate(front, 1):
            if feature not in names(before):
                yield Hit(f"services.{name}.{feature}", f"{name} gets {feature} at position {position}: what follows moves")


@rule(
    "F004",
    "a feature is appended to a service",
    BREAKING,
    but="warning with the service's tag `append_ok: true`",
    why="a model of fixed shape gets one number too many",
    remedy=f"{NEW_SERVICE} If every reader selects by name, tag the service `append_ok: true`.",
)
def feature_appended(c: Comparison) -> Iterator[Hit]:
    """A new feature behind all that were there."""
    for name, before, after in c.kept("services"):
        for feature in _front_and_end(before, after)[1]:
            tolerated = tags(after).get("append_ok") == YES
            yield Hit(f"services.{name}.{feature}", f"{name} gets {feature} at its end", WARNING if tolerated else BREAKING)


@rule(
    "F005",
    "the order of a service's features changes, directly or through a view that it uses whole",
    BREAKING,
    why="a model that reads positions gets other features than it was trained on",
    remedy="List the service's features in their old order; a view may order its fields as it likes then.",
)
def order_changed(c: Comparison) -> Iterator[Hit]:
    """Features that stay, in another order."""
    for name, before, after in c.kept("services"):
        old, new = _common(before, after), _common(after, before)
        if old != new:
            yield Hit(f"services.{name}", f"the order of {name} was {', '.join(old)}, is now {', '.join(new)}")


@rule(
    "F006",
    "a service uses a whole view",
    WARNING,
    why="any change of the view changes the vector",
    remedy='List the features: `view[["a", "b"]]`. In production run the check with --strict.',
)
def whole_view(c: Comparison) -> Iterator[Hit]:
    """A service that newly takes a view as it is."""
    services = c.old.section("services")
    for name, after in sorted(c.new.section("services").items()):
        before = services.get(name)
        for view in after.get("whole_views", []):
            if before is not None and (view in before.get("whole_views", []) or not c.old.complete):
                continue
            yield Hit(f"services.{name}", f"{name} takes {view} whole: a field added there would change its vector")


@rule(
    "F007",
    "a feature comes under another name or from another view: alias, join key map, precomputed vector",
    BREAKING,
    why="full feature names and the keys that a request must carry change",
    remedy=NEW_SERVICE,
)
def renamed_in_the_answer(c: Comparison) -> Iterator[Hit]:
    """The same feature under another view's name, from another view, by another key."""
    for name, before, after in c.kept("services"):
        old, new = features(before), features(after)
        for feature in _common(before, after):
            labels = old[feature][0], new[feature][0]
            views = view_of(before, labels[0]), view_of(after, labels[1])
            if labels[0] != labels[1]:
                yield Hit(f"services.{name}.{feature}", f"{feature} of {name} was {labels[0]}'s, is now {labels[1]}'s")
            elif views[0] != views[1]:
                yield Hit(f"services.{name}.{feature}", f"{labels[0]} of {name} was the view {views[0]}, is now {views[1]}")
        for key, what in (("join_key_maps", "the join keys that are mapped"), ("precompute_online", "the precomputed vector")):
            if before.get(key) != after.get(key):
                yield Hit(f"services.{name}", f"{what} of {name}: {before.get(key)} is now {after.get(key)}")


@rule(
    "F008",
    "a request for a service must carry other entity keys or request data",
    BREAKING,
    why="requests that fit before are refused: with too few keys, or with one too many",
    remedy=NEW_SERVICE,
)
def keys_changed(c: Comparison) -> Iterator[Hit]:
    """Other keys for the same service, wherever that comes from: its views, their entities, what its on-demand views compute from."""
    for name, before, after in c.kept("services"):
        old, new = required_keys(c.old, before), required_keys(c.new, after)
        if old != new:
            yield Hit(f"services.{name}", f"a request for {name} had to carry {listed(old)}, must now carry {listed(new)}")


@rule(
    "F065",
    "a new service's name has no version (`_v1`), or a breaking change of a service is waived and its name stays",
    WARNING,
    why="the next change has no name to go to, and two models call different vectors by one name",
    remedy="Name it …_v1, and its successor …_v2.",
)
def unversioned(c: Comparison) -> Iterator[Hit]:
    """A new service without a version in its name. What is waived is known to `judgement` only."""
    for name, _ in c.added("services"):
        if not VERSIONED.fullmatch(name):
            yield Hit(f"services.{name}", f"the name {name} does not end in a version")
