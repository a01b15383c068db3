"""The value types of Feast, one row each: what a column of a source, a request, an entity key, a stored value and a training file hold.

`TYPES` are the plain types. `Array(…)`, `Set(…)` and `Struct({…})` are made of them; `parse` says of which.
The bytes are written by `online_store.values` and read by `serving.values`, which take the field numbers from here.
"""

import json
import math
import struct
from base64 import b64decode, b64encode
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from enum import Enum
from functools import lru_cache
from numbers import Real
from typing import Any
from uuid import UUID

import pyarrow as pa

from feature_runtime.value_types import arrow_forms as arrow
from feature_runtime.value_types import checks
from feature_runtime.value_types.arrow_forms import ArrowForm
from feature_runtime.value_types.checks import Check

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
NOT_FINITE = {"NaN": math.nan, "Infinity": math.inf, "-Infinity": -math.inf}
"""The floats that JSON has no numbers for, as the server says them."""


KEY_BYTES = "bytes"


class Wire(Enum):
    """How protobuf writes a value, by the number of its wire type."""

    VARINT = 0
    FIXED64 = 1
    BYTES = 2
    FIXED32 = 5


class WithinList(Enum):
    """What stands for a null within a list: Feast's lists of plain values have no nulls."""

    NAN = "nan"
    NULL = "null"
    """The stored form has a null."""
    NOTHING = "nothing"
    """Nothing could without being a lie: the whole list is null."""


def _same(value: Any) -> Any:
    return value


@dataclass(frozen=True, slots=True, kw_only=True)
class ValueType:
    """One type.

    `stem`: of its field `{stem}_val` in Feast's Value message; `numbers`: of this field and of those of lists and sets.
    `key`: how an entity key has it, as a format of `struct` or as `KEY_BYTES` with their length; None: Feast makes no key of it.
    `request`: what a request may bring; None: JSON has not one form for it.
    `from_json`, `is_python`: its value in Python, as functions of on-demand views get and give it.
    `stored`: a value of Python in the form of `column`.
    `json`: a value of `column` or of Python as the server prints it; `json_types`: of which types that is.
    `nulls`: the Arrow type in which functions get a column without a single value.
    """

    name: str
    stem: str
    numbers: tuple[int, int | None, int | None]
    wire: Wire
    column: ArrowForm
    key: str | None = None
    request: Check | None = None
    within_list: WithinList = WithinList.NOTHING
    from_json: Callable[[Any], Any] = _same
    is_python: Callable[[Any], bool]
    stored: Callable[[Any], Any] = _same
    json: Callable[[Any], Any] = _same
    json_types: tuple[type, ...] = (str,)
    nulls: pa.DataType | None = None
    example: Any

    def equal(self, served: Any, offline: Any) -> bool:
        """Whether a served value is the one that the offline store (or a function) says; both not null."""
        return bool(self.json(offline) == served)

    def printed(self, served: Any) -> bool:
        """Whether a served value has the form of this type."""
        return type(served) in self.json_types


def _finite(value: Any) -> Any:
    value = float(value)
    return value if math.isfinite(value) else next(name for name, number in NOT_FINITE.items() if repr(number) == repr(value))


FLOAT32 = struct.Struct("<f")


def _float32(value: Any) -> float:
    try:
        (rounded,) = FLOAT32.unpack(FLOAT32.pack(value))
    except OverflowError:
        return math.copysign(math.inf, value)
    except struct.error as error:
        raise TypeError(str(error)) from None
    return float(rounded)


@dataclass(frozen=True, slots=True, kw_only=True)
class FloatType(ValueType):
    """A type of floats: some of them are texts in JSON, and none is held to more digits than it has."""

    rounded: Callable[[Any], float]

    def equal(self, served: Any, offline: Any) -> bool:
        """As floats of the type."""
        one, other = (self.rounded(NOT_FINITE.get(value, value) if isinstance(value, str) else value) for value in (served, offline))
        return one == other or (math.isnan(one) and math.isnan(other))

    def printed(self, served: Any) -> bool:
        """A number, or the text for what is none."""
        return type(served) in (int, float) or served in NOT_FINITE


@dataclass(frozen=True, slots=True, kw_only=True)
class JsonType(ValueType):
    """JSON: the server prints its text, functions get what it says."""

    def equal(self, served: Any, offline: Any) -> bool:
        """By what the texts say."""
        return bool(json.loads(served) == (json.loads(offline) if isinstance(offline, str) else offline))


