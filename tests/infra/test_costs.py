"""The table of costs, held against what the program registers."""

import pytest

from feast_eks.costs import STACK_DIRECTORY, STACKS, Part, costs_page, parts, runs, stack_settings
from tests.infra.engine import PROJECT, run_program, stack_config


def requested(spec):
    (container,) = spec["containers"]
    requests = container["resources"]["requests"]
    return int(requests["cpu"].removesuffix("m")), int(requests["memory"].removesuffix("Mi"))


def test_every_stack_file_has_a_table():
    assert {path.name for path in STACK_DIRECTORY.glob("Pulumi.*.yaml")} == {f"Pulumi.{stack}.yaml" for stack in STACKS}


@pytest.mark.parametrize("stack", STACKS)
def test_what_is_counted_is_what_pods_request(stack):
    settings = stack_settings(stack)
    engine = run_program(stack_config(stack), stack=stack)
    counted = {part.name: (part.cpu_millicores, part.memory_mib) for part in [*parts(settings), *runs(settings)]}
    specs = engine.pod_specs()
    assert counted["feature-server"] == requested(specs["feature-server-deployment"])
    for step in ("roles", "check", "apply"):
        assert counted["registry roles, gate, apply"] == requested(specs[f"feature-definitions-{step}"])
    assert counted["image check"] == requested(specs["image-check-job"])
    assert counted["smoke test"] == requested(specs["smoke-test-job"])
    assert counted["materialize"] == requested(specs["materialization-nightly"]) == requested(specs["materialization-backfill"])
    charts = engine.store_charts
    of_charts = {part.name: part for part in parts(settings) if part.name.startswith(("Redis", "PostgreSQL"))}
    assert bool(of_charts) == bool(charts), "a store is counted that is not there, or is there and not counted"
    for name, chart in charts.items():
        monitored = chart.inputs["values"]["metrics"]["enabled"]
        assert monitored == settings.monitoring.enabled, f"{name}: exporters are counted when there are any"


def test_sentinels_and_exporters_are_counted_with_their_redis():
    part = next(part for part in parts(stack_settings("prod")) if part.name == "Redis with Sentinel")
    settings = stack_settings("prod").online_store
    assert part.pods == settings.replicas
    assert part.memory_mib == settings.memory_mib + 128 + 64, "Redis, its Sentinel, its exporter"
    assert part.storage_gib == settings.storage_gib + 1, "the Sentinel keeps its view on a volume of its own"


def test_the_table_adds_up():
    section = costs_page().partition("## dev\n")[2].partition("\n## ")[0]
    running = parts(stack_settings("dev"))
    least = sum(part.pods * part.memory_mib for part in running)
    most = sum(part.most_pods * part.memory_mib for part in running)
    assert f"| **together, at least** | {sum(part.pods for part in running)} |" in section
    assert f" {least} MiB " in section
    assert f" {most} MiB " in section


def test_stores_outside_the_cluster_cost_the_cluster_nothing():
    outside = stack_settings("dev").model_copy(deep=True)
    online_store = outside.online_store.model_copy(update={"mode": "external"})
    registry = outside.registry.model_copy(update={"mode": "external"})
    outside = outside.model_copy(update={"online_store": online_store, "registry": registry})
    assert [part.name for part in parts(outside)] == ["feature-server"]
    assert isinstance(parts(outside)[0], Part)


def test_the_page_is_fresh():
    assert (PROJECT / "docs" / "costs.md").read_text() == costs_page(), "write it with `make docs`"
