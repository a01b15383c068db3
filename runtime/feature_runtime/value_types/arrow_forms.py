"""Which Arrow columns hold the values of a plain type, and how each is brought into the one form that the type has here.

Nothing is cut or guessed: a value that the form cannot hold is an error. Two things are rounded, once: a number to the
nearest float of the type, a moment down to the second that it lies in. Columns of other types than the form's are taken
where Feast converts them (`feast.type_map`), and give what it serves.
"""

import json
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

PER_SECOND = {"s": 1, "ms": 10**3, "us": 10**6, "ns": 10**9}
MOMENT = pa.timestamp("us", tz="UTC")
TEXTS = pa.map_(pa.string(), pa.string())
UUID_BYTES = 16
# What a signed integer needs to hold them.
INTEGER_BITS = {"int8": 8, "int16": 16, "int32": 32, "int64": 64, "uint8": 9, "uint16": 17, "uint32": 33}
# How many digits are always below the limit.
DIGITS = {32: 9, 64: 18}


@dataclass(frozen=True, slots=True, kw_only=True)
class ArrowForm:
    """A plain type in Arrow: `kind` is the form that all columns get, by `convert`; `words` say which columns it takes.

    `accepts`: columns whose values are of the type; `tries`: others, of which each value must prove that it fits.
    `convert` raises pa.ArrowException for a value that `kind` cannot hold.
    """

    kind: pa.DataType
    words: str
    accepts: Callable[[pa.DataType], bool]
    tries: Callable[[pa.DataType], bool] = lambda _: False
    convert: Callable[[pa.Array], pa.Array]


def _cast(kind: pa.DataType) -> Callable[[pa.Array], pa.Array]:
    """The same column if it is of the kind already, so that whoever asks can tell."""
    return lambda column: column if column.type == kind else column.cast(kind)


def integers(kind: pa.DataType) -> ArrowForm:
    """Whole numbers of so many bits."""
    bits: int = kind.bit_width

    def accepts(column: pa.DataType) -> bool:
        if pa.types.is_decimal(column):
            return bool(column.scale <= 0 and column.precision - column.scale <= DIGITS[bits])
        return INTEGER_BITS.get(str(column), bits + 1) <= bits

    def convert(column: pa.Array) -> pa.Array:
        if column.type == kind:
            return column
        if pa.types.is_decimal(column.type) and column.type.bit_width < WIDE_DECIMAL:
            # Arrow's own cast of these to integers takes no fraction of zeros.
            column = column.cast(pa.decimal128(38, column.type.scale))
        return without_nan(column).cast(kind)

    words = f"whole numbers of {bits} bits, in columns of integers, floats, decimals or booleans"
    return ArrowForm(kind=kind, words=words, accepts=accepts, tries=_is_number, convert=convert)


WIDE_DECIMAL = 128


def _is_number(column: pa.DataType) -> bool:
    known = (pa.types.is_integer, pa.types.is_floating, pa.types.is_decimal, pa.types.is_boolean)
    return any(of_kind(column) for of_kind in known)


def without_nan(column: pa.Array) -> pa.Array:
    """A column with nulls for what some libraries write for a null among numbers."""
    if not pa.types.is_floating(column.type):
        return column
    missing = pc.is_nan(column)
    return pc.if_else(missing, None, column) if pc.any(missing).as_py() else column


def floats(kind: pa.DataType) -> ArrowForm:
    """Numbers, each the nearest float there is."""

    def convert(column: pa.Array) -> pa.Array:
        if pa.types.is_decimal(column.type) or pa.types.is_uint64(column.type):
            column = pa.array([None if value is None else float(value) for value in column.to_pylist()], pa.float64())
        return column if column.type == kind else column.cast(kind, safe=False)

    return ArrowForm(kind=kind, words="floats, decimals, integers and booleans", accepts=_is_number, convert=convert)


def is_text(column: pa.DataType) -> bool:
    """Whether a column is of texts, in whichever of Arrow's layouts."""
    return bool(pa.types.is_string(column) or pa.types.is_large_string(column) or pa.types.is_string_view(column))


