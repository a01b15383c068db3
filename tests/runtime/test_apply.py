"""Apply: nothing is changed before everything is checked, and afterwards the registry equals the contract."""

import json
import os
import signal
import threading
import time

import pyarrow as pa
import pytest
from feast import FeatureStore
from feast.permissions.permission import Permission
from feast.permissions.policy import RoleBasedPolicy
from feast.repo_config import load_repo_config

from feature_runtime.gate.recorded import registered_snapshot
from feature_runtime.registry.access import open_store

ANOTHER_VIEW = """
another = FeatureView(
    name="another",
    entities=[employee],
    ttl=timedelta(days=7),
    source=employee_attrition,
    schema=[Field(name="employee_id", dtype=Int64), Field(name="age", dtype=Int64)],
)
"""


def registered(stores):
    """What anybody could notice in the registry."""
    return (
        stores.registry_rows("SELECT feature_view_name, feature_view_proto FROM feature_views ORDER BY 1"),
        stores.registry_rows("SELECT feature_service_name, feature_service_proto FROM feature_services ORDER BY 1"),
    )


def append(stores, file, text):
    path = stores.repo / file
    path.write_text(path.read_text() + text)


def test_the_registry_equals_the_contract_in_order_and_types(applied):
    lock = json.loads((applied.repo / "contract.lock.json").read_text())
    outcome = applied.apply().ok()
    assert outcome["services"] == {"attrition_model_v1": lock["services"]["attrition_model_v1"]["sha256"]}
    assert outcome["changes"] == []


def test_a_stale_contract_is_refused_with_what_differs_and_the_remedy(applied):
    before = registered(applied)
    applied.edit("feature_services.py", '                "overtime",\n', "")
    outcome = applied.apply()
    assert "employee_features.overtime removed" in outcome.error
    assert "make lock" in outcome.error
    assert registered(applied) == before


def test_a_column_that_the_source_lacks_is_refused_before_the_registry_is_changed(applied):
    before = registered(applied)
    applied.add_field("mood")
    outcome = applied.apply()
    assert "employee_features" in outcome.error
    assert "'mood'" in outcome.error
    assert registered(applied) == before


def test_every_problem_of_the_source_is_named_at_once(applied, view_columns, rows, midnight):
    types = {**view_columns, "tenure": pa.string(), "created": pa.string()}
    del types["overtime"]
    applied.put(rows({101: midnight(1)}, tenure="long", created="yesterday"), types)
    error = applied.apply().error
    assert "'tenure' (field 'tenure', Float32) is string: Float32 takes floats, decimals, integers and booleans" in error
    assert "'overtime'" in error
    assert "'created' (the created timestamp) is string: it must be a timestamp" in error


def test_a_missing_file_is_named_with_its_address(applied):
    outcome = applied.apply(OFFLINE_STORE_BUCKET="features/nowhere")
    assert "s3://features/nowhere/employee_attrition.parquet" in outcome.error


def test_a_pod_without_a_key_is_told_that_it_may_not_read(applied):
    outcome = applied.apply(AWS_ACCESS_KEY_ID="", AWS_SECRET_ACCESS_KEY="")
    assert "may not be read" in outcome.error
    assert outcome.code == 1


def test_a_store_that_does_not_answer_is_refused_soon(applied):
    outcome = applied.apply(OFFLINE_STORE_ENDPOINT_URL="http://127.0.0.1:1")
    assert "cannot be read" in outcome.error
    assert outcome.seconds < 45


def test_a_changed_order_of_features_reaches_the_registry(applied):
    applied.edit("feature_services.py", '                "tenure",\n', "")
    applied.edit(
        "feature_services.py",
        '                "overall_satisfaction",\n',
        '                "overall_satisfaction",\n                "tenure",\n',
    )
    applied.waive("F005", "services.attrition_model_v1")
    applied.lock()
    changes = applied.apply().ok()["changes"]
    assert [change for change in changes if "the order was" in change]


