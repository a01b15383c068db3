"""What a run says: how many rows it read, wrote and left out, how old they are, and that a source has stopped."""

import json
from datetime import UTC, datetime, timedelta

VIEW = "employee_features"
RECORD = f"feast-eks:loaded:employee_attrition:{VIEW}"


def view(outcome):
    return outcome.ok()["views"][VIEW]


def test_it_counts_what_it_read_wrote_and_left_out_as_superseded(applied, rows, midnight):
    applied.put([*rows({101: midnight(1), 202: midnight(2)}), *rows({101: midnight(3)}), *rows({101: midnight(2)})])
    loaded = view(applied.materialize())
    assert (loaded["rows_read"], loaded["rows_written"], loaded["rows_skipped"]) == (4, 2, 2)
    assert (loaded["oldest_event_time"], loaded["newest_event_time"]) == (midnight(3).isoformat(), midnight(1).isoformat())
    assert loaded["seconds"] > 0


def test_of_two_rows_of_one_moment_the_later_created_counts_and_then_the_later_in_the_file(applied, rows, midnight):
    early, late, without = (rows({101: midnight(1)}, salary_band=band)[0] for band in (1, 2, 3))
    late["created"] += timedelta(hours=1)
    without["created"] = None
    applied.put([late, early, without])
    applied.materialize("--backfill").ok()
    assert applied.online(101)["salary_band"] == [2]
    applied.put([early, early | {"salary_band": 5}, without])
    applied.materialize("--overlap-hours", "48").ok()
    assert applied.online(101)["salary_band"] == [5]


def test_rows_that_belong_to_no_entity_or_no_moment_are_counted_and_not_loaded(applied, rows, midnight):
    good, keyless, timeless = rows({101: midnight(1), 202: midnight(1), 303: midnight(1)})
    keyless["employee_id"] = None
    timeless["event_timestamp"] = None
    applied.put([good, keyless, timeless])
    outcome = applied.materialize()
    loaded = view(outcome)
    assert (loaded["rows_written"], loaded["rows_without_key"], loaded["rows_without_time"]) == (1, 1, 1)
    assert "1 without join key, 1 without event timestamp" in outcome.stderr
    assert applied.online(101, 202, 303)["salary_band"] == [2, None, None]


def test_a_source_that_has_stopped_fails_the_nightly_run_after_its_last_rows_are_loaded(applied, rows, midnight, redis_admin):
    applied.put(rows({101: midnight(21)}))
    applied.materialize("--backfill", "--end", midnight(20).isoformat()).ok()
    newest = midnight(9)
    applied.put(rows({101: newest, 202: midnight(12)}))
    outcome = applied.materialize()
    assert outcome.code == 1
    for part in (VIEW, newest.isoformat(), "192.0 h", "freshness_hours", f"s3://{applied.bucket}"):
        assert part in outcome.error
    assert outcome.result["views"][VIEW]["loaded"] is True
    assert json.loads(redis_admin.get(RECORD))["end"] > midnight(1).isoformat()


def test_a_stopped_source_does_not_fail_a_backfill(applied, rows, midnight):
    applied.put(rows({101: midnight(9)}))
    assert view(applied.materialize("--backfill"))["rows_written"] == 0


def test_a_source_without_any_row_has_stopped(applied):
    applied.put([])
    assert "it has no row" in applied.materialize().error


def test_the_tag_of_a_view_says_how_old_its_source_may_be(applied, rows, midnight):
    applied.put(rows({101: datetime.now(UTC) - timedelta(hours=30)}))
    assert view(applied.materialize())["rows_written"] == 1
    applied.edit("feature_views.py", '"freshness_hours": "192"', '"freshness_hours": "26"')
    applied.lock()
    applied.apply().ok()
    outcome = applied.materialize()
    assert "26.0 h" in outcome.error
    assert applied.online(101)["salary_band"] == [2], "what there is must be loaded all the same"


def test_a_tag_that_is_no_number_of_hours_is_refused(applied):
    applied.edit("feature_views.py", '"freshness_hours": "192"', '"freshness_hours": "daily"')
    applied.lock()
    applied.apply().ok()
    assert "freshness_hours='daily'" in applied.materialize().error


def test_a_window_that_ends_before_a_done_load_leaves_newer_values_alone(applied, rows, midnight, redis_admin):
    applied.materialize("--backfill").ok()
    before = json.loads(redis_admin.get(RECORD))
    applied.put([*rows({101: midnight(3)}, salary_band=5), *rows({404: midnight(3)})])
    loaded = view(applied.materialize("--end", midnight(2).isoformat(), "--overlap-hours", "48"))
    assert (loaded["rows_read"], loaded["rows_written"], loaded["rows_skipped"]) == (2, 1, 1)
    assert applied.online(101, 404)["salary_band"] == [2, 5]
    assert json.loads(redis_admin.get(RECORD)) == before, "a look back must not forget how far the view is loaded"


def test_a_field_of_another_type_is_loaded_anew_as_that_type(applied, view_columns):
    applied.materialize("--backfill").ok()
    applied.edit("feature_views.py", 'Field(name="overtime", dtype=Int64', 'Field(name="overtime", dtype=Float32')
    applied.waive("F013", "views.employee_features.overtime")
    applied.lock()
    applied.apply().ok()
    assert view(applied.materialize("--backfill"))["reason"] == "loaded with another schema"
    values = applied.online(101, 202, features=["overtime"])["overtime"]
    assert values == [1.0, 0.0]
    assert {type(value) for value in values} == {float}


def test_a_look_back_with_another_schema_replaces_nothing_newer(applied, rows, midnight, redis_admin):
    applied.put(rows({101: midnight(1), 202: midnight(5)}, salary_band=2))
    applied.materialize("--backfill").ok()
    applied.add_field("age")
    applied.apply().ok()
    applied.put(rows({101: midnight(4), 202: midnight(4)}, salary_band=5))
    loaded = view(applied.materialize("--end", midnight(3).isoformat()))
    assert loaded["reason"] == "loaded with another schema"
    assert applied.online(101, 202)["salary_band"] == [2, 5]
    assert json.loads(redis_admin.get(RECORD))["end"] == midnight(3).isoformat(), "what is younger has not been loaded with this schema"


def test_a_ttl_of_any_length_lets_all_rows_count(applied, rows, midnight):
    for before, days in (("days=7", 365 * 500), (f"days={365 * 500}", 365 * 3000)):
        applied.edit("feature_views.py", before, f"days={days}")
        applied.lock()
        applied.apply().ok()
        applied.put(rows({101: midnight(1), 202: midnight(20_000)}))
        assert view(applied.materialize("--backfill"))["rows_written"] == 2
