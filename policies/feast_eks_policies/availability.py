"""Autoscalers and disruption budgets that contradict the workloads they are about."""

from collections.abc import Iterator
from typing import Any

from feast_eks_policies.network import workloads
from feast_eks_policies.objects import REPLICATED, kind, may_equal, name, of_kind, pod_labels, selects, share, surely_selects, together
from feast_eks_policies.rule import Context, Finding, Resource, Rule, StackRule
from feast_eks_policies.stores import stores
from feast_eks_policies.values import UNKNOWN, containers, get, items, pod_specs


def _may_target(autoscaler: Resource, workload: Resource) -> bool:
    target = get(autoscaler.props, "spec", "scaleTargetRef")
    same = may_equal(get(target, "kind"), kind(workload)) and may_equal(get(target, "name"), name(workload))
    return same and together(autoscaler, workload)


def _targets(autoscaler: Resource, workload: Resource) -> bool:
    target = get(autoscaler.props, "spec", "scaleTargetRef")
    known = UNKNOWN not in (get(target, "kind"), get(target, "name"), name(workload))
    return known and _may_target(autoscaler, workload)


def _autoscalers(resources: list[Resource], context: Context) -> Iterator[Finding]:
    lowest = context.settings["min_replicas"]
    autoscalers, every = of_kind(resources, "HorizontalPodAutoscaler"), workloads(resources)
    for autoscaler in autoscalers:
        if not any(_may_target(autoscaler, workload) for workload in every):
            yield autoscaler, "spec.scaleTargetRef names no workload of this stack: nothing is scaled"
        least, most = (get(autoscaler.props, "spec", key, default=1) for key in ("minReplicas", "maxReplicas"))
        if isinstance(least, int) and least < lowest:
            yield autoscaler, f"spec.minReplicas is {least}, at least {lowest} keep serving while one is moved"
        if isinstance(least, int) and isinstance(most, int) and most <= least:
            yield autoscaler, f"spec.maxReplicas {most} is not above spec.minReplicas {least}: nothing is scaled"
        for workload in every:
            if not _targets(autoscaler, workload):
                continue
            yield from ((workload, fault) for fault in _scaled(workload, autoscaler))
    for workload in every:
        replicas = get(workload.props, "spec", "replicas", default=1)
        alone = isinstance(replicas, int) and replicas < lowest
        scaled = any(_may_target(autoscaler, workload) for autoscaler in autoscalers)
        if kind(workload) == "Deployment" and alone and not scaled and _is_served(workload, resources):
            yield (
                workload,
                f"spec.replicas is {replicas} and no autoscaler raises it; at least {lowest} keep serving while one is moved",
            )


def _scaled(workload: Resource, autoscaler: Resource) -> Iterator[str]:
    if any(stores(workload)):
        yield "an autoscaler scales a store: its replication is set up for a number of replicas"
    replicas = get(workload.props, "spec", "replicas")
    if isinstance(replicas, int) and _is_set_by_program(workload):
        yield f"spec.replicas is {replicas} beside an autoscaler: every update resets what it decided"
    if _uses_cpu_share(autoscaler):
        for path, _, spec in pod_specs(workload):
            for within, container in containers(spec):
                if within.startswith("containers") and get(container, "resources", "requests", "cpu") is None:
                    yield f"{path}.{within}.resources.requests.cpu is missing, of which the autoscaler wants a share"


def _is_set_by_program(workload: Resource) -> bool:
    """Whether `replicas` is the program's: the cluster writes it into what the program left out, and says who did if it is asked."""
    metadata = get(workload.props, "metadata", default={})
    applied = [get(entry, "fieldsV1") for entry in items(get(metadata, "managedFields")) if get(entry, "operation") == "Apply"]
    if applied:
        return any(get(fields, "f:spec", "f:replicas") is not None for fields in applied)
    return get(metadata, "uid") is None


