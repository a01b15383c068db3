"""Where the files of sources lie: the same definition on a laptop and in the cluster, and one name in the contract for both."""

import json
import shutil
from pathlib import Path

import pytest

from feast_eks import contract as program
from feature_runtime import contract
from feature_runtime.definitions.describing import contract_of_definitions, describe_source
from feature_runtime.definitions.feature_repo import load_definitions
from feature_runtime.definitions.file_places import local_sources
from feature_runtime.gate.comparison import Comparison, Snapshot
from feature_runtime.gate.judgement import judge
from feature_runtime.gate.rule import BREAKING
from feature_runtime.offline_store.source import ViewSource
from feature_runtime.refusal import Refusal

HEAD = """
import os
from pathlib import Path
from feast import Entity, FeatureService, FeatureView, Field, FileSource, ValueType
from feast.types import Int64

shop = Entity(name="shop", join_keys=["shop_id"], value_type=ValueType.INT64)
HERE = Path(__file__).parent
"""


def definitions(*paths, name=True):
    """A view for each source; `paths` are Python expressions."""
    text = HEAD
    for number, path in enumerate(paths):
        named = f'name="s{number}", ' if name else ""
        text += f"""
s{number} = FileSource({named}path={path}, timestamp_field="ts")
v{number} = FeatureView(name="v{number}", entities=[shop], source=s{number}, schema=[Field(name="shop_id", dtype=Int64), Field(name="x{number}", dtype=Int64)])
"""
    return text + f"service = FeatureService(name='m', features=[{', '.join(f'v{n}' for n in range(len(paths)))}])\n"


@pytest.fixture
def repo(tmp_path, monkeypatch):
    monkeypatch.delenv("OFFLINE_STORE_BUCKET", raising=False)
    monkeypatch.delenv("OFFLINE_STORE_ENDPOINT_URL", raising=False)
    directory = tmp_path / "project" / "feature_repo"
    directory.mkdir(parents=True)
    (directory / "feature_store.yaml").write_text("project: shops\nprovider: local\nregistry: r.db\n")
    return directory.resolve()


def lock(repo):
    """What `lock` writes, and what Feast is given."""
    loaded = load_definitions(repo)
    made = contract_of_definitions(repo, loaded)
    (repo / contract.LOCK_FILE).write_text(contract.render(made))
    return made["sources"], {source.name: source for source in loaded.sources}


def in_the_cluster(repo, monkeypatch, bucket="features"):
    monkeypatch.setenv("OFFLINE_STORE_BUCKET", bucket)
    loaded = load_definitions(repo)
    assert contract.differences(contract.read_unchecked(repo), contract_of_definitions(repo, loaded)) == []
    return {source.name: source for source in loaded.sources}


EXPRESSIONS = [
    ('"data/s.parquet"', "data/s.parquet", "s.parquet"),
    ('"./data/s.parquet"', "./data/s.parquet", "s.parquet"),
    ('"s.parquet"', "s.parquet", "s.parquet"),
    ('"history/2026/"', "history/2026/", "history/2026"),
    ('"data"', "data", "data"),
    ('"data/data/s.parquet"', "data/data/s.parquet", "data/s.parquet"),
    ('"data/pay/country=de"', "data/pay/country=de", "pay/country=de"),
    ('"data/pay/**/*.parquet"', "data/pay/**/*.parquet", "pay/**/*.parquet"),
    ('"data/sales 2026 #1.parquet"', "data/sales 2026 #1.parquet", "sales 2026 #1.parquet"),
    ('"../data/s.parquet"', "../data/s.parquet", "s.parquet"),
    ('"../../lake/s.parquet"', "../../lake/s.parquet", "lake/s.parquet"),
    ('str(HERE / "data" / "s.parquet")', "data/s.parquet", "s.parquet"),
    ('str(HERE / ".." / "data" / "s.parquet")', "../data/s.parquet", "s.parquet"),
    ('str(Path(__file__).resolve().parents[1] / "data" / "s.parquet")', "../data/s.parquet", "s.parquet"),
    ('str(Path(__file__).parents[3] / "lake")', "../../../lake", "lake"),
    ('os.path.join(os.getcwd(), "data", "s.parquet")', "data/s.parquet", "s.parquet"),
    ('os.path.join(os.path.dirname(os.path.abspath(__file__)), "data/s.parquet")', "data/s.parquet", "s.parquet"),
    ('f"file://{HERE}/data/s.parquet"', "data/s.parquet", "s.parquet"),
    ('os.environ["FEATURE_REPO_DIR_ENV_VAR"] + "/data/s.parquet"', "data/s.parquet", "s.parquet"),
]


