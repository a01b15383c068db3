"""The command: one JSON line on stdout, the exit code, and no password anywhere."""

import json
import subprocess
import sys

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

from feature_runtime.masking import Mask
from feature_runtime.retrying import first_line
from feature_runtime.settings import require_aws_role
from feature_runtime.value_types.columns import accepts as fits


def test_every_verb_of_the_contract_is_there(repository):
    done = subprocess.run(
        [sys.executable, "-m", "feature_runtime", "--help"], cwd=repository / "runtime", capture_output=True, text=True, check=True
    )
    for verb in ("prepare-registry", "apply", "materialize", "serve", "smoke", "lock", "sample-data"):
        assert verb in done.stderr, "stdout belongs to results"


def test_an_unknown_verb_is_refused(repository):
    done = subprocess.run(
        [sys.executable, "-m", "feature_runtime", "aply"], cwd=repository / "runtime", capture_output=True, text=True, check=False
    )
    assert done.returncode == 2
    assert "aply" in done.stderr


def ended(repository, *arguments, **environment):
    """How a verb ended that got no further than its first look at the environment: exit code and error."""
    done = subprocess.run(
        [sys.executable, "-m", "feature_runtime", *arguments],
        cwd=repository / "runtime",
        env={"PATH": "", **environment},
        capture_output=True,
        text=True,
        check=False,
    )
    (line,) = done.stdout.splitlines()
    return done.returncode, json.loads(line)["error"]


IN_THE_POD = {"pod_identity": "AWS_CONTAINER_CREDENTIALS_FULL_URI", "irsa": "AWS_WEB_IDENTITY_TOKEN_FILE"}
"""By what a pod has the role that the program gave its service account."""


@pytest.mark.parametrize("verb", ["apply", "check", "materialize", "smoke", "skew"])
@pytest.mark.parametrize("kind", IN_THE_POD)
def test_a_pod_that_came_before_its_aws_role_ends_at_once_so_that_another_may_get_it(repository, verb, kind):
    others = {name: "http://169.254.170.23/v1/credentials" for other, name in IN_THE_POD.items() if other != kind}
    code, error = ended(repository, verb, AWS_WORKLOAD_IDENTITY=kind, AWS_ACCESS_KEY_ID="of somebody else", **others)
    assert code == 75, "not 1: the Job is to try again"
    assert IN_THE_POD[kind] in error
    assert "\n" not in error


@pytest.mark.parametrize("kind", IN_THE_POD)
def test_a_pod_with_its_aws_role_goes_on(monkeypatch, kind):
    monkeypatch.setenv("AWS_WORKLOAD_IDENTITY", kind)
    monkeypatch.setenv(IN_THE_POD[kind], "there")
    require_aws_role()


def test_a_role_of_a_kind_that_nobody_knows_is_refused_for_good(repository):
    code, error = ended(repository, "apply", AWS_WORKLOAD_IDENTITY="static")
    assert code == 1
    assert "AWS_WORKLOAD_IDENTITY" in error
    assert "'static'" in error


def test_lock_check_exits_2_and_says_what_differs(stores):
    environment = {"FEATURE_REPO_DIR_ENV_VAR": str(stores.repo)}
    assert stores.run(["lock", "--check"], environment).ok()["changed"] is False
    before = (stores.repo / "contract.lock.json").read_text()
    stores.edit("feature_views.py", "timedelta(days=7)", "timedelta(days=14)")
    outcome = stores.run(["lock", "--check"], environment)
    assert outcome.code == 2
    assert "views.employee_features.ttl_seconds: 604800 is now 1209600" in outcome.error
    assert (stores.repo / "contract.lock.json").read_text() == before
    assert stores.run(["lock"], environment).ok()["changed"] is True
    assert stores.run(["lock", "--check"], environment).code == 0


