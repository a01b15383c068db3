"""Every row of the table of types: from a column of any form to bytes, JSON, Python, keys and training files; as Feast converts it."""

import math
import uuid
import warnings
from datetime import UTC, date, datetime
from decimal import Decimal
from zoneinfo import ZoneInfo

import orjson
import pyarrow as pa
import pytest
from feast import types as feast_types
from feast.infra.key_encoding_utils import serialize_entity_key
from feast.protos.feast.types.EntityKey_pb2 import EntityKey
from feast.protos.feast.types.Value_pb2 import Value
from feast.type_map import feast_value_type_to_python_type, python_values_to_proto_values
from feast.types import Array, PrimitiveFeastType, Set, Struct
from feast.value_type import ValueType

from feature_runtime.online_store.encoding import ELEMENTS, SCALARS, encoded, serialized
from feature_runtime.online_store.keys import redis_keys
from feature_runtime.serving.answer import INVALID, PRESENT, _one_by_one
from feature_runtime.serving.decoding import json_decoder
from feature_runtime.serving.key_bytes import EntityKeys
from feature_runtime.serving.on_demand_values import output_column, python_values
from feature_runtime.serving.requests import CHECKS
from feature_runtime.value_types import TYPES, UnknownType, as_printed, equal, json_form, parse, printed
from feature_runtime.value_types.arrow_forms import PER_SECOND
from feature_runtime.value_types.columns import accepts, arrow_type, as_column, declaration_for, from_python, may_not_fit, misfit, pylist

ID = "00000000-0000-0000-0000-000000000007"
BIG = 2**53 + 1
NAN = math.nan


def feast_type(name):
    return getattr(feast_types, name)


def served(column, dtype):
    """What the server's JSON says of a loaded column, read back."""
    values, _ = _one_by_one(serialized(column, dtype).to_pylist(), None, json_decoder(str(dtype)))
    return orjson.loads(orjson.dumps(values))


def trained(column, dtype):
    """The values of the file that is trained on, as the server would print them."""
    return [as_printed(value, dtype) for value in pylist(as_column(column, dtype), dtype)]


