"""One large reply, or one slow one, fails nobody: neither who asked for it, nor the others."""

import asyncio
import contextlib
import signal
import threading
import time

import pytest
from feast import Entity, FeatureView, Field, FileSource, ValueType
from feast.protos.feast.types.Value_pb2 import Value
from feast.types import Bytes, Int64

from feature_runtime.online_store import wire
from feature_runtime.online_store.wire import StoreAway, Wire
from feature_runtime.serving import redis_reader
from feature_runtime.serving.redis_reader import Link
from tests.runtime.serving.conftest import feature_store
from tests.runtime.serving.redis_processes import TIMEOUTS, Narrow
from tests.runtime.serving.test_redis import NOW
from tests.waiting import wait_until

MIB = 1 << 20
person = Entity(name="person", join_keys=["id"], value_type=ValueType.INT64)
SMALL = {"features": ["people:age"], "entities": {"id": [1]}}


def photos(count):
    return {"features": ["people:photo"], "entities": {"id": list(range(count))}}


@pytest.fixture
def running(own_shop, own_redis, serving, tmp_path):
    """Thirty people with a photo of 256 KiB each, over a link of 4 MiB per second."""
    view = FeatureView(
        name="people",
        entities=[person],
        source=FileSource(name="people", path="people.parquet", timestamp_field="event_timestamp"),
        schema=[Field(name="id", dtype=Int64), Field(name="age", dtype=Int64), Field(name="photo", dtype=Bytes)],
    )
    own_shop.apply(person, view)
    values = {"age": Value(int64_val=42), "photo": Value(bytes_val=bytes(MIB // 4))}
    own_shop.write(view, [({"id": Value(int64_val=number)}, values, NOW) for number in range(30)])
    link = Narrow(own_redis.port, 4 * MIB)
    own_shop.reader = feature_store(tmp_path, f"127.0.0.1:{link.port},{TIMEOUTS}")
    started = serving(own_shop, own_shop.contract())
    yield started
    started.stop()
    link.close()


@contextlib.contextmanager
def others(running):
    """Others who ask for little; gives their statuses, and how long each waited."""
    stop, found = threading.Event(), []

    def ask():
        client = running.client()
        while not stop.is_set():
            started = time.monotonic()
            found.append((client.ask(SMALL).status, time.monotonic() - started))
            time.sleep(0.02)

    threads = [threading.Thread(target=ask) for _ in range(3)]
    for thread in threads:
        thread.start()
    try:
        yield found
    finally:
        stop.set()
        for thread in threads:
            thread.join(15)


def test_a_reply_that_takes_longer_than_the_timeout_is_answered_and_nobody_else_fails(running):
    with others(running) as found:
        started = time.monotonic()
        for _ in range(2):
            answer = running.ask(photos(24))
            assert answer.status == 200, answer.body
            assert len(answer.columns["photo"]["values"]) == 24
        assert time.monotonic() - started > 2 * wire.TIMEOUT_SECONDS, "else this test shows nothing"
    assert {status for status, _ in found} == {200}


def test_what_is_known_to_be_large_is_not_waited_for_by_others(running):
    assert running.ask(photos(8)).status == 200, "from now on it is known"
    with others(running) as found:
        assert running.ask(photos(24)).status == 200
    assert {status for status, _ in found} == {200}
    assert len(found) > 20, "they were answered while it came"


def test_more_than_an_answer_is_made_of_is_refused_and_nobody_else_fails(running, monkeypatch):
    for module in (wire, redis_reader):
        monkeypatch.setattr(module, "MOST_BYTES", 2 * MIB)
    with others(running) as found:
        for _ in range(3):
            answer = running.ask(photos(16))
            assert answer.status == 413, answer.body
            assert answer.fields == ["entities"]
            assert "2 MiB" in answer.json["errors"][0]["rule"]
            assert "fewer" in answer.json["errors"][0]["remedy"]
    assert {status for status, _ in found} == {200}
    assert running.ask(photos(4)).status == 200, "few of them are well"
    assert running.ask(SMALL).status == 200


def test_rows_that_are_larger_than_those_before_are_refused_and_nobody_else_fails(running, own_shop, monkeypatch):
    for module in (wire, redis_reader):
        monkeypatch.setattr(module, "MOST_BYTES", MIB)
    small = {"photo": Value(bytes_val=bytes(2_000))}
    rows = [({"id": Value(int64_val=number)}, small, NOW) for number in range(1_000, 2_000)]
    own_shop.write(own_shop.store.get_feature_view("people"), rows)
    few = {"features": ["people:photo"], "entities": {"id": list(range(1_000, 1_100))}}
    assert running.ask(few).status == 200, "so much is thought of a row"
    mixed = {"features": ["people:photo"], "entities": {"id": [*range(30), *range(1_000, 2_000)]}}
    del mixed["entities"]["id"][1_000:]
    with others(running) as found:
        for _ in range(2):
            answer = running.ask(mixed)
            assert answer.status == 413, answer.body
    assert {status for status, _ in found} == {200}
    assert running.ask(few).status == 200


def test_when_redis_goes_away_all_who_stand_in_line_hear_of_it(running, own_redis):
    assert running.ask(photos(8)).status == 200, "from now on it is known to be large"
    statuses = []
    threads = [threading.Thread(target=lambda: statuses.append(running.ask(photos(24)).status)) for _ in range(8)]
    for thread in threads:
        thread.start()
    wait_until(lambda: running.store._heavy_waiting == 8, "all stand in line")
    started = time.monotonic()
    own_redis.signal(signal.SIGKILL)
    for thread in threads:
        thread.join(60)
    assert statuses == [503] * 8
    assert time.monotonic() - started < 12, "three seconds each would be twenty-four"


class Deaf:
    """A transport that swallows everything."""

    def write(self, data):
        pass

    def abort(self):
        pass


def connected():
    link = Link(None)
    link.wire = Wire()
    link.wire.connection_made(Deaf())
    return link


def test_a_crowd_is_turned_away_and_those_who_wait_are_answered():
    async def crowd():
        link, answered, late = connected(), [], []
        for _ in range(wire.MOST_WAITING + 3):
            link.send(wire.PING, 1, lambda replies, _: answered.append(replies))
        for _ in range(wire.SILENT_TICKS + 1):
            # Something of the first reply arrives all the time.
            link.wire.data_received(b"" if answered else b"+PONG\r\n+")
            link.tick()
        link.send(wire.PING, 1, lambda replies, _: late.append(replies))
        link.wire.data_received(b"PONG\r\n" + b"+PONG\r\n" * (wire.MOST_WAITING + 1))
        link.tick()
        link.send(wire.PING, 1, lambda replies, _: late.append(replies))
        link.wire.data_received(b"+PONG\r\n" * 2)
        return answered, late

    answered, (in_the_crowd, after_it) = asyncio.run(crowd())
    assert answered == [[b"PONG"]] * (wire.MOST_WAITING + 3)
    assert isinstance(in_the_crowd, StoreAway)
    assert after_it == [b"PONG"]


def test_silence_counts_from_the_last_byte():
    async def trickle():
        link, found = connected(), []
        link.send(wire.PING, 1, lambda replies, _: found.append(replies))
        for byte in (b"$", b"4", b"\r\n", b"PO", b"NG"):
            for _ in range(wire.SILENT_TICKS - 1):
                link.tick()
            link.wire.data_received(byte)
        assert link.up, "five times nearly a second"
        for _ in range(wire.SILENT_TICKS + 2):
            link.tick()
        return link.up, found

    up, found = asyncio.run(trickle())
    assert not up
    assert isinstance(found[0], StoreAway)
