"""A server that is told to stop answers everybody first."""

import asyncio
import http.client
import threading
import time
from datetime import UTC, datetime

import pytest
from feast import Entity, FeatureView, Field, FileSource, ValueType
from feast.protos.feast.types.Value_pb2 import Value
from feast.types import Int64

from tests.runtime.serving.conftest import Client

QUESTION = {"features": ["customers:age"], "entities": {"customer_id": [1]}}


@pytest.fixture
def running(shop_of, serving):
    customer = Entity(name="customer", join_keys=["customer_id"], value_type=ValueType.INT64)
    view = FeatureView(
        name="customers",
        entities=[customer],
        source=FileSource(name="customers", path="customers.parquet", timestamp_field="event_timestamp"),
        schema=[Field(name="customer_id", dtype=Int64), Field(name="age", dtype=Int64)],
    )
    shop = shop_of(customer, view)
    shop.write(view, [({"customer_id": Value(int64_val=1)}, {"age": Value(int64_val=42)}, datetime.now(UTC))])
    return serving(shop, shop.contract())


class Caller(threading.Thread):
    """Asks without pause on a kept connection, and connects again when it is closed: until the cluster, which learns of
    the server's end some time later, sends it elsewhere."""

    def __init__(self, port, elsewhere):
        super().__init__()
        self.port = port
        self.elsewhere = elsewhere
        self.answered = 0
        self.told_to_go = 0
        self.failures = []

    def run(self):
        while not self.elsewhere.is_set():
            client = Client(self.port)
            try:
                while True:
                    answer = client.ask(QUESTION)
                    assert answer.columns["age"]["values"] == [42]
                    self.answered += 1
                    if answer.headers.get("connection") == "close":
                        self.told_to_go += 1
                        break
            except (AssertionError, OSError, http.client.HTTPException) as error:
                self.failures.append(repr(error))
                return


def test_no_request_fails_while_a_server_under_load_stops(running):
    elsewhere = threading.Event()
    callers = [Caller(running.port, elsewhere) for _ in range(8)]
    for caller in callers:
        caller.start()
    while min(caller.answered for caller in callers) < 20:
        time.sleep(0.005)
    running.server.draining = True
    assert running.get("/ready").status == 503
    assert running.get("/health").status == 200
    drained = asyncio.run_coroutine_threadsafe(running.http.drain(listening_seconds=5, seconds=5), running.loop)
    while min(caller.told_to_go for caller in callers) < 3 and not any(caller.failures for caller in callers):
        time.sleep(0.005)
    elsewhere.set()
    for caller in callers:
        caller.join(60)
    drained.result(60)
    assert [failure for caller in callers for failure in caller.failures] == []
    with pytest.raises(ConnectionRefusedError):
        running.get("/health")
    running.stop()


def test_a_connection_that_only_waits_is_closed_at_the_end(running):
    idle = Client(running.port)
    assert idle.ask(QUESTION).status == 200
    asyncio.run_coroutine_threadsafe(running.http.drain(listening_seconds=0, seconds=5), running.loop).result(10)
    assert idle.connection.sock.recv(1) == b""
    running.stop()
