"""The pure parts, by table and by property."""

import ast
import dataclasses
import json
import re
import shutil
from datetime import timedelta

import pytest
import yaml

from feast_eks import registry
from feast_eks.charts import READY_SECONDS
from feast_eks.contract import Contract, definitions_sha256, read_contract
from feast_eks.definitions import Definitions
from feast_eks.feature_store_yaml import fading_views, feature_store_yaml, key_ttl_seconds
from feast_eks.online_store import online_store_values
from feast_eks.refusal import Refusal
from feast_eks.registry import registry_values
from feast_eks.runtime_image import digest_of_files
from feast_eks.scheduled_loads import scheduled_loads
from feast_eks.settings import MaterializationSettings, OnlineStoreSettings, longest_gap
from tests.infra.engine import PROJECT
from tests.infra.modes import CONTRACT, settings

DAY = 24 * 3600


def test_decisions_import_nothing_of_pulumi_and_no_component():
    package = PROJECT / "infra" / "feast_eks"
    decisions = {
        *("addresses", "aws_policies", "charts", "contract", "feature_store_yaml", "identities", "kubeconfig", "network", "refusal"),
        *("repo_files", "runtime_image", "scheduled_loads", "workload"),
    }
    for name in decisions:
        tree = ast.parse((package / f"{name}.py").read_text())
        imported = {
            module
            for node in ast.walk(tree)
            for module in ([node.module] if isinstance(node, ast.ImportFrom) else [a.name for a in getattr(node, "names", [])])
            if isinstance(node, ast.Import | ast.ImportFrom)
        }
        assert not [module for module in imported if module and module.startswith("pulumi")], name
        ours = {module.removeprefix("feast_eks.") for module in imported if module and module.startswith("feast_eks.")}
        ours |= {
            alias.name for node in ast.walk(tree) if isinstance(node, ast.ImportFrom) and node.module == "feast_eks" for alias in node.names
        }
        assert ours <= decisions | {"settings"}, f"{name} imports a component: {ours - decisions}"


def test_the_program_reads_no_environment_variable():
    for path in (PROJECT / "infra").rglob("*.py"):
        assert "environ" not in path.read_text().replace("environment", ""), f"{path.name}: what people choose stands in the stack file"


def test_the_main_program_is_short_and_decides_nothing():
    source = (PROJECT / "infra" / "__main__.py").read_text()
    assert len(source.splitlines()) < 40
    assert not [node for node in ast.walk(ast.parse(source)) if isinstance(node, ast.If)]


def test_secrets_stand_in_feature_store_yaml_as_variables_only():
    document = yaml.safe_load(feature_store_yaml(settings(), CONTRACT))
    assert document["registry"]["path"].endswith("//${REGISTRY_USER}:${REGISTRY_PASSWORD}@feast-postgresql:5432/feast")
    assert "password=${ONLINE_STORE_PASSWORD}," in document["online_store"]["connection_string"]
    assert document["registry"]["sqlalchemy_config_kwargs"]["pool_recycle"] == 0, "workers share a forked connection otherwise"


@pytest.mark.parametrize(
    ("schedule", "gap"),
    [
        ("0 2 * * *", timedelta(days=1)),
        ("0 * * * *", timedelta(hours=1)),
        ("0 2 * * 1-5", timedelta(days=3)),
        ("0 2 1 * *", timedelta(days=31)),
    ],
)
def test_the_longest_gap_of_a_schedule(schedule, gap):
    assert longest_gap(schedule) == gap


def test_keys_outlive_a_missed_run_and_then_fade():
    materialization = MaterializationSettings(schedule="0 2 * * *", deadline_minutes=60)
    assert key_ttl_seconds(materialization, CONTRACT) == 7 * DAY + 2 * DAY + 3600


def test_keys_of_a_view_without_ttl_live_for_ever():
    contract = Contract(project="p", services={}, ttl_seconds={"a": 7 * DAY, "b": 0})
    assert key_ttl_seconds(MaterializationSettings(), contract) is None


def aging(*, pushed=(), **ttl_seconds):
    return Contract(project="p", services={}, ttl_seconds=ttl_seconds, online=frozenset(ttl_seconds), pushed=frozenset(pushed))


def test_a_ttl_that_ends_between_two_runs_is_deployed_with_a_warning():
    contract = aging(hourly=3600, two_days=2 * DAY, weekly=7 * DAY)
    settings = MaterializationSettings(schedule="0 2 * * *", deadline_minutes=60)
    assert key_ttl_seconds(settings, contract) == 7 * DAY + 2 * DAY + 3600
    hourly, two_days = fading_views(settings, contract)
    assert (
        "feature view hourly: its ttl is 1 hour, and the loads by materialization.schedule '0 2 * * *' lie up to 24 hours apart" in hourly
    )
    assert "null until the next load has ended" in hourly
    assert "null when a load is missed" in two_days
    assert "a ttl of at least 49 hours" in two_days


