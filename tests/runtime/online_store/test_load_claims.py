"""The record of a load: one watermark that lies beside the values, and tells a load that it was overtaken."""

import json
from datetime import UTC, datetime

import pytest

from feature_runtime.online_store.load_records import Claim, LoadRecord
from feature_runtime.refusal import Refusal

KEY = "feast-eks:loaded:shop:things"
NOON = datetime(2026, 5, 4, 12, tzinfo=UTC)
RECORD = LoadRecord(schema_sha256="a" * 64, end=NOON, newest_event_time=NOON)


@pytest.fixture
def client(redis_admin):
    redis_admin.flushall()
    return redis_admin


@pytest.fixture
def claim(client):
    return lambda check=lambda: None: Claim(client, KEY, client.get(KEY), check)


def write_mark(client, claim):
    client.set(*claim.mark())
    claim.confirm()


def test_a_load_that_is_done_leaves_a_record_and_no_claim(claim):
    first = claim()
    first.check()
    assert claim().unfinished
    first.finish(RECORD)
    assert (claim().record, claim().unfinished) == (RECORD, False)


def test_the_record_of_the_last_load_stands_until_the_next_is_done(client, claim):
    claim().finish(RECORD)
    claim().check()
    assert LoadRecord.parse(client.get(KEY)) == RECORD


def test_a_load_stops_once_another_has_begun(claim):
    first, second = claim(), claim()
    first.check()
    with pytest.raises(Refusal, match="another run has begun"):
        second.check()
    third = claim()
    third.check()
    with pytest.raises(Refusal, match="another run has begun"):
        first.check()
    third.finish(RECORD)
    with pytest.raises(Refusal, match="another run has begun"):
        first.finish(RECORD)


def test_a_load_stops_when_redis_has_lost_what_it_had_confirmed(client, claim):
    load = claim()
    load.check()
    older = client.get(KEY)
    write_mark(client, load)
    load.check()
    client.set(KEY, older)
    with pytest.raises(Refusal, match="lost what was written"):
        load.check()
    client.flushall()
    with pytest.raises(Refusal, match="lost what was written"):
        load.check()


def test_a_mark_that_arrived_though_its_reply_did_not_is_no_loss(client, claim):
    load = claim()
    load.check()
    client.set(*load.mark())
    load.check()
    load.finish(RECORD)
    assert claim().record == RECORD


def test_of_several_tries_any_may_be_the_one_that_arrived(client, claim):
    load = claim()
    load.check()
    client.set(*load.mark())
    load.check()
    load.mark()  # sent by the second try, and lost on the way
    load.check()


def test_a_claim_that_did_not_arrive_is_made_again(client, claim):
    load = claim()
    load.mark()
    load.check()
    assert claim().unfinished


def test_a_load_whose_lock_is_lost_writes_nothing(client, claim):
    def lost():
        raise Refusal("the lock is lost")

    with pytest.raises(Refusal, match="the lock is lost"):
        claim(lost).check()
    with pytest.raises(Refusal, match="the lock is lost"):
        claim(lost).finish(RECORD)
    assert not client.exists(KEY)


@pytest.mark.parametrize(
    "text",
    [
        None,
        b"",
        b"no json",
        b"[]",
        b"{}",
        b'{"loading": "0 1"}',
        json.dumps(RECORD.fields() | {"end": "2026-05-04T12:00:00"}).encode(),
        json.dumps(RECORD.fields() | {"newest_event_time": None}).encode(),
    ],
)
def test_what_is_no_record_counts_as_never_loaded(text):
    assert LoadRecord.parse(text) is None
