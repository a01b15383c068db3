"""The right program goes to the right place with its protections on: rules of integrity of the deployment itself."""

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any

import yaml

from feast_eks_policies import configuration
from feast_eks_policies.rule import Resource, ResourceRule, Rule
from feast_eks_policies.values import UNKNOWN, get, items, mapping, parsed

TAGGABLE = (
    "aws:s3/bucket:Bucket",
    "aws:s3/bucketV2:BucketV2",
    "aws:iam/role:Role",
    "aws:iam/policy:Policy",
    "aws:iam/user:User",
    "aws:iam/openIdConnectProvider:OpenIdConnectProvider",
    "aws:kms/key:Key",
    "aws:eks/*",
    "aws:ecr/repository:Repository",
    "aws:rds/instance:Instance",
    "aws:rds/cluster:Cluster",
    "aws:elasticache/replicationGroup:ReplicationGroup",
    "aws:dynamodb/table:Table",
    "aws:efs/fileSystem:FileSystem",
    "aws:secretsmanager/secret:Secret",
    "aws:ec2/instance:Instance",
    "aws:ec2/vpc:Vpc",
    "aws:ec2/subnet:Subnet",
    "aws:ec2/securityGroup:SecurityGroup",
    "aws:lambda/function:Function",
    "aws:sqs/queue:Queue",
    "aws:sns/topic:Topic",
    "aws:cloudwatch/logGroup:LogGroup",
)
WITHOUT_TAGS = ("aws:eks/accessPolicyAssociation:*", "aws:eks/clusterVersion*")
KUBECONFIG_SECRETS = ("token", "password", "client-key-data", "auth-provider")

SECURITY_FIELDS = frozenset(
    {
        *("securityContext", "image", "imagePullSecrets", "serviceAccount", "serviceAccountName", "automountServiceAccountToken"),
        *("hostNetwork", "hostPID", "hostIPC", "volumes", "values", "data", "stringData"),
        *("policyTypes", "ingress", "egress", "podSelector", "rules", "roleRef", "subjects"),
        *("policy", "policyArn", "inlinePolicies", "managedPolicyArns", "assumeRolePolicy", "permissionsBoundary"),
        *("acl", "rule", "versioningConfiguration", "serverSideEncryptionConfiguration", "forceDestroy", "enableKeyRotation"),
        *("blockPublicAcls", "blockPublicPolicy", "ignorePublicAcls", "restrictPublicBuckets"),
        *("allowedAccountIds", "kubeconfig", "context"),
    }
)
"""Fields that, ignored, let a program say one thing and the cloud do another."""

HOLDS_SECURITY_FIELDS = frozenset({"*", "spec", "template", "jobTemplate", "containers", "initContainers", "ephemeralContainers"})


def _required_tags(resource: Resource) -> Iterator[str]:
    if resource.is_a(*WITHOUT_TAGS):
        return
    found: dict[str, Any] = {}
    for tags in (
        get(parsed(resource.provider.props.get("defaultTags")), "tags") if resource.provider else None,
        resource.props.get("tagsAll"),
        resource.props.get("tags"),
    ):
        if tags is UNKNOWN:
            return
        found.update(mapping(tags))
    if missing := [key for key in resource.settings["keys"] if not found.get(key)]:
        yield f"tags lack {', '.join(missing)}"


def _account_region_pinned(resource: Resource) -> Iterator[str]:
    accounts = parsed(resource.props.get("allowedAccountIds"))
    if accounts is not UNKNOWN and not items(accounts):
        yield "allowedAccountIds is not set: the credentials at hand decide which account is changed"
    if not resource.props.get("region"):
        yield "region is not set: the environment at hand decides where resources are made"
    if parsed(resource.props.get("skipRequestingAccountId")) is True:
        yield "skipRequestingAccountId is true, so allowedAccountIds is never compared"


