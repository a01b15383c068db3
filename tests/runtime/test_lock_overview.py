"""What `lock` prints: a foreign feature repo in one screen, and all of its problems at once."""

import json

import pytest

from tests.runtime.test_completed_definitions import Repo

ALL = """
from feast.feature_logging import LoggingConfig
from feast.infra.offline_stores.file_source import FileLoggingDestination
from feast.labeling.label_view import LabelView

push = PushSource(name="push", batch_source=sales)
nameless = FileSource(path="data/sales.parquet", timestamp_field="ts")
LABEL = LabelView(name="churned", entities=[shop], schema=[Field(name="shop_id", dtype=Int64), Field(name="gone", dtype=Int64)], source=sales)
a = FeatureView(name="a", entities=[shop], source=push, schema=[Field(name="amount", dtype=Float64)], ttl=None)
b = FeatureView(name="b", entities=[typed_shop], source=nameless, schema=[Field(name="mean radius (cm)", dtype=Float64)])
c = FeatureView(name="c", entities=[shop], source=sales, schema=[Field(name="city", dtype=String)], online=False)
m_v1 = FeatureService(name="m_v1", features=[a.with_join_key_map({"shop_id": "seller_id"})],
    logging_config=LoggingConfig(destination=FileLoggingDestination(path="logs")))
"""


@pytest.fixture
def repo(tmp_path, monkeypatch):
    return Repo(tmp_path / "repo", monkeypatch)


def section(said, title):
    lines = said.splitlines()
    start = next(number for number, line in enumerate(lines) if line.startswith(title)) + 1
    return "\n".join(lines[start : next((n for n in range(start, len(lines)) if not lines[n].startswith("  ")), len(lines))])


def test_lock_tells_what_is_served_trained_ignored_and_unsaid(repo, capfd):
    repo.define(ALL).lock()
    out, said = capfd.readouterr()
    assert not out
    assert said.startswith("project shops: 1 feature services, 3 feature views, 0 on-demand views, 2 entities\n")
    assert section(said, "served, by feature service") == "  m_v1 by seller_id: amount"
    assert section(said, "served in no feature service") == "  b by shop_id: b:mean radius (cm)"
    assert section(said, "only for training sets") == "  feature views c"
    ignored = section(said, "ignored")
    for part in ("label views churned", "streams and pushes of push", "feature logging of m_v1"):
        assert part in ignored
    unsaid = section(said, "better written down")
    for part in (
        'Field(name="shop_id", dtype=Int64) in a, c (taken from its data)',
        """Field(name="shop_id", dtype=Int64) in b (taken from value_type of the entity 'typed_shop')""",
        "name= of the sources data/sales.parquet",
        "ttl=timedelta(0) of a",
    ):
        assert part in unsaid
    assert "there is no feature service" not in said
    repo.lock(check=True)
    assert not capfd.readouterr().err


def test_files_that_only_this_machine_has_are_told_with_the_remedy(repo, capfd):
    path = repo.directory / "data" / "sales.parquet"
    repo.define(ALL.replace("data/sales.parquet", str(path))).lock()
    said = section(capfd.readouterr().err, "only on this machine")
    assert str(path) in said
    assert "relative to the feature repo" in said


def test_a_service_that_is_asked_with_full_names_is_shown_with_them(repo, capfd):
    two = 'm_v2 = FeatureService(name="m_v2", features=[a.with_name("buyer").with_join_key_map({"shop_id": "buyer_id"}), a.with_name("seller")])'
    repo.define(f"{ALL}{two}\n").lock()
    served = section(capfd.readouterr().err, "served, by feature service")
    assert "m_v2 by buyer_id, shop_id, with full_feature_names: buyer__amount, seller__amount" in served


def test_a_repo_without_services_is_told_what_one_would_give(repo, capfd):
    repo.define(ALL.partition("m_v1 =")[0]).lock()
    said = capfd.readouterr().err
    assert "a:amount" in section(said, "served in no feature service")
    assert "would give a model its contract" in said


MANY = """
for number in range(100):
    globals()[f"v{number}"] = FeatureView(name=f"v{number}", entities=[shop], source=sales, online=number < 60,
        schema=[Field(name=f"f{number}_{feature}", dtype=Float64) for feature in range(100)])
    globals()[f"s{number}"] = FeatureService(name=f"s{number}_v1", features=[globals()[f"v{number}"]]) if number % 2 else None
"""


def test_a_hundred_views_of_a_hundred_features_are_one_screen(repo, capfd):
    repo.define(MANY).lock()
    lines = capfd.readouterr().err.splitlines()
    assert len(lines) < 45
    assert max(map(len, lines)) < 250
    assert "50 feature services, 100 feature views" in lines[0]
    assert any("more lines" in line for line in lines)
    assert any("… and 95 more" in line for line in lines)


def test_a_service_that_takes_a_label_view_is_told_why_it_cannot(repo):
    text = ALL + 'm_v2 = FeatureService(name="m_v2", features=[LABEL])\n'
    said = str(repo.define(text).refusal())
    assert "'m_v2': the view 'churned' cannot be served: it is a label view" in said
    assert "take it out of the service" in said


WRONG = """
far = FileSource(name="far", path="s3://bucket/x", timestamp_field="ts")
one = FeatureView(name="one", entities=[shop], source=far, schema=[Field(name="amount", dtype=Float64)])
two = FeatureView(name="two", entities=[typed_shop], source=sales, schema=[Field(name="x", dtype=Float64), Field(name="x", dtype=Int64)])
three = FeatureView(name="Two", entities=[Entity(name="inline")], source=sales, schema=[Field(name="y", dtype=Float64)])
m_v1 = FeatureService(name="m_v1", features=["one:amount"])
m_v2 = FeatureService(name="m_v2", features=[one])
"""


def test_all_problems_of_a_repo_are_told_at_once(repo):
    repo.define(WRONG)
    (repo.directory / "more.py").write_text("")
    problems = repo.refusal().details["problems"]
    for part in (
        "two feature views have the name 'two'",
        "'one' does not tell the type of its join key shop_id",
        "'two' has two fields named x",
        "no variable of a module holds the entity inline",
        "'m_v1' names one:amount as text",
    ):
        assert sum(part in problem for problem in problems) == 1
    assert len(problems) == 5, "nothing is said of m_v2, which uses a view that is not whole"
    assert not (repo.directory / "contract.lock.json").exists()


def test_all_files_that_do_not_import_are_named_and_each_once(repo):
    repo.define("import lost\n")
    (repo.directory / "another.py").write_text("import definitions\n")
    (repo.directory / "third.py").write_text("1 / 0\n")
    problems = repo.refusal().details["problems"]
    assert ["lost" in problems[0], "ZeroDivisionError" in problems[1], len(problems)] == [True, True, 2]


def test_the_result_stays_one_line_of_json(repo, run_verb):
    done = run_verb(["lock"], {"FEATURE_REPO_DIR_ENV_VAR": str(repo.define(ALL).directory)}, repo.directory)
    assert json.loads(done.stdout)["services"] == {"m_v1": ["amount"]}
    assert "served, by feature service" in done.stderr
