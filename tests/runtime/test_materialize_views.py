"""Views of other kinds than the example's: pushed to, without entities, with composite keys, left to Feast's engine."""

import argparse
import textwrap
from datetime import UTC, datetime, timedelta

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from feast import BatchFeatureView, Entity, FeatureStore, FeatureView, Field, FileSource, PushSource, ValueType
from feast.infra.offline_stores.contrib.postgres_offline_store.postgres_source import PostgreSQLSource
from feast.types import Array, Float32, Int64, Json, String

from feature_runtime import materialize as verb
from feature_runtime.loading import columnar
from feature_runtime.loading.loads import Load
from feature_runtime.offline_store.parquet_files import ParquetFiles
from feature_runtime.refusal import Refusal

NOW = datetime.now(UTC).replace(microsecond=0)


def definitions():
    shop = Entity(name="shop", join_keys=["shop_id"], value_type=ValueType.STRING)
    day = Entity(name="day", join_keys=["weekday"], value_type=ValueType.INT64)
    file = FileSource(name="shops", path="shops.parquet", timestamp_field="at", field_mapping={"Turnover": "turnover"})
    push = PushSource(name="push", batch_source=file)
    key, turnover = Field(name="shop_id", dtype=String), Field(name="turnover", dtype=Float32)
    weekday, baskets = Field(name="weekday", dtype=Int64), Field(name="baskets", dtype=Array(Int64))
    ttl = timedelta(days=2)
    plain = FeatureView(name="plain", entities=[shop, day], source=file, schema=[key, weekday, turnover, baskets], ttl=ttl)
    pushed = FeatureView(name="pushed", entities=[shop], source=push, schema=[key, turnover], ttl=ttl)
    whole = FeatureView(name="whole", entities=[], source=file, schema=[turnover], ttl=ttl)
    checked = FeatureView(name="checked", entities=[shop], source=file, schema=[key, turnover], ttl=ttl, enable_validation=True)
    return [shop, day, file, push, plain, pushed, whole, checked]


@pytest.fixture
def repo(tmp_path, redis_port, acl_secrets, redis_admin):
    redis_admin.flushall()
    (tmp_path / "feature_store.yaml").write_text(
        textwrap.dedent(f"""\
            project: shops
            provider: local
            registry: registry.db
            online_store:
              type: feature_runtime.online_store.PipelinedRedisOnlineStore
              connection_string: 127.0.0.1:{redis_port},password={acl_secrets["default"]}
            offline_store: {{type: file}}
            entity_key_serialization_version: 3
            """)
    )
    put(tmp_path, [("a", 1, 0.5, [1, 2], NOW - timedelta(hours=2)), ("a", 2, 1.5, [], NOW - timedelta(hours=1)), ("b", 1, 2.5, [3], NOW)])
    FeatureStore(repo_path=str(tmp_path)).apply(definitions())
    return tmp_path


def put(directory, rows):
    shop, weekday, turnover, baskets, at = zip(*rows, strict=True)
    table = pa.table(
        {
            "shop_id": pa.array(shop).dictionary_encode(),
            "weekday": pa.array(weekday, pa.int32()),
            "Turnover": pa.array(turnover, pa.float64()),
            "baskets": pa.array(baskets, pa.list_(pa.int64())),
            "at": pa.array(at, pa.timestamp("us", "UTC")),
        }
    )
    pq.write_table(table, directory / "shops.parquet")


@pytest.fixture
def materialize_here(repo, monkeypatch):
    """A run in this process, so that a part of it can be replaced."""
    monkeypatch.setenv("FEATURE_REPO_DIR_ENV_VAR", str(repo))
    parser = argparse.ArgumentParser()
    verb.add_arguments(parser)
    return lambda *arguments: verb.run(parser.parse_args(arguments))


@pytest.fixture
def materialize(repo, run_verb):
    return lambda *arguments: run_verb(["materialize", *arguments], {"FEATURE_REPO_DIR_ENV_VAR": str(repo)}, repo)