def test_a_view_that_is_pushed_to_is_not_measured_by_the_schedule_of_loads():
    contract = aging(clicks=600, momentary=1, pushed=["clicks", "momentary"])
    assert fading_views(MaterializationSettings(), contract) == []
    assert key_ttl_seconds(MaterializationSettings(), contract) > 600


def test_a_view_that_is_only_trained_on_is_not_measured():
    contract = Contract(project="p", services={}, ttl_seconds={"history": 1})
    assert fading_views(MaterializationSettings(), contract) == []
    assert key_ttl_seconds(MaterializationSettings(), contract) > 0


def test_a_ttl_for_which_no_load_is_fast_enough_is_refused():
    with pytest.raises(Refusal) as refusal:
        key_ttl_seconds(MaterializationSettings(), aging(backwards=-3600, minute=60, second=1))
    assert [problem.path for problem in refusal.value.problems] == ["feature view backwards", "feature view second"]


def test_what_is_pushed_and_a_fraction_of_a_second_are_read_from_the_contract(tmp_path):
    (tmp_path / "definitions.py").write_text("")
    view = {"online": True, "ttl_seconds": 0.5}
    lock = {
        "format_version": 2,
        "project": "p",
        "definitions_sha256": definitions_sha256(tmp_path),
        "entities": {},
        "services": {},
        "sources": {},
        "views": {
            "half": view,
            "back": view | {"ttl_seconds": -0.5},
            "clicks": view | {"ttl_seconds": 600, "stream_source": "clicks_push"},
        },
    }
    (tmp_path / "contract.lock.json").write_text(json.dumps(lock))
    contract = read_contract(tmp_path)
    assert contract.pushed == {"clicks"}
    assert contract.ttl_seconds == {"half": 1, "back": -1, "clicks": 600}


def scheduled(**schedules):
    ttl_seconds = {"nightly": 7 * DAY, **dict.fromkeys(schedules, DAY)}
    return Contract(project="p", services={}, ttl_seconds=ttl_seconds, online=frozenset(ttl_seconds), schedules=schedules)


def test_a_view_with_a_schedule_is_measured_by_it():
    hourly = scheduled(clicks="0 * * * *")
    hourly.ttl_seconds["clicks"] = 4 * 3600
    # Two gaps, and one run that ends a minute before the next begins.
    assert MaterializationSettings().apart("0 * * * *").margin_seconds == 2 * 3600 + 59 * 60
    assert key_ttl_seconds(MaterializationSettings(), hourly) == 7 * DAY + 50 * 3600
    assert fading_views(MaterializationSettings(), hourly) == []
    hourly.ttl_seconds["clicks"] = 2 * 3600
    (warning,) = fading_views(MaterializationSettings(), hourly)
    assert warning.startswith("feature view clicks: its ttl is 2 hours, and the loads by its tag materialization_schedule '0 * * * *'")


def test_views_with_a_schedule_are_loaded_apart_and_all_others_together():
    settings = MaterializationSettings(deadline_minutes=30)
    nightly, clicks, weekly = scheduled_loads(settings, scheduled(clicks="*/15 * * * *", weekly_sums="0 3 * * 1"))
    assert (nightly.name, nightly.settings, nightly.arguments) == ("materialize", settings, ("--without", "clicks", "weekly_sums"))
    assert (clicks.name, clicks.settings.deadline_minutes, clicks.arguments) == ("materialize-clicks", 14, ("--views", "clicks"))
    assert (weekly.name, weekly.settings.deadline_minutes, weekly.settings.schedule) == ("materialize-weekly-sums", 30, "0 3 * * 1")


def test_without_a_schedule_of_any_view_one_run_loads_all():
    (nightly,) = scheduled_loads(MaterializationSettings(), CONTRACT)
    assert (nightly.name, nightly.arguments) == ("materialize", ())


def test_a_nightly_run_that_no_view_is_left_for_is_not_there():
    contract = dataclasses.replace(scheduled(clicks="0 * * * *"), online=frozenset({"clicks"}))
    assert [load.name for load in scheduled_loads(MaterializationSettings(), contract)] == ["materialize-clicks"]


def test_names_of_cron_jobs_are_such_as_kubernetes_takes_and_differ():
    views = ["a_b", "A_b", "a-b", "a" * 60, "a" * 61, "ends_", "ünïcode"]
    names = [load.name for load in scheduled_loads(MaterializationSettings(), scheduled(**dict.fromkeys(views, "0 * * * *")))]
    assert len(set(names)) == len(views) + 1
    for name in names:
        assert re.fullmatch(r"[a-z0-9]([a-z0-9-]*[a-z0-9])?", name), name
        assert len(name) <= 52, name


