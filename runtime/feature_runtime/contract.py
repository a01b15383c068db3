"""The contract: what `contract.lock.json` says, how it is made, and how two of them differ.

It names, for every feature service, the ordered features and their types: what a model was trained on and what it
must receive. It says nothing that depends on the environment (no bucket, no host), so that one file, committed with
the definitions, holds everywhere.
"""

import copy
import hashlib
import json
from datetime import timedelta
from pathlib import Path
from typing import Any

from feature_runtime import repo_files
from feature_runtime.refusal import Refusal
from feature_runtime.repo_files import definitions_sha256, read_lock
from feature_runtime.settings import offline_store_uri

LOCK_FILE = repo_files.LOCK_FILE
FORMAT_VERSION = 2
REMEDY = "Run `make lock`, read its diff (it is what models will receive) and commit it with the change."

Contract = dict[str, Any]

render = repo_files.render


def seconds(duration: timedelta) -> int | float:
    """A ttl in seconds, with its fraction if it has one."""
    found = duration.total_seconds()
    return int(found) if found.is_integer() else found


def service_sha256(features: list[list[str]]) -> str:
    """Digest of a service's vector: its `[view, feature, type]` in their order."""
    return hashlib.sha256(json.dumps(features, separators=(",", ":")).encode()).hexdigest()


def vector_names(service: dict[str, Any]) -> list[str]:
    """What the columns of a service's vectors are called: with their views' names where the features' own names collide, as Feast does."""
    full_names = service.get("full_feature_names", False)
    return [f"{view}__{feature}" if full_names else feature for view, feature, _ in service["features"]]


def read(feature_repo: Path) -> Contract:
    """The contract beside the definitions, unless they changed since it was written.

    Raises:
        Refusal: missing, unreadable, of an unknown format, stale, or with permissions.
    """
    contract = read_unchecked(feature_repo)
    if permissions := contract.get("permissions"):
        raise Refusal(
            f"{LOCK_FILE} promises the permissions {', '.join(sorted(permissions))}, and nothing enforces them. Remove the Permission "
            "objects from the definitions and run `make lock`, which says what to do instead."
        )
    if contract["definitions_sha256"] != definitions_sha256(feature_repo):
        raise Refusal(f"the feature definitions changed since {LOCK_FILE} was written. {REMEDY}")
    return contract


def read_unchecked(feature_repo: Path) -> Contract:
    """The contract beside the definitions, stale or not."""
    try:
        contract = read_lock(feature_repo)
    except FileNotFoundError:
        raise Refusal(f"{LOCK_FILE} is missing beside the feature definitions. Write it with `make lock`.") from None
    except json.JSONDecodeError as error:
        raise Refusal(f"{LOCK_FILE} is no JSON ({error}). Write it again with `make lock`.") from None
    if not isinstance(contract, dict) or contract.get("format_version") != FORMAT_VERSION:
        raise Refusal(f"{LOCK_FILE} is not of format {FORMAT_VERSION}. Write it again with `make lock`.")
    _place_sources(contract.get("sources", {}))
    return contract


def _place_sources(sources: dict[str, Any]) -> None:
    """Say of sources whose address is spelled out which of them lie in this environment's offline store.

    They alone have a file there: older locks gave what lies elsewhere one, too.
    """
    own = offline_store_uri()
    for source in sources.values():
        if location := source.get("location"):
            source.pop("file", None)
            if own and location.startswith(own):
                source["file"] = source.pop("location").removeprefix(own).strip("/")


def as_registered(contract: Contract) -> Contract:
    """The contract without what no registry can hold: which of None and 0 a ttl was, how a service named its features, and such."""
    registered = copy.deepcopy(contract)
    registered.pop("feast_version", None)
    for service in registered["services"].values():
        service.pop("whole_views", None)
    for view in registered["views"].values():
        view["ttl_seconds"] = view["ttl_seconds"] or 0
    for name, view in registered.get("on_demand_views", {}).items():
        registered["on_demand_views"][name] = without_tags_of_features(view)
    return registered


def without_tags_of_features(view: dict[str, Any]) -> dict[str, Any]:
    """A described view as Feast gives an on-demand view back: it registers the tags of its features, and does not read them."""
    settings = {name: {key: said for key, said in of.items() if key != "tags"} for name, of in view.get("settings", {}).items()}
    kept = {name: of for name, of in settings.items() if of}
    return {key: said for key, said in view.items() if key != "settings"} | ({"settings": kept} if kept else {})


def differences(old: Any, new: Any, path: str = "") -> list[str]:
    """Every difference between two contracts, one readable line each."""
    if isinstance(old, dict) and isinstance(new, dict):
        lines = []
        for key in sorted(old.keys() | new.keys()):
            below = f"{path}.{key}" if path else key
            if key not in new:
                lines.append(f"{below}: removed")
            elif key not in old:
                lines.append(f"{below}: added")
            else:
                lines.extend(differences(old[key], new[key], below))
        return lines
    if path.endswith(".features"):
        return _feature_differences(old, new, path)
    if path == "definitions_sha256":
        return [] if old == new else ["the text of the definitions"]
    if path.endswith(".sha256"):
        # It follows from the features, which are compared one by one.
        return []
    if old != new:
        return [f"{path}: {json.dumps(old)} is now {json.dumps(new)}"]
    return []


def _feature_differences(old: list[list[str]], new: list[list[str]], path: str) -> list[str]:
    # Items are [name, dtype], or [view, name, dtype] in a service.
    before = {".".join(item[:-1]): item[-1] for item in old}
    after = {".".join(item[:-1]): item[-1] for item in new}
    lines = [f"{path}: {name} removed" for name in before if name not in after]
    lines += [f"{path}: {name} added" for name in after if name not in before]
    lines += [
        f"{path}: {name} was {before[name]}, is now {after[name]}" for name in before if name in after and before[name] != after[name]
    ]
    common_before = [name for name in before if name in after]
    common_after = [name for name in after if name in before]
    if common_before != common_after:
        lines.append(f"{path}: the order was {', '.join(common_before)}, is now {', '.join(common_after)}")
    return lines


def offline_views(locked: Contract, service: dict[str, Any]) -> list[str]:
    """The views that a service reads, by itself or for what is computed on demand, and that nothing loads."""
    stored, computed = locked.get("views", {}), locked.get("on_demand_views", {})
    taken = {service.get("aliases", {}).get(label, label) for label, *_ in service["features"]}
    taken |= {source["view"] for view in taken for source in computed.get(view, {}).get("sources", {}).values() if "view" in source}
    return sorted(view for view in taken if view in stored and (not stored[view]["online"] or stored[view].get("disabled")))


def training_only(locked: Contract) -> dict[str, str]:
    """By service, why no server answers it though models can be trained on it: not all of its views are online."""
    found = {name: offline_views(locked, service) for name, service in locked["services"].items()}
    return {
        name: f"it is for training only, since nothing loads {', '.join(offline)} (online=False, or disabled)"
        for name, offline in found.items()
        if offline
    }
