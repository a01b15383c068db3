"""What makes the table of identities true in AWS: a role for each identity that reads the bucket, for its pods only."""

from collections.abc import Sequence
from dataclasses import dataclass

import pulumi
import pulumi_aws as aws

from feast_eks import aws_policies
from feast_eks.cluster import EksCluster
from feast_eks.identities import IDENTITIES, Identity, has_aws_role
from feast_eks.settings import Settings
from feast_eks.wires import computed

PATH = "/feast-eks/"
"""Where the roles are in IAM: whoever deploys needs rights over this path only."""


@dataclass(frozen=True, kw_only=True)
class AwsAccessArgs:
    """`cluster` is where the pods run, None where they have no roles; `sources` are the bucket's keys that they read."""

    settings: Settings
    cluster: EksCluster | None
    bucket_name: pulumi.Output[str]
    key_arn: pulumi.Output[str] | None
    sources: Sequence[str]


class AwsAccess(pulumi.ComponentResource):
    """Roles that read the sources, each bound to one service account."""

    role_arns: dict[str, pulumi.Output[str]]
    """Roles by identity, where a service account must name its role."""
    granted: list[pulumi.Resource]
    """A pod that starts before these has no access, and does not get it later: it ends, and its Job tries again."""

    def __init__(self, name: str, args: AwsAccessArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__("feast-eks:index:AwsAccess", name, {}, opts)
        self._args = args
        self.role_arns, self.granted = {}, []
        for identity in IDENTITIES:
            if args.cluster and has_aws_role(identity, args.settings, args.sources):
                self._grant(identity, args.cluster)
        self.register_outputs({})

    def _grant(self, identity: Identity, cluster: EksCluster) -> None:
        args, settings, child = self._args, self._args.settings, pulumi.ResourceOptions(parent=self)
        role = aws.iam.Role(
            f"{identity.name}-role",
            path=PATH,
            description=f"{identity.name} of the feature store in {cluster.name}/{settings.namespace}",
            assume_role_policy=self._trust(identity, cluster),
            permissions_boundary=settings.aws.permissions_boundary_arn,
            opts=child,
        )
        reads = computed(aws_policies.read_sources, bucket=args.bucket_name, sources=list(args.sources), region=settings.aws.region)
        self.granted.append(aws.iam.RolePolicy(f"{identity.name}-reads-sources", role=role.name, policy=reads, opts=child))
        if args.key_arn:
            # A policy of its own: a key that is yet to be made must not hide the rest of what the role may do from a preview.
            decrypts = computed(aws_policies.decrypt, key_arn=args.key_arn, region=settings.aws.region)
            self.granted.append(aws.iam.RolePolicy(f"{identity.name}-decrypts", role=role.name, policy=decrypts, opts=child))
        if settings.workload_identity == "irsa":
            self.role_arns[identity.name] = role.arn
        else:
            self.granted.append(
                aws.eks.PodIdentityAssociation(
                    f"{identity.name}-pod-identity",
                    cluster_name=cluster.name,
                    namespace=settings.namespace,
                    service_account=identity.name,
                    role_arn=role.arn,
                    disable_session_tags=False,  # the role's trust asks for them
                    opts=child,
                )
            )

    def _trust(self, identity: Identity, cluster: EksCluster) -> str:
        namespace, account = self._args.settings.namespace, identity.name
        if self._args.settings.workload_identity == "irsa":
            return aws_policies.irsa_trust(cluster_arn=cluster.arn, issuer=cluster.issuer, namespace=namespace, service_account=account)
        return aws_policies.pod_identity_trust(cluster_arn=cluster.arn, namespace=namespace, service_account=account)
