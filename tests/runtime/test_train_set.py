"""The verb `train-set`: labels in, the vectors that a server would have answered out; all of them, in the contract's order."""

import argparse
import json
import shutil
from datetime import UTC, datetime, timedelta

import boto3
import pyarrow as pa
import pyarrow.csv as pc_csv
import pyarrow.parquet as pq
import pytest
from feast import FeatureStore
from feast.types import Int64

from feature_runtime import train_set
from feature_runtime.offline_store.labels import Expected, read_labels
from feature_runtime.refusal import Refusal
from tests.second_feature_repo import data

SERVICE = "attrition_model_v1"
FEATURES = ["tenure", "salary_band", "overtime", "promotion_stagnation", "career_velocity", "overall_satisfaction"]
BUCKET = "features"


def contract_of(schema):
    return json.loads(schema.metadata[b"feature_contract"])


@pytest.fixture
def employees(stores, rows, midnight):
    """A history of three employees, and a run of `train-set` on labels of them."""
    stores.put([row for days in (9, 5, 1) for row in rows({101: midnight(days), 303: midnight(days)})])

    def labels(count=40):
        return [
            {
                "left": number % 3 == 0,
                "employee_id": (101, 303, 999)[number % 3],
                "event_timestamp": midnight(number % 12 - 1),
                "why": f"n{number}",
            }
            for number in range(count)
        ]

    stores.labels = labels
    return stores


def s3(stores):
    keys = {"aws_access_key_id": "sandbox", "aws_secret_access_key": "sandbox"}
    return boto3.client("s3", endpoint_url=stores.endpoint, region_name="us-east-1", **keys)


def train(stores, labels, output, *arguments, service=SERVICE, **changes):
    environment = stores.offline_environment() | {"FEATURE_REPO_DIR_ENV_VAR": str(stores.repo)} | changes
    return stores.run(["train-set", "--service", service, "--labels", str(labels), "--output", str(output), *arguments], environment)


@pytest.mark.parametrize("kind", [pa.float64(), pa.int32(), pa.decimal128(21, 2)], ids=str)
def test_labels_whose_keys_are_written_in_another_type_of_numbers_find_the_same_rows(employees, tmp_path, kind):
    labels = pa.Table.from_pylist(employees.labels(12))
    pq.write_table(labels, tmp_path / "plain.parquet")
    pq.write_table(replaced(labels, "employee_id", labels["employee_id"].cast(kind)), tmp_path / "other.parquet")
    for name in ("plain", "other"):
        train(employees, tmp_path / f"{name}.parquet", tmp_path / f"out-{name}.parquet").ok()
    plain, other = (pq.read_table(tmp_path / f"out-{name}.parquet") for name in ("plain", "other"))
    assert other.drop_columns("employee_id").equals(plain.drop_columns("employee_id"))
    assert other["employee_id"].type == kind


def test_a_label_whose_key_is_no_whole_number_is_named(employees, tmp_path):
    labels = pa.Table.from_pylist(employees.labels(12))
    pq.write_table(replaced(labels, "employee_id", pa.array([0.5] * 12)), tmp_path / "labels.parquet")
    outcome = train(employees, tmp_path / "labels.parquet", tmp_path / "out.parquet")
    assert outcome.code == 1
    assert "'employee_id' is Int64: Float value 0.5" in outcome.error


@pytest.fixture
def second(stores, repository, tmp_path):
    """The second feature repo on local files: keys of several columns, texts, arrays, features computed on demand."""
    stores.repo = tmp_path / "second"
    shutil.copytree(repository / "tests" / "second_feature_repo" / "feature_repo", stores.repo)
    data.write(stores.repo / "data")
    stores.lock()
    return stores


def payments(count):
    """Labels of payments, some by a card or at a merchant that nobody knows."""
    now = datetime.now(UTC)
    return [
        {
            "label": number,
            "card_id": data.CARDS[number % len(data.CARDS)] if number % 9 else "nobody",
            "payee_id": data.CARDS[number * 7 % len(data.CARDS)] if number % 5 else "nobody",
            "merchant_id": data.MERCHANTS[number % len(data.MERCHANTS)],
            "event_timestamp": now - timedelta(days=number % 25, hours=3),
            "amount": float(number),
            "country": "CH",
        }
        for number in range(count)
    ]


def local(stores, labels, output, *arguments, **options):
    return train(stores, labels, output, *arguments, OFFLINE_STORE_BUCKET="", **options)


def by_name(stores, labels, output, *arguments):
    environment = stores.offline_environment() | {"FEATURE_REPO_DIR_ENV_VAR": str(stores.repo), "OFFLINE_STORE_BUCKET": ""}
    return stores.run(["train-set", "--labels", str(labels), "--output", str(output), *arguments], environment)


