"""The example is what the documentation says, and works on a laptop with nothing but Feast."""

import json
import os
import shutil
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from feature_runtime.definitions.feature_repo import load_definitions

ROOT = Path(__file__).resolve().parents[2]
FEATURES = [
    ["tenure", "Float32"],
    ["salary_band", "Int64"],
    ["overtime", "Int64"],
    ["promotion_stagnation", "Float32"],
    ["career_velocity", "Float32"],
    ["overall_satisfaction", "Float32"],
]


@pytest.fixture(scope="module")
def lock():
    return json.loads((ROOT / "feature_repo" / "contract.lock.json").read_text())


def test_the_view_has_the_six_fields_and_a_week_to_live(lock):
    view = lock["views"]["employee_features"]
    assert {key: said for key, said in view.items() if key not in {"description", "owner"}} == {
        "kind": "batch",
        "entities": ["employee_id"],
        "entity_columns": [["employee_id", "Int64"]],
        "features": FEATURES,
        "online": True,
        "source": "employee_attrition",
        "ttl_seconds": 7 * 24 * 3600,
        "tags": {"freshness_hours": "192"},
    }


def test_the_service_lists_them_in_order(lock):
    service = lock["services"]["attrition_model_v1"]
    assert service["features"] == [["employee_features", *feature] for feature in FEATURES]


def test_the_service_names_its_fields_so_that_a_new_one_does_not_change_it():
    text = (ROOT / "feature_repo" / "feature_services.py").read_text()
    for name, _ in FEATURES:
        assert f'"{name}"' in text


@pytest.mark.parametrize(
    ("environment", "path", "endpoint"),
    [
        ({}, "data/employee_attrition.parquet", ""),
        ({"OFFLINE_STORE_BUCKET": "b"}, "s3://b/employee_attrition.parquet", ""),
        (
            {"OFFLINE_STORE_BUCKET": "b", "OFFLINE_STORE_ENDPOINT_URL": "http://s3:1"},
            "s3://b/employee_attrition.parquet",
            "http://s3:1",
        ),
        ({"OFFLINE_STORE_ENDPOINT_URL": "http://s3:1"}, "data/employee_attrition.parquet", ""),
    ],
)
def test_the_source_is_beside_the_definitions_on_a_laptop_and_in_the_bucket_in_the_cluster(monkeypatch, environment, path, endpoint):
    for name in ("OFFLINE_STORE_BUCKET", "OFFLINE_STORE_ENDPOINT_URL"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    (source,) = load_definitions(ROOT / "feature_repo").sources
    assert source.path == path
    assert source.s3_endpoint_override == endpoint


def test_the_contract_is_up_to_date():
    done = subprocess.run(
        [sys.executable, "-m", "feature_runtime", "lock", "--check"],
        cwd=ROOT,
        env={"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT / "runtime")},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout


def test_on_a_laptop_feast_applies_loads_and_reads_it(tmp_path):
    """Exactly the commands of the documentation, with Feast's own command line and local stores."""
    repo = tmp_path / "feature_repo"
    shutil.copytree(ROOT / "feature_repo", repo, ignore=shutil.ignore_patterns("data", "__pycache__"))
    environment = {
        "PATH": f"{Path(sys.executable).parent}:/usr/bin:/bin",
        "HOME": str(tmp_path),
        "PYTHONPATH": str(ROOT / "runtime"),
    }

    def run(*command, cwd):
        done = subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    data = repo / "data" / "employee_attrition.parquet"
    run(sys.executable, "-m", "feature_runtime", "sample-data", "feature_repo/data/employee_attrition.parquet", cwd=tmp_path)
    run("feast", "apply", cwd=repo)
    run("feast", "materialize-incremental", datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S"), cwd=repo)
    read = run(
        *("feast", "get-online-features", "-e", "employee_id=101"),
        *("-f", "employee_features:tenure", "-f", "employee_features:salary_band"),
        cwd=repo,
    )
    history = pq.read_table(data, filters=[("employee_id", "==", 101)]).sort_by("event_timestamp").to_pylist()
    values = json.loads(read[read.index("{") :])
    assert values["salary_band"] == [history[-1]["salary_band"]]
    assert values["tenure"] == [pytest.approx(history[-1]["tenure"], rel=1e-6)]
