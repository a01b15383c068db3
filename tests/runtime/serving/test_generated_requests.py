"""Generated requests to a real server on a real Redis: none ends in a 5xx, a hang or a guess.

Hypothesis draws the seeds, each of two hundred requests; an oracle that shares no code with the server says what has to
come back. A failure prints the one request. A second test lets Hypothesis build bodies value by value, so that it can
shrink them.
"""

import contextlib
import json
import math

import pytest
from hypothesis import HealthCheck, Phase, example, given, settings
from hypothesis import strategies as st

from bench.stores import redis_server
from tests.runtime.serving.generator import Case, Limits, body_case, case, post
from tests.runtime.serving.oracle import Verdict, judge
from tests.runtime.serving.people import EMPLOYEES, FEATURES, lock, make_repo, serving
from tests.runtime.serving.wire import Answer, Wire
from tests.soak import counts

REQUESTS = counts(20_000, soak=100_000)
AT_ONCE = 200
EXAMPLES = REQUESTS * 64 // 10_000
"""Some of the requests that are drawn are the same; so many make as many different ones."""
BUILT = counts(500, soak=2_000)
SETTINGS = settings(
    derandomize=True,
    database=None,
    deadline=None,
    phases=[Phase.explicit, Phase.generate, Phase.shrink],
    suppress_health_check=list(HealthCheck),
    report_multiple_bugs=False,
)
GROWTH_KIB = 48 * 1024
PLAIN = b'{"feature_service": "person_v1", "entities": {"employee_id": [1, 2, 40, 7]}}'


@pytest.fixture(scope="module")
def repo(tmp_path_factory):
    directory = tmp_path_factory.mktemp("generated")
    with redis_server(directory) as port:
        made = make_repo(directory, port)
        lock(made)
        yield made


@pytest.fixture(scope="module")
def server(repo):
    with serving(repo, "--max-body-kib", "128") as served:
        yield served


@pytest.fixture(scope="module")
def limits(repo):
    contract = json.loads((repo / "contract.lock.json").read_text())
    return Limits(body_bytes=128 * 1024, shas={name: service["sha256"] for name, service in contract["services"].items()})


class Tally:
    def __init__(self):
        self.kinds: dict[str, int] = {}
        self.statuses: dict[int, int] = {}
        self.different = set()
        self.resident = []


def test_no_generated_request_gets_a_5xx_a_hang_or_a_guess(server, limits):
    tally = Tally()
    wire = Wire(server.port)

    @settings(SETTINGS, max_examples=EXAMPLES)
    @given(st.integers(0, 2**63))
    def try_requests(seed):
        for number in range(AT_ONCE):
            attempt(case(f"{seed}/{number}", limits), wire, tally)
        tally.resident.append(server.resident_kib())
        alive(wire)

    try_requests()
    assert len(tally.different) >= REQUESTS, "the generator repeats itself"
    assert {200, 400, 404, 405, 412, 413, 415, 422} <= tally.statuses.keys()
    assert min(tally.statuses[200], tally.statuses[422]) > REQUESTS / 10, "neither only good nor only bad requests"
    # Caches fill in the first fifth.
    growth = tally.resident[-1] - tally.resident[len(tally.resident) // 5]
    assert growth < GROWTH_KIB, f"the server grew by {growth} KiB: {tally.resident[::50]}"


SCALARS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.integers(-(2**64), 2**64),
    st.floats(allow_nan=False, allow_infinity=False),
    st.text(),
    st.sampled_from(["person_v1", "people:tenure", "offices:tags", "seats:desk", "Bern", "101"]),
)
ANYTHING = st.recursive(SCALARS, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4))
KEY_LISTS = st.lists(st.sampled_from(EMPLOYEES), min_size=1, max_size=4) | st.lists(SCALARS, max_size=4) | ANYTHING
REFS = st.lists(st.sampled_from([f"{view}:{name}" for view, names in FEATURES.items() for name in names]) | SCALARS, max_size=4)
BODIES = st.fixed_dictionaries(
    {
        "entities": st.dictionaries(st.sampled_from(["employee_id", "office"]) | st.text(max_size=8), KEY_LISTS, max_size=3) | ANYTHING,
    },
    optional={
        "feature_service": st.sampled_from(["person_v1", "seating_v1"]) | SCALARS,
        "features": REFS | ANYTHING,
        "full_feature_names": st.booleans() | ANYTHING,
        "include_feature_view_version_metadata": st.booleans() | ANYTHING,
        "more": ANYTHING,
    },
)


