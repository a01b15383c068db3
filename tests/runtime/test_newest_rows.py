"""Picking every entity's newest row: the same whatever the memory, the row groups, the files and the types of keys."""

from datetime import UTC, datetime, timedelta

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from feast import Entity, FeatureView, Field, FileSource, ValueType
from feast.types import Int64, String
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from feature_runtime.loading import newest
from feature_runtime.loading.scan import Scan
from feature_runtime.loading.window import Window
from feature_runtime.offline_store import parquet_files
from feature_runtime.offline_store.source import ViewSource

START = datetime(2026, 5, 1, tzinfo=UTC)
WINDOW = Window(start=START, end=START + timedelta(seconds=20), reason="", catches_up=False)
SETTINGS = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
MOMENT = st.integers(-5, 25).map(lambda second: START + timedelta(seconds=second))
ROWS = st.lists(
    st.tuples(st.none() | st.integers(1, 6), st.none() | st.sampled_from("abc"), st.none() | MOMENT, st.none() | MOMENT),
    max_size=60,
)


def view_of(path, created="created"):
    entities = [
        Entity(name="number", join_keys=["number"], value_type=ValueType.INT64),
        Entity(name="word", join_keys=["word"], value_type=ValueType.STRING),
    ]
    source = FileSource(name="s", path=str(path), timestamp_field="at", created_timestamp_column=created, field_mapping={"Column": "value"})
    fields = [Field(name="number", dtype=Int64), Field(name="word", dtype=String), Field(name="value", dtype=Int64)]
    return FeatureView(name="v", entities=entities, schema=fields, source=source, ttl=timedelta(0))


def table_of(rows, unit="us", zone="UTC"):
    number, word, at, created = zip(*rows, strict=True) if rows else ((), (), (), ())
    utc = pa.timestamp("us", "UTC")
    return pa.table(
        {
            "number": pa.array(number, pa.int64()),
            "word": pa.array(word, pa.string()),
            "at": pa.array(at, utc).cast(pa.timestamp(unit, zone)),
            "created": pa.array(created, utc),
            "Column": pa.array(range(len(rows)), pa.int64()),
        }
    )


def picked(path, part_bytes=8 << 20, **options):
    view = view_of(path, **options)
    found = Scan(view=view, source=ViewSource(view, path), window=WINDOW)
    return [row for table in newest.newest_rows(found, part_bytes=part_bytes) for row in found.named(table).to_pylist()], found


def plainly(rows):
    """The same in a loop."""
    best = {}
    for place, (number, word, at, created) in enumerate(rows):
        if number is None or word is None or at is None or not WINDOW.start <= at <= WINDOW.end:
            continue
        order = (at, created or datetime.min.replace(tzinfo=UTC), place)
        best[number, word] = max(best.get((number, word), order), order)
    return {key: place for key, (_, _, place) in best.items()}


@pytest.fixture(params=["in memory", "by way of the disk"])
def somewhere(request, monkeypatch):
    if request.param == "by way of the disk":
        # A part of a few rows, read a few rows at a time.
        monkeypatch.setattr(parquet_files, "BATCH_ROWS", 7)
        return 200
    return 8 << 20


@SETTINGS
@given(
    rows=ROWS, group=st.integers(1, 30), unit=st.sampled_from(["us", "s", "ns", "ms"]), zone=st.sampled_from([None, "UTC", "Asia/Tokyo"])
)
def test_it_is_what_a_plain_loop_picks(tmp_path, somewhere, rows, group, unit, zone):
    path = tmp_path / "rows.parquet"
    pq.write_table(table_of(rows, unit, zone), path, row_group_size=group)
    found, counted = picked(path, somewhere)
    assert {(row["number"], row["word"]): row["value"] for row in found} == plainly(rows)
    assert len(found) == len(plainly(rows)), "an entity came twice"
    inside = [row for row in rows if row[2] and WINDOW.start <= row[2] <= WINDOW.end]
    assert counted.left_out.without_key == sum(row[0] is None or row[1] is None for row in inside)
    assert counted.left_out.without_time == sum(row[2] is None for row in rows)
    assert counted.rows == len(inside) - counted.left_out.without_key


def test_a_folder_of_files_is_one_source_even_when_they_differ_in_types(tmp_path):
    folder = tmp_path / "folder"
    folder.mkdir()
    first, second = table_of([(1, "a", START, None), (2, "a", START, None)]), table_of([(1, "a", START + timedelta(seconds=1), None)])
    pq.write_table(first, folder / "1.parquet")
    dictionary = second.set_column(1, "word", second["word"].dictionary_encode())
    pq.write_table(dictionary.set_column(0, "number", second["number"].cast(pa.int32())), folder / "2.parquet")
    found, counted = picked(folder)
    assert {(row["number"], row["at"]) for row in found} == {(1, START + timedelta(seconds=1)), (2, START)}
    assert counted.rows == 3


def test_row_groups_outside_the_window_are_not_read(tmp_path):
    path = tmp_path / "rows.parquet"
    rows = [(1, "a", START - timedelta(days=day), None) for day in range(1, 10)] + [(1, "a", START, None)]
    pq.write_table(table_of(rows), path, row_group_size=1)
    _, counted = picked(path)
    assert (counted.planned, counted.rows) == (1, 1)


def test_nothing_is_left_on_the_disk(tmp_path, monkeypatch):
    spill = tmp_path / "spill"
    spill.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(spill))
    path = tmp_path / "rows.parquet"
    pq.write_table(table_of([(n, "a", START, None) for n in range(1000)]), path)
    found, _ = picked(path, 200)
    assert len(found) == 1000
    assert list(spill.iterdir()) == []
