"""Requests that are wrong are refused by name and rule; connections live on; HTTP is understood as clients speak it."""

import json
import socket
import time
from datetime import UTC, datetime

import pytest
from feast import Entity, FeatureService, FeatureView, Field, FileSource, ValueType
from feast.protos.feast.types.Value_pb2 import Value
from feast.types import Float32, Int32, Int64, String

from tests.waiting import wait_until

NOW = datetime.now(UTC).replace(microsecond=0)
SERVICE = "vector_v1"
GOOD = {"feature_service": SERVICE, "entities": {"customer_id": [1], "sku": ["a"], "year": [2026]}}


@pytest.fixture(scope="module")
def running(shop_of, serving):
    entities = [
        Entity(name="customer", join_keys=["customer_id"], value_type=ValueType.INT64),
        Entity(name="product", join_keys=["sku"], value_type=ValueType.STRING),
        Entity(name="year", join_keys=["year"], value_type=ValueType.INT32),
    ]
    sales = FeatureView(
        name="sales",
        entities=entities,
        source=FileSource(name="sales", path="sales.parquet", timestamp_field="event_timestamp"),
        schema=[
            Field(name="customer_id", dtype=Int64),
            Field(name="sku", dtype=String),
            Field(name="year", dtype=Int32),
            Field(name="sum", dtype=Float32),
        ],
    )
    shop = shop_of(*entities, sales, FeatureService(name=SERVICE, features=[sales]))
    key = {"customer_id": Value(int64_val=1), "sku": Value(string_val="a"), "year": Value(int32_val=2026)}
    shop.write(sales, [(key, {"sum": Value(float_val=2.5)}, NOW)])
    return serving(shop, shop.contract(SERVICE), max_entities=5, max_body_bytes=4096)


@pytest.fixture
def client(running):
    return running.client()


def with_entities(**entities):
    return {**GOOD, "entities": {**GOOD["entities"], **entities}}


def without(*keys):
    return {**GOOD, "entities": {key: values for key, values in GOOD["entities"].items() if key not in keys}}


def but(**fields):
    return {key: value for key, value in {**GOOD, **fields}.items() if value is not ...}


