"""Materialization: what must be loaded is, what must not be is not, however often and wherever it is interrupted."""

import importlib
import os
import signal
import socket
from datetime import UTC, datetime, timedelta

import boto3
import pytest
import redis
from feast import FeatureStore
from feast.repo_config import load_repo_config

from feature_runtime.registry.access import loading, open_store
from tests.waiting import wait_for

VIEW = "employee_features"
RECORD = f"feast-eks:loaded:employee_attrition:{VIEW}"


def view(outcome):
    return outcome.ok()["views"][VIEW]


def test_the_first_backfill_loads_everything_within_the_ttl_and_the_second_nothing(applied):
    first = view(applied.materialize("--backfill"))
    assert (first["reason"], first["rows_written"]) == ("never loaded", 3)
    assert view(applied.materialize("--backfill"))["loaded"] is False
    assert applied.online(101, 202, 303)["salary_band"] == [2, 3, 4]


def test_the_result_says_when_the_newest_event_was(applied, midnight):
    assert view(applied.materialize("--backfill"))["newest_event_time"] == midnight(1).isoformat()


def test_a_field_added_to_a_loaded_view_is_filled_by_the_backfill(applied):
    applied.materialize("--backfill").ok()
    applied.add_field("age")
    applied.apply().ok()
    assert applied.online(101, 202, features=["age"])["age"] == [None, None], "the test must start from the gap it closes"
    assert view(applied.materialize("--backfill"))["reason"] == "loaded with another schema"
    # The rows' event times are the ones that are stored already: Feast by itself would skip every one.
    assert applied.online(101, 202, features=["age"])["age"] == [41, 22]


def test_the_nightly_run_fills_a_new_field_too(applied):
    applied.materialize("--backfill").ok()
    applied.add_field("age")
    applied.apply().ok()
    assert view(applied.materialize())["reason"] == "loaded with another schema"
    assert applied.online(202, features=["age"])["age"] == [22]


def test_a_row_that_came_late_is_loaded_within_the_overlap_and_not_beyond(applied, rows, midnight):
    applied.materialize("--backfill").ok()
    # The newest row that is loaded is of midnight(1): what is older counts as loaded, but for the overlap.
    late, too_late = datetime.now(UTC) - timedelta(hours=20), midnight(1) - timedelta(hours=1)
    applied.put(rows({101: midnight(1), 404: late, 505: too_late}))
    assert view(applied.materialize("--overlap-hours", "24"))["reason"] == "new and late rows"
    assert applied.online(404, 505)["salary_band"] == [5, None]
    applied.materialize("--overlap-hours", "72").ok()
    assert applied.online(505)["salary_band"] == [1]


def test_a_snapshot_is_loaded_by_the_next_run_however_late_it_lands(applied, rows, midnight):
    applied.put(rows({101: midnight(8)}, salary_band=1))
    applied.materialize("--end", (midnight(7) + timedelta(hours=2)).isoformat()).ok()
    for night in (6, 5, 4, 3):
        applied.materialize("--end", (midnight(night) + timedelta(hours=2)).isoformat()).ok()
    applied.put([*rows({101: midnight(8)}, salary_band=1), *rows({101: midnight(6)}, salary_band=5)])
    loaded = view(applied.materialize("--end", (midnight(2) + timedelta(hours=2)).isoformat()))
    assert (loaded["newest_event_time"], loaded["start"]) == (midnight(6).isoformat(), midnight(8).isoformat())
    assert applied.online(101)["salary_band"] == [5]


def test_the_second_part_of_a_snapshot_is_loaded_however_late_it_lands(applied, rows, midnight):
    first = rows({101: midnight(6)})
    applied.put(first)
    for night in (5, 3):
        applied.materialize("--end", midnight(night).isoformat()).ok()
    applied.put([*first, *rows({404: midnight(6)})])
    assert view(applied.materialize())["rows_read"] == 2
    assert applied.online(404)["salary_band"] == [5]