LISTED = ["visit_features:visits", "card_features:home_country", "visit_features:spent", "payment_features:is_abroad"]


def test_features_that_no_service_lists_are_trained_on_in_the_order_in_which_they_are_named(second, tmp_path):
    pq.write_table(pa.Table.from_pylist(payments(60)), tmp_path / "labels.parquet")
    by_name(second, tmp_path / "labels.parquet", tmp_path / "listed.parquet", "--features", *LISTED).ok()
    local(second, tmp_path / "labels.parquet", tmp_path / "service.parquet", service="fraud_model_v1").ok()
    listed, service = (pq.read_table(tmp_path / f"{name}.parquet") for name in ("listed", "service"))
    names = [name.partition(":")[2] for name in LISTED]
    assert listed.column_names[-4:] == names
    assert listed.select(names).equals(service.select(names).replace_schema_metadata(listed.schema.metadata))
    contract = contract_of(listed.schema)
    assert "feature_service" not in contract
    assert [f"{view}:{feature}" for view, feature, _ in contract["features"]] == LISTED

    by_name(second, tmp_path / "labels.parquet", tmp_path / "full.parquet", "--full-feature-names", "--features", *LISTED).ok()
    assert pq.read_schema(tmp_path / "full.parquet").names[-4:] == [name.replace(":", "__") for name in LISTED]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--features", "cards:x", "card_features:age", *["card_features:credit_limit"] * 2], ["view 'cards'", "'age'", "named twice"]),
        (["--features", "merchant_features:category", "--service", "fraud_model_v1"], []),
        (["--service", "fraud_model_v1", "--full-feature-names"], ["goes with --features"]),
        ([], []),
    ],
    ids=["not there", "both", "full names of a service", "neither"],
)
def test_features_that_cannot_be_trained_on_are_refused_at_once(second, tmp_path, arguments, said):
    pq.write_table(pa.Table.from_pylist(payments(3)), tmp_path / "labels.parquet")
    outcome = by_name(second, tmp_path / "labels.parquet", tmp_path / "out.parquet", *arguments)
    assert outcome.code != 0
    assert all(part in outcome.stdout + outcome.stderr for part in said)
    assert not (tmp_path / "out.parquet").exists()


def test_every_label_comes_back_in_its_place_with_the_contract_in_the_file(employees, tmp_path):
    made = employees.labels() + employees.labels()
    pq.write_table(pa.Table.from_pylist(made), tmp_path / "labels.parquet", row_group_size=7)
    s3(employees).upload_file(str(tmp_path / "labels.parquet"), BUCKET, "labels/labels.parquet")
    result = train(employees, f"s3://{BUCKET}/labels/labels.parquet", f"s3://{BUCKET}/sets/out.parquet").ok()
    s3(employees).download_file(BUCKET, "sets/out.parquet", str(tmp_path / "out.parquet"))
    table = pq.read_table(tmp_path / "out.parquet")

    assert table.column_names == ["left", "employee_id", "event_timestamp", "why", *FEATURES]
    assert table.select(["left", "employee_id", "event_timestamp", "why"]).to_pylist() == made
    assert [str(kind) for kind in table.schema.types[4:]] == ["float", "int64", "int64", "float", "float", "float"]
    history = employees.records()
    for row in table.to_pylist():
        known = [
            past
            for past in history
            if past["employee_id"] == row["employee_id"]
            and timedelta(0) <= row["event_timestamp"] - past["event_timestamp"] <= timedelta(days=7)
        ]
        newest = max(known, key=lambda past: past["event_timestamp"], default=dict.fromkeys(FEATURES))
        assert [row[name] for name in FEATURES] == [newest[name] for name in FEATURES]

    locked = json.loads((employees.repo / "contract.lock.json").read_text())
    contract = contract_of(table.schema)
    assert contract.pop("created_at") <= datetime.now(UTC).isoformat()
    assert contract == {
        "project": "employee_attrition",
        "feature_service": SERVICE,
        "sha256": locked["services"][SERVICE]["sha256"],
        "features": locked["services"][SERVICE]["features"],
        "definitions_sha256": locked["definitions_sha256"],
    }
    nothing = sum(row["tenure"] is None for row in table.to_pylist())
    assert 0 < nothing < len(made)
    assert result["sha256"] == contract["sha256"]
    assert (result["rows"], result["features"]) == (80, 6)
    assert result["nulls"] == dict.fromkeys(FEATURES, nothing)
    assert (result["labels_without_a_row"], result["labels_without_any_row"]) == ({"employee_features": nothing}, nothing)


