"""The feature server: answers with feature vectors, and goes on answering while it is changed, moved or busy."""

from dataclasses import dataclass

import pulumi
import pulumi_kubernetes as kubernetes

from feast_eks.addresses import FEATURE_SERVER_NAME, FEATURE_SERVER_REPLICAS, GRPC_PORT, HTTP_PORT, METRICS_PORT
from feast_eks.definitions import Definitions
from feast_eks.identities import SERVE
from feast_eks.settings import FeatureServerSettings
from feast_eks.workload import Container, Object, Resources, Workload, labels, selector

REQUEST_RATE_METRIC = "feast_feature_server_requests_per_second"
"""The per-pod metric that the autoscaler asks the custom metrics API for; the adapter computes it as
`rate(feast_feature_server_request_total[2m])`. That counts probes, too: one in four seconds, by which an idle server is not unknown."""

DRAIN_SECONDS = 10
"""Between being told to stop and no longer listening: until then every node has taken the pod out of its Services."""

STARTUP_SECONDS = 180
"""Importing Feast takes seconds on a quiet node, and many more on a loaded one or where a node pulls the image's pages."""

PROBE_TIMEOUT_SECONDS = 5

READY_PERIOD_SECONDS = 5
READY_FAILURES = 6
"""Half a minute without Redis until a replica leaves the Service. A failover of some seconds reaches all replicas at once: better
that each answers 503 with Retry-After than that the Service is empty and connections are refused."""

HTTP2 = "kubernetes.io/h2c"
"""What gRPC without TLS is, for proxies and meshes that look at a port's protocol."""


@dataclass(frozen=True, kw_only=True)
class FeatureServerArgs:
    """`environment` is how pods reach the stores; `loaded` is the Job after which the online store has every view."""

    settings: FeatureServerSettings
    namespace: pulumi.Input[str]
    definitions: Definitions
    image: str
    environment: list[Object]
    loaded: pulumi.Resource


class FeatureServer(pulumi.ComponentResource):
    """Stateless replicas behind a Service, scaled on request rate, replaced one by one without a gap."""

    deployment: kubernetes.apps.v1.Deployment
    service: kubernetes.core.v1.Service
    replicas: kubernetes.core.v1.Service

    def __init__(self, name: str, args: FeatureServerArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__("feast-eks:index:FeatureServer", name, {}, opts)
        child = pulumi.ResourceOptions(parent=self)
        workload = server_workload(args)
        metadata = {"name": FEATURE_SERVER_NAME, "namespace": args.namespace, "labels": labels(FEATURE_SERVER_NAME)}
        self.deployment = kubernetes.apps.v1.Deployment(
            f"{name}-deployment",
            metadata=metadata,
            spec={
                # No `replicas`: the autoscaler owns them.
                "selector": {"matchLabels": workload.selector},
                "strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": 0, "maxSurge": 1}},
                "minReadySeconds": 5,
                "revisionHistoryLimit": 3,
                "template": workload.template(),
            },
            # Serving what is not loaded would answer with nulls.
            opts=pulumi.ResourceOptions(parent=self, depends_on=[args.loaded]),
        )
        ports = [
            {"name": "http", "port": HTTP_PORT, "targetPort": "http"},
            {"name": "grpc", "port": GRPC_PORT, "targetPort": "grpc", "appProtocol": HTTP2},
        ]
        metrics = {"name": "metrics", "port": METRICS_PORT, "targetPort": "metrics"}
        # A Service counts as ready when it has endpoints, so it comes after the pods.
        after_pods = pulumi.ResourceOptions(parent=self, depends_on=[self.deployment])
        self.service = kubernetes.core.v1.Service(
            f"{name}-service",
            metadata=metadata,
            spec={"type": "ClusterIP", "selector": workload.selector, "ports": [*ports, metrics]},
            opts=after_pods,
        )
        self.replicas = kubernetes.core.v1.Service(
            f"{name}-replicas",
            metadata={"name": FEATURE_SERVER_REPLICAS, "namespace": args.namespace, "labels": labels(FEATURE_SERVER_NAME)},
            spec={"type": "ClusterIP", "clusterIP": "None", "selector": workload.selector, "ports": ports},
            opts=after_pods,
        )
        kubernetes.autoscaling.v2.HorizontalPodAutoscaler(
            f"{name}-autoscaler",
            metadata=metadata,
            spec=autoscaler_spec(args.settings),
            opts=child,
        )
        if args.settings.min_replicas > 1:
            kubernetes.policy.v1.PodDisruptionBudget(
                f"{name}-disruption-budget",
                metadata=metadata,
                spec={"maxUnavailable": 1, "selector": {"matchLabels": workload.selector}},
                opts=child,
            )
        self.register_outputs({})


