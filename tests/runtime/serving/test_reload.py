"""A changed registry is served as a whole or not at all; one that is away changes nothing."""

import importlib.util
import json
import threading
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from feast import Entity, FeatureService, FeatureView, Field, FileSource, ValueType
from feast.on_demand_feature_view import on_demand_feature_view
from feast.permissions.permission import Permission
from feast.permissions.policy import RoleBasedPolicy
from feast.protos.feast.types.Value_pb2 import Value
from feast.types import Float32, Int64, String

from feature_runtime import serve
from feature_runtime.gate import recorded
from feature_runtime.registry.access import registered_contract, sha256_of_registered
from feature_runtime.serving import function_check, reloading
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


def leave_word(shop):
    """As `apply` does when it is done."""
    project = shop.store.get_project("shop")
    sha256 = sha256_of_registered(registered_contract(shop.store, ""))
    project.tags = {recorded.TAG: json.dumps({"registered_sha256": sha256})}
    shop.store.registry.apply_project(project, commit=True)


def test_a_registry_is_whole_for_a_server_that_is_not_told_the_bucket(shop_of, monkeypatch):
    view = make_view(age=Int64)
    view.batch_source.file_options.uri = "s3://features/customers.parquet"
    shop = shop_of(customer, view, FeatureService(name="v1", features=[view]))
    monkeypatch.setenv("OFFLINE_STORE_BUCKET", "features")
    leave_word(shop)
    monkeypatch.delenv("OFFLINE_STORE_BUCKET")
    shop.reader.refresh_registry()
    assert recorded.is_whole(shop.reader)


def test_a_registry_that_is_being_applied_to_is_not_served_before_that_is_done(shop, serving):
    leave_word(shop)
    running = serving(shop, shop.contract("v1"), registry_seconds=0.05)
    view = shop.store.get_feature_view("customers")
    for name in ("v2", "v3"):
        shop.store.registry.apply_feature_service(FeatureService(name=name, features=[view[["age"]]]), "shop", commit=True)
        refused = looked(running, "refused")
        wait_for_a_look(running, "refused", after=refused + 1)
        assert running.ask(question(name)).status == 404
    leave_word(shop)
    wait_for_a_look(running, "loaded")
    assert looked(running, "loaded") == 1, "in one go"
    assert running.ask(question("v2")).status == running.ask(question("v3")).status == 200
    running.stop()


def test_a_start_in_the_middle_of_an_apply_waits_and_then_makes_do(shop, capfd):
    contract = shop.contract("v1")
    leave_word(shop)
    assert serve._load(shop.reader, contract, wait_seconds=0).plan.services.keys() == {"v1"}
    view = shop.store.get_feature_view("customers")
    shop.store.registry.apply_feature_service(FeatureService(name="v2", features=[view[["age"]]]), "shop", commit=True)
    assert "v1" in serve._load(shop.reader, contract, wait_seconds=0).plan.services
    assert "another one is under way, or ended half-way" in capfd.readouterr().err
    shop.store.registry.delete_feature_service("v1", "shop", commit=True)
    with pytest.raises(PlanRefused, match="'v1' is not in the registry"):
        serve._load(shop.reader, contract, wait_seconds=0)


def test_a_registry_that_swallows_everything_is_given_up_and_asked_again(shop, serving, monkeypatch, capfd):
    monkeypatch.setattr(reloading, "LOOK_SECONDS", 0.2)
    running = serving(shop, shop.contract("v1"), registry_seconds=0.05)
    wait_for_a_look(running, "unchanged")
    there = threading.Event()
    stores = []
    load = reloading.load

    def silent(store, *arguments):
        stores.append(store)
        there.wait()
        return load(store, *arguments)

    monkeypatch.setattr(reloading, "load", silent)
    wait_for_a_look(running, "failed", after=3)
    assert running.ask(question("v1")).status == 200
    assert "did not answer within 0.2 s" in capfd.readouterr().err
    assert len({id(store) for store in stores}) == len(stores), "each over connections of its own"
    wait_until(lambda: len(stores) == reloading.MOST_GIVEN_UP, "no more looks than that hang")
    failed = looked(running, "failed")
    wait_for_a_look(running, "failed", after=failed + 3)
    assert len(stores) == reloading.MOST_GIVEN_UP
    unchanged = looked(running, "unchanged")
    there.set()
    monkeypatch.setattr(reloading, "LOOK_SECONDS", 30)
    wait_for_a_look(running, "unchanged", after=unchanged)
    running.stop()