REFUSED = {
    "no JSON": (b"{", 400, "body"),
    "nothing": (b"", 400, "body"),
    "NaN": (b'{"a": NaN}', 400, "body"),
    "a BOM": (b"\xef\xbb\xbf{}", 400, "body"),
    "bad UTF-8": (b'{"feature_service": "\xff"}', 400, "body"),
    "half a surrogate": (b'{"feature_service": "\\ud800"}', 400, "body"),
    "nested too deeply": (b"[" * 2000 + b"]" * 2000, 400, "body"),
    "nested deeply": (b'{"entities": ' + b"[" * 900 + b"]" * 900 + b', "feature_service": "vector_v1"}', 422, "entities"),
    "a list": (b"[]", 422, "body"),
    "a field twice": (b'{"feature_service": "vector_v1", "feature_service": "vector_v1", "entities": {}}', 422, "feature_service"),
    "a key twice": (b'{"feature_service": "vector_v1", "entities": {"sku": ["a"], "sku": ["b"]}}', 422, "sku"),
    "a key twice, once escaped": (b'{"feature_service": "vector_v1", "entities": {"sku": ["a"], "s\\u006bu": ["b"]}}', 422, "sku"),
    "an unknown field": (but(feature_services="x"), 422, "feature_services"),
    "neither service nor features": (but(feature_service=...), 422, "feature_service"),
    "both": (but(features=["sales:sum"]), 422, "feature_service"),
    "an empty list of features": (but(feature_service=..., features=[]), 422, "feature_service"),
    "a service that is a number": (but(feature_service=1), 422, "feature_service"),
    "an empty service": (but(feature_service=""), 404, "feature_service"),
    "an unknown service": (but(feature_service="vector_v2"), 404, "feature_service"),
    "features that are a string": (but(feature_service=..., features="sales:sum"), 422, "features"),
    "a feature that is a number": (but(feature_service=..., features=["sales:sum", 1]), 422, "features[1]"),
    "a feature without a view": (but(feature_service=..., features=["sum"]), 422, "features[0]"),
    "a feature of a version": (but(feature_service=..., features=["sales@v2:sum"]), 422, "features[0]"),
    "an unknown view": (but(feature_service=..., features=["sales:sum", "other:sum"]), 404, "features[1]"),
    "an unknown feature": (but(feature_service=..., features=["sales:other"]), 404, "features[0]"),
    "a feature twice": (but(feature_service=..., features=["sales:sum", "sales:sum"]), 422, "features[1]"),
    "full names that are a string": (but(full_feature_names="true"), 422, "full_feature_names"),
    "no entities": (but(entities=...), 422, "entities"),
    "entities that are a list": (but(entities=[]), 422, "entities"),
    "a missing key": (without("sku"), 422, "entities.sku"),
    "an unknown key": (with_entities(other=[1]), 422, "entities.other"),
    "a scalar for a list": (with_entities(sku="a"), 422, "entities.sku"),
    "lists of different lengths": (with_entities(sku=["a", "b"]), 422, "entities"),
    "empty lists": (with_entities(sku=[], customer_id=[], year=[]), 422, "entities.customer_id"),
    "a number in quotes": (with_entities(customer_id=["1"]), 422, "entities.customer_id[0]"),
    "a float": (with_entities(customer_id=[1.0]), 422, "entities.customer_id[0]"),
    "a truth": (with_entities(customer_id=[True]), 422, "entities.customer_id[0]"),
    "a null": (with_entities(customer_id=[None]), 422, "entities.customer_id[0]"),
    "a list for a number": (with_entities(customer_id=[[1]]), 422, "entities.customer_id[0]"),
    "a number beyond 64 bits": (with_entities(customer_id=[2**63]), 422, "entities.customer_id[0]"),
    "a number far beyond 64 bits": (with_entities(customer_id=[10**40]), 422, "entities.customer_id[0]"),
    "a number beyond 32 bits": (with_entities(year=[2**31]), 422, "entities.year[0]"),
    "a number for a string": (with_entities(sku=[1]), 422, "entities.sku[0]"),
    "too many rows": (with_entities(sku=["a"] * 6, customer_id=[1] * 6, year=[1] * 6), 413, "entities"),
    "too long": (but(feature_service="x" * 5000), 413, "body"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_a_wrong_request_is_refused_by_field_and_the_connection_lives_on(client, name):
    body, status, field = REFUSED[name]
    refused = client.ask(body)
    assert (refused.status, field in refused.fields) == (status, True), refused.body
    assert len(refused.body) < 4000, "what was sent is not sent back at length"
    assert client.ask(GOOD).columns["sum"]["values"] == [2.5]


def test_every_error_is_told_at_once(client):
    refused = client.ask({"feature_service": SERVICE, "entities": {"customer_id": ["1", 2, 2.5], "year": [2026], "other": 1}})
    expected = {"entities.customer_id[0]", "entities.customer_id[2]", "entities", "entities.other", "entities.sku"}
    assert expected <= set(refused.fields)


def test_feasts_clients_may_leave_the_other_field_empty(client):
    assert client.ask({**GOOD, "features": [], "include_feature_view_version_metadata": False}).status == 200
    assert client.ask({**GOOD, "feature_service": None, "features": ["sales:sum"]}).status == 200


@pytest.mark.parametrize("sent", ["text/plain", "application/json; charset=latin-1", "multipart/form-data", ""])
def test_another_content_type_is_refused(client, sent):
    refused = client.request("POST", "/get-online-features", json.dumps(GOOD).encode(), {"Content-Type": sent})
    assert (refused.status, refused.fields) == (415, ["header content-type"])
    assert client.ask(GOOD, content_type="Application/JSON; charset=UTF-8").status == 200


def test_a_compressed_body_is_refused(client):
    refused = client.ask(GOOD, content_encoding="gzip")
    assert (refused.status, refused.fields) == (415, ["header content-encoding"])


def test_other_methods_and_paths_are_refused(client):
    refused = client.request("GET", "/get-online-features")
    assert (refused.status, refused.headers["allow"]) == (405, "POST")
    assert client.request("POST", "/health", b"").status == 405
    for path in ("/", "/push", "/write-to-online-store", "/materialize", "/get-online-features/", "/docs", "/metrics"):
        refused = client.request("POST", path, b"{}", {"Content-Type": "application/json"})
        assert (refused.status, refused.fields) == (404, ["path"])
    assert client.request("HEAD", "/health").body == b""
    assert client.request("GET", "/health?verbose=1").status == 200


class Raw:
    """Bytes on a socket."""

    def __init__(self, port):
        self.socket = socket.create_connection(("127.0.0.1", port), timeout=5)

    def send(self, data):
        self.socket.sendall(data)
        return self

    def until_closed(self):
        received = b""
        while chunk := self.socket.recv(65536):
            received += chunk
        return received

    def until(self, *marks):
        received = b""
        while not all(received.count(mark) >= count for mark, count in marks):
            chunk = self.socket.recv(65536)
            assert chunk, received
            received += chunk
        return received


def post(body=None, *headers):
    body = json.dumps(GOOD).encode() if body is None else body
    lines = ["POST /get-online-features HTTP/1.1", "Host: x", "Content-Type: application/json", *headers]
    if not any("ength" in header or "hunked" in header for header in headers):
        lines.append(f"Content-Length: {len(body)}")
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


def test_requests_in_one_breath_are_answered_in_their_order(running):
    questions = [with_entities(customer_id=[number]) for number in range(100)]
    wrong = with_entities(customer_id=["x"])
    data = b"".join(post(json.dumps(question if number % 7 else wrong).encode()) for number, question in enumerate(questions))
    received = Raw(running.port).send(data + post(None, "Connection: close")).until_closed()
    answers = received.split(b"HTTP/1.1 ")[1:]
    assert len(answers) == 101
    for number, answer in enumerate(answers[:-1]):
        head, _, body = answer.partition(b"\r\n\r\n")
        if number % 7:
            assert json.loads(body)["results"][0]["values"] == [number]
        else:
            assert head.startswith(b"422")


def test_a_request_may_come_in_pieces(running):
    raw = Raw(running.port)
    data = post()
    for position in range(0, len(data), 7):
        raw.send(data[position : position + 7])
    assert b'"values":[2.5]' in raw.until((b"feature_names", 1))


def test_a_chunked_body_is_read(running):
    body = json.dumps(GOOD).encode()
    chunks = b"".join(b"%x\r\n%b\r\n" % (len(part), part) for part in (body[:10], body[10:])) + b"0\r\n\r\n"
    assert b"200 OK" in Raw(running.port).send(post(chunks, "Transfer-Encoding: chunked", "Connection: close")).until_closed()
    long = b"1000\r\n" + b" " * 4096 + b"\r\n" + b"1\r\n \r\n0\r\n\r\n"
    assert b"413 " in Raw(running.port).send(post(long, "Transfer-Encoding: chunked", "Connection: close")).until_closed()


def test_a_body_without_a_length_is_asked_for(running):
    received = Raw(running.port).send(b"POST /get-online-features HTTP/1.1\r\nConnection: close\r\n\r\n").until_closed()
    assert received.startswith(b"HTTP/1.1 411 ")


def test_a_client_that_asks_before_it_sends_is_told(running):
    raw = Raw(running.port)
    data = post(None, "Expect: 100-continue")
    head, body = data.split(b"\r\n\r\n", 1)
    raw.send(head + b"\r\n\r\n")
    assert raw.until((b"\r\n\r\n", 1)) == b"HTTP/1.1 100 Continue\r\n\r\n"
    assert b"200 OK" in raw.send(body).until((b"feature_names", 1))
    refused = Raw(running.port).send(post(b"", "Expect: 100-continue", "Content-Length: 99999")).until_closed()
    assert refused.startswith(b"HTTP/1.1 413 ")


def test_an_offered_upgrade_is_left_aside(running):
    raw = Raw(running.port).send(post(None, "Connection: Upgrade, HTTP2-Settings", "Upgrade: h2c", "HTTP2-Settings: AAMAAABkAAQ"))
    assert b'"values":[2.5]' in raw.until((b"feature_names", 1))
    assert b'"values":[2.5]' in raw.send(post()).until((b"feature_names", 1)), "the connection lives on"
    assert Raw(running.port).send(b"CONNECT x:80 HTTP/1.1\r\n\r\n").until_closed().startswith(b"HTTP/1.1 405 ")


def test_what_is_no_http_is_refused(running):
    for data in (b"\x16\x03\x01\x02\x00\x01\x00", b"hello\r\n\r\n", b"GET / HTTP/1.1\r\nContent-Length: x\r\n\r\n"):
        assert Raw(running.port).send(data).until_closed().startswith(b"HTTP/1.1 400 ")
    both = post(None, "Transfer-Encoding: chunked", "Content-Length: 5")
    assert Raw(running.port).send(both).until_closed().startswith(b"HTTP/1.1 400 "), "two lengths: a smuggler's request"


def test_a_head_without_end_is_refused(running):
    received = Raw(running.port).send(b"GET /health HTTP/1.1\r\n" + b"X: " + b"x" * 60_000).until_closed()
    assert received.startswith(b"HTTP/1.1 431 ")
    whole = b"GET /health HTTP/1.1\r\n" + b"X: " + b"x" * 60_000 + b"\r\n\r\n"
    assert Raw(running.port).send(whole).until_closed().startswith(b"HTTP/1.1 431 "), "also when it comes in one piece"
    many = b"GET /health HTTP/1.1\r\n" + b"X: x\r\n" * 20_000 + b"\r\n"
    assert Raw(running.port).send(many).until_closed().startswith(b"HTTP/1.1 431 ")


def test_who_still_sends_when_refused_gets_the_answer_and_no_reset(running):
    endless = b"GET /health HTTP/1.1\r\n" + b"X: x\r\n" * 2_000_000
    assert Raw(running.port).send(endless).until_closed().startswith(b"HTTP/1.1 431 ")


@pytest.mark.parametrize("silent", [False, True])
def test_who_neither_hears_nor_closes_is_let_go(running, monkeypatch, silent):
    monkeypatch.setattr("feature_runtime.serving.connection.STALLED_SECONDS", 0.5)
    others = set(running.http.connections)
    raw = Raw(running.port).send(b"HELLO\r\n\r\n")
    if silent:
        raw.socket.shutdown(socket.SHUT_WR)
    assert raw.until_closed().startswith(b"HTTP/1.1 400 ")
    wait_until(lambda: not running.http.connections - others, "its connection is dropped")


def test_a_header_given_twice_is_no_choice(running):
    received = Raw(running.port).send(post(None, "Content-Type: application/json", "Connection: close")).until_closed()
    assert received.startswith(b"HTTP/1.1 415 ")
    received = Raw(running.port).send(post(None, "feast-contract: 1", "feast-contract: 2", "Connection: close")).until_closed()
    assert received.startswith(b"HTTP/1.1 412 ")


def test_an_old_client_is_answered_and_let_go(running):
    received = Raw(running.port).send(b"GET /health HTTP/1.0\r\n\r\n").until_closed()
    assert received.endswith(b'{"status":"alive"}')


def test_a_client_that_has_said_everything_still_hears_the_answers(running):
    raw = Raw(running.port).send(post() * 3)
    raw.socket.shutdown(socket.SHUT_WR)
    assert raw.until_closed().count(b"200 OK") == 3
    raw = Raw(running.port).send(post()[:-5])
    raw.socket.shutdown(socket.SHUT_WR)
    assert raw.until_closed() == b""


def test_a_stalled_client_is_let_go(running, monkeypatch):
    monkeypatch.setattr("feature_runtime.serving.connection.STALLED_SECONDS", 0.5)
    started = time.monotonic()
    received = Raw(running.port).send(post()[:-10]).until_closed()
    assert received.startswith(b"HTTP/1.1 408 ")
    assert time.monotonic() - started < 8


def test_a_client_that_does_not_read_holds_nobody_up(running):
    lazy = Raw(running.port)
    lazy.socket.setblocking(False)
    data = post() * 50
    try:
        while True:
            lazy.socket.send(data)
    except BlockingIOError:
        pass
    assert running.ask(GOOD).status == 200
    lazy.socket.close()


def test_a_bug_is_an_error_with_a_sentence_and_is_counted(running, monkeypatch, capfd):
    def bug(*_):
        raise RuntimeError("a bug")

    monkeypatch.setattr("feature_runtime.serving.server.render", bug)
    answer = running.ask(GOOD)
    assert answer.status == 500
    assert "a bug" not in answer.body.decode()
    assert "RuntimeError: a bug" in capfd.readouterr().err
