"""The documented examples, really run: a model is trained, and predicts from served vectors of the same contract and no other."""

import contextlib
import http.server
import json
import os
import signal
import subprocess
import sys
import threading

import joblib
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from bench.ports import free_port
from tests.waiting import wait_until_ready

SERVICE = "attrition_model_v1"
EMPLOYEES = range(1, 81)


def example(repository, name, *arguments):
    command = [sys.executable, str(repository / "examples" / name), *map(str, arguments)]
    # One thread: a busy machine makes those of the training library wait for each other.
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=120)


@pytest.fixture
def served(applied, rows, midnight):
    applied.put([row for days in (6, 1) for row in rows({employee: midnight(days) for employee in EMPLOYEES})])
    applied.materialize("--backfill").ok()
    port = free_port()
    ports = ["--port", str(port), "--grpc-port", "0", "--metrics-port", str(free_port())]
    running = applied.start(["serve", *ports], applied.environment("serve"))
    server = f"http://127.0.0.1:{port}"
    wait_until_ready(port, running.pid, running.err)
    yield applied, server
    with contextlib.suppress(ProcessLookupError):
        os.kill(running.pid, signal.SIGKILL)
        os.waitpid(running.pid, 0)


@pytest.fixture
def train_set(served, midnight, tmp_path):
    stores, _ = served
    labels = [
        {"employee_id": employee, "event_timestamp": midnight(days), "left": employee % 3 == 0} for days in (5, 0) for employee in EMPLOYEES
    ]
    pq.write_table(pa.Table.from_pylist(labels), tmp_path / "labels.parquet")
    paths = ["--labels", str(tmp_path / "labels.parquet"), "--output", str(tmp_path / "train-set.parquet")]
    environment = stores.offline_environment() | {"FEATURE_REPO_DIR_ENV_VAR": str(stores.repo)}
    stores.run(["train-set", "--service", SERVICE, *paths], environment).ok()
    return tmp_path / "train-set.parquet"


def test_a_model_predicts_from_served_vectors_what_it_says_of_its_training_set(served, train_set, repository, tmp_path):
    stores, server = served
    trained = example(repository, "train.py", train_set, "left", tmp_path / "model.joblib")
    assert trained.returncode == 0, trained.stderr
    locked = json.loads((stores.repo / "contract.lock.json").read_text())
    assert json.loads(trained.stdout)["sha256"] == locked["services"][SERVICE]["sha256"]

    predicted = example(repository, "predict.py", tmp_path / "model.joblib", server, "employee_id", *EMPLOYEES)
    assert predicted.returncode == 0, predicted.stderr
    online = [json.loads(line) for line in predicted.stdout.splitlines()]
    assert [line["employee_id"] for line in online] == list(EMPLOYEES)
    # The labels of today have the rows that are served now.
    names = [name for _, name, _ in json.loads(trained.stdout)["features"]]
    vectors = pq.read_table(train_set).slice(len(EMPLOYEES)).select(names).to_pandas().astype("float64").to_numpy()
    offline = joblib.load(tmp_path / "model.joblib")["model"].predict_proba(vectors)[:, 1]
    assert [line["probability"] for line in online] == [round(float(value), 6) for value in offline]
    assert len(set(offline)) > 1

    # A server of the next contract is refused by name, and so is the model by the server.
    model = joblib.load(tmp_path / "model.joblib")
    model["contract"]["sha256"] = "0" * 64
    joblib.dump(model, tmp_path / "other.joblib")
    refused = example(repository, "predict.py", tmp_path / "other.joblib", server, "employee_id", 1)
    assert refused.returncode == 1
    assert "the model was trained on another contract than the server serves" in refused.stderr
    assert locked["services"][SERVICE]["sha256"] in refused.stderr
    assert "Traceback" not in refused.stderr


@pytest.mark.parametrize(
    ("sha256", "names", "says"),
    [
        (None, ["employee_id", "tenure", "salary_band"], "does not say that it serves the contract aaaa"),
        ("bbbb", ["employee_id", "tenure", "salary_band"], "aaaa, but bbbb"),
        ("aaaa", ["employee_id", "salary_band", "tenure"], "the server answers ['employee_id', 'salary_band', 'tenure']"),
    ],
)
def test_an_answer_that_is_not_of_the_models_contract_is_refused(repository, tmp_path, sha256, names, says):
    class Stranger(http.server.BaseHTTPRequestHandler):
        def do_POST(self):
            self.rfile.read(int(self.headers["Content-Length"]))
            self.send_response(200)
            if sha256:
                self.send_header("feast-contract", sha256)
            self.end_headers()
            self.wfile.write(json.dumps({"metadata": {"feature_names": names}, "results": [{"values": [1]}] * 3}).encode())

        def log_message(self, *_):
            pass

    server = http.server.HTTPServer(("127.0.0.1", 0), Stranger)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    contract = {"feature_service": "s", "sha256": "aaaa", "features": [["v", "tenure", "Float32"], ["v", "salary_band", "Int64"]]}
    joblib.dump({"model": None, "contract": contract}, tmp_path / "model.joblib")
    refused = example(repository, "predict.py", tmp_path / "model.joblib", f"http://127.0.0.1:{server.server_port}", "employee_id", 1)
    server.shutdown()
    server.server_close()
    assert (refused.returncode, "Traceback" in refused.stderr) == (1, False)
    assert says in refused.stderr
