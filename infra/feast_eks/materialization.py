"""Materialization: the Job that loads new views, and the CronJob that keeps every view fresh."""

from dataclasses import dataclass

import pulumi
import pulumi_kubernetes as kubernetes

from feast_eks.definitions import Definitions
from feast_eks.identities import MATERIALIZE
from feast_eks.jobs import STORE_SECONDS, cron_job_spec, one_off_job
from feast_eks.settings import MaterializationSettings
from feast_eks.workload import Container, Object, Resources, Workload, labels

NAME = "materialize"
BACKFILL = "backfill"


@dataclass(frozen=True, kw_only=True)
class MaterializationArgs:
    """`environment` is how pods reach the stores; `applied` is the Job after which the registry knows the views."""

    settings: MaterializationSettings
    namespace: pulumi.Input[str]
    definitions: Definitions
    image: str
    environment: list[Object]
    applied: pulumi.Resource


class Materialization(pulumi.ComponentResource):
    """The online store, loaded: at once with whatever is new, and every night with what came since."""

    loaded: kubernetes.batch.v1.Job

    def __init__(self, name: str, args: MaterializationArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__("feast-eks:index:Materialization", name, {}, opts)
        settings = args.settings
        # Feast writes into tables that the apply Job makes.
        after_apply = pulumi.ResourceOptions(parent=self, depends_on=[args.applied])

        def workload(*arguments: str) -> Workload:
            container = Container(
                name=NAME,
                image=args.image,
                args=["materialize", *arguments],
                environment=args.environment,
                resources=Resources(cpu_millicores=settings.cpu_millicores, memory_mib=settings.memory_mib),
            )
            return Workload(
                name=NAME,
                service_account=MATERIALIZE.name,
                definitions=args.definitions.volume,
                client_labels=MATERIALIZE.client_labels,
                containers=[container.to_kubernetes()],
            )

        deadline_seconds = settings.deadline_minutes * 60
        self.loaded = one_off_job(
            f"{name}-backfill",
            workload("--backfill", "--wait-seconds", str(STORE_SECONDS)),
            name=BACKFILL,
            namespace=args.namespace,
            deadline_seconds=deadline_seconds,
            opts=after_apply,
        )
        kubernetes.batch.v1.CronJob(
            f"{name}-nightly",
            metadata={"name": NAME, "namespace": args.namespace, "labels": labels(NAME)},
            spec=cron_job_spec(
                workload("--overlap-hours", str(settings.late_data_hours)),
                schedule=settings.schedule,
                deadline_seconds=deadline_seconds,
                # At night nobody waits, and a store may be back by then.
                retries=2,
            ),
            opts=after_apply,
        )
        self.register_outputs({})