def test_a_changed_order_of_views_in_a_service_reaches_the_registry(applied):
    append(applied, "feature_views.py", ANOTHER_VIEW)
    append(
        applied,
        "feature_services.py",
        "\nfrom feature_views import another\n\nboth = FeatureService("
        'name="both", features=[employee_features[["tenure"]], another[["age"]]])\n',
    )
    applied.lock()
    applied.apply().ok()
    # Feast takes the two for equal, and would keep the old order of the model's input.
    applied.edit(
        "feature_services.py", '[employee_features[["tenure"]], another[["age"]]]', '[another[["age"]], employee_features[["tenure"]]]'
    )
    applied.waive("F005", "services.both")
    applied.lock()
    changes = applied.apply().ok()["changes"]
    assert changes == [
        "services.both.features: the order was employee_features.tenure, another.age, is now another.age, employee_features.tenure"
    ]


def test_a_removed_view_leaves_nothing_in_the_online_store(applied, redis_admin):
    append(applied, "feature_views.py", ANOTHER_VIEW)
    applied.lock()
    applied.apply().ok()
    applied.materialize("--backfill").ok()
    assert redis_admin.exists("feast-eks:loaded:employee_attrition:another")
    applied.edit("feature_views.py", ANOTHER_VIEW, "")
    applied.lock()
    applied.apply().ok()
    assert not redis_admin.exists("feast-eks:loaded:employee_attrition:another")
    for key in redis_admin.scan_iter(b"*employee_id*"):
        assert b"_ts:another" not in redis_admin.hkeys(key)
        assert b"_ts:employee_features" in redis_admin.hkeys(key), "the other view's values must stay"


def test_a_view_that_comes_back_is_loaded_again(applied):
    append(applied, "feature_views.py", ANOTHER_VIEW)
    applied.lock()
    applied.apply().ok()
    applied.materialize("--backfill").ok()
    applied.edit("feature_views.py", ANOTHER_VIEW, "")
    applied.lock()
    applied.apply().ok()
    append(applied, "feature_views.py", ANOTHER_VIEW)
    applied.lock()
    applied.apply().ok()
    assert applied.materialize("--backfill").ok()["views"]["another"]["loaded"] is True


def test_a_view_is_not_removed_while_its_values_cannot_be(applied):
    append(applied, "feature_views.py", ANOTHER_VIEW)
    applied.lock()
    applied.apply().ok()
    applied.edit("feature_views.py", ANOTHER_VIEW, "")
    applied.lock()
    before = registered(applied)
    outcome = applied.apply("--wait-seconds", "1", ONLINE_STORE_PASSWORD="pWrongSecret0123456789abcdef")
    assert "reaching the online store" in outcome.error
    assert registered(applied) == before


def test_a_view_is_not_removed_while_it_is_loaded(applied):
    append(applied, "feature_views.py", ANOTHER_VIEW)
    applied.lock()
    applied.apply().ok()
    before = registered(applied)
    applied.edit("feature_views.py", ANOTHER_VIEW, "")
    applied.lock()
    with applied.postgres.admin(applied.database) as loading:
        loading.execute("SELECT pg_advisory_lock(hashtextextended('feast-eks:materialize:employee_attrition:another', 0))")
        outcome = applied.apply("--wait-seconds", "1")
    assert "another materialize run of another" in outcome.error
    assert registered(applied) == before
    applied.apply().ok()


def test_permissions_that_a_registry_has_are_removed_and_new_ones_refused(applied, monkeypatch):
    for name, value in applied.environment("apply").items():
        monkeypatch.setenv(name, value)
    store = FeatureStore(config=load_repo_config(applied.repo, applied.repo / "feature_store.yaml"))
    store.registry.apply_permission(Permission(name="only_hr", policy=RoleBasedPolicy(roles=["hr"])), store.project)
    outcome = applied.apply().ok()
    assert outcome["changes"] == ["permissions: removed"]
    assert [finding["rule"] for finding in outcome["gate"]["findings"]] == ["F063"]
    assert applied.registry_rows("SELECT * FROM permissions") == []
    append(
        applied,
        "feature_views.py",
        "\nfrom feast.permissions.permission import Permission\nonly_hr = Permission(name='only_hr')\n",
    )
    for refused in (applied.apply(), applied.check("--against", "registry")):
        assert "'only_hr'" in refused.error


def test_a_registry_that_restarts_is_waited_for(applied):
    applied.postgres.stop()
    restart = threading.Thread(target=lambda: (time.sleep(4), applied.postgres.start()))
    restart.start()
    try:
        outcome = applied.apply("--wait-seconds", "40")
    finally:
        restart.join()
    outcome.ok()
    assert "opening the registry" in outcome.stderr
    assert "trying again" in outcome.stderr