def online(repo, features, *entities):
    found = FeatureStore(repo_path=str(repo)).get_online_features(features=features, entity_rows=list(entities)).to_dict()
    return [found[feature.partition(":")[2]] for feature in features]


def test_views_of_every_kind_are_loaded_in_one_run(repo, materialize):
    views = materialize().ok()["views"]
    written = {name: (view["rows_read"], view["rows_written"]) for name, view in views.items()}
    assert written == {"plain": (3, 3), "pushed": (3, 2), "whole": (3, 1), "checked": (2, 2)}
    keys = [{"shop_id": "a", "weekday": 1}, {"shop_id": "a", "weekday": 2}, {"shop_id": "b", "weekday": 1}]
    assert online(repo, ["plain:turnover", "plain:baskets"], *keys) == [[0.5, 1.5, 2.5], [[1, 2], [], [3]]]
    assert online(repo, ["whole:turnover"], {"shop_id": "any"}) == [[2.5]]
    assert online(repo, ["checked:turnover"], {"shop_id": "a"}) == [[1.5]]


def test_one_odd_list_is_null_and_named_and_keeps_nothing_else_from_being_loaded(repo, materialize):
    put(repo, [("a", 1, 0.5, [1, None], NOW), ("a", 2, 1.5, [2], NOW)])
    outcome = materialize("--views", "plain")
    view = outcome.ok()["views"]["plain"]
    assert (view["rows_written"], view["incomplete_lists"]) == (2, {"baskets": 1})
    assert "1 lists of baskets have a null within" in outcome.stderr
    keys = [{"shop_id": "a", "weekday": 1}, {"shop_id": "a", "weekday": 2}]
    assert online(repo, ["plain:turnover", "plain:baskets"], *keys) == [[0.5, 1.5], [None, [2]]]


def test_a_value_that_does_not_fit_is_named_with_its_field_and_type(repo, materialize):
    rows = pq.read_table(repo / "shops.parquet")
    pq.write_table(rows.append_column("about", pa.array(["{}", "{", "3"])), repo / "shops.parquet")
    shop, file = Entity(name="shop", join_keys=["shop_id"]), FileSource(name="shops", path="shops.parquet", timestamp_field="at")
    fields = [Field(name="shop_id", dtype=String), Field(name="about", dtype=Json)]
    FeatureStore(repo_path=str(repo)).apply([shop, file, FeatureView(name="odd", entities=[shop], source=file, schema=fields)])
    assert "the feature 'about' (Json): ArrowInvalid: '{' is no JSON" in materialize("--views", "odd").error


def test_a_pushed_value_that_is_newer_stays_and_an_older_one_is_replaced(repo, materialize):
    store = FeatureStore(repo_path=str(repo))
    moments = [NOW - timedelta(minutes=30), NOW - timedelta(minutes=30)]
    store.push("push", pd.DataFrame({"shop_id": ["a", "b"], "turnover": [9.0, 9.0], "at": moments}))
    view = materialize("--views", "pushed").ok()["views"]["pushed"]
    assert (view["rows_read"], view["rows_written"], view["rows_skipped"]) == (3, 1, 2)
    assert online(repo, ["pushed:turnover"], {"shop_id": "a"}, {"shop_id": "b"}) == [[9.0, 2.5]]


def test_a_source_that_cannot_be_read_keeps_no_other_view_from_being_loaded(repo, materialize):
    shop, file = Entity(name="shop", join_keys=["shop_id"]), FileSource(name="broken", path="broken.parquet", timestamp_field="at")
    fields = [Field(name="shop_id", dtype=String), Field(name="turnover", dtype=Float32)]
    FeatureStore(repo_path=str(repo)).apply([shop, file, FeatureView(name="broken", entities=[shop], source=file, schema=fields)])
    (repo / "broken.parquet").write_bytes(b"not Parquet")
    outcome = materialize("--views", "broken", "plain")
    assert "the source 'broken'" in outcome.error
    views = outcome.result["views"]
    assert (views["broken"]["loaded"], views["plain"]["loaded"]) == (False, True)