# Columns of a source, and what both sides make of them.
COLUMNS = {
    "Bytes": [
        (pa.array([b"a\xff", None, b""], pa.binary()), ["Yf8=", None, ""]),
        (pa.array([b"ab", None], pa.large_binary()), ["YWI=", None]),
        (pa.array([b"ab", None], pa.binary(2)), ["YWI=", None]),
        (pa.array([b"ab", None], pa.binary_view()), ["YWI=", None]),
        (pa.array([b"ab", None], pa.binary()).dictionary_encode(), ["YWI=", None]),
        (pa.array([b"", b""], pa.binary()), ["", ""]),
    ],
    "String": [
        (pa.array(["é", None, ""]), ["é", None, ""]),
        (pa.array(["é", None, ""], pa.large_string()), ["é", None, ""]),
        (pa.array(["é", None, ""], pa.string_view()), ["é", None, ""]),
        (pa.array(["a", None, "a"]).dictionary_encode(), ["a", None, "a"]),
        (pa.array([1, None, -(2**63)], pa.int64()), ["1", None, str(-(2**63))]),
        (pa.array([1.0, None, 1e16, NAN, 0.1], pa.float64()), ["1.0", None, "1e+16", None, "0.1"]),
        (pa.array([0.1], pa.float32()), ["0.10000000149011612"]),
        (pa.array([True, None]), ["True", None]),
        (pa.array([Decimal("12.30"), None]), ["12.30", None]),
        (pa.array([date(2026, 12, 1), None]), ["2026-12-01", None]),
    ],
    "Int32": [
        (pa.array([2**31 - 1, None, -(2**31)], pa.int64()), [2**31 - 1, None, -(2**31)]),
        (pa.array([7.0, NAN, None], pa.float64()), [7, None, None]),
        (pa.array([True, None, False]), [1, None, 0]),
        (pa.array([-(2**31), None, 2**31 - 1], pa.int32()), [-(2**31), None, 2**31 - 1]),
        (pa.array([1, None], pa.uint16()), [1, None]),
        (pa.array([1, None, 1], pa.int8()).dictionary_encode(), [1, None, 1]),
        (pa.array([Decimal(999_999_999), None], pa.decimal128(9, 0)), [999_999_999, None]),
    ],
    "Int64": [
        (pa.array([BIG, None, -(2**63)], pa.int64()), [BIG, None, -(2**63)]),
        (pa.array([2**32 - 1, None], pa.uint32()), [2**32 - 1, None]),
        (pa.array([2**63 - 1, None], pa.uint64()), [2**63 - 1, None]),
        (pa.array([1.0, None, NAN, 1e17, -(2.0**63)], pa.float64()), [1, None, None, 10**17, -(2**63)]),
        (pa.array([3.0, None], pa.float64()).dictionary_encode(), [3, None]),
        (pa.array([2.0, None], pa.float32()), [2, None]),
        (pa.array([True, None, False]), [1, None, 0]),
        (pa.array([Decimal("12.00"), None], pa.decimal128(12, 2)), [12, None]),
        (pa.array([Decimal("12.00"), None], pa.decimal32(6, 2)), [12, None]),
        (pa.array([Decimal(10**18 - 1), None], pa.decimal128(18, 0)), [10**18 - 1, None]),
    ],
    "Float64": [
        (pa.array([0.1, NAN, None, math.inf], pa.float64()), [0.1, None, None, "Infinity"]),
        (pa.array([BIG, None], pa.int64()), [float(BIG), None]),
        (pa.array([Decimal("12.30"), None], pa.decimal128(12, 2)), [12.3, None]),
        (pa.array([1.5], pa.float32()), [1.5]),
        (pa.array([2**64 - 1, None], pa.uint64()), [2.0**64, None]),
        (pa.array([True, None]), [1.0, None]),
    ],
    "Float32": [
        (pa.array([0.1, NAN, None, -math.inf], pa.float32()), [0.10000000149011612, None, None, "-Infinity"]),
        # Rounded once: by way of a double it would be another float.
        (pa.array([2**60 + 2**36 + 1], pa.int64()), [1.1529216420458004e18]),
        (pa.array([1e39, 0.1], pa.float64()), ["Infinity", 0.10000000149011612]),
        (pa.array([1.5, None], pa.float64()).cast(pa.float16()), [1.5, None]),
        (pa.array([Decimal("0.5")], pa.decimal64(4, 2)), [0.5]),
    ],
    "Bool": [
        (pa.array([True, None, False]), [True, None, False]),
        (pa.array([1, None, 0], pa.int64()), [True, None, False]),
        (pa.array([1, 0], pa.uint8()), [True, False]),
    ],
    "UnixTimestamp": [
        (pa.array([-1_500, None, 1_999], pa.timestamp("ms")), [-2, None, 1]),
        (pa.array([-1, None, 2], pa.timestamp("s", "Asia/Tokyo")), [-1, None, 2]),
        (pa.array([-1, 1], pa.date32()), [-86_400, 86_400]),
        (pa.array([date(1950, 1, 1)], pa.date64()), [-631_152_000]),
        (pa.array([1_700_000_000, None, -1], pa.int64()), [1_700_000_000, None, -1]),
    ],
    "Map": [
        (pa.array([[("a", "x"), ("b", None)], None, []], pa.map_(pa.string(), pa.string())), [{"a": "x", "b": None}, None, {}]),
        (pa.array([{"a": "x", "b": None}, None]), [{"a": "x", "b": None}, None]),
    ],
    "Json": [
        (pa.array(['{"a": 9007199254740993}', None, "3"]), ['{"a": 9007199254740993}', None, "3"]),
        (pa.array([{"a": BIG, "b": [1.5, None]}, None]), ['{"a": 9007199254740993, "b": [1.5, null]}', None]),
    ],
    "Uuid": [
        (pa.array([ID, None]), [ID, None]),
        (pa.array([uuid.UUID(ID).bytes, None], pa.binary(16)), [ID, None]),
        (pa.array([uuid.UUID(ID).bytes, None], pa.uuid()), [ID, None]),
    ],
    "Decimal": [
        (pa.array(["0.10", None]), ["0.10", None]),
        (pa.array([Decimal("12.30"), None], pa.decimal128(12, 2)), ["12.30", None]),
        (pa.array([Decimal("12.30"), None], pa.decimal32(6, 2)), ["12.30", None]),
    ],
    "ZonedTimestamp": [
        (pa.array([1_500_000, None, -1], pa.timestamp("us")), ["1970-01-01T00:00:01+00:00", None, "1969-12-31T23:59:59+00:00"]),
        # A zone that would need the year 10000 has no text for the moment, and JSON no other form.
        (pa.array([datetime(9999, 12, 31, 23, 59, 59, tzinfo=UTC), None], pa.timestamp("s", "Europe/Berlin")), [None, None]),
    ],
}
COLUMNS["PdfBytes"] = COLUMNS["ImageBytes"] = COLUMNS["Bytes"]
COLUMNS["TimeUuid"] = COLUMNS["Uuid"]
COMPOSED = [
    (Array(feast_types.Int32), pa.array([[1, 2], None], pa.list_(pa.int64())), [[1, 2], None]),
    (Array(feast_types.Int64), pa.array([[1.0, 2.0], [NAN], [None]], pa.list_(pa.float64())), [[1, 2], None, None]),
    (Array(feast_types.String), pa.array([[1, 2], [None]], pa.list_(pa.int64())), [["1", "2"], None]),
    (Array(feast_types.Bool), pa.array([[1, 0], []], pa.list_(pa.int64())), [[True, False], []]),
    (Set(feast_types.Int32), pa.array([[3.0, 1.0, 3.0]]), [[1, 3]]),
    (Struct({"a": feast_types.Int32, "b": feast_types.Bool}), pa.array([{"a": 1.0, "b": 1}, None]), [{"a": 1, "b": True}, None]),
    (Array(feast_types.Int64), pa.array([[BIG, None], [BIG], None, []], pa.list_(pa.int64())), [None, [BIG], None, []]),
    (Array(feast_types.Int32), pa.array([[1, None], [2]], pa.large_list(pa.int16())), [None, [2]]),
    (Array(feast_types.String), pa.array([["a", None], ["", "é"], None, []], pa.list_(pa.string())), [None, ["", "é"], None, []]),
    (Array(feast_types.Bool), pa.array([[True, None], [True, False]], pa.list_(pa.bool_())), [None, [True, False]]),
    (Array(feast_types.Bytes), pa.array([[b"a", None], [b""]], pa.list_(pa.binary())), [None, [""]]),
    (Array(feast_types.Uuid), pa.array([[ID, None], [ID]], pa.list_(pa.string())), [None, [ID]]),
    (Array(feast_types.Decimal), pa.array([[Decimal("1.10")], [None]], pa.list_(pa.decimal128(5, 2))), [["1.10"], None]),
    (Array(feast_types.Json), pa.array([["3", None], ['{"a": 1}']], pa.list_(pa.string())), [None, ['{"a": 1}']]),
    (Array(feast_types.Float32), pa.array([[1.5, None], [NAN]], pa.list_(pa.float32())), [[1.5, "NaN"], ["NaN"]]),
    (Array(feast_types.Float32), pa.array([[1.5, 2.0], None], pa.list_(pa.float32(), 2)), [[1.5, 2.0], None]),
    (Array(feast_types.Float64), pa.array([[0.1], None], pa.list_view(pa.float64())), [[0.1], None]),
    (Array(feast_types.String), pa.array([["a", None], ["b"], None], pa.large_list_view(pa.large_string())), [None, ["b"], None]),
    (Array(feast_types.Int64), pa.array([[1, None], None, [2, 3]], pa.list_(pa.int64(), 2)), [None, None, [2, 3]]),
    (Array(feast_types.Float32), pa.array([[2**60 + 2**36 + 1]], pa.list_(pa.int64())), [[1.1529216420458004e18]]),
    (Array(feast_types.UnixTimestamp), pa.array([[-1_500, None], []], pa.list_(pa.timestamp("ms", "UTC"))), [[-2, None], []]),
    (Array(feast_types.UnixTimestamp), pa.array([[5_000_000_000]], pa.list_(pa.timestamp("ns"))), [[5]]),
    (Array(feast_types.UnixTimestamp), pa.array([[date(1, 1, 1)]], pa.list_(pa.date32())), [[-62_135_596_800]]),
    (Array(feast_types.Map), pa.array([[{"a": "x"}, {"a": None}], None]), [[{"a": "x"}, {"a": None}], None]),
    (Array(Struct({"a": feast_types.Int64})), pa.array([[{"a": BIG}, {"a": None}], [None]]), [[{"a": BIG}, {"a": None}], None]),
    (Array(Array(feast_types.Int64)), pa.array([[[BIG, None], [BIG], []], None, [None]]), [[None, [BIG], []], None, [None]]),
    (Array(Array(feast_types.Float32)), pa.array([[[0.5, None]], []]), [[[0.5, "NaN"]], []]),
    (Array(Set(feast_types.Int64)), pa.array([[[2, 1, 2]]]), [[[1, 2]]]),
    (Set(feast_types.Int64), pa.array([[3, 1, 3], None, [], [1, None]]), [[1, 3], None, [], None]),
    (Set(feast_types.String), pa.array([["b", "a", "b"], [None]]), [["a", "b"], None]),
    (Set(feast_types.Float64), pa.array([[2.0, NAN, 2.0, None]]), [[2.0, "NaN"]]),
    (Set(feast_types.UnixTimestamp), pa.array([[5, 5, None]], pa.list_(pa.timestamp("s"))), [[5, None]]),
    (Set(Array(feast_types.Int64)), pa.array([[[1], [2], [1]]]), [[[1], [2]]]),
    (
        Struct({"a": feast_types.Int64, "b": Array(feast_types.Int64), "c": feast_types.Float32, "d": feast_types.UnixTimestamp}),
        pa.array(
            [{"a": BIG, "b": [BIG], "c": NAN, "d": -1, "more": 1}, {"a": None, "b": [1, None], "c": 0.5, "d": None}, None, {"b": []}],
            pa.struct(
                [("d", pa.timestamp("us")), ("a", pa.int64()), ("b", pa.list_(pa.int64())), ("c", pa.float64()), ("more", pa.int8())]
            ),
        ),
        [
            {"a": BIG, "b": [BIG], "c": None, "d": -1},
            {"a": None, "b": None, "c": 0.5, "d": None},
            None,
            {"a": None, "b": [], "c": None, "d": None},
        ],
    ),
    (
        Struct({"a": Struct({"b": Set(feast_types.Int64)}), "m": feast_types.Map, "z": feast_types.ZonedTimestamp}),
        pa.array([{"a": {"b": [2, 1, 2]}, "m": {"x": "y"}, "z": datetime(2026, 7, 1, 12, tzinfo=ZoneInfo("Europe/Zurich"))}]),
        [{"a": {"b": [1, 2]}, "m": {"x": "y"}, "z": "2026-07-01T10:00:00+00:00"}],
    ),
]
CASES = [(feast_type(name), column, expected) for name, columns in COLUMNS.items() for column, expected in columns] + COMPOSED
IDS = [f"{dtype} from {column.type}"[:80] for dtype, column, _ in CASES]


