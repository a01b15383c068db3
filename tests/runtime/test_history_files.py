"""Reading history: whatever the files of a source differ in, loads, joins, the check and the smoke test read the same rows."""

import gc
import os
import re
import time
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import fsspec
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from feast import Entity, FeatureView, Field, FileSource, ValueType
from feast.types import Array, Bool, Bytes, Float32, Float64, Int32, Int64, String, UnixTimestamp, ZonedTimestamp

from feature_runtime.loading.newest import newest_rows
from feature_runtime.loading.scan import Scan
from feature_runtime.loading.window import Window, window_of
from feature_runtime.offline_store import parquet_files
from feature_runtime.offline_store.csv_labels import read_csv
from feature_runtime.offline_store.history import History
from feature_runtime.offline_store.joined_view import JoinedView, time_unit
from feature_runtime.offline_store.parquet_files import ParquetFiles
from feature_runtime.offline_store.point_in_time import JoinSettings, join
from feature_runtime.offline_store.rows import TIME, as_integers, field_column, rows_of
from feature_runtime.offline_store.source import ViewSource, source_problems
from feature_runtime.refusal import Refusal
from feature_runtime.value_types.columns import as_column

NOW = datetime(2026, 5, 1, tzinfo=UTC)
FAR = datetime(9999, 12, 31, tzinfo=UTC)
DAY = timedelta(days=1)
UTC_TIME, NAIVE = pa.timestamp("us", "UTC"), pa.timestamp("us")


def view_of(path, fields, *, ttl=365 * DAY, mapping=None, time="ts", created=""):
    source = FileSource(name="s", path=str(path), timestamp_field=time, created_timestamp_column=created, field_mapping=mapping or {})
    schema = [Field(name="id", dtype=Int64), *(Field(name=name, dtype=dtype) for name, dtype in fields.items())]
    return FeatureView(
        name="v", entities=[Entity(name="id", join_keys=["id"], value_type=ValueType.INT64)], ttl=ttl, source=source, schema=schema
    )


def write(path, ids, at, kind=UTC_TIME, **columns):
    path.parent.mkdir(parents=True, exist_ok=True)
    moments = pa.array([at] * len(ids), UTC_TIME).cast(kind)
    pq.write_table(pa.table({"id": pa.array(ids, pa.int64()), "ts": moments, **columns}), path)


def scanned(view, *, start=NOW - 300 * DAY, end=NOW):
    return Scan(view=view, source=ViewSource(view, Path("/")), window=Window(start=start, end=end, reason="", catches_up=False))


def loaded(view, **window):
    """What a load would write, by entity."""
    scan = scanned(view, **window)
    rows = [row for table in newest_rows(scan, part_bytes=8 << 20) for row in scan.named(table).to_pylist()]
    return {row["id"]: {field.name: row[field.name] for field in view.features} for row in rows}


def trained(view, ids, at=NOW):
    """What a training set would have of the same entities."""
    one = JoinedView(
        name="v",
        view=view,
        history=History(view, ViewSource(view, Path("/"))),
        keys={"id": "id"},
        features=[field.name for field in view.features],
    )
    unit = time_unit(UTC_TIME, [one])
    asked = pa.RecordBatch.from_pydict(
        {field_column("id"): pa.array(ids, pa.int64()), TIME: as_integers(pa.array([at] * len(ids), UTC_TIME), unit)}
    )
    rows = [row for batch in join([asked], [one], JoinSettings(memory_mib=64, unit=unit)) for row in batch.to_pylist()]
    return {id_: {name: row[one.column(name)] for name in one.features} for id_, row in zip(ids, rows, strict=True)}, one


def checked(view):
    return ViewSource(view, Path("/")).problems()


