"""With what a change is compared: a revision, a lock file, the live registry; and never a pass when that is impossible."""

import json
import os
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import pytest

SECOND_SERVICE = """
second_v1 = FeatureService(
    name="second_v1", features=[employee_features[["tenure"]]], description="Another model.", owner="people"
)
"""


def git(directory, *arguments):
    environment = {
        "PATH": os.environ["PATH"],
        "HOME": str(directory),
        "GIT_CONFIG_NOSYSTEM": "1",
        **{f"GIT_{who}_{what}": "t@example.org" for who in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")},
    }
    return subprocess.run(["git", *arguments], cwd=directory, env=environment, check=True, capture_output=True, text=True).stdout


@pytest.fixture
def clone(stores):
    """A repository with the example committed on main, and a branch that is checked out."""
    git(stores.directory, "init", "-q", "-b", "main")
    # The stores' file names an environment; what is committed is a laptop's.
    text = "project: employee_attrition\nprovider: local\nregistry: data/registry.db\nonline_store: {type: sqlite, path: data/online.db}\n"
    (stores.repo / "feature_store.yaml").write_text(text)
    commit(stores, "first")
    git(stores.directory, "checkout", "-q", "-b", "change")
    return stores


def commit(stores, message):
    git(stores.directory, "add", "feature_repo")
    git(stores.directory, "commit", "-q", "-m", message)


def check(stores, *arguments):
    environment = {"FEATURE_REPO_DIR_ENV_VAR": str(stores.repo), "PATH": os.environ["PATH"]}
    return stores.run(["check", *arguments], environment)


def leave_out_overtime(stores):
    stores.edit("feature_services.py", '                "overtime",\n', "")


def found(outcome):
    return {(finding["rule"], finding["object"]) for finding in outcome.result["findings"]}


def test_a_change_is_compared_with_where_its_branch_left_main(clone):
    leave_out_overtime(clone)
    clone.lock()
    commit(clone, "shrink")
    # What main has meanwhile is not this branch's doing.
    git(clone.directory, "checkout", "-q", "main")
    path = clone.repo / "feature_services.py"
    path.write_text(path.read_text() + SECOND_SERVICE)
    clone.lock()
    commit(clone, "second")
    git(clone.directory, "checkout", "-q", "change")
    outcome = check(clone, "--against", "git:main")
    assert outcome.code == 2
    assert found(outcome) == {("F002", "services.attrition_model_v1.overtime")}
    assert outcome.result["against"] == f"git:{git(clone.directory, 'merge-base', 'main', 'change').strip()}"


def test_what_is_not_committed_yet_counts_too(clone):
    leave_out_overtime(clone)
    assert check(clone, "--against", "git:HEAD").code == 2


def test_an_unchanged_branch_is_safe_even_when_strict(clone):
    outcome = check(clone, "--against", "git:main", "--strict")
    assert outcome.ok()["findings"] == []


def test_a_warning_passes_unless_it_is_asked_to_be_strict(clone):
    clone.edit("feature_views.py", "timedelta(days=7)", "timedelta(days=14)")
    outcome = check(clone, "--against", "git:main")
    assert outcome.ok()["warnings"] == 1
    assert check(clone, "--against", "git:main", "--strict").code == 1


def test_a_ttl_is_judged_by_the_schedule_of_the_environment(clone):
    clone.edit("feature_views.py", "timedelta(days=7)", "timedelta(days=3)")
    assert check(clone, "--against", "git:main").code == 0
    assert check(clone, "--against", "git:main", "--margin-seconds", "300000").code == 2


@pytest.mark.parametrize("damage", ["format 1", "stale", "no lock"])
def test_a_revision_whose_lock_cannot_be_used_is_imported(clone, damage):
    git(clone.directory, "checkout", "-q", "main")
    lock = clone.repo / "contract.lock.json"
    if damage == "format 1":
        lock.write_text('{"format_version": 1, "services": {}}')
    elif damage == "no lock":
        lock.unlink()
    else:
        clone.edit("entities.py", "never reuses.", "never uses again.")
    commit(clone, damage)
    git(clone.directory, "checkout", "-q", "-b", "later")
    leave_out_overtime(clone)
    outcome = check(clone, "--against", "git:main")
    assert outcome.code == 2
    assert found(outcome) == {("F002", "services.attrition_model_v1.overtime")}


def test_a_shallow_clone_as_workflows_have_it_is_enough(clone):
    leave_out_overtime(clone)
    clone.lock()
    commit(clone, "shrink")
    git(clone.directory, "checkout", "-q", "main")
    git(clone.directory, "merge", "-q", "--no-ff", "-m", "merge", "change")
    git(clone.directory, "clone", "-q", "--depth", "2", f"file://{clone.directory}", "shallow")
    repo = clone.directory / "shallow" / "feature_repo"
    outcome = clone.run(["check", "--against", "git:HEAD^1"], {"FEATURE_REPO_DIR_ENV_VAR": str(repo), "PATH": os.environ["PATH"]})
    assert found(outcome) == {("F002", "services.attrition_model_v1.overtime")}


def test_the_first_feature_repo_of_a_repository_only_adds(clone):
    git(clone.directory, "checkout", "-q", "--orphan", "empty")
    git(clone.directory, "rm", "-rq", "--cached", ".")
    git(clone.directory, "commit", "-q", "--allow-empty", "-m", "nothing")
    outcome = check(clone, "--against", "git:empty")
    assert outcome.ok()["first_deployment"] is True


def test_a_feature_repo_that_moved_is_not_taken_for_a_new_one(clone):
    moved = clone.directory / "features"
    git(clone.directory, "mv", "feature_repo", "features")
    outcome = clone.run(["check", "--against", "git:main"], {"FEATURE_REPO_DIR_ENV_VAR": str(moved), "PATH": os.environ["PATH"]})
    assert outcome.code == 3
    assert "it was moved" in outcome.error


@pytest.mark.parametrize(
    ("against", "says"),
    [
        ("git:nowhere", "could not compare with git:nowhere"),
        ("git:--upload-pack=x", "is no revision"),
        ("git:unrelated", "no common ancestor"),
        ("git:broken", "cannot be imported: entities.py:"),
        ("no-such-file.json", "cannot be read"),
        ("feature_repo/entities.py", "cannot be read"),
        ("old.json", "of format 1"),
        ("partial.json", "is no contract"),
    ],
)
def test_what_cannot_be_compared_is_never_a_pass(clone, against, says):
    git(clone.directory, "checkout", "-q", "-b", "broken")
    clone.edit("entities.py", "employee = Entity(", "employee = Entity((")
    (clone.repo / "contract.lock.json").write_text("{")
    commit(clone, "broken")
    git(clone.directory, "checkout", "-q", "-b", "mended")
    git(clone.directory, "checkout", "-q", "change", "--", "feature_repo")
    git(clone.directory, "branch", "unrelated", git(clone.directory, "commit-tree", "-m", "x", "HEAD^{tree}").strip())
    (clone.directory / "old.json").write_text('{"format_version": 1}')
    (clone.directory / "partial.json").write_text('{"format_version": 2, "services": {}}')
    outcome = check(clone, "--against", against)
    assert outcome.code == 3
    assert says in outcome.error


def test_a_lock_file_can_be_compared_with(clone):
    shutil.copy(clone.repo / "contract.lock.json", clone.directory / "before.json")
    leave_out_overtime(clone)
    assert found(check(clone, "--against", "before.json")) == {("F002", "services.attrition_model_v1.overtime")}


def test_a_malformed_file_of_waivers_is_a_refusal_not_a_comparison(clone):
    (clone.repo / "waivers.yaml").write_text("- nonsense")
    assert check(clone, "--against", "git:main").code == 1


def test_text_and_annotations_leave_the_result_alone_on_stdout(clone):
    leave_out_overtime(clone)
    text = check(clone, "--against", "git:main", "--format", "text")
    assert "F002 breaking: services.attrition_model_v1.overtime" in text.stderr
    assert found(text) == {("F002", "services.attrition_model_v1.overtime")}
    annotated = check(clone, "--against", "git:main", "--format", "github")
    line = next(
        number
        for number, line in enumerate((clone.repo / "feature_services.py").read_text().splitlines(), 1)
        if "= FeatureService(" in line
    )
    assert (
        f"::error file=feature_repo/feature_services.py,line={line},title=F002 services.attrition_model_v1.overtime::" in annotated.stderr
    )
    assert annotated.code == 2


def everything(stores):
    """Every row of every table of the registry, and the names of all that is there."""
    with stores.postgres.admin(stores.database) as connection:
        tables = [name for (name,) in connection.execute("SELECT tablename FROM pg_tables WHERE schemaname = 'public' ORDER BY 1")]
        return {table: sorted(map(repr, connection.execute(f'SELECT * FROM "{table}"').fetchall())) for table in tables}


def test_the_live_registry_is_compared_with_rights_that_cannot_change_it(applied):
    before = everything(applied)
    assert applied.check("--against", "registry").ok()["findings"] == []
    leave_out_overtime(applied)
    outcome = applied.check("--against", "registry")
    assert outcome.code == 2
    assert found(outcome) == {("F002", "services.attrition_model_v1.overtime")}
    assert everything(applied) == before
    with applied.postgres.admin(applied.database) as connection:
        rights = "INSERT", "UPDATE", "DELETE", "TRUNCATE"
        statement = "SELECT bool_or(has_table_privilege('feast_check', tablename::regclass, %s)) FROM pg_tables WHERE schemaname = 'public'"
        assert [connection.execute(statement, [right]).fetchone()[0] for right in rights] == [False] * 4


def test_an_empty_database_is_a_first_deployment_and_stays_empty(stores):
    stores.prepare_registry().ok()
    outcome = stores.check("--against", "registry")
    assert outcome.ok()["first_deployment"] is True
    assert everything(stores) == {}


def test_a_registry_of_another_version_of_feast_is_not_taken_for_an_empty_one(applied):
    with applied.postgres.admin(applied.database) as connection:
        connection.execute("DROP TABLE label_views")
    outcome = applied.check("--against", "registry")
    assert outcome.code == 3
    assert "label_views" in outcome.error


def test_a_project_renamed_in_the_same_registry_is_found(applied):
    applied.edit("feature_store.yaml", "project: employee_attrition", "project: attrition")
    outcome = applied.check("--against", "registry")
    assert outcome.code == 2
    assert ("F031", "project") in found(outcome)


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"REGISTRY_PASSWORD": "pWrongSecret0123456789abcdef"}, "Do the user, the password and the rights"),
        ({"REGISTRY_USER": ""}, "reading the registry"),
    ],
)
def test_a_registry_that_refuses_is_never_a_pass(applied, changes, says):
    outcome = applied.check("--against", "registry", "--wait-seconds", "1", **changes)
    assert outcome.code == 3
    assert says in outcome.error


