"""Keys, views, aliases, names and statuses: what is found, what is not, and how it is called."""

import random
from datetime import UTC, datetime, timedelta

import pytest
from feast import Entity, FeatureService, FeatureStore, FeatureView, Field, FileSource, ValueType
from feast.feature_server_utils import convert_response_to_dict
from feast.infra.key_encoding_utils import serialize_entity_key
from feast.protos.feast.serving.ServingService_pb2 import FieldStatus
from feast.protos.feast.types.EntityKey_pb2 import EntityKey
from feast.protos.feast.types.Value_pb2 import Value
from feast.repo_config import RepoConfig
from feast.types import Array, Bytes, Float32, Int32, Int64, String, UnixTimestamp

from feature_runtime.serving.answer import Policy
from feature_runtime.serving.key_bytes import EntityKeys

NOW = datetime.now(UTC).replace(microsecond=0)
EPOCH = "1970-01-01T00:00:00Z"

customer = Entity(name="customer", join_keys=["customer_id"], value_type=ValueType.INT64)
product = Entity(name="product", join_keys=["sku"], value_type=ValueType.STRING)


def view(name, entities, ttl=timedelta(0), **fields):
    source = FileSource(name=name, path=f"{name}.parquet", timestamp_field="event_timestamp")
    schema = [Field(name=field, dtype=dtype) for field, dtype in fields.items()]
    return FeatureView(name=name, entities=entities, ttl=ttl, online=True, source=source, schema=schema)


customers = view("customers", [customer], customer_id=Int64, age=Int64, score=Float32)
products = view("products", [product], ttl=timedelta(days=1), sku=String, price=Float32, tags=Array(String))
baskets = view("baskets", [product, customer], customer_id=Int64, sku=String, count=Int32, score=Float32)
world = view("world", [], rate=Float32)

# Written in no order that anything sorts by.
vector_v1 = FeatureService(
    name="vector_v1",
    features=[products[["price"]], customers[["score", "age"]], baskets[["count"]], world],
)
friends_v1 = FeatureService(
    name="friends_v1",
    features=[
        customers.with_name("me")[["age"]],
        customers.with_name("friend").with_join_key_map({"customer_id": "friend_id"})[["score"]],
    ],
)


def i(number):
    return Value(int64_val=number)


def s(text):
    return Value(string_val=text)


@pytest.fixture(scope="module")
def shop(shop_of):
    made = shop_of(customer, product, customers, products, baskets, world, vector_v1, friends_v1)
    made.write(
        customers,
        [({"customer_id": i(number)}, {"age": i(20 + number), "score": Value(float_val=number / 3)}, NOW) for number in (1, 2, 3, -5)],
    )
    made.write(
        products,
        [
            ({"sku": s(sku)}, {"price": Value(float_val=price), "tags": Value(string_list_val={"val": [sku]})}, when)
            for sku, price, when in (("a", 1.0, NOW), ("é☃", 2.0, NOW), ("", 3.0, NOW), ("old", 9.0, NOW - timedelta(days=2)))
        ],
    )
    made.write(
        baskets,
        [
            ({"customer_id": i(number), "sku": s(sku)}, {"count": Value(int32_val=number * 10), "score": Value(float_val=0.5)}, NOW)
            for number, sku in ((1, "a"), (2, "é☃"), (3, ""))
        ],
    )
    made.write(world, [({"__dummy_id": s("")}, {"rate": Value(float_val=0.25)}, NOW)])
    return made


@pytest.fixture(scope="module")
def running(shop, serving):
    return serving(shop, shop.contract("vector_v1", "friends_v1"))


def stock(shop, features, entities, **options):
    answer = convert_response_to_dict(shop.store.get_online_features(features=features, entity_rows=entities, **options).proto)
    return dict(zip(answer["metadata"]["feature_names"], answer["results"], strict=True))


def test_a_service_across_views_and_keys_is_answered_in_the_order_of_the_contract(shop, running):
    entities = {"sku": ["a", "é☃", "", "a"], "customer_id": [1, 2, 3, 1]}
    answer = running.ask({"feature_service": "vector_v1", "entities": entities})
    assert list(answer.columns) == ["customer_id", "sku", "price", "score", "age", "count", "rate"], "entities by name, then the contract"
    theirs = stock(shop, shop.store.get_feature_service("vector_v1"), entities)
    assert answer.columns == theirs


