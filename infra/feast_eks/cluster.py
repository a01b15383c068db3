"""Which Kubernetes the feature store runs on, as the one provider that everything else inherits."""

from dataclasses import asdict, dataclass

import pulumi
import pulumi_aws as aws
import pulumi_kubernetes as kubernetes

from feast_eks.kubeconfig import eks_kubeconfig
from feast_eks.settings import ClusterSettings

BEHAVIOUR = {
    # By default Pulumi replaces them, which the protection of a store refuses: a size of Redis stands in its ConfigMap.
    "enable_config_map_mutable": True,
    "enable_secret_mutable": True,
    # What another tool has touched (k9s, Lens, Argo CD) would be a conflict for ever: the program's values win.
    "enable_patch_force": True,
    # What a killed update has made and an older state does not know would be "already exists" for ever: it is taken over.
    "upsert_existing_objects": True,
}


@dataclass(frozen=True, kw_only=True)
class EksCluster:
    """What roles must know of the cluster that pods run in: its name, its ARN, and who signs its service account tokens."""

    name: str
    arn: str
    issuer: str


@dataclass(frozen=True, kw_only=True)
class RequiredKinds:
    """What the cluster must know beside Kubernetes' own kinds, as `group/version/Kind`, and what is said where it does not."""

    setting: str
    kinds: tuple[str, ...]
    rule: str
    remedy: str


@dataclass(frozen=True, kw_only=True)
class ClusterArgs:
    """`aws` is where a cluster of that name is looked for; `required` are kinds that something will need."""

    settings: ClusterSettings
    region: str
    aws: aws.Provider
    required: RequiredKinds | None


class Cluster(pulumi.ComponentResource):
    """A connection to a cluster that already exists and knows what is needed: whatever depends on it is not made otherwise."""

    provider: kubernetes.Provider
    """Pass it on with `ResourceOptions(providers=[…])`; nothing else makes one."""
    eks: EksCluster | None
    """None where the cluster is named by a kube context."""

    def __init__(self, name: str, args: ClusterArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__("feast-eks:index:Cluster", name, {}, opts)
        child = pulumi.ResourceOptions(parent=self)
        self.eks = None
        if args.settings.eks_name:
            found = self._find(args.settings.eks_name, args)
            self.eks = EksCluster(name=args.settings.eks_name, arn=found.arn, issuer=found.identities[0].oidcs[0].issuer)
            self.provider = kubernetes.Provider(
                f"{name}-kubernetes",
                kubeconfig=eks_kubeconfig(
                    name=args.settings.eks_name,
                    region=args.region,
                    endpoint=found.endpoint,
                    certificate_authority=found.certificate_authorities[0].data,
                ),
                # Says which cluster this is, so that a renewed kubeconfig never looks like another cluster (and replaces everything).
                cluster_identifier=found.arn,
                **BEHAVIOUR,
                opts=child,
            )
        else:
            self.provider = kubernetes.Provider(
                f"{name}-kubernetes",
                context=args.settings.kube_context,
                cluster_identifier=args.settings.kube_context,
                **BEHAVIOUR,
                opts=child,
            )
        if args.required:
            kubernetes.helm.v4.Chart(
                "required-kinds",
                chart="./feast_eks/required_kinds",
                values=asdict(args.required),
                opts=pulumi.ResourceOptions(parent=self, provider=self.provider),
            )
        self.register_outputs({})

    def _find(
        self, eks_name: str, args: ClusterArgs
    ) -> "aws.eks.GetClusterResult":  # quoted: evaluating it would import the larger part of the SDK
        """Ask at once, in previews too: with an unknown kubeconfig they would hide what is in the charts."""
        try:
            return aws.eks.get_cluster(name=eks_name, opts=pulumi.InvokeOptions(parent=self, provider=args.aws))
        except Exception as error:  # noqa: BLE001 - the SDK raises nothing narrower
            raise pulumi.RunError(
                f"cluster.eks_name: {eks_name!r} was not found in {args.region}: {error}\n"
                "      remedy: correct the name, aws.region or aws.account_id, or take the credentials of that account"
            ) from None