GROWN = {
    "a column that came": (Float32, None, pa.array([3.0], pa.float32()), None, 3.0),
    "no value yet": (String, pa.nulls(2), pa.array(["x"]), None, "x"),
    "whole numbers, then fractions": (Float32, pa.array([10, 20], pa.int64()), pa.array([10.5]), 20.0, 10.5),
    "integers of two sizes": (Int64, pa.array([1, 2], pa.int32()), pa.array([2**40], pa.int64()), 2, 2**40),
    "text of two kinds": (String, pa.array(["a", "b"], pa.large_string()), pa.array(["c"]).dictionary_encode(), "b", "c"),
    "lists that may have a null within, and lists that may not": (
        Array(Int64),
        pa.array([[1], [2, 3]], pa.list_(pa.field("element", pa.int64(), nullable=False))),
        pa.array([[4]], pa.list_(pa.int64())),
        [2, 3],
        [4],
    ),
    "moments of two zones": (
        ZonedTimestamp,
        pa.array([NOW, NOW], pa.timestamp("us", "Europe/Berlin")),
        pa.array([NOW - DAY], pa.timestamp("us", "UTC")),
        NOW,
        NOW - DAY,
    ),
    "floats of two sizes": (Float64, pa.array([0.5, 1.5], pa.float32()), pa.array([2.5], pa.float64()), 1.5, 2.5),
}


@pytest.mark.parametrize("case", GROWN)
@pytest.mark.parametrize("turned", [False, True], ids=["in order", "the newer file first"])
def test_files_of_a_folder_may_differ(tmp_path, case, turned):
    dtype, older, newer, old_value, new_value = GROWN[case]
    names = ("2.parquet", "1.parquet") if turned else ("1.parquet", "2.parquet")
    write(tmp_path / "s" / names[0], [1, 2], NOW - 40 * DAY, **({} if older is None else {"value": older}))
    write(tmp_path / "s" / names[1], [1], NOW - DAY, value=newer)
    view = view_of(tmp_path / "s", {"value": dtype})
    expected = {1: {"value": new_value}, 2: {"value": old_value}}
    assert checked(view) == []
    assert loaded(view) == expected
    assert trained(view, [1, 2])[0] == expected


@pytest.mark.parametrize(
    "kinds", [(NAIVE, UTC_TIME), (UTC_TIME, pa.timestamp("ns")), (pa.timestamp("ms"), pa.timestamp("ns", "Europe/Berlin"))]
)
@pytest.mark.parametrize("turned", [False, True])
def test_times_of_any_unit_and_zone_are_one_history(tmp_path, kinds, turned):
    older, newer = reversed(kinds) if turned else kinds
    write(tmp_path / "s/1.parquet", [1, 2], NOW - 40 * DAY, older, value=pa.array([1, 2]))
    write(tmp_path / "s/2.parquet", [1], NOW - DAY, newer, value=pa.array([3]))
    view = view_of(tmp_path / "s", {"value": Int64})
    assert checked(view) == []
    assert loaded(view) == trained(view, [1, 2])[0] == {1: {"value": 3}, 2: {"value": 2}}


def test_a_type_that_does_not_fit_is_named_with_its_file(tmp_path):
    write(tmp_path / "s/1.parquet", [1], NOW - DAY, value=pa.array([1]))
    write(tmp_path / "s/2.parquet", [1], NOW - DAY, value=pa.array(["one"]))
    (problem,) = checked(view_of(tmp_path / "s", {"value": Int64}))
    assert problem.startswith("its column 'value' (field 'value', Int64) is string in 2.parquet: Int64 takes whole numbers of 64 bits")


def test_a_key_that_feast_makes_none_of_is_a_problem_before_anything_is_loaded(tmp_path):
    write(tmp_path / "1.parquet", [1], NOW - DAY, value=pa.array([1]))
    view = view_of(tmp_path, {"value": Int64})
    view.entity_columns[0].dtype = Float32
    ((_, _, problem),) = source_problems([view], Path("/"))
    assert problem.startswith("the join key 'id' is a Float32, which Feast cannot make keys of. Declare one of Bytes, Int32, Int64")


def test_the_type_to_declare_is_named(tmp_path):
    write(tmp_path / "1.parquet", [1], NOW - DAY, value=pa.array(["one"]))
    (problem,) = checked(view_of(tmp_path, {"value": Int64}))
    assert problem.endswith("Declare String, or cast the column")


@pytest.mark.parametrize(
    ("dtype", "column", "expected"),
    [
        (Int32, pa.array([1, 2], pa.int64()), [1, 2]),
        (Int64, pa.array([1.0, None]), [1, None]),
        (Int64, pa.array([1.0, float("nan")]), [1, None]),
        (String, pa.array([1, 2]), ["1", "2"]),
        (Array(Int32), pa.array([[1.0], None]), [[1], None]),
    ],
    ids=str,
)
def test_a_column_whose_values_fit_is_loaded_and_joined_as_the_declared_type(tmp_path, dtype, column, expected):
    write(tmp_path / "1.parquet", [1, 2], NOW - DAY, value=column)
    view = view_of(tmp_path, {"value": dtype})
    assert checked(view) == []
    joined = {key: row["value"] for key, row in trained(view, [1, 2])[0].items()}
    stored = {key: as_column(pa.array([row["value"]]), dtype)[0].as_py() for key, row in loaded(view).items()}
    assert joined == stored == dict(zip([1, 2], expected, strict=True))


