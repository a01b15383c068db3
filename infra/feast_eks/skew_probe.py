"""The skew probe: a CronJob that compares what is served with the history, and writes down how much differs."""

from dataclasses import dataclass

import pulumi
import pulumi_kubernetes as kubernetes

from feast_eks.addresses import FEATURE_SERVER_NAME, HTTP_PORT
from feast_eks.definitions import Definitions
from feast_eks.identities import MATERIALIZE
from feast_eks.jobs import cron_job_spec
from feast_eks.settings import SkewProbeSettings
from feast_eks.workload import Container, Object, Resources, Workload, labels

NAME = "skew-probe"


@dataclass(frozen=True, kw_only=True)
class SkewProbeArgs:
    """`environment` is how pods reach the stores; `loaded` is the Job after which there is something to compare."""

    settings: SkewProbeSettings
    namespace: pulumi.Input[str]
    definitions: Definitions
    image: str
    environment: list[Object]
    loaded: pulumi.Resource


class SkewProbe(pulumi.ComponentResource):
    """Every night, for sampled entities: what the history says, beside what the feature servers answer.

    The share that differs goes into the online store, from which the servers export it; above the tolerated one the run fails, too.
    It has materialization's identity: it reads what that reads, and writes one record beside those of the loads.
    """

    def __init__(self, name: str, args: SkewProbeArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__("feast-eks:index:SkewProbe", name, {}, opts)
        kubernetes.batch.v1.CronJob(
            f"{name}-nightly",
            metadata={"name": NAME, "namespace": args.namespace, "labels": labels(NAME)},
            spec=cron_job_spec(
                _workload(args),
                schedule=args.settings.schedule,
                deadline_seconds=args.settings.deadline_minutes * 60,
                retries=0,  # what differs now differs at the next try, too
            ),
            # It compares what that Job loaded.
            opts=pulumi.ResourceOptions(parent=self, depends_on=[args.loaded]),
        )
        self.register_outputs({})


def _workload(args: SkewProbeArgs) -> Workload:
    container = Container(
        name=NAME,
        image=args.image,
        args=["skew", "--sample", str(args.settings.sample), "--tolerated-ratio", str(args.settings.tolerated_ratio)],
        environment=[
            *args.environment,
            {"name": "FEATURE_SERVER_REPLICAS", "value": FEATURE_SERVER_NAME},
            {"name": "FEATURE_SERVER_PORT", "value": str(HTTP_PORT)},
        ],
        resources=Resources(cpu_millicores=args.settings.cpu_millicores, memory_mib=args.settings.memory_mib),
    )
    return Workload(
        name=NAME,
        service_account=MATERIALIZE.name,
        definitions=args.definitions.volume,
        client_labels=MATERIALIZE.client_labels,
        containers=[container.to_kubernetes()],
    )
