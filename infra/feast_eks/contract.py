"""The committed contract of the feature repo, read without importing Feast.

`contract.lock.json` is written by `make lock` (the runtime's `lock` verb). It names, for every feature service, the
ordered features and their types: what a model was trained on and what it must receive.
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from math import ceil, floor
from pathlib import Path
from typing import Any

from feast_eks.refusal import Problem, Refusal
from feast_eks.repo_files import LOCK_FILE, definitions_sha256, read_lock
from feast_eks.settings import refusal_of_schedule

FORMAT_VERSION = 2
FRESHNESS_TAG = "freshness_hours"
SCHEDULE_TAG = "materialization_schedule"
REMEDY = "run `make lock`, read the diff of contract.lock.json (it is what models will receive), commit it with the change"


@dataclass(frozen=True, kw_only=True)
class Contract:
    """The parts of `contract.lock.json` that the program passes on.

    `services` maps a feature service to `{"features": [[name, dtype], …], "sha256": …}` in the order a model receives, with
    `"full_feature_names": true` where it must be asked so.
    `ttl_seconds` maps a feature view to how long its values count, 0 meaning for ever; `freshness_seconds` to how old the newest
    row of its source may be (its tag `freshness_hours`, else its ttl), without the views that have no such bound. `sources`
    are the keys in the offline store's bucket that the views are computed from, each a file, a folder or a pattern; `local_files` maps
    sources to files that only the machine of whoever wrote the contract has; `join_keys` name the
    columns of entities, also as services and on-demand views ask requests for them. `online` are the views that are loaded;
    `schedules` maps those that are loaded apart from the others to their cron schedule (their tag `materialization_schedule`);
    `pushed` get values between two loads too, from a source that pushes or streams.
    """

    project: str
    services: dict[str, dict[str, Any]]
    ttl_seconds: dict[str, int]
    sources: tuple[str, ...] = ()
    local_files: dict[str, str] = field(default_factory=dict)
    join_keys: frozenset[str] = frozenset()
    freshness_seconds: dict[str, int] = field(default_factory=dict)
    online: frozenset[str] = frozenset()
    schedules: dict[str, str] = field(default_factory=dict)
    pushed: frozenset[str] = frozenset()


def read_contract(feature_repo: Path, *, bucket: str | None = None) -> Contract:
    """Read the contract and prove that it was written from the definitions beside it.

    `bucket` is the offline store's, where its name is known: definitions may spell it out.

    Raises:
        Refusal: no lock file, an unknown format, or definitions that changed since it was written.
    """
    path = f"{feature_repo.name}/{LOCK_FILE}"
    try:
        lock = read_lock(feature_repo)
    except FileNotFoundError:
        raise _refuse(path, "no such file", "the contract is committed beside the feature definitions") from None
    except json.JSONDecodeError as error:
        raise _refuse(path, str(error), "the contract is JSON as `make lock` writes it") from None
    if lock.get("format_version") != FORMAT_VERSION:
        found = f"format_version {lock.get('format_version')!r}"
        raise _refuse(path, found, f"this program reads format_version {FORMAT_VERSION}")
    if lock["definitions_sha256"] != definitions_sha256(feature_repo):
        raise _refuse(path, "stale", "the contract is written from the feature definitions beside it, which have changed")
    return Contract(
        project=lock["project"],
        services={
            name: {"features": _vector(service), "sha256": service["sha256"]}
            | ({"full_feature_names": True} if service.get("full_feature_names") else {})
            for name, service in lock["services"].items()
        },
        ttl_seconds={name: _ttl_seconds(view) for name, view in lock["views"].items()},
        sources=tuple(sorted(set(_keys(lock["sources"], bucket)))),
        local_files={name: place for name, source in lock["sources"].items() if (place := source.get("location", "")).startswith("/")},
        join_keys=frozenset(_join_keys(lock)),
        freshness_seconds={name: bound for name, view in lock["views"].items() if (bound := _freshness_seconds(view))},
        online=frozenset(name for name, view in lock["views"].items() if view["online"]),
        schedules=_schedules(lock["views"]),
        pushed=frozenset(name for name, view in lock["views"].items() if "stream_source" in view),
    )


def _keys(sources: dict[str, dict[str, Any]], bucket: str | None) -> Iterator[str]:
    """What the sources are in the offline store's bucket; those that lie elsewhere are none of it."""
    own = f"s3://{bucket}/" if bucket else ""
    for source in sources.values():
        location = source.get("location", "")
        if own and location.startswith(own):
            yield location.removeprefix(own).strip("/")
        elif "file" in source and not location:
            yield source["file"]


def _vector(service: dict[str, Any]) -> list[list[str]]:
    full_names = service.get("full_feature_names", False)
    return [[f"{view}__{feature}" if full_names else feature, dtype] for view, feature, dtype in service["features"]]


def _join_keys(lock: dict[str, Any]) -> Iterator[str]:
    yield from (entity["join_key"] for entity in lock["entities"].values())
    for service in lock["services"].values():
        for join_key_map in service.get("join_key_maps", {}).values():
            yield from join_key_map.values()
    for view in lock.get("on_demand_views", {}).values():
        for source in view["sources"].values():
            yield from source.get("join_key_map", {}).values()


def _ttl_seconds(view: dict[str, Any]) -> int:
    """Whole seconds, away from 0: a fraction of a second is not for ever."""
    ttl = view["ttl_seconds"] or 0
    return ceil(ttl) if ttl > 0 else floor(ttl)


def _freshness_seconds(view: dict[str, Any]) -> int:
    """0 where nothing bounds the age of the newest row."""
    text = view.get("tags", {}).get(FRESHNESS_TAG)
    if text is None:
        return max(0, _ttl_seconds(view))
    try:
        hours = float(text)
    except ValueError:
        hours = 0
    if not 0 < hours < float("inf"):
        raise _refuse(f"views, tag {FRESHNESS_TAG}", repr(text), "a number of hours above 0")
    return int(hours * 3600)


def _schedules(views: dict[str, dict[str, Any]]) -> dict[str, str]:
    """The schedules of the views that have one.

    Raises:
        Refusal: Kubernetes would not take one of them, or its view is not loaded; names all.
    """
    problems = []
    schedules = {name: view["tags"][SCHEDULE_TAG] for name, view in sorted(views.items()) if SCHEDULE_TAG in view.get("tags", {})}
    for name, schedule in schedules.items():
        path = f"feature view {name}, tag {SCHEDULE_TAG}"
        if rule := refusal_of_schedule(schedule):
            problems.append(Problem(path=path, value=repr(schedule), rule=rule, remedy='e.g. "0 * * * *" for every hour, UTC'))
        elif not views[name]["online"]:
            problems.append(
                Problem(path=path, value=repr(schedule), rule="a view with online=True: no other is loaded", remedy="remove the tag")
            )
    if problems:
        raise Refusal("feature contract", problems)
    return schedules


def _refuse(path: str, value: str, rule: str) -> Refusal:
    return Refusal("feature contract", [Problem(path=path, value=value, rule=rule, remedy=REMEDY)])
