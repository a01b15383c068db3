"""Columns of values: which a type takes, and the one form that each is brought into, before it is loaded and before it is joined.

A list's null is what `WithinList` says: NaN among floats, null among moments and lists, and otherwise the list is null.
A set has each value once, in order. What is trained on and what is served are both made from this form.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from feature_runtime.value_types import Parsed, UnknownType, WithinList, parse
from feature_runtime.value_types.arrow_forms import MOMENT, PER_SECOND, is_list, is_text, without_nan


def arrow_type(dtype: Any) -> pa.DataType | None:
    """The Arrow type of the form of a type's columns (ZonedTimestamp: in the column's own zone); None: it has none."""
    return _arrow(parse(dtype))


def _arrow(kind: Parsed) -> pa.DataType | None:
    if kind.row:
        return kind.row.column.kind
    if kind.inner:
        inner = _arrow(kind.inner)
        return inner and pa.list_(inner)
    fields = [(name, _arrow(inner)) for name, inner in kind.fields]
    return None if any(inner is None for _, inner in fields) else pa.struct(fields)


def accepts(column: pa.DataType, dtype: Any) -> bool:
    """Whether a column's values can become values of a Feast type without being cut or guessed."""
    return not misfit(column, dtype)


def may_not_fit(column: pa.DataType, dtype: Any) -> bool:
    """Whether the type of an accepted column does not tell that each of its values fits."""
    return bool(_misfit(column, parse(dtype), certain=True))


def misfit(column: pa.DataType, dtype: Any) -> str:
    """Why a column's values cannot become values of a Feast type; empty when they can, or may, each for itself."""
    try:
        return _misfit(column, parse(dtype))
    except UnknownType as error:
        return str(error)


def declaration_for(column: pa.DataType) -> str:
    """The Feast type that holds a column as it is; empty where none is the obvious one."""
    while plain := _plain_type(column):
        column = plain
    if is_list(column):
        inner = declaration_for(column.value_type)
        return inner and f"Array({inner})"
    names = ("Bool", "Int32", "Int64", "Float32", "Float64", "String", "Bytes", "UnixTimestamp", "Map", "Json")
    return next((name for name in names if not _misfit(column, parse(name), certain=True) and _own(column, name)), "")


def _own(column: pa.DataType, name: str) -> bool:
    """Whether a type is a column's own, rather than one that it can be printed or rounded as."""
    if name == "Json":
        return bool(pa.types.is_struct(column) or pa.types.is_map(column))
    number = pa.types.is_integer(column) or pa.types.is_boolean(column) or pa.types.is_decimal(column)
    if name == "String":
        return is_text(column)
    if name in ("Float32", "Float64"):
        return not number and (name == "Float64" or column in (pa.float16(), pa.float32()))
    return not (name in ("Int32", "Int64") and pa.types.is_boolean(column))


def _misfit(column: pa.DataType, kind: Parsed, *, certain: bool = False) -> str:
    while plain := _plain_type(column):
        column = plain
    if pa.types.is_null(column) and _arrow(kind) is not None:
        return ""
    if kind.inner:
        return _misfit(column.value_type, kind.inner, certain=certain) if is_list(column) else f"{kind.outer} takes lists; it is {column}"
    if kind.row:
        form = kind.row.column
        fits = form.accepts(column) or (form.tries(column) and not certain)
        return "" if fits else f"{kind.row.name} takes {form.words}; it is {column}"
    return _misfit_struct(column, kind, certain=certain) if pa.types.is_struct(column) else f"Struct takes structs; it is {column}"


def _misfit_struct(column: pa.StructType, kind: Parsed, *, certain: bool) -> str:
    for name, inner in kind.fields:
        if column.get_field_index(name) < 0:
            return f"its struct has no field {name!r}"
        if why := _misfit(column.field(name).type, inner, certain=certain):
            return f"in its field {name!r}: {why}"
    return ""


def _plain_type(column: pa.DataType) -> pa.DataType | None:
    """What a column that is packed in some way holds."""
    if isinstance(column, pa.BaseExtensionType):
        return column.storage_type
    return column.value_type if pa.types.is_dictionary(column) or pa.types.is_run_end_encoded(column) else None


def as_column(column: pa.Array, dtype: Any) -> pa.Array:
    """A column that the type accepts, in the type's form; the same column if it is in it already.

    Raises:
        pa.ArrowException: a value does not fit the type.
    """
    made = converted(column, parse(dtype))
    # What some libraries write for a null among numbers is stored as one.
    return without_nan(made)


def as_field(column: pa.Array, name: str, dtype: Any) -> pa.Array:
    """`as_column` of a field.

    Raises:
        pa.ArrowInvalid: a value does not fit the type; names the field.
    """
    try:
        return as_column(column, dtype)
    except pa.ArrowException as error:
        raise pa.ArrowInvalid(f"{name!r} is {dtype}: {error}") from error


def converted(column: pa.Array, kind: Parsed) -> pa.Array:
    """As `as_column`, but that a NaN is left as it is."""
    column = _unpacked(column)
    if pa.types.is_null(column.type):
        return pa.nulls(len(column), _arrow(kind))
    if kind.row:
        return kind.row.column.convert(column)
    if kind.inner is None:
        return _struct(column, kind)
    made = _list(column, kind.inner)
    return _set(made, kind.inner) if kind.outer == "Set" else made