@pytest.mark.parametrize(("dtype", "odd"), [(Int32, 2**31), (Int64, 0.5), (Bool, 2)], ids=str)
def test_a_value_that_the_declared_type_cannot_hold_is_named_with_its_file_and_the_type_that_can(tmp_path, dtype, odd):
    write(tmp_path / "s/1.parquet", [1], NOW - DAY, value=pa.array([1]))
    write(tmp_path / "s/2.parquet", [1], NOW - 2 * DAY, value=pa.array([odd]))
    view = view_of(tmp_path / "s", {"value": dtype})
    assert checked(view) == []
    with pytest.raises(Refusal) as refused:
        loaded(view)
    for said in ("2.parquet", "'value'", str(odd), f"declare {'Float64' if odd == 0.5 else 'Int64'}"):
        assert said in str(refused.value)


def test_a_key_that_is_no_number_is_no_key(tmp_path):
    write(tmp_path / "1.parquet", [1], NOW - DAY, value=pa.array([1]))
    table = pq.read_table(tmp_path / "1.parquet")
    ids = pa.array([1.0, float("nan")])
    pq.write_table(pa.concat_tables([table] * 2).set_column(0, "id", ids), tmp_path / "1.parquet")
    scan = scanned(view_of(tmp_path, {"value": Int64}))
    rows = [row for table in newest_rows(scan, part_bytes=8 << 20) for row in scan.named(table).to_pylist()]
    assert [row["id"] for row in rows] == [1]
    assert scan.left_out.without_key == 1


def test_a_value_that_does_not_fit_is_named_with_file_and_column(tmp_path):
    write(tmp_path / "1.parquet", [1, 2], NOW, amount=pa.array([1, 2**53 + 1]))
    write(tmp_path / "2.parquet", [1], NOW, amount=pa.array([0.5]))
    files = ParquetFiles(str(tmp_path))
    with pytest.raises(pa.ArrowInvalid, match=rf"1\.parquet, column 'amount': {2**53 + 1} "):
        list(files.batches(files.schema()))


def test_a_folder_of_the_path_gives_a_column(tmp_path):
    write(tmp_path / "s/country=de/month=04/a.parquet", [1], NOW - DAY, value=pa.array([1]))
    write(tmp_path / "s/country=f%20r/month=05/a.parquet", [2], NOW - DAY, value=pa.array([2]))
    write(tmp_path / "s/country=__HIVE_DEFAULT_PARTITION__/month=05/a.parquet", [3], NOW - DAY, value=pa.array([3]))
    view = view_of(tmp_path / "s", {"value": Int64, "country": String, "month": Int64})
    assert checked(view) == []
    expected = {
        1: {"value": 1, "country": "de", "month": 4},
        2: {"value": 2, "country": "f r", "month": 5},
        3: {"value": 3, "country": None, "month": 5},
    }
    assert loaded(view) == trained(view, [1, 2, 3])[0] == expected
    assert loaded(view_of(tmp_path / "s", {"month": String}))[1] == {"month": "04"}


def test_a_join_key_may_be_a_folder(tmp_path):
    write(tmp_path / "s/id=7/a.parquet", [0], NOW - DAY, value=pa.array([1]))
    table = pq.read_table(tmp_path / "s/id=7/a.parquet", partitioning=None).drop(["id"])
    pq.write_table(table, tmp_path / "s/id=7/a.parquet")
    view = view_of(tmp_path / "s", {"value": Int64})
    assert checked(view) == []
    assert loaded(view) == trained(view, [7])[0] == {7: {"value": 1}}


def test_texts_and_bytes_may_be_views(tmp_path):
    table = {"id": [1, 1], "ts": pa.array([NOW - DAY, NOW + DAY], UTC_TIME), "text": pa.array(["a", "b"], pa.string_view())}
    pq.write_table(pa.table(table | {"mark": pa.array([b"a", b"b"], pa.binary_view())}), tmp_path / "s.parquet")
    view = view_of(tmp_path / "s.parquet", {"text": String, "mark": Bytes})
    assert checked(view) == []
    assert loaded(view) == trained(view, [1])[0] == {1: {"text": "a", "mark": b"a"}}