@pytest.mark.parametrize("row", TYPES.values(), ids=list(TYPES))
def test_no_part_of_a_type_is_missing(row):
    fields = Value.DESCRIPTOR.fields_by_name
    found = [fields[name].number if name in fields else None for name in (f"{row.stem}_val", f"{row.stem}_list_val", f"{row.stem}_set_val")]
    assert tuple(found) == row.numbers
    assert row.name in COLUMNS or row.column.kind is None, "no test holds its columns"
    assert row.name in SCALARS or row.column.kind is None or row.name == "Map", "nothing encodes it"
    assert row.numbers[1] is None or row.name in ELEMENTS or row.name == "Map", "nothing encodes its lists"
    json_decoder(row.name)
    assert row.column.words
    assert row.is_python(row.stored(row.example))
    assert row.printed(row.json(row.example))
    assert row.equal(row.json(row.example), row.example)
    if row.key:
        assert row.request, "a key is asked for"
    if row.request:
        assert row.nulls is not None, "functions get it"
        asked = row.json(row.example)
        assert row.request.all([asked])
        assert row.from_json(asked) == row.example


def test_every_type_of_feast_has_a_row():
    assert TYPES.keys() == {str(kind) for kind in PrimitiveFeastType} - {"Invalid"}


@pytest.mark.parametrize(("dtype", "column", "expected"), CASES, ids=IDS)
def test_what_is_served_is_what_is_trained_on(dtype, column, expected):
    assert accepts(column.type, dtype), misfit(column.type, dtype)
    assert parse(dtype) == parse(str(dtype))
    assert served(column, dtype) == expected
    assert trained(column, dtype) == expected
    made = as_column(column, dtype)
    made.validate(full=True)
    if dtype != feast_types.ZonedTimestamp:
        assert made.type == arrow_type(dtype)
    assert repr(as_column(made, dtype).to_pylist()) == repr(made.to_pylist())
    assert all(equal(one, other, dtype) for one, other in zip(expected, pylist(made, dtype), strict=True))
    assert all(value is None or printed(value, dtype) for value in expected)
    # Without its first row, as a slice of a larger column.
    longer = pa.concat_arrays([column.slice(0, 1), column]) if not pa.types.is_list_view(column.type) else column
    assert served(longer.slice(len(longer) - len(column)), dtype) == expected


