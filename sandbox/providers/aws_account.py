"""Functions about where the program is: account, region, partition."""

from collections.abc import Callable, Mapping
from typing import Any

from sandbox.providers.aws_cloud import Cloud, Inputs


def _caller_identity(cloud: Cloud, _arguments: Mapping[str, Any]) -> Inputs:
    identity = cloud.client("sts").get_caller_identity()
    account = identity["Account"]
    return {"accountId": account, "id": account, "arn": identity["Arn"], "userId": identity["UserId"]}


def _region(cloud: Cloud, _arguments: Mapping[str, Any]) -> Inputs:
    region = cloud.region
    return {"region": region, "name": region, "id": region, "description": region, "endpoint": f"ec2.{region}.amazonaws.com"}


def _partition(_cloud: Cloud, _arguments: Mapping[str, Any]) -> Inputs:
    return {"partition": "aws", "dnsSuffix": "amazonaws.com", "id": "aws", "reverseDnsPrefix": "com.amazonaws"}


FUNCTIONS: dict[str, Callable[[Cloud, Mapping[str, Any]], Inputs]] = {
    "aws:index/getCallerIdentity:getCallerIdentity": _caller_identity,
    "aws:index/getRegion:getRegion": _region,
    "aws:index/getPartition:getPartition": _partition,
}
