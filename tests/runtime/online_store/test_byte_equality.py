"""Whatever is written, Redis holds the very bytes that stock Feast would have written, and stock Feast reads them back."""

import json
import string
import warnings
from datetime import UTC, datetime, timedelta

import numpy as np
import pyarrow as pa
import pytest
from feast import Field
from feast import types as feast_types
from feast.protos.feast.types.EntityKey_pb2 import EntityKey
from feast.protos.feast.types.Value_pb2 import Value
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from feature_runtime.online_store import Keep

NOW = datetime(2026, 5, 4, 3, 2, 1, tzinfo=UTC)
EXAMPLES = settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])

INT32 = st.integers(-(2**31), 2**31 - 1)
EXACT = st.integers(-(2**53), 2**53)
INT64 = st.integers(-(2**63), 2**63 - 1)
FLOAT32 = st.floats(width=32)
TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=200)
JSON = st.recursive(
    st.none() | st.booleans() | INT32 | st.text(string.ascii_letters, max_size=5), lambda inner: st.lists(inner, max_size=3)
).map(json.dumps)
MOMENT = st.datetimes(datetime(1900, 1, 1), datetime(2200, 1, 1))  # noqa: DTZ001  a column adds its zone


def lists(of, **options):
    return st.lists(of, max_size=6, **options)


def sets(of):
    """Of one value, perhaps more than once: of several, Feast's order is another in every process."""
    return st.tuples(of, st.integers(0, 3)).map(lambda drawn: [drawn[0]] * drawn[1])


COLUMNS = {
    # Feast's type: the Arrow types that a file may have it in, each with its values; null comes on top.
    "Int32": [(pa.int32(), INT32), (pa.int16(), st.integers(-(2**15), 2**15 - 1)), (pa.uint16(), st.integers(0, 2**16 - 1))],
    "Int64": [(pa.int64(), EXACT), (pa.uint32(), st.integers(0, 2**32 - 1)), (pa.int8(), st.integers(-128, 127))],
    "Float32": [(pa.float32(), FLOAT32), (pa.float64(), st.floats()), (pa.int64(), EXACT), (pa.int32(), INT32)],
    "Float64": [(pa.float64(), st.floats())],
    "Bool": [(pa.bool_(), st.booleans())],
    "String": [(pa.string(), TEXT), (pa.large_string(), TEXT), (pa.dictionary(pa.int8(), pa.string()), st.sampled_from("abc"))],
    "Bytes": [(pa.binary(), st.binary(min_size=1, max_size=200)), (pa.large_binary(), st.binary(min_size=1))],
    "PdfBytes": [(pa.binary(), st.binary(min_size=1))],
    "ImageBytes": [(pa.binary(), st.binary(min_size=1))],
    "UnixTimestamp": [
        (pa.timestamp("us", "UTC"), MOMENT),
        (pa.timestamp("us"), MOMENT),
        (pa.timestamp("ms", "Europe/Berlin"), MOMENT),
        (pa.timestamp("s"), MOMENT),
        (pa.timestamp("ns", "UTC"), MOMENT),
        (pa.date32(), st.dates()),
    ],
    "Uuid": [(pa.string(), st.uuids().map(str))],
    "TimeUuid": [(pa.string(), st.uuids().map(str))],
    "Decimal": [(pa.string(), st.decimals(allow_nan=False).map(str)), (pa.decimal128(20, 3), st.decimals(-(10**9), 10**9, places=3))],
    "Json": [(pa.string(), JSON), (pa.large_string(), JSON)],
    "Map": [(pa.struct([("a", pa.string())]), st.fixed_dictionaries({"a": TEXT}))],
    "Array(Float32)": [(pa.list_(pa.float32()), lists(FLOAT32)), (pa.large_list(pa.float64()), lists(st.floats(width=32)))],
    "Array(Float64)": [(pa.list_(pa.float64()), lists(st.floats()))],
    "Array(Int32)": [(pa.list_(pa.int32()), lists(INT32))],
    "Array(Int64)": [(pa.list_(pa.int64()), lists(INT64)), (pa.large_list(pa.int32()), lists(INT32))],
    "Array(String)": [(pa.list_(pa.string()), lists(TEXT)), (pa.large_list(pa.large_string()), lists(TEXT))],
    "Array(Bytes)": [(pa.list_(pa.binary()), lists(st.binary(max_size=9)))],
    "Array(Bool)": [(pa.list_(pa.bool_()), lists(st.booleans()))],
    "Array(UnixTimestamp)": [(pa.list_(pa.timestamp("us")), lists(MOMENT.map(lambda moment: moment.replace(microsecond=0))))],
    "Array(Uuid)": [(pa.list_(pa.string()), lists(st.uuids().map(str)))],
    "Array(Decimal)": [(pa.list_(pa.string()), lists(st.decimals(allow_nan=False).map(str)))],
    "Array(Json)": [(pa.list_(pa.string()), lists(JSON))],
    "Set(Int64)": [(pa.list_(pa.int64()), sets(INT64))],
    "Set(String)": [(pa.list_(pa.string()), sets(TEXT))],
    "Set(Float64)": [(pa.list_(pa.float64()), sets(st.floats(allow_nan=False)))],
    "Set(Uuid)": [(pa.list_(pa.string()), sets(st.uuids().map(str)))],
    "Array(Array(Int64))": [(pa.list_(pa.list_(pa.int64())), lists(st.lists(INT64, min_size=1, max_size=3)))],
    "Struct": [(pa.struct([("a", pa.int64()), ("b", pa.string())]), st.fixed_dictionaries({"a": EXACT, "b": TEXT}))],
}


