"""The skew probe on real stores and a real server: it finds what differs, and nothing else."""

import contextlib
import json
import os
import signal
from datetime import UTC, datetime, timedelta

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from feast import Entity, FeatureView, Field, FileSource, ValueType
from feast.types import Int64

from bench.ports import free_port
from feature_runtime.offline_store.history import History
from feature_runtime.offline_store.joined_view import JoinedView
from feature_runtime.offline_store.sampling import sample
from feature_runtime.offline_store.source import ViewSource
from feature_runtime.offline_store.vector import Vector
from feature_runtime.proving.agreement import Comparison, Tally
from tests.waiting import wait_until_ready

SERVICE = "attrition_model_v1"
KEY = f"feast-eks:skew:employee_attrition:{SERVICE}"
EMPLOYEES = range(1, 31)


class Probe:
    """A feature store with employees loaded, and a feature server that serves them."""

    def __init__(self, stores, port):
        self.stores, self.port = stores, port

    def run(self, *arguments, wait="10"):
        environment = self.stores.environment("materialize") | {
            "FEATURE_SERVER_REPLICAS": "127.0.0.1",
            "FEATURE_SERVER_PORT": str(self.port),
            # It needs no registry, and may not ask for one.
            "REGISTRY_USER": "nobody",
        }
        return self.stores.run(["skew", "--wait-seconds", wait, *arguments], environment)

    def record(self):
        return json.loads(self.stores.redis.get(KEY))


@pytest.fixture
def served(rows, midnight):
    """Load employees into a feature store, and serve it."""
    with contextlib.ExitStack() as ends:

        def serve(stores):
            stores.put(rows({employee: midnight(2) for employee in EMPLOYEES}))
            stores.materialize("--backfill").ok()
            port = free_port()
            ports = ["--port", str(port), "--grpc-port", "0", "--metrics-port", str(free_port())]
            running = stores.start(["serve", *ports], stores.environment("serve"))
            ends.callback(end, running.pid)
            wait_until_ready(port, running.pid, running.err)
            return Probe(stores, port)

        yield serve


def end(pid):
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)


@pytest.fixture
def probe(applied, served):
    return served(applied)


def test_what_is_served_as_it_was_loaded_does_not_differ(probe):
    service = probe.run().ok()["services"][SERVICE]
    assert (service["entities"], service["compared"], service["differing"], service["ratio"]) == (30, 180, 0, 0.0)
    record = probe.record()
    assert (record["ratio"], record["compared"], record["differing"]) == (0.0, 180, 0)
    assert datetime.now(UTC) - datetime.fromisoformat(record["at"]) < timedelta(minutes=2)


def test_features_that_no_service_lists_are_compared_and_not_recorded(probe):
    listed = ["employee_features:overtime", "employee_features:tenure"]
    compared = probe.run("--features", *listed, "--full-feature-names").ok()["services"]["--features"]
    assert (compared["entities"], compared["compared"], compared["differing"]) == (30, 60, 0)
    assert not probe.stores.redis.exists(KEY)
    assert "no feature 'salary'" in probe.run("--features", "employee_features:salary").error


def test_values_that_are_not_what_the_history_says_are_counted_and_named(probe):
    corrected = [row | ({"salary_band": 987_654_321} if row["employee_id"] in (7, 8) else {}) for row in probe.stores.records()]
    corrected[10]["tenure"] = None
    probe.stores.put(corrected)
    probe.stores.redis.delete(*probe.stores.redis.keys(b"*employee_id*\x1e\x00\x00\x00\x00\x00\x00\x00employee_attrition"))
    outcome = probe.run()
    assert f"{SERVICE}: 9 of 180 values differ, most of them of salary_band" in outcome.error
    assert outcome.code == 1
    service = outcome.result["services"][SERVICE]
    assert service["worst_features"]["salary_band"] == 3
    assert {"entity": {"employee_id": 7}, "features": ["salary_band"]} in service["examples"]
    assert {"entity": {"employee_id": 11}, "features": ["tenure"]} in service["examples"]
    assert {example["entity"]["employee_id"] for example in service["examples"]} == {7, 8, 11, 30}
    # They describe people.
    assert "987654321" not in outcome.stdout
    # Recorded all the same: an alert looks at it.
    assert (probe.record()["differing"], probe.record()["ratio"]) == (9, 0.05)
    probe.run("--tolerated-ratio", "0.05").ok()
    assert probe.run("--tolerated-ratio", "0.049").code == 1


def test_more_entities_than_one_request_takes_are_each_held_against_their_own_history(probe, rows, midnight):
    probe.stores.put(rows({employee: midnight(1) for employee in range(1, 1201)}))
    probe.stores.materialize("--overlap-hours", "72").ok()
    corrected = {1, 499, 500, 501, 1000, 1001, 1200}
    probe.stores.put([row | ({"salary_band": 99} if row["employee_id"] in corrected else {}) for row in probe.stores.records()])
    service = probe.run("--sample", "2000").result["services"][SERVICE]
    assert (service["entities"], service["compared"], service["differing"]) == (1200, 7200, len(corrected))
    assert service["worst_features"] == {"salary_band": len(corrected)}
    assert {example["entity"]["employee_id"] for example in service["examples"]} <= corrected


