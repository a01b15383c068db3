"""Apply: nothing is changed before everything is checked, and afterwards the registry equals the contract."""

import json
import threading
import time

import pyarrow as pa
import pytest

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
    assert outcome["materialize_may_update"] == ["feature_views", "feast_metadata"]


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
    assert "'tenure' is string, which does not fit the field's type Float32" in error
    assert "'overtime'" in error
    assert "'created' (the created timestamp) is string, not a timestamp" in error


def test_a_missing_file_is_named_with_its_address(applied):
    outcome = applied.apply(OFFLINE_STORE_BUCKET="features/nowhere")
    assert "s3://features/nowhere/employee_attrition.parquet" in outcome.error


def test_a_pod_without_its_role_yet_is_not_refused_for_good(applied):
    """The Job gives up on exit 1 only; a pod that starts a moment later may have its AWS role."""
    outcome = applied.apply(AWS_ACCESS_KEY_ID="", AWS_SECRET_ACCESS_KEY="")
    assert "may not be read" in outcome.error
    assert outcome.code == 75


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


def test_roles_that_were_not_prepared_are_refused_before_the_registry_is_changed(applied):
    before = registered(applied)
    applied.add_field()
    outcome = applied.apply(MATERIALIZE_USER="feast_nobody")
    assert "prepare-registry" in outcome.error
    assert registered(applied) == before


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
    assert outcome.seconds < 15


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
        ("  type: redis", "  type: redis\n  redis_type: nonsense"),
        ("project: employee_attrition", "project: [1"),
    ],
)
def test_a_broken_feature_store_yaml_is_an_error_without_a_traceback(applied, line, broken):
    applied.edit("feature_store.yaml", line, broken)
    outcome = applied.apply()
    assert "feature_store.yaml" in outcome.error
    assert "Traceback" not in outcome.stderr
