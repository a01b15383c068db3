"""Rules about entities: the keys under which values are stored and asked for."""

from collections.abc import Iterator

from feature_runtime.gate.comparison import Comparison
from feature_runtime.gate.rule import BREAKING, WARNING, Hit, Severity, rule

NEW_ENTITY = "Add a new entity and views that use it, load them, move the models, and remove the old ones."


@rule(
    "F020",
    "an entity's join key changes",
    BREAKING,
    why="the bytes of every stored key differ, and requests name another column",
    remedy=NEW_ENTITY,
)
def join_key_changed(c: Comparison) -> Iterator[Hit]:
    """Another column that tells one entity from another."""
    for name, before, after in c.kept("entities"):
        if before["join_key"] != after["join_key"]:
            yield Hit(
                f"entities.{name}", f"the join key of {name} was {before['join_key']}, is now {after['join_key']}", _severity(c, name)
            )


@rule("F021", "an entity's type changes", BREAKING, why="the bytes of every stored key differ", remedy=NEW_ENTITY)
def type_changed(c: Comparison) -> Iterator[Hit]:
    """Another type of the join key."""
    for name, before, after in c.kept("entities"):
        if before["value_type"] != after["value_type"]:
            yield Hit(f"entities.{name}", f"{name} was {before['value_type']}, is now {after['value_type']}", _severity(c, name))


@rule(
    "F023",
    "an entity is removed",
    BREAKING,
    but="warning when no view uses it",
    why="its views have no key",
    remedy="Remove its views first.",
)
def removed(c: Comparison) -> Iterator[Hit]:
    """An entity that is no longer there."""
    for name, _ in c.removed("entities"):
        yield Hit(f"entities.{name}", f"the entity {name} is removed", _severity(c, name))


def _severity(c: Comparison, entity: str) -> Severity:
    return BREAKING if any(entity in view.get("entities", []) for view in c.old.section("views").values()) else WARNING
