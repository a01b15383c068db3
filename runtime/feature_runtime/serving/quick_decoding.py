"""What is stored most often, decoded without protobuf's classes: numbers, texts, vectors of floats.

Each decoder knows one form of bytes, the one that protobuf writes, and leaves anything else to the exact decoder.
"""

import struct
from collections.abc import Callable
from typing import Any

from feature_runtime.value_types import TYPES, Wire, parse

Decoder = Callable[[bytes], Any]

# Not a time: what Feast stores for a null among moments.
NULL_MOMENT = -(2**63)
CONTINUED = 0x80


def varint(raw: bytes, at: int) -> tuple[int, int]:
    """The number that begins at a position, and where it ends."""
    result = shift = 0
    while True:
        byte = raw[at]
        at += 1
        result |= (byte & 0x7F) << shift
        if byte < CONTINUED:
            return result, at
        shift += 7


def moment(seconds: int | None) -> int | None:
    """A stored moment: its seconds since 1970, None for a null."""
    return None if seconds == NULL_MOMENT else seconds


def finite(value: float) -> float | str:
    """A float as JSON has it: "NaN", "Infinity" and "-Infinity" are texts."""
    if value - value == 0:
        return value
    return "NaN" if value != value else "Infinity" if value > 0 else "-Infinity"  # noqa: PLR0124  how a NaN is known


def _tag(dtype: str) -> bytes:
    """What protobuf writes before a value of a type."""
    kind = parse(dtype)
    number = kind.number << 3 | (TYPES[dtype].wire if dtype in TYPES else Wire.BYTES).value
    return bytes([number]) if number < CONTINUED else bytes([number & 0x7F | CONTINUED, number >> 7])


def _float(dtype: str, form: str, exact: Decoder) -> Decoder:
    (tag,) = _tag(dtype)
    number = struct.Struct(form)
    size, unpack = number.size + 1, number.unpack_from

    def decode(raw: bytes) -> Any:
        if len(raw) == size and raw[0] == tag:
            (value,) = unpack(raw, 1)
            return value if value - value == 0 else finite(value)
        return exact(raw)

    return decode


def _integer(dtype: str, limit: int, exact: Decoder) -> Decoder:
    (tag,) = _tag(dtype)

    def decode(raw: bytes) -> Any:
        length = len(raw)
        if length > 1 and raw[0] == tag:
            if length == 2 and raw[1] < CONTINUED:  # noqa: PLR2004  the tag and a number below 128
                return raw[1]
            number, end = varint(raw, 1)
            value = number - (1 << 64) if number >> 63 else number
            if end == length and -limit <= value < limit:
                return value
        return exact(raw)

    return decode


def _seconds(exact: Decoder) -> Decoder:
    number = _integer("UnixTimestamp", 2**63, exact)
    return lambda raw: moment(number(raw))


def _bool(exact: Decoder) -> Decoder:
    tag = _tag("Bool")
    known = {tag + b"\x00": False, tag + b"\x01": True}

    def decode(raw: bytes) -> Any:
        value = known.get(raw)
        return exact(raw) if value is None else value

    return decode


def _string(exact: Decoder) -> Decoder:
    (tag,) = _tag("String")

    def decode(raw: bytes) -> Any:
        if len(raw) > 1 and raw[0] == tag:
            size, start = varint(raw, 1)
            if start + size == len(raw):
                return raw[start:].decode()
        return exact(raw)

    return decode


def _floats(dtype: str, code: str, exact: Decoder) -> Decoder:
    tag = _tag(dtype)
    width = struct.calcsize(code)

    def decode(raw: bytes) -> Any:
        if raw.startswith(tag):
            size, inner = varint(raw, len(tag))
            if inner + size == len(raw) and size and raw[inner] == 0x0A:  # noqa: PLR2004  its one field, packed
                size, start = varint(raw, inner + 1)
                if start + size == len(raw) and size % width == 0:
                    values = list(struct.unpack_from(f"<{size // width}{code}", raw, start))
                    return values if sum(values) - sum(values) == 0 else [finite(value) for value in values]
        return exact(raw)

    return decode


QUICK: dict[str, Callable[[Decoder], Decoder]] = {
    "Float32": lambda exact: _float("Float32", "<f", exact),
    "Float64": lambda exact: _float("Float64", "<d", exact),
    "Int64": lambda exact: _integer("Int64", 2**63, exact),
    "Int32": lambda exact: _integer("Int32", 2**31, exact),
    "UnixTimestamp": _seconds,
    "Bool": _bool,
    "String": _string,
    "Array(Float32)": lambda exact: _floats("Array(Float32)", "f", exact),
    "Array(Float64)": lambda exact: _floats("Array(Float64)", "d", exact),
}
"""By type."""
