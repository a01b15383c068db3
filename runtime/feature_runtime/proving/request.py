"""What a feature server is asked to prove it: join keys and values of the request, as functions get them and as JSON has them."""

import base64
import json
import math
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

import pyarrow as pa

from feature_runtime.offline_store.history import arrow_type
from feature_runtime.offline_store.vector import Vector
from feature_runtime.refusal import Refusal
from feature_runtime.serving.on_demand_values import as_in_training

Key = dict[str, Any]

REQUEST_VALUES = {
    "String": "a",
    "Bytes": b"a",
    "Bool": True,
    "Int32": 1,
    "Int64": 1,
    "Float32": 1.0,
    "Float64": 1.0,
    "UnixTimestamp": datetime(1970, 1, 1, 0, 0, 1, tzinfo=UTC),
}
"""What a request brings for on-demand features, by type, as their functions get it."""


def request_values(vector: Vector) -> dict[str, Any]:
    """A value for everything that a request must bring, as functions get it.

    Raises:
        Refusal: of a type for which none is at hand.
    """
    if other := sorted(f"{name} ({dtype})" for name, dtype in vector.requests.items() if str(dtype) not in REQUEST_VALUES):
        raise Refusal(f"feature service {vector.service!r}: no value to ask with is at hand for {', '.join(other)}.")
    return {name: REQUEST_VALUES[str(dtype)] for name, dtype in vector.requests.items()}


def request_body(vector: Vector, keys: Sequence[Key]) -> bytes:
    """The request for all of some entities at once."""
    entities = {name: [as_json(key[name]) for key in keys] for name in vector.keys}
    entities |= {name: [as_json(value)] * len(keys) for name, value in request_values(vector).items()}
    return json.dumps({"feature_service": vector.service, "entities": entities}).encode()


def as_json(value: Any) -> Any:
    """A value as a request or an answer has it: moments in seconds, bytes in base64."""
    if isinstance(value, datetime):
        return math.floor((value if value.tzinfo else value.replace(tzinfo=UTC)).timestamp())
    return base64.b64encode(value).decode() if isinstance(value, bytes) else value


def shown(key: Key) -> str:
    """A key as it reads in a message."""
    return " ".join(f"{name}={as_json(value)}" for name, value in sorted(key.items()))


def from_json(value: Any, name: str, vector: Vector) -> Any:
    """The value of a join key that a request has so.

    Raises:
        Refusal: it is not of the key's type.
    """
    try:
        kind = vector.keys[name]
        (converted,) = as_in_training([value], str(kind))
        pa.array([converted], arrow_type(kind))
    except (TypeError, ValueError, OverflowError):
        raise Refusal(f"SMOKE_ENTITIES: {name} is {value!r}, not a {vector.keys[name]} as a request has it.") from None
    return converted
