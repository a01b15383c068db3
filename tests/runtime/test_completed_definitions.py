"""What definitions leave to Feast: `lock` completes it as Feast does, pins it, and names all that nothing tells."""

import argparse
import json
import subprocess
from datetime import UTC, datetime
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from feast.errors import RegistryInferenceFailure
from feast.inference import update_feature_views_with_inferred_features_and_entities
from feast.infra.passthrough_provider import PassthroughProvider

from feature_runtime import apply, lock
from feature_runtime.contract import LOCK_FILE
from feature_runtime.definitions.feature_repo import load_config, load_definitions
from feature_runtime.gate.revision import snapshot_of_revision
from feature_runtime.refusal import Refusal

HEAD = """
from datetime import timedelta
from feast import BatchFeatureView, Entity, FeatureService, FeatureView, Field, FileSource, KafkaSource, PushSource, ValueType
from feast.on_demand_feature_view import on_demand_feature_view
from feast.types import Array, Float64, Int32, Int64, String

sales = FileSource(name="sales", path="data/sales.parquet", timestamp_field="ts")
shop = Entity(name="shop", join_keys=["shop_id"])
typed_shop = Entity(name="typed_shop", join_keys=["shop_id"], value_type=ValueType.INT64)
"""
STORE = """
project: shops
provider: local
registry: data/registry.db
online_store: {type: redis, connection_string: "127.0.0.1:1"}
offline_store: {type: file}
entity_key_serialization_version: 3
"""
COLUMNS = {"shop_id": pa.array([1], pa.int64()), "amount": pa.array([1.5]), "city": pa.array(["Ulm"])}


class Repo:
    def __init__(self, directory: Path, monkeypatch):
        self.directory = directory
        (directory / "data").mkdir(parents=True)
        (directory / "feature_store.yaml").write_text(STORE)
        monkeypatch.setenv("FEATURE_REPO_DIR_ENV_VAR", str(directory))
        self.data()

    def data(self, path="data/sales.parquet", **columns):
        stamps = {} if "ts" in columns else {"ts": pa.array([datetime.now(UTC)], pa.timestamp("us", "UTC"))}
        pq.write_table(pa.table({**(columns or COLUMNS), **stamps}), self.directory / path, use_compliant_nested_type=False)

    def define(self, text):
        (self.directory / "definitions.py").write_text(HEAD + text)
        return self

    def lock(self, *, check=False):
        return lock.run(argparse.Namespace(check=check))

    @property
    def locked(self):
        return json.loads((self.directory / LOCK_FILE).read_text())

    def keys(self, view):
        return self.locked["views"][view]["entity_columns"]

    def apply(self):
        return apply.run(argparse.Namespace(wait_seconds=5, margin_seconds=90_000))

    def refusal(self, verb="lock"):
        with pytest.raises(Refusal) as caught:
            getattr(self, verb)()
        return caught.value


@pytest.fixture
def repo(tmp_path, monkeypatch):
    return Repo(tmp_path / "repo", monkeypatch)


VIEW = """
shop_sales = FeatureView(name="shop_sales", entities=[shop], source=sales, schema=[Field(name="amount", dtype=Float64)], ttl=timedelta(days=3))
m_v1 = FeatureService(name="m_v1", features=[shop_sales])
"""


def test_a_join_key_gets_its_type_from_the_entity_without_data(repo):
    text = VIEW.replace("[shop]", "[typed_shop]").replace(
        "source=sales", 'source=FileSource(name="far", path="s3://b/x", timestamp_field="ts")'
    )
    repo.define(text).lock()
    assert repo.keys("shop_sales") == [["shop_id", "Int64"]]


def test_the_entitys_type_comes_before_the_datas(repo):
    repo.data(shop_id=pa.array([1], pa.int32()), amount=pa.array([1.5]))
    repo.define(VIEW.replace("[shop]", "[typed_shop]")).lock()
    assert repo.keys("shop_sales") == [["shop_id", "Int64"]]


def test_a_join_key_gets_its_type_from_the_file_and_keeps_it_where_no_data_is(repo):
    repo.define(VIEW).lock()
    assert repo.keys("shop_sales") == [["shop_id", "Int64"]]
    (repo.directory / "data" / "sales.parquet").unlink()
    assert repo.lock(check=True)["changed"] is False
    assert load_definitions(repo.directory).views[0].entity_columns[0].name == "shop_id"
    repo.define(VIEW + "# written after\n").lock()
    assert repo.keys("shop_sales") == [["shop_id", "Int64"]], "a stale lock says it too where nothing else does"