def test_a_csv_file_keeps_its_keys_as_the_contract_has_them(second, tmp_path):
    now = datetime.now(UTC)
    rows = [{"card_id": "0042", "when": now, "n": 1}, {"card_id": "42", "when": now, "n": 2}]
    pc_csv.write_csv(pa.Table.from_pylist(rows), tmp_path / "labels.csv")
    output = tmp_path / "out.parquet"
    local(second, tmp_path / "labels.csv", output, "--timestamp", "when", service="limit_model_v1").ok()
    table = pq.read_table(output)
    assert table["card_id"].to_pylist() == ["0042", "42"]
    assert [value is None for value in table["credit_limit"].to_pylist()] == [False, True]


@pytest.mark.parametrize("service", ["fraud_model_v1", "transfer_model_v1"])
def test_every_row_that_feast_itself_gives_is_the_same_here_and_none_is_lost(second, service, tmp_path, monkeypatch):
    made = payments(200)
    pq.write_table(pa.Table.from_pylist(made), tmp_path / "labels.parquet")
    output = tmp_path / "out.parquet"
    local(second, tmp_path / "labels.parquet", output, service=service).ok()
    ours = {row["label"]: row for row in pq.read_table(output).to_pylist()}
    assert list(ours) == list(range(200))

    monkeypatch.chdir(second.repo)
    monkeypatch.delenv("OFFLINE_STORE_BUCKET", raising=False)
    second.run(["apply"], {"FEATURE_REPO_DIR_ENV_VAR": str(second.repo)}).ok()
    store = FeatureStore(second.repo)
    labels = pq.read_table(tmp_path / "labels.parquet").to_pandas()
    theirs = store.get_historical_features(labels, store.get_feature_service(service)).to_df()
    names = [name for _, name, _ in contract_of(pq.read_schema(output))["features"]]
    assert 100 < len(theirs) < 200
    for row in theirs.to_dict("records"):
        own = ours[row["label"]]
        for name in names:
            assert plain(own[name]) == plain(row[name]), f"label {row['label']}: {name}"


def plain(value):
    """A value whatever library gave it: not a number is nothing, times in whole seconds, as they are served."""
    if isinstance(value, datetime):
        return None if value != value else int(value.timestamp())  # noqa: PLR0124  pandas' NaT
    if hasattr(value, "tolist"):
        value = value.tolist()
    if isinstance(value, list):
        return [plain(item) for item in value]
    if isinstance(value, float):
        return None if value != value else float(f"{value:.6g}")  # noqa: PLR0124
    return value


def test_what_is_computed_on_demand_sees_only_what_a_server_would_give_it(second, tmp_path):
    second.edit("on_demand_feature_views.py", '"route": [f"{home}', '"route": [f"{sorted(inputs)} {home}')
    second.lock()
    pq.write_table(pa.Table.from_pylist(payments(3)), tmp_path / "labels.parquet")
    local(second, tmp_path / "labels.parquet", tmp_path / "out.parquet", service="checkout_model_v1").ok()
    for route in pq.read_table(tmp_path / "out.parquet")["route"].to_pylist():
        assert "'amount'" in route
        assert "card_features__credit_limit" in route
        assert "label" not in route


def test_a_label_that_no_server_could_answer_is_refused(second, tmp_path):
    pq.write_table(pa.Table.from_pylist([row | {"amount": -1.0} for row in payments(3)]), tmp_path / "labels.parquet")
    error = local(second, tmp_path / "labels.parquet", tmp_path / "out.parquet", service="checkout_model_v1").error
    assert "'payment_features' cannot be computed: its function raised ValueError: a payment is not negative" in error
    assert not (tmp_path / "out.parquet").exists()


@pytest.fixture
def labels_file(employees, tmp_path):
    """Write labels that were changed, and give their path."""

    def write(change):
        table = pa.Table.from_pylist(employees.labels(12))
        pq.write_table(change(table), tmp_path / "labels.parquet")
        return tmp_path / "labels.parquet"

    return write


