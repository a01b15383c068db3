"""The whole way on real stores: apply, load, serve, smoke; each process with its own user's rights."""

import json
import os
import signal
import urllib.error
import urllib.request
from pathlib import Path

import pytest


@pytest.fixture
def served(applied, free_port, wait_for):
    applied.materialize("--backfill").ok()
    port = free_port()
    running = applied.start_afresh(["serve", "--port", str(port), "--workers", "2"], applied.environment("serve"))
    wait_for(lambda: urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=2).read(), OSError, seconds=60)
    yield applied, port, running
    if running.code is None:
        os.killpg(running.pid, signal.SIGKILL)


def post(port, path, body):
    request = urllib.request.Request(
        f"http://127.0.0.1:{port}{path}", data=json.dumps(body).encode(), headers={"Content-Type": "application/json"}
    )
    return urllib.request.urlopen(request, timeout=10)


def test_a_served_vector_is_proven_and_the_server_can_only_read(served, redis_admin):
    stores, port, running = served
    environment = stores.offline_environment() | {
        "FEATURE_REPO_DIR_ENV_VAR": str(stores.repo),
        "FEATURE_SERVER_REPLICAS": "127.0.0.1,127.0.0.2",
        "FEATURE_SERVER_PORT": str(port),
        "EXPECTED_REPLICAS": "2",
    }
    result = stores.run(["smoke", "--wait-seconds", "20"], environment).ok()
    vector = result["services"]["attrition_model_v1"]["vectors"][0]
    assert vector["online"] == pytest.approx(vector["offline"], rel=1e-6)

    # A value that was changed behind everybody's back is found on the real server too.
    stores.put([{**row, "salary_band": row["salary_band"] + 1} for row in stores.records()])
    error = stores.run(["smoke", "--wait-seconds", "0.5"], environment).error
    assert "salary_band is 2, the source says 3" in error

    before = {key: redis_admin.hgetall(key) for key in redis_admin.scan_iter(b"*employee_id*")}
    row = {"employee_id": [101], "event_timestamp": ["2026-01-01T00:00:00Z"], "tenure": [1.0]}
    with pytest.raises(urllib.error.HTTPError) as refused:
        post(port, "/write-to-online-store", {"feature_view_name": "employee_features", "df": row})
    assert refused.value.code >= 400
    assert {key: redis_admin.hgetall(key) for key in redis_admin.scan_iter(b"*employee_id*")} == before
    with pytest.raises(urllib.error.HTTPError):
        post(port, "/materialize", {"start_ts": "2026-01-01", "end_ts": "2026-01-02"})

    workers = [pid for pid in Path("/proc").glob("[0-9]*") if _parent(pid) == running.pid]
    assert len(workers) >= 2
    os.kill(running.pid, signal.SIGTERM)
    outcome = running.wait(30)
    assert outcome.code == 0
    assert outcome.stdout == "", "stdout belongs to results"


def _parent(process):
    try:
        return int((process / "stat").read_text().rsplit(")", 1)[1].split()[1])
    except (OSError, ValueError):
        return None


def test_a_server_before_the_first_apply_says_so(stores):
    stores.prepare_registry().ok()
    outcome = stores.run(["serve", "--port", "1"], stores.environment("serve"))
    assert "Run `apply` first" in outcome.error
