"""The namespace: hostile to pods that ask for too much, and closed to the network."""

from dataclasses import dataclass

import pulumi
import pulumi_kubernetes as kubernetes

from feast_eks.network import metadata, network_policies
from feast_eks.settings import Settings
from feast_eks.workload import labels

POD_SECURITY = "restricted"


@dataclass(frozen=True, kw_only=True)
class NamespaceArgs:
    """`settings`: the whole environment, because the network table spans all of it."""

    settings: Settings


class Namespace(pulumi.ComponentResource):
    """A namespace that enforces Pod Security `restricted` and denies every connection that `network` does not list."""

    name: pulumi.Output[str]

    def __init__(self, name: str, args: NamespaceArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__("feast-eks:index:Namespace", name, {}, opts)
        settings = args.settings
        namespace = kubernetes.core.v1.Namespace(
            f"{name}-namespace",
            metadata={
                "name": settings.namespace,
                "labels": {
                    **labels("namespace"),
                    **{f"pod-security.kubernetes.io/{mode}": POD_SECURITY for mode in ("enforce", "audit", "warn")},
                    "pod-security.kubernetes.io/enforce-version": "latest",
                },
            },
            opts=pulumi.ResourceOptions(parent=self, protect=settings.protect_data),
        )
        for policy, spec in network_policies(settings).items():
            kubernetes.networking.v1.NetworkPolicy(
                policy,
                metadata=metadata(policy, settings.namespace),
                spec=spec,
                # The name is a plain value, so nothing else shows that the namespace comes first.
                opts=pulumi.ResourceOptions(parent=self, depends_on=[namespace]),
            )
        self.name = namespace.metadata.name
        self.register_outputs({"name": self.name})
