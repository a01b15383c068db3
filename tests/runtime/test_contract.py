"""The contract file: its text, and how differences read."""

import shutil
from datetime import timedelta

import pytest
from feast import FeatureService, FeatureView, Field, FileSource
from feast.types import Int64

from feast_eks import contract as program
from feast_eks.refusal import Refusal as ProgramRefusal
from feature_runtime import contract
from feature_runtime.definitions.describing import describe, describe_source
from feature_runtime.refusal import Refusal
from feature_runtime.repo_files import definitions_sha256


def test_the_program_reads_what_the_runtime_wrote(repository):
    lock = contract.read(repository / "feature_repo")
    read = program.read_contract(repository / "feature_repo")
    assert read.project == lock["project"]
    assert read.services["attrition_model_v1"]["sha256"] == lock["services"]["attrition_model_v1"]["sha256"]


def test_the_program_knows_a_key_by_every_name_that_requests_give_it(tmp_path, repository):
    lock = contract.read(repository / "tests" / "second_feature_repo" / "feature_repo")
    view = next(view for view in lock["on_demand_views"].values() if any("view" in source for source in view["sources"].values()))
    next(source for source in view["sources"].values() if "view" in source)["join_key_map"] = {"card_id": "lender_id"}
    lock["definitions_sha256"] = definitions_sha256(tmp_path)
    (tmp_path / contract.LOCK_FILE).write_text(contract.render(lock))
    assert program.read_contract(tmp_path).join_keys >= {"card_id", "payee_id", "lender_id"}


@pytest.fixture
def repo(tmp_path, repository):
    shutil.copytree(repository / "feature_repo", tmp_path / "repo", ignore=shutil.ignore_patterns("data"))
    return tmp_path / "repo"


def test_a_changed_definition_makes_the_contract_stale(repo):
    (repo / "entities.py").write_text((repo / "entities.py").read_text() + "# changed\n")
    with pytest.raises(Refusal, match="make lock"):
        contract.read(repo)


@pytest.mark.parametrize(
    ("text", "says"),
    [(None, "missing"), ("{", "no JSON"), ('{"format_version": 1}', "not of format 2"), ("[]", "not of format 2")],
)
def test_a_contract_that_cannot_be_read_says_why(repo, text, says):
    path = repo / contract.LOCK_FILE
    path.unlink()
    if text is not None:
        path.write_text(text)
    with pytest.raises(Refusal, match=says) as refusal:
        contract.read(repo)
    assert "make lock" in str(refusal.value)


def services(*features):
    return {"services": {"s": {"features": [list(f) for f in features], "sha256": str(features)}}}


@pytest.mark.parametrize(
    ("old", "new", "lines"),
    [
        (services(("v", "a", "Int64")), services(("v", "a", "Int64")), []),
        (
            services(("v", "a", "Int64"), ("v", "b", "Int64")),
            services(("v", "b", "Int64"), ("v", "a", "Int64")),
            ["services.s.features: the order was v.a, v.b, is now v.b, v.a"],
        ),
        (
            services(("v", "a", "Int64")),
            services(("v", "a", "Float32"), ("v", "b", "Int64")),
            ["services.s.features: v.b added", "services.s.features: v.a was Int64, is now Float32"],
        ),
        (services(("v", "a", "Int64")), {"services": {}}, ["services.s: removed"]),
        (
            {"views": {"v": {"ttl_seconds": 1}}},
            {"views": {"v": {"ttl_seconds": 2}}},
            ["views.v.ttl_seconds: 1 is now 2"],
        ),
    ],
)
def test_differences_read_as_what_happened(old, new, lines):
    assert contract.differences(old, new) == lines


def test_a_feature_stands_on_one_line_of_the_lock_file():
    text = contract.render(services(("v", 'quote"d, name', "Int64")))
    assert '        ["v", "quote\\"d, name", "Int64"]\n' in text
    assert text.endswith("}\n")


@pytest.mark.parametrize(
    ("path", "key"),
    [
        ("s3://features/employee_attrition.parquet", "employee_attrition.parquet"),
        ("s3://features/pay/history/", "pay/history"),
        ("data/pay/history", "pay/history"),
        ("elsewhere/pay.parquet", "elsewhere/pay.parquet"),
    ],
)
def test_a_source_is_named_by_its_place_in_the_offline_store_whatever_the_bucket(monkeypatch, path, key):
    """The program lets roles read these keys and nothing else, so a folder that got lost would be a right that is missing."""
    monkeypatch.setenv("OFFLINE_STORE_BUCKET", "features")
    source = FileSource(name="source", path=path, timestamp_field="event_timestamp")
    described = describe(project="p", definitions="0", entities=[], sources=[source], views=[], services=[])
    assert described["sources"]["source"]["file"] == key


