"""A chart as rules meet it: as the official provider registers one, which is less than the program gives it."""

import pytest

from feast_eks_policies import RULES
from feast_eks_policies.objects import CHARTS, of_kind
from feast_eks_policies.rule import ResourceRule
from feast_eks_policies.values import UNKNOWN, get
from tests.infra.engine import STACKS, run_program, stack_config
from tests.policies.charts import CHART, handle, registered
from tests.policies.recording import Recording, record
from tests.policies.resources_aws import resource


@pytest.fixture(scope="module", params=STACKS)
def recording(request):
    return record(lambda: run_program(stack_config(request.param), stack=request.param), stack=request.param)


def test_a_chart_has_no_inputs_and_its_objects_are_its_children(recording):
    charts = [each for each in recording.inputs if each.type == CHART]
    assert {chart.name for chart in charts} - {"required-kinds"} == {"feast-postgresql", "feast-redis"}
    assert all(chart.props == {} for chart in charts), "the provider keeps what the program gives it to itself"
    for chart in (chart for chart in charts if chart.name != "required-kinds"):  # that one makes nothing
        children = [each for each in recording.inputs if each.parent == chart.urn]
        assert len(of_kind(children, "StatefulSet")) >= 1, "a chart of which nothing is seen breaks no rule"
        for child in children:
            assert child.name == f"{chart.name}:feast/{get(child.props, 'metadata', 'name')}"
            assert (child.protect, child.provider.name) == (chart.protect, "cluster-kubernetes")
    assert len({each.urn for each in recording.inputs}) == len(recording.inputs)


def test_everything_that_rules_see_is_sent_to_the_pack(recording):
    assert [each.urn for each in recording.requests] == [each.urn for each in recording.inputs]


def test_the_objects_are_those_of_the_programs_values():
    settings = {"mode": "sentinel", "replicas": 5, "storage_class": "gp3", "memory_mib": 512}
    config = stack_config("staging", namespace="features", online_store=settings)
    shown = {handle(each): each.props for each in record(lambda: run_program(config, stack="staging"), stack="staging").inputs}
    nodes, configuration = shown["feast-redis:StatefulSet/feast-redis-node"], shown["feast-redis:ConfigMap/feast-redis-configuration"]
    redis, *_ = nodes["spec"]["template"]["spec"]["containers"]
    assert (nodes["metadata"]["namespace"], nodes["spec"]["replicas"]) == ("features", 5)
    assert redis["image"].startswith("docker.io/bitnamilegacy/redis:")
    assert redis["resources"]["limits"] == {"memory": "512Mi"}
    assert "maxmemory 307mb" in configuration["data"]["redis.conf"]
    assert configuration["data"]["sentinel.conf"].splitlines()[1].endswith(" 6379 3")
    assert "feast-postgresql:PodDisruptionBudget/feast-postgresql-read" not in shown, "one read replica needs none"


def test_a_chart_shows_no_objects_before_its_inputs_are_known():
    chart = resource(CHART, "feast-redis", {"namespace": UNKNOWN, "values": {"architecture": "standalone"}})
    assert [each.name for each in registered(chart)] == ["feast-redis"]


@pytest.mark.parametrize("type_", CHARTS)
def test_no_test_may_show_a_rule_the_inputs_of_a_chart(type_):
    with pytest.raises(AssertionError, match="no provider registers a Chart with inputs"):
        Recording(inputs=[resource(type_, "feast-redis", {"values": {}})])


def test_no_rule_waits_for_the_inputs_of_a_chart():
    assert [rule.name for rule in RULES if isinstance(rule, ResourceRule) and set(rule.types) & set(CHARTS)] == []
