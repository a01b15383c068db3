"""Redis goes away in all its ways: every request is answered at once or within the timeout, and service resumes by itself."""

import signal
import statistics
import threading
import time
from datetime import UTC, datetime

import pytest
import redis
from feast import Entity, FeatureView, Field, FileSource, ValueType
from feast.protos.feast.types.Value_pb2 import Value
from feast.types import Int64

from tests.waiting import NotYet, wait_for, wait_until

AWAY = redis.exceptions.RedisError
NOW = datetime.now(UTC).replace(microsecond=0)
QUESTION = {"features": ["customers:age"], "entities": {"customer_id": [1]}}
customer = Entity(name="customer", join_keys=["customer_id"], value_type=ValueType.INT64)


def make_view():
    return FeatureView(
        name="customers",
        entities=[customer],
        source=FileSource(name="customers", path="customers.parquet", timestamp_field="event_timestamp"),
        schema=[Field(name="customer_id", dtype=Int64), Field(name="age", dtype=Int64)],
    )


def write(shop, age=42):
    shop.store.provider.online_store._client = None
    shop.write(make_view(), [({"customer_id": Value(int64_val=1)}, {"age": Value(int64_val=age)}, NOW)])


@pytest.fixture
def running(own_shop, serving):
    own_shop.apply(customer, make_view())
    write(own_shop)
    started = serving(own_shop, own_shop.contract())
    yield started
    started.stop()


def seconds(action):
    started = time.monotonic()
    return action(), time.monotonic() - started


def until(running, status):
    client = running.client()

    def ask():
        answer = client.ask(QUESTION)
        if answer.status != status:
            assert answer.status in (200, 503), answer.body
            raise NotYet(answer.body)
        return answer

    return wait_for(ask, NotYet)


def refuses_at_once(running):
    """Half of the answers, at least: a busy machine may hold up some, a timeout of a second would hold up all."""
    answers = [seconds(lambda: running.ask(QUESTION)) for _ in range(20)]
    assert {answer.status for answer, _ in answers} == {503}
    assert statistics.median(took for _, took in answers) < 0.5


def test_a_killed_redis_is_503_at_once_and_served_again_once_it_is_back(running, own_shop, own_redis):
    assert running.ask(QUESTION).columns["age"]["values"] == [42]
    assert running.get("/ready").status == 200
    own_redis.signal(signal.SIGKILL)
    away = until(running, 503)
    assert away.headers["retry-after"] == "1"
    assert "online store is away" in away.json["detail"]
    refuses_at_once(running)
    assert running.get("/ready").status == 503
    assert "Redis" in running.get("/ready").json["reason"] or "Connect" in running.get("/ready").json["reason"]
    assert running.get("/health").status == 200, "the process is fine: restarting it would help nobody"
    assert running.ask({"features": ["customers:other"], "entities": {}}).status == 404, "a wrong request is still the client's"
    own_redis.start()
    back = until(running, 200)
    assert back.columns["age"]["statuses"] == ["NOT_FOUND"], "it came back empty, and that is what is answered"
    write(own_shop, 43)
    assert running.ask(QUESTION).columns["age"]["values"] == [43]
    assert running.get("/ready").status == 200


def test_a_hung_redis_costs_a_second_once_and_then_nothing(running, own_redis):
    own_redis.signal(signal.SIGSTOP)
    answers = []
    threads = [threading.Thread(target=lambda: answers.append(seconds(lambda: running.ask(QUESTION)))) for _ in range(5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(10)
    assert [answer.status for answer, _ in answers] == [503] * 5
    assert max(took for _, took in answers) < 6, "the timeout is one second"
    refuses_at_once(running)
    assert running.get("/health").status == 200
    own_redis.signal(signal.SIGCONT)
    assert until(running, 200).columns["age"]["values"] == [42]


def test_a_redis_that_hangs_while_nobody_asks_is_found(running, own_redis):
    assert running.store.up
    own_redis.signal(signal.SIGSTOP)
    wait_until(lambda: not running.store.up, "it is found", seconds=6)
    own_redis.signal(signal.SIGCONT)
    until(running, 200)


def test_a_redis_that_is_loading_or_refuses_is_away(running, own_redis):
    client = redis.Redis(port=own_redis.port)
    client.execute_command("ACL", "SETUSER", "default", "-hmget")
    answer = running.ask(QUESTION)
    assert (answer.status, "NOPERM" in answer.json["detail"]) == (503, True)
    client.execute_command("ACL", "SETUSER", "default", "+hmget")
    assert until(running, 200).status == 200


def test_a_thousand_requests_at_once_share_one_connection(running, own_redis):
    client = redis.Redis(port=own_redis.port)
    before = client.info("clients")["connected_clients"]
    results = []

    def ask():
        mine = running.client()
        results.extend([mine.ask(QUESTION).columns["age"]["values"] for _ in range(50)])

    threads = [threading.Thread(target=ask) for _ in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert results == [[42]] * 1000
    assert client.info("clients")["connected_clients"] == before