def test_a_sentinel_majority_elects_the_master():
    for replicas, quorum in ((3, 2), (5, 3)):
        values = online_store_values(OnlineStoreSettings(mode="sentinel", replicas=replicas))
        assert values["sentinel"]["quorum"] == quorum
        assert values["architecture"] == "replication"


def test_redis_fills_at_most_sixty_percent_of_its_memory():
    assert "maxmemory 600mb" in online_store_values(OnlineStoreSettings(memory_mib=1000))["commonConfiguration"]


def test_chart_values_name_secrets_and_carry_none():
    for values in (online_store_values(OnlineStoreSettings()), registry_values(settings().registry)):
        assert values["auth"]["existingSecret"]
        assert not [key for key in values["auth"] if key in {"password", "postgresPassword", "replicationPassword"}]


SPREAD_CHECKPOINT_SECONDS = 270
"""PostgreSQL's checkpoint_timeout and checkpoint_completion_target, by default."""


@pytest.mark.parametrize("mode", ["standalone", "highly-available"])
def test_a_node_that_starts_slowly_is_not_restarted_and_pulumi_waits_for_it(mode):
    stores = [online_store_values(settings(mode).online_store), registry_values(settings(mode).registry)]
    nodes = {
        name: values[name] for values in stores for name in ("master", "replica", "sentinel", "primary", "readReplicas") if name in values
    }
    if mode == "highly-available":
        assert set(nodes["master"]) == {"disableCommands"}, "with Sentinels no node is made of it"
        del nodes["master"]
    for name, node in nodes.items():
        probe = node["startupProbe"]
        seconds = probe["initialDelaySeconds"] + probe["periodSeconds"] * probe["failureThreshold"]
        assert probe["enabled"], name
        assert 2 * SPREAD_CHECKPOINT_SECONDS < seconds < READY_SECONDS, f"{name}: a clone waits for two checkpoints at most, then copies"


def test_a_change_of_the_read_replicas_configuration_changes_their_pods(monkeypatch):
    values = registry_values(settings("highly-available").registry)
    monkeypatch.setattr(registry, "READ_REPLICA_CONFIGURATION", "hot_standby_feedback = off")
    changed = registry_values(settings("highly-available").registry)
    assert changed["readReplicas"]["extendedConfiguration"] == "hot_standby_feedback = off"
    assert changed["readReplicas"]["podAnnotations"] != values["readReplicas"]["podAnnotations"], "PostgreSQL reads it at its start"
    assert changed["primary"] == values["primary"], "the only primary restarts for nothing"


def test_files_in_folders_keep_their_place_in_the_config_map():
    definitions = Definitions(files={"views/employee.py": "a", "entities.py": "b"})
    assert definitions.config_maps == {f"feature-definitions-{definitions.digest}": {"views__employee.py": "a", "entities.py": "b"}}
    assert {"key": "views__employee.py", "path": "views/employee.py"} in definitions.volume["configMap"]["items"]


def test_the_definitions_name_changes_with_any_content():
    names = {next(iter(Definitions(files=f).config_maps)) for f in ({"a": "1"}, {"a": "2"}, {"b": "1"}, {"a": "1", "b": ""})}
    assert len(names) == 4


def test_a_digest_sees_names_and_contents_but_no_caches(tmp_path):
    (tmp_path / "a.py").write_text("1")
    digest = digest_of_files(tmp_path)
    (tmp_path / "__pycache__").mkdir()
    (tmp_path / "__pycache__" / "a.pyc").write_text("x")
    assert digest_of_files(tmp_path) == digest
    (tmp_path / "a.py").rename(tmp_path / "b.py")
    assert digest_of_files(tmp_path) != digest


@pytest.mark.parametrize(
    ("damage", "says"),
    [
        (lambda path: path.unlink(), "no such file"),
        (lambda path: path.write_text("{"), "Expecting"),
        (lambda path: path.write_text(json.dumps(json.loads(path.read_text()) | {"format_version": 99})), "format_version 99"),
    ],
)
def test_a_damaged_contract_is_refused_with_the_remedy(tmp_path, damage, says):
    shutil.copytree(PROJECT / "feature_repo", tmp_path / "feature_repo", ignore=shutil.ignore_patterns("data", "__pycache__"))
    read_contract(tmp_path / "feature_repo")
    damage(tmp_path / "feature_repo" / "contract.lock.json")
    with pytest.raises(Refusal, match=says) as refusal:
        read_contract(tmp_path / "feature_repo")
    assert "make lock" in refusal.value.problems[0].remedy
