"""Requests that Feast's own server answers with a 500, a guess or a wrong status, and others of their kind: one table.

Each line says what is asked, and status, field and rule of the refusal. Values are of `people`.
"""

import json
import socket

import pytest

from bench.stores import redis_server
from tests.runtime.serving.generator import post
from tests.runtime.serving.people import lock, make_repo, serving
from tests.runtime.serving.wire import Wire

JSON = "Content-Type: application/json"
EMPLOYEE = "entities.employee_id"
CYRILLIC = "pers\u043en_v1"
"""`person_v1` with another letter that looks the same."""


def service(name="person_v1", /, **more):
    return {"feature_service": name, "entities": {"employee_id": [1]}} | more


def employees(*values, **more):
    return {"feature_service": "person_v1", "entities": {"employee_id": list(values)}} | more


def features(*refs, **entities):
    return {"features": list(refs), "entities": entities or {"employee_id": [1]}}


# What stock Feast 0.67 answers stands behind the line where it is no such refusal.
BODIES = [
    # The body itself.
    ("an empty body", b"", 400, "body", "JSON"),
    ("blanks", b" \n\t", 400, "body", "JSON"),
    ("half an object", b'{"feature_service": "person_v1"', 400, "body", "JSON"),  # 422
    ("a comma too many", b'{"feature_service": "person_v1",}', 400, "body", "JSON"),
    ("single quotes", b"{'feature_service': 'person_v1'}", 400, "body", "JSON"),
    ("something behind it", b'{"feature_service": "person_v1", "entities": {"employee_id": [1]}} x', 400, "body", "JSON"),
    ("two objects", b"{}{}", 400, "body", "JSON"),
    ("a byte order mark", b'\xef\xbb\xbf{"feature_service": "person_v1"}', 400, "body", "JSON"),
    ("latin-1", '{"feature_service": "ä"}'.encode("latin-1"), 400, "body", "JSON"),
    ("utf-16", '{"feature_service": "person_v1"}'.encode("utf-16"), 400, "body", "JSON"),
    ("half a character", b'{"feature_service": "\\ud800"}', 400, "body", "JSON"),
    ("a zero byte in a string", b'{"feature_service": "a\x00"}', 400, "body", "JSON"),
    ("NaN", b'{"feature_service": "person_v1", "entities": {"employee_id": [NaN]}}', 400, "body", "JSON"),  # 500
    ("infinity", b'{"feature_service": "person_v1", "entities": {"employee_id": [-Infinity]}}', 400, "body", "JSON"),
    ("a number with leading zeros", b'{"feature_service": "person_v1", "entities": {"employee_id": [0101]}}', 400, "body", "JSON"),
    ("a number in hexadecimal", b'{"feature_service": "person_v1", "entities": {"employee_id": [0x65]}}', 400, "body", "JSON"),
    ("a list nested without end", b"[" * 20_000, 400, "body", "JSON"),
    ("no object but a list", [service()], 422, "body", "object"),
    ("no object but a string", "person_v1", 422, "body", "object"),
    ("null", None, 422, "body", "object"),
    ("a number", 1, 422, "body", "object"),
    # Its fields.
    ("an empty object", {}, 422, "feature_service", "either"),
    ("an unknown field", service(entity_rows=[]), 422, "entity_rows", "no field"),  # ignored
    ("a misspelt field", {"feature_services": "person_v1", "entities": {"employee_id": [1]}}, 422, "feature_services", "no field"),
    ("a field in capitals", {"Feature_Service": "person_v1", "entities": {"employee_id": [1]}}, 422, "Feature_Service", "no field"),
    ("a service given twice", b'{"feature_service": "a", "feature_service": "person_v1"}', 422, "feature_service", "twice"),  # the last
    (
        "a key given twice",
        b'{"feature_service": "person_v1", "entities": {"employee_id": [1], "employee_id": [2]}}',
        422,
        "employee_id",
        "twice",
    ),
    (
        "a key given twice, once escaped",
        b'{"features": ["people:tenure"], "entities": {"employee_id": [1], "employee\\u005fid": [2]}}',
        422,
        "employee_id",
        "twice",
    ),
    ("full names as a word", service(full_feature_names="true"), 422, "full_feature_names", "true or false"),  # taken for true
    ("full names as a number", service(full_feature_names=1), 422, "full_feature_names", "true or false"),
    ("full names as null", service(full_feature_names=None), 422, "full_feature_names", "true or false"),
    (
        "metadata as a word",
        service(include_feature_view_version_metadata="no"),
        422,
        "include_feature_view_version_metadata",
        "true or false",
    ),
    # The service.
    ("an unknown service", service("churn_v9"), 404, "feature_service", "churn_v9"),
    ("a service without a name", service(""), 404, "feature_service", "no feature service"),
    ("a service with a blank", service("person_v1 "), 404, "feature_service", "person_v1 "),
    ("a service in capitals", service("PERSON_V1"), 404, "feature_service", "PERSON_V1"),
    ("a service that looks like one", service(CYRILLIC), 404, "feature_service", "no feature service"),
    ("a service as a list", service(["person_v1"]), 422, "feature_service", "name"),
    ("a service as a number", service(1), 422, "feature_service", "name"),
    ("a service and features", service(features=["people:tenure"]), 422, "feature_service", "not both"),  # the service alone
    ("neither", {"entities": {"employee_id": [1]}}, 422, "feature_service", "either"),  # 500
    # Features one by one.
    ("no features", {"features": [], "entities": {"employee_id": [1]}}, 422, "feature_service", "either"),  # 500
    ("an unknown view", features("persons:tenure"), 404, "features[0]", "persons"),
    ("an unknown feature", features("people:tenure", "people:shoe_size"), 404, "features[1]", "shoe_size"),  # 500
    ("the key as a feature", features("people:employee_id"), 404, "features[0]", "employee_id"),
    ("a feature without a colon", features("tenure"), 422, "features[0]", "view:feature"),  # 500
    ("a feature without a view", features(":tenure"), 422, "features[0]", "view:feature"),
    ("a feature without a name", features("people:"), 422, "features[0]", "view:feature"),
    ("a feature with two colons", features("people:tenure:1"), 404, "features[0]", "tenure:1"),
    ("a version of a view", features("people@v2:tenure"), 422, "features[0]", "view:feature"),
    ("a feature twice", features("people:tenure", "people:tenure"), 422, "features[1]", "tenure"),
    ("two features of one name", features("people:since", "offices:since", employee_id=[1], office=["Bern"]), 422, "features[1]", "since"),
    ("a feature as a number", features(7), 422, "features[0]", "string"),
    ("features as one string", service(None, features="people:tenure"), 422, "features", "list"),
    ("features as an object", service(None, features={"people": "tenure"}), 422, "features", "list"),
    # The entities.
    ("no entities", {"feature_service": "person_v1"}, 422, "entities", "missing"),
    ("entities as null", service(entities=None), 422, "entities", "missing"),
    ("entities as rows", service(entities=[{"employee_id": 1}]), 422, "entities", "object"),
    ("entities as a string", service(entities="employee_id"), 422, "entities", "object"),
    ("no key", service(entities={}), 422, EMPLOYEE, "missing"),  # 500
    ("another key", service(entities={"employee": [1]}), 422, EMPLOYEE, "missing"),  # 500
    ("a key too many", service(entities={"employee_id": [1], "office": ["Bern"]}), 422, "entities.office", "no key"),  # ignored
    ("one of two keys", service("seating_v1"), 422, "entities.office", "missing"),  # 500
    ("one entity without a list", service(entities={"employee_id": 1}), 422, EMPLOYEE, "list"),
    ("entities as an object of values", service(entities={"employee_id": {"val": [1]}}), 422, EMPLOYEE, "list"),
    ("an empty list", employees(), 422, EMPLOYEE, "empty"),  # 500
    ("lists of two lengths", service("seating_v1", entities={"employee_id": [1, 2], "office": ["Bern"]}), 422, "entities", "length"),
    ("more rows than allowed", employees(*range(1_001)), 413, "entities", "1000"),
    # Their values: an employee is a whole number of 64 bits.
    ("an id in quotes", employees("101"), 422, f"{EMPLOYEE}[0]", "whole number"),  # taken for 101
    ("an id with a point", employees(101.0), 422, f"{EMPLOYEE}[0]", "whole number"),  # taken for 101
    ("an id and a half", employees(1, 1.5), 422, f"{EMPLOYEE}[1]", "whole number"),  # taken for 1
    (
        "an id with an exponent",
        b'{"feature_service": "person_v1", "entities": {"employee_id": [1e2]}}',
        422,
        f"{EMPLOYEE}[0]",
        "whole number",
    ),
    ("true", employees(1, 2, True), 422, f"{EMPLOYEE}[2]", "whole number"),  # taken for 1
    ("null for an id", employees(None), 422, f"{EMPLOYEE}[0]", "whole number"),  # 500
    ("an id of letters", employees("abc"), 422, f"{EMPLOYEE}[0]", "whole number"),  # 500
    ("an empty id", employees(""), 422, f"{EMPLOYEE}[0]", "whole number"),
    ("a list for an id", employees([1]), 422, f"{EMPLOYEE}[0]", "whole number"),
    ("an object for an id", employees({"employee_id": 1}), 422, f"{EMPLOYEE}[0]", "whole number"),
    ("one more than 64 bits hold", employees(2**63), 422, f"{EMPLOYEE}[0]", "whole number"),
    ("one less than 64 bits hold", employees(-(2**63) - 1), 422, f"{EMPLOYEE}[0]", "whole number"),
    ("an id of a hundred digits", employees(10**100), 422, f"{EMPLOYEE}[0]", "whole number"),
    ("a number for a text", features("offices:rent", office=[7]), 422, "entities.office[0]", "string"),  # taken for "7"
    ("null for a text", features("offices:rent", office=["Bern", None]), 422, "entities.office[1]", "string"),
    ("true for a text", features("offices:rent", office=[True]), 422, "entities.office[0]", "string"),
]