def sign(value):
    """A value with its type; sets in one order."""
    return sorted(map(repr, value)) if isinstance(value, set) else repr(value)


@pytest.mark.parametrize(("dtype", "column", "expected"), CASES, ids=IDS)
def test_functions_get_the_same_in_training_as_when_served(dtype, column, expected):
    stored = [feast_value_type_to_python_type(Value.FromString(value)) for value in serialized(column, dtype).to_pylist()]
    found = python_values(as_column(column, dtype), dtype)
    assert list(map(sign, found)) == list(map(sign, stored))


@pytest.mark.parametrize(("dtype", "column", "expected"), CASES, ids=IDS)
def test_what_functions_give_is_stored_as_it_is_trained_on(dtype, column, expected):
    values = output_column({"x": python_values(as_column(column, dtype), dtype)}, "x", str(dtype), len(column))
    kept, _ = _one_by_one([encoded(value, dtype) for value in values], None, json_decoder(str(dtype)))
    written = [as_printed(value, dtype) for value in pylist(from_python(values, dtype), dtype)]
    assert kept == written or "Zoned" in str(dtype)
    assert written == expected or "Json" in str(dtype)


@pytest.mark.parametrize("name", [name for name in COLUMNS if name not in {"Map", "ZonedTimestamp"}])
def test_the_bytes_are_those_of_feasts_own_conversion(name):
    dtype = feast_type(name)
    for column, _ in COLUMNS[name]:
        made = as_column(column, dtype)
        if not any(made.to_pylist()):
            continue  # Empty byte strings alone become null in Feast's conversion.
        values = made.to_numpy(zero_copy_only=False) if name == "UnixTimestamp" else made.to_pylist()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            protos = python_values_to_proto_values(values, dtype.to_value_type())
        assert serialized(column, dtype).to_pylist() == [proto.SerializeToString() for proto in protos]


