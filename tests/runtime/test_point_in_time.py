"""The point-in-time join, held against one that a person can check by reading: a loop over labels and rows."""

import random
from datetime import UTC, datetime, timedelta

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from feast import Entity, FeatureView, Field, FileSource, ValueType
from feast.types import Array, Bool, Float32, Int32, Int64, String, UnixTimestamp
from hypothesis import given, settings
from hypothesis import strategies as st

from feature_runtime.offline_store import point_in_time
from feature_runtime.offline_store.history import History
from feature_runtime.offline_store.joined_view import JoinedView, time_unit
from feature_runtime.offline_store.point_in_time import JoinSettings, join
from feature_runtime.offline_store.rows import TIME, as_integers, field_column
from feature_runtime.offline_store.sampling import sample
from feature_runtime.offline_store.source import ViewSource
from feature_runtime.refusal import Refusal

START = datetime(2024, 2, 28, 23, 59, 50, tzinfo=UTC)
UTC_TIME = pa.timestamp("us", tz="UTC")
FIELDS = {
    "number": (Int64, pa.int64()),
    "small": (Int32, pa.int16()),
    "share": (Float32, pa.float64()),
    "text": (String, pa.string()),
    "flag": (Bool, pa.bool_()),
    "amounts": (Array(Float32), pa.list_(pa.float32())),
    "names": (Array(String), pa.list_(pa.string())),
    "seen": (UnixTimestamp, UTC_TIME),
}


def value(name, seed):
    """The value of a field in the row number `seed`, None now and then."""
    if seed % 5 == 4:
        return None
    return {
        "number": seed * 2**40 + 1,
        "small": seed % 30_000,
        "share": seed / 8,
        "text": f"row {seed} ☂",
        "flag": seed % 2 == 0,
        "amounts": [seed / 4, 8.0, -1.0][: seed % 4],
        "names": [f"n{seed}"] * (seed % 3),
        "seen": START + timedelta(seconds=seed),
    }[name]


class Example:
    """A view of some keys with a history of its own."""

    def __init__(self, directory, name, keys, ttl, rows, *, created=True, group=3):
        types = {"a": (Int64, pa.int64(), ValueType.INT64), "b": (String, pa.string(), ValueType.STRING)}
        self.name, self.keys, self.ttl, self.rows, self.created = name, keys, ttl, rows, created
        schema = {key: types[key][1] for key in keys} | {"when": UTC_TIME, "written": UTC_TIME}
        schema |= {f"column_{field}": kind for field, (_, kind) in FIELDS.items()}
        path = directory / f"{name}.parquet"
        pq.write_table(pa.Table.from_pylist(rows, schema=pa.schema(list(schema.items()))), path, row_group_size=group)
        self.view = FeatureView(
            name=name,
            entities=[Entity(name=key, join_keys=[key], value_type=types[key][2]) for key in keys],
            ttl=ttl,
            source=FileSource(
                name=f"{name}_source",
                path=str(path),
                timestamp_field="when",
                created_timestamp_column="written" if created else "",
                field_mapping={f"column_{field}": field for field in FIELDS},
            ),
            schema=[Field(name=key, dtype=types[key][0]) for key in keys] + [Field(name=f, dtype=d) for f, (d, _) in FIELDS.items()],
        )
        self.joined = JoinedView(
            name=name,
            view=self.view,
            history=History(self.view, ViewSource(self.view, directory)),
            keys={key: key for key in keys},
            features=list(FIELDS),
        )

    def known(self, label, *, until=None):
        """By hand: the row that counts for a label."""
        best = None
        for number, row in enumerate(self.rows):
            if any(row[key] != label[key] for key in self.keys) or row["when"] is None or row["when"] > label["when"]:
                continue
            if self.ttl and row["when"] < label["when"] - self.ttl:
                continue
            if until is not None and row["written"] is not None and row["written"] > until:
                continue
            written = row["written"] or datetime.min.replace(tzinfo=UTC)
            rank = (row["when"], written if self.created else None, number)
            if best is None or rank > best[0]:
                best = (rank, row)
        return best and best[1]

    def expected(self, label, **limits):
        row = self.known(label, **limits)
        return {f"{self.name}__{field}": row and row[f"column_{field}"] for field in FIELDS}


