"""Materialization: the Job that loads new views, and the CronJobs that keep every view fresh.

Views whose tag `materialization_schedule` asks for it are loaded apart, each by a CronJob of its own; all others together.
"""

from dataclasses import dataclass

import pulumi
import pulumi_kubernetes as kubernetes

from feast_eks.contract import Contract
from feast_eks.definitions import Definitions
from feast_eks.identities import MATERIALIZE
from feast_eks.jobs import STORE_SECONDS, cron_job_spec, one_off_job
from feast_eks.scheduled_loads import NAME, scheduled_loads
from feast_eks.settings import MaterializationSettings
from feast_eks.workload import Container, Object, Resources, Workload, labels

BACKFILL = "backfill"


@dataclass(frozen=True, kw_only=True)
class MaterializationArgs:
    """`environment` is how pods reach the stores; `applied` is the Job after which the registry knows the views."""

    settings: MaterializationSettings
    contract: Contract
    namespace: pulumi.Input[str]
    definitions: Definitions
    image: str
    environment: list[Object]
    applied: pulumi.Resource


class Materialization(pulumi.ComponentResource):
    """The online store, loaded: at once with whatever is new, and by their schedules with what came since."""

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

        self.loaded = one_off_job(
            f"{name}-backfill",
            workload("--backfill", "--wait-seconds", str(STORE_SECONDS)),
            name=BACKFILL,
            namespace=args.namespace,
            deadline_seconds=settings.deadline_minutes * 60,
            opts=after_apply,
        )
        for load in scheduled_loads(settings, args.contract):
            kubernetes.batch.v1.CronJob(
                f"{name}-{load.part}",
                metadata={"name": load.name, "namespace": args.namespace, "labels": labels(NAME)},
                spec=cron_job_spec(
                    workload("--overlap-hours", str(settings.late_data_hours), *load.arguments),
                    schedule=load.settings.schedule,
                    deadline_seconds=load.settings.deadline_minutes * 60,
                    # At night nobody waits, and a store may be back by then.
                    retries=2,
                ),
                opts=after_apply,
            )
        self.register_outputs({})
