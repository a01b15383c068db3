"""The whole way on real stores: apply, load, serve, smoke; each process with its own user's rights."""

import json
import os
import signal
import urllib.error
import urllib.request

import pytest

from bench.ports import free_port
from tests.waiting import wait_for, wait_until, wait_until_ready

SERVICE = "attrition_model_v1"


class Served:
    """A server in a process of its own, as a pod runs it."""

    def __init__(self, stores, ports, *arguments):
        self.stores = stores
        self.port, self.metrics_port = ports
        ports = ["--port", str(self.port), "--grpc-port", "0", "--metrics-port", str(self.metrics_port)]
        self.process = stores.start_afresh(["serve", *ports, *arguments], stores.environment("serve"))

    def ready(self):
        assert self.process.code is None
        urllib.request.urlopen(f"http://127.0.0.1:{self.port}/ready", timeout=2).read()

    def ask(self, service=SERVICE, **entities):
        body = json.dumps({"feature_service": service, "entities": entities or {"employee_id": [101]}}).encode()
        return self.post("/get-online-features", body)

    def post(self, path, body):
        request = urllib.request.Request(f"http://127.0.0.1:{self.port}{path}", data=body, headers={"Content-Type": "application/json"})
        return json.load(urllib.request.urlopen(request, timeout=10))

    def metrics(self):
        return urllib.request.urlopen(f"http://127.0.0.1:{self.metrics_port}/metrics", timeout=5).read().decode()

    def stop(self):
        if self.process.code is None:
            os.killpg(self.process.pid, signal.SIGKILL)


@pytest.fixture
def serve(applied):
    started = []

    def start(*arguments):
        served = Served(applied, (free_port(), free_port()), *arguments)
        started.append(served)
        wait_until_ready(served.port, served.process.pid, served.process.err)
        return served

    yield start
    for served in started:
        served.stop()


def test_a_served_vector_is_proven_and_the_server_can_only_read(serve, applied, redis_admin):
    applied.materialize("--backfill").ok()
    served = serve()
    environment = applied.offline_environment() | {
        "FEATURE_REPO_DIR_ENV_VAR": str(applied.repo),
        "FEATURE_SERVER_REPLICAS": "127.0.0.1,127.0.0.2",
        "FEATURE_SERVER_PORT": str(served.port),
        "EXPECTED_REPLICAS": "2",
    }
    result = applied.run(["smoke", "--wait-seconds", "20"], environment).ok()
    vector = result["services"][SERVICE]["vectors"][0]
    assert vector["online"] == pytest.approx(vector["offline"], rel=1e-6)

    # A value that was changed behind everybody's back is found on the real server too.
    applied.put([{**row, "salary_band": row["salary_band"] + 1} for row in applied.records()])
    error = applied.run(["smoke", "--wait-seconds", "0.5"], environment).error
    assert "salary_band is 2, the source says 3" in error

    before = {key: redis_admin.hgetall(key) for key in redis_admin.scan_iter(b"*employee_id*")}
    row = {"employee_id": [101], "event_timestamp": ["2026-01-01T00:00:00Z"], "tenure": [1.0]}
    for path, body in (
        ("/write-to-online-store", {"feature_view_name": "employee_features", "df": row}),
        ("/materialize", {"start_ts": "2026-01-01", "end_ts": "2026-01-02"}),
    ):
        with pytest.raises(urllib.error.HTTPError) as refused:
            served.post(path, json.dumps(body).encode())
        assert refused.value.code == 404
    assert {key: redis_admin.hgetall(key) for key in redis_admin.scan_iter(b"*employee_id*")} == before

    assert 'feast_feature_data_age_seconds{feature_view="employee_features",project="employee_attrition"}' in served.metrics()
    os.kill(served.process.pid, signal.SIGTERM)
    outcome = served.process.wait(30)
    assert outcome.code == 0
    assert outcome.result == {"served": [SERVICE]}


def test_a_server_follows_the_registry_and_outlives_it(serve, applied, postgres):
    served = serve("--registry-seconds", "0.5")
    before = served.ask()
    applied.edit(
        "feature_services.py",
        "attrition_model_v1 = FeatureService(",
        'attrition_model_v2 = FeatureService(name="attrition_model_v2", features=[employee_features[["overtime"]]])\n'
        "attrition_model_v1 = FeatureService(",
    )
    applied.lock()
    applied.apply().ok()
    wait_for(lambda: served.ask("attrition_model_v2"), urllib.error.HTTPError)
    assert served.ask("attrition_model_v2")["metadata"]["feature_names"] == ["employee_id", "overtime"]
    postgres.stop()
    try:
        wait_until(lambda: 'reload_total{result="failed"} 0.0' not in served.metrics(), "a look at the registry failed")
        assert served.ask() == before, "what the registry said last is served on"
        served.ready()
    finally:
        postgres.start()


def test_a_registry_that_does_not_have_the_contract_is_refused_at_the_start(applied):
    applied.edit("feature_services.py", '"tenure",', '"tenure",\n                "age",')
    applied.edit("feature_views.py", '        Field(name="tenure"', '        Field(name="age", dtype=Int64),\n        Field(name="tenure"')
    applied.lock()
    outcome = applied.run(["serve", "--port", "1"], applied.environment("serve"))
    assert "'attrition_model_v1' in the registry does not have employee_features:age" in outcome.error
    assert "Run `apply`" in outcome.error


def test_a_server_before_the_first_apply_says_so(stores):
    stores.prepare_registry().ok()
    outcome = stores.run(["serve", "--port", "1"], stores.environment("serve"))
    assert "Run `apply` first" in outcome.error