def server_workload(args: FeatureServerArgs) -> Workload:
    """The pods of the feature server."""
    settings = args.settings
    container = Container(
        name=FEATURE_SERVER_NAME,
        image=args.image,
        args=serve_arguments(settings),
        environment=args.environment,
        resources=Resources(cpu_millicores=settings.cpu_millicores, memory_mib=settings.memory_mib),
        ports={"http": HTTP_PORT, "grpc": GRPC_PORT, "metrics": METRICS_PORT},
        lifecycle={"preStop": {"sleep": {"seconds": DRAIN_SECONDS}}},
    ).to_kubernetes()
    alive, ready = probe("/health"), probe("/ready")
    container |= {
        # Not before it has the definitions and reaches Redis: a roll-out stops at a version that cannot serve.
        "startupProbe": {**ready, "periodSeconds": 3, "failureThreshold": STARTUP_SECONDS // 3},
        "readinessProbe": {**ready, "periodSeconds": READY_PERIOD_SECONDS, "failureThreshold": READY_FAILURES},
        # Asks for the process, not for its stores, and slower to judge: a restart helps neither a busy server nor one whose Redis is away.
        "livenessProbe": {**alive, "periodSeconds": 20, "failureThreshold": 6},
    }
    spread = [
        {
            "maxSkew": 1,
            "topologyKey": key,
            "whenUnsatisfiable": "ScheduleAnyway",
            "labelSelector": {"matchLabels": selector(FEATURE_SERVER_NAME)},
        }
        for key in ("topology.kubernetes.io/zone", "kubernetes.io/hostname")
    ]
    return Workload(
        name=FEATURE_SERVER_NAME,
        service_account=SERVE.name,
        definitions=args.definitions.volume,
        client_labels=SERVE.client_labels,
        containers=[container],
        restart_policy="Always",
        extra={"topologySpreadConstraints": spread, "terminationGracePeriodSeconds": DRAIN_SECONDS + 30},
    )


def serve_arguments(settings: FeatureServerSettings) -> list[str]:
    """The command line of the server: where it listens, how much it takes, and what it says of what it has not."""
    options = {
        "port": HTTP_PORT,
        "grpc-port": GRPC_PORT,
        "metrics-port": METRICS_PORT,
        "max-body-kib": settings.max_body_kib,
        "max-entities": settings.max_entities,
        "on-not-found": settings.on_not_found,
        "on-outside-max-age": settings.on_outside_max_age,
    }
    return ["serve", *(text for name, value in options.items() for text in (f"--{name}", str(value)))]


def probe(path: str) -> Object:
    """What all probes of a path have in common."""
    return {"httpGet": {"path": path, "port": "http"}, "timeoutSeconds": PROBE_TIMEOUT_SECONDS}


def autoscaler_spec(settings: FeatureServerSettings) -> Object:
    """Scale on requests per second and pod; leave slowly, so that a dip between two peaks costs nothing."""
    return {
        "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": FEATURE_SERVER_NAME},
        "minReplicas": settings.min_replicas,
        "maxReplicas": settings.max_replicas,
        "metrics": [
            {
                "type": "Pods",
                "pods": {
                    "metric": {"name": REQUEST_RATE_METRIC},
                    "target": {"type": "AverageValue", "averageValue": str(settings.requests_per_second_per_replica)},
                },
            }
        ],
        "behavior": {"scaleDown": {"stabilizationWindowSeconds": 300}},
    }
