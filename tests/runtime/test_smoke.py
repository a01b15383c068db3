"""The smoke test: passes only when every replica answers the right vector, and names what is wrong."""

import contextlib
import copy
import http.server
import json
import socketserver
import threading
from datetime import UTC, datetime, timedelta

import pytest

SERVICE = "attrition_model_v1"
FEATURES = ["tenure", "salary_band", "overtime", "promotion_stagnation", "career_velocity", "overall_satisfaction"]
NAMED = json.dumps({"employee_id": [101, 303]})


class Server(http.server.ThreadingHTTPServer):
    def server_bind(self):
        # Not the library's: it asks DNS for the name of the address.
        socketserver.TCPServer.server_bind(self)
        self.server_name, self.server_port = self.server_address[:2]


class Replica:
    """A feature server's API that answers what it is told, and says that it serves what it is told."""

    def __init__(self, address, port, answer, contract):
        replica = self
        self.answer = answer
        # A list is said one after the other, the last for ever.
        self.contracts = contract if isinstance(contract, list) else [contract]

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self):
                assert self.path == "/contract"
                self.say(200, replica.contracts.pop(0) if len(replica.contracts) > 1 else replica.contracts[0])

            def do_POST(self):
                assert self.headers["feast-contract"] == replica.contracts[0]["services"][SERVICE]["sha256"]
                asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                self.say(*replica.respond(asked))

            def say(self, status, body):
                self.send_response(status)
                self.end_headers()
                self.wfile.write(json.dumps(body).encode())

            def log_message(self, *_):
                pass

        self.server = Server((address, port), Handler)
        self.port = self.server.server_address[1]
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def respond(self, asked):
        assert asked["feature_service"] == SERVICE
        return self.answer(asked)


def feast_answer(records):
    """The answer of a right server to the employees asked for."""

    def answer(asked):
        employees = asked["entities"]["employee_id"]
        by_employee = {row["employee_id"]: row for row in records}
        names = ["employee_id", *FEATURES]
        results = [
            {
                "values": [by_employee[e][name] for e in employees],
                "statuses": ["NULL_VALUE" if by_employee[e][name] is None else "PRESENT" for e in employees],
                "event_timestamps": [
                    by_employee[e]["event_timestamp"].strftime("%Y-%m-%dT%H:%M:%SZ") if name != "employee_id" else "1970-01-01T00:00:00Z"
                    for e in employees
                ],
            }
            for name in names
        ]
        return 200, {"metadata": {"feature_names": names}, "results": results}

    return answer


def changed(answer, change):
    def wrong(asked):
        status, body = answer(asked)
        body = copy.deepcopy(body)
        columns = dict(zip(body["metadata"]["feature_names"], body["results"], strict=True))
        change(body, columns)
        return status, body

    return wrong


@pytest.fixture
def records(stores, rows, midnight):
    made = rows({101: midnight(1), 202: midnight(1), 303: midnight(1)})
    stores.put(made)
    return made


@pytest.fixture
def other_contract(stores):
    """The lock, or the lock with another digest of the service."""

    def make(sha256=None):
        contract = json.loads((stores.repo / "contract.lock.json").read_text())
        if sha256:
            contract["services"][SERVICE]["sha256"] = sha256
        return contract

    return make


@pytest.fixture
def smoke(stores):
    """Run the smoke test against replicas on addresses of their own and one port."""
    with contextlib.ExitStack() as stack:

        def run(*answers, expected=None, entities=NAMED, wait="0.5", names=None, contracts=(), loaded=None):
            replicas = []
            locked = json.loads((stores.repo / "contract.lock.json").read_text())
            for number, answer in enumerate(answers, 2):
                contract = dict(enumerate(contracts, 2)).get(number, locked)
                for one in contract if isinstance(contract, list) else [contract]:
                    one.setdefault("loaded_until", {"employee_features": (loaded or datetime.now(UTC)).isoformat()})
                replica = Replica(f"127.0.0.{number}", replicas[0].port if replicas else 0, answer, contract)
                stack.callback(replica.server.shutdown)
                replicas.append(replica)
            environment = stores.offline_environment() | {
                "FEATURE_REPO_DIR_ENV_VAR": str(stores.repo),
                "FEATURE_SERVER_REPLICAS": names or ",".join(f"127.0.0.{n}" for n in range(2, len(answers) + 2)),
                "FEATURE_SERVER_PORT": str(replicas[0].port if replicas else 1),
                "SMOKE_ENTITIES": entities,
                "EXPECTED_REPLICAS": str(expected or len(answers)),
            }
            return stores.run(["smoke", "--wait-seconds", wait], environment)

        yield run


