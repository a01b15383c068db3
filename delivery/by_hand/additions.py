"""What a live object has more than the program's inputs.

Only what is more: a value that changed is a refresh's to find. A list is compared by its items, whatever their order, so
that none of them is hidden behind another of its name.
"""

from collections.abc import Iterator, Sequence
from typing import Any

from delivery.by_hand.state import HIDDEN, Object
from delivery.values import Path

IDENTITIES = ("name", "mountPath", "containerPort", "port", "ip", "topologyKey", "key")
"""By what an item of a list is known, where items have it; the first that both have counts."""


def additions(wanted: Any, live: Any, path: Path = ()) -> Iterator[Path]:
    """Where the live value has a key or an item that the wanted one lacks, the outermost of each."""
    if isinstance(wanted, dict) and isinstance(live, dict):
        for key, value in live.items():
            if wanted.get(key) is None:
                if value is not None:
                    yield (*path, key)
            else:
                yield from additions(wanted[key], value, (*path, key))
    elif isinstance(wanted, list) and isinstance(live, list):
        partners = _partners(wanted, live)
        for index, item in enumerate(live):
            if index in partners:
                yield from additions(partners[index], item, (*path, index))
            else:
                yield (*path, index)


def as_stored(inputs: Object) -> Object:
    """The inputs in the form in which the API server keeps them: a Secret's texts lie among its data."""
    if inputs.get("kind") != "Secret" or inputs.get("stringData") is None:
        return inputs
    return {**inputs, "data": {**(inputs.get("data") or {}), **inputs["stringData"]}}


def _partners(wanted: Sequence[Any], live: Sequence[Any]) -> dict[int, Any]:
    """Which wanted item each live item is, by its index; a live item without one was added."""
    partners: dict[int, Any] = {}
    unmatched = list(wanted)
    for are_partners in (_equal, contained, _of_one_identity, _any):
        for item in tuple(unmatched):
            free = [index for index in range(len(live)) if index not in partners and are_partners(item, live[index])]
            if free:
                # The one with the least to add: a rule without ports is not taken for a wider one that stands before it.
                _, index = min((sum(1 for _ in additions(item, live[index])), index) for index in free)
                partners[index] = item
                unmatched.remove(item)
    return partners


def _equal(wanted: Any, live: Any) -> bool:
    return contained(wanted, live) and next(additions(wanted, live), None) is None


def contained(wanted: Any, live: Any) -> bool:
    """Whether all of the wanted value is in the live one; the API server leaves out what is empty."""
    if wanted is HIDDEN or wanted is None:
        return True
    if isinstance(wanted, dict) and isinstance(live, dict):
        return all(contained(value, live[key]) if key in live else not value for key, value in wanted.items())
    if isinstance(wanted, list) and isinstance(live, list):
        return all(any(contained(value, item) for item in live) for value in wanted)
    return bool(wanted == live)


def _of_one_identity(wanted: Any, live: Any) -> bool:
    if not isinstance(live, dict) or not isinstance(wanted, dict):
        return False
    known = next((name for name in IDENTITIES if name in live and name in wanted), None)
    return known is not None and bool(live[known] == wanted[known])


def _any(_wanted: Any, _live: Any) -> bool:
    """What is like nothing else is what it was before it was changed."""
    return True