def test_the_order_does_not_follow_the_request(running):
    one = running.ask({"feature_service": "vector_v1", "entities": {"sku": ["a"], "customer_id": [1]}})
    other = running.ask({"entities": {"customer_id": [1], "sku": ["a"]}, "feature_service": "vector_v1"})
    assert one.body == other.body


def test_features_asked_one_by_one_come_in_the_order_of_the_request(shop, running):
    refs = ["customers:score", "baskets:count", "customers:age", "products:tags"]
    for seed in range(5):
        random.Random(seed).shuffle(refs)
        entities = {"customer_id": [2], "sku": ["é☃"]}
        columns = running.ask({"features": refs, "entities": entities}).columns
        assert list(columns) == ["customer_id", "sku", *(ref.split(":")[1] for ref in refs)]
        assert columns == stock(shop, refs, entities)


def test_one_view_with_two_keys_is_read_by_both_names(shop, running):
    entities = {"customer_id": [1, 2, -5], "friend_id": [3, 1, 2]}
    columns = running.ask({"feature_service": "friends_v1", "entities": entities}).columns
    assert list(columns) == ["customer_id", "friend_id", "age", "score"]
    assert columns["age"]["values"] == [21, 22, 15]
    assert columns["score"]["values"] == [pytest.approx(1.0), pytest.approx(1 / 3), pytest.approx(2 / 3)]
    assert columns == stock(shop, shop.store.get_feature_service("friends_v1"), entities)


@pytest.mark.parametrize("service", ["vector_v1", "friends_v1"])
def test_full_names_are_feasts(shop, running, service):
    entities = {"customer_id": [1], "sku": ["a"]} if service == "vector_v1" else {"customer_id": [1], "friend_id": [2]}
    columns = running.ask({"feature_service": service, "entities": entities, "full_feature_names": True}).columns
    assert columns == stock(shop, shop.store.get_feature_service(service), entities, full_feature_names=True)
    assert ("customers__age" in columns) is (service == "vector_v1")
    assert ("friend__score" in columns) is (service == "friends_v1")


def test_features_of_one_name_need_full_names(shop, running):
    question = {"features": ["customers:score", "baskets:score"], "entities": {"customer_id": [1], "sku": ["a"]}}
    refused = running.ask(question)
    assert refused.status == 422
    assert refused.fields == ["features[1]"]
    assert "full_feature_names" in refused.json["detail"]
    columns = running.ask({**question, "full_feature_names": True}).columns
    assert columns == stock(shop, question["features"], question["entities"], full_feature_names=True)


def test_a_view_without_an_entity_needs_no_entities(running):
    answer = running.ask({"features": ["world:rate"], "entities": {}})
    assert answer.columns["rate"]["values"] == [0.25]


def test_versions_of_views_are_told_when_asked_for(shop, running):
    question = {"feature_service": "vector_v1", "entities": {"sku": ["a"], "customer_id": [1]}}
    told = running.ask({**question, "include_feature_view_version_metadata": True}).json["metadata"]["feature_view_metadata"]
    feast = convert_response_to_dict(
        shop.store.get_online_features(
            features=shop.store.get_feature_service("vector_v1"),
            entity_rows=question["entities"],
            include_feature_view_version_metadata=True,
        ).proto
    )["metadata"]["feature_view_metadata"]
    assert sorted(told, key=str) == sorted(feast, key=str)
    assert "feature_view_metadata" not in running.ask(question).json["metadata"]


def test_an_unknown_entity_is_not_found(running):
    columns = running.ask({"features": ["customers:age"], "entities": {"customer_id": [1, 999]}}).columns
    assert columns["age"] == {
        "values": [21, None],
        "statuses": ["PRESENT", "NOT_FOUND"],
        "event_timestamps": [NOW.strftime("%Y-%m-%dT%H:%M:%SZ"), EPOCH],
    }
    assert columns["customer_id"]["statuses"] == ["PRESENT", "PRESENT"]


def test_an_entity_of_another_view_is_not_found_in_this_one(running):
    columns = running.ask({"feature_service": "vector_v1", "entities": {"customer_id": [2], "sku": ["a"]}}).columns
    assert columns["price"]["statuses"] == ["PRESENT"]
    assert columns["count"]["statuses"] == ["NOT_FOUND"], "customer 2 has no basket of a"


