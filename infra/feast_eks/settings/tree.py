"""What people choose for one environment: the tree of all settings.

Every default is safe for production; a stack file is the list of differences, each with its reason. Nothing secret
belongs here: passwords are generated, and what a person brings is a secret config value of its own (`secrets`).
"""

from collections.abc import Iterator
from typing import Literal

from pydantic import Field

from feast_eks.settings.rules import (
    AccountId,
    ContextName,
    DnsLabel,
    EksName,
    Labels,
    NamespaceName,
    PolicyArn,
    ProjectPath,
    Region,
    Tags,
    WebPage,
)
from feast_eks.settings.section import Contradiction, Section
from feast_eks.settings.sources import RuntimeImageSettings
from feast_eks.settings.stores import OfflineStoreSettings, OnlineStoreSettings, RegistrySettings
from feast_eks.settings.workloads import FeatureServerSettings, MaterializationSettings, SkewProbeSettings, SmokeTestSettings

MOST_OBJECT_TAGS = 10
"""https://docs.aws.amazon.com/AmazonS3/latest/userguide/object-tagging.html"""


class ClusterSettings(Section):
    """Which Kubernetes: an EKS cluster by name, or a context of the kubeconfig; exactly one of them."""

    eks_name: EksName | None = Field(default=None, description="EKS cluster, in the account and region of `aws`.")
    kube_context: ContextName | None = Field(default=None, description="Context in the kubeconfig (KUBECONFIG or ~/.kube/config).")

    def contradictions(self) -> Iterator[Contradiction]:
        """One way to the cluster."""
        if self.eks_name and self.kube_context:
            yield Contradiction(key="kube_context", rule="eks_name or kube_context, not both", remedy="remove one of them")
        if not self.eks_name and not self.kube_context:
            yield Contradiction(key="eks_name", rule="eks_name or kube_context", remedy="name the EKS cluster")


class AwsSettings(Section):
    """Which AWS account and region, and how far the roles made in it may ever reach."""

    region: Region = Field(default="eu-west-1", description="Region of the bucket, the key and the cluster.")
    account_id: AccountId | None = Field(default=None, description="The only account that the program acts on; any when left out.")
    permissions_boundary_arn: PolicyArn | None = Field(default=None, description="IAM policy that bounds every role the program makes.")

    def contradictions(self) -> Iterator[Contradiction]:
        """A boundary is a policy of the same account, or AWS's own."""
        if self.account_id and self.permissions_boundary_arn:
            owner = self.permissions_boundary_arn.split(":")[4]
            if owner not in {self.account_id, "aws"}:
                yield Contradiction(
                    key="permissions_boundary_arn",
                    rule=f"a policy of the account {self.account_id}, where the roles are; this one is of {owner}",
                    remedy="name that account's policy, or correct account_id",
                )


class MonitoringSettings(Section):
    """Metrics of every part, alerts and a dashboard, for the Prometheus operator."""

    enabled: bool = Field(default=True, description="Needs the operator's resource types in the cluster (ServiceMonitor, PrometheusRule).")
    namespace: DnsLabel = Field(default="monitoring", description="Where Prometheus runs: what may read metrics.")
    labels: Labels = Field(
        default={"release": "prometheus"}, description="Labels by which Prometheus selects ServiceMonitors and PrometheusRules."
    )
    runbook_url: WebPage | None = Field(
        default=None, description="Where docs/operations.md is published; alerts then link to it, else they name its heading."
    )