def test_a_join_key_may_be_called_id(stores, served, rows, midnight):
    stores.put(rows({1: midnight(2)}))
    stores.edit("data_sources.py", "    timestamp_field=", '    field_mapping={"employee_id": "id"},\n    timestamp_field=')
    stores.edit("entities.py", 'join_keys=["employee_id"]', 'join_keys=["id"]')
    stores.edit("feature_views.py", 'Field(name="employee_id"', 'Field(name="id"')
    stores.lock()
    stores.prepare_registry().ok()
    stores.apply().ok()
    service = served(stores).run().ok()["services"][SERVICE]
    assert (service["entities"], service["compared"], service["differing"]) == (30, 180, 0)


def test_keys_that_differ_by_case_alone_are_sampled_as_they_belong_together(tmp_path):
    moment = datetime(2026, 3, 4, tzinfo=UTC)
    rows = [{"t": number, "T": -number, "at": moment} for number in range(1, 6)]
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "rows.parquet")
    view = FeatureView(
        name="cased",
        entities=[Entity(name=f"entity_{key}", join_keys=[key], value_type=ValueType.INT64) for key in ("t", "T")],
        ttl=timedelta(days=1),
        source=FileSource(name="rows", path=str(tmp_path / "rows.parquet"), timestamp_field="at"),
        schema=[Field(name="t", dtype=Int64), Field(name="T", dtype=Int64)],
    )
    cased = JoinedView(
        name="cased", view=view, history=History(view, ViewSource(view, tmp_path)), keys={"t": "t", "T": "other"}, features=[]
    )
    found = sample([cased], {"cased": moment}, count=9, seed="", memory_mib=64)
    assert sorted(found, key=lambda key: key["t"]) == [{"t": row["t"], "other": row["T"]} for row in rows]


def test_entities_that_differ_are_named_as_a_request_names_them():
    vector = Vector(
        service="s",
        sha256="",
        features=[("v", "f")],
        full_names=False,
        dtypes={("v", "f"): Int64},
        parts=[],
        computed={},
        keys={},
        requests={},
    )
    tally = Tally()
    comparison = Comparison(vector=vector, views=[], ends={}, memory_mib=64)
    (found,) = comparison.compared({"f": {"values": [2]}}, [[[3]]], [{}])
    comparison._count({"born": datetime(1969, 12, 31, 23, 59, 58, tzinfo=UTC), "mark": b"a", "n": 1}, found, tally)
    assert tally.examples == [{"entity": {"born": -2, "mark": "YQ==", "n": 1}, "features": ["f"]}]


def test_what_the_last_load_could_not_see_does_not_count(probe, rows, midnight):
    now = datetime.now(UTC)
    later = rows({employee: now + timedelta(minutes=1) for employee in EMPLOYEES})
    late = [row | {"created": now + timedelta(minutes=1)} for row in rows({employee: midnight(1) for employee in (3, 4)})]
    unknown = rows({employee: now + timedelta(minutes=1) for employee in range(100, 110)})
    probe.stores.put([*later, *probe.stores.records(), *late, *unknown])
    service = probe.run().ok()["services"][SERVICE]
    assert (service["entities"], service["compared"], service["differing"]) == (30, 180, 0)

    # The same late rows, had they been there before the load.
    early = [row | {"created": midnight(1)} for row in late]
    probe.stores.put([row for row in probe.stores.records() if row not in late] + early)
    assert {example["entity"]["employee_id"] for example in probe.run().result["services"][SERVICE]["examples"]} == {3, 4}


def test_values_that_reach_the_end_of_their_ttl_are_no_difference(probe, rows):
    # In half a minute from now, the server or the probe may find these too old, and are both right.
    soon = datetime.now(UTC) - timedelta(days=7) + timedelta(seconds=5)
    probe.stores.put(rows(dict.fromkeys(EMPLOYEES, soon)))
    probe.stores.redis.flushall()
    probe.stores.materialize("--backfill").ok()
    assert probe.run().ok()["services"][SERVICE]["compared"] == 180


def test_a_server_of_another_contract_is_not_compared_with(probe):
    probe.stores.add_field()
    error = probe.run(wait="0.5").error
    assert "no feature server gives an answer to compare" in error
    assert "HTTP 412" in error
    assert probe.stores.redis.get(KEY) is None


def test_the_sample_is_the_same_on_the_same_day_and_spread(probe):
    def asked(size):
        # All are wrong, so that all are named.
        return {example["entity"]["employee_id"] for example in probe.run("--sample", size).result["services"][SERVICE]["examples"]}

    keys = [key for key in probe.stores.redis.keys(b"*employee_id*") if b"feast-eks" not in key]
    probe.stores.redis.delete(*keys)
    five = asked("5")
    assert len(five) == 5
    assert asked("5") == five
    assert asked("3") < five


def test_before_the_first_load_there_is_nothing_to_compare_yet(applied):
    outcome = Probe(applied, free_port()).run()
    assert outcome.code == 1
    assert "nothing was ever loaded of employee_features" in outcome.error


def test_a_server_that_does_not_answer_is_named(applied):
    applied.materialize("--backfill").ok()
    error = Probe(applied, free_port()).run(wait="0.5").error
    assert "no feature server gives an answer to compare: 127.0.0.1: no answer" in error