def _uses_cpu_share(autoscaler: Resource) -> bool:
    if get(autoscaler.props, "spec", "targetCPUUtilizationPercentage") is not None:
        return True
    metrics = [get(metric, "resource") for metric in items(get(autoscaler.props, "spec", "metrics"))]
    return any(get(m, "name") == "cpu" and get(m, "target", "type") in (None, "Utilization") for m in metrics if m is not None)


def _is_served(workload: Resource, resources: list[Resource]) -> bool:
    labels = pod_labels(workload)
    for service in of_kind(resources, "Service"):
        selector = get(service.props, "spec", "selector")
        if selector and selector is not UNKNOWN and together(service, workload) and selects({"matchLabels": selector}, labels):
            return True
    return False


def _budgets(resources: list[Resource], context: Context) -> Iterator[Finding]:
    del context
    budgets, autoscalers = of_kind(resources, "PodDisruptionBudget"), of_kind(resources, "HorizontalPodAutoscaler")
    lasting = [workload for workload in workloads(resources) if workload.is_a(*REPLICATED)]
    used: set[str] = set()
    for workload in lasting:
        near = [(b, get(b.props, "spec", "selector")) for b in budgets if together(b, workload)]
        possible = [budget for budget, selector in near if selects(selector, pod_labels(workload))]
        own = [budget for budget, selector in near if surely_selects(selector, pod_labels(workload))]
        used |= {budget.urn for budget in possible}
        replicas = _least_replicas(workload, autoscalers)
        if not isinstance(replicas, int) or replicas == 0:
            continue
        if replicas == 1:
            yield from ((budget, "a budget for one replica blocks every drain, or does nothing") for budget in own)
        elif not possible:
            yield workload, f"{replicas} replicas and no disruption budget: a drain may take them all at once"
        elif len(own) > 1:
            yield workload, f"{len(own)} disruption budgets select these pods: evictions fail with an error"
        else:
            yield from ((budget, fault) for budget in own for fault in _undrainable(budget, replicas))
    yield from ((b, "spec.selector matches the pods of no workload: it protects nothing") for b in budgets if b.urn not in used)


def _least_replicas(workload: Resource, autoscalers: list[Resource]) -> Any:
    for autoscaler in autoscalers:
        if _targets(autoscaler, workload):
            return get(autoscaler.props, "spec", "minReplicas", default=1)
    if any(_may_target(autoscaler, workload) for autoscaler in autoscalers):
        return UNKNOWN
    return get(workload.props, "spec", "replicas", default=1)


def _undrainable(budget: Resource, replicas: int) -> Iterator[str]:
    spec = get(budget.props, "spec")
    if get(spec, "maxUnavailable") is not None:
        field, evictable = "maxUnavailable", share(get(spec, "maxUnavailable"), replicas)
    else:
        least = share(get(spec, "minAvailable", default=1), replicas)
        field, evictable = "minAvailable", None if least is None else replicas - least
    if evictable is not None and evictable < 1:
        yield f"spec.{field} is {get(spec, field)}: with {replicas} replicas none may be evicted, and no node can be drained"
    if evictable is not None and evictable >= replicas:
        yield f"spec.{field} is {get(spec, field)}: with {replicas} replicas all may be evicted at once"


RULES: tuple[Rule, ...] = (
    StackRule(
        name="replicas-hpa-consistent",
        description="What serves has two replicas or more, and one owner of their number.",
        harm="workloads",
        severity="high",
        remedy="let the autoscaler name an existing Deployment with minReplicas ≥ 2 and maxReplicas above it, and leave spec.replicas out",
        check=_autoscalers,
        options={"min_replicas": 2},
    ),
    StackRule(
        name="pdb-present-and-drainable",
        description="A drain takes one replica after the other: never all, never none.",
        harm="workloads",
        severity="high",
        remedy="give each workload of two replicas or more one PodDisruptionBudget with maxUnavailable: 1, and single replicas none",
        check=_budgets,
    ),
)
