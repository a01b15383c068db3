"""Rules about any object: its name, its description, who may use it, and which Feast wrote it."""

import re
from collections.abc import Iterator

from feature_runtime.gate.comparison import Comparison, Description
from feature_runtime.gate.features import MEANING
from feature_runtime.gate.rule import BREAKING, INFO, WARNING, Hit, Severity, rule

NAME = re.compile(r"[a-z][a-z0-9_]*")
SECTIONS = ("entities", "sources", "views", "services")
DOCUMENTED = ("entities", "views", "services")


@rule("F060", "descriptions, owners or tags change", INFO, why="nothing that is stored or served changes", remedy="Nothing to do.")
def documentation_changed(c: Comparison) -> Iterator[Hit]:
    """What people read about an object; and objects that nothing depends on."""
    for section in SECTIONS:
        for name, before, after in c.kept(section):
            changed = [key for key in ("description", "owner", "tags") if before.get(key) != after.get(key)]
            changed += [f"tags of {feature}" for feature in _retagged(before, after)]
            if changed:
                yield Hit(f"{section}.{name}", f"the {' and '.join(changed)} of {name} changed")
    for name, _ in c.removed("sources"):
        yield Hit(f"sources.{name}", f"the source {name} is removed")


@rule(
    "F061",
    "a new object has no description or no owner",
    WARNING,
    why="nobody can tell what it means, or whom to ask",
    remedy="Set `description` and `owner`.",
)
def undocumented(c: Comparison) -> Iterator[Hit]:
    """What a new entity, view or service does not say about itself."""
    for section in DOCUMENTED:
        for name, after in c.added(section):
            if missing := [key for key in ("description", "owner") if not after.get(key)]:
                yield Hit(f"{section}.{name}", f"{name} has no {' and no '.join(missing)}")


@rule(
    "F062",
    "a new name is not lower case with underscores, or differs from another one by case only",
    WARNING,
    but="breaking when it differs by case only from a feature that its view has already",
    why="references (`view:feature`, `view@v2`), metrics and look-ups take it for another",
    remedy="Rename it while nobody reads it: ^[a-z][a-z0-9_]*$. Else nothing: it is served as it is.",
)
def badly_named(c: Comparison) -> Iterator[Hit]:
    """Names of new objects and features, which nobody reads yet; no reader ever sees those of sources."""
    for section in DOCUMENTED:
        taken = {name.lower(): name for name in sorted(c.new.section(section), reverse=True)}
        for name, _ in c.added(section):
            yield from _badly(f"{section}.{name}", name, taken)
    for view, after in sorted(c.new.section("views").items()):
        before = {feature for feature, _ in c.old.section("views").get(view, {}).get("features", [])}
        features = [feature for feature, _ in after["features"]]
        taken = {feature.lower(): feature for feature in sorted(features, key=lambda feature: feature not in before, reverse=True)}
        for feature in features:
            if feature not in before:
                yield from _badly(f"views.{view}.{feature}", feature, taken, BREAKING if taken[feature.lower()] in before else None)


@rule(
    "F063",
    "permissions are removed",
    INFO,
    why="nothing enforced them: whoever reaches the server reads every feature, before and after",
    remedy="Nothing to do. Who reaches the server is decided by the network policy, or by a gateway in front of it.",
)
def permissions_removed(c: Comparison) -> Iterator[Hit]:
    """A permission that is gone. New ones never come so far: definitions that have any are refused."""
    for name, _ in c.removed("permissions"):
        yield Hit(f"permissions.{name}", f"the permission {name} is removed")


@rule(
    "F064",
    "another minor version of Feast",
    WARNING,
    why="what it writes into the registry may differ",
    remedy="Read its release notes, and roll dev out first.",
)
def feast_changed(c: Comparison) -> Iterator[Hit]:
    """The version that the contract was written by."""
    before, after = (side.contract.get("feast_version") for side in (c.old, c.new))
    if before and after and before != after:
        yield Hit("feast_version", f"Feast was {before}, is now {after}")


def _badly(place: str, name: str, taken: dict[str, str], doubled: Severity | None = None) -> Iterator[Hit]:
    """What is wrong with a name; `doubled` is how bad it is that it differs by case only from another."""
    if (other := taken.get(name.lower(), name)) != name:
        yield Hit(place, f"the names {name} and {other} differ by case only", doubled)
    elif not NAME.fullmatch(name):
        yield Hit(place, f"the name {name!r} is not {NAME.pattern}")


def _retagged(before: Description, after: Description) -> list[str]:
    """Features whose tags changed, but for those that say what a missing value is."""

    def said(view: Description, feature: str) -> dict[str, str]:
        tags = view.get("settings", {}).get(feature, {}).get("tags", {})
        return {key: value for key, value in tags.items() if key not in MEANING}

    kept = {item[-2] for item in before.get("features", [])} & {item[-2] for item in after.get("features", [])}
    return sorted(feature for feature in kept if said(before, feature) != said(after, feature))