def test_two_dead_sources_are_both_named_after_all_views_are_loaded(repo, materialize):
    put(repo, [("a", 1, 0.5, [], NOW - timedelta(days=3))])
    outcome = materialize()
    assert all(name in outcome.error for name in ("'plain'", "'pushed'", "'whole'", "'checked'"))
    assert set(outcome.result["views"]) == {"plain", "pushed", "whole", "checked"}


@pytest.mark.parametrize("arguments", [[], ["--backfill"]])
def test_rows_that_a_load_left_out_fail_the_run_and_nothing_is_recorded(repo, materialize_here, redis_admin, monkeypatch, arguments):
    yesterday = NOW - timedelta(days=1)
    monkeypatch.setattr(verb, "load_by_column", lambda *_, **__: Load(read=1, written=1, oldest=yesterday, newest=yesterday))
    with pytest.raises(Refusal, match="'plain' left rows out") as refused:
        materialize_here("--views", "plain", "pushed", *arguments)
    assert str(NOW) in str(refused.value)
    assert set(refused.value.details["views"]) == {"plain", "pushed"}, "the other views must be loaded all the same"
    assert not redis_admin.exists("feast-eks:loaded:shops:plain")


def test_what_arrives_while_a_load_runs_is_left_to_the_next_one(repo, materialize_here, monkeypatch):
    rows = columnar.newest_rows

    def while_it_grows(scan, **options):
        tables = list(rows(scan, **options))
        put(repo, [("a", 1, 9.0, [], NOW + timedelta(milliseconds=1))])
        yield from tables

    monkeypatch.setattr(columnar, "newest_rows", while_it_grows)
    put(repo, [("a", 1, 0.5, [], NOW)])
    assert materialize_here("--views", "plain")["views"]["plain"]["loaded"]
    monkeypatch.setattr(columnar, "newest_rows", rows)
    materialize_here("--views", "plain")
    assert online(repo, ["plain:turnover"], {"shop_id": "a", "weekday": 1}) == [[9.0]]


def test_a_load_that_another_one_overtakes_stops_without_any_lock(repo, materialize, materialize_here, monkeypatch):
    rows = columnar.newest_rows

    def while_another_loads(scan, **options):
        tables = list(rows(scan, **options))
        put(repo, [("a", 1, 9.0, [], NOW + timedelta(milliseconds=1))])
        materialize("--views", "plain").ok()
        yield from tables

    monkeypatch.setattr(columnar, "newest_rows", while_another_loads)
    with pytest.raises(Refusal, match="another run has begun"):
        materialize_here("--views", "plain")
    assert online(repo, ["plain:turnover"], {"shop_id": "a", "weekday": 1}) == [[9.0]], "older values have replaced newer ones"


def test_the_engine_of_feast_stops_too_when_another_load_overtakes_it(repo, materialize, materialize_here, monkeypatch):
    load = verb.load_by_feast

    def while_another_loads(*arguments, **options):
        materialize("--views", "checked").ok()
        return load(*arguments, **options)

    monkeypatch.setattr(verb, "load_by_feast", while_another_loads)
    with pytest.raises(Refusal, match="another run has begun"):
        materialize_here("--views", "checked")


def test_no_kind_of_load_writes_into_the_registry(repo, materialize):
    materialize().ok()
    views = FeatureStore(repo_path=str(repo)).list_batch_feature_views()
    assert [view.materialization_intervals for view in views] == [[]] * 4


class Elsewhere:
    """Something of a module that only this process has."""

    def __reduce__(self):
        return __import__, ("a_module_that_is_nowhere",)


ELSEWHERE = Elsewhere()