@pytest.mark.parametrize("named", [True, False], ids=["named", "unnamed"])
@pytest.mark.parametrize(("expression", "path", "key"), EXPRESSIONS, ids=[expression for expression, _, _ in EXPRESSIONS])
def test_a_path_is_below_the_repo_on_a_laptop_and_below_the_bucket_in_the_cluster(repo, monkeypatch, expression, path, key, named):
    monkeypatch.setenv("FEATURE_REPO_DIR_ENV_VAR", str(repo))
    (repo / "definitions.py").write_text(definitions(expression, name=named))
    described, sources = lock(repo)
    name = "s0" if named else path
    assert {name: said["file"] for name, said in described.items()} == {name: key}
    assert sources[name].path == path
    assert str(repo.parent) not in (repo / contract.LOCK_FILE).read_text(), "the lock holds on one machine only"
    (view,) = load_definitions(repo).views
    assert Path(ViewSource(view, repo).uri).resolve() == (repo / path).resolve()

    cluster = in_the_cluster(repo, monkeypatch)
    assert cluster[name].path == f"s3://features/{key}"
    assert describe_source(cluster[name]) == described[name], "the registry says it in other words"
    assert program.read_contract(repo).sources == (key,)


def test_the_endpoint_of_the_offline_store_is_that_of_its_sources_and_of_no_others(repo, monkeypatch):
    (repo / "definitions.py").write_text(definitions('"data/s.parquet"', '"s3://theirs/s.parquet"'))
    lock(repo)
    monkeypatch.setenv("OFFLINE_STORE_ENDPOINT_URL", "http://minio:9000")
    cluster = in_the_cluster(repo, monkeypatch)
    assert {name: source.s3_endpoint_override for name, source in cluster.items()} == {"s0": "http://minio:9000", "s1": ""}


def test_two_files_of_the_repo_are_never_one_in_the_contract(repo):
    (repo / "definitions.py").write_text(
        definitions('"a/s.parquet"', '"b/s.parquet"', '"s3://theirs/s.parquet"', '"s3://others/s.parquet"')
    )
    described, _ = lock(repo)
    places = [said.get("file") or said["location"] for said in described.values()]
    assert places == ["a/s.parquet", "b/s.parquet", "s3://theirs/s.parquet", "s3://others/s.parquet"]


def test_two_paths_that_would_be_one_object_in_the_bucket_are_refused_together_with_all_else_that_is_wrong(repo):
    (repo / "definitions.py").write_text(definitions('"s.parquet"', '"data/s.parquet"', '"./s.parquet"', '"."', '"gs://theirs/s.parquet"'))
    with pytest.raises(Refusal) as refused:
        load_definitions(repo)
    assert len(refused.value.details["problems"]) == 3
    for said in ("'s.parquet' and 'data/s.parquet'", "a whole directory", "nothing here reads gs://"):
        assert said in str(refused.value)


@pytest.mark.parametrize("scheme", ["", "file://"])
def test_a_file_of_one_machine_is_read_there_with_a_warning_and_refused_for_the_cluster(repo, tmp_path, monkeypatch, scheme):
    elsewhere = str(tmp_path / "lake" / "s.parquet")
    (repo / "definitions.py").write_text(definitions(repr(scheme + elsewhere), name=False))
    described, sources = lock(repo)
    assert described[elsewhere]["location"] == elsewhere
    assert "file" not in described[elsewhere]
    assert local_sources(sources.values()) == [elsewhere]

    assert program.read_contract(repo).local_files == {elsewhere: elsewhere}
    assert program.read_contract(repo).sources == ()
    monkeypatch.setenv("OFFLINE_STORE_BUCKET", "features")
    with pytest.raises(Refusal, match="another machine"):
        load_definitions(repo)
    assert load_definitions(repo, only_compared=True).sources, "an old revision is only compared"


def test_an_absolute_path_that_is_written_out_does_not_become_one_that_other_machines_would_have(repo):
    (repo / "definitions.py").write_text(definitions(repr(str(repo / "data" / "s.parquet"))))
    described, _ = lock(repo)
    assert described["s0"]["location"] == str(repo / "data" / "s.parquet")


def test_a_bucket_that_definitions_spell_out_is_the_offline_store_where_it_is_that(repo, monkeypatch):
    (repo / "definitions.py").write_text(definitions('"s3://features/pay/history/"', '"s3://theirs/s.parquet"'))
    described, _ = lock(repo)
    assert described["s0"]["location"] == "s3://features/pay/history/"
    in_the_cluster(repo, monkeypatch)
    assert program.read_contract(repo, bucket="features").sources == ("pay/history",)
    assert program.read_contract(repo).sources == ()