def test_a_value_older_than_its_ttl_is_not_answered(running):
    columns = running.ask({"features": ["products:price"], "entities": {"sku": ["a", "old"]}}).columns
    assert columns["price"]["values"] == [1.0, None]
    assert columns["price"]["statuses"] == ["PRESENT", "OUTSIDE_MAX_AGE"]
    assert columns["price"]["event_timestamps"][1] == (NOW - timedelta(days=2)).strftime("%Y-%m-%dT%H:%M:%SZ"), "how old it is, is told"


def test_a_field_that_was_never_loaded_is_not_found(shop, running, redis_admin):
    shop.store.provider.online_store.online_write_batch(
        shop.store.config,
        shop.store.get_feature_view("customers"),
        [(EntityKey(join_keys=["customer_id"], entity_values=[i(50)]), {"age": i(1)}, NOW, None)],
        None,
    )
    columns = running.ask({"feature_service": "friends_v1", "entities": {"customer_id": [50], "friend_id": [50]}}).columns
    assert columns["age"]["statuses"] == ["PRESENT"]
    assert (columns["score"]["values"], columns["score"]["statuses"]) == ([None], ["NOT_FOUND"])


def test_a_value_of_another_type_is_invalid_and_not_coerced(shop, running):
    shop.write(customers, [({"customer_id": i(60)}, {"age": s("21"), "score": Value(double_val=0.5)}, NOW)])
    columns = running.ask({"features": ["customers:age", "customers:score"], "entities": {"customer_id": [60, 1]}}).columns
    for name in ("age", "score"):
        assert columns[name]["values"][0] is None
        assert columns[name]["statuses"] == ["INVALID", "PRESENT"]


def test_a_hash_that_is_no_hash_harms_nobody_else(shop, running, redis_admin):
    key = EntityKey(join_keys=["customer_id"], entity_values=[i(70)])
    redis_admin.set(serialize_entity_key(key, 3) + b"shop", b"no hash")
    try:
        columns = running.ask({"features": ["customers:age"], "entities": {"customer_id": [70, 1]}}).columns
        assert columns["age"]["statuses"] == ["INVALID", "PRESENT"]
    finally:
        redis_admin.delete(serialize_entity_key(key, 3) + b"shop")


def test_policies_refuse_what_is_not_there_and_what_is_too_old(shop, serving):
    strict = serving(shop, shop.contract("vector_v1"), policy=Policy(refuse_not_found=True, refuse_outside_max_age=True))
    refused = strict.ask({"features": ["customers:age"], "entities": {"customer_id": [1, 999]}})
    assert (refused.status, refused.fields) == (404, ["entities[1]"])
    assert "'customers'" in refused.json["detail"]
    assert refused.json["errors"][0]["value"] == {"customer_id": 999}
    refused = strict.ask({"features": ["products:price"], "entities": {"sku": ["old", "a"]}})
    assert (refused.status, refused.fields) == (422, ["entities[0]"])
    assert "ttl" in refused.json["detail"]
    assert strict.ask({"features": ["products:price"], "entities": {"sku": ["a"]}}).status == 200


def test_the_contract_is_told_and_checked(shop, running):
    question = {"feature_service": "friends_v1", "entities": {"customer_id": [1], "friend_id": [2]}}
    contract = running.get("/contract").json
    sha256 = shop.contract("friends_v1")["services"]["friends_v1"]["sha256"]
    assert contract["services"]["friends_v1"] == {"features": [["me", "age", "Int64"], ["friend", "score", "Float32"]], "sha256": sha256}
    assert contract["project"] == "shop"
    assert running.ask(question).headers["feast-contract"] == sha256
    assert running.ask(question, feast_contract=sha256).status == 200
    refused = running.ask(question, feast_contract="f" * 64)
    assert refused.status == 412
    assert sha256 in refused.json["detail"]
    assert "f" * 64 in refused.json["detail"], "both are named"
    assert running.ask({"features": ["customers:age"], "entities": {"customer_id": [1]}}, feast_contract=sha256).status == 412


