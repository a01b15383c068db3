"""What Prometheus sees."""

import asyncio
import json
import socket
import time
import urllib.request
from datetime import UTC, datetime, timedelta

import pytest
from feast import Entity, FeatureService, FeatureView, Field, FileSource, ValueType
from feast.protos.feast.types.Value_pb2 import Value
from feast.types import Int64
from prometheus_client.parser import text_string_to_metric_families

from bench.ports import free_port
from feature_runtime.serving import freshness
from feature_runtime.serving.metrics import BUCKETS, Metrics

NOW = datetime.now(UTC).replace(microsecond=0)
QUESTION = {"feature_service": "v1", "entities": {"customer_id": [1, 2, 3]}}


@pytest.fixture(scope="module")
def running(shop_of, serving):
    customer = Entity(name="customer", join_keys=["customer_id"], value_type=ValueType.INT64)
    view = FeatureView(
        name="customers",
        entities=[customer],
        ttl=timedelta(days=1),
        source=FileSource(name="customers", path="customers.parquet", timestamp_field="event_timestamp"),
        schema=[Field(name="customer_id", dtype=Int64), Field(name="age", dtype=Int64), Field(name="height", dtype=Int64)],
    )
    shop = shop_of(customer, view, FeatureService(name="v1", features=[view]))
    for number, when in ((1, NOW), (2, NOW - timedelta(days=2))):
        values = {"age": Value(int64_val=42), "height": Value()}
        shop.write(view, [({"customer_id": Value(int64_val=number)}, values, when)])
    started = serving(shop, shop.contract("v1"))
    started.metrics_port = free_port()
    stop = started.metrics.serve(started.metrics_port)
    yield started
    stop()


def scrape(running):
    text = urllib.request.urlopen(f"http://127.0.0.1:{running.metrics_port}/metrics", timeout=5).read().decode()
    return {
        (sample.name, *sorted(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def value(samples, name, **labels):
    return samples[(name, *sorted(labels.items()))]


def change(before, after, name, **labels):
    return value(after, name, **labels) - value(before, name, **labels)


def test_requests_are_counted_by_whose_fault_they_are(running):
    running.get("/ready")
    before = scrape(running)
    client = running.client()
    for _ in range(5):
        client.ask(QUESTION)
    client.ask(b"{")
    client.ask({**QUESTION, "feature_service": "v9"})
    after = scrape(running)
    name, endpoint = "feast_feature_server_request_total", "/get-online-features"
    assert change(before, after, name, endpoint=endpoint, status="success") == 5
    assert change(before, after, name, endpoint=endpoint, status="refused") == 2
    assert change(before, after, name, endpoint=endpoint, status="error") == 0
    assert value(after, name, endpoint="/ready", status="success") == 1, "probes are apart"


def test_latencies_fall_into_buckets_below_a_millisecond(running):
    before = scrape(running)
    client = running.client()
    for _ in range(20):
        client.ask(QUESTION)
    after = scrape(running)
    name, endpoint = "feast_feature_server_request_latency_seconds", "/get-online-features"
    counts = [change(before, after, f"{name}_bucket", endpoint=endpoint, le=str(bound)) for bound in BUCKETS]
    assert counts == sorted(counts)
    assert change(before, after, f"{name}_bucket", endpoint=endpoint, le="+Inf") == 20
    assert change(before, after, f"{name}_count", endpoint=endpoint) == 20
    assert 0 < change(before, after, f"{name}_sum", endpoint=endpoint) < 20
    assert BUCKETS[0] == 0.00025


def test_a_latency_counts_in_the_bucket_it_does_not_exceed():
    metrics = Metrics()
    for seconds in (0.00025, 0.000251, 0.2, 11):
        metrics.observe("x", "success", seconds)
    family = next(family for family in metrics.collect() if family.name.endswith("latency_seconds"))
    found = {
        sample.labels["le"]: sample.value
        for sample in family.samples
        if sample.name.endswith("_bucket") and sample.labels["endpoint"] == "x"
    }
    assert (found["0.00025"], found["0.0005"], found["0.25"], found["10.0"], found["+Inf"]) == (1, 2, 3, 3, 4)


def test_every_cell_is_counted_by_its_status(running):
    before = scrape(running)
    running.ask(QUESTION)
    after = scrape(running)
    name = "feast_online_features_status_total"
    # Row 1: a value and a null; row 2 is too old; row 3 is not there.
    for status, count in (("present", 1), ("null_value", 1), ("outside_max_age", 2), ("not_found", 2), ("invalid", 0)):
        assert change(before, after, name, feature_view="customers", status=status) == count


def test_the_contract_and_the_online_store_are_shown(running):
    samples = scrape(running)
    sha256 = running.get("/contract").json["services"]["v1"]["sha256"]
    assert value(samples, "feast_feature_contract_info", feature_service="v1", sha256=sha256) == 1
    assert value(samples, "feast_feature_server_online_store_up") == 1
    assert value(samples, "feast_feature_server_registry_reload_total", result="loaded") == 0


def test_ages_come_from_the_records_of_loads_and_of_the_skew_probe(running, redis_admin):
    samples = scrape(running)
    assert not [
        name for name, *_ in samples if name.startswith(("feast_feature_freshness", "feast_feature_data_age", "feast_feature_skew"))
    ]
    record = {
        "schema_sha256": "0",
        "end": (NOW - timedelta(hours=1)).isoformat(),
        "newest_event_time": (NOW - timedelta(hours=5)).isoformat(),
    }
    redis_admin.set("feast-eks:loaded:shop:customers", json.dumps(record))
    redis_admin.set("feast-eks:skew:shop:v1", json.dumps({"at": NOW.isoformat(), "ratio": 0.25, "compared": 8, "differing": 2}))
    look(running)
    samples = scrape(running)
    labels = {"feature_view": "customers", "project": "shop"}
    passed = time.time() - NOW.timestamp()
    assert value(samples, "feast_feature_freshness_seconds", **labels) == pytest.approx(3600 + passed, abs=5)
    assert value(samples, "feast_feature_data_age_seconds", **labels) == pytest.approx(5 * 3600 + passed, abs=5)
    assert value(samples, "feast_feature_skew_ratio", feature_service="v1", project="shop") == 0.25
    assert value(samples, "feast_feature_skew_age_seconds", feature_service="v1", project="shop") == pytest.approx(passed, abs=5)
    assert running.get("/contract").json["loaded_until"] == {"customers": record["end"]}
    redis_admin.set("feast-eks:loaded:shop:customers", b"garbage")
    redis_admin.set("feast-eks:skew:shop:v1", b"[]")
    look(running)
    assert not [name for name, *_ in scrape(running) if name.startswith(("feast_feature_freshness", "feast_feature_skew"))]
    assert running.get("/contract").json["loaded_until"] == {}


def look(running):
    asyncio.run_coroutine_threadsafe(freshness.look(running.server), running.loop).result(5)


@pytest.mark.parametrize("dual", [True, False])
def test_they_are_there_on_every_address_also_without_ipv6(monkeypatch, dual):
    if not dual:
        monkeypatch.setattr("socket.has_dualstack_ipv6", lambda: False)
    elif not socket.has_dualstack_ipv6():
        pytest.skip("this machine has no IPv6")
    port = free_port()
    stop = Metrics().serve(port)
    for address in ("127.0.0.1", "[::1]") if dual else ("127.0.0.1",):
        assert urllib.request.urlopen(f"http://{address}:{port}/metrics", timeout=5).status == 200
    stop()
