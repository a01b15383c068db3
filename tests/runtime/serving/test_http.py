"""Requests that are wrong are refused by name and rule; connections live on; HTTP is understood as clients speak it."""

import asyncio
import json
import socket
import threading
import time
from contextlib import suppress
from datetime import UTC, datetime

import pytest
from feast import Entity, FeatureService, FeatureView, Field, FileSource, ValueType
from feast.protos.feast.types.Value_pb2 import Value
from feast.types import Float32, Int32, Int64, String

from feature_runtime.serving.http import Server
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


@pytest.fixture(autouse=True)
def _nothing_is_kept(running):
    """Whatever a client did, the server keeps nothing of it."""
    yield
    wait_until(lambda: running.http.held == 0, "no request is held any more")


@pytest.fixture
def client(running):
    return running.client()


@pytest.fixture
def held_back(running, monkeypatch):
    """Redis answers nothing until the test calls it."""
    read, waiting = running.store.read, []
    monkeypatch.setattr(running.store, "read", lambda *arguments: waiting.append(arguments))

    def answer():
        while waiting:
            running.loop.call_soon_threadsafe(read, *waiting.pop(0))

    answer.waiting = waiting
    answer.resume = monkeypatch.undo
    yield answer
    answer()


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


def test_an_offered_upgrade_that_comes_in_pieces_leaves_nothing_behind(running):
    data = post(None, "Connection: Upgrade, HTTP2-Settings", "Upgrade: h2c", "HTTP2-Settings: AAMAAABkAAQ")
    raw = Raw(running.port).send(data[:60])
    wait_until(lambda: running.http.held, "the first piece is held")
    assert b'"values":[2.5]' in raw.send(data[60:]).until((b"feature_names", 1))
    wait_until(lambda: running.http.held == 0, "nothing is held for it")
    raw = Raw(running.port).send(b"CONNECT x:80 HT")
    wait_until(lambda: running.http.held, "the first piece is held")
    assert raw.send(b"TP/1.1\r\n\r\n").until_closed().startswith(b"HTTP/1.1 405 ")


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


def test_an_old_client_that_keeps_its_connection_is_told_that_it_may(running):
    old = post(None, "Connection: Keep-Alive").replace(b"HTTP/1.1", b"HTTP/1.0")
    raw = Raw(running.port)
    for _ in range(3):
        assert b"connection: keep-alive\r\n" in raw.send(old).until((b"feature_names", 1))


@pytest.mark.parametrize("head", [b"HTTP/1.0\r\nConnection: Upgrade", b"HTTP/1.1\r\nConnection: close, Upgrade", b"HTTP/1.0"])
def test_who_offers_another_protocol_and_wants_to_close_is_let_go(running, head):
    received = Raw(running.port).send(b"GET /health " + head + b"\r\nUpgrade: h2c\r\n\r\n").until_closed()
    assert received.startswith(b"HTTP/1.1 200 ")
    assert b"connection: close\r\n" in received


@pytest.mark.parametrize("target", ["http://x:6566/health", "http://x:6566/health?verbose=1", "HTTP://user@[::1]:80/health"])
def test_a_request_line_may_name_the_server(running, target):
    received = Raw(running.port).send(f"GET {target} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".encode()).until_closed()
    assert received.startswith(b"HTTP/1.1 200 ")
    for other in (b"http://x:6566", b"*", b"http://"):
        received = Raw(running.port).send(b"GET " + other + b" HTTP/1.1\r\nConnection: close\r\n\r\n").until_closed()
        assert received[9:12] in {b"404", b"400"}


CHUNKED = "Transfer-Encoding: chunked"


def chunked(body, size):
    return b"".join(b"%x\r\n%b\r\n" % (len(body[at : at + size]), body[at : at + size]) for at in range(0, len(body), size))


def test_fields_after_the_body_are_refused(running):
    body = chunked(json.dumps(GOOD).encode(), 1000) + b"0\r\n"
    for trailers in (b"feast-contract: abc\r\n\r\n", b"x: y\r\n" * 1_000_000, b"x: " + b"y" * 4_000_000):
        received = Raw(running.port).send(post(body + trailers, CHUNKED)).until_closed()
        assert received[9:12] in {b"400", b"413"}, received
        assert received.count(b"HTTP/1.1") == 1


def test_chunks_may_be_tiny_but_not_without_end(running):
    long = {**GOOD, "entities": {**GOOD["entities"], "sku": ["x" * 3_000]}}
    body = chunked(json.dumps(long).encode(), 1) + b"0\r\n\r\n"
    assert b"200 OK" in Raw(running.port).send(post(body, CHUNKED)).until((b"feature_names", 1))
    for extension in (b";a=" + b"b" * 100, b";" + b"a" * 4_000_000):
        endless = b"".join((b"1", extension, b"\r\n \r\n")) * (1 if len(extension) > 1000 else 40_000)
        assert Raw(running.port).send(post(endless, CHUNKED)).until_closed().startswith(b"HTTP/1.1 413 ")