def replaced(table, name, column):
    return table.set_column(table.schema.get_field_index(name), name, column)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda t: t.drop_columns("employee_id"), ["it has no column 'employee_id' (a join key, Int64)"]),
        (
            lambda t: replaced(t, "employee_id", pa.array([0.0, float("nan"), *[1.0] * 10])),
            ["'employee_id' is empty in 1 of 12 rows"],
        ),
        (lambda t: replaced(t, "employee_id", t["employee_id"].cast(pa.string())), ["is string, which does not fit Int64"]),
        (lambda t: replaced(t, "employee_id", pa.array([None, *range(10), None])), ["'employee_id' is empty in 2 of 12 rows"]),
        (
            lambda t: replaced(t, "event_timestamp", pa.nulls(12, pa.timestamp("us"))),
            ["'event_timestamp' is empty in 12 of 12 rows"],
        ),
        (
            lambda t: replaced(t, "event_timestamp", t["event_timestamp"].cast(pa.int64())),
            ["'event_timestamp' (the time of each label) is int64"],
        ),
        (
            lambda t: t.rename_columns(["tenure", "employee_id", "event_timestamp", "overtime"]),
            ["overtime, tenure have the names of features"],
        ),
        (lambda t: t.slice(0, 0), ["it has no row"]),
        (
            lambda t: t.rename_columns(["tenure", "id", "at", "why"]),
            ["no column 'employee_id'", "no column 'event_timestamp'", "tenure have the names"],
        ),
    ],
)
def test_labels_that_do_not_fit_are_refused_with_every_reason(tmp_path, midnight, change, says):
    table = pa.Table.from_pylist([{"left": True, "employee_id": 101, "event_timestamp": midnight(1), "why": "n"}] * 12)
    pq.write_table(change(table), tmp_path / "labels.parquet")
    expected = Expected(keys={"employee_id": Int64}, requests={}, time="event_timestamp", taken=frozenset(FEATURES))
    with pytest.raises(Refusal) as refused:
        read_labels(str(tmp_path / "labels.parquet"), expected, tmp_path)
    assert len(refused.value.details["problems"]) == len(says)
    for reason in says:
        assert reason in str(refused.value)


def test_what_is_wrong_with_labels_and_output_is_said_at_once(employees, labels_file, tmp_path):
    (tmp_path / "out.parquet").write_text("was here")
    labels = labels_file(lambda table: table.rename_columns(["tenure", "id", "event_timestamp", "why"]))
    outcome = train(employees, labels, tmp_path / "out.parquet")
    assert outcome.code == 1
    for reason in ("is there already", "no column 'employee_id'", "columns tenure have the names of features"):
        assert reason in outcome.error
    assert len(outcome.result["problems"]) == 3
    assert (tmp_path / "out.parquet").read_text() == "was here"


def test_a_column_that_is_there_twice_is_refused(tmp_path):
    (tmp_path / "labels.csv").write_text("employee_id,event_timestamp,a,a\n101,2026-01-01 00:00:00,1,2\n")
    expected = Expected(keys={"employee_id": Int64}, requests={}, time="event_timestamp")
    with pytest.raises(Refusal, match="two columns named a"):
        read_labels(str(tmp_path / "labels.csv"), expected, tmp_path)


def test_an_output_is_replaced_only_when_asked_so(employees, labels_file, tmp_path):
    labels, output = labels_file(lambda table: table), tmp_path / "out.parquet"
    train(employees, labels, output).ok()
    assert "Name another, or add --overwrite" in train(employees, labels, output).error
    assert train(employees, labels, output, "--overwrite").ok()["rows"] == 12
    assert "lies in a folder that is not there" in train_set._output(str(tmp_path / "no" / "out.parquet"), overwrite=True)[2]
    assert "is a folder" in train_set._output(str(tmp_path), overwrite=True)[2]


def test_an_unknown_service_a_stale_lock_and_a_missing_file_are_refused(employees, labels_file, tmp_path):
    labels, output = labels_file(lambda table: table), tmp_path / "out.parquet"
    error = train(employees, labels, output, service="attrition_model_v9").error
    assert "there is no feature service 'attrition_model_v9'. The contract has: attrition_model_v1" in error
    assert "cannot be read" in train(employees, tmp_path / "none.parquet", output).error
    assert "cannot be read" in train(employees, f"s3://{BUCKET}/none.parquet", output).error
    employees.edit("feature_views.py", "Years with the company.", "Years.")
    assert "changed since contract.lock.json was written" in train(employees, labels, output).error
    assert not output.exists()


def test_an_output_that_cannot_be_written_is_named(employees, labels_file, tmp_path):
    error = train(employees, labels_file(lambda table: table), "s3://nobody-made-this-bucket/out.parquet").error
    assert "the output nobody-made-this-bucket/out.parquet cannot be written: FileNotFoundError" in error


def test_nothing_is_left_of_a_run_that_failed(employees, labels_file, tmp_path, monkeypatch):
    monkeypatch.setattr(train_set, "values", lambda *_: 1 / 0)
    labels = labels_file(lambda table: table)
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(scratch))
    for name, value in (employees.offline_environment() | {"FEATURE_REPO_DIR_ENV_VAR": str(employees.repo)}).items():
        monkeypatch.setenv(name, value)
    parser = argparse.ArgumentParser()
    train_set.add_arguments(parser)
    for output in (str(scratch / "out.parquet"), f"s3://{BUCKET}/half.parquet"):
        with pytest.raises(ZeroDivisionError):
            train_set.run(parser.parse_args(["--service", SERVICE, "--labels", str(labels), "--output", output]))
        assert [path for path in scratch.rglob("*") if path.is_file()] == [], "folders go with the process"
    assert s3(employees).list_objects_v2(Bucket=BUCKET, Prefix="half").get("KeyCount") == 0
