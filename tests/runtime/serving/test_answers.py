"""What is answered equals what Feast says of the same store, cell by cell, for every type and every kind of key."""

import base64
import json
import math
import uuid
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from zoneinfo import ZoneInfo

import pytest
from feast import Entity, FeatureService, FeatureView, Field, FileSource, ValueType
from feast.feature_server_utils import _value_to_native, convert_response_to_dict
from feast.protos.feast.types.Value_pb2 import Value
from feast.type_map import python_values_to_proto_values
from feast.types import (
    Array,
    Bool,
    Bytes,
    Float32,
    Float64,
    Int32,
    Int64,
    Json,
    Map,
    ScalarMap,
    Set,
    String,
    Struct,
    TimeUuid,
    UnixTimestamp,
    Uuid,
    ZonedTimestamp,
)
from feast.types import (
    Decimal as DecimalType,
)
from hypothesis import given, settings
from hypothesis import strategies as st

from feature_runtime.serving.decoding import WrongType, json_decoder
from feature_runtime.value_types import parse

NOW = datetime.now(UTC).replace(microsecond=0)
ID = uuid.UUID(int=7)
MOMENTS = [datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC), datetime(1969, 12, 31, tzinfo=UTC)]
NAN, INF = math.nan, math.inf

# For every type of Feast's: values that could go wrong.
EVERYTHING = {
    Int32: [0, -1, 2**31 - 1, -(2**31), 127, 128],
    Int64: [0, -1, 2**63 - 1, -(2**63), 300, 2**53 + 1],
    Float32: [0.1, -0.0, 3.4028234663852886e38, 1e-45, NAN, INF, -INF],
    Float64: [0.1, -0.0, 1.7976931348623157e308, 5e-324, 0.1 + 0.2, INF, -INF],
    Bool: [True, False],
    String: ["", "a", "Zürich ☃ \x00 \U0001f600", "x" * 200, '"\\'],
    Bytes: [b"", b"\x00\xff", b"x" * 300],
    UnixTimestamp: MOMENTS,
    Json: ['{"a": [1, null]}', "3"],
    Map: [{"a": 1, "b": "x"}, {}],
    Uuid: [ID],
    TimeUuid: [uuid.UUID(int=8)],
    DecimalType: [Decimal("1.10"), Decimal("-1e30")],
    ZonedTimestamp: [datetime(2026, 7, 1, 12, tzinfo=ZoneInfo("Europe/Zurich"))],
    Struct({"a": Int64, "b": String}): [{"a": 1, "b": "x"}],
    Array(Int32): [[], [1, -1]],
    Array(Int64): [[], [2**63 - 1, 0, -5]],
    Array(Float32): [[], [0.1, -0.5], [NAN, INF, 1.0]],
    Array(Float64): [[], [0.1, 1e300, 1e308, 1e308], [-INF]],
    Array(Bool): [[], [True, False]],
    Array(String): [[], ["", "é"]],
    Array(Bytes): [[b"\xff", b""]],
    Array(UnixTimestamp): [MOMENTS],
    Array(Json): [['{"a": 1}']],
    Array(Map): [[{"a": 1}, {}]],
    Array(Uuid): [[ID]],
    Array(DecimalType): [[Decimal("0.1")]],
    Array(Struct({"a": Int64})): [[{"a": 1}]],
    Array(Array(Int64)): [[[1], [], [2, 3]]],
    Set(Int64): [{1, 2}],
    Set(String): [{"a"}],
    Set(Float32): [{0.5}],
    Set(Bytes): [{b"\x01"}],
    Set(UnixTimestamp): [set(MOMENTS)],
    Set(Uuid): [{ID}],
    Set(Bool): [{True}],
    Set(Int32): [{-7}],
    Set(Float64): [{0.1}],
    Set(DecimalType): [{Decimal("2.50")}],
}
ROWS = max(len(values) for values in EVERYTHING.values())
NAMES = {f"f{number}": dtype for number, dtype in enumerate(EVERYTHING)}

thing = Entity(name="thing", join_keys=["thing_id"], value_type=ValueType.INT64)


def source(name):
    return FileSource(name=name, path=f"{name}.parquet", timestamp_field="event_timestamp")