class Settings(Section):
    """One environment."""

    cluster: ClusterSettings
    aws: AwsSettings = AwsSettings()
    tags: Tags = Field(default={}, description="On every AWS resource, e.g. {environment: prod, owner: team, cost-center: '42'}.")
    workload_identity: Literal["pod_identity", "irsa", "static"] = Field(
        default="pod_identity",
        description="How pods reach the bucket: EKS Pod Identity, IAM roles for service accounts, or a key of an S3-compatible store.",
    )
    runtime_image: RuntimeImageSettings = Field(description="The image of all Feast pods; its tag defaults to the digest of runtime/.")
    feature_repo: ProjectPath = Field(
        default="feature_repo", description="Directory of the feature definitions and their contract, relative to the project."
    )
    namespace: NamespaceName = Field(default="feast", description="Kubernetes namespace, made by the program.")
    protect_data: bool = Field(default=True, description="Refuse to delete or replace what holds data.")
    offline_store: OfflineStoreSettings = OfflineStoreSettings()
    registry: RegistrySettings = RegistrySettings()
    online_store: OnlineStoreSettings = OnlineStoreSettings()
    feature_server: FeatureServerSettings = FeatureServerSettings()
    materialization: MaterializationSettings = MaterializationSettings()
    skew_probe: SkewProbeSettings = SkewProbeSettings()
    smoke_test: SmokeTestSettings = SmokeTestSettings()
    monitoring: MonitoringSettings = MonitoringSettings()

    def contradictions(self) -> Iterator[Contradiction]:
        """What no single section sees."""
        for rule in RULES_BETWEEN_SECTIONS:
            yield from rule(self)


def _roles_need_eks(settings: Settings) -> Iterator[Contradiction]:
    if settings.workload_identity != "static" and not settings.cluster.eks_name:
        yield Contradiction(
            key="workload_identity",
            rule=f"{settings.workload_identity} works on EKS only, and needs cluster.eks_name",
            remedy="name the cluster by eks_name, or set workload_identity: static with an S3-compatible offline_store.endpoint_url",
        )


def _roles_are_of_aws(settings: Settings) -> Iterator[Contradiction]:
    if settings.workload_identity != "static" and settings.offline_store.endpoint_url:
        yield Contradiction(
            key="workload_identity",
            rule=f"offline_store.endpoint_url is an S3-compatible store, which knows no AWS roles ({settings.workload_identity})",
            remedy="set workload_identity: static, or remove the endpoint",
        )


def _keys_are_for_others(settings: Settings) -> Iterator[Contradiction]:
    if settings.workload_identity == "static" and not settings.offline_store.endpoint_url:
        yield Contradiction(
            key="workload_identity",
            rule="static is for S3-compatible stores: in AWS pods have roles, and no key that could leak",
            remedy="set workload_identity: pod_identity (or irsa), or offline_store.endpoint_url",
        )


def _key_is_in_the_region(settings: Settings) -> Iterator[Contradiction]:
    if (arn := settings.offline_store.kms_key_arn) and (region := arn.split(":")[3]) != settings.aws.region:
        yield Contradiction(
            key="offline_store.kms_key_arn",
            rule=f"a key in the bucket's region, {settings.aws.region}; this one is in {region}",
            remedy="name a key of that region, or correct aws.region",
        )


def _tags_fit_the_sample(settings: Settings) -> Iterator[Contradiction]:
    if settings.offline_store.sample_data and len(settings.tags) > MOST_OBJECT_TAGS:
        yield Contradiction(
            key="tags",
            rule=f"at most {MOST_OBJECT_TAGS} tags with offline_store.sample_data: an S3 object carries no more",
            remedy="remove some tags, or sample_data",
        )


def _sample_is_no_history(settings: Settings) -> Iterator[Contradiction]:
    if settings.offline_store.sample_data and settings.protect_data:
        yield Contradiction(
            key="offline_store.sample_data",
            rule="made-up data never overwrites data that is protected",
            remedy="remove sample_data, or set protect_data: false where nothing is worth keeping",
        )


def _watched_from_outside(settings: Settings) -> Iterator[Contradiction]:
    if settings.monitoring.enabled and settings.monitoring.namespace == settings.namespace:
        yield Contradiction(
            key="monitoring.namespace",
            rule="Prometheus runs in another namespace: this one is closed to all but the feature store",
            remedy="name the namespace of Prometheus",
        )


RULES_BETWEEN_SECTIONS = (
    _roles_need_eks,
    _roles_are_of_aws,
    _keys_are_for_others,
    _key_is_in_the_region,
    _tags_fit_the_sample,
    _sample_is_no_history,
    _watched_from_outside,
)