KEYS = {
    "Bytes": (pa.array([b"a\xff", b""]), [b"a\xff", b""]),
    "String": (pa.array(["é", ""]).dictionary_encode(), ["é", ""]),
    "Int32": (pa.array([-1, 2**15 - 1], pa.int16()), [-1, 2**15 - 1]),
    "Int64": (pa.array([BIG, -1], pa.int64()), [BIG, -1]),
    "UnixTimestamp": (pa.array([-1_500, 1_999, 253_402_300_799_999], pa.timestamp("ms")), [-2, 1, 253_402_300_799]),
}


@pytest.mark.parametrize("row", TYPES.values(), ids=list(TYPES))
def test_a_key_is_the_one_that_feast_makes_from_a_column_and_from_a_request(row):
    dtype = feast_type(row.name)
    if row.key is None:
        with pytest.raises(ValueError, match="cannot make keys of"):
            redis_keys({"k": pa.array([1])}, {"k": dtype}, "p")
        return
    column, values = KEYS[row.name]
    protos = [EntityKey(join_keys=["k"], entity_values=[Value(**{f"{row.stem}_val": value})]) for value in values]
    expected = [serialize_entity_key(proto, entity_key_serialization_version=3) + b"p" for proto in protos]
    assert redis_keys({"k": column}, {"k": dtype}, "p").to_pylist() == expected
    asked = [json_form(value) for value in values]
    assert CHECKS[row.name].all(asked)
    assert EntityKeys([("k", row.name)], "p").of([asked]) == expected


