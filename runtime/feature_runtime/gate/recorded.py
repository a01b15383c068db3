"""What the registry cannot hold, remembered beside it: tags of Feast's own Project object.

Without them (a registry that stock `feast apply` wrote, which drops them) the comparison goes on with what there is.
"""

import copy
import json
from typing import Any

from feast import FeatureStore
from feast.errors import FeastObjectNotFoundException
from feast.project import Project

from feature_runtime import contract
from feature_runtime.gate.comparison import Contract, Snapshot
from feature_runtime.gate.judgement import Verdict
from feature_runtime.refusal import Refusal
from feature_runtime.registry.access import registered_contract, sha256_of_registered

TAG = "feast-eks/gate"


def registered_snapshot(store: FeatureStore, definitions_sha256: str = "") -> Snapshot:
    """What the registry says now, with what `apply` remembered there."""
    registered = registered_contract(store, definitions_sha256)
    record = _record(store)
    if record is None:
        return Snapshot(contract=registered, complete=False)
    return Snapshot(contract=_with(registered, record.get("beyond", {})), stores=record.get("stores", {}))


def record(
    store: FeatureStore, project: Project, lock: Contract, stores: dict[str, Any], verdict: Verdict, *, registered: Contract
) -> None:
    """Remember the contract's part that the registry cannot hold, the stores, and which waivers were used.

    Written last, with the digest of what the registry says then: one that says something else is half-way to something else.
    """
    waived = [{"rule": finding.rule, "object": finding.object, "reason": finding.waived} for finding in verdict.findings if finding.waived]
    remembered = {"beyond": beyond(lock), "stores": stores, "waived": waived, "registered_sha256": sha256_of_registered(registered)}
    text = json.dumps(remembered, sort_keys=True, separators=(",", ":"))
    if _text(store, project.name) != text:
        project.tags = {**project.tags, TAG: text}
        store.registry.apply_project(project, commit=True)


def is_whole(store: FeatureStore) -> bool | None:
    """Whether the registry, as it was read last, says what the last `apply` left there; None where nothing tells."""
    text = store.registry.get_project(store.project, allow_cache=True).tags.get(TAG)
    sha256 = json.loads(text).get("registered_sha256") if text else None
    return None if sha256 is None else sha256 == sha256_of_registered(registered_contract(store, "", refresh=False))


def keep_record(store: FeatureStore, project: Project) -> None:
    """Let the project carry what is remembered now: Feast writes it first, and an apply that ends half-way must not forget."""
    if (text := _text(store, project.name)) is not None:
        project.tags = {**project.tags, TAG: text}


def beyond(lock: Contract) -> dict[str, Any]:
    """The part of a contract that `contract.as_registered` leaves out or changes."""
    registered = contract.as_registered(lock)
    found: dict[str, Any] = {"feast_version": lock.get("feast_version")}
    for section, objects in registered.items():
        for name, held in objects.items() if isinstance(objects, dict) else ():
            described = lock[section][name]
            if more := {key: said for key, said in described.items() if key not in held or held[key] != said}:
                found.setdefault(section, {})[name] = more
    return found


def _with(registered: Contract, more: dict[str, Any]) -> Contract:
    whole = copy.deepcopy(registered)
    sections = dict(more)
    if feast_version := sections.pop("feast_version", None):
        whole["feast_version"] = feast_version
    for section, objects in sections.items():
        for name, said in objects.items():
            if name in whole.get(section, {}):
                whole[section][name].update(said)
    return whole


def _record(store: FeatureStore) -> dict[str, Any] | None:
    text = _text(store, store.project)
    if text is None:
        return None
    try:
        read = json.loads(text)
    except ValueError:
        read = None
    if not isinstance(read, dict):
        raise Refusal(
            f"the tag {TAG!r} of the project {store.project} is not what `apply` writes. Remove it (`feast apply` does), then compare."
        )
    return read


def _text(store: FeatureStore, project: str) -> str | None:
    try:
        tags: dict[str, str] = store.registry.get_project(project, allow_cache=False).tags
    except FeastObjectNotFoundException:
        return None
    return tags.get(TAG)