def test_a_registry_that_is_away_is_never_a_pass(applied):
    applied.postgres.stop()
    try:
        outcome = applied.check("--against", "registry", "--wait-seconds", "1")
    finally:
        applied.postgres.start()
    assert outcome.code == 3
    assert "did not succeed within 1 s" in outcome.error


@pytest.mark.parametrize(
    ("line", "changed", "rule"),
    [
        ("entity_key_serialization_version: 3", "entity_key_serialization_version: 2", "F030"),
        ("key_ttl_seconds: 1000000", "key_ttl_seconds: 90000", "F043"),
    ],
)
def test_what_the_registry_cannot_hold_is_remembered_by_apply(applied, line, changed, rule):
    applied.edit("feature_store.yaml", line, changed)
    outcome = applied.check("--against", "registry")
    assert outcome.code == 2
    assert {finding["rule"] for finding in outcome.result["findings"]} == {rule}


def test_the_snapshot_is_the_same_for_every_hash_seed(base_directory, repository):
    # Feast's argument checks are compiled at every import, and are four of its five seconds.
    script = (
        "import typeguard; typeguard.typechecked = lambda checked: checked; "
        "import json, sys; from pathlib import Path; from feature_runtime.definitions.feature_repo import load_definitions; "
        "from feature_runtime.check import new_snapshot; repo = Path(sys.argv[1]); "
        "print(json.dumps(new_snapshot(repo, load_definitions(repo)).contract))"
    )

    def said(seed):
        environment = {"PATH": os.environ["PATH"], "PYTHONPATH": str(repository / "runtime"), "PYTHONHASHSEED": str(seed)}
        done = subprocess.run(
            [sys.executable, "-c", script, base_directory], env=environment, capture_output=True, text=True, check=True, timeout=120
        )
        # As dictionaries: the file is written with sorted keys.
        return json.dumps(json.loads(done.stdout), sort_keys=True)

    with ThreadPoolExecutor(4) as pool:
        assert len(set(pool.map(said, range(10)))) == 1
