"""Importing the feature repo: what is wrong is named by file, line and object, before anything is changed."""

import json
import shutil
from pathlib import Path

import pytest

from feature_runtime import contract
from feature_runtime.definitions.feature_repo import load_config, load_definitions
from feature_runtime.refusal import Refusal
from feature_runtime.repo_files import definitions_sha256
from feature_runtime.settings import feature_repo_directory


@pytest.fixture
def repo(tmp_path, repository):
    ignored = shutil.ignore_patterns("data", "__pycache__")
    shutil.copytree(repository / "feature_repo", tmp_path / "repo", ignore=ignored)
    return tmp_path / "repo"


def append(repo, file, text):
    with (repo / file).open("a") as appended:
        appended.write(text)


def line_of(repo, file, text):
    return next(n for n, line in enumerate((repo / file).read_text().splitlines(), 1) if text in line)


def refusal(repo, **options):
    with pytest.raises(Refusal) as caught:
        load_definitions(repo, **options)
    return str(caught.value)


def test_the_example_imports(repo):
    definitions = load_definitions(repo)
    assert [view.name for view in definitions.views] == ["employee_features"]
    assert [entity.name for entity in definitions.entities] == ["employee_id"]


def test_a_mounted_config_map_is_imported_once(repo, tmp_path, monkeypatch):
    # As the kubelet lays it out: files are symlinks through a symlink to a directory with a date in its name.
    mount = tmp_path / "mount"
    dated = mount / "..2026_01_01_00_00_00.1"
    (repo / "more").mkdir()
    (repo / "more" / "others.py").write_text("from entities import employee\n")
    shutil.copytree(repo, dated)
    (mount / "..data").symlink_to(dated.name)
    for entry in dated.iterdir():
        (mount / entry.name).symlink_to(f"..data/{entry.name}")
    monkeypatch.setenv("FEATURE_REPO_DIR_ENV_VAR", str(mount))
    found = feature_repo_directory()
    definitions = load_definitions(found)
    assert len(definitions.views) == 1
    assert len(definitions.services) == 1
    assert definitions_sha256(found) == definitions_sha256(repo)


def test_the_working_directory_is_left_as_it_was(repo):
    before = Path.cwd()
    load_definitions(repo)
    assert Path.cwd() == before


def test_a_syntax_error_is_named_by_file_and_line(repo):
    append(repo, "entities.py", "\ndef broken(:\n")
    line = line_of(repo, "entities.py", "def broken(:")
    assert f"entities.py:{line}: syntax error" in refusal(repo)


def test_an_import_error_is_named_by_file_and_line(repo):
    append(repo, "data_sources.py", "\nimport no_such_module_anywhere\n")
    line = line_of(repo, "data_sources.py", "no_such_module_anywhere")
    text = refusal(repo)
    assert f"data_sources.py:{line}:" in text
    assert "no_such_module_anywhere" in text


def test_a_service_that_asks_for_a_field_its_view_lacks_is_named(repo):
    path = repo / "feature_services.py"
    path.write_text(path.read_text().replace('"tenure"', '"tenur"'))
    text = refusal(repo)
    assert text.startswith("feature_services.py:")
    assert "tenur" in text


def test_two_fields_of_one_name_are_named(repo):
    path = repo / "feature_views.py"
    path.write_text(path.read_text().replace('Field(name="tenure"', 'Field(name="tenure", dtype=Int64),\n        Field(name="tenure"', 1))
    text = refusal(repo)
    assert text.startswith("feature_views.py:")
    assert "two fields named tenure" in text


def test_two_views_of_one_name_are_named_with_both_places(repo):
    append(
        repo,
        "feature_views.py",
        '\nother = FeatureView(name="Employee_Features", entities=[employee], source=employee_attrition,\n'
        '    schema=[Field(name="employee_id", dtype=Int64), Field(name="tenure", dtype=Float32)])\n',
    )
    text = refusal(repo)
    first = line_of(repo, "feature_views.py", "employee_features = FeatureView(")
    second = line_of(repo, "feature_views.py", "other = FeatureView(")
    assert "two feature views" in text
    assert f"feature_views.py:{first}" in text
    assert f"feature_views.py:{second}" in text


