"""The image check: a Job that fails soon where a node cannot have the runtime image, and says why."""

from dataclasses import dataclass

import pulumi
import pulumi_kubernetes as kubernetes

from feast_eks.identities import IMAGE_CHECK
from feast_eks.jobs import one_off_job
from feast_eks.workload import Container, Resources, Workload

NAME = "image-check"
SCHEDULED_SECONDS = 600
"""How long the pod may wait for a node; a new machine takes minutes."""

RESOURCES = Resources(cpu_millicores=50, memory_mib=128)


@dataclass(frozen=True, kw_only=True)
class ImageCheckArgs:
    """`pull_seconds`: from the moment a node has the pod until the image has run there. `run`: what its success is for."""

    image: str
    run: str
    pull_seconds: int
    namespace: pulumi.Input[str]


class ImageCheck(pulumi.ComponentResource):
    """Done when a node had the image and it has run once. It goes on while the stores come up, and runs again before the other Jobs do.

    A pod whose image cannot be pulled never fails by itself, and Pulumi would wait for it until the Job's deadline. The pod's own
    deadline ends it, and counts from the moment a node has it: waiting for a node is not a reason to fail.
    """

    passed: kubernetes.batch.v1.Job

    def __init__(self, name: str, args: ImageCheckArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__("feast-eks:index:ImageCheck", name, {}, opts)
        container = Container(name=NAME, image=args.image, args=["--help"], environment=[], resources=RESOURCES)
        self.passed = one_off_job(
            f"{name}-job",
            Workload(
                name=NAME,
                service_account=IMAGE_CHECK.name,
                definitions=None,
                client_labels={},
                containers=[container.to_kubernetes()],
                extra={"activeDeadlineSeconds": args.pull_seconds},
            ),
            name=NAME,
            subject=args.run,
            namespace=args.namespace,
            deadline_seconds=SCHEDULED_SECONDS + args.pull_seconds,
            opts=pulumi.ResourceOptions(parent=self),
        )
        self.register_outputs({})