def feast_type(name):
    if name == "Struct":
        return feast_types.Struct({"a": feast_types.Int64, "b": feast_types.String})
    if "(" not in name:
        return getattr(feast_types, name)
    outer, _, inner = name[:-1].partition("(")
    return getattr(feast_types, outer)(feast_type(inner))


@st.composite
def columns(draw, count, names=tuple(COLUMNS)):
    chosen = draw(st.lists(st.sampled_from(names), min_size=1, max_size=4, unique=True))
    made = {}
    for name in chosen:
        kind, values = draw(st.sampled_from(COLUMNS[name]))
        nullable = draw(st.booleans())
        cells = draw(st.lists(st.none() | values if nullable else values, min_size=count, max_size=count))
        made[name] = pa.array(cells, kind)
    return made


@st.composite
def batches(draw, names=tuple(COLUMNS)):
    count = draw(st.integers(1, 12))
    features = draw(columns(count, names))
    times = draw(st.lists(MOMENT, min_size=count, max_size=count))
    unit = draw(st.sampled_from(["us", "ms", "s", "ns"]))
    zone = draw(st.sampled_from([None, "UTC", "Asia/Tokyo"]))
    return features, pa.array(times, pa.timestamp("us")).cast(pa.timestamp(unit), safe=False).cast(pa.timestamp(unit, zone))


def batch_of(keys, features, times):
    return pa.RecordBatch.from_arrays([*keys.values(), *features.values(), times], [*keys, *features, "at"])


def views(make_view, features, **options):
    return make_view({name: feast_type(name) for name in features}, **options)


def write_both(two, view, batch, **online_store):
    two.clear()
    stock = two.config(ours=False, skip_dedup=True, **online_store)
    ours = two.config(ours=True, **online_store)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        two.stock.online_write_batch(stock, view, two.stock_rows(view, batch), None)
        written = two.ours.write_arrow(ours, view, batch, keep=Keep.NOTHING)
    assert written == batch.num_rows
    return two.dump(two.stock_redis), two.dump(two.ours_redis)


@EXAMPLES
@given(data=batches(), ttl=st.sampled_from([None, 1000]))
def test_columns_of_every_type_become_the_bytes_that_feast_writes(two, make_view, data, ttl):
    features, times = data
    batch = batch_of({"thing": pa.array(range(len(times)), pa.int64())}, features, times)
    stock, ours = write_both(two, views(make_view, features), batch, key_ttl_seconds=ttl)
    assert ours == stock


@pytest.mark.parametrize("name", COLUMNS)
def test_each_type_of_column_becomes_the_bytes_that_feast_writes(two, make_view, name):
    @settings(EXAMPLES, max_examples=40)
    @given(data=batches([name]))
    def check(data):
        features, times = data
        batch = batch_of({"thing": pa.array(range(len(times)), pa.int64())}, features, times)
        stock, ours = write_both(two, views(make_view, features), batch)
        assert ours == stock

    check()


