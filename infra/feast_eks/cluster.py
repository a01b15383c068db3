"""Which Kubernetes the feature store runs on, as the one provider that everything else inherits."""

import pulumi
import pulumi_kubernetes as kubernetes

from feast_eks.settings import ClusterSettings


class Cluster(pulumi.ComponentResource):
    """A connection to a cluster that already exists."""

    provider: kubernetes.Provider
    """Pass it on with `ResourceOptions(providers=[…])`; nothing else makes one."""

    def __init__(self, name: str, settings: ClusterSettings, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__("feast-eks:index:Cluster", name, {}, opts)
        self.provider = kubernetes.Provider(
            f"{name}-kubernetes",
            context=settings.kube_context,
            # Says which cluster this is, so that a renewed kubeconfig never looks like another cluster (and replaces everything).
            cluster_identifier=settings.kube_context,
            opts=pulumi.ResourceOptions(parent=self),
        )
        self.register_outputs({})