def test_right_vectors_on_every_replica_pass_and_come_back_in_contract_order(smoke, records):
    result = smoke(feast_answer(records), feast_answer(records)).ok()
    assert result["replicas"] == ["127.0.0.2", "127.0.0.3"]
    service = result["services"][SERVICE]
    assert [name for name, _ in service["features"]] == FEATURES
    vector = service["vectors"][0]
    assert vector["entity"] == {"employee_id": 101}
    expected = [records[0][name] for name in FEATURES]
    assert vector["offline"] == pytest.approx(expected, abs=1e-6)
    assert vector["online"] == expected


def test_a_wrong_value_on_one_replica_is_named(smoke, records):
    def change(_body, columns):
        columns["salary_band"]["values"][1] = 99

    outcome = smoke(feast_answer(records), changed(feast_answer(records), change))
    assert f"127.0.0.3: {SERVICE} employee_id=303: salary_band is 99, the source says 4" in outcome.error
    assert "127.0.0.2:" not in outcome.error
    assert list(outcome.result["replicas"]) == ["127.0.0.3"]


def test_swapped_values_are_found_though_all_names_and_types_are_right(smoke, records):
    def change(_body, columns):
        one, other = columns["tenure"], columns["career_velocity"]
        one["values"], other["values"] = other["values"], one["values"]

    error = smoke(changed(feast_answer(records), change)).error
    assert "tenure is" in error
    assert "career_velocity is" in error


@pytest.mark.parametrize(
    ("feature", "value", "says"),
    [
        ("salary_band", 2.0, "salary_band is 2.0, not a Int64"),
        ("salary_band", "2", "salary_band is '2', not a Int64"),
        ("overtime", True, "overtime is True, not a Int64"),
        ("tenure", "2.1", "tenure is '2.1', not a Float32"),
        ("tenure", None, "tenure is missing, the source says"),
    ],
)
def test_a_wrong_type_is_named(smoke, records, feature, value, says):
    def change(_body, columns):
        columns[feature]["values"][0] = value

    assert says in smoke(changed(feast_answer(records), change)).error


def test_right_values_in_another_order_are_refused(smoke, records):
    def change(body, _columns):
        for columns in (body["metadata"]["feature_names"], body["results"]):
            columns[1], columns[2] = columns[2], columns[1]

    error = smoke(feast_answer(records), changed(feast_answer(records), change)).error
    assert "127.0.0.3: attrition_model_v1: the order is employee_id, salary_band, tenure, overtime" in error
    assert "the contract says employee_id, tenure, salary_band, overtime" in error
    assert "127.0.0.2:" not in error


def test_a_replica_of_another_contract_is_named_and_not_asked(smoke, records, other_contract):
    error = smoke(
        feast_answer(records), lambda _: pytest.fail("it was asked"), contracts=[other_contract(), other_contract("0" * 64)]
    ).error
    assert "127.0.0.3: attrition_model_v1: it serves the contract 000000000000…, the lock says" in error
    assert "127.0.0.2:" not in error


def test_a_replica_without_the_service_is_named(smoke, records, other_contract):
    error = smoke(feast_answer(records), contracts=[{"services": {}}]).error
    assert "127.0.0.2: attrition_model_v1: it does not serve this feature service" in error


def test_a_replica_that_says_another_order_than_its_sha_is_named(smoke, records, other_contract):
    contract = other_contract()
    contract["services"][SERVICE]["features"].reverse()
    assert (
        "it says that the features are [['employee_features', 'overall_satisfaction'"
        in smoke(feast_answer(records), contracts=[contract]).error
    )


def test_a_replica_of_the_old_version_is_waited_for(smoke, records, other_contract):
    roll_out = [other_contract("0" * 64), other_contract()]
    outcome = smoke(feast_answer(records), wait="30", contracts=[roll_out])
    outcome.ok()
    assert "it serves the contract 000000000000…" in outcome.stderr


@pytest.mark.parametrize("status", ["NOT_FOUND", "OUTSIDE_MAX_AGE", "NULL_VALUE", "INVALID"])
def test_a_status_that_does_not_fit_the_value_is_named(smoke, records, status):
    def change(_body, columns):
        columns["overtime"]["statuses"][1] = status

    assert f"employee_id=303: overtime is 1 with the status {status}" in smoke(changed(feast_answer(records), change)).error


def test_a_missing_feature_is_named(smoke, records):
    def change(body, _columns):
        position = body["metadata"]["feature_names"].index("overtime")
        del body["metadata"]["feature_names"][position], body["results"][position]

    assert "the feature overtime is missing" in smoke(changed(feast_answer(records), change)).error


def test_a_feature_that_the_contract_does_not_have_is_named(smoke, records):
    def change(body, columns):
        body["metadata"]["feature_names"].append("age")
        body["results"].append(columns["overtime"])

    assert "age is not in the contract" in smoke(changed(feast_answer(records), change)).error


def test_values_that_were_never_loaded_are_named(smoke, records):
    def change(_body, columns):
        for name in FEATURES:
            columns[name]["values"] = [None, None]
            columns[name]["event_timestamps"] = ["1970-01-01T00:00:00Z"] * 2

            columns[name]["statuses"] = ["NOT_FOUND"] * 2

    assert "tenure is missing, the source says" in smoke(changed(feast_answer(records), change)).error


