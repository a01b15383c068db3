"""Late rows: which of a stored and a new row stays, in both ways of writing."""

from datetime import UTC, datetime, timedelta

import pyarrow as pa
import pytest
from feast.protos.feast.types.Value_pb2 import Value
from feast.types import Int64, String

from feature_runtime.online_store import Keep

NOW = datetime(2026, 5, 4, tzinfo=UTC)
OLDER, EQUAL, NEWER = (NOW + timedelta(microseconds=step) for step in (-1, 0, 1))


@pytest.fixture
def view(make_view):
    return make_view({"number": Int64})


def batch(*rows):
    keys, moments, numbers = zip(*rows, strict=True)
    return pa.record_batch(
        {
            "thing": pa.array(keys, pa.int64()),
            "at": pa.array(moments, pa.timestamp("us", "UTC")),
            "number": pa.array(numbers, pa.int64()),
        }
    )


def stored(two):
    found = {}
    for key, (fields, _) in two.dump(two.ours_redis).items():
        number = next(value for field, value in fields.items() if not field.startswith(b"_ts:"))
        found[int.from_bytes(key[-len("two_words") - 8 : -len("two_words")], "little")] = Value.FromString(number).int64_val
    return found


@pytest.mark.parametrize(
    ("keep", "moment", "written"),
    [
        (Keep.NOTHING, OLDER, 1),
        (Keep.NOTHING, EQUAL, 1),
        (Keep.NEWER, OLDER, 0),
        (Keep.NEWER, EQUAL, 1),
        (Keep.NEWER, NEWER, 1),
        (Keep.NEWER_OR_EQUAL, OLDER, 0),
        (Keep.NEWER_OR_EQUAL, EQUAL, 0),
        (Keep.NEWER_OR_EQUAL, NEWER, 1),
    ],
)
def test_what_is_kept_decides_over_a_late_row(two, view, keep, moment, written):
    config = two.config(ours=True)
    two.ours.write_arrow(config, view, batch((1, NOW, 10)), keep=Keep.NOTHING)
    assert two.ours.write_arrow(config, view, batch((1, moment, 20), (2, OLDER, 30)), keep=keep) == written + 1
    assert stored(two) == {1: 20 if written else 10, 2: 30}


def test_of_rows_of_one_entity_in_a_batch_the_newest_stays_whatever_their_order(two, view):
    rows = batch((1, NOW, 1), (1, NEWER, 2), (1, OLDER, 3), (1, NOW, 4))
    assert two.ours.write_arrow(two.config(ours=True), view, rows, keep=Keep.NEWER) == 2
    assert stored(two) == {1: 2}


def test_the_rows_of_another_view_of_the_same_entity_do_not_count(two, view, make_view):
    other = make_view({"number": Int64}, name="others")
    config = two.config(ours=True)
    two.ours.write_arrow(config, other, batch((1, NEWER, 10)), keep=Keep.NOTHING)
    assert two.ours.write_arrow(config, view, batch((1, OLDER, 20)), keep=Keep.NEWER) == 1


def test_a_new_field_reaches_rows_of_the_same_moment(two, view, make_view):
    config = two.config(ours=True)
    two.ours.write_arrow(config, view, batch((1, NOW, 10)), keep=Keep.NOTHING)
    wider = make_view({"number": Int64, "word": String})
    wide = batch((1, NOW, 10)).append_column("word", pa.array(["new"]))
    two.ours.write_arrow(config, wider, wide, keep=Keep.NEWER)
    (fields, _), *_ = two.dump(two.ours_redis).values()
    assert b"new" in b"".join(fields.values())


def test_a_null_join_key_or_moment_is_refused_and_nothing_is_written(two, view):
    with pytest.raises(ValueError, match="join key 'thing' is null"):
        two.ours.write_arrow(two.config(ours=True), view, batch((None, NOW, 1)), keep=Keep.NOTHING)
    with pytest.raises(ValueError, match="event timestamp is null"):
        two.ours.write_arrow(two.config(ours=True), view, batch((1, None, 1)), keep=Keep.NOTHING)
    assert stored(two) == {}