KEYS = {
    "Int64": (pa.int64(), INT64),
    "Int32": (pa.int32(), INT32),
    "String": (pa.string(), TEXT),
    "Bytes": (pa.binary(), st.binary(min_size=1, max_size=20)),
    "UnixTimestamp": (pa.timestamp("us", "UTC"), MOMENT),
}


@EXAMPLES
@given(data=st.data(), kinds=st.lists(st.sampled_from(list(KEYS)), min_size=0, max_size=3))
def test_keys_of_every_type_and_number_are_those_of_feast(two, make_view, data, kinds):
    names = [f"{'zyx'[place]}_key" for place in range(len(kinds))]
    count = data.draw(st.integers(1, 5)) if kinds else 1
    keys = {
        name: pa.array(data.draw(st.lists(KEYS[kind][1], min_size=count, max_size=count)), KEYS[kind][0])
        for name, kind in zip(names, kinds, strict=True)
    }
    features = {"Int64": pa.array(range(count), pa.int64())}
    view = views(make_view, features, keys={name: feast_type(kind) for name, kind in zip(names, kinds, strict=True)})
    if not kinds:
        # What `apply` gives a view without entities.
        view.entity_columns = [Field(name="__dummy_id", dtype=feast_types.String)]
        keys = {"__dummy_id": pa.array([""])}
    stock, ours = write_both(two, view, batch_of(keys, features, pa.array([NOW] * count)))
    assert ours == stock


def test_two_views_of_one_entity_share_its_hash_as_with_feast(two, make_view):
    keys = {"thing": pa.array([1, 2], pa.int64())}
    two.clear()
    for name, kind in (("first", "Float32"), ("second", "String")):
        features = {kind: pa.array([1.5, 2.5], pa.float32()) if kind == "Float32" else pa.array(["a", None])}
        view = views(make_view, features, name=name)
        batch = batch_of(keys, features, pa.array([NOW, NOW]))
        two.stock.online_write_batch(two.config(ours=False), view, two.stock_rows(view, batch), None)
        two.ours.write_arrow(two.config(ours=True), view, batch, keep=Keep.NOTHING)
    assert two.dump(two.ours_redis) == two.dump(two.stock_redis)
    assert len(two.ours_redis.hgetall(next(two.ours_redis.scan_iter()))) == 4


VALUES = {
    "bytes_val": st.binary(),
    "string_val": TEXT,
    "int32_val": INT32,
    "int64_val": INT64,
    "double_val": st.floats(),
    "float_val": FLOAT32,
    "bool_val": st.booleans(),
    "unix_timestamp_val": INT64,
    "json_val": JSON,
    "uuid_val": TEXT,
    "time_uuid_val": TEXT,
    "decimal_val": TEXT,
}


@st.composite
def protos(draw):
    """A `Value` with any of its fields, those of messages included, or with none."""
    field = draw(st.sampled_from([None, *Value.DESCRIPTOR.fields]))
    if field is None:
        return Value()
    if field.name == "null_val":
        return Value(null_val=0)
    if field.message_type is None:
        return Value(**{field.name: draw(VALUES[field.name])})
    value = Value()
    getattr(value, field.name).SetInParent()
    inner = field.message_type.fields_by_name.get("val")
    if inner is None:
        value.zoned_timestamp_val.unix_timestamp = draw(INT64)
        value.zoned_timestamp_val.zone = draw(st.sampled_from(["", "Europe/Berlin"]))
    elif inner.message_type is None:
        named = next(name for name in VALUES if Value.DESCRIPTOR.fields_by_name[name].type == inner.type)
        getattr(value, field.name).val.extend(draw(lists(VALUES[named])))
    elif inner.message_type.name == "Value":
        getattr(value, field.name).val.extend([Value(int64_val=n) for n in draw(lists(INT64))])
    elif field.name in {"map_val", "struct_val"}:
        getattr(value, field.name).val["a"].int64_val = draw(INT64)
    return value