def is_bytes(column: pa.DataType) -> bool:
    """Whether a column is of byte strings, in whichever of Arrow's layouts."""
    known = (pa.types.is_binary, pa.types.is_large_binary, pa.types.is_binary_view, pa.types.is_fixed_size_binary)
    return not pa.types.is_decimal(column) and any(of_kind(column) for of_kind in known)


def _texts(column: pa.Array) -> pa.Array:
    if column.type == pa.string() or is_text(column.type) or pa.types.is_integer(column.type):
        return column if column.type == pa.string() else column.cast(pa.string())
    # As Python prints them: Arrow has other texts for floats and booleans.
    return pa.array([None if value is None else str(value) for value in without_nan(column).to_pylist()], pa.string())


def _holds_printed(column: pa.DataType) -> bool:
    return is_text(column) or _is_number(column) or bool(pa.types.is_date32(column))


def _booleans(column: pa.Array) -> pa.Array:
    if column.type == pa.bool_():
        return column
    numbers = column.cast(pa.int64())
    strange = pc.filter(numbers, pc.invert(pc.is_in(numbers, pa.array([0, 1, None], pa.int64()))))
    if len(strange):
        raise pa.ArrowInvalid(f"{strange[0].as_py()} is neither 0 nor 1")
    return numbers.cast(pa.bool_())


def _moments(column: pa.Array) -> pa.Array:
    if pa.types.is_integer(column.type):
        return pc.multiply_checked(column.cast(pa.int64()), PER_SECOND["us"]).cast(MOMENT)
    return _whole_seconds(column, "UTC")


def _whole_seconds(column: pa.Array, zone: str | None) -> pa.Array:
    """Moments (without a zone: in UTC, as Feast takes them) as whole seconds, rounded down also before 1970."""
    if pa.types.is_date(column.type):
        column = column.cast(pa.timestamp("s" if pa.types.is_date32(column.type) else "ms"))
    numbers, unit = column.cast(pa.int64()), PER_SECOND[column.type.unit]
    if unit != 1:
        seconds = np.floor_divide(numbers.fill_null(0).to_numpy(zero_copy_only=False), unit)
        numbers = pa.array(seconds, mask=_nulls(column))
    return pc.multiply_checked(numbers, PER_SECOND["us"]).cast(pa.timestamp("us", zone))


def _nulls(column: pa.Array) -> npt.NDArray[np.bool_] | None:
    return column.is_null().to_numpy(zero_copy_only=False) if column.null_count else None


def _zoned(column: pa.Array) -> pa.Array:
    """Moments with the column's own zone; null where the zone's calendar has no such year, so that nothing could print it."""
    zone = column.type.tz
    moments = _whole_seconds(column, zone)
    numbers = moments.cast(pa.int64())
    safe = pc.and_(pc.greater(numbers, _SAFE[0]), pc.less(numbers, _SAFE[1]))
    if pc.all(safe, min_count=0).as_py():
        return moments
    keep = [value is None or sure or _printable(value) for value, sure in zip(moments, safe.to_pylist(), strict=True)]
    return pc.if_else(pa.array(keep), moments, pa.scalar(None, moments.type))


# A day from the ends of Python's calendar every zone has the year.
_SAFE = tuple(int(datetime(*day, tzinfo=UTC).timestamp()) * PER_SECOND["us"] for day in ((1, 1, 2), (9999, 12, 31)))


def _printable(moment: pa.Scalar) -> bool:
    try:
        return moment.as_py() is None or bool(moment.as_py().isoformat())
    except (ValueError, OverflowError):
        return False


def _json(column: pa.Array) -> pa.Array:
    if not is_text(column.type):
        values = column.to_pylist(maps_as_pydicts="strict")
        return pa.array([None if value is None else json.dumps(value) for value in values], pa.large_string())
    for value in column.to_pylist():
        try:
            if value is not None:
                json.loads(value)
        except ValueError as error:
            raise pa.ArrowInvalid(f"{value[:40]!r} is no JSON: {error}") from None
    return column.cast(pa.large_string())