def test_definitions_that_ask_the_environment_for_the_bucket_stay_as_they_were(repo, monkeypatch):
    path = """f"s3://{os.environ['OFFLINE_STORE_BUCKET']}/s.parquet" if "OFFLINE_STORE_BUCKET" in os.environ else "data/s.parquet" """
    (repo / "definitions.py").write_text(definitions(path))
    described, _ = lock(repo)
    assert described["s0"]["file"] == "s.parquet"
    assert in_the_cluster(repo, monkeypatch)["s0"].path == "s3://features/s.parquet"


def test_a_lock_from_before_names_the_same_sources(repo, monkeypatch):
    """It gave each a file: the key in the bucket, or the last part of any other path."""
    paths = {"s0": ("data/s.parquet", "s.parquet"), "s1": ("s3://theirs/t.parquet", "t.parquet"), "s2": ("/lake/u.parquet", "u.parquet")}
    (repo / "definitions.py").write_text(definitions(*(repr(path) for path, _ in paths.values())))
    lock(repo)
    new = contract.read_unchecked(repo)
    old = json.loads((repo / contract.LOCK_FILE).read_text())
    for name, (path, file) in paths.items():
        old["sources"][name]["file"] = file
        if "://" not in path:
            old["sources"][name].pop("location", None)
    verdict = judge(Comparison(old=Snapshot(contract=old), new=Snapshot(contract=new), margin_seconds=0), [])
    assert [finding.object for finding in verdict.findings if finding.rule == "F050"] == ["sources.s2"], "what the cluster never had"
    assert not verdict.standing(BREAKING)
    (repo / contract.LOCK_FILE).write_text(contract.render(old))
    assert contract.read_unchecked(repo)["sources"]["s1"] == new["sources"]["s1"]


def test_a_module_reads_the_configuration_beside_it_and_learns_that_the_cluster_has_no_other_file(repo):
    (repo / "definitions.py").write_text(
        definitions('"data/s.parquet"') + "import yaml\nproject = yaml.safe_load((HERE / 'feature_store.yaml').read_text())\n"
    )
    assert load_definitions(repo).project == "shops"
    (repo / "sources.json").write_text("{}")
    (repo / "definitions.py").write_text("from pathlib import Path\ntext = (Path(__file__).parent / 'sources.json').read_text()\n")
    with pytest.raises(Refusal) as refused:
        load_definitions(repo)
    assert str(refused.value) == (
        "definitions.py:2: the definitions do not import: FileNotFoundError: [Errno 2] No such file or directory: 'sources.json'. "
        "Only the Python files and feature_store.yaml go to the cluster: put what it holds into a module."
    )


def test_the_directory_of_the_definitions_has_one_name_everywhere(repo):
    (repo / "definitions.py").write_text(definitions('"data/s.parquet"') + 'other = Entity(name=HERE.name, join_keys=["k"])\n')
    first, second = ({entity.name for entity in load_definitions(repo).entities} for _ in range(2))
    assert first == second == {"shop", "feature_repo"}
    shutil.move(repo, repo.parent / "moved")
    assert {entity.name for entity in load_definitions(repo.parent / "moved").entities} == first


def test_where_the_definitions_lie_is_refused_wherever_else_it_is_written(repo):
    text = definitions('"data/s.parquet"').replace(
        "value_type=", "description=f'defined in {Path(__file__).parent}', tags={'at': os.getcwd()}, value_type="
    )
    (repo / "definitions.py").write_text(text + "other = Entity(name=str(HERE / 'x'), join_keys=['k'])\n")
    with pytest.raises(Refusal) as refused:
        lock(repo)
    assert "into entities.shop.description; entities.shop.tags.at; the name of one of the entities." in str(refused.value)


def test_a_module_that_is_no_definition_and_is_imported_all_the_same_is_named_with_the_reason(repo):
    (repo / "helpers").mkdir()
    (repo / "helpers" / "names.py").write_text("SHOP = 'shop'\n")
    (repo / "definitions.py").write_text("from helpers.names import SHOP\n" + definitions('"data/s.parquet"'))
    assert load_definitions(repo).views
    (repo / ".feastignore").write_text("helpers\n")
    with pytest.raises(Refusal, match=r"No module named 'helpers'. It is in the feature repo, but no definition: \.feastignore names it"):
        load_definitions(repo)