@pytest.mark.parametrize("header", [CHUNKED, "Content-Length: 100000000"])
def test_a_body_of_any_length_is_refused_and_not_kept(running, header):
    body = chunked(b" " * 100_000_000, 1_000_000) if header == CHUNKED else b" " * 100_000_000
    received = Raw(running.port).send(post(body, header)).until_closed()
    assert received.startswith(b"HTTP/1.1 413 ")
    assert b'"field":"body"' in received


def test_a_refusal_waits_for_the_answers_before_it(running, held_back):
    raws = [
        Raw(running.port).send(post() + wrong)
        for wrong in (b"GARBAGE\r\n\r\n", b"GET / HTTP/1.1\r\n" + b"X: x\r\n" * 20_000, post(b" " * 5000))
    ]
    wait_until(lambda: len(held_back.waiting) == 3, "the good requests wait for Redis")
    held_back()
    for raw, status in zip(raws, (b"400", b"431", b"413"), strict=True):
        received = raw.until_closed()
        assert [answer[:3] for answer in received.split(b"HTTP/1.1 ")[1:]] == [b"200", status]


def test_an_invitation_waits_for_the_answers_before_it(running, held_back):
    data = post(None, "Expect: 100-continue")
    head, body = data.split(b"\r\n\r\n", 1)
    raw = Raw(running.port).send(post() + head + b"\r\n\r\n")
    wait_until(lambda: held_back.waiting, "the first request waits for Redis")
    held_back()
    received = raw.until((b"100 Continue\r\n\r\n", 1))
    assert received.index(b"feature_names") < received.index(b"100 Continue")
    raw.send(body)
    wait_until(lambda: held_back.waiting, "the second request waits for Redis")
    held_back()
    assert b"200 OK" in raw.until((b"feature_names", 1))


def test_thousands_of_requests_in_one_breath_are_all_answered_and_never_held_at_once(running):
    most = []
    hold = running.http.most_held
    raw = Raw(running.port)
    sender = threading.Thread(target=raw.send, args=(b"GET /health HTTP/1.1\r\n\r\n" * 50_000 + post(None, "Connection: close"),))
    sender.start()
    received = b""
    while chunk := raw.socket.recv(1 << 18):
        received += chunk
        most.append(running.http.held)
    sender.join(20)
    assert received.count(b"200 OK") == 50_001
    assert received.endswith(b"}")
    assert max(most) < 2_000_000 < hold


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


@pytest.mark.parametrize("piece", [post()[:60], b"GET / HTTP/1.1\r\n", post(b"", CHUNKED), post(b"", "Content-Length: 4000")])
def test_a_drop_now_and_then_keeps_no_connection_open(running, monkeypatch, piece):
    monkeypatch.setattr("feature_runtime.serving.connection.STALLED_SECONDS", 1)
    others = set(running.http.connections)
    raw = Raw(running.port).send(piece)
    drops = threading.Thread(target=drip, args=(raw, b"1\r\n \r\n" if b"chunked" in piece else b"x"), daemon=True)
    drops.start()
    assert raw.until_closed().startswith(b"HTTP/1.1 408 ")
    wait_until(lambda: not running.http.connections - others, "it is let go, though it goes on")
    drops.join(20)


def drip(raw, drop):
    with suppress(OSError):
        while True:
            raw.socket.sendall(drop)
            time.sleep(0.2)


def test_empty_lines_keep_no_connection_open(running, monkeypatch):
    monkeypatch.setattr("feature_runtime.serving.connection.IDLE_SECONDS", 1)
    raw = Raw(running.port)
    threading.Thread(target=drip, args=(raw, b"\r\n"), daemon=True).start()
    assert raw.until_closed() == b""


def test_a_slow_client_is_served(running, monkeypatch):
    monkeypatch.setattr("feature_runtime.serving.connection.STALLED_SECONDS", 3)
    data = post(json.dumps(GOOD).encode().rjust(4000))
    raw = Raw(running.port)
    started = time.monotonic()
    for at in range(0, len(data), 400):
        raw.send(data[at : at + 400])
        time.sleep(0.45)
    assert time.monotonic() - started > 4
    assert b"200 OK" in raw.until((b"feature_names", 1))


def ask_without_reading(running):
    """A client that asks for more than fits into any buffer, and reads nothing."""
    lazy = Raw(running.port)
    lazy.socket.setblocking(False)
    data = post() * 50
    with suppress(BlockingIOError):
        while True:
            lazy.socket.send(data)
    return lazy


def test_a_client_that_does_not_read_holds_nobody_up_and_is_let_go(running, monkeypatch):
    others = set(running.http.connections)
    lazy = ask_without_reading(running)
    assert running.ask(GOOD).status == 200
    assert len(running.http.connections - others) >= 1
    monkeypatch.setattr("feature_runtime.serving.connection.STALLED_SECONDS", 0.5)
    wait_until(lambda: not running.http.connections - others, "the client that does not read is let go")
    lazy.socket.close()