def _holds_json(column: pa.DataType) -> bool:
    if pa.types.is_struct(column):
        return all(_holds_json(column.field(place).type) for place in range(column.num_fields))
    if pa.types.is_map(column):
        return is_text(column.key_type) and _holds_json(column.item_type)
    if is_list(column):
        return _holds_json(column.value_type)
    plain = (pa.types.is_boolean, pa.types.is_integer, pa.types.is_floating, pa.types.is_null, is_text)
    return any(of_kind(column) for of_kind in plain)


def is_list(column: pa.DataType) -> bool:
    """Whether a column is of lists, in whichever of Arrow's layouts."""
    known = (
        pa.types.is_list,
        pa.types.is_large_list,
        pa.types.is_fixed_size_list,
        pa.types.is_list_view,
        pa.types.is_large_list_view,
    )
    return any(of_kind(column) for of_kind in known)


def _uuids(column: pa.Array) -> pa.Array:
    if is_text(column.type):
        return column.cast(pa.string())
    return pa.array([None if value is None else str(uuid.UUID(bytes=value)) for value in column.to_pylist()], pa.string())


def _decimals(column: pa.Array) -> pa.Array:
    if is_text(column.type):
        return column.cast(pa.string())
    return pa.array([None if value is None else str(value) for value in column.to_pylist()], pa.string())


def _maps(column: pa.Array) -> pa.Array:
    try:
        values = column.to_pylist(maps_as_pydicts="strict")
    except KeyError as error:
        raise pa.ArrowInvalid(f"a map has the key {error} twice") from None
    return pa.array([None if value is None else list(value.items()) for value in values], TEXTS)


def _holds_texts(column: pa.DataType) -> bool:
    """Feast's Map has texts for keys; for values a training file has texts only, as Feast's own Arrow type of it."""
    if pa.types.is_map(column):
        return is_text(column.key_type) and _text_or_null(column.item_type)
    return bool(pa.types.is_struct(column)) and all(_text_or_null(column.field(place).type) for place in range(column.num_fields))


def _text_or_null(column: pa.DataType) -> bool:
    return is_text(column) or bool(pa.types.is_null(column))


BYTES = ArrowForm(kind=pa.binary(), words="byte strings", accepts=is_bytes, convert=_cast(pa.binary()))
TEXT = ArrowForm(kind=pa.string(), words="texts, numbers, booleans and days", accepts=_holds_printed, convert=_texts)
BOOLEAN = ArrowForm(
    kind=pa.bool_(),
    words="booleans, and integers that are 0 or 1",
    accepts=pa.types.is_boolean,
    tries=pa.types.is_integer,
    convert=_booleans,
)
MOMENTS = ArrowForm(
    kind=MOMENT,
    words="timestamps, dates, and integers that count seconds since 1970",
    accepts=lambda column: bool(pa.types.is_timestamp(column) or pa.types.is_date(column)),
    tries=pa.types.is_integer,
    convert=_moments,
)
ZONED = ArrowForm(kind=MOMENT, words="timestamps", accepts=pa.types.is_timestamp, convert=_zoned)
JSON = ArrowForm(
    kind=pa.large_string(),
    words="texts that are JSON, and structs, lists and maps of what JSON has",
    accepts=_holds_json,
    convert=_json,
)
UUIDS = ArrowForm(
    kind=pa.string(),
    words="texts and byte strings of 16 bytes",
    accepts=lambda column: is_text(column) or (pa.types.is_fixed_size_binary(column) and column.byte_width == UUID_BYTES),
    convert=_uuids,
)
DECIMALS = ArrowForm(
    kind=pa.string(), words="texts and decimals", accepts=lambda column: is_text(column) or pa.types.is_decimal(column), convert=_decimals
)
MAPS = ArrowForm(
    kind=TEXTS,
    words="maps from texts to texts, and structs of texts; declare a Struct, or a Json, for values of other types",
    accepts=_holds_texts,
    convert=_maps,
)
NOTHING: Any = ArrowForm(
    kind=None, words="no column of a file; declare a Map, a Struct or a Json", accepts=lambda _: False, convert=lambda column: column
)
