"""Which files go to the cluster: one rule, that the program follows when it ships them and the runtime when it imports them."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from feast.repo_operations import get_repo_files
from hypothesis import given, settings
from hypothesis import strategies as st

from feast_eks import repo_files as program
from feast_eks.definitions import CONFIG_MAP_LIMIT, Definitions, read_definitions
from feast_eks.refusal import Refusal
from feature_runtime import repo_files
from feature_runtime.contract import LOCK_FILE, read, render
from feature_runtime.repo_files import cut, definition_files, definitions_sha256, read_lock

NAMES = st.sampled_from(
    [
        *("a.py", "b.py", "sub/a.py", "sub/c.txt", "u__a.py", "u/a.py", "notes/a.py", "notes/.ipynb_checkpoints/a-checkpoint.py", ".f.py"),
        *(".hidden/x.py", "sub/.x/z.py", "__pycache__/y.py", "node_modules/n.py", "venv/pyvenv.cfg", "venv/lib/v.py"),
        *("sub/env/conda-meta/history", "sub/env/e.py"),
    ]
)
PATTERNS = st.sampled_from(["sub", "**/a.py", "notes/", "*.py", "sub/*.py  # not these", "", "# nothing", "nowhere", "**x", "/abs"])


def test_the_program_and_the_runtime_have_one_rule(repository):
    link = repository / "infra" / "feast_eks" / "repo_files.py"
    assert link.resolve() == Path(repo_files.__file__).resolve()
    assert Path(program.__file__).resolve() == link.resolve()


@settings(max_examples=100, deadline=None)
@given(files=st.sets(NAMES, max_size=10), ignored=st.lists(PATTERNS, max_size=3))
def test_what_is_shipped_is_what_the_digest_is_of_there_and_here_and_no_more_than_feast_reads(files, ignored, tmp_path_factory):
    tree = tmp_path_factory.mktemp("tree")
    for name in files:
        (tree / name).parent.mkdir(parents=True, exist_ok=True)
        (tree / name).write_text(f"# {name}\r\n", newline="")
    (tree / ".feastignore").write_text("\n".join(ignored))
    shipped = read_definitions(tree, "", {})
    pod = tmp_path_factory.mktemp("pod")
    for path, content in as_mounted(shipped).items():
        (pod / path).parent.mkdir(parents=True, exist_ok=True)
        (pod / path).write_bytes(content.encode())
    assert definitions_sha256(pod) == definitions_sha256(tree)
    named = {path.relative_to(tree).as_posix() for path in definition_files(tree)}
    assert named == {path for path in shipped.files if path.endswith(".py")}
    if not {"**x", "/abs"} & set(ignored):
        of_feast = {path.relative_to(tree.resolve()).as_posix() for path in get_repo_files(tree.resolve())}
        assert named <= of_feast
        left_out = of_feast - named
        assert not [
            name for name in left_out if not any(mark in name for mark in (".hidden", ".x", ".f.py", "venv", "env/", "node_modules"))
        ]
    shutil.rmtree(tree)
    shutil.rmtree(pod)


def as_mounted(definitions):
    """The files as the kubelet lays them out."""
    volume = definitions.volume
    maps = definitions.config_maps
    sources = [source["configMap"] for source in volume["projected"]["sources"]] if "projected" in volume else [volume["configMap"]]
    return {item["path"]: maps[source["name"]][item["key"]] for source in sources for item in source["items"]}


def test_a_checkpoint_a_virtual_environment_and_ignored_files_change_neither_contract_nor_config_map(repository, tmp_path):
    repo = tmp_path / "feature_repo"
    shutil.copytree(repository / "feature_repo", repo, ignore=shutil.ignore_patterns("data"))
    before = read_definitions(repo, "", {})
    (repo / ".ipynb_checkpoints").mkdir()
    shutil.copy(repo / "entities.py", repo / ".ipynb_checkpoints" / "entities-checkpoint.py")
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(repo / "venv")], check=True)
    (repo / "venv" / "lib" / "much.py").write_text("x = 1\n")
    (repo / "drafts").mkdir()
    (repo / "drafts" / "new.py").write_text("import nothing_that_exists\n")
    (repo / ".feastignore").write_text("drafts\n")
    assert read_definitions(repo, "", {}) == before
    assert read(repo)["project"] == "employee_attrition"


def test_two_files_never_share_a_key_and_every_key_is_one_that_kubernetes_takes():
    files = {"a/b.py": "1", "a__b.py": "2", "my features.py": "3", "größe.py": "4", "größe/a.py": "5", f"{'long' * 80}.py": "6"}
    definitions = Definitions(files=files)
    (data,) = definitions.config_maps.values()
    assert len(data) == len(files)
    assert all(program.re.fullmatch(r"[-._a-zA-Z0-9]{1,253}", key) for key in data)
    assert as_mounted(definitions) == files


def contract(views, features, **more):
    columns = [[f"transactions_sum_of_the_last_days_{number:03}", "Float32"] for number in range(features)]
    names = [f"view_{number:04}" for number in range(views)]
    return more | {
        "format_version": 2,
        "definitions_sha256": "0",
        "sources": {},
        "views": {name: {"features": columns, "online": True, "description": 'größe, "all"'} for name in names},
        "services": {f"{name}_v1": {"features": [[name, *column] for column in columns]} for name in names},
    }


def test_a_contract_of_a_hundred_views_with_a_hundred_features_goes_over_several_config_maps(tmp_path):
    lock = contract(100, 100)
    (tmp_path / LOCK_FILE).write_text(render(lock))
    (tmp_path / "views.py").write_text("# views\n")
    definitions = read_definitions(tmp_path, "project: p\n", {})
    maps = definitions.config_maps
    assert list(maps) == [f"feature-definitions-{definitions.digest}", f"feature-definitions-{definitions.digest}-2"]
    for name, data in maps.items():
        assert sum(len(key) + len(content.encode()) for key, content in data.items()) <= CONFIG_MAP_LIMIT, name
    parts = [json.loads(content) for data in maps.values() for key, content in data.items() if key.startswith("contract.")]
    assert [sorted(part) for part in parts] == [
        ["definitions_sha256", "format_version", "parts", "services", "sources", "views"],
        ["views"],
    ]
    pod = tmp_path / "pod"
    pod.mkdir()
    for path, content in as_mounted(definitions).items():
        (pod / path).write_text(content)
    assert read_lock(pod) == lock


@pytest.mark.parametrize(("views", "features"), [(0, 0), (1, 1), (3, 2), (7, 40), (1, 400)])
@pytest.mark.parametrize("limit", [600, 2_000, 10_000, 10_000_000])
def test_a_contract_in_parts_is_the_same_contract_and_no_part_is_larger_than_it_must_be(tmp_path, views, features, limit):
    lock = contract(views, features)
    text = render(lock)
    parts = dict(cut(text, limit))
    for name, part in parts.items():
        (tmp_path / name).write_text(part)
        objects = [said for section in json.loads(part).values() if isinstance(section, dict) for said in section]
        assert len(part.encode()) <= limit or len(objects) == 1, (name, len(part.encode()))
    assert read_lock(tmp_path) == lock
    assert (len(parts) == 1) == (len(text.encode()) <= limit)
    if len(parts) == 1:
        assert parts[LOCK_FILE] == text


def test_a_contract_that_has_lost_a_part_is_none(tmp_path):
    for name, part in list(cut(render(contract(3, 2)), 600))[:-1]:
        (tmp_path / name).write_text(part)
    with pytest.raises(FileNotFoundError):
        read_lock(tmp_path)


def test_what_no_config_map_holds_is_refused_with_all_else_that_is_wrong(tmp_path):
    (tmp_path / "big.py").write_text("#" * (CONFIG_MAP_LIMIT + 1))
    (tmp_path / "latin.py").write_bytes("# größe".encode("latin-1"))
    (tmp_path / LOCK_FILE).write_text(render(contract(1, 20_000)))
    with pytest.raises(Refusal) as refused:
        read_definitions(tmp_path, "", {})
    assert [(p.path.partition("/")[2], p.remedy) for p in refused.value.problems] == [
        ("latin.py", "save it as UTF-8"),
        ("big.py", "divide it into several files"),
        ("contract.lock.2.json", "give a view fewer features"),
        ("contract.lock.3.json", "give a view fewer features"),
    ]
    for name in ("big.py", "latin.py", LOCK_FILE):
        (tmp_path / name).unlink()
    for number in range(11):
        (tmp_path / f"part{number}.py").write_text("#" * (CONFIG_MAP_LIMIT - 100))
    with pytest.raises(Refusal, match="at most 10 ConfigMaps"):
        read_definitions(tmp_path, "", {})