def joined(examples, labels, **changes):
    kinds = {"a": pa.int64(), "b": pa.string()}
    views = [example.joined for example in examples]
    unit = time_unit(UTC_TIME, views)
    keys = {field_column(key): pa.array([label[key] for label in labels], kinds[key]) for key in kinds}
    batch = pa.RecordBatch.from_pydict({**keys, TIME: as_integers(pa.array([label["when"] for label in labels], UTC_TIME), unit)})
    # In several batches, as a file comes.
    batches = [batch.slice(0, len(labels) // 2), batch.slice(len(labels) // 2)]
    found = list(join(batches, views, JoinSettings(memory_mib=64, unit=unit, **changes)))
    return [row for part in found for row in part.to_pylist()]


def features(rows):
    return [{name: cell for name, cell in row.items() if "@" not in name} for row in rows]


moments = st.integers(0, 12).map(lambda seconds: START + timedelta(seconds=seconds))
labels = st.lists(
    st.fixed_dictionaries({"a": st.integers(0, 2), "b": st.sampled_from(["x", "y"]), "when": moments}), min_size=1, max_size=12
)
ttls = st.sampled_from([None, timedelta(0), timedelta(seconds=1), timedelta(seconds=3), timedelta(days=400)])


@st.composite
def histories(draw):
    rows = draw(
        st.lists(
            st.fixed_dictionaries(
                {
                    "a": st.one_of(st.integers(0, 2), st.none()),
                    "b": st.sampled_from(["x", "y", None]),
                    "when": st.one_of(moments, st.none()),
                    "written": st.one_of(moments, st.none()),
                }
            ),
            max_size=14,
        )
    )
    return [row | {f"column_{field}": value(field, number) for field in FIELDS} for number, row in enumerate(rows)]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("histories")


@settings(max_examples=30, deadline=None)
@given(
    asked=labels,
    first=histories(),
    second=histories(),
    third=histories(),
    ttl=ttls,
    other=ttls,
    created=st.booleans(),
    piece=st.integers(1, 20),
)
def test_every_label_gets_what_was_known_at_its_time_and_nothing_else(folder, asked, first, second, third, ttl, other, created, piece):
    examples = [
        Example(folder, "one", ["a"], ttl, first),
        Example(folder, "two", ["a", "b"], other, second, created=created),
        Example(folder, "three", ["b"], None, third),
    ]
    with pytest.MonkeyPatch.context() as small:
        small.setattr(point_in_time, "PIECE_ROWS", piece)
        found = joined(examples, asked)
    expected = [{name: cell for example in examples for name, cell in example.expected(label).items()} for label in asked]
    assert features(found) == expected


@settings(max_examples=15, deadline=None)
@given(asked=labels, rows=histories(), until=moments)
def test_rows_that_were_written_later_do_not_count_when_asked_so(folder, asked, rows, until):
    example = Example(folder, "one", ["a"], None, rows)
    found = joined([example], asked, created_until=as_integers(pa.array([until], UTC_TIME), "us")[0].as_py())
    assert features(found) == [example.expected(label, until=until) for label in asked]


def test_many_labels_of_a_long_history_come_back_in_their_order(folder):
    chance = random.Random(7)
    rows = [
        {
            "a": chance.randrange(20),
            "b": chance.choice("xy"),
            "when": START + timedelta(seconds=chance.randrange(4_000)),
            "written": START + timedelta(seconds=chance.randrange(3)),
            **{f"column_{field}": value(field, number) for field in FIELDS},
        }
        for number in range(1_000)
    ]
    asked = [
        {"a": chance.randrange(22), "b": chance.choice("xy"), "when": START + timedelta(seconds=chance.randrange(-20, 4_100))}
        for _ in range(600)
    ]
    asked += asked[:300]
    example = Example(folder, "long", ["a", "b"], timedelta(minutes=20), rows, group=500)
    assert features(joined([example], asked)) == [example.expected(label) for label in asked]


@pytest.mark.parametrize(("age", "counts"), [(0, True), (3, True), (3.000001, False), (-0.000001, False)])
def test_both_ends_of_the_ttl_count(folder, age, counts):
    row = {"a": 1, "b": "x", "when": START, "written": START} | {f"column_{field}": value(field, 1) for field in FIELDS}
    example = Example(folder, "edge", ["a"], timedelta(seconds=3), [row])
    (found,) = joined([example], [{"a": 1, "b": "x", "when": START + timedelta(seconds=age)}])
    assert (found["edge__number"] is not None) is counts


def numbers_of_a(path, ttl):
    """A view `one` with the feature `number` of the key `a`, in a file with times `when`."""
    view = FeatureView(
        name="one",
        entities=[Entity(name="a", join_keys=["a"], value_type=ValueType.INT64)],
        ttl=ttl,
        source=FileSource(name="source", path=str(path), timestamp_field="when"),
        schema=[Field(name="a", dtype=Int64), Field(name="number", dtype=Int64)],
    )
    return JoinedView(name="one", view=view, history=History(view, ViewSource(view, path.parent)), keys={"a": "a"}, features=["number"])


def test_times_that_differ_by_a_nanosecond_are_told_apart(tmp_path):
    nanoseconds = pa.timestamp("ns", tz="UTC")
    at = 1_700_000_000_123_456_789
    table = pa.table({"a": [1, 1], "when": pa.array([at, at + 1]).cast(nanoseconds), "number": [10, 20]})
    pq.write_table(table, tmp_path / "fine.parquet")
    one = numbers_of_a(tmp_path / "fine.parquet", timedelta(days=1))
    unit = time_unit(nanoseconds, [one])
    asked = pa.RecordBatch.from_pydict(
        {field_column("a"): [1, 1, 1], TIME: as_integers(pa.array([at - 1, at, at + 1]).cast(nanoseconds), unit)}
    )
    (found,) = join([asked], [one], JoinSettings(memory_mib=64, unit=unit))
    assert found["one__number"].to_pylist() == [None, 10, 20]


@pytest.mark.parametrize("unit", ["s", "ms", "us", "ns"])
def test_both_ends_count_exactly_whatever_the_unit_of_the_source(tmp_path, unit):
    table = pa.table({"a": [1], "when": pa.array([START], UTC_TIME).cast(pa.timestamp(unit)), "number": [7]})
    pq.write_table(table, tmp_path / "history.parquet")
    one = numbers_of_a(tmp_path / "history.parquet", timedelta(seconds=2.5))
    for seconds, number in ((-0.000001, None), (0, 7), (0.7, 7), (2.5, 7), (2.500001, None)):
        moment = START + timedelta(seconds=seconds)
        times = as_integers(pa.array([moment], UTC_TIME), time_unit(UTC_TIME, [one]))
        asked = pa.RecordBatch.from_pydict({field_column("a"): [1], TIME: times})
        (found,) = join([asked], [one], JoinSettings(memory_mib=64, unit=time_unit(UTC_TIME, [one])))
        assert found["one__number"].to_pylist() == [number]
        # Of the history no more is read than counts.
        assert sample([one], {"one": moment}, count=1, seed="", memory_mib=64) == ([{"a": 1}] if number else [])


def test_whole_numbers_stay_whole_with_nulls_among_them(folder):
    rows = [
        {"a": key, "b": "x", "when": START, "written": START} | {f"column_{field}": value(field, key) for field in FIELDS} for key in (1, 4)
    ]
    example = Example(folder, "whole", ["a"], None, rows)
    found = joined([example], [{"a": key, "b": "x", "when": START} for key in (1, 4, 9)])
    assert [type(row["whole__number"]) for row in found] == [int, type(None), type(None)]
    # More than a double holds.
    assert found[0]["whole__number"] == 2**40 + 1


def test_a_view_without_entities_has_one_row_for_everybody(tmp_path):
    table = pa.table({"when": pa.array([START, START + timedelta(seconds=5)], UTC_TIME), "number": [1, 2]})
    pq.write_table(table, tmp_path / "all.parquet")
    view = FeatureView(
        name="everybody",
        entities=[],
        ttl=timedelta(0),
        source=FileSource(name="all_source", path=str(tmp_path / "all.parquet"), timestamp_field="when"),
        schema=[Field(name="number", dtype=Int64)],
    )
    one = JoinedView(name="everybody", view=view, history=History(view, ViewSource(view, tmp_path)), keys={}, features=["number"])
    times = as_integers(pa.array([START - timedelta(seconds=1), START, START + timedelta(seconds=9)], UTC_TIME), "us")
    (found,) = join([pa.RecordBatch.from_pydict({TIME: times})], [one], JoinSettings(memory_mib=64, unit="us"))
    assert found["everybody__number"].to_pylist() == [None, 1, 2]


def test_a_source_that_changes_between_the_passes_is_refused(folder, monkeypatch):
    row = {"a": 1, "b": "x", "when": START, "written": START} | {f"column_{field}": value(field, 1) for field in FIELDS}
    example = Example(folder, "moving", ["a"], None, [row])
    read, calls = History.batches, []

    def changing(self, *arguments, **options):
        calls.append(self)
        for batch in read(self, *arguments, **options):
            yield batch if len(calls) == 1 else batch.slice(0, 0)

    monkeypatch.setattr(History, "batches", changing)
    with pytest.raises(Refusal, match="changed while it was read"):
        joined([example], [{"a": 1, "b": "x", "when": START}])