def test_what_is_one_key_of_the_online_store_is_one_entity(tmp_path):
    moments = [NOW + timedelta(milliseconds=part) for part in (900, 100, 500)]
    times = [NOW - DAY, NOW - 3 * DAY, NOW - 2 * DAY]
    table = {"id": pa.array(moments, UTC_TIME), "ts": pa.array(times, UTC_TIME), "value": [1, 3, 2]}
    pq.write_table(pa.table(table), tmp_path / "s.parquet")
    view = FeatureView(
        name="v",
        entities=[Entity(name="id", join_keys=["id"], value_type=ValueType.UNIX_TIMESTAMP)],
        source=FileSource(name="s", path=str(tmp_path / "s.parquet"), timestamp_field="ts"),
        schema=[Field(name="id", dtype=UnixTimestamp), Field(name="value", dtype=Int64)],
    )
    assert loaded(view) == {NOW: {"value": 1}}


def test_a_pattern_is_read_as_its_files_and_a_file_called_like_one_as_itself(tmp_path):
    write(tmp_path / "s/a/1.parquet", [1], NOW - DAY, value=pa.array([1]))
    write(tmp_path / "s/b/2.parquet", [2], NOW - DAY, value=pa.array([2]))
    write(tmp_path / "s/b/2.old", [3], NOW - DAY, value=pa.array([3]))
    assert sorted(loaded(view_of(tmp_path / "s/*/*.parquet", {"value": Int64}))) == [1, 2]
    assert sorted(loaded(view_of(tmp_path / "s/[b]", {"value": Int64}))) == [2, 3]
    for name in ("a?b.parquet", "a[1].parquet", "a*.parquet", "a%20#b c.parquet"):
        write(tmp_path / "t" / name, [9], NOW - DAY, value=pa.array([9]))
        assert sorted(loaded(view_of(tmp_path / "t" / name, {"value": Int64}))) == [9]


@pytest.mark.parametrize("address", ["disk", "memory://history"])
def test_what_is_no_history_in_a_folder_is_passed_over(tmp_path, address):
    write(tmp_path / "1.parquet", [1], NOW - DAY, value=pa.array([1]))
    whole = (tmp_path / "1.parquet").read_bytes()
    pq.write_table(pq.read_table(tmp_path / "1.parquet").slice(0, 0), tmp_path / "0.parquet")
    folder = str(tmp_path / "s") if address == "disk" else f"{address}/{tmp_path.name}"
    filesystem, path = fsspec.url_to_fs(folder)
    others = {
        "_SUCCESS": b"",
        ".part.crc": b"x",
        "_temporary/0/a.parquet": b"x",
        "README.txt": b"words, not Parquet",
        "day": b"",
        "s_$folder$": b"",
    }
    for name, content in {"part-1": whole, "0.parquet": (tmp_path / "0.parquet").read_bytes(), **others}.items():
        filesystem.makedirs(os.path.dirname(f"{path}/{name}"), exist_ok=True)  # noqa: PTH120  a path of any file system
        filesystem.pipe_file(f"{path}/{name}", content)
    assert loaded(view_of(folder, {"value": Int64})) == {1: {"value": 1}}
    filesystem.pipe_file(f"{path}/2.parquet", b"")
    with pytest.raises(Refusal, match=r"cannot be read: .*2\.parquet"):
        loaded(view_of(folder, {"value": Int64}))


def test_an_empty_folder_is_named(tmp_path):
    (tmp_path / "s").mkdir()
    with pytest.raises(Refusal, match=f"has no Parquet file in {re.escape(str(tmp_path / 's'))}"):
        checked(view_of(tmp_path / "s", {"value": Int64}))


def test_remote_files_are_read_whole_or_in_pieces(tmp_path, monkeypatch):
    write(tmp_path / "1.parquet", range(5_000), NOW - DAY, value=pa.array(range(5_000)))
    table = pq.read_table(tmp_path / "1.parquet")
    pq.write_table(table, tmp_path / "1.parquet", row_group_size=700)
    place = f"memory://remote/{tmp_path.name}.parquet"
    fsspec.filesystem("memory").pipe_file(place, (tmp_path / "1.parquet").read_bytes())
    view = view_of(place, {"value": Int64})
    expected = loaded(view_of(tmp_path / "1.parquet", {"value": Int64}))
    assert loaded(view) == expected
    monkeypatch.setattr(parquet_files, "SMALL_BYTES", 1 << 12)
    for together in (1, 20_000, 1 << 20):
        monkeypatch.setattr(parquet_files, "WHOLE_BYTES", together)
        assert loaded(view) == expected