def _unpacked(column: pa.Array) -> pa.Array:
    if isinstance(column, pa.ExtensionArray):
        return _unpacked(column.storage)
    if pa.types.is_dictionary(column.type):
        return _unpacked(column.dictionary_decode())
    return _unpacked(pc.run_end_decode(column)) if pa.types.is_run_end_encoded(column.type) else column


def _struct(column: pa.Array, kind: Parsed) -> pa.Array:
    own = dict(zip((column.type.field(place).name for place in range(column.type.num_fields)), column.flatten(), strict=True))
    # Within a struct a moment has no zone of its own.
    made = {name: as_column(own[name], inner).cast(_arrow(inner)) for name, inner in kind.fields}
    return pa.StructArray.from_arrays(list(made.values()), names=list(made), mask=column.is_null())


def _list(column: pa.Array, inner: Parsed) -> pa.Array:
    flat = column.flatten()
    values, missing = converted(flat, inner), column.is_null()
    if values.null_count and inner.within_list is WithinList.NAN:
        values = values.fill_null(float("nan"))
    complete = not values.null_count or inner.within_list is WithinList.NULL
    # Lists that may have no null within are another type to Arrow.
    if values is flat and complete and column.type == pa.list_(values.type):
        return column
    lengths = pc.fill_null(pc.list_value_length(column), 0).to_numpy(zero_copy_only=False)
    if not complete:
        parents = np.repeat(np.arange(len(column)), lengths)
        holes = parents[values.is_null().to_numpy(zero_copy_only=False)]
        missing = pa.array(np.isin(np.arange(len(column)), holes) | missing.to_numpy(zero_copy_only=False))
    offsets = pa.array(np.concatenate([[0], np.cumsum(lengths)]), pa.int32())
    return pa.ListArray.from_arrays(offsets, values, mask=missing)


def _set(column: pa.Array, inner: Parsed) -> pa.Array:
    kind = column.type
    # Moments as numbers: Python's calendar has not all of them.
    if pa.types.is_timestamp(kind.value_type):
        column = column.cast(pa.list_(pa.int64()))
    rows = [None if row is None else _distinct(row, inner) for row in column.to_pylist()]
    return pa.array(rows, column.type).cast(kind)


def as_list(values: list[Any], kind: Parsed) -> list[Any] | None:
    """The form of one array or set, of values that are in the form of its inner type."""
    assert kind.inner is not None
    if None in values:
        if kind.inner.within_list is WithinList.NOTHING:
            return None
        if kind.inner.within_list is WithinList.NAN:
            values = [float("nan") if value is None else value for value in values]
    return _distinct(values, kind.inner) if kind.outer == "Set" else values


def from_python(values: list[Any], dtype: Any) -> pa.Array:
    """A column of values that are in the form of their type, maps as dicts."""
    kind = parse(dtype)
    return pa.array([_each(value, kind, _with_pairs) for value in values], _arrow(kind))


def _each(value: Any, kind: Parsed, change: Callable[[Any, Parsed], Any]) -> Any:
    """A value with all plain ones within it changed; nulls stay."""
    if value is None:
        return None
    if kind.inner:
        return [_each(item, kind.inner, change) for item in value]
    if kind.fields:
        return {name: _each(value[name], inner, change) for name, inner in kind.fields}
    return change(value, kind)


def _with_pairs(value: Any, _: Parsed) -> Any:
    return list(value.items()) if isinstance(value, dict) else value


def _distinct(values: list[Any], inner: Parsed) -> list[Any]:
    if inner.row is None:
        return [value for _, value in sorted({repr(value): value for value in values}.items())]
    known = {value for value in values if value is not None and value == value}  # noqa: PLR0124  how a NaN is known
    rest = [None] * (None in values) + [float("nan")] * any(value is not None and value != value for value in values)  # noqa: PLR0124
    return [*sorted(known), *rest]


def incomplete(column: pa.Array, dtype: Any) -> int:
    """How many lists of a column have a null within that their type has no form for, so that they are null as a whole."""
    kind, column = parse(dtype), _unpacked(column)
    if not kind.inner or kind.inner.within_list is not WithinList.NOTHING or not is_list(column.type):
        return 0
    flat = column.flatten()
    # A float that is none is null where a whole number is declared.
    return as_column(column, kind).null_count - column.null_count if flat.null_count or pa.types.is_floating(flat.type) else 0


def countable(kind: pa.DataType) -> pa.DataType:
    """A type with moments as numbers: Python's calendar has not all of them."""
    if pa.types.is_timestamp(kind):
        return pa.int64()
    if pa.types.is_list(kind):
        return pa.list_(countable(kind.value_type))
    return pa.struct([(one.name, countable(one.type)) for one in kind]) if pa.types.is_struct(kind) else kind


def pylist(column: pa.Array, dtype: Any) -> list[Any]:
    """The values of a column in its type's form; moments in seconds since 1970 where Python's calendar has not all of them."""
    try:
        return column.to_pylist()  # type: ignore[no-any-return]
    except (ValueError, OverflowError):
        kind = parse(dtype)
        return [_each(value, kind, _in_seconds) for value in column.cast(countable(column.type)).to_pylist()]


def _in_seconds(value: Any, kind: Parsed) -> Any:
    return value // PER_SECOND["us"] if kind.row and kind.row.column.kind == MOMENT else value