WRONG = {
    "Bytes": ["%", 1, None],
    "String": [1, None, b"a"],
    "Int32": [2**31, True, 1.0, "1", None],
    "Int64": [2**63, True, 1.0, "1", None],
    "UnixTimestamp": [2**63, 1.5, None],
    "Bool": [1, "true", None],
    "Float32": ["1", True, NAN, None],
    "Float64": ["1", True, math.inf, None],
}


def test_a_request_brings_values_of_its_types_and_nothing_else():
    assert WRONG.keys() == CHECKS.keys()
    for name, values in WRONG.items():
        assert not any(CHECKS[name].all([value]) for value in values), name
        assert CHECKS[name].all([])


FAR = [datetime(1, 1, 1), datetime(1677, 9, 21, 0, 12, 44), datetime(2262, 4, 11), datetime(9999, 12, 31, 23, 59, 59)]  # noqa: DTZ001
PHYSICAL = [pa.timestamp(unit, zone) for unit in PER_SECOND for zone in (None, "UTC", "America/New_York")] + [pa.date32(), pa.date64()]


@pytest.mark.parametrize("kind", PHYSICAL, ids=str)
@pytest.mark.parametrize("moment", FAR, ids=lambda moment: str(moment.year))
def test_a_far_date_is_the_same_date_in_every_form(kind, moment):
    if kind.equals(pa.timestamp("ns", getattr(kind, "tz", None))) and moment.year in (1, 9999):
        pytest.skip("no column of nanoseconds has it")
    whole = moment.replace(hour=0, minute=0, second=0) if pa.types.is_date(kind) else moment
    seconds = int(whole.replace(tzinfo=UTC).timestamp())
    plain = pa.array([seconds, None], pa.timestamp("s"))
    column = plain.cast(pa.timestamp(kind.unit)).cast(pa.int64()).cast(kind) if pa.types.is_timestamp(kind) else plain.cast(kind)
    for dtype, made, wrap in (
        (feast_types.UnixTimestamp, column, lambda value: value),
        (Array(feast_types.UnixTimestamp), pa.ListArray.from_arrays([0, 2], column), lambda value: value),
    ):
        expected = [wrap(seconds), None] if dtype == feast_types.UnixTimestamp else [[seconds, None]]
        assert served(made, dtype) == expected
        assert trained(made, dtype) == expected
    assert (
        redis_keys({"k": column.slice(0, 1)}, {"k": feast_types.UnixTimestamp}, "p")[0].as_py()
        == EntityKeys([("k", "UnixTimestamp")], "p").of([[seconds]])[0]
    )