def test_an_old_row_is_named_though_it_once_was_right(smoke, stores, rows, midnight):
    old, new = rows({101: midnight(6), 303: midnight(6)}, tenure=1.5), rows({101: midnight(2), 303: midnight(2)}, tenure=2.5)
    stores.put(old + new)
    assert "tenure is 1.5, the source says 2.5" in smoke(feast_answer(old)).error
    smoke(feast_answer(new)).ok()


def test_a_row_that_waits_for_its_nightly_load_is_no_failure(smoke, stores, rows, midnight):
    old, new = rows({101: midnight(5), 303: midnight(5)}), rows({e: datetime.now(UTC) - timedelta(hours=1) for e in (101, 303)}, tenure=9.5)
    stores.put(old + new)
    result = smoke(feast_answer(old), loaded=datetime.now(UTC) - timedelta(hours=2)).ok()
    assert result["services"][SERVICE]["vectors"][0]["event_timestamp"] == midnight(5).isoformat()


def test_too_few_replicas_are_named(smoke, records):
    error = smoke(feast_answer(records), expected=2).error
    assert "1 of 2 replicas are there (127.0.0.2)" in error


def test_a_replica_that_does_not_answer_is_named(smoke, records):
    outcome = smoke(feast_answer(records), names="127.0.0.2,127.0.0.9", expected=2)
    assert "127.0.0.9: GET /contract: no answer" in outcome.error


def test_a_name_that_does_not_resolve_is_named(smoke, records):
    assert "no-such-host.invalid" in smoke(names="no-such-host.invalid", expected=1).error


def test_a_replica_that_comes_up_late_is_waited_for(smoke, records):
    right, calls = feast_answer(records), []

    def late(asked):
        calls.append(asked)
        return right(asked) if len(calls) > 1 else (503, {"detail": "starting"})

    outcome = smoke(late, wait="30")
    outcome.ok()
    assert "HTTP 503" in outcome.stderr


def test_without_named_entities_the_source_is_sampled(smoke, records):
    result = smoke(feast_answer(records), entities="").ok()
    assert {vector["entity"]["employee_id"] for vector in result["services"][SERVICE]["vectors"]} == {101, 202, 303}


def test_a_row_without_a_key_is_never_asked_for(smoke, stores, rows, midnight):
    made = rows({101: midnight(2)})
    stores.put([*made, *({**row, "employee_id": None} for row in rows({202: midnight(1)}))])
    result = smoke(feast_answer(made), entities="").ok()
    assert [vector["entity"] for vector in result["services"][SERVICE]["vectors"]] == [{"employee_id": 101}]


def test_a_view_that_no_replica_has_loaded_is_named(smoke, records, other_contract):
    error = smoke(feast_answer(records), contracts=[other_contract() | {"loaded_until": {}}]).error
    assert f"127.0.0.2: {SERVICE}: no replica says that employee_features was ever loaded. Run `materialize`" in error


def test_what_was_loaded_after_the_replica_looked_is_not_compared(smoke, stores, rows, midnight):
    old, new = rows({101: midnight(5), 303: midnight(5)}), rows({e: datetime.now(UTC) - timedelta(hours=1) for e in (101, 303)}, tenure=9.5)
    stores.put(old + new)
    smoke(feast_answer(new), loaded=datetime.now(UTC) - timedelta(hours=2)).ok()


def test_an_entity_that_the_source_does_not_have_is_refused(smoke, records):
    error = smoke(feast_answer(records), entities='{"employee_id": [12345]}').error
    assert "no source has a row of employee_id=12345" in error
    assert "SMOKE_ENTITIES" in error


def test_data_older_than_the_ttl_is_said_to_be_the_reason(smoke, stores, rows, midnight):
    stores.put(rows({101: midnight(9), 303: midnight(9)}))
    error = smoke(feast_answer([])).error
    assert "no source has a row of employee_id=101 that is loaded and that its view's ttl still lets count" in error
    assert "employee_features has no row up to the last load that its ttl still lets count" in smoke(feast_answer([]), entities="").error


@pytest.mark.parametrize("entities", ["{", "[]", '{"employee_id": 101}', '{"a": [1], "b": [1, 2]}'])
def test_entities_in_another_form_are_refused(smoke, entities):
    assert "SMOKE_ENTITIES must be a JSON object of lists" in smoke(names="127.0.0.1", entities=entities, expected=1).error


def test_a_null_in_the_source_is_no_missing_value(smoke, stores, rows, midnight):
    made = rows({101: midnight(1), 303: midnight(1)}, tenure=None)
    stores.put(made)
    result = smoke(feast_answer(made)).ok()
    assert result["services"][SERVICE]["vectors"][0]["offline"][0] is None
