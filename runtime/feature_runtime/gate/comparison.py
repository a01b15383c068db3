"""Two sides of a change: what is in use, and what would be."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from functools import cached_property
from typing import Any

Contract = dict[str, Any]
Description = dict[str, Any]

NIGHTLY_MARGIN = 2 * 24 * 3600 + 3600
"""Seconds: two gaps of a nightly schedule and one deadline of an hour. A value must live at least that long to survive a missed run."""

YES = "true"
SCHEDULE_TAG = "materialization_schedule"
"""Of a view that is loaded apart from the others, by this cron schedule."""
LIFECYCLE, EXPERIMENTAL = "lifecycle", "experimental"


@dataclass(frozen=True, kw_only=True)
class Snapshot:
    """One side: its contract, and what decides about stored values but is in no definition (see `stores`).

    `complete` is whether the contract has also what a registry cannot hold (`contract.as_registered`). `other_projects`
    are projects of the same registry, each with the names of its views and services.
    """

    contract: Contract = field(default_factory=dict)
    stores: dict[str, Any] = field(default_factory=dict)
    complete: bool = True
    other_projects: dict[str, frozenset[str]] = field(default_factory=dict)

    @property
    def empty(self) -> bool:
        """Whether there is nothing yet: everything on the other side is an addition."""
        return not any(self.section(name) for name in ("services", "views", "entities", "on_demand_views", "sources", "permissions"))

    def section(self, name: str) -> dict[str, Description]:
        """A part of the contract by name; on-demand views stand among `views`, with their kind."""
        if name == "views":
            computed: dict[str, Description] = self.contract.get("on_demand_views", {})
            return {**self.contract.get("views", {}), **{view: {"kind": "on_demand", **said} for view, said in computed.items()}}
        found: dict[str, Description] = self.contract.get(name, {})
        return found


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """What the rules look at. `margin_seconds` is how long a value must live to survive a missed materialization."""

    old: Snapshot
    new: Snapshot
    today: date = field(default_factory=lambda: datetime.now(UTC).date())
    margin_seconds: int = NIGHTLY_MARGIN
    source_problems: tuple[tuple[str, str], ...] = ()
    """(view, what its source lacks), where sources were looked into."""

    def kept(self, section: str) -> Iterator[tuple[str, Description, Description]]:
        """(name, before, after) of what is on both sides."""
        old, new = self.old.section(section), self.new.section(section)
        yield from ((name, old[name], new[name]) for name in sorted(old.keys() & new.keys()))

    def removed(self, section: str) -> Iterator[tuple[str, Description]]:
        """(name, before) of what is gone."""
        old = self.old.section(section)
        yield from ((name, old[name]) for name in sorted(old.keys() - self.new.section(section).keys()))

    def added(self, section: str) -> Iterator[tuple[str, Description]]:
        """(name, after) of what is new."""
        new = self.new.section(section)
        yield from ((name, new[name]) for name in sorted(new.keys() - self.old.section(section).keys()))

    @cached_property
    def served(self) -> frozenset[tuple[str, str]]:
        """(view, feature) of what old services hand out, and of what their on-demand views compute from."""
        found: set[tuple[str, str]] = set()
        for service in self.old.section("services").values():
            for label, feature, _ in service["features"]:
                view = view_of(service, label)
                found.add((view, feature))
                for source in self.old.section("views").get(view, {}).get("sources", {}).values():
                    found |= {(source["view"], name) for name, _ in source.get("features", []) if "view" in source}
        return frozenset(found)

    def in_use(self, view: str, feature: str | None = None) -> bool:
        """Whether an old service hands the view out, or this feature of it, or its tag `lifecycle` says that somebody counts on it."""
        lifecycle = tags(self.old.section("views").get(view, {})).get(LIFECYCLE, EXPERIMENTAL)
        return lifecycle != EXPERIMENTAL or any(view == v and feature in (None, f) for v, f in self.served)

    def services_of(self, view: str) -> list[str]:
        """Old services that hand out features of the view."""
        services = self.old.section("services")
        return sorted(name for name, said in services.items() if any(view_of(said, label) == view for label, _, _ in said["features"]))

    def frozen(self, view: str) -> bool:
        """Whether the view, or a service that hands it out, is tagged `training_frozen`: a model was trained and is not trained again."""
        before, services = self.old.section("views").get(view, {}), self.old.section("services")
        return any(tags(said).get("training_frozen") == YES for said in [before, *(services[name] for name in self.services_of(view))])


def view_of(service: Description, label: str) -> str:
    """The view behind the label that a service gives it."""
    aliased = service.get("aliases", {}).get(label, label)
    return str(aliased).partition("@")[0]


def tags(described: Description) -> dict[str, str]:
    """An object's tags."""
    found: dict[str, str] = described.get("tags", {})
    return found