def test_a_view_that_is_overwritten_by_another_is_not_lost_silently(repo):
    append(
        repo,
        "feature_views.py",
        '\nemployee_features = FeatureView(name="another", entities=[employee], source=employee_attrition,\n'
        '    schema=[Field(name="employee_id", dtype=Int64), Field(name="tenure", dtype=Float32)])\n',
    )
    assert "`employee_features` is assigned again" in refusal(repo)


def test_two_services_of_one_name_are_refused(repo):
    append(
        repo,
        "feature_services.py",
        '\nagain = FeatureService(name="attrition_model_v1", features=[employee_features[["tenure"]]])\n',
    )
    assert "two feature services have the name 'attrition_model_v1'" in refusal(repo)


def test_a_view_without_a_schema_is_refused(repo):
    append(
        repo,
        "feature_views.py",
        '\nbare = FeatureView(name="bare", entities=[employee], source=employee_attrition)\n',
    )
    assert "'bare' declares no schema" in refusal(repo)


def test_an_entity_that_no_variable_holds_is_refused(repo):
    views = repo / "feature_views.py"
    inline = 'Entity(name="person", join_keys=["employee_id"], value_type=ValueType.INT64)'
    text = views.read_text().replace("entities=[employee]", f"entities=[{inline}]")
    views.write_text(text.replace("import FeatureView, Field", "import Entity, FeatureView, Field, ValueType"))
    line = line_of(repo, "feature_views.py", "employee_features = FeatureView(")
    assert f"feature_views.py:{line}: no variable of a module holds the entity person of the feature view 'employee_features'" in refusal(
        repo
    )


def test_a_file_that_hides_behind_an_installed_module_is_refused(repo):
    (repo / "yaml.py").write_text("")
    assert "yaml.py: its name is taken" in refusal(repo)


COMPUTED = """
from feast import RequestSource
from feast.on_demand_feature_view import on_demand_feature_view

asked = RequestSource(name="asked", schema=[Field(name="years", dtype=Int64)])
FACTOR = 2


@on_demand_feature_view(
    name="computed", sources=[employee_features[["tenure"]], asked], schema=[Field(name="sum", dtype=Int64)], mode="pandas"
)
def computed(inputs):
    return inputs[["years"]].rename(columns={"years": "sum"})
"""


def test_a_computed_view_and_what_its_requests_carry_are_collected(repo):
    # Without a variable of its own Feast would register the source, and remove it at the next apply.
    inline = COMPUTED.replace("\nasked = RequestSource", "\n_ = RequestSource").replace(
        ", asked]", ', RequestSource(name="asked", schema=[Field(name="years", dtype=Int64)])]'
    )
    append(repo, "feature_views.py", inline.replace('_ = RequestSource(name="asked", schema=[Field(name="years", dtype=Int64)])\n', ""))
    definitions = load_definitions(repo)
    assert [view.name for view in definitions.on_demand_views] == ["computed"]
    assert [view.name for view in definitions.views] == ["employee_features"]
    assert sorted(source.name for source in definitions.sources) == ["asked", "employee_attrition"]
    line = line_of(repo, "feature_views.py", "def computed(")
    assert definitions.places["views.computed"] == f"feature_views.py:{line}"


def test_a_function_that_the_registry_cannot_give_back_is_refused(repo):
    append(repo, "feature_views.py", COMPUTED.replace('inputs[["years"]]', '(inputs[["years"]] * FACTOR)'))
    text = refusal(repo)
    assert text.startswith("feature_views.py:")
    assert "FACTOR" in text


def test_a_service_that_names_its_features_as_text_is_refused(repo):
    append(repo, "feature_services.py", '\ntext = FeatureService(name="text_v1", features=["employee_features:tenure"])\n')
    text = refusal(repo)
    assert text.startswith("feature_services.py:")
    assert "names employee_features:tenure as text" in text


def test_a_view_that_a_service_uses_plain_and_under_another_name_is_refused(repo):
    append(
        repo,
        "feature_services.py",
        '\nmixed = FeatureService(name="mixed_v1", features=[employee_features[["tenure"]], '
        'employee_features[["overtime"]].with_name("other")])\n',
    )
    assert "uses employee_features both as it is and under another name" in refusal(repo)