def test_the_contract_does_not_depend_on_the_environment(stores):
    environment = {"FEATURE_REPO_DIR_ENV_VAR": str(stores.repo), **stores.offline_environment()}
    assert stores.run(["lock", "--check"], environment).ok()["changed"] is False


def test_a_directory_without_a_feature_repo_is_refused(stores, tmp_path):
    (tmp_path / "empty").mkdir()
    assert "no feature_store.yaml" in stores.run(["lock"], {"FEATURE_REPO_DIR_ENV_VAR": str(tmp_path / "empty")}).error


def test_what_a_definition_prints_is_not_taken_for_the_result_and_its_secrets_are_masked(stores):
    path = stores.repo / "entities.py"
    path.write_text(path.read_text() + "\nimport os\nprint('password is', os.environ['REGISTRY_PASSWORD'])\n")
    outcome = stores.run(["lock"], {"FEATURE_REPO_DIR_ENV_VAR": str(stores.repo), "REGISTRY_PASSWORD": "pLoudSecret0123456789"})
    outcome.ok()
    assert "password is ***" in outcome.stderr
    assert "pLoudSecret0123456789" not in outcome.stdout + outcome.stderr


def test_an_unexpected_error_is_masked_too(stores):
    path = stores.repo / "entities.py"
    path.write_text(path.read_text() + "\nimport os\nraise RuntimeError(os.environ['REGISTRY_PASSWORD'])\n")
    outcome = stores.run(["lock"], {"FEATURE_REPO_DIR_ENV_VAR": str(stores.repo), "REGISTRY_PASSWORD": "pLoudSecret0123456789"})
    assert "***" in outcome.error
    assert "pLoudSecret0123456789" not in outcome.stdout + outcome.stderr


def test_a_secret_is_masked_in_its_url_form_and_a_short_word_is_not():
    mask = Mask({"A_PASSWORD": "p/with+signs&more", "AWS_SECRET_ACCESS_KEY": "sandbox", "OTHER": "untouched-value"})
    assert mask("postgresql://u:p%2Fwith%2Bsigns%26more@h") == "postgresql://u:***@h"
    assert mask("p/with+signs&more") == "***"
    assert mask("s3://sandbox untouched-value") == "s3://sandbox untouched-value"


ESCAPED = "p\"Loud\\Sécr'et 0123"


def test_a_secret_that_json_and_python_escape_is_masked_in_both():
    mask = Mask({"A_PASSWORD": ESCAPED})
    said = [ESCAPED, f"it's {ESCAPED!r}", repr(f'"{ESCAPED}"'), json.dumps(ESCAPED), json.dumps({"a": ESCAPED}, ensure_ascii=False)]
    for text in said:
        masked = mask(text)
        assert "***" in masked
        assert "Loud" not in masked
        assert "0123" not in masked


def test_a_masked_result_is_read_by_its_keys_though_a_password_is_a_word_of_it():
    mask = Mask({"A_PASSWORD": "features", "B_PASSWORD": 'ends"with'})
    result = {"features": ["age", "two features"], "said": {"deep": ('ends"with', 3, None, True)}}
    assert mask.within(result) == {"features": ["age", "two ***"], "said": {"deep": ["***", 3, None, True]}}


@pytest.mark.parametrize("fails", [False, True])
def test_what_a_verb_says_is_masked_whether_it_fails_or_not(stores, fails):
    repo = stores.repo.rename(stores.repo.with_name(ESCAPED))
    path = repo / "entities.py"
    if fails:
        path.write_text(path.read_text() + "\nimport os\nraise RuntimeError(os.environ['REGISTRY_PASSWORD'])\n")
    outcome = stores.run(["lock"], {"FEATURE_REPO_DIR_ENV_VAR": str(repo), "REGISTRY_PASSWORD": ESCAPED})
    assert "***" in (outcome.error if fails else outcome.ok()["lock"])
    for text in (outcome.stdout, outcome.stderr):
        assert "Loud" not in text


