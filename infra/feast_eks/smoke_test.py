"""The smoke test: a Job that proves, on every replica, that the right vector comes back."""

import json
from dataclasses import dataclass

import pulumi
import pulumi_kubernetes as kubernetes

from feast_eks.addresses import FEATURE_SERVER_REPLICAS, HTTP_PORT
from feast_eks.definitions import Definitions
from feast_eks.identities import SMOKE_TEST
from feast_eks.jobs import one_off_job
from feast_eks.settings import FeatureServerSettings, SmokeTestSettings
from feast_eks.workload import Container, Object, Resources, Workload

NAME = "smoke-test"
DEADLINE_SECONDS = 600
RESOURCES = Resources(cpu_millicores=250, memory_mib=1024)


@dataclass(frozen=True, kw_only=True)
class SmokeTestArgs:
    """`environment` names the bucket; `server` is what must answer; a change of its settings runs the test again."""

    settings: SmokeTestSettings
    server_settings: FeatureServerSettings
    namespace: pulumi.Input[str]
    definitions: Definitions
    image: str
    environment: list[Object]
    server: list[pulumi.Resource]


class SmokeTest(pulumi.ComponentResource):
    """Done when every replica answered known entities with the offline store's values, in the contract's names and types."""

    passed: kubernetes.batch.v1.Job

    def __init__(self, name: str, args: SmokeTestArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__("feast-eks:index:SmokeTest", name, {}, opts)
        entities = json.dumps(args.settings.entities) if args.settings.entities else ""
        container = Container(
            name=NAME,
            image=args.image,
            args=["smoke"],
            environment=[
                {"name": "FEATURE_SERVER_REPLICAS", "value": FEATURE_SERVER_REPLICAS},
                {"name": "FEATURE_SERVER_PORT", "value": str(HTTP_PORT)},
                {"name": "SMOKE_ENTITIES", "value": entities},
                {"name": "EXPECTED_REPLICAS", "value": str(args.server_settings.min_replicas)},
                *args.environment,
            ],
            resources=RESOURCES,
        )
        self.passed = one_off_job(
            f"{name}-job",
            Workload(
                name=NAME,
                service_account=SMOKE_TEST.name,
                definitions=args.definitions.volume,
                client_labels={},
                containers=[container.to_kubernetes()],
            ),
            name=NAME,
            # A change of the server's settings makes new replicas, which are to be asked.
            subject=args.server_settings.model_dump_json(),
            namespace=args.namespace,
            deadline_seconds=DEADLINE_SECONDS,
            # It calls the replicas by name; no value shows that they come first.
            opts=pulumi.ResourceOptions(parent=self, depends_on=args.server),
        )
        self.register_outputs({})