def test_a_registry_that_stays_away_is_an_error_within_its_time(applied):
    applied.postgres.stop()
    try:
        outcome = applied.apply("--wait-seconds", "2")
    finally:
        applied.postgres.start()
    assert "opening the registry did not succeed within 2 s" in outcome.error
    assert outcome.seconds < 30


def test_an_unset_variable_of_feature_store_yaml_is_named(applied):
    environment = applied.environment("apply")
    del environment["REGISTRY_PASSWORD"]
    outcome = applied.run(["apply"], environment)
    assert "REGISTRY_PASSWORD" in outcome.error


@pytest.mark.parametrize(
    ("line", "broken"),
    [
        ("schema_mode: ${REGISTRY_SCHEMA_MODE}", "schema_mode: nonsense"),
        ("registry_type: sql", "registry_type: nonsense"),
        ("  key_ttl_seconds: 1000000", "  redis_type: nonsense"),
        ("project: employee_attrition", "project: [1"),
    ],
)
def test_a_broken_feature_store_yaml_is_an_error_without_a_traceback(applied, line, broken):
    applied.edit("feature_store.yaml", line, broken)
    outcome = applied.apply()
    assert "feature_store.yaml" in outcome.error
    assert "Traceback" not in outcome.stderr


def test_a_change_that_breaks_a_model_is_refused_and_the_registry_stays(applied):
    before = registered(applied)
    applied.edit("feature_services.py", '                "overtime",\n', "")
    applied.lock()
    outcome = applied.apply()
    assert outcome.code == 2
    assert "F002 services.attrition_model_v1.overtime" in outcome.error
    assert outcome.result["findings"][0]["remedy"]
    assert registered(applied) == before


def test_a_waived_change_is_applied_and_the_waiver_is_remembered(applied):
    applied.edit("feature_services.py", '                "overtime",\n', "")
    applied.lock()
    applied.waive("F002", "services.attrition_model_v1.overtime")
    assert applied.apply().ok()["gate"]["waived"] == 1
    (project,) = applied.registry_rows("SELECT project_proto FROM projects")
    assert b"the test needs it" in project[0]
    assert applied.apply().ok()["gate"]["warnings"] == 1, "it matches nothing any more"


def test_applying_twice_changes_nothing_that_anybody_could_notice(applied):
    applied.apply().ok()
    before = registered(applied), applied.registry_rows("SELECT feature_view_name, version_number FROM feature_view_version_history")
    applied.apply().ok()
    after = registered(applied), applied.registry_rows("SELECT feature_view_name, version_number FROM feature_view_version_history")
    assert after == before


COMPUTED = """
from feast import RequestSource
from feast.on_demand_feature_view import on_demand_feature_view
from feast.types import Float64

# Feast compares the function with its decorator; what the decorator refers to, it does not.
OWNER = "people"
FIELDS = [Field(name="sum", dtype=Float64), Field(name="difference", dtype=Float64)]


@on_demand_feature_view(
    name="computed",
    sources=[employee_features[["tenure"]], RequestSource(name="asked", schema=[Field(name="years", dtype=Float64)])],
    schema=FIELDS,
    mode="pandas",
    owner=OWNER,
)
def computed(inputs):
    return inputs[["years"]].assign(sum=inputs["years"] + inputs["tenure"], difference=inputs["years"] - inputs["tenure"])[["sum", "difference"]]
"""


def test_what_feast_takes_for_unchanged_in_an_on_demand_view_reaches_the_registry(applied):
    append(applied, "feature_views.py", COMPUTED)
    applied.lock()
    applied.apply().ok()
    assert applied.apply().ok()["changes"] == [], "the source of its requests stays registered"
    applied.edit("feature_views.py", 'OWNER = "people"', 'OWNER = "payroll"')
    applied.edit(
        "feature_views.py",
        'Field(name="sum", dtype=Float64), Field(name="difference", dtype=Float64)',
        'Field(name="difference", dtype=Float64), Field(name="sum", dtype=Float64)',
    )
    applied.lock()
    changes = applied.apply().ok()["changes"]
    assert 'on_demand_views.computed.owner: "people" is now "payroll"' in changes
    assert "on_demand_views.computed.features: the order was sum, difference, is now difference, sum" in changes


