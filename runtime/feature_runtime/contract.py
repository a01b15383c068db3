"""The contract: what `contract.lock.json` says, how it is made, and how two of them differ.

It names, for every feature service, the ordered features and their types: what a model was trained on and what it
must receive. It says nothing that depends on the environment (no bucket, no host), so that one file, committed with
the definitions, holds everywhere.
"""

import hashlib
import json
import re
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from feature_runtime.refusal import Refusal
from feature_runtime.settings import offline_store_bucket

if TYPE_CHECKING:
    from feast import Entity, FeatureService, FeatureView
    from feast.data_source import DataSource

    from feature_runtime.definitions import Definitions

LOCK_FILE = "contract.lock.json"
FORMAT_VERSION = 1
REMEDY = "Run `make lock`, read its diff (it is what models will receive) and commit it with the change."

IGNORED_DIRECTORIES = frozenset({"__pycache__", ".pytest_cache", ".mypy_cache", ".ruff_cache"})

# A feature and its type stand on one line: that is the line a reviewer wants to see change.
LIST_OF_STRINGS = re.compile(r'\[(?:\s*"(?:[^"\\]|\\.)*",?)+\s*\]')

Contract = dict[str, Any]


def definitions_sha256(feature_repo: Path) -> str:
    """Digest of the Python files that define the features.

    The program that deploys computes the same without this package (a test holds the two together).
    """
    digest = hashlib.sha256()
    for path in sorted(feature_repo.glob("**/*.py")):
        relative = path.relative_to(feature_repo)
        hidden = any(part in IGNORED_DIRECTORIES or part.startswith(".") for part in relative.parts[:-1])
        if not path.is_file() or hidden:
            continue
        content = path.read_bytes()
        digest.update(f"{relative.as_posix()}\0{len(content)}\0".encode())
        digest.update(content)
    return digest.hexdigest()


def of_definitions(repo: Path, definitions: "Definitions") -> Contract:
    """The contract that the feature repo's definitions make, as `lock` writes it and `apply` compares it."""
    return describe(
        project=definitions.project,
        definitions=definitions_sha256(repo),
        entities=definitions.entities,
        sources=definitions.sources,
        views=definitions.views,
        services=definitions.services,
    )


def describe(
    *,
    project: str,
    definitions: str,
    entities: Iterable["Entity"],
    sources: Iterable["DataSource"],
    views: Iterable["FeatureView"],
    services: Iterable["FeatureService"],
) -> Contract:
    """The contract of Feast objects, wherever they come from (the feature repo, or a registry).

    `definitions` is their `definitions_sha256`.
    """
    return {
        "format_version": FORMAT_VERSION,
        "project": project,
        "definitions_sha256": definitions,
        "entities": {
            entity.name: {"join_key": entity.join_key, "value_type": entity.value_type.name}
            for entity in entities
            if not entity.name.startswith("__")
        },
        "sources": {source.name: _source(source) for source in sources},
        "views": {
            view.name: {
                "entities": list(view.entities),
                "features": [[field.name, str(field.dtype)] for field in view.features],
                "ttl_seconds": int(view.ttl.total_seconds()) if view.ttl else 0,
                "online": view.online,
                "source": view.batch_source.name if view.batch_source else None,
            }
            for view in views
        },
        "services": {service.name: _service(service) for service in services},
    }


def render(contract: Contract) -> str:
    """The text of the lock file: sorted keys, ordered features one per line, as a diff reads best."""
    text = json.dumps(contract, indent=2, sort_keys=True)
    return LIST_OF_STRINGS.sub(lambda match: json.dumps(json.loads(match[0])), text) + "\n"


def read(feature_repo: Path) -> Contract:
    """The contract beside the definitions, unless they changed since it was written.

    Raises:
        Refusal: missing, unreadable, of an unknown format, or stale.
    """
    contract = read_unchecked(feature_repo)
    if contract["definitions_sha256"] != definitions_sha256(feature_repo):
        raise Refusal(f"the feature definitions changed since {LOCK_FILE} was written. {REMEDY}")
    return contract


def read_unchecked(feature_repo: Path) -> Contract:
    """The contract beside the definitions, stale or not."""
    path = feature_repo / LOCK_FILE
    try:
        contract = json.loads(path.read_text())
    except FileNotFoundError:
        raise Refusal(f"{LOCK_FILE} is missing beside the feature definitions. Write it with `make lock`.") from None
    except json.JSONDecodeError as error:
        raise Refusal(f"{LOCK_FILE} is no JSON ({error}). Write it again with `make lock`.") from None
    if not isinstance(contract, dict) or contract.get("format_version") != FORMAT_VERSION:
        raise Refusal(f"{LOCK_FILE} is not of format {FORMAT_VERSION}. Write it again with `make lock`.")
    return contract


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


def _source(source: "DataSource") -> dict[str, Any]:
    path = getattr(source, "path", None)
    description: dict[str, Any] = {
        "type": type(source).__name__,
        "timestamp_field": source.timestamp_field,
        "created_timestamp_column": source.created_timestamp_column,
    }
    if path:
        # The bucket is the environment's; which file of it, is the contract's.
        description["file"] = _key(str(path))
    if source.field_mapping:
        description["field_mapping"] = dict(source.field_mapping)
    return description


def _key(path: str) -> str:
    """Where a source lies in the offline store, a file or a folder: what follows the bucket, or a laptop's `data/`."""
    for place in (f"s3://{offline_store_bucket()}/", "data/"):
        if path.startswith(place):
            return path.removeprefix(place).strip("/")
    return path.rstrip("/").rsplit("/", 1)[-1]


def _service(service: "FeatureService") -> dict[str, Any]:
    features = [
        [projection.name_to_use(), feature.name, str(feature.dtype)]
        for projection in service.feature_view_projections
        for feature in projection.features
    ]
    names = [name for _, name, _ in features]
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise Refusal(
            f"the feature service {service.name!r} has two features of one name ({', '.join(twice)}): "
            "a model could not tell them apart. Rename one in its view."
        )
    digest = hashlib.sha256(json.dumps(features, separators=(",", ":")).encode()).hexdigest()
    return {"features": features, "sha256": digest}