def test_far_dates_of_the_old_kind_of_timestamps_stay_what_they_are(tmp_path):
    table = pa.table({"id": [1], "ts": pa.array([NOW - DAY], NAIVE), "until": pa.array([FAR], NAIVE)})
    pq.write_table(table, tmp_path / "s.parquet", use_deprecated_int96_timestamps=True)
    view = view_of(tmp_path / "s.parquet", {"until": UnixTimestamp})
    assert loaded(view)[1]["until"].replace(tzinfo=UTC) == FAR
    assert trained(view, [1])[0][1]["until"] == FAR


@pytest.mark.parametrize(("time", "created"), [("event_timestamp", "created"), ("load_dt", "ins_dt")])
def test_times_keys_and_features_may_be_renamed(tmp_path, time, created):
    table = pa.table(
        {
            "ID": [1, 1],
            "load_dt": pa.array([NOW - DAY] * 2, UTC_TIME),
            "ins_dt": pa.array([NOW, NOW - DAY], UTC_TIME),
            "V": pa.array([1, 2], pa.int64()),
        }
    )
    pq.write_table(table, tmp_path / "s.parquet")
    mapping = {"load_dt": "event_timestamp", "ins_dt": "created", "ID": "id", "V": "value"}
    view = view_of(tmp_path / "s.parquet", {"value": Int64}, mapping=mapping, time=time, created=created)
    assert checked(view) == []
    assert loaded(view) == trained(view, [1])[0] == {1: {"value": 1}}


@pytest.mark.parametrize("column", ["ts", "created"])
def test_a_nanosecond_decides_in_loads_and_joins(tmp_path, column):
    at = int((NOW - DAY).timestamp()) * 10**9
    nanoseconds = pa.timestamp("ns", "UTC")
    times = {"ts": [at, at], "created": [at, at]} | {column: [at + 1, at]}
    table = pa.table({"id": [1, 1], **{name: pa.array(values).cast(nanoseconds) for name, values in times.items()}, "value": [10, 20]})
    pq.write_table(table, tmp_path / "s.parquet")
    view = view_of(tmp_path / "s.parquet", {"value": Int64}, created="created")
    assert loaded(view) == trained(view, [1])[0] == {1: {"value": 10}}


@pytest.mark.parametrize("days", [365 * 500, 365 * 3_000, 365 * 9_000])
@pytest.mark.parametrize("unit", ["us", "ns"])
def test_a_ttl_that_means_for_ever_loses_no_row(tmp_path, days, unit):
    write(tmp_path / "s.parquet", [1], NOW - DAY, pa.timestamp(unit), value=pa.array([1]))
    view = view_of(tmp_path / "s.parquet", {"value": Int64}, ttl=timedelta(days=days))
    window = window_of(view, None, end=NOW, overlap=DAY, only_new=False)
    assert loaded(view, start=window.start) == trained(view, [1])[0] == {1: {"value": 1}}


def test_without_a_ttl_rows_of_any_year_count(tmp_path):
    years = [datetime(year, 1, 1, tzinfo=UTC) for year in (1, 1601, 1970)]
    pq.write_table(pa.table({"id": [1, 2, 3], "ts": pa.array(years, UTC_TIME), "value": [1, 2, 3]}), tmp_path / "s.parquet")
    view = view_of(tmp_path / "s.parquet", {"value": Int64}, ttl=timedelta(0))
    window = window_of(view, None, end=NOW, overlap=DAY, only_new=False)
    assert loaded(view, start=window.start) == trained(view, [1, 2, 3])[0] == {number: {"value": number} for number in (1, 2, 3)}


