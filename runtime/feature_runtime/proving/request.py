"""What a feature server is asked to prove it: join keys and values of the request, as functions get them and as JSON has them."""

import json
from collections.abc import Sequence
from typing import Any

from feature_runtime.offline_store.vector import Vector
from feature_runtime.refusal import Refusal
from feature_runtime.value_types import TYPES, json_form

Key = dict[str, Any]

REQUEST_VALUES = {row.name: row.example for row in TYPES.values() if row.request}
"""What a request brings for on-demand features, by type, as their functions get it."""


def request_values(vector: Vector) -> dict[str, Any]:
    """A value for everything that a request must bring, as functions get it.

    Raises:
        Refusal: of a type for which none is at hand.
    """
    if other := sorted(f"{name} ({dtype})" for name, dtype in vector.requests.items() if str(dtype) not in REQUEST_VALUES):
        raise Refusal(f"{vector.title}: no value to ask with is at hand for {', '.join(other)}.")
    return {name: REQUEST_VALUES[str(dtype)] for name, dtype in vector.requests.items()}


def request_body(vector: Vector, keys: Sequence[Key]) -> bytes:
    """The request for all of some entities at once."""
    entities = {name: [json_form(key[name]) for key in keys] for name in vector.keys}
    entities |= {name: [json_form(value)] * len(keys) for name, value in request_values(vector).items()}
    asked: dict[str, Any] = {"feature_service": vector.service} if vector.service else {"features": vector.refs}
    asked["entities"] = entities
    return json.dumps(asked | ({"full_feature_names": True} if vector.full_names else {})).encode()


def shown(key: Key) -> str:
    """A key as it reads in a message."""
    return " ".join(f"{name}={json_form(value)}" for name, value in sorted(key.items()))


def from_json(value: Any, name: str, vector: Vector) -> Any:
    """The value of a join key that a request has so.

    Raises:
        Refusal: it is not of the key's type.
    """
    row = TYPES[str(vector.keys[name])]
    if row.request is None or not row.request.all([value]):
        raise Refusal(f"SMOKE_ENTITIES: {name} is {value!r}, not a {row.name} as a request has it.")
    return row.from_json(value)