def view(name, entities, keys, ttl=timedelta(0), **fields):
    schema = [Field(name=key, dtype=dtype) for key, dtype in keys.items()] + [
        Field(name=name, dtype=dtype) for name, dtype in fields.items()
    ]
    return FeatureView(name=name, entities=entities, ttl=ttl, online=True, source=source(name), schema=schema)


def protos(value, dtype):
    return python_values_to_proto_values([value], dtype.to_value_type())[0]


everything = view("everything", [thing], {"thing_id": Int64}, **NAMES)


@pytest.fixture(scope="module")
def all_types(shop_of, serving):
    shop = shop_of(thing, everything, FeatureService(name="all", features=[everything]))
    rows = []
    for row in range(ROWS):
        values = {
            name: protos(EVERYTHING[dtype][row % len(EVERYTHING[dtype])], dtype) if (row + len(name)) % 5 else Value()
            for name, dtype in NAMES.items()
        }
        rows.append(({"thing_id": Value(int64_val=row)}, values, NOW - timedelta(microseconds=row * 1001)))
    for row in range(ROWS):
        # One value of every type in every row that the pattern of nulls left out.
        values = {name: protos(EVERYTHING[dtype][row % len(EVERYTHING[dtype])], dtype) for name, dtype in NAMES.items()}
        rows.append(({"thing_id": Value(int64_val=ROWS + row)}, values, NOW))
    shop.write(everything, rows)
    return shop, serving(shop, shop.contract("all"))


def stock(shop, features, entities, **options):
    """What Feast's own HTTP server would answer, column by column."""
    entities = {key: list(values) for key, values in entities.items()}
    answer = convert_response_to_dict(shop.store.get_online_features(features=features, entity_rows=entities, **options).proto)
    return dict(zip(answer["metadata"]["feature_names"], answer["results"], strict=True))


def same(ours, theirs):
    return ours == theirs and type(ours) is type(theirs)


def test_every_value_of_every_type_is_what_feast_answers(all_types):
    shop, running = all_types
    ids = list(range(2 * ROWS))
    answer = running.ask({"feature_service": "all", "entities": {"thing_id": ids}})
    theirs = stock(shop, shop.store.get_feature_service("all"), {"thing_id": ids})
    assert list(answer.columns) == ["thing_id", *NAMES], "the contract's order"
    compared = 0
    for name, column in answer.columns.items():
        assert column["event_timestamps"] == theirs[name]["event_timestamps"], name
        for row, (value, status, expected) in enumerate(zip(column["values"], column["statuses"], theirs[name]["values"], strict=True)):
            assert same(value, expected), (name, NAMES.get(name), row, value, expected)
            assert status == ("NULL_VALUE" if expected is None else "PRESENT"), (name, row)
            compared += 1
    assert compared == 2 * ROWS * (len(NAMES) + 1)


def test_every_value_is_what_the_sdk_gives(all_types):
    shop, running = all_types
    ids = list(range(2 * ROWS))
    columns = running.ask({"feature_service": "all", "entities": {"thing_id": ids}}).columns
    sdk = shop.store.get_online_features(features=shop.store.get_feature_service("all"), entity_rows={"thing_id": ids}).to_dict()
    for name, dtype in NAMES.items():
        for value, expected in zip(columns[name]["values"], sdk[name], strict=True):
            assert parsed(value, dtype) == printed(expected, dtype), (name, dtype, value, expected)


def parsed(value, dtype):
    """HTTP carries the text of JSON, the SDK parses it."""
    if value is None or dtype not in (Json, Array(Json)):
        return value
    return json.loads(value) if dtype == Json else list(map(json.loads, value))


def printed(value, dtype):
    """A value of the SDK as JSON has it."""
    match value:
        case None | bool() | str() | int():
            return value
        case float():
            return value if math.isfinite(value) else str(value).replace("nan", "NaN").replace("inf", "Infinity")
        case bytes():
            return base64.b64encode(value).decode()
        case datetime():
            return value.isoformat() if dtype == ZonedTimestamp else int(value.timestamp())
        case uuid.UUID() | Decimal():
            return str(value)
        case dict():
            return {key: printed(item, None) for key, item in value.items()}
        case list() | set():
            inner = getattr(dtype, "base_type", None)
            return [printed(item, inner) for item in value]


