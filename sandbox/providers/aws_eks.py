"""EKS as the program uses it: a cluster that exists is looked up, and service accounts of it are given IAM roles."""

# ruff: noqa: D101, D102 - each class is one AWS resource; what its methods do is said at Kind

import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from botocore.exceptions import ClientError

from sandbox.providers import wire
from sandbox.providers.aws_cloud import Cloud, Inputs, Kind, code, gone_if, tags_of
from sandbox.providers.plugin import InvalidInput, ProviderError

_MISSING = "ResourceNotFoundException"
_ARN = re.compile(r"arn:aws[a-z-]*:iam::\d{12}:role/\S+")


class PodIdentityAssociation(Kind):
    required = ("clusterName", "namespace", "serviceAccount", "roleArn")
    optional = ("disableSessionTags", "tags")
    force_new = ("clusterName", "namespace", "serviceAccount")
    readable = (*required, *optional)
    taggable = True

    def problems(self, inputs: Inputs) -> Iterator[InvalidInput]:
        value = inputs.get("roleArn")
        if isinstance(value, str) and not wire.is_unknown(value) and not _ARN.fullmatch(value):
            yield InvalidInput("roleArn", f"{value!r} is no ARN of a role")

    def create(self, cloud: Cloud, inputs: Inputs) -> str:
        created = cloud.client("eks").create_pod_identity_association(
            **{name: inputs[name] for name in self.required},
            disableSessionTags=bool(inputs.get("disableSessionTags")),
            tags=tags_of(cloud, inputs),
        )
        return str(created["association"]["associationId"])

    def update(self, cloud: Cloud, resource_id: str, inputs: Inputs) -> None:
        client = cloud.client("eks")
        changed = client.update_pod_identity_association(
            clusterName=inputs["clusterName"],
            associationId=resource_id,
            roleArn=inputs["roleArn"],
            disableSessionTags=bool(inputs.get("disableSessionTags")),
        )
        arn, present = changed["association"]["associationArn"], changed["association"].get("tags") or {}
        wanted = tags_of(cloud, inputs)
        if surplus := sorted(present.keys() - wanted.keys()):
            client.untag_resource(resourceArn=arn, tagKeys=surplus)
        if wanted:
            client.tag_resource(resourceArn=arn, tags=wanted)

    def read(self, cloud: Cloud, resource_id: str, inputs: Inputs) -> Inputs:
        live = self._get(cloud, resource_id, inputs)
        found = {name: live[name] for name in self.required}
        if live.get("disableSessionTags"):
            found["disableSessionTags"] = True
        wanted = inputs.get("tags") or {}
        tags = {key: value for key, value in live.get("tags", {}).items() if key in wanted or cloud.default_tags.get(key) != value}
        return {**found, **({"tags": tags} if tags else {})}

    def delete(self, cloud: Cloud, resource_id: str, inputs: Inputs) -> None:
        with gone_if(_MISSING):
            cloud.client("eks").delete_pod_identity_association(clusterName=inputs["clusterName"], associationId=resource_id)

    def outputs(self, cloud: Cloud, resource_id: str, inputs: Inputs) -> Inputs:
        live = self._get(cloud, resource_id, inputs)
        return {
            "associationArn": live["associationArn"],
            "associationId": resource_id,
            "disableSessionTags": bool(live.get("disableSessionTags")),
            "region": cloud.region,
        }

    def _get(self, cloud: Cloud, resource_id: str, inputs: Inputs) -> Mapping[str, Any]:
        with gone_if(_MISSING):
            answer = cloud.client("eks").describe_pod_identity_association(clusterName=inputs["clusterName"], associationId=resource_id)
        association: Mapping[str, Any] = answer["association"]
        return association


KINDS: dict[str, Kind] = {"aws:eks/podIdentityAssociation:PodIdentityAssociation": PodIdentityAssociation()}


def _cluster(cloud: Cloud, arguments: Mapping[str, Any]) -> Inputs:
    name = arguments.get("name")
    if not name:
        raise InvalidInput("name", "is missing: which EKS cluster?")
    try:
        live = cloud.client("eks").describe_cluster(name=name)["cluster"]
    except ClientError as error:
        if code(error) != _MISSING:
            raise
        raise ProviderError(f"reading EKS Cluster ({name}): couldn't find resource in {cloud.region}") from None
    network, access = live.get("kubernetesNetworkConfig") or {}, live.get("resourcesVpcConfig") or {}
    logs = [kind for group in (live.get("logging") or {}).get("clusterLogging", []) if group["enabled"] for kind in group["types"]]
    return {
        "id": name,
        "name": name,
        "arn": live["arn"],
        "region": cloud.region,
        "endpoint": live["endpoint"],
        "certificateAuthorities": [{"data": live["certificateAuthority"]["data"]}],
        "identities": [{"oidcs": [{"issuer": live["identity"]["oidc"]["issuer"]}]}],
        "status": live["status"],
        "version": live["version"],
        "platformVersion": live.get("platformVersion", ""),
        "roleArn": live["roleArn"],
        "createdAt": live["createdAt"].isoformat(),
        "enabledClusterLogTypes": logs,
        "kubernetesNetworkConfigs": [{"ipFamily": "ipv4", "serviceIpv4Cidr": network.get("serviceIpv4Cidr", "")}],
        "vpcConfig": {
            "subnetIds": access.get("subnetIds", []),
            "securityGroupIds": access.get("securityGroupIds", []),
            "endpointPublicAccess": bool(access.get("endpointPublicAccess", True)),
            "endpointPrivateAccess": bool(access.get("endpointPrivateAccess", False)),
            "publicAccessCidrs": access.get("publicAccessCidrs", ["0.0.0.0/0"]),
        },
        "tags": live.get("tags") or {},
    }


FUNCTIONS: dict[str, Callable[[Cloud, Mapping[str, Any]], Inputs]] = {"aws:eks/getCluster:getCluster": _cluster}