def test_sample_data_is_the_same_on_the_same_day_and_has_leavers(stores, tmp_path):
    one, other = tmp_path / "one.parquet", tmp_path / "other.parquet"
    for path in (one, other):
        stores.run(["sample-data", str(path), "--as-of", "2026-03-04"], {}).ok()
    assert one.read_bytes() == other.read_bytes()
    table = pq.read_table(one)
    newest = pc.max(table["event_timestamp"])
    assert newest.as_py().isoformat() == "2026-03-03T00:00:00+00:00"
    assert len(pc.unique(table["event_timestamp"])) == 26
    assert len(pc.unique(table["employee_id"])) == 1470
    present = pc.unique(table.filter(pc.equal(table["event_timestamp"], newest))["employee_id"]).to_pylist()
    assert 1200 < len(present) < 1470, "some have left"
    assert {101, 202, 303} <= set(present)
    assert {"age", "monthly_income", "distance_from_home"} <= set(table.column_names)


def test_sample_data_leaves_a_fresh_file_alone(stores, tmp_path):
    path = tmp_path / "data.parquet"
    stores.run(["sample-data", str(path), "--as-of", "2026-03-04"], {}).ok()
    for day, days, written in (("2026-03-06", "4", False), ("2026-03-06", "2", True), ("2026-03-06", "0", True)):
        outcome = stores.run(["sample-data", str(path), "--as-of", day, "--keep-days", days], {}).ok()
        assert outcome["written"] is written, (day, days)
    path.write_text(json.dumps("no parquet"))
    assert stores.run(["sample-data", str(path), "--keep-days", "9"], {}).ok()["written"] is True


@pytest.mark.parametrize(
    ("column", "dtype", "fitting"),
    [
        ("int32", "Int64", True),
        ("int64", "Int32", True),  # where every value fits
        ("uint64", "Int64", True),
        ("double", "Int64", True),  # where every value is whole
        ("float", "Float32", True),
        ("double", "Float32", True),
        ("int64", "Float32", True),
        ("string", "Float32", False),
        ("string", "String", True),
        ("large_string", "String", True),
        ("int64", "String", True),
        ("bool", "Bool", True),
        ("int64", "Bool", True),
        ("list<int64>", "Array(Int64)", True),
        ("list<string>", "Array(Int64)", False),
        ("int64", "Array(Int64)", False),
        ("timestamp", "UnixTimestamp", True),
        ("date32", "UnixTimestamp", True),
        ("list<timestamp>", "Array(UnixTimestamp)", True),
        ("list<date32>", "Array(UnixTimestamp)", True),
        ("dictionary", "String", True),
    ],
)
def test_which_columns_fit_which_types(column, dtype, fitting):
    types = {
        "double": pa.float64(),
        "float": pa.float32(),
        "bool": pa.bool_(),
        "list<int64>": pa.list_(pa.int64()),
        "list<string>": pa.list_(pa.string()),
        "list<timestamp>": pa.list_(pa.timestamp("us")),
        "list<date32>": pa.list_(pa.date32()),
        "timestamp": pa.timestamp("us"),
        "dictionary": pa.dictionary(pa.int32(), pa.string()),
    }
    kind = types.get(column) or getattr(pa, column)()
    assert fits(kind, dtype) is fitting


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("one line.", "ValueError: one line"),
        ("connection failed: refused\n\tIs the server running?", "ValueError: connection failed: refused"),
        (
            "specified features [Field(\n  name='a',\n), Field(\n  name='b',\n)] are missing\nmore",
            "ValueError: specified features [Field( name='a', ), Field( name='b', )] are missing",
        ),
        ("2 validation errors for Config\na\n  Field required", "ValueError: 2 validation errors for Config a Field required"),
        ("these are wrong:\n- a\n- b", "ValueError: these are wrong: - a"),
        ("", "ValueError: no message"),
    ],
)
def test_an_errors_first_line_is_never_cut_off_within_a_sentence(text, said):
    assert first_line(ValueError(text)) == said
