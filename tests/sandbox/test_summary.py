"""The last screen of `make up`."""

import json
import re
import subprocess
import sys
import threading
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from sandbox.summary import History, an_answer

PROCESSES = 10
"""With Arrow's threads reading a Python file, each of them aborted with a probability of a third."""

PROGRAM = """
import io, sys, time
from sandbox.summary import newest_row

class Slow(io.BytesIO):
    def read(self, size=-1):
        time.sleep(0.0005)
        return super().read(size)

row = newest_row(Slow(open(sys.argv[1], "rb").read()), {"id": 7}, "event_timestamp")
sys.stdout.write(str(row["x"]))
"""


def test_a_process_that_has_read_the_newest_row_ends_with_0(tmp_path):
    path = tmp_path / "history.parquet"
    rows = 9_000
    newest = datetime(2026, 11, 1, tzinfo=UTC)
    columns = {"id": [n % 100 for n in range(rows)], "x": list(range(rows))} | {f"other_{n}": [0.5] * rows for n in range(20)}
    pq.write_table(pa.table({**columns, "event_timestamp": [newest - timedelta(seconds=n) for n in range(rows)]}), path)

    ended = [
        subprocess.run([sys.executable, "-c", PROGRAM, str(path)], capture_output=True, text=True, check=False) for _ in range(PROCESSES)
    ]

    assert [(process.returncode, process.stdout) for process in ended] == [(0, "7")] * PROCESSES, ended[0].stderr


LOCK = {
    "services": {
        "plus_v1": {"features": [["stats", "rate", "Float32"], ["plus", "total", "Float64"]], "sha256": "0123456789abcdef"},
        "pair_v1": {
            "features": [["buyer", "rate", "Float32"], ["stats", "rate", "Float32"]],
            "aliases": {"buyer": "stats"},
            "join_key_maps": {"buyer": {"driver_id": "buyer_id"}},
            "full_feature_names": True,
            "sha256": "0123456789abcdef",
        },
    },
    "entities": {"driver": {"join_key": "driver_id", "value_type": "INT64"}},
    "sources": {"stats": {"file": "stats.parquet", "timestamp_field": "at", "type": "FileSource", "field_mapping": {"raw": "rate"}}},
    "views": {
        "stats": {
            "entities": ["driver"],
            "entity_columns": [["driver_id", "Int64"]],
            "features": [["rate", "Float32"]],
            "online": True,
            "source": "stats",
        },
        "history": {"entities": ["driver"], "entity_columns": [["driver_id", "Int64"]], "features": [["x", "Int64"]], "online": False},
    },
    "on_demand_views": {
        "plus": {
            "features": [["total", "Float64"]],
            "sources": {
                "stats": {"view": "stats", "features": [["rate", "Float32"]]},
                "request": {"request": [["add", "Int64"], ["tags", "Array(String)"], ["when", "UnixTimestamp"]]},
            },
        }
    },
}


class Data(History):
    """A bucket that is a directory."""

    def __init__(self, directory, lock=LOCK):
        super().__init__({}, "s3://bucket", lock)
        self.directory = directory

    def _open(self, file):
        return (self.directory / file).open("rb")


class Server(BaseHTTPRequestHandler):
    """Answers as it is told: a status and a function of the question."""

    def do_POST(self):
        asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.server.asked.append(asked)
        status, answer = self.server.answer(asked)
        self.send_response(status)
        self.end_headers()
        self.wfile.write(json.dumps(answer).encode())

    def log_message(self, *_):
        pass


@pytest.fixture
def server():
    found = ThreadingHTTPServer(("127.0.0.1", 0), Server)
    found.asked = []
    thread = threading.Thread(target=found.serve_forever, daemon=True)
    thread.start()
    yield found
    found.shutdown()
    thread.join()


def answers(**features):
    return 200, {"metadata": {"feature_names": list(features)}, "results": [{"values": [value]} for value in features.values()]}


def screen(server, data, named=None, lock=LOCK):
    return "\n".join(an_answer(f"http://127.0.0.1:{server.server_port}", lock, named or {}, data))


@pytest.fixture
def data(tmp_path):
    at = [datetime(2026, 11, day, tzinfo=UTC) for day in (1, 2, 3)]
    pq.write_table(pa.table({"driver_id": [1001, 1001, 1002], "at": at, "raw": [0.25, 0.5, 0.75]}), tmp_path / "stats.parquet")
    return Data(tmp_path)


def test_a_service_with_request_data_is_asked_with_values_of_the_declared_types(server, data):
    server.answer = lambda _: answers(driver_id=1001, rate=0.5, total=1.5)
    shown = screen(server, data, {"driver_id": 1001})
    entities = {"driver_id": [1001], "add": [1], "tags": [["a"]], "when": [1_700_000_000]}
    assert server.asked == [{"feature_service": "plus_v1", "entities": entities}]
    assert "feature service  plus_v1 (contract 0123456789ab)" in shown
    assert re.search(r"rate +0\.5 +0\.5\n +total +1\.5", shown), shown
    assert "curl -s http" in shown


def test_a_service_that_is_refused_is_said_and_the_next_one_is_asked_with_full_names(server, data):
    pair = answers(driver_id=1001, buyer_id=1002, buyer__rate=0.75, stats__rate=0.5)
    server.answer = lambda asked: pair if asked.get("full_feature_names") else (422, {"detail": "no such moon"})
    shown = screen(server, data, {"driver_id": 1001, "buyer_id": 1002})
    assert server.asked[1]["entities"] == {"buyer_id": [1002], "driver_id": [1001]}
    assert re.search(r"buyer__rate +0\.75 +0\.75\n", shown), shown
    assert 'feature service plus_v1 is not shown: HTTP 422, {"detail": "no such moon"}' in shown


def test_without_a_service_a_views_features_are_asked_for_an_entity_of_the_data(server, data):
    server.answer = lambda _: answers(driver_id=1002, rate=0.75)
    shown = screen(server, data, lock={**LOCK, "services": {}})
    assert server.asked == [{"features": ["stats:rate"], "entities": {"driver_id": [1002]}}]
    assert re.search(r"feature view +stats\n", shown), shown


def test_where_nothing_can_be_shown_the_screen_says_why(server, tmp_path):
    server.answer = lambda _: (500, {"detail": "broken"})
    shown = screen(server, Data(tmp_path))
    assert "feature service plus_v1 is not shown: HTTP 500" in shown
    assert "feature view stats is not shown: HTTP 500" in shown
    assert "no view that is loaded" in screen(server, Data(tmp_path), lock={**LOCK, "services": {}, "views": {}})


def test_data_that_cannot_be_read_costs_its_column_only(server, tmp_path):
    server.answer = lambda _: answers(driver_id=1001, rate=0.5, total=1.5)
    shown = screen(server, Data(tmp_path))
    assert "stats's data is not shown: FileNotFoundError" in shown
    assert re.search(r"total +1\.5", shown)