ORDERS = """
from feast import Entity, FeatureService, FeatureView, Field, ValueType
from feast.types import Float64, Int32, Int64
from data_sources import employee_attrition
from feature_views import employee_features

order = Entity(name="order", join_keys=["order_id"], value_type=ValueType.INT64)
orders = FeatureView(name="orders", entities=[order], source=employee_attrition,
    schema=[Field(name="order_id", dtype=Int64), Field(name="amount", dtype=Float64), Field(name="employee_id", dtype=Int64)])
weighed = Entity(name="weighed", join_keys=["weight"], value_type=ValueType.DOUBLE)
weights = FeatureView(name="weights", entities=[weighed], source=employee_attrition,
    schema=[Field(name="weight", dtype=Float64), Field(name="heavy", dtype=Int64)])
narrow = Entity(name="narrow", join_keys=["order_id"], value_type=ValueType.INT32)
parcels = FeatureView(name="parcels", entities=[narrow], source=employee_attrition,
    schema=[Field(name="order_id", dtype=Int32), Field(name="boxes", dtype=Int64)])
"""


@pytest.mark.parametrize(
    ("features", "rule"),
    [
        ('orders[["amount"]], orders[["amount"]]', "two columns would be called orders__amount"),
        ('weights[["heavy"]]', "the join key 'weight' of 'weights' is a Float64"),
        ('orders[["amount"]], parcels[["boxes"]]', "the join key 'order_id' is a Int32 in 'parcels' and a Int64 in another view"),
    ],
    ids=["a feature twice", "a key of a type that has no bytes", "a key of two types"],
)
def test_a_service_that_no_server_could_answer_is_refused_with_every_other_such(repo, features, rule):
    append(repo, "orders.py", f'{ORDERS}first = FeatureService(name="first_v1", features=[{features}])\n')
    line = line_of(repo, "orders.py", "first = FeatureService")
    assert f"orders.py:{line}: the feature service 'first_v1': {rule}" in refusal(repo)
    append(repo, "orders.py", 'second = FeatureService(name="second_v1", features=[weights[["heavy"]]])\n')
    text = refusal(repo)
    assert text.count(f"'first_v1': {rule}") == 1
    assert "'second_v1': the join key 'weight'" in text


def test_views_that_no_server_could_answer_together_may_be_defined(repo):
    append(repo, "orders.py", f'{ORDERS}first = FeatureService(name="first_v1", features=[orders[["amount"]]])\n')
    assert "first_v1" in [service.name for service in load_definitions(repo).services]


def test_a_repo_without_views_is_refused(tmp_path):
    (tmp_path / "feature_store.yaml").write_text("project: p\n")
    assert "defines no feature view" in refusal(tmp_path)


def test_a_second_repo_in_one_process_is_not_mixed_up_with_the_first(repo):
    load_definitions(repo)
    path = repo / "feature_views.py"
    path.write_text(path.read_text().replace('name="employee_features"', 'name="renamed"'))
    assert [view.name for view in load_definitions(repo).views] == ["renamed"]


PERMISSION = """
from feast.permissions.permission import Permission
only_hr = Permission(name="only_hr", name_patterns=[".*"])
"""


def write_config(repo, more=""):
    (repo / "feature_store.yaml").write_text(f"project: employee_attrition\nprovider: local\nregistry: data/registry.db\n{more}")


@pytest.mark.parametrize(
    "auth", ["auth: oidc\n", "auth: {type: kubernetes}\n", "auth:\n  type: ${AUTH}\n", "auth: [oidc]\n", "auth: {type: }\n"]
)
def test_a_login_that_nothing_enforces_is_refused_wherever_the_configuration_is_read(repo, monkeypatch, auth):
    monkeypatch.setenv("AUTH", "oidc")
    write_config(repo, auth)
    for read in (load_definitions, load_config, lambda repo: load_config(repo, only="registry")):
        with pytest.raises(Refusal, match=r"auth\.type is .*only 'no_auth' is true.*Remove the section.*network policy.*gateway"):
            read(repo)


@pytest.mark.parametrize("auth", ["", "auth: no_auth\n", "auth: {type: no_auth}\n", "auth:\n", "auth: {type: '${AUTH}'}\n"])
def test_a_configuration_without_a_login_is_taken(repo, monkeypatch, auth):
    monkeypatch.setenv("AUTH", "no_auth")
    write_config(repo, auth)
    load_definitions(repo)
    load_config(repo)