@pytest.mark.parametrize("statistics", [True, False])
def test_rows_of_nobody_or_of_no_moment_are_counted_with_and_without_statistics(tmp_path, statistics):
    table = pa.table({"id": [1, None, 3], "ts": pa.array([NOW - DAY, NOW - DAY, None], UTC_TIME), "value": pa.array([1, 2, 3], pa.int64())})
    pq.write_table(table, tmp_path / "s.parquet", write_statistics=statistics)
    view = view_of(tmp_path / "s.parquet", {"value": Int64})
    scan = scanned(view)
    assert sum(batch.num_rows for batch in scan.batches()) == 1
    _, one = trained(view, [1])
    for left_out in (scan.left_out, one.history.left_out):
        assert (left_out.without_key, left_out.without_time) == (1, 1)


def test_files_outside_the_window_are_not_opened_for_their_rows(tmp_path, monkeypatch):
    for day in range(1, 6):
        write(tmp_path / f"s/{day}.parquet", [day], NOW - day * DAY, value=pa.array([day]))
    opened = []
    real = ParquetFiles._open
    monkeypatch.setattr(
        ParquetFiles, "_open", lambda self, path, size, whole: opened.append((path[-9], whole)) or real(self, path, size, whole=whole)
    )
    view = view_of(tmp_path / "s", {"value": Int64})
    assert sorted(loaded(view, start=NOW - 2 * DAY)) == [1, 2]
    assert sorted(path for path, whole in opened if whole) == ["1", "2"]
    opened.clear()
    assert ViewSource(view, tmp_path).newest_time(NOW) == NOW - DAY
    assert opened == [], "of files that are the same nothing is read twice"


def test_footers_are_not_held(tmp_path):
    columns = {f"c{number}": pa.array(np.random.default_rng(1).random(400), pa.float32()) for number in range(60)}
    write(tmp_path / "s/0.parquet", range(400), NOW - DAY, **columns)
    pq.write_table(pq.read_table(tmp_path / "s/0.parquet"), tmp_path / "s/0.parquet", row_group_size=10)
    for number in range(1, 60):
        os.link(tmp_path / "s/0.parquet", tmp_path / f"s/{number}.parquet")
    view = view_of(tmp_path / "s", dict.fromkeys(columns, Float32))
    gc.disable()
    try:
        before = _resident_mib()
        for _ in scanned(view).batches():
            pass
        # Of each file two MiB.
        assert _resident_mib() - before < 60
    finally:
        gc.enable()


def _resident_mib():
    return int(re.search(r"VmRSS:\s+(\d+)", Path("/proc/self/status").read_text())[1]) / 1024


def test_many_small_batches_are_put_together_in_one_pass():
    batch = pa.RecordBatch.from_pydict({"a": list(range(10))})
    started = time.process_time()
    tables = list(rows_of(iter([batch] * 8_000), rows=50_000, size=1 << 30))
    assert [table.num_rows for table in tables] == [50_000, 30_000]
    assert time.process_time() - started < 5


CSV = {
    "nothing, then words": (["", "late payer"], pa.string(), ["", "late payer"]),
    "whole numbers, then fractions": (["1", "1.5"], pa.float64(), [1.0, 1.5]),
    "whole numbers": (["1", "2"], pa.int64(), [1, 2]),
    "numbers with zeros before": (["1", "0042"], pa.string(), ["1", "0042"]),
    "more digits than a number has": (["1.5", "12345678901234567890"], pa.string(), ["1.5", "12345678901234567890"]),
    "days, then moments": (
        ["2026-01-01", "2026-01-01 10:00:00.5"],
        pa.timestamp("us"),
        [datetime.fromisoformat("2026-01-01T00:00"), datetime.fromisoformat("2026-01-01T10:00:00.500")],
    ),
    "days": (["2026-01-01", "2026-01-02"], pa.date32(), [date(2026, 1, 1), date(2026, 1, 2)]),
    "nothing at all": (["", "NA"], pa.null(), [None, None]),
}


@pytest.mark.parametrize("case", CSV)
def test_a_column_of_csv_has_the_type_of_all_its_values(tmp_path, case):
    (first, last), kind, values = CSV[case]
    # The last value comes after the block that types are guessed from.
    lines = ["id,note", *[f"1,{first}"] * 200_000, f"1,{last}"]
    (tmp_path / "labels.csv").write_text("\n".join(lines) + "\n")
    schema, batches = read_csv(str(tmp_path / "labels.csv"), {"id": pa.int64()}, tmp_path / "spool")
    table = pa.Table.from_batches(batches, schema)
    assert table.schema.field("note").type == kind
    assert [table["note"][0].as_py(), table["note"][-1].as_py()] == values