def test_feasts_remote_client_reads_from_it_unchanged(shop, running, tmp_path):
    remote = FeatureStore(
        config=RepoConfig(
            project="shop",
            provider="local",
            registry={"registry_type": "file", "path": str(shop.store.config.registry.path)},
            online_store={"type": "remote", "path": f"http://127.0.0.1:{running.port}"},
            offline_store={"type": "file"},
            entity_key_serialization_version=3,
            repo_path=str(tmp_path),
        )
    )
    entities = {"customer_id": [1, 2], "sku": ["a", "é☃"]}
    service = remote.get_feature_service("vector_v1")
    ours = remote.get_online_features(features=service, entity_rows=entities)
    assert ours.to_dict() == shop.store.get_online_features(features=service, entity_rows=entities).to_dict()
    rows = [{"customer_id": 1, "sku": "a"}, {"customer_id": 2, "sku": "a"}]
    refs = ["baskets:count", "products:tags"]
    ours = remote.get_online_features(features=refs, entity_rows=rows, full_feature_names=True)
    theirs = shop.store.get_online_features(features=refs, entity_rows=rows, full_feature_names=True)
    assert ours.to_dict() == theirs.to_dict()
    missing = list(ours.proto.metadata.feature_names.val).index("baskets__count")
    assert list(ours.proto.results[missing].statuses) == [FieldStatus.PRESENT, FieldStatus.NOT_FOUND]
    # The older way, view by view.
    provider, view_ = remote._get_provider(), remote.get_feature_view("customers")
    key = EntityKey(join_keys=["customer_id"], entity_values=[i(1)])
    (_, values), *_ = provider.online_read(remote.config, view_, [key], ["age"])
    assert values["age"].int64_val == 21
    with pytest.raises(RuntimeError, match=r"404.*no feature view 'nothing'"):
        remote.get_online_features(features=["nothing:x"], entity_rows=rows)


KEYS = {
    "Int64": (lambda value: Value(int64_val=value), [0, -1, 2**63 - 1]),
    "Int32": (lambda value: Value(int32_val=value), [0, -1, 2**31 - 1]),
    "String": (lambda value: Value(string_val=value), ["", "a", "é☃"]),
    "UnixTimestamp": (lambda value: Value(unix_timestamp_val=value), [0, -1, 2**40]),
    "Bytes": (lambda value: Value(bytes_val=value.encode()), ["YQ=="]),
}


def test_keys_are_feasts_byte_for_byte():
    for first, (first_proto, first_values) in KEYS.items():
        for second, (second_proto, second_values) in KEYS.items():
            for one, other in zip(first_values, second_values, strict=False):
                # The names sort the other way round than they are given.
                keys = EntityKeys([("z", first), ("a", second)], "shop")
                given = {"z": one, "a": other}
                protos = [
                    proto(value if dtype != "Bytes" else "a")
                    for dtype, proto, value in ((first, first_proto, one), (second, second_proto, other))
                ]
                expected = serialize_entity_key(EntityKey(join_keys=["z", "a"], entity_values=protos), 3) + b"shop"
                assert keys.of([[given[name]] for name in keys.order]) == [expected], (first, second)


def test_entity_keys_of_every_type_find_their_rows(shop_of, serving):
    kinds = {"n32": (Int32, ValueType.INT32, Value(int32_val=-7), -7), "moment": (UnixTimestamp, ValueType.UNIX_TIMESTAMP, Value(unix_timestamp_val=86400), 86400),
             "blob": (Bytes, ValueType.BYTES, Value(bytes_val=b"\x00\xff"), "AP8=")}  # fmt: skip
    entities = {name: Entity(name=name, join_keys=[name], value_type=value_type) for name, (_, value_type, _, _) in kinds.items()}
    views = {name: view(f"by_{name}", [entities[name]], **{name: dtype}, found=Int64) for name, (dtype, _, _, _) in kinds.items()}
    shop = shop_of(*entities.values(), *views.values())
    for name, (_, _, proto, _) in kinds.items():
        shop.write(views[name], [({name: proto}, {"found": i(1)}, NOW)])
    running = serving(shop, shop.contract())
    for name, (_, _, _, asked) in kinds.items():
        columns = running.ask({"features": [f"by_{name}:found"], "entities": {name: [asked]}}).columns
        assert columns["found"]["values"] == [1], name
        assert columns[name]["values"] == [asked]