def large_change(stores):
    """Views and services that are new, changed, reordered and removed, at once."""
    append(stores, "feature_views.py", ANOTHER_VIEW)
    append(stores, "feature_views.py", ANOTHER_VIEW.replace("another", "passing"))
    append(
        stores,
        "feature_services.py",
        "\nfrom feature_views import another\n\nboth_v1 = FeatureService("
        'name="both_v1", features=[employee_features[["tenure"]], another[["age"]]])\n',
    )
    stores.lock()
    stores.apply().ok()
    stores.edit("feature_views.py", ANOTHER_VIEW.replace("another", "passing"), ANOTHER_VIEW.replace("another", "coming"))
    stores.edit(
        "feature_services.py", '[employee_features[["tenure"]], another[["age"]]]', '[another[["age"]], employee_features[["tenure"]]]'
    )
    append(stores, "feature_services.py", '\nthird_v1 = FeatureService(name="third_v1", features=[another[["age"]]])\n')
    append(stores, "feature_views.py", COMPUTED)
    stores.waive("F005", "services.both_v1")
    stores.lock()


def described(stores):
    """The registry in the words of the contract, with what is remembered beside it; read as the gate reads it."""
    before = dict(os.environ)
    os.environ.update(stores.check_environment())
    try:
        store = open_store(stores.repo, only="registry")
        snapshot = registered_snapshot(store)
        tags = store.registry.get_project(store.project).tags
    finally:
        os.environ.clear()
        os.environ.update(before)
    return snapshot.contract, snapshot.stores, {key: json.loads(value)["beyond"] for key, value in tags.items()}


def test_an_apply_that_was_killed_anywhere_is_completed_by_the_next_one(applied):
    large_change(applied)
    database = applied.database

    def copy_of_the_registry():
        name = f"{database}_{os.urandom(3).hex()}"
        with applied.postgres.admin() as admin:
            admin.execute(f"CREATE DATABASE {name} TEMPLATE {database} OWNER feast")
        path = applied.repo / "feature_store.yaml"
        path.write_text(path.read_text().replace(applied.database, name))
        applied.database = name

    copy_of_the_registry()
    undisturbed = applied.apply().ok()
    expected = described(applied)
    assert undisturbed["changes"]
    for point in (0.5, 0.7, 0.9):
        copy_of_the_registry()
        running = applied.start(["apply"], applied.environment("apply"))
        time.sleep(undisturbed["seconds"] * point)
        os.kill(running.pid, signal.SIGKILL)
        running.wait(30)
        applied.apply().ok()
        assert described(applied) == expected, f"killed at {point} of its time"


def test_two_applies_at_once_both_succeed_one_after_the_other(applied):
    applied.add_field()
    both = [applied.start(["apply"], applied.environment("apply")) for _ in range(2)]
    outcomes = [running.wait(120).ok() for running in both]
    assert sorted(bool(outcome["changes"]) for outcome in outcomes) == [False, True], "the second finds it done"


def test_an_apply_that_ends_half_way_does_not_forget_what_the_gate_needs(applied):
    """Feast writes the project first: without its tags the next gate would not know under which settings values are stored."""
    append(applied, "feature_views.py", ANOTHER_VIEW)
    applied.lock()
    # Feast fails at the first view, after it has written the project.
    with applied.postgres.admin(applied.database) as connection:
        connection.execute("REVOKE ALL ON feature_views FROM feast")
        connection.execute("GRANT SELECT ON feature_views TO feast")
        assert applied.apply("--wait-seconds", "1").code != 0
        connection.execute("GRANT ALL ON feature_views TO feast")
    applied.edit("feature_store.yaml", "entity_key_serialization_version: 3", "entity_key_serialization_version: 2")
    assert {finding["rule"] for finding in applied.check("--against", "registry").result["findings"]} >= {"F030"}


def test_a_function_that_gives_fewer_bits_than_declared_is_applied(applied):
    """Feast's own inference takes nothing but the very type."""
    append(
        applied,
        "feature_views.py",
        """
from feast.on_demand_feature_view import on_demand_feature_view


@on_demand_feature_view(name="narrow", sources=[employee_features[["salary_band"]]], schema=[Field(name="band", dtype=Int64)], mode="pandas")
def narrow(inputs):
    return inputs["salary_band"].fillna(0).astype("int32").to_frame("band")
""",
    )
    applied.lock()
    assert "on_demand_views: added" in applied.apply().ok()["changes"]