def test_no_body_that_hypothesis_builds_gets_a_5xx_or_a_guess(server):
    wire, tally = Wire(server.port), Tally()

    @settings(SETTINGS, max_examples=BUILT)
    @given(BODIES | ANYTHING)
    @example({"feature_service": "person_v1", "entities": {"employee_id": [1]}})
    @example({"feature_service": "nobody", "entities": {"employee_id": [1]}})
    def try_body(body):
        attempt(body_case("built", json.dumps(body).encode()), wire, tally)

    try_body()
    alive(wire)
    assert {200, 404, 422} <= tally.statuses.keys()


def attempt(one: Case, wire: Wire, tally: Tally) -> None:
    """Send it and hold every answer against its verdict."""
    tally.kinds[one.kind] = tally.kinds.get(one.kind, 0) + max(1, len(one.verdicts))
    tally.different.add(hash(one.sent))
    try:
        sent = wire.send(*one.pieces, pause=one.pause)
        if one.cut:
            wire.finish_sending()
        if not one.verdicts:
            last_words(one, wire, tally)
        for verdict in one.verdicts:
            answer = wire.answer(head_only=one.head_only)
            if answer is None and one.cut and verdict.statuses == {413} and not sent:
                continue
            assert answer is not None, "the connection was closed instead of an answer"
            tally.statuses[answer.status] = tally.statuses.get(answer.status, 0) + 1
            check(answer, verdict, one)
        if one.cut:
            wire.close()
    except Exception as problem:
        wire.close()
        raise AssertionError(f"{problem}\nkind: {one.kind}\nsent: {one.sent[:3_000]!r}") from problem


def last_words(one: Case, wire: Wire, tally: Tally) -> None:
    """What is no request may be refused or cut off; it may not hang, nor be our fault."""
    while (answer := wire.answer()) is not None:
        tally.statuses[answer.status] = tally.statuses.get(answer.status, 0) + 1
        assert answer.status < 500, answer
        if answer.status != 200:
            refusal(answer)


def check(answer: Answer, verdict: Verdict, one: Case) -> None:
    assert answer.status in verdict.statuses, f"{answer.status} is none of {verdict.statuses}: {answer.body[:500]!r}"
    if one.head_only:
        return
    if answer.status != 200:
        named = refusal(answer)
        assert not verdict.fields or named <= verdict.fields, (
            f"it names {named}, the mistakes are in {verdict.fields}: {answer.body[:500]!r}"
        )
        return
    said = json.loads(answer.body)
    names = [name for name, _, _ in verdict.columns]
    assert said["metadata"]["feature_names"] == names, f"the order is {said['metadata']['feature_names']}, not {names}"
    assert len(said["results"]) == len(names)
    for (name, values, statuses), column in zip(verdict.columns, said["results"], strict=True):
        assert column["statuses"] == statuses, (name, column, statuses)
        assert same(column["values"], values), f"{name} is {column['values']}, not {values}"
        assert len(column["event_timestamps"]) == len(values)


def refusal(answer: Answer) -> set[str]:
    """The fields that it names; each error has a rule and a remedy."""
    assert answer.headers["content-type"] == "application/json"
    assert len(answer.body) < 100_000, "a refusal does not echo what it refuses"
    said = json.loads(answer.body)
    assert said["detail"]
    assert said["errors"]
    for error in said["errors"]:
        assert {"field", "value", "rule", "remedy"} == error.keys(), error
        assert all(isinstance(error[key], str) and error[key] for key in ("rule", "remedy")), error
        assert isinstance(error["field"], str), error
    return {error["field"] for error in said["errors"]}


def same(found, right) -> bool:
    """Equal in value and in type: 1 is not 1.0, and True is not 1."""
    if type(found) is not type(right):
        # JSON writers may write a whole float without its point? Not this one.
        return False
    if isinstance(right, list):
        return len(found) == len(right) and all(map(same, found, right))
    if isinstance(right, float):
        return found == right or (math.isnan(found) and math.isnan(right))
    return found == right


def alive(wire: Wire) -> None:
    wire.send(post(PLAIN))
    answer = wire.answer()
    assert answer is not None
    assert answer.status == 200, answer
    check(answer, judge(PLAIN), Case("plain", [], []))
    wire.send(b"GET /health HTTP/1.1\r\nHost: server\r\n\r\n")
    answer = wire.answer()
    assert answer is not None
    assert answer.status == 200


def test_a_client_that_stalls_in_the_middle_keeps_nobody_waiting(server):
    with contextlib.ExitStack() as stack:
        stalled = [Wire(server.port) for _ in range(50)]
        for one in stalled:
            stack.callback(one.close)
            assert one.send(post(PLAIN)[:-10])
        other = Wire(server.port)
        stack.callback(other.close)
        alive(other)
        for one in stalled:
            assert one.send(post(PLAIN)[-10:])
            answer = one.answer()
            assert answer is not None
            check(answer, judge(PLAIN), Case("slow", [], []))