def _no_context_drift(resource: Resource) -> Iterator[str]:
    if resource.type != "pulumi:providers:kubernetes":
        if resource.provider and resource.provider.is_default:
            yield "goes through the default provider, to whatever cluster the kubeconfig at hand points to"
        return
    if resource.name.startswith("default"):
        return  # reported by each resource that goes through it
    kubeconfig = resource.props.get("kubeconfig")
    if not kubeconfig and not resource.props.get("context"):
        yield "neither kubeconfig nor context is set: the kubeconfig at hand decides which cluster is changed"
    for field in _literal_credentials(kubeconfig):
        yield f"kubeconfig carries a literal {field}, which stays in the state and goes stale"


def _literal_credentials(kubeconfig: Any) -> Iterator[str]:
    if not isinstance(kubeconfig, str):
        return
    try:
        document = json.loads(kubeconfig) if kubeconfig.lstrip().startswith("{") else yaml.safe_load(kubeconfig)
    except (ValueError, yaml.YAMLError):
        return
    for user in items(get(document, "users")):
        for field in KUBECONFIG_SECRETS:
            if get(user, "user", field):
                yield field


def _no_ignored_security(resource: Resource) -> Iterator[str]:
    for path in resource.ignore_changes:
        segments = [segment.strip("\"'") for segment in re.split(r"[.\[\]]+", path) if segment]
        fields = [segment for segment in segments if not segment.isdigit()]
        if SECURITY_FIELDS & set(fields) or (fields and fields[-1] in HOLDS_SECURITY_FIELDS):
            yield f"ignoreChanges hides changes of {path}"
        elif resource.is_a("kubernetes:core/v1:Namespace") and fields[-1:] in (["metadata"], ["labels"]):
            yield f"ignoreChanges hides changes of {path}, which hold the namespace's Pod Security level"


def _config_matches_stack(resource: Resource) -> Iterator[str]:
    from feast_eks_policies import RULES  # noqa: PLC0415 - the table of contents imports this module

    environment = resource.settings["environment"]
    stack = resource.stack.rpartition("/")[2]
    if not environment:
        yield f"no environment's configuration was given: pass --policy-pack-config policies/config/{stack}.json"
    elif environment != stack:
        yield f"the configuration is for {environment}, the stack is {stack}: pass --policy-pack-config policies/config/{stack}.json"
    else:
        rules: Mapping[str, Rule] = {rule.name: rule for rule in RULES}
        yield from configuration.problems(configuration.DIRECTORY / f"{environment}.json", rules)


RULES: tuple[Rule, ...] = (
    ResourceRule(
        name="required-tags",
        description="Whoever finds an AWS resource can tell whose it is, what it costs whom, and how sensitive it is.",
        harm="integrity",
        severity="low",
        remedy="set feast-eks:tags, which become the provider's default tags",
        types=TAGGABLE,
        options={"keys": ("environment", "owner", "cost-center", "service", "data-classification")},
        check=_required_tags,
    ),
    ResourceRule(
        name="account-region-pinned",
        description="AWS resources go to the account and region that the stack names, whoever deploys it.",
        harm="integrity",
        severity="high",
        remedy="set feast-eks:aws.account_id and region; elsewhere allowedAccountIds and region of the aws provider",
        types=("pulumi:providers:aws",),
        check=_account_region_pinned,
    ),
    ResourceRule(
        name="no-cluster-context-drift",
        description="Kubernetes resources go to the cluster that the program names, with credentials that are made anew each time.",
        harm="integrity",
        severity="high",
        remedy="pass the provider of feast_eks.cluster, whose kubeconfig asks AWS for a token, or name a context",
        types=("kubernetes:*", "pulumi:providers:kubernetes"),
        check=_no_context_drift,
    ),
    ResourceRule(
        name="no-ignore-security",
        description="No resource ignores changes of what keeps it safe.",
        harm="integrity",
        severity="high",
        remedy="ignore the one harmless field that something else owns, as in spec.replicas",
        types=("*",),
        check=_no_ignored_security,
    ),
    ResourceRule(
        name=configuration.STACK_RULE,
        description="The levels in force are those of the stack's own environment, and every one of them means something.",
        harm="integrity",
        severity="critical",
        remedy="give the stack's own configuration, and correct it with the names in docs/policies.md",
        types=("pulumi:pulumi:Stack",),
        options={"environment": ""},
        check=_config_matches_stack,
    ),
)
