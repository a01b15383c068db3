"""Monitoring: what Prometheus reads, when it calls somebody, and what Grafana shows."""

from dataclasses import dataclass

import pulumi
import pulumi_kubernetes as kubernetes

from feast_eks.cluster import RequiredKinds
from feast_eks.contract import Contract
from feast_eks.monitoring.alerts import rule_groups
from feast_eks.monitoring.dashboard import dashboard_files
from feast_eks.monitoring.scraping import service_monitors
from feast_eks.settings import MonitoringSettings, Settings
from feast_eks.workload import labels

API_VERSION = "monitoring.coreos.com/v1"
RULE_NAME = "feast-alerts"
DASHBOARD_NAME = "feast-dashboard"
DASHBOARD_LABEL = {"grafana_dashboard": "1"}
"""What Grafana's side container looks for, in every namespace."""


def required_kinds(settings: MonitoringSettings) -> RequiredKinds | None:
    """The Prometheus operator's kinds, where monitoring is wanted."""
    if not settings.enabled:
        return None
    return RequiredKinds(
        setting="monitoring.enabled: true",
        kinds=tuple(f"{API_VERSION}/{kind}" for kind in ("ServiceMonitor", "PrometheusRule")),
        rule="the Prometheus operator's kinds exist in the cluster",
        remedy="install the operator, e.g. the chart kube-prometheus-stack, or set monitoring: { enabled: false }",
    )


@dataclass(frozen=True, kw_only=True)
class MonitoringArgs:
    """`settings`: the whole environment, because what there is to watch depends on all of it.

    `contract` says what may grow how old; `applied` are what must be done before that is true.
    """

    settings: Settings
    contract: Contract
    applied: list[pulumi.Resource]
    namespace: pulumi.Input[str]


class Monitoring(pulumi.ComponentResource):
    """ServiceMonitors, a PrometheusRule and a dashboard, for a cluster that runs the Prometheus operator."""

    def __init__(self, name: str, args: MonitoringArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__("feast-eks:index:Monitoring", name, {}, opts)
        child = pulumi.ResourceOptions(parent=self)
        # The labels by which Prometheus chooses win over ours, which nothing selects by.
        selected = {**labels("monitoring"), **args.settings.monitoring.labels}
        for monitor, spec in service_monitors(args.settings).items():
            kubernetes.apiextensions.CustomResource(
                f"{name}-{monitor}",
                api_version=API_VERSION,
                kind="ServiceMonitor",
                metadata={"name": monitor, "namespace": args.namespace, "labels": selected},
                spec=spec,
                opts=child,
            )
        kubernetes.apiextensions.CustomResource(
            f"{name}-alerts",
            api_version=API_VERSION,
            kind="PrometheusRule",
            metadata={"name": RULE_NAME, "namespace": args.namespace, "labels": selected},
            spec={"groups": rule_groups(args.settings, args.contract)},
            # It names views and their ttl: a change that is refused must not change what is watched.
            opts=pulumi.ResourceOptions(parent=self, depends_on=args.applied),
        )
        kubernetes.core.v1.ConfigMap(
            f"{name}-dashboard",
            metadata={"name": DASHBOARD_NAME, "namespace": args.namespace, "labels": {**labels("monitoring"), **DASHBOARD_LABEL}},
            data=dashboard_files(args.settings),
            opts=child,
        )
        self.register_outputs({})