@pytest.mark.parametrize(
    ("path", "location"),
    [("s3://features/pay.parquet", None), ("data/pay.parquet", None), ("s3://theirs/pay.parquet", "s3://theirs/pay.parquet")],
)
def test_a_source_outside_the_offline_store_is_named_in_full(monkeypatch, path, location):
    monkeypatch.setenv("OFFLINE_STORE_BUCKET", "features")
    described = describe_source(FileSource(name="source", path=path, timestamp_field="event_timestamp"))
    assert described.get("location") == location


@pytest.mark.parametrize(
    ("ttl", "seconds", "registered"),
    [
        (timedelta(0), 0, 0),
        (None, None, 0),
        (timedelta(days=1), 86400, 86400),
        (timedelta(milliseconds=500), 0.5, 0.5),
        (timedelta(seconds=1.5), 1.5, 1.5),
    ],
)
def test_a_view_without_a_ttl_is_not_one_that_lives_for_ever_but_the_registry_cannot_tell(ttl, seconds, registered):
    view = FeatureView(name="v", schema=[Field(name="a", dtype=Int64)], ttl=ttl)
    described = describe(project="p", definitions="0", entities=[], sources=[], views=[view], services=[])
    assert described["views"]["v"]["ttl_seconds"] == seconds
    held = describe(project="p", definitions="0", entities=[], sources=[], views=[FeatureView.from_proto(view.to_proto())], services=[])
    assert held["views"]["v"]["ttl_seconds"] == registered
    assert contract.differences(contract.as_registered(described), held) == []


def test_a_service_that_takes_a_view_whole_is_known_by_it_and_one_that_lists_all_of_it_is_not():
    view = FeatureView(name="v", schema=[Field(name="a", dtype=Int64), Field(name="b", dtype=Int64)])
    chosen = {"whole": view, "listed": view[["a", "b"]], "renamed": view.with_name("w")}
    services = [FeatureService(name=name, features=[features]) for name, features in chosen.items()]
    described = describe(project="p", definitions="0", entities=[], sources=[], views=[view], services=services)["services"]
    assert {name: service.get("whole_views") for name, service in described.items()} == {"whole": ["v"], "listed": None, "renamed": ["w"]}
    assert described["renamed"]["aliases"] == {"w": "v"}


def test_the_bound_on_the_age_of_rows_is_the_tag_or_the_ttl(repo, tmp_path):
    lock = contract.read_unchecked(repo)
    view = lock["views"]["employee_features"]

    def bound(**changes):
        lock["views"]["employee_features"] = view | changes
        (repo / contract.LOCK_FILE).write_text(contract.render(lock))
        return program.read_contract(repo).freshness_seconds

    assert bound(tags={}) == {"employee_features": 7 * 86400}
    assert bound(tags={"freshness_hours": "36"}) == {"employee_features": 36 * 3600}
    assert bound(tags={}, ttl_seconds=None) == {}
    for wrong in ("-1", "soon", "inf", "nan"):
        with pytest.raises(ProgramRefusal, match="a number of hours above 0"):
            bound(tags={"freshness_hours": wrong})


def test_the_schedules_of_views_are_read_and_all_that_are_wrong_are_named(repo):
    lock = contract.read_unchecked(repo)
    view = lock["views"]["employee_features"]

    def schedules(**views):
        lock["views"] = {name: view | changes for name, changes in views.items()}
        (repo / contract.LOCK_FILE).write_text(contract.render(lock))
        return program.read_contract(repo).schedules

    hourly = {"tags": {"materialization_schedule": "0 * * * *"}}
    assert schedules(clicks=hourly, nightly={"tags": {}}) == {"clicks": "0 * * * *"}
    wrong = {"tags": {"materialization_schedule": "hourly"}}
    with pytest.raises(ProgramRefusal) as refused:
        schedules(clicks=hourly | {"online": False}, orders=wrong, nightly={})
    assert [(problem.path, problem.rule.partition(";")[0]) for problem in refused.value.problems] == [
        ("feature view clicks, tag materialization_schedule", "a view with online=True: no other is loaded"),
        ("feature view orders, tag materialization_schedule", "a cron expression of five fields"),
    ]
