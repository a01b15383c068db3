"""A changed registry is served as a whole or not at all; one that is away changes nothing."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from feast import Entity, FeatureService, FeatureView, Field, FileSource, ValueType
from feast.permissions.permission import Permission
from feast.permissions.policy import RoleBasedPolicy
from feast.protos.feast.types.Value_pb2 import Value
from feast.types import Float32, Int64, String

from feature_runtime.serving import reloading
from feature_runtime.serving.question import PlanRefused
from tests.waiting import wait_until

NOW = datetime.now(UTC).replace(microsecond=0)
customer = Entity(name="customer", join_keys=["customer_id"], value_type=ValueType.INT64)


def make_view(**fields):
    return FeatureView(
        name="customers",
        entities=[customer],
        ttl=timedelta(days=30),
        source=FileSource(name="customers", path="customers.parquet", timestamp_field="event_timestamp"),
        schema=[Field(name="customer_id", dtype=Int64), *(Field(name=name, dtype=dtype) for name, dtype in fields.items())],
    )


@pytest.fixture
def shop(shop_of):
    view = make_view(age=Int64, score=Float32)
    made = shop_of(customer, view, FeatureService(name="v1", features=[view[["score", "age"]]]))
    made.write(view, [({"customer_id": Value(int64_val=1)}, {"age": Value(int64_val=42), "score": Value(float_val=0.5)}, NOW)])
    return made


def question(service):
    return {"feature_service": service, "entities": {"customer_id": [1]}}


def looked(running, result):
    return running.metrics._reloads[result]


def wait_for_a_look(running, result, after=0):
    wait_until(lambda: looked(running, result) > after, f"a look at the registry ended with `{result}`")


def test_a_new_service_is_served_without_a_restart(shop, serving):
    running = serving(shop, shop.contract("v1"), registry_seconds=0.05)
    before = running.ask(question("v1")).body
    assert running.ask(question("v2")).status == 404
    wait_for_a_look(running, "unchanged")
    shop.apply(FeatureService(name="v2", features=[shop.store.get_feature_view("customers")[["age"]]]))
    wait_for_a_look(running, "loaded")
    assert running.ask(question("v2")).columns["age"]["values"] == [42]
    assert running.ask(question("v1")).body == before
    assert {"v1", "v2"} == running.get("/contract").json["services"].keys()
    running.stop()


def test_a_change_that_breaks_the_contract_is_refused_as_a_whole(shop, serving, capfd):
    running = serving(shop, shop.contract("v1"), registry_seconds=0.05)
    before = running.ask(question("v1")).body
    retyped = make_view(age=String, score=Float32, new=Int64)
    shop.apply(
        customer, retyped, FeatureService(name="v1", features=[retyped[["score", "age"]]]), FeatureService(name="v2", features=[retyped])
    )
    wait_for_a_look(running, "refused")
    assert running.ask(question("v1")).body == before, "the old plan serves on"
    assert running.ask(question("v2")).status == 404, "and nothing of the new one"
    assert "customers:age is a String in the registry, a Int64 in the contract" in capfd.readouterr().err
    count = looked(running, "refused")
    wait_for_a_look(running, "refused", after=count + 1)
    assert "customers:age" not in capfd.readouterr().err, "said once, not at every look"
    running.stop()


def test_a_service_that_left_the_registry_is_served_on(shop, serving):
    running = serving(shop, shop.contract("v1"), registry_seconds=0.05)
    shop.store.delete_feature_service("v1")
    wait_for_a_look(running, "refused")
    assert running.ask(question("v1")).columns["age"]["values"] == [42]
    running.stop()


def test_a_registry_that_is_away_changes_nothing(shop, serving):
    running = serving(shop, shop.contract("v1"), registry_seconds=0.05)
    path = Path(shop.store.config.registry.path)
    away = path.rename(path.with_suffix(".away"))
    wait_for_a_look(running, "failed")
    assert running.ask(question("v1")).columns["age"]["values"] == [42]
    assert running.get("/ready").status == 200
    away.rename(path)
    count = looked(running, "unchanged")
    wait_for_a_look(running, "unchanged", after=count)
    running.stop()


def test_the_contracts_order_holds_whatever_the_registry_says(shop, serving):
    contract = shop.contract("v1")
    view = shop.store.get_feature_view("customers")
    shop.apply(FeatureService(name="v1", features=[view[["age", "score"]]]))
    running = serving(shop, contract)
    assert list(running.ask(question("v1")).columns) == ["customer_id", "score", "age"]
    assert running.ask(question("v1")).headers["feast-contract"] == contract["services"]["v1"]["sha256"]
    running.stop()


def test_a_registry_that_cannot_serve_the_contract_is_refused_by_every_difference(shop):
    contract = shop.contract("v1")
    contract["services"]["v1"]["features"].append(["customers", "gone", "Int64"])
    contract["services"]["v0"] = {"features": [], "sha256": "0"}
    with pytest.raises(PlanRefused, match="'v0' is not in the registry") as refused:
        reloading.load(shop.reader, contract)
    assert "customers:gone" in str(refused.value)


def test_an_offline_view_is_not_served_and_the_reason_is_told(shop_of, serving):
    view = make_view(age=Int64)
    view.online = False
    shop = shop_of(customer, view, FeatureService(name="v1", features=[view]))
    running = serving(shop, shop.contract())
    for asked in ({"features": ["customers:age"], "entities": {"customer_id": [1]}}, question("v1")):
        refused = running.ask(asked)
        assert (refused.status, "not online" in refused.json["detail"]) == (404, True)
    with pytest.raises(PlanRefused, match="not online"):
        reloading.load(shop.reader, shop.contract("v1"))
    running.stop()


def test_two_views_with_one_key_of_two_types_are_refused(shop_of):
    view = make_view(age=Int64)
    other = FeatureView(
        name="other",
        entities=[Entity(name="client", join_keys=["customer_id"], value_type=ValueType.STRING)],
        source=FileSource(name="other", path="other.parquet", timestamp_field="event_timestamp"),
        schema=[Field(name="customer_id", dtype=String), Field(name="name", dtype=String)],
    )
    client = Entity(name="client", join_keys=["customer_id"], value_type=ValueType.STRING)
    shop = shop_of(customer, client, view, other, FeatureService(name="both", features=[view, other]))
    with pytest.raises(PlanRefused, match="'customer_id' is a String in 'other' and a Int64 in another view"):
        reloading.load(shop.reader, shop.contract("both"))


@pytest.mark.parametrize(
    ("policy", "says"),
    [
        (
            {"policy": RoleBasedPolicy(roles=["hr"])},
            "'only_hr' say who may do what, and nothing here enforces it. Apply definitions without",
        ),
        # Feast writes it, and cannot read it again.
        ({}, "a permission that Feast itself cannot read"),
    ],
)
def test_a_registry_with_permissions_is_not_served_and_changes_nothing_where_it_was(shop, serving, policy, says):
    running = serving(shop, shop.contract("v1"), registry_seconds=0.05)
    shop.store.apply([Permission(name="only_hr", name_patterns=[".*"], **policy)])
    wait_for_a_look(running, "refused")
    assert running.ask(question("v1")).columns["age"]["values"] == [42]
    with pytest.raises(PlanRefused) as refused:
        reloading.load(shop.reader, shop.contract("v1"))
    assert says in str(refused.value)
    running.stop()