@dataclass(frozen=True, slots=True, kw_only=True)
class ZonedType(ValueType):
    """Moments with a zone: a training file has them in UTC."""

    def equal(self, served: Any, offline: Any) -> bool:
        """As the same moment."""
        return datetime.fromisoformat(served) == datetime.fromisoformat(self.json(offline))


def _base64(value: bytes) -> str:
    return b64encode(value).decode()


def _seconds(value: date | int) -> int:
    # A number is a moment that Python's calendar has not.
    return value if isinstance(value, int) else (_aware(value) - EPOCH) // timedelta(seconds=1)


def _aware(value: date) -> datetime:
    """A moment with a zone; without one it is in UTC, and a date is its beginning."""
    moment = value if isinstance(value, datetime) else datetime(value.year, value.month, value.day, tzinfo=UTC)
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


def _whole_second(value: datetime) -> datetime:
    return value.replace(microsecond=0)


def _zoned(value: datetime) -> str:
    return _aware(value).replace(microsecond=0).isoformat()


def _json_text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)


def json_form(value: Any) -> Any:  # noqa: PLR0911  one per kind of value
    """A value of a type that says nothing of it (within a map or a struct) as the server prints it."""
    match value:
        case bytes():
            return _base64(value)
        case date():
            return _seconds(value)
        case float():
            return _finite(value)
        case UUID() | Decimal():
            return str(value)
        case Mapping():
            return {key: json_form(item) for key, item in value.items()}
        case list() | tuple() | set():
            return [json_form(item) for item in value]
    return value