def test_what_is_pinned_is_held_to_the_data_by_apply_and_changed_by_lock_alone(repo):
    repo.define(VIEW).lock()
    repo.data(shop_id=pa.array(["a"]), amount=pa.array([1.5]))
    assert repo.lock(check=True)["changed"] is False
    assert "'shop_id'" in str(repo.refusal("apply"))
    assert repo.lock()["changes"] == ['views.shop_sales.entity_columns: [["shop_id", "Int64"]] is now [["shop_id", "String"]]']


def test_apply_writes_what_the_contract_says(repo):
    repo.define(VIEW + BARE).lock()
    assert repo.apply()["services"].keys() == {"m_v1", "bare_v1", "some_v1"}


SEVERAL = """
mapped = FileSource(name="mapped", path="data/sales.parquet", timestamp_field="ts", field_mapping={"town": "town_id"})
town = Entity(name="town", join_keys=["town_id"])
clerk = Entity(name="clerk", join_keys=["clerk_id"], value_type=ValueType.STRING)
v = FeatureView(name="v", entities=[town, shop, clerk], source=mapped, schema=[Field(name="shop_id", dtype=Int32), Field(name="amount", dtype=Float64)])
pushed = FeatureView(name="pushed", entities=[shop], source=PushSource(name="push", batch_source=sales), schema=[Field(name="amount", dtype=Float64)])
batch = BatchFeatureView(name="batch", entities=[shop], source=sales, schema=[Field(name="amount", dtype=Float64)], mode="python", online=True)
everywhere = FeatureView(name="everywhere", source=sales, schema=[Field(name="amount", dtype=Float64)])
m_v1 = FeatureService(name="m_v1", features=[v.with_join_key_map({"town_id": "origin_id"}), everywhere.with_name("all")])
"""


def test_keys_of_every_origin_stand_in_one_view(repo):
    repo.data(shop_id=pa.array([1], pa.int32()), town=pa.array(["Ulm"]), clerk_id=pa.array(["a"]), amount=pa.array([1.5]))
    repo.define(
        SEVERAL.replace('everywhere.with_name("all")', 'everywhere.with_name("all")').replace(', everywhere.with_name("all")', "")
    ).lock()
    assert repo.keys("v") == [["shop_id", "Int32"], ["clerk_id", "String"], ["town_id", "String"]]
    assert repo.keys("pushed") == repo.keys("batch") == [["shop_id", "Int32"]]
    assert repo.keys("everywhere") == []
    assert repo.locked["services"]["m_v1"]["join_key_maps"] == {"v": {"town_id": "origin_id"}}


BARE = """
bare = FeatureView(name="bare", entities=[shop], source=FileSource(path="data/sales.parquet", field_mapping={"amount": "turnover"}))
bare_v1 = FeatureService(name="bare_v1", features=[bare])
some_v1 = FeatureService(name="some_v1", features=[bare[["city", "turnover"]]])
"""


def test_a_view_without_schema_gets_its_features_in_the_files_order(repo):
    repo.define(BARE).lock()
    assert repo.keys("bare") == [["shop_id", "Int64"]]
    assert repo.locked["views"]["bare"]["features"] == [["turnover", "Float64"], ["city", "String"]]
    assert repo.locked["sources"]["data/sales.parquet"]["timestamp_field"] == "ts"
    for service in ("bare_v1", "some_v1"):
        assert repo.locked["services"][service]["features"] == [["bare", "turnover", "Float64"], ["bare", "city", "String"]]
    assert repo.locked["services"]["bare_v1"]["whole_views"] == ["bare"]
    (repo.directory / "data" / "sales.parquet").unlink()
    assert repo.lock(check=True)["changed"] is False


def test_a_column_that_comes_is_a_feature_only_when_the_contract_is_written_again(repo):
    repo.define(BARE).lock()
    repo.data(**COLUMNS, further=pa.array([1]))
    repo.apply()
    assert [name for name, _ in repo.locked["views"]["bare"]["features"]] == ["turnover", "city"]
    assert repo.lock()["changes"][0].endswith("further added")


def test_a_selection_of_what_the_file_does_not_have_is_named(repo):
    assert "'some_v1' selects tax of the view 'bare'" in str(repo.define(BARE.replace('["city", ', '["tax", ')).refusal())


COMPUTED = """
@on_demand_feature_view(sources=[bare[["turnover"]]], schema=[Field(name="double", dtype=Float64)], entities=[shop], mode="pandas")
def doubled(inputs):
    return inputs[["turnover"]].rename(columns={"turnover": "double"}) * 2
"""


def test_an_on_demand_view_reads_what_was_completed(repo):
    repo.define(BARE + COMPUTED).lock()
    (source,) = repo.locked["on_demand_views"]["doubled"]["sources"].values()
    assert source["features"] == [["turnover", "Float64"]]
    assert repo.locked["on_demand_views"]["doubled"]["entity_columns"] == [["shop_id", "Int64"]]
    repo.apply()