HEADS = [
    ("no content type", post(b"{}", "Accept: */*"), 415, "header content-type", "application/json"),
    ("a form", post(b"a=b", "Content-Type: application/x-www-form-urlencoded"), 415, "header content-type", "application/json"),
    ("text", post(b"{}", "Content-Type: text/plain"), 415, "header content-type", "application/json"),
    ("json in latin-1", post(b"{}", "Content-Type: application/json; charset=latin-1"), 415, "header content-type", "application/json"),
    ("a compressed body", post(b"\x1f\x8b", JSON, "Content-Encoding: gzip"), 415, "header content-encoding", "compressed"),
    (
        "a body of unknown length",
        b"POST /get-online-features HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n\r\n",
        411,
        "header content-length",
        "body",
    ),
    ("GET", b"GET /get-online-features HTTP/1.1\r\nHost: x\r\n\r\n", 405, "method", "POST"),
    ("PUT", b"PUT /get-online-features HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n", 405, "method", "POST"),
    ("OPTIONS", b"OPTIONS /get-online-features HTTP/1.1\r\nHost: x\r\n\r\n", 405, "method", "POST"),
    ("POST to health", post(b"{}", JSON, path="/health"), 405, "method", "GET"),
    ("writing", post(b"{}", JSON, path="/write-to-online-store"), 404, "path", "nothing"),
    ("pushing", post(b"{}", JSON, path="/push"), 404, "path", "nothing"),
    ("materializing", post(b"{}", JSON, path="/materialize"), 404, "path", "nothing"),
    ("the chat", b"GET /chat HTTP/1.1\r\nHost: x\r\n\r\n", 404, "path", "nothing"),
    ("a slash too many", post(b"{}", JSON, path="/get-online-features/"), 404, "path", "nothing"),
    ("a directory up", post(b"{}", JSON, path="/x/../get-online-features"), 404, "path", "nothing"),
    ("another contract", post(json.dumps(service()).encode(), JSON, f"feast-contract: {'0' * 64}"), 412, "header feast-contract", "0000"),
    ("an empty contract", post(json.dumps(service()).encode(), JSON, "feast-contract:"), 412, "header feast-contract", "contract"),
    (
        "a contract for loose features",
        post(json.dumps(features("people:tenure")).encode(), JSON, "feast-contract: 0"),
        412,
        "header feast-contract",
        "service",
    ),
    ("no HTTP", b"HELLO\r\n\r\n", 400, "request", "HTTP"),
    ("TLS", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n", 400, "request", "HTTP"),
    ("a negative length", b"POST /get-online-features HTTP/1.1\r\nHost: x\r\nContent-Length: -1\r\n\r\n", 400, "request", "HTTP"),
    (
        "two lengths",
        b"POST /get-online-features HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\n{} ",
        400,
        "request",
        "HTTP",
    ),
    (
        "a broken chunk",
        b"POST /get-online-features HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nxyz\r\n",
        400,
        "request",
        "HTTP",
    ),
    ("a head without end", b"GET /health HTTP/1.1\r\n" + b"A: b\r\n" * 20_000 + b"\r\n", 431, "request", "longer"),
    ("a longer body than allowed", post(b" " * (65 * 1024), JSON), 413, "body", "longer"),
]


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    directory = tmp_path_factory.mktemp("curated")
    with redis_server(directory) as port:
        repo = make_repo(directory, port)
        lock(repo)
        with serving(repo, "--max-body-kib", "64") as served:
            yield served


@pytest.fixture
def wire(server):
    one = Wire(server.port)
    yield one
    one.close()


def assert_refused(answer, status, field, rule):
    assert answer is not None, "the connection was closed instead of an answer"
    assert answer.status == status, answer
    said = json.loads(answer.body)
    named = {error["field"]: error for error in said["errors"]}
    assert field in named, f"it names {list(named)}: {said}"
    assert rule in named[field]["rule"], named[field]
    assert named[field]["remedy"], "the remedy is missing"
    assert len(answer.body) < 20_000, "what is refused comes back in full"


def assert_still_answers(server):
    other = Wire(server.port)
    other.send(post(json.dumps(employees(1, 2)).encode()))
    answer = other.answer()
    other.close()
    assert answer is not None
    assert answer.status == 200
    names = ["employee_id", "tenure", "salary_band", "remote", "department", "scores"]
    assert json.loads(answer.body)["metadata"]["feature_names"] == names


@pytest.mark.parametrize(("body", "status", "field", "rule"), [pytest.param(*line[1:], id=line[0]) for line in BODIES])
def test_a_wrong_body_is_refused_by_field_and_rule(server, wire, body, status, field, rule):
    wire.send(post(body if isinstance(body, bytes) else json.dumps(body).encode()))
    assert_refused(wire.answer(), status, field, rule)
    # The connection goes on: a client's mistake costs it no new one.
    wire.send(b"GET /health HTTP/1.1\r\nHost: x\r\n\r\n")
    assert wire.answer().status == 200
    assert_still_answers(server)


@pytest.mark.parametrize(("request_bytes", "status", "field", "rule"), [pytest.param(*line[1:], id=line[0]) for line in HEADS])
def test_a_wrong_request_is_refused_by_field_and_rule(server, wire, request_bytes, status, field, rule):
    wire.send(request_bytes)
    assert_refused(wire.answer(), status, field, rule)
    assert_still_answers(server)


def test_there_are_enough_of_them():
    names = [line[0] for line in (*BODIES, *HEADS)]
    assert len(names) == len(set(names))
    assert len(names) >= 100


def test_every_error_of_a_request_is_named_at_once(wire):
    wire.send(post(json.dumps(service("seating_v1", entities={"employee_id": [1, "2", None], "team": [1]})).encode()))
    answer = wire.answer()
    named = [error["field"] for error in json.loads(answer.body)["errors"]]
    assert {"entities.office", "entities.team", f"{EMPLOYEE}[1]", f"{EMPLOYEE}[2]"} <= set(named), named


def test_a_thousand_wrong_ids_need_no_thousand_explanations(wire):
    wire.send(post(json.dumps(employees(*["x" * 50] * 1_000)).encode()))
    answer = wire.answer()
    assert answer.status == 422
    assert len(answer.body) < 20_000


def test_an_unknown_entity_is_not_found_and_an_old_value_is_outside_its_age(wire):
    wire.send(post(json.dumps(employees(999_999, 7, 1)).encode()))
    said = json.loads(wire.answer().body)
    tenure = said["results"][said["metadata"]["feature_names"].index("tenure")]
    assert tenure["statuses"] == ["NOT_FOUND", "OUTSIDE_MAX_AGE", "PRESENT"]
    assert tenure["values"] == [None, None, 0.125]


def test_who_sends_and_closes_its_half_still_gets_the_answer(server):
    with socket.create_connection(("127.0.0.1", server.port), timeout=20) as client:
        client.sendall(post(json.dumps(service()).encode()))
        client.shutdown(socket.SHUT_WR)
        received = b""
        while chunk := client.recv(65_536):
            received += chunk
    assert received.startswith(b"HTTP/1.1 200")


def test_who_waits_for_leave_to_send_its_body_gets_it_or_a_refusal(server):
    body = json.dumps(service()).encode()
    for length, first in ((len(body), b"HTTP/1.1 100 "), (10**9, b"HTTP/1.1 413 ")):
        head = f"POST /get-online-features HTTP/1.1\r\nHost: x\r\n{JSON}\r\nContent-Length: {length}\r\nExpect: 100-continue\r\n\r\n"
        with socket.create_connection(("127.0.0.1", server.port), timeout=20) as client:
            client.sendall(head.encode())
            assert client.recv(65_536).startswith(first)
            if length == len(body):
                client.sendall(body)
                assert client.recv(65_536).startswith(b"HTTP/1.1 200 ")