def test_a_moment_beyond_pythons_calendar_is_served_and_trained_on_and_none_for_functions():
    column = pa.array([2**40, 5], pa.timestamp("s"))
    assert served(column, feast_types.UnixTimestamp) == trained(column, feast_types.UnixTimestamp) == [2**40, 5]
    assert python_values(as_column(column, feast_types.UnixTimestamp), feast_types.UnixTimestamp) == [
        None,
        datetime(1970, 1, 1, 0, 0, 5, tzinfo=UTC),
    ]
    with pytest.raises(pa.ArrowException):
        as_column(pa.array([2**62], pa.timestamp("s")), feast_types.UnixTimestamp)


@pytest.mark.parametrize("dtype", [*map(feast_type, COLUMNS), *(dtype for dtype, _, _ in COMPOSED)], ids=str)
def test_a_column_without_any_value_fits_every_type(dtype):
    column = pa.nulls(3)
    assert accepts(column.type, dtype)
    assert served(column, dtype) == trained(column, dtype) == [None, None, None]
    assert as_column(column, dtype).type == arrow_type(dtype)


REFUSED = [
    (feast_types.Int64, pa.string(), "whole numbers of 64 bits"),
    (feast_types.Int32, pa.timestamp("us"), "whole numbers of 32 bits"),
    (feast_types.Float64, pa.string(), "floats"),
    (feast_types.Bool, pa.float64(), "booleans"),
    (feast_types.String, pa.binary(), "texts"),
    (feast_types.String, pa.timestamp("us"), "texts"),
    (feast_types.UnixTimestamp, pa.string(), "timestamps, dates"),
    (feast_types.Map, pa.map_(pa.string(), pa.int64()), "declare a Struct"),
    (feast_types.Map, pa.struct([("a", pa.int64())]), "declare a Struct"),
    (feast_types.Map, pa.string(), "maps from texts"),
    (feast_types.ScalarMap, pa.map_(pa.int64(), pa.string()), "no column of a file"),
    (feast_types.ScalarMap, pa.null(), "no column of a file"),
    (feast_types.Json, pa.struct([("a", pa.timestamp("us"))]), "JSON"),
    (Struct({"a": feast_types.Int64}), pa.struct([("b", pa.int64())]), "no field 'a'"),
    (Struct({"a": feast_types.Int64}), pa.struct([("a", pa.string())]), "in its field 'a'"),
    (Array(feast_types.Int64), pa.int64(), "Array takes lists"),
    (Array(Array(feast_types.Int64)), pa.list_(pa.list_(pa.string())), "whole numbers"),
]


UNFIT = [
    (feast_types.Int64, pa.array([1.0, 1.5])),
    (feast_types.Int64, pa.array([2.0**63])),
    (feast_types.Int64, pa.array([math.inf])),
    (feast_types.Int64, pa.array([Decimal("1.50")])),
    (feast_types.Int64, pa.array([2**63], pa.uint64())),
    (feast_types.Int32, pa.array([1, 3_000_000_000])),
    (feast_types.Bool, pa.array([1, 2])),
    (feast_types.UnixTimestamp, pa.array([2**62])),
    (Array(feast_types.Int32), pa.array([[1], [2**40]])),
    (Struct({"a": feast_types.Int64}), pa.array([{"a": 0.5}])),
]


@pytest.mark.parametrize(("dtype", "column"), UNFIT, ids=[f"{dtype} from {column.type}" for dtype, column in UNFIT])
def test_a_value_that_would_be_cut_is_refused_where_others_of_its_column_fit(dtype, column):
    assert accepts(column.type, dtype)
    assert may_not_fit(column.type, dtype)
    with pytest.raises(pa.ArrowException):
        as_column(column, dtype)


LIKE_FEAST = [
    (feast_types.Int32, pa.array([1, 2])),
    (feast_types.Int64, pa.array([1.0, 2.0])),
    (feast_types.Int64, pa.array([True, False])),
    (feast_types.Bool, pa.array([0, 1])),
    (feast_types.String, pa.array([1, 2])),
    (feast_types.String, pa.array([0.1, 1e22, 5e-324, -0.0])),
    (feast_types.String, pa.array([True, False])),
    (feast_types.String, pa.array([date(2026, 12, 1)])),
    (feast_types.Float32, pa.array([True, False])),
    (feast_types.UnixTimestamp, pa.array([5, -5])),
]


