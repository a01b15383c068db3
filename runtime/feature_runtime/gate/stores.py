"""Rules about the stores: what decides whether values that are stored can still be read.

None of it is in the definitions, so it is read from `feature_store.yaml`, and remembered in the registry by `apply`.
"""

import re
from collections.abc import Iterator
from typing import Any

import yaml

from feature_runtime.gate.comparison import Comparison
from feature_runtime.gate.rule import BREAKING, WARNING, Hit, rule
from feature_runtime.refusal import Refusal

DEFAULT_SERIALIZATION = 3
OURS = "feature_runtime.online_store.PipelinedRedisOnlineStore"
"""Writes what Feast's Redis store writes, byte for byte: for stored values the two are one store."""

COLD = "Load everything again before servers read the new store: flush the old one, then run a full backfill."


def stores_of(feature_store_yaml: str) -> dict[str, Any]:
    """What `feature_store.yaml` says about stored values; nothing that depends on the environment's addresses.

    Raises:
        Refusal: the text is no YAML map.
    """
    try:
        document = yaml.safe_load(feature_store_yaml)
    except yaml.YAMLError as error:
        raise Refusal(f"feature_store.yaml is no YAML: {error}") from None
    if not isinstance(document, dict):
        raise Refusal("feature_store.yaml is no map of settings.")
    online = document.get("online_store") or {}
    online = online if isinstance(online, dict) else {"type": online}
    kind = str(online.get("type", "sqlite"))
    database = re.search(r"(?:^|,)\s*db=(\d+)", str(online.get("connection_string", "")))
    said = {
        "entity_key_serialization_version": document.get("entity_key_serialization_version", DEFAULT_SERIALIZATION),
        "online_store": "redis" if kind == OURS else kind,
        "redis_type": online.get("redis_type", "redis") if kind in {"redis", OURS} else None,
        "redis_database": int(database[1]) if database else None,
        "key_ttl_seconds": online.get("key_ttl_seconds"),
    }
    return {key: value for key, value in said.items() if value is not None}


@rule("F030", "the serialization of entity keys changes", BREAKING, why="no stored key can be read", remedy=COLD)
def serialization_changed(c: Comparison) -> Iterator[Hit]:
    """Another `entity_key_serialization_version`."""
    yield from _changed(c, "entity_key_serialization_version")


@rule(
    "F031",
    "the project is renamed",
    BREAKING,
    why="every key carries its name, and the registry keeps the old one beside the new",
    remedy="Keep the name. If it must change, load everything under the new one before models ask for it, and remove the old one by hand.",
)
def project_renamed(c: Comparison) -> Iterator[Hit]:
    """Another project; in a registry: one that has the same objects and is no longer applied."""
    before, after = c.old.contract.get("project"), c.new.contract.get("project")
    if not c.old.empty and before != after:
        yield Hit("project", f"the project was {before}, is now {after}")
    if c.old.empty:
        names = frozenset([*c.new.section("views"), *c.new.section("services")])
        for project, theirs in sorted(c.old.other_projects.items()):
            if shared := sorted(names & theirs):
                yield Hit(
                    "project", f"the registry has {', '.join(shared)} in the project {project}; {after} would be a second one beside it"
                )


@rule(
    "F032",
    "the type of the online store changes",
    BREAKING,
    but="warning for another topology of Redis",
    why="the new one is empty",
    remedy=COLD,
)
def store_changed(c: Comparison) -> Iterator[Hit]:
    """Another kind of online store, another database in it, or another topology."""
    yield from _changed(c, "online_store")
    if c.old.stores.get("online_store") == c.new.stores.get("online_store") and c.old.stores:
        for key in ("redis_database", "redis_type"):
            old, new = c.old.stores.get(key), c.new.stores.get(key)
            if old != new:
                yield Hit("stores.online_store", f"{key} was {old}, is now {new}", WARNING if key == "redis_type" else BREAKING)


@rule(
    "F043",
    "keys live shorter in the online store than values must",
    BREAKING,
    why="keys vanish between two runs of materialization",
    remedy="Raise key_ttl_seconds to at least two gaps of the schedule and one deadline (--margin-seconds).",
)
def keys_fade_too_soon(c: Comparison) -> Iterator[Hit]:
    """`key_ttl_seconds` below the margin, and not so before."""
    old, new = c.old.stores.get("key_ttl_seconds"), c.new.stores.get("key_ttl_seconds")
    if new is not None and new != old and new < c.margin_seconds:
        yield Hit("stores.key_ttl_seconds", f"keys live {new} s, and must live {c.margin_seconds} s to survive a missed run")


def _changed(c: Comparison, key: str) -> Iterator[Hit]:
    """A setting that was known and is another one now."""
    old, new = c.old.stores.get(key), c.new.stores.get(key)
    if old is not None and old != new:
        yield Hit(f"stores.{key}", f"{key} was {old}, is now {new}")