def test_clients_that_do_not_read_go_when_they_hold_too_much(running, monkeypatch):
    monkeypatch.setattr("feature_runtime.serving.http.MOST_UNSENT_BYTES", 200_000)
    lazy = [ask_without_reading(running) for _ in range(6)]
    wait_until(lambda: len(running.http._slow) <= 3 and running.http._unsent <= 200_000, "only as many stay as may")
    assert running.ask(GOOD).status == 200
    for one in lazy:
        one.socket.close()
    wait_until(lambda: running.http._unsent == 0, "nothing is kept for them")


def test_idle_connections_make_room_and_strangers_go_first(running, monkeypatch):
    wait_until(lambda: not running.http.connections, "the connections of other tests have gone")
    monkeypatch.setattr(running.http, "_most_connections", 20)
    known = running.client()
    assert known.ask(GOOD).status == 200
    sock = known.connection.sock
    strangers = [Raw(running.port).send(b"GET / HT") for _ in range(100)]
    assert running.ask(GOOD).status == 200
    assert len(running.http.connections) <= 20
    assert known.ask(GOOD).status == 200
    assert known.connection.sock is sock, "who has asked before is still connected"
    for raw in strangers:
        raw.socket.close()


def test_when_all_connections_are_busy_one_more_is_told_so(running, monkeypatch, held_back):
    wait_until(lambda: not running.http.connections, "the connections of other tests have gone")
    monkeypatch.setattr(running.http, "_most_connections", 3)
    busy = [Raw(running.port).send(post(None, "Connection: close")) for _ in range(3)]
    wait_until(lambda: len(held_back.waiting) == 3, "all wait for Redis")
    received = Raw(running.port).until_closed()
    assert received.startswith(b"HTTP/1.1 503 ")
    assert b"retry-after: 1" in received
    held_back()
    assert all(b"200 OK" in raw.until_closed() for raw in busy)


def test_when_all_requests_hold_too_much_long_ones_are_told_to_come_back_and_short_ones_answered(running, monkeypatch, held_back):
    monkeypatch.setattr(running.http, "most_held", 30_000)
    monkeypatch.setattr("feature_runtime.serving.connection.SMALL_BYTES", 3_000)
    padded = json.dumps(GOOD).encode().rjust(4000)
    long = [Raw(running.port).send(post(padded, "Connection: close")) for _ in range(20)]
    wait_until(lambda: len(held_back.waiting) >= 4, "some wait for Redis")
    short = Raw(running.port).send(post(None, "Connection: close"))
    assert running.http.held < 60_000
    deadline = time.monotonic() + 20
    answers = []
    for raw in long:
        raw.socket.settimeout(0.2)
    while len(answers) < 20 and time.monotonic() < deadline:
        held_back()
        for raw in list(long):
            with suppress(TimeoutError):
                answers.append(raw.until_closed()[9:12])
                long.remove(raw)
    assert {b"200", b"503"} == set(answers)
    held_back()
    assert b"200 OK" in short.until_closed()


def test_when_redis_is_behind_with_too_many_rows_more_are_told_to_come_back(running, monkeypatch, held_back):
    monkeypatch.setattr("feature_runtime.serving.server.MOST_READ_BYTES", 2_000)
    five = with_entities(sku=["a"] * 5, customer_id=[1] * 5, year=[2026] * 5)
    raw = Raw(running.port).send(post(json.dumps(five).encode(), "Connection: close"))
    wait_until(lambda: held_back.waiting, "five rows are waited for")
    refused = running.ask(five)
    assert (refused.status, refused.headers["retry-after"]) == (503, "1")
    held_back()
    assert b"200 OK" in raw.until_closed()
    held_back.resume()
    assert running.ask(five).status == 200
    assert running.server._reading == 0


@pytest.mark.parametrize("dual", [True, False])
def test_it_listens_on_every_address_also_without_ipv6(running, monkeypatch, dual):
    if not dual:
        monkeypatch.setattr("socket.has_dualstack_ipv6", lambda: False)
    elif not socket.has_dualstack_ipv6():
        pytest.skip("this machine has no IPv6")
    server = Server(running.server)
    port = asyncio.run_coroutine_threadsafe(server.start("", 0), running.loop).result(10)
    for address in ("127.0.0.1", "::1") if dual else ("127.0.0.1",):
        with socket.create_connection((address, port), timeout=5) as connected:
            connected.sendall(b"GET /health HTTP/1.0\r\n\r\n")
            assert connected.recv(100).startswith(b"HTTP/1.1 200 ")
    asyncio.run_coroutine_threadsafe(server.drain(listening_seconds=0, seconds=1), running.loop).result(10)


def test_a_bug_is_an_error_with_a_sentence_and_is_counted(running, monkeypatch, capfd):
    def bug(*_):
        raise RuntimeError("a bug")

    monkeypatch.setattr("feature_runtime.serving.server.render", bug)
    answer = running.ask(GOOD)
    assert answer.status == 500
    assert "a bug" not in answer.body.decode()
    assert "RuntimeError: a bug" in capfd.readouterr().err