def test_a_revision_that_was_never_locked_is_completed_by_the_lock_of_now(repo):
    def git(*arguments):
        who = ["-c", "user.name=t", "-c", "user.email=t@example.org"]
        subprocess.run(["git", *who, *arguments], cwd=repo.directory.parent, check=True, capture_output=True)

    repo.define(VIEW)
    git("init", "-q", "-b", "main")
    git("add", "repo/definitions.py", "repo/feature_store.yaml")
    git("commit", "-q", "-m", "first")
    repo.define(VIEW + BARE).lock()
    snapshot, _ = snapshot_of_revision(repo.directory, "main")
    assert snapshot.contract["views"] == {"shop_sales": repo.locked["views"]["shop_sales"]}


UNTOLD = """
far = FileSource(name="far", path="s3://bucket/far.parquet", timestamp_field="ts")
town = Entity(name="town", join_keys=["town_id"])
known = FeatureView(name="known", entities=[town], source=sales, schema=[Field(name="town_id", dtype=String), Field(name="city", dtype=String)])
one = FeatureView(name="one", entities=[town, shop], source=far, schema=[Field(name="amount", dtype=Float64)])
two = FeatureView(name="two", entities=[typed_shop], source=far)
"""


def test_what_nothing_tells_is_named_of_all_views_with_the_lines_to_add(repo):
    refusal = repo.define(UNTOLD).refusal()
    one, two = refusal.details["problems"]
    assert one.startswith("definitions.py:")
    for part in (
        "'one'",
        "s3://bucket/far.parquet is not read here",
        'Field(name="town_id", dtype=String)',
        'Field(name="shop_id", dtype=Int64)',
        "value_type=ValueType.STRING to the entity 'town'",
        "value_type=ValueType.INT64 to the entity 'shop'",
    ):
        assert part in one
    assert "'two' declares no schema" in two


def test_columns_without_a_type_of_feasts_are_all_named(repo):
    repo.data(
        shop_id=pa.array([1]), day=pa.array([datetime.now(UTC).date()]), price=pa.array([None], pa.decimal128(9, 2)), empty=pa.nulls(1)
    )
    said = str(
        repo.define(BARE.replace(', field_mapping={"amount": "turnover"}', "").replace('["city", "turnover"]', '["city"]')).refusal()
    )
    for part in ("'day' is date32[day]; write Field(name=\"day\", dtype=UnixTimestamp)", "dtype=Decimal", "'empty' is null"):
        assert part in said


def test_a_source_that_no_view_uses_gets_its_timestamp_too(repo):
    repo.define(VIEW + 'spare = FileSource(name="spare", path="data/sales.parquet")\n').lock()
    assert repo.locked["sources"]["spare"]["timestamp_field"] == "ts"
    repo.apply()


def test_two_timestamps_of_a_source_are_named(repo):
    now = pa.array([datetime.now(UTC)], pa.timestamp("us", "UTC"))
    repo.data(**COLUMNS, ts=now, seen=now)
    assert "its file has the timestamps ts, seen" in str(repo.define(BARE).refusal()).replace("seen, ts", "ts, seen")


LISTS = {
    "numbers": pa.list_(pa.int64()),
    "texts": pa.list_(pa.string()),
    "vector": pa.list_(pa.float32(), 2),
    "flags": pa.list_(pa.bool_()),
}
PLAIN = {str(kind): kind for kind in (pa.int8(), pa.uint8(), pa.int32(), pa.uint32(), pa.float32(), pa.float64(), pa.bool_(), pa.binary())}


def test_types_are_those_that_feast_infers(repo):
    kinds = {**PLAIN, **LISTS, "moment": pa.date64(), "labels": pa.map_(pa.string(), pa.string()), "__index_level_0__": pa.int64()}
    kinds["moment"] = pa.string()
    repo.data(shop_id=pa.array([1]), **{name: pa.nulls(1, kind) for name, kind in kinds.items()})
    repo.define('bare = FeatureView(name="bare", entities=[shop], source=sales)\n').lock()
    ours = load_definitions(repo.directory)
    (view,) = ours.views
    features, keys = list(view.features), list(view.entity_columns)
    view.features.clear()
    view.entity_columns = []
    config = load_config(repo.directory)
    config.repo_path = repo.directory
    try:
        update_feature_views_with_inferred_features_and_entities(PassthroughProvider(config), [view], ours.entities, config)
    except RegistryInferenceFailure as error:
        pytest.fail(str(error))
    assert (features, keys) == (view.features, view.entity_columns)
    assert len(features) == len(kinds) - 1
