"""Rules about feature views: by which keys, for how long, and whether at all."""

from collections.abc import Iterator

from feature_runtime.gate.comparison import SCHEDULE_TAG, Comparison, Description, Snapshot, tags, view_of
from feature_runtime.gate.rule import BREAKING, WARNING, Hit, rule

NEW_VIEW = "Add a view under a new name (…_v2) and a service that uses it, load it, move the models, and remove the old one."


@rule("F022", "the entities of a view change", BREAKING, why="its values are stored under other keys", remedy=NEW_VIEW)
def entities_changed(c: Comparison) -> Iterator[Hit]:
    """Other entities, or other types of their columns."""
    for name, before, after in c.kept("views"):
        for key in ("entities", "entity_columns"):
            old, new = (sorted(said.get(key, [])) for said in (before, after))
            if old != new:
                yield Hit(f"views.{name}", f"the {key.replace('_', ' ')} of {name}: {_listed(old)}, is now {_listed(new)}")
                break


@rule(
    "F033",
    "a view is no longer served online (`online`, `enabled`), or a service takes one that is not",
    BREAKING,
    but="warning when no service uses it",
    why="reads fail or stay empty, and no server starts with a service that takes such a view",
    remedy="Remove it from every service first and deploy that.",
)
def taken_offline(c: Comparison) -> Iterator[Hit]:
    """A view that was online; a service that newly takes one that is not, itself or through an on-demand view."""
    for name, before, after in c.kept("views"):
        if _served(before) and not _served(after):
            yield Hit(f"views.{name}", f"{name} is no longer online", BREAKING if c.in_use(name) else WARNING)
    before, views, services = c.old.section("views"), c.new.section("views"), c.old.section("services")
    for name, after in sorted(c.new.section("services").items()):
        newly = _taken(c.new, after) - _taken(c.old, services.get(name, {"features": []}))
        for view in sorted(newly):
            # A new service of a view that never was online is for training, and breaks nobody.
            if not _served(views.get(view, {})) and (name in services or _served(before.get(view, {"online": False}))):
                yield Hit(f"services.{name}", f"{name} takes {view}, which is not online")


@rule(
    "F034",
    "a view is removed or renamed",
    BREAKING,
    but="warning when no service uses it",
    why="Feast deletes its values at once; a new name starts empty",
    remedy="Take it out of every service first and deploy that; then remove it. To rename, add the new view and move.",
)
def gone(c: Comparison) -> Iterator[Hit]:
    """A view that is no longer there; the same features under a new name are named."""
    added = list(c.added("views"))
    for name, before in c.removed("views"):
        twin = next((other for other, after in added if after["features"] == before["features"]), "")
        reason = f"{name} seems to be renamed to {twin}" if twin else f"{name} is removed"
        yield Hit(f"views.{name}", reason, BREAKING if c.in_use(name) else WARNING)


@rule("F035", "a view changes its kind", BREAKING, why="it is loaded, stored and asked for in another way", remedy=NEW_VIEW)
def kind_changed(c: Comparison) -> Iterator[Hit]:
    """Batch, stream or on-demand; what an on-demand view stores; the version that a view is pinned to."""
    for name, before, after in c.kept("views"):
        for key in ("kind", "write_to_online_store", "version"):
            if before.get(key) != after.get(key):
                yield Hit(f"views.{name}", f"the {key} of {name} was {before.get(key)}, is now {after.get(key)}")


@rule(
    "F040",
    "a view's ttl is shortened",
    WARNING,
    but="breaking below two gaps of the schedule and one deadline (--margin-seconds), unless the view has its own or is pushed to",
    why="values count as too old sooner: training and serving get nulls",
    remedy="Check how old the newest rows of a source get before the next ones come.",
)
def ttl_shortened(c: Comparison) -> Iterator[Hit]:
    """A shorter life of values; 0 is for ever."""
    for name, before, after in c.kept("views"):
        old, new = before.get("ttl_seconds"), after.get("ttl_seconds")
        if new and (not old or new < old):
            reason = f"the ttl of {name} was {_life(old or 0)}, is now {_life(new)}"
            # The margin is of the schedule that loads all views; it says nothing of one that has its own, or is pushed to.
            apart = SCHEDULE_TAG in tags(after) or "stream_source" in after
            yield Hit(f"views.{name}", reason, BREAKING if new < c.margin_seconds and not apart else WARNING)


@rule(
    "F041",
    "a view's ttl is extended, or becomes 0 (for ever)",
    WARNING,
    why="older values are taken for good ones; with 0 the first load reads the whole source",
    remedy="Nothing, if models may see values of that age.",
)
def ttl_extended(c: Comparison) -> Iterator[Hit]:
    """A longer life of values."""
    for name, before, after in c.kept("views"):
        old, new = before.get("ttl_seconds"), after.get("ttl_seconds")
        if new is not None and old is not None and old != 0 and (new == 0 or new > old):
            yield Hit(f"views.{name}", f"the ttl of {name} was {_life(old)}, is now {_life(new)}")


@rule(
    "F042",
    "a view's ttl is None",
    WARNING,
    but="breaking when the view had one",
    why="its values count for ever, and stock Feast's incremental materialization fails on it",
    remedy="Write `timedelta(0)` if values never age.",
)
def ttl_missing(c: Comparison) -> Iterator[Hit]:
    """A view that is to be loaded and has no ttl at all."""
    old = c.old.section("views")
    for name, after in sorted(c.new.section("views").items()):
        loaded = after["kind"] in {"batch", "stream"} and after["online"]
        known = name in old and (old[name].get("ttl_seconds", 0) is None or not c.old.complete)
        if loaded and after["ttl_seconds"] is None and not known:
            yield Hit(f"views.{name}", f"the ttl of {name} is None: its values count for ever", BREAKING if name in old else WARNING)


def _taken(side: Snapshot, service: Description) -> set[str]:
    """The views that a service takes, with those that its on-demand views compute from."""
    direct = {view_of(service, label) for label, *_ in service["features"]}
    computed = [side.section("views").get(view, {}).get("sources", {}) for view in direct]
    return direct | {source["view"] for sources in computed for source in sources.values() if "view" in source}


def _served(view: Description) -> bool:
    return bool(view.get("online", True)) and not view.get("disabled", False)


def _listed(items: list[object]) -> str:
    return ", ".join(" ".join(item) if isinstance(item, list) else str(item) for item in items) or "none"


def _life(seconds: int) -> str:
    return f"{seconds / 3600:g} hours" if seconds else "for ever"