def _is_integer(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _is_number(value: Any) -> bool:
    return isinstance(value, Real) and not isinstance(value, bool)


def _is(*kinds: type) -> Callable[[Any], bool]:
    return lambda value: isinstance(value, kinds)


def _bytes(name: str, **more: Any) -> ValueType:
    # What only the name tells apart, Feast stores as bytes.
    return ValueType(
        name=name,
        stem="bytes",
        numbers=(1, 11, 22),
        wire=Wire.BYTES,
        column=arrow.BYTES,
        is_python=_is(bytes),
        json=_base64,
        example=b"a",
        **more,
    )


ROWS = (
    _bytes("Bytes", key=KEY_BYTES, request=checks.BYTES, from_json=b64decode, nulls=pa.binary()),
    _bytes("PdfBytes"),
    _bytes("ImageBytes"),
    ValueType(
        name="String",
        stem="string",
        numbers=(2, 12, 23),
        wire=Wire.BYTES,
        column=arrow.TEXT,
        key=KEY_BYTES,
        request=checks.TEXT,
        from_json=str,
        is_python=_is(str),
        nulls=pa.string(),
        example="a",
    ),
    ValueType(
        name="Int32",
        stem="int32",
        numbers=(3, 13, 24),
        wire=Wire.VARINT,
        column=arrow.integers(pa.int32()),
        key="<i",
        request=checks.integers(32, "a whole number of 32 bits"),
        is_python=_is_integer,
        json_types=(int,),
        nulls=pa.int64(),
        example=1,
    ),
    ValueType(
        name="Int64",
        stem="int64",
        numbers=(4, 14, 25),
        wire=Wire.VARINT,
        column=arrow.integers(pa.int64()),
        key="<q",
        request=checks.integers(64, "a whole number of 64 bits"),
        is_python=_is_integer,
        json_types=(int,),
        nulls=pa.int64(),
        example=1,
    ),
    FloatType(
        name="Float64",
        stem="double",
        numbers=(5, 15, 26),
        wire=Wire.FIXED64,
        column=arrow.floats(pa.float64()),
        request=checks.FLOAT,
        within_list=WithinList.NAN,
        from_json=float,
        is_python=_is_number,
        json=_finite,
        nulls=pa.float64(),
        example=1.0,
        rounded=float,
    ),
    FloatType(
        name="Float32",
        stem="float",
        numbers=(6, 16, 27),
        wire=Wire.FIXED32,
        column=arrow.floats(pa.float32()),
        request=checks.FLOAT,
        within_list=WithinList.NAN,
        # Unlike `_float32`, beyond what the type holds this is an error.
        from_json=lambda value: FLOAT32.unpack(FLOAT32.pack(value))[0],
        is_python=_is_number,
        json=lambda value: _finite(_float32(value)),
        nulls=pa.float64(),
        example=1.0,
        rounded=_float32,
    ),
    ValueType(
        name="Bool",
        stem="bool",
        numbers=(7, 17, 28),
        wire=Wire.VARINT,
        column=arrow.BOOLEAN,
        request=checks.BOOLEAN,
        is_python=_is(bool),
        json_types=(bool,),
        nulls=pa.bool_(),
        example=True,
    ),
    ValueType(
        name="UnixTimestamp",
        stem="unix_timestamp",
        numbers=(8, 18, 29),
        wire=Wire.VARINT,
        column=arrow.MOMENTS,
        key="<q",
        request=checks.integers(64, "a whole number of seconds since 1970"),
        within_list=WithinList.NULL,
        from_json=lambda value: EPOCH + timedelta(seconds=value),
        is_python=_is(datetime),
        stored=_whole_second,
        json=_seconds,
        json_types=(int,),
        nulls=arrow.MOMENT,
        example=EPOCH + timedelta(seconds=1),
    ),
    ValueType(
        name="Map",
        stem="map",
        numbers=(20, 21, None),
        wire=Wire.BYTES,
        column=arrow.MAPS,
        is_python=_is(dict),
        json=lambda value: json_form(dict(value)),
        json_types=(dict,),
        example={"a": "b"},
    ),
    JsonType(
        name="Json",
        stem="json",
        numbers=(32, 33, None),
        wire=Wire.BYTES,
        column=arrow.JSON,
        is_python=lambda _: True,
        stored=_json_text,
        json=_json_text,
        example='{"a": [1, null]}',
    ),
    ValueType(
        name="Uuid",
        stem="uuid",
        numbers=(36, 38, 40),
        wire=Wire.BYTES,
        column=arrow.UUIDS,
        is_python=_is(UUID, str),
        stored=str,
        json=str,
        example="00000000-0000-0000-0000-000000000007",
    ),
    ValueType(
        name="TimeUuid",
        stem="time_uuid",
        numbers=(37, 39, 41),
        wire=Wire.BYTES,
        column=arrow.UUIDS,
        is_python=_is(UUID, str),
        stored=str,
        json=str,
        example="00000000-0000-1000-8000-000000000007",
    ),
    ValueType(
        name="Decimal",
        stem="decimal",
        numbers=(44, 45, 46),
        wire=Wire.BYTES,
        column=arrow.DECIMALS,
        is_python=_is(Decimal, str),
        stored=str,
        json=str,
        example="12.30",
    ),
    ValueType(
        name="ScalarMap",
        stem="scalar_map",
        numbers=(47, None, None),
        wire=Wire.BYTES,
        column=arrow.NOTHING,
        is_python=_is(dict),
        json=lambda value: [[json_form(key), json_form(item)] for key, item in dict(value).items()],
        json_types=(list,),
        example={1: "a"},
    ),
    ZonedType(
        name="ZonedTimestamp",
        stem="zoned_timestamp",
        numbers=(48, None, None),
        wire=Wire.BYTES,
        column=arrow.ZONED,
        is_python=_is(datetime),
        stored=_whole_second,
        json=_zoned,
        example=EPOCH + timedelta(seconds=1),
    ),
)

TYPES = {row.name: row for row in ROWS}

NESTED = {"Array": ("list", 42), "Set": ("set", 43)}
"""The fields of Feast's Value message for collections of collections."""
STRUCT = ("struct", 34, 35)
"""The field of a struct, and the number of that of lists of structs."""


class UnknownType(ValueError):
    """No type of Feast's is called so."""


@dataclass(frozen=True, slots=True)
class Parsed:
    """A type taken apart: a plain one is its `row`; an `Array` or `Set` has an `inner` type, a `Struct` fields."""

    outer: str
    row: ValueType | None = None
    inner: "Parsed | None" = None
    fields: "tuple[tuple[str, Parsed], ...]" = field(default=())

    def __str__(self) -> str:
        """As Feast prints it, a struct without its fields."""
        return f"{self.outer}({self.inner})" if self.inner else self.outer

    @property
    def is_collection(self) -> bool:
        """Whether it is an array or a set."""
        return self.inner is not None

    @property
    def stem(self) -> str:
        """Of its field `{stem}_val` in Feast's Value message."""
        if self.inner is None:
            return self.row.stem if self.row else STRUCT[0]
        kind, _ = NESTED[self.outer]
        return kind if self.inner.is_collection else f"{self.inner.stem}_{kind}"

    @property
    def number(self) -> int:
        """Of its field in Feast's Value message.

        Raises:
            UnknownType: Feast has no field for it.
        """
        if self.inner is None:
            return self.row.numbers[0] if self.row else STRUCT[1]
        if self.inner.is_collection:
            return NESTED[self.outer][1]
        place = 1 if self.outer == "Array" else 2
        numbers: tuple[int | None, ...] = self.inner.row.numbers if self.inner.row else (None, STRUCT[2], None)
        if (number := numbers[place]) is None:
            raise UnknownType(f"Feast has no {self.outer} of {self.inner.outer or self.inner.stem}")
        return number

    @property
    def within_list(self) -> WithinList:
        """What stands for a null of this type within a list."""
        if self.row:
            return self.row.within_list
        return WithinList.NULL if self.is_collection else WithinList.NOTHING


def parse(dtype: Any) -> Parsed:
    """A type of Feast's, or its name, taken apart.

    Raises:
        UnknownType: there is no such type.
    """
    if isinstance(dtype, Parsed):
        return dtype
    if isinstance(dtype, str):
        return _parse_text(dtype)
    if (base := getattr(dtype, "base_type", None)) is not None:
        return Parsed(type(dtype).__name__, inner=parse(base))
    if fields := getattr(dtype, "fields", None):
        return Parsed("Struct", fields=tuple((name, parse(kind)) for name, kind in fields.items()))
    return _parse_text(str(dtype))


@lru_cache(maxsize=10_000)
def _parse_text(name: str) -> Parsed:
    if row := TYPES.get(name):
        return Parsed(name, row)
    for outer in NESTED:
        if name.startswith(f"{outer}(") and name.endswith(")"):
            made = Parsed(outer, inner=_parse_text(name[len(outer) + 1 : -1]))
            made.number  # noqa: B018  there must be one
            return made
    if name.startswith("Struct({") and name.endswith("})"):
        return Parsed("Struct", fields=tuple(_fields(name[len("Struct({") : -len("})")])))
    raise UnknownType(f"{name!r} is no type that can be served")


def _fields(text: str) -> "list[tuple[str, Parsed]]":
    """The fields of a struct as Feast prints them: `a: Int64, b: Struct({c: String, d: Bool})`."""
    found, depth, start = [], 0, 0
    for place, sign in enumerate([*text, ","]):
        depth += (sign in "({") - (sign in ")}")
        if sign == "," and not depth:
            name, _, kind = text[start:place].strip().partition(": ")
            found.append((name, _parse_text(kind)))
            start = place + 1
    return found


def equal(served: Any, offline: Any, dtype: Any) -> bool:
    """Whether a served value (as JSON has it) is the one that the offline store (or a function) says."""
    kind = parse(dtype)
    if served is None or is_missing(offline):
        return served is None and is_missing(offline)
    return _equal(served, offline, kind)


def is_missing(value: Any) -> bool:
    """Whether a value of the offline store is none: null, or what pandas makes of it."""
    return value is None or (isinstance(value, float) and math.isnan(value))


def _equal(served: Any, offline: Any, kind: Parsed) -> bool:
    if served is None or offline is None:
        return served is offline
    if kind.inner is not None:
        inner, items = kind.inner, list(offline)
        if not isinstance(served, list) or len(served) != len(items):
            return False
        if kind.outer == "Set":
            # In no order; each of one must be among the other.
            return all(any(_equal(item, other, inner) for other in items) for item in served)
        return all(_equal(item, other, inner) for item, other in zip(served, items, strict=True))
    if kind.row is None:
        fields = dict(kind.fields)
        return served.keys() == offline.keys() and all(equal(served[name], offline[name], fields[name]) for name in fields)
    return kind.row.equal(served, offline)


def printed(served: Any, dtype: Any) -> bool:
    """Whether a served value that is not null has the form of its type."""
    kind = parse(dtype)
    if kind.inner is not None:
        return isinstance(served, list) and all(item is None or printed(item, kind.inner) for item in served)
    return kind.row.printed(served) if kind.row else isinstance(served, dict)


def as_printed(offline: Any, dtype: Any) -> Any:
    """A value of the offline store as the server prints it."""
    kind = parse(dtype)
    if is_missing(offline):
        return None
    if kind.inner is not None:
        return [item if item is None else kind.inner.row.json(item) if kind.inner.row else as_printed(item, kind.inner) for item in offline]
    if kind.row is None:
        return {name: as_printed(offline[name], inner) for name, inner in kind.fields}
    return kind.row.json(offline)