def test_an_online_store_that_comes_back_older_is_caught_up_by_the_next_run(applied, rows, midnight, redis_admin):
    applied.put(rows({101: midnight(7), 202: midnight(7)}, salary_band=1))
    applied.materialize("--end", midnight(6).isoformat()).ok()
    backup = {key: redis_admin.dump(key) for key in redis_admin.scan_iter()}
    applied.put([*rows({101: midnight(7), 202: midnight(7)}, salary_band=1), *rows({101: midnight(5)}, salary_band=5)])
    applied.materialize("--end", midnight(3).isoformat()).ok()
    assert applied.online(101, 202)["salary_band"] == [5, 1]
    redis_admin.flushall()
    for key, value in backup.items():
        redis_admin.restore(key, 0, value)
    assert applied.online(101)["salary_band"] == [1], "the test must start from the loss that it repairs"
    assert view(applied.materialize())["reason"] == "new and late rows"
    assert applied.online(101, 202)["salary_band"] == [5, 1]


def test_a_corrected_row_replaces_the_one_of_the_same_time(applied, rows, midnight):
    applied.put(rows({employee: midnight(0) for employee in range(1, 1001)}, salary_band=1))
    applied.materialize("--backfill").ok()
    wrong = rows({employee: midnight(0) for employee in range(1, 1001)}, salary_band=1)
    right = rows({employee: midnight(0) for employee in range(1, 1001)}, salary_band=2)
    for row in right:
        row["created"] += timedelta(hours=1)
    applied.put([row for pair in zip(right, wrong, strict=True) for row in pair])
    applied.materialize("--overlap-hours", "48").ok()
    assert set(applied.online(*range(1, 1001))["salary_band"]) == {2}


def test_who_has_left_is_not_loaded(applied, rows, midnight):
    applied.put(rows({101: midnight(1), 666: midnight(8)}))
    assert view(applied.materialize("--backfill"))["rows_written"] == 1
    assert applied.online(666)["tenure"] == [None]


def test_who_left_while_the_nightly_runs_were_off_is_not_loaded(applied, rows, midnight, redis_admin):
    applied.materialize("--backfill", "--end", midnight(20).isoformat()).ok()
    applied.put(rows({101: midnight(21)}))
    assert view(applied.materialize("--backfill", "--end", midnight(20).isoformat()))["rows_written"] == 1
    applied.put(rows({101: midnight(1), 666: midnight(9)}))
    loaded = view(applied.materialize())
    assert loaded["reason"] == "new and late rows"
    assert applied.online(666)["tenure"] == [None]


def test_a_key_fades_after_its_time(applied, redis_admin):
    applied.materialize("--backfill").ok()
    keys = list(redis_admin.scan_iter(b"*employee_id*"))
    assert len(keys) == 3
    assert all(900_000 < redis_admin.ttl(key) <= 1_000_000 for key in keys)
    assert redis_admin.ttl(RECORD) == -1


def test_a_window_that_ends_in_the_future_is_refused(applied):
    tomorrow = (datetime.now(UTC) + timedelta(days=1)).isoformat()
    assert "in the future" in applied.materialize("--end", tomorrow).error


def test_what_other_tools_say_of_loads_in_the_registry_moves_no_window(applied, rows, midnight):
    applied.materialize("--backfill").ok()
    # What `feast materialize … 2099-01-01` leaves behind.
    before = dict(os.environ)
    os.environ.update(applied.environment("apply"))
    try:
        store = FeatureStore(config=load_repo_config(applied.repo, applied.repo / "feature_store.yaml"))
        poisoned = store.get_feature_view(VIEW)
        store.registry.apply_materialization(poisoned, store.project, midnight(1), datetime.now(UTC) + timedelta(days=10_000))
    finally:
        os.environ.clear()
        os.environ.update(before)
    applied.put(rows({404: datetime.now(UTC) - timedelta(hours=2)}))
    assert view(applied.materialize())["rows_written"] == 1


def test_a_load_writes_nothing_into_the_registry(applied):
    before = applied.registry_rows()
    applied.materialize("--backfill").ok()
    assert applied.registry_rows() == before, "written back, a view that `apply` changes at the same time would be undone"


def test_a_lost_online_store_is_filled_again(applied, redis_admin):
    applied.materialize("--backfill").ok()
    redis_admin.flushall()
    assert view(applied.materialize())["reason"] == "never loaded"
    assert applied.online(202)["salary_band"] == [3]