def test_the_strategy_of_values_knows_every_field_that_feast_has():
    plain = {field.name for field in Value.DESCRIPTOR.fields if field.message_type is None} - {"null_val"}
    assert plain == set(VALUES), "Feast has a new type of value: give it a strategy"


@EXAMPLES
@given(data=st.data(), skip_dedup=st.booleans(), ttl=st.sampled_from([None, 500]))
def test_rows_of_feast_end_as_with_feast_whatever_their_order_and_values(two, make_view, data, skip_dedup, ttl):
    view = views(make_view, {"Int64": None, "String": None})
    two.clear()
    for _ in range(data.draw(st.integers(1, 3), label="batches")):
        rows = []
        for _ in range(data.draw(st.integers(1, 8), label="rows")):
            key = EntityKey(join_keys=["thing"], entity_values=[Value(int64_val=data.draw(st.integers(1, 3)))])
            features = data.draw(st.sampled_from([["Int64", "String"], ["String"], ["Int64"]]))
            moment = NOW + timedelta(microseconds=data.draw(st.integers(-3, 3)))
            rows.append((key, {feature: data.draw(protos()) for feature in features}, moment, None))
        counted = []
        two.stock.online_write_batch(two.config(ours=False, skip_dedup=skip_dedup, key_ttl_seconds=ttl), view, rows, None)
        two.ours.online_write_batch(two.config(ours=True, skip_dedup=skip_dedup, key_ttl_seconds=ttl), view, rows, counted.append)
        assert sum(counted) == len(rows)
    assert two.dump(two.ours_redis) == two.dump(two.stock_redis)


def test_stock_feast_reads_what_ours_wrote(two, make_view):
    features = {
        "Float32": pa.array([0.25, None], pa.float32()),
        "String": pa.array(["ü", ""]),
        "Array(Int64)": pa.array([[1, -2], []], pa.list_(pa.int64())),
    }
    view = views(make_view, features)
    two.ours.write_arrow(
        two.config(ours=True), view, batch_of({"thing": pa.array([7, 8])}, features, pa.array([NOW, NOW])), keep=Keep.NOTHING
    )
    config = two.config(ours=False)
    config.online_store.connection_string = config.online_store.connection_string.replace("db=7", "db=8")
    keys = [EntityKey(join_keys=["thing"], entity_values=[Value(int64_val=key)]) for key in (7, 8, 9)]
    first, second, unknown = two.stock.__class__().online_read(config, view, keys)
    assert first[0] == second[0] == NOW
    assert (first[1]["Float32"].float_val, first[1]["String"].string_val) == (0.25, "ü")
    assert list(first[1]["Array(Int64)"].int64_list_val.val) == [1, -2]
    assert second[1]["Float32"].WhichOneof("val") is None
    assert second[1]["String"].WhichOneof("val") == "string_val"
    assert unknown[1]["String"].WhichOneof("val") is None


def test_a_large_number_beside_a_null_is_kept_where_feast_rounds_it(two, make_view):
    """Feast makes floats of integers with a null among them: the one place where its bytes are not wanted."""
    large = 2**53 + 1
    features = {"Int64": pa.array([large, None], pa.int64())}
    view = views(make_view, features)
    stock, ours = write_both(two, view, batch_of({"thing": pa.array([1, 2])}, features, pa.array([NOW, NOW])))
    kept = {Value.FromString(value).int64_val for fields, _ in ours.values() for field, value in fields.items() if field != b"_ts:things"}
    rounded = {
        Value.FromString(value).int64_val for fields, _ in stock.values() for field, value in fields.items() if field != b"_ts:things"
    }
    assert kept == {large, 0}
    assert rounded == {2**53, 0}, "Feast has mended it: the exception in the docstring of values.py can go"


def test_many_rows_go_in_many_pieces(two, make_view):
    count = 40_000
    features = {"Float32": pa.array(np.arange(count), pa.float32()), "String": pa.array([f"text {n}" * (n % 7) for n in range(count)])}
    stock, ours = write_both(
        two, views(make_view, features), batch_of({"thing": pa.array(range(count))}, features, pa.array([NOW] * count)), key_ttl_seconds=900
    )
    assert len(ours) == count
    assert ours == stock
