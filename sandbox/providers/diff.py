"""What differs between two sets of inputs, path by path, and which difference replaces the resource."""

import re
from collections.abc import Callable, Iterator, Mapping
from itertools import zip_longest
from typing import Any

from sandbox.providers.proto import provider_pb2

Path = tuple[str | int, ...]

_PLAIN_KEY = re.compile(r"[A-Za-z_$][A-Za-z0-9_$-]*")


def changes(old: Any, new: Any, path: Path = ()) -> Iterator[tuple[Path, str]]:
    """Every innermost difference as (path, ADD | DELETE | UPDATE); a null is the same as nothing."""
    if isinstance(old, Mapping) and isinstance(new, Mapping):
        for key in sorted({*old, *new}):
            yield from changes(old.get(key), new.get(key), (*path, key))
    elif isinstance(old, list) and isinstance(new, list):
        for index, (before, after) in enumerate(zip_longest(old, new)):
            yield from changes(before, after, (*path, index))
    elif old != new:
        yield path, "ADD" if old is None else "DELETE" if new is None else "UPDATE"


def response(
    found: Mapping[Path, str], replaces: Callable[[Path], bool], *, delete_before_replace: bool = False
) -> provider_pb2.DiffResponse:
    """The engine's form of a diff; `replaces` says for a path whether changing it needs a new object."""
    kinds = provider_pb2.PropertyDiff
    detailed: dict[str, provider_pb2.PropertyDiff] = {}
    replacing: set[str] = set()
    for path, kind in found.items():
        replace = replaces(path)
        detailed[render(path)] = kinds(inputDiff=True, kind=getattr(kinds, f"{kind}_REPLACE" if replace else kind))
        if replace:
            replacing.add(str(path[0]))
    outcome = provider_pb2.DiffResponse
    return provider_pb2.DiffResponse(
        changes=outcome.DIFF_SOME if detailed else outcome.DIFF_NONE,
        hasDetailedDiff=True,
        detailedDiff=detailed,
        diffs=sorted({str(path[0]) for path in found}),
        replaces=sorted(replacing),
        # Also where nothing here replaces: the program or the operator may.
        deleteBeforeReplace=delete_before_replace,
    )


def render(path: Path) -> str:
    """The engine's property path: `spec.containers[0].image`, `metadata.labels["app.kubernetes.io/name"]`."""
    text = ""
    for part in path:
        if isinstance(part, int):
            text += f"[{part}]"
        elif _PLAIN_KEY.fullmatch(part):
            text += f".{part}" if text else part
        else:
            escaped = part.replace("\\", "\\\\").replace('"', '\\"')
            text += f'["{escaped}"]'
    return text