def test_permissions_that_nothing_enforces_are_refused_together_with_the_login(repo):
    append(repo, "feature_views.py", PERMISSION)
    assert "'only_hr'" in refusal(repo)
    write_config(repo, "auth: oidc\n")
    said = refusal(repo)
    for part in ("'only_hr'", "'oidc'", "nothing here enforces", "feast.dev/feature-client=true"):
        assert part in said


def test_a_contract_with_permissions_is_not_served(repo):
    path = repo / "contract.lock.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"permissions": {"only_hr": {}}}))
    with pytest.raises(Refusal, match="only_hr, and nothing enforces them"):
        contract.read(repo)


BATCH_VIEW = """
from datetime import timedelta
from feast import BatchFeatureView, Field
from feast.types import Float32, Int64
from entities import employee
from data_sources import {source}

class Doubler:
    def __call__(self, rows):
        return rows

def by_a_class(rows):
    return Doubler()(rows)

def same(rows):
    return rows

def doubled(rows):
    return rows * 2

batch_view = BatchFeatureView(
    name="batch", entities=[employee], mode="{mode}", udf={function}, source={source}, online={online},
    schema=[Field(name="employee_id", dtype=Int64), Field(name="f59933", dtype=Int64), Field(name="{other}", dtype=Int64)],
)
"""


@pytest.fixture
def with_batch_view(repo):
    def define(**changes):
        source = next(line for line in (repo / "data_sources.py").read_text().splitlines() if "FileSource(" in line).split(" =")[0]
        said = {"source": source, "mode": "python", "function": "same", "online": True, "other": "f1"} | changes
        append(repo, "batch.py", BATCH_VIEW.format(**said))
        return repo

    return define


@pytest.mark.parametrize("mode", ["python", "pandas"])
def test_a_batch_views_function_that_needs_its_module_is_refused(with_batch_view, mode):
    text = refusal(with_batch_view(function="by_a_class", mode=mode))
    assert "'batch': its function cannot be rebuilt (" in text
    assert "define what it uses, inside it" in text


def test_a_batch_views_function_that_changes_rows_is_refused_where_it_is_served(with_batch_view):
    text = refusal(with_batch_view(function="doubled"))
    assert "'batch': its function changes rows when they are loaded" in text


@pytest.mark.parametrize(
    "changes", [{"function": "same"}, {"function": "lambda rows: rows"}, {"function": "doubled", "online": False}], ids=str
)
def test_a_batch_view_that_is_served_as_it_is_trained_on_is_taken(with_batch_view, changes):
    assert "batch" in {view.name for view in load_definitions(with_batch_view(**changes)).views}


def test_two_features_of_one_entity_with_one_hash_are_refused(with_batch_view):
    text = refusal(with_batch_view(other="f72574"))
    assert "batch:f59933 and batch:f72574 of the entity employee_id have one hash" in text


WAREHOUSE = """
from feast import Entity, FeatureView, Field
from feast.infra.offline_stores.contrib.postgres_offline_store.postgres_source import PostgreSQLSource
from feast.types import Int64

clerk = Entity(name="clerk", join_keys=["clerk_id"])
warehouse = PostgreSQLSource(name="warehouse", query="select 1", timestamp_field="at")
clerks = FeatureView(name="clerks", entities=[clerk], source=warehouse, schema=[Field(name="age", dtype=Int64)], online={online})
"""


def test_a_source_that_the_offline_store_cannot_read_is_refused_by_name_and_for_that_alone(repo):
    append(repo, "warehouse.py", WAREHOUSE.format(online=True))
    text = refusal(repo, renew=True)
    assert "'clerks': its source is a PostgreSQLSource, which the offline store 'file' cannot read" in text
    assert "clerk_id" not in text, "a key that the author adds would not help"


def test_a_ttl_below_zero_is_refused_since_no_value_would_ever_count(repo):
    views = repo / "feature_views.py"
    views.write_text(views.read_text().replace("ttl=timedelta(days=7)", "ttl=timedelta(days=-7)"))
    assert "has a ttl of -604800 s, by which no value ever counts" in refusal(repo)