SIMPLE = {
    "Int32": st.integers(-(2**31), 2**31 - 1).map(lambda value: Value(int32_val=value)),
    "Int64": st.integers(-(2**63), 2**63 - 1).map(lambda value: Value(int64_val=value)),
    "Float32": st.floats(width=32).map(lambda value: Value(float_val=value)),
    "Float64": st.floats().map(lambda value: Value(double_val=value)),
    "Bool": st.booleans().map(lambda value: Value(bool_val=value)),
    "String": st.text(max_size=300).map(lambda value: Value(string_val=value)),
    "Array(Float32)": st.lists(st.floats(width=32), max_size=40).map(lambda value: Value(float_list_val={"val": value})),
    "Array(Float64)": st.lists(st.floats(), max_size=40).map(lambda value: Value(double_list_val={"val": value})),
    "UnixTimestamp": st.integers(-(2**62), 2**62).map(lambda value: Value(unix_timestamp_val=value)),
}


@settings(max_examples=400, deadline=None, derandomize=True)
@given(st.sampled_from(sorted(SIMPLE)).flatmap(lambda dtype: st.tuples(st.just(dtype), SIMPLE[dtype])))
def test_the_decoders_agree_with_protobuf_for_any_value(case):
    dtype, value = case
    decoded = json_decoder(dtype)(value.SerializeToString())
    expected = _value_to_native(value)
    assert same(decoded, expected), (dtype, decoded, expected)


@settings(max_examples=600, deadline=None, derandomize=True)
@given(st.sampled_from(sorted(map(str, EVERYTHING))), st.binary(min_size=1, max_size=24))
def test_any_bytes_are_a_value_of_the_type_or_of_none(dtype, raw):
    try:
        value = json_decoder(dtype)(raw)
    except (WrongType, IndexError, UnicodeDecodeError):
        return
    held = Value.FromString(raw).WhichOneof("val")
    assert value is None or held == f"{parse(dtype).stem}_val" or (held == "string_val" and "uuid" in f"{parse(dtype).stem}_val"), "coerced"


def test_a_scalar_map_is_an_array_of_pairs(shop_of, serving):
    prices = view("prices", [thing], {"thing_id": Int64}, by_year=ScalarMap)
    shop = shop_of(thing, prices)
    shop.write(prices, [({"thing_id": Value(int64_val=1)}, {"by_year": protos({2025: 1.5, 2026: None}, ScalarMap)}, NOW)])
    running = serving(shop, shop.contract())
    columns = running.ask({"features": ["prices:by_year"], "entities": {"thing_id": [1]}}).columns
    assert sorted(columns["by_year"]["values"][0]) == [[2025, 1.5], [2026, None]], "stock answers null"
    assert columns["by_year"]["statuses"] == ["PRESENT"]


def test_a_null_among_moments_is_null(shop_of, serving):
    visits = view("visits", [thing], {"thing_id": Int64}, last=UnixTimestamp, all=Array(UnixTimestamp))
    shop = shop_of(thing, visits)
    null = -(2**63)
    row = {"last": Value(unix_timestamp_val=null), "all": Value(unix_timestamp_list_val={"val": [5, null]})}
    shop.write(visits, [({"thing_id": Value(int64_val=1)}, row, NOW)])
    running = serving(shop, shop.contract())
    columns = running.ask({"features": ["visits:last", "visits:all"], "entities": {"thing_id": [1]}}).columns
    assert (columns["last"]["values"], columns["last"]["statuses"]) == ([None], ["NULL_VALUE"])
    assert columns["all"]["values"] == [[5, None]]


def test_a_stored_moment_that_its_zone_cannot_print_is_invalid_and_the_rest_is_answered(shop_of, serving):
    contracts = view("contracts", [thing], {"thing_id": Int64}, ends=ZonedTimestamp, number=Int64)
    shop = shop_of(thing, contracts)
    ends = Value()
    ends.zoned_timestamp_val.unix_timestamp, ends.zoned_timestamp_val.zone = 253_402_300_799, "Europe/Berlin"
    shop.write(contracts, [({"thing_id": Value(int64_val=1)}, {"ends": ends, "number": Value(int64_val=7)}, NOW)])
    running = serving(shop, shop.contract())
    columns = running.ask({"features": ["contracts:ends", "contracts:number"], "entities": {"thing_id": [1]}}).columns
    assert (columns["ends"]["values"], columns["ends"]["statuses"]) == ([None], ["INVALID"])
    assert (columns["number"]["values"], columns["number"]["statuses"]) == ([7], ["PRESENT"])