def test_a_lost_registry_needs_nothing_loaded_again(applied, applied_database):
    applied.materialize("--backfill").ok()
    with applied.postgres.admin() as admin:
        admin.execute(f"DROP DATABASE {applied.database} WITH (FORCE)")
        admin.execute(f"CREATE DATABASE {applied.database} TEMPLATE {applied_database} OWNER feast")
    assert view(applied.materialize("--backfill"))["loaded"] is False


def test_a_load_without_rows_is_not_taken_for_done(applied, rows, midnight):
    applied.put(rows({101: midnight(30)}))
    outcome = applied.materialize("--backfill")
    assert view(outcome)["rows_written"] == 0
    assert "the source has no row from" in outcome.stderr
    applied.put(rows({101: midnight(5)}))
    assert view(applied.materialize())["rows_written"] == 1


def test_a_terminated_run_says_so_and_stops(applied, rows, midnight, redis_admin):
    redis_admin.client_pause(120_000, all=False)
    try:
        running = applied.start(["materialize", "--backfill"], applied.environment("materialize"))
        wait_for(lambda: waits_to_write(redis_admin), LookupError)
        os.kill(running.pid, signal.SIGTERM)
        outcome = running.wait(60)
    finally:
        redis_admin.client_unpause()
    assert outcome.code == 143
    assert "terminated" in outcome.error


def waits_to_write(redis_admin):
    # Its claim to the view comes first.
    if not any(client["user"] == "feast-materialize" and client["cmd"] == "set" for client in redis_admin.client_list()):
        raise LookupError


def hold_lock(applied, named):
    connection = applied.postgres.admin(applied.database)
    connection.execute("SELECT pg_advisory_lock(hashtextextended(%s, 0))", [f"feast-eks:materialize:employee_attrition:{named}"])
    return connection


def test_two_runs_do_not_load_one_view_at_once(applied):
    with hold_lock(applied, VIEW):
        outcome = applied.materialize("--backfill", "--wait-for-others-seconds", "1")
    assert f"another materialize run of {VIEW}" in outcome.error
    view(applied.materialize("--backfill"))


def test_a_view_is_loaded_while_another_run_loads_another_view(applied):
    with hold_lock(applied, "another_view"):
        assert view(applied.materialize("--backfill", "--wait-for-others-seconds", "1"))["rows_written"] == 3


def test_a_run_that_lost_its_lock_writes_nothing(applied, rows, midnight, redis_admin):
    redis_admin.client_pause(120_000, all=False)
    try:
        running = applied.start(["materialize"], applied.environment("materialize"))
        wait_for(lambda: waits_to_write(redis_admin), LookupError)
        with applied.postgres.admin(applied.database) as admin:
            admin.execute("SELECT pg_terminate_backend(pid) FROM pg_locks WHERE locktype = 'advisory'")
        assert "the lock of this materialize run is lost" in running.wait(60).error
    finally:
        redis_admin.client_unpause()
    assert not list(redis_admin.scan_iter(b"*employee_id*"))
    assert view(applied.materialize())["rows_written"] == 3


def test_both_ends_of_a_locks_session_notice_when_the_other_is_gone(applied, monkeypatch):
    for name, value in applied.environment("materialize").items():
        monkeypatch.setenv(name, value)
    with loading(open_store(applied.repo), VIEW, wait_seconds=1) as lock:
        session = lock._connection
        assert session.exec_driver_sql("SHOW tcp_keepalives_idle").scalar() == "30"
        with socket.socket(fileno=os.dup(session.connection.dbapi_connection.fileno())) as ours:
            assert ours.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE) == 1
            assert ours.getsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE) == 30
            assert ours.getsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT) == 60_000
        lock.check()


def test_a_view_that_apply_removes_is_not_loaded_by_a_run_that_waited(applied, redis_admin):
    with hold_lock(applied, VIEW) as connection:
        waiting = applied.start(["materialize"], applied.environment("materialize"))
        wait_for(lambda: says_it_waits(waiting), LookupError, FileNotFoundError)
        with applied.postgres.admin(applied.database) as admin:
            admin.execute("DELETE FROM feature_views")
        connection.execute("SELECT pg_advisory_unlock_all()")
        assert view(waiting.wait(60))["reason"] == "no longer in the registry"
    assert not redis_admin.exists(RECORD)