@pytest.mark.parametrize(("dtype", "column"), LIKE_FEAST, ids=[f"{dtype} from {column.type}" for dtype, column in LIKE_FEAST])
def test_a_column_of_another_type_is_stored_as_feast_converts_it(dtype, column):
    values = python_values_to_proto_values(column.to_numpy(zero_copy_only=False).tolist(), dtype.to_value_type())
    assert serialized(column, dtype).to_pylist() == [value.SerializeToString() for value in values]


@pytest.mark.parametrize(
    ("kind", "declared"),
    [
        (pa.int64(), "Int64"),
        (pa.int32(), "Int32"),
        (pa.uint64(), ""),
        (pa.bool_(), "Bool"),
        (pa.float32(), "Float32"),
        (pa.float64(), "Float64"),
        (pa.large_string(), "String"),
        (pa.timestamp("us", "UTC"), "UnixTimestamp"),
        (pa.list_(pa.float64()), "Array(Float64)"),
        (pa.dictionary(pa.int32(), pa.string()), "String"),
    ],
    ids=str,
)
def test_the_type_that_holds_a_column_as_it_is(kind, declared):
    assert declaration_for(kind) == declared


@pytest.mark.parametrize(("dtype", "kind", "why"), REFUSED, ids=[f"{dtype} from {kind}" for dtype, kind, _ in REFUSED])
def test_a_column_that_would_be_cut_or_guessed_is_refused_with_the_reason(dtype, kind, why):
    assert not accepts(kind, dtype)
    assert why in misfit(kind, dtype)


@pytest.mark.parametrize(
    ("dtype", "column"),
    [
        (feast_types.Json, pa.array(["{"])),
        (feast_types.Map, pa.array([[("a", "x"), ("a", "y")]], pa.map_(pa.string(), pa.string()))),
    ],
    ids=["no JSON", "a key twice"],
)
def test_a_value_that_a_type_does_not_know_is_an_error_on_both_sides(dtype, column):
    for convert in (as_column, serialized):
        with pytest.raises(pa.ArrowException):
            convert(column, dtype)


def test_a_stored_value_that_json_has_no_form_for_is_invalid():
    value = Value()
    value.zoned_timestamp_val.unix_timestamp, value.zoned_timestamp_val.zone = 253_402_300_799, "Europe/Berlin"
    beyond = Value()
    beyond.zoned_timestamp_val.unix_timestamp = 2**62
    within = Value()
    within.map_val.val["a"].CopyFrom(value)
    for stored, dtype in ((value, "ZonedTimestamp"), (beyond, "ZonedTimestamp"), (within, "Map")):
        assert _one_by_one([stored.SerializeToString()], None, json_decoder(dtype)) == ([None], [INVALID])
    value.zoned_timestamp_val.zone = "UTC"
    assert _one_by_one([value.SerializeToString()], None, json_decoder("ZonedTimestamp")) == (["9999-12-31T23:59:59+00:00"], [PRESENT])


def test_a_name_that_is_no_type_is_refused():
    for name in ("Number", "Array(Number)", "Array(", "Set(Map)", "Array(ZonedTimestamp)"):
        with pytest.raises(UnknownType):
            parse(name)


def test_the_numbers_of_collections_are_those_of_feast():
    fields = Value.DESCRIPTOR.fields_by_name
    for kind in ValueType:
        if kind.name.endswith(("_LIST", "_SET")) and kind.name not in ("VALUE_LIST", "VALUE_SET", "STRUCT_LIST"):
            dtype = feast_types.VALUE_TYPES_TO_FEAST_TYPES.get(kind)
            if dtype is not None:
                assert fields[f"{parse(dtype).stem}_val"].number == parse(dtype).number
    for dtype in (Array(Array(feast_types.Int64)), Set(Array(feast_types.Int64)), Array(Struct({"a": feast_types.Int64}))):
        assert fields[f"{parse(dtype).stem}_val"].number == parse(dtype).number