def batch_view(name, function, **more):
    shop = Entity(name="shop", join_keys=["shop_id"], value_type=ValueType.STRING)
    file = FileSource(name="shops", path="shops.parquet", timestamp_field="at", field_mapping={"Turnover": "turnover"})
    schema = [Field(name="shop_id", dtype=String), Field(name="turnover", dtype=Float32)]
    options = {"entities": [shop], "mode": "pandas", "online": True, "ttl": timedelta(days=2), "source": file, "schema": schema}
    return BatchFeatureView(name=name, udf=function, udf_string="", **options | more)


def test_a_view_whose_function_cannot_be_rebuilt_costs_itself_alone(repo, materialize):
    registry = FeatureStore(repo_path=str(repo)).registry
    registry.apply_feature_view(batch_view("broken", lambda rows: (ELSEWHERE, rows)[1]), "shops", commit=True)
    outcome = materialize()
    assert outcome.code == 1
    assert (
        "'broken' is not loaded: its function cannot be rebuilt (ModuleNotFoundError: No module named 'a_module_that_is_nowhere'). Define what it uses inside it"
        in outcome.error
    )
    loaded = {name for name, view in outcome.result["views"].items() if view["loaded"]}
    assert loaded == {"plain", "pushed", "whole", "checked"}


def test_a_view_whose_function_changes_rows_is_not_loaded_and_others_are(repo, materialize):
    registry = FeatureStore(repo_path=str(repo)).registry
    registry.apply_feature_view(batch_view("doubled", lambda rows: rows * 2), "shops", commit=True)
    outcome = materialize("--views", "doubled", "plain")
    assert outcome.code == 1
    assert "'doubled' is not loaded: its function changes rows" in outcome.error
    assert outcome.result["views"]["plain"]["loaded"]


def test_a_function_that_gives_back_its_rows_is_as_none(repo, materialize):
    registry = FeatureStore(repo_path=str(repo)).registry
    registry.apply_feature_view(batch_view("same", lambda rows: rows), "shops", commit=True)
    view = materialize("--views", "same").ok()["views"]["same"]
    assert (view["rows_read"], view["rows_written"]) == (3, 2)


def test_a_view_of_a_warehouse_is_named_and_others_are_loaded(repo, materialize):
    source = PostgreSQLSource(name="warehouse", query="select 1", timestamp_field="at")
    registry = FeatureStore(repo_path=str(repo)).registry
    shop, key = Entity(name="shop", join_keys=["shop_id"], value_type=ValueType.STRING), Field(name="shop_id", dtype=String)
    view = FeatureView(name="a_warehouse", entities=[shop], source=source, schema=[key, Field(name="x", dtype=Int64)])
    registry.apply_feature_view(view, "shops", commit=True)
    outcome = materialize("--views", "a_warehouse", "plain")
    assert outcome.code == 1
    for said in ("'a_warehouse'", "source warehouse", "PostgreSQLSource", "FileSource"):
        assert said in outcome.error
    assert outcome.result["views"]["plain"]["loaded"]


def test_views_that_are_only_trained_on_leave_nothing_to_load_and_that_is_no_failure(repo, materialize):
    defined = definitions()
    for view in defined:
        if isinstance(view, FeatureView):
            view.online = False
    FeatureStore(repo_path=str(repo)).apply(defined)
    outcome = materialize("--backfill")
    assert outcome.ok()["views"] == {}
    assert "nothing to load" in outcome.stderr
    assert materialize("--views", "plain").code == 1, "somebody asked for that view"


def test_the_files_of_a_source_are_listed_once(repo, materialize_here, monkeypatch):
    listed = []
    find = ParquetFiles._found
    monkeypatch.setattr(ParquetFiles, "_found", lambda files, path: listed.append(path) or find(files, path))
    materialize_here("--views", "plain")
    assert len(listed) == 1


def test_views_that_are_loaded_apart_are_left_out(repo, materialize):
    assert set(materialize("--without", "plain", "whole").ok()["views"]) == {"checked", "pushed"}
    assert "there is no feature view nothing" in materialize("--without", "nothing").error
