"""What a request may bring for a value of a type: whether a list's values are of it, and the rule and the remedy in words."""

import math
from base64 import b64decode
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

NUMBER = "Send a JSON number without quotes, point or exponent."


class Base64(str):
    """Bytes in the form that JSON has for them, sent as bytes; a type of its own, so that they are not taken for a text."""

    __slots__ = ()


class Text(str):
    """A text that was sent as a text, where bytes have a form of their own; so it is not taken for bytes in base64."""

    __slots__ = ()


@dataclass(frozen=True, slots=True)
class Check:
    """Whether all values of a list are of a type, and the rule in words."""

    all: Callable[[Sequence[Any]], bool]
    rule: str
    remedy: str


def integers(bits: int, rule: str) -> Check:
    """Whole numbers of so many bits."""
    limit = 2 ** (bits - 1)
    # `set(map(type, …))` tells booleans from integers, and costs nothing per value.
    return Check(
        lambda values: not values or (set(map(type, values)) == {int} and -limit <= min(values) and max(values) < limit), rule, NUMBER
    )


def _of(kinds: set[type]) -> Callable[[Sequence[Any]], bool]:
    return lambda values: set(map(type, values)) <= kinds


def _floats(values: Sequence[Any]) -> bool:
    return all(type(value) in {int, float} and math.isfinite(value) for value in values)


def _base64(values: Sequence[Any]) -> bool:
    def valid(value: Any) -> bool:
        try:
            return type(value) in {str, Base64} and b64decode(value, validate=True) is not None
        except ValueError:
            return False

    return all(map(valid, values))


TEXT = Check(_of({str, Text}), "a string", "Send a JSON string.")
BYTES = Check(_base64, "bytes in base64", "Send a JSON string in base64; over gRPC a bytes_val.")
BOOLEAN = Check(_of({bool}), "true or false", "Send true or false.")
FLOAT = Check(_floats, "a number", "Send a JSON number.")