def test_a_manual_run_beside_the_nightly_one_waits_for_it(applied, redis_admin):
    redis_admin.client_pause(120_000, all=False)
    try:
        nightly = applied.start(["materialize"], applied.environment("materialize"))
        wait_for(lambda: waits_to_write(redis_admin), LookupError)
        manual = applied.start(["materialize", "--backfill"], applied.environment("materialize"))
        wait_for(lambda: says_it_waits(manual), LookupError, FileNotFoundError)
    finally:
        redis_admin.client_unpause()
    assert view(nightly.wait(60))["reason"] == "never loaded"
    assert view(manual.wait(60))["loaded"] is False
    assert applied.online(101, 202, 303)["salary_band"] == [2, 3, 4]


def says_it_waits(running):
    if "another materialize run" not in running.err.read_text():
        raise LookupError


def test_only_the_named_views_are_loaded_and_an_unknown_one_is_refused(applied):
    assert set(applied.materialize("--views", VIEW).ok()["views"]) == {VIEW}
    error = applied.materialize("--views", "no_such_view").error
    assert "no_such_view" in error
    assert VIEW in error


def test_a_source_that_cannot_be_read_is_an_error_with_its_address(applied):
    s3 = boto3.client("s3", endpoint_url=applied.endpoint, region_name="us-east-1", aws_access_key_id="a", aws_secret_access_key="b")
    s3.delete_object(Bucket="features", Key=f"{applied.prefix}/employee_attrition.parquet")
    error = applied.materialize("--backfill").error
    assert f"s3://{applied.bucket}/employee_attrition.parquet" in error


def test_before_the_first_apply_it_says_so(stores):
    stores.prepare_registry().ok()
    assert "Run `apply` first" in stores.materialize("--backfill").error


def test_a_refused_password_of_the_online_store_is_an_error_without_the_password(applied):
    outcome = applied.materialize("--backfill", ONLINE_STORE_PASSWORD="pWrongSecret0123456789abcdef")
    assert "identity" in outcome.error
    assert "Traceback" not in outcome.stderr
    assert "pWrongSecret0123456789abcdef" not in outcome.stdout + outcome.stderr


def test_an_online_store_that_stays_away_is_an_error_within_its_time(applied):
    path = applied.repo / "feature_store.yaml"
    path.write_text(path.read_text().replace(f"127.0.0.1:{applied.redis_port}", "127.0.0.1:1"))
    outcome = applied.materialize("--backfill", "--wait-seconds", "2")
    assert "did not succeed within 2 s" in outcome.error
    assert outcome.seconds < 30


FORBIDDEN = {
    "feast-materialize": ["FLUSHALL", "CONFIG GET maxmemory", "KEYS *", "SCAN 0", "ACL LIST", "DEL x", "CLIENT LIST", "SHUTDOWN"],
    "feast-feature-server": ["SET x 1", "HSET x f 1", "DEL x", "EXPIRE x 1", "KEYS *", "FLUSHALL", "CONFIG GET maxmemory", "EVAL x 0"],
    "feast-apply": ["SET x 1", "HSET x f 1", "GET x", "HMGET x f", "KEYS *", "FLUSHALL", "CONFIG GET maxmemory", "CLIENT LIST"],
}


@pytest.mark.parametrize("user", FORBIDDEN)
def test_a_redis_user_may_do_nothing_but_its_work(redis_port, acl_secrets, user):
    client = redis.Redis(host="127.0.0.1", port=redis_port, username=user, password=acl_secrets[user])
    for command in FORBIDDEN[user]:
        with pytest.raises(redis.exceptions.NoPermissionError):
            client.execute_command(*command.split())


def test_the_program_gives_the_redis_users_the_rules_that_these_tests_run_with(acl_rules):
    identities = importlib.import_module("feast_eks.identities").IDENTITIES
    assert {i.online_store_user: i.online_store_rules for i in identities if i.online_store_rules} == acl_rules