def computed_view(tmp_path, view, name, text):
    """An on-demand view whose function leaves a trace of each call; Feast keeps functions by their source, so it is written to a file."""
    path = tmp_path / f"{name}.py"
    path.write_text(
        f"def {name}(inputs):\n"
        f"    import os, time\n"
        f"    with open({str(tmp_path / 'calls')!r}, 'a') as calls:\n"
        f"        calls.write('x')\n"
        f"    {text}\n"
        f"    return {{'double': [2 * (age or 0) for age in inputs['{view.name}__age']]}}\n"
    )
    spec = importlib.util.spec_from_file_location(name, path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return on_demand_feature_view(sources=[view], schema=[Field(name="double", dtype=Int64)], mode="python")(getattr(module, name))


def calls(tmp_path):
    return len((tmp_path / "calls").read_text())


def test_functions_are_run_when_they_are_new_and_by_no_clock(shop, serving, tmp_path):
    view = shop.store.get_feature_view("customers")
    shop.apply(computed_view(tmp_path, view, "twice", "pass"))
    running = serving(shop, shop.contract("v1"), registry_seconds=0.05)
    wait_for_a_look(running, "unchanged")
    before = calls(tmp_path)
    wait_for_a_look(running, "unchanged", after=looked(running, "unchanged") + 5)
    shop.apply(FeatureService(name="v2", features=[view[["age"]]]))
    wait_for_a_look(running, "loaded")
    assert calls(tmp_path) == before
    running.stop()


def test_a_new_function_that_never_ends_holds_up_nothing(shop, serving, tmp_path, monkeypatch):
    monkeypatch.setattr(function_check, "SECONDS", 0.3)
    hangs, view = tmp_path / "hangs", shop.store.get_feature_view("customers")
    late = computed_view(tmp_path, view, "late", f"while os.path.exists({str(hangs)!r}): time.sleep(0.01)")
    shop.apply(late)
    hangs.touch()
    running = serving(shop, shop.contract("v1"), registry_seconds=0.05)
    wait_for_a_look(running, "unchanged", after=3)
    refused = running.ask({"features": ["late:double"], "entities": {"customer_id": [1]}})
    assert (refused.status, "does not end within 0.3 s" in refused.json["detail"]) == (404, True)
    hangs.unlink()
    wait_for_a_look(running, "loaded")
    before = calls(tmp_path)
    wait_for_a_look(running, "unchanged", after=looked(running, "unchanged") + 3)
    assert calls(tmp_path) == before, "it has ended, and that is enough"
    assert running.ask({"features": ["late:double"], "entities": {"customer_id": [1]}}).columns["double"]["values"] == [84]
    running.stop()


def test_a_service_of_others_that_can_be_asked_with_full_names_only_costs_nobody_else(shop, serving):
    view = shop.store.get_feature_view("customers")
    again = make_view(age=Int64)
    again.name = again.projection.name = "again"
    shop.apply(
        again, FeatureService(name="twice", features=[view[["age"]], again[["age"]]]), FeatureService(name="v2", features=[view[["age"]]])
    )
    running = serving(shop, shop.contract("v1"))
    refused = running.ask(question("twice"))
    assert (refused.status, "two columns of the answer would be called age" in refused.json["detail"]) == (422, True)
    assert running.ask(question("twice") | {"full_feature_names": True}).columns["again__age"]["values"]
    assert running.ask(question("v2")).columns["age"]["values"] == [42]
    reloading.load(shop.reader, shop.contract("v1", "twice"))
    running.stop()


def test_a_computed_view_without_its_source_is_not_served_and_costs_nobody_else(shop, serving, tmp_path):
    source = make_view(age=Int64)
    source.name = source.projection.name = "later"
    source.online = False
    view = computed_view(tmp_path, source, "twice", "pass")
    shop.apply(source, view, FeatureService(name="v2", features=[view]))
    running = serving(shop, shop.contract("v1"))
    for asked in ({"features": ["twice:double"], "entities": {"customer_id": [1]}}, question("v2")):
        refused = running.ask(asked)
        assert (refused.status, "not online" in refused.json["detail"]) == (404, True), refused.body
    assert running.ask(question("v1")).columns["age"]["values"] == [42]
    running.stop()


def test_a_ttl_below_a_second_is_no_ttl_for_ever(shop_of, serving):
    for name, ttl in (("brief", timedelta(milliseconds=500)), ("ages", timedelta(seconds=10**6, milliseconds=500))):
        view = make_view(age=Int64)
        view.name = view.projection.name = name
        view.ttl = ttl
        made = shop_of(customer, view, FeatureService(name="v1", features=[view]))
        made.write(view, [({"customer_id": Value(int64_val=1)}, {"age": Value(int64_val=42)}, NOW - timedelta(seconds=3))])
        running = serving(made, made.contract("v1"))
        statuses = running.ask(question("v1")).columns["age"]["statuses"]
        assert statuses == (["OUTSIDE_MAX_AGE"] if name == "brief" else ["PRESENT"])
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
