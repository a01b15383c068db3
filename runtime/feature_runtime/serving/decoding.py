"""From the bytes that Feast stores to what JSON says, per type of the contract.

Promises the values of Feast's own HTTP server: Float32 as the double that equals it, NaN and infinities as the strings
"NaN", "Infinity" and "-Infinity", Bytes in base64, moments in seconds, sets as arrays, Json as its text. Where stock
gives up it does not: a ScalarMap is an array of [key, value]. A null is None. A stored value of another type raises
WrongType: it is never coerced.

Numbers, texts and vectors of floats are decoded by `quick_decoding`, everything else here, by Feast's own protobuf classes.
"""

from base64 import b64encode
from datetime import UTC, datetime
from functools import cache, lru_cache
from typing import Any

from feature_runtime.serving.quick_decoding import QUICK, Decoder, finite, moment, varint
from feature_runtime.value_types import UnknownType
from feature_runtime.value_types import parse as parse_type

EPOCH = "1970-01-01T00:00:00Z"
NANOS = 10**9


class WrongType(ValueError):
    """The stored bytes are no value of the expected type."""


@cache
def json_decoder(dtype: str) -> Decoder:
    """What turns the stored bytes of a type into what JSON says; None for a stored null; raises WrongType.

    Raises:
        WrongType: no such type.
    """
    try:
        field = f"{parse_type(dtype).stem}_val"
    except UnknownType as error:
        raise WrongType(str(error)) from None
    exact = _exact(dtype, field)
    return QUICK[dtype](exact) if dtype in QUICK else exact


@lru_cache(maxsize=65_536)
def event_time(raw: bytes) -> tuple[int, int, str]:
    """A stored event time: its seconds since 1970, its nanoseconds, and its text as Feast's server prints it.

    Raises:
        WrongType: the bytes are no protobuf Timestamp, or none that a calendar knows.
    """
    seconds = nanos = at = 0
    try:
        while at < len(raw):
            tag = raw[at]
            number, at = varint(raw, at + 1)
            match tag:
                case 0x08:
                    seconds = number - (1 << 64) if number >> 63 else number
                case 0x10:
                    nanos = number
                case _:
                    raise WrongType("no event time")
        if nanos >= NANOS:
            raise WrongType("no event time")
        text = datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%S")
    except (IndexError, ValueError, OverflowError, OSError):
        raise WrongType("no event time") from None
    if not nanos:
        return seconds, nanos, text + "Z"
    # Milliseconds, microseconds or nanoseconds, whichever is enough.
    digits = f"{nanos:09d}"
    for length in (3, 6):
        if not digits[length:].strip("0"):
            return seconds, nanos, f"{text}.{digits[:length]}Z"
    return seconds, nanos, f"{text}.{digits}Z"


def _exact(dtype: str, field: str) -> Decoder:
    # Feast once stored UUIDs as strings, and still reads them.
    fields = {field, field.replace("time_uuid", "string").replace("uuid", "string")}

    def decode(raw: bytes) -> Any:
        if not raw:
            return None
        value = parse(raw)
        held = value.WhichOneof("val")
        if held is None or held == "null_val":
            return None
        if held not in fields:
            raise WrongType(f"{held} is stored where {dtype} is expected")
        try:
            return _native(value)
        except (ValueError, OverflowError, OSError):
            raise WrongType(f"JSON has no form for the stored {dtype}") from None

    return decode


def parse(raw: bytes) -> Any:
    """The stored bytes as Feast's Value message; raises WrongType."""
    from feast.protos.feast.types.Value_pb2 import Value  # noqa: PLC0415  what is common does without Feast
    from google.protobuf.message import DecodeError  # noqa: PLC0415

    try:
        return Value.FromString(raw)
    except DecodeError:
        raise WrongType("the stored bytes are no value") from None


def _native(value: Any) -> Any:  # noqa: PLR0911  one per kind of value
    """A Value message as Feast's server prints it, with true nulls among moments, and ScalarMaps."""
    from feast.feature_server_utils import _value_to_native  # noqa: PLC0415

    held = value.WhichOneof("val")
    inner: Any = getattr(value, held) if held else None
    match held:
        case "unix_timestamp_val":
            return moment(inner)
        case "unix_timestamp_list_val" | "unix_timestamp_set_val":
            return [moment(item) for item in inner.val]
        case "list_val" | "set_val":
            return [_native(item) for item in inner.val]
        case "map_val" | "struct_val":
            return {key: _native(item) for key, item in inner.val.items()}
        case "map_list_val" | "struct_list_val":
            return [{key: _native(item) for key, item in row.val.items()} for row in inner.val]
        case "scalar_map_val":
            return [[_map_key(entry.key), _native(entry.value)] for entry in inner.val]
        case _:
            return _value_to_native(value)


def _map_key(key: Any) -> Any:
    held = key.WhichOneof("key")
    inner: Any = getattr(key, held) if held else None
    if isinstance(inner, bytes):
        return b64encode(inner).decode()
    return finite(inner) if isinstance(inner, float) else inner
