"""What the sandbox adds to moto's EKS: clusters that can be connected to, and pod identity associations.

moto knows EKS clusters, but their addresses and authorities are made up, and it has no pod identity. Here every cluster of the API
is the one Kubernetes that the sandbox's kubeconfig names, and associations have the API, the rules and the errors of AWS.
"""

import hashlib
import itertools
import json
import re
import string
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import yaml
from moto.core.responses import ActionResult, EmptyResult
from moto.eks import models, responses, urls
from moto.eks.exceptions import InvalidParameterException, ResourceInUseException, ResourceNotFoundException
from moto.iam.models import iam_backends

Association = dict[str, Any]

KUBERNETES_VERSION = "1.35"
_ROLE_ARN = re.compile(r"arn:aws[a-z-]*:iam::\d{12}:role/\S+")
_ALPHABET = string.ascii_lowercase + string.digits
_CHANGEABLE = ("roleArn", "disableSessionTags")
_SUMMARY = ("clusterName", "namespace", "serviceAccount", "associationArn", "associationId")


def install(kubeconfig: Path) -> None:
    """Extends moto, before its server starts. The kubeconfig is read whenever a cluster is asked for; it may come later."""
    urls.url_paths.update(
        {
            "{0}/clusters/(?P<name>[^/]+)/pod-identity-associations$": urls.response.dispatch,
            "{0}/clusters/(?P<name>[^/]+)/pod-identity-associations/(?P<associationId>[^/]+)$": urls.response.dispatch,
        }
    )
    for operation in (_create, _describe, _list, _update, _delete):
        suffix = "_pod_identity_associations" if operation is _list else "_pod_identity_association"
        setattr(responses.EKSResponse, operation.__name__[1:] + suffix, operation)
    _connect_clusters(kubeconfig)
    _tag_associations()


def make_cluster(name: str, account: str, region: str) -> None:
    """One cluster with its identity provider in IAM, as somebody has made it before the program comes."""
    cluster = models.eks_backends[account][region].create_cluster(
        name,
        role_arn=f"arn:aws:iam::{account}:role/{name}-cluster",
        resources_vpc_config={"subnetIds": ["subnet-1", "subnet-2"]},
        version=KUBERNETES_VERSION,
    )
    iam_backends[account]["aws"].create_open_id_connect_provider(
        url=cluster.identity["oidc"]["issuer"], thumbprint_list=["0" * 40], client_id_list=["sts.amazonaws.com"], tags=[]
    )


# --- Clusters ---------------------------------------------------------------------------------------------------------


def _connect_clusters(kubeconfig: Path) -> None:
    create, describe, remove = (getattr(models.EKSBackend, f"{verb}_cluster") for verb in ("create", "describe", "delete"))

    def create_cluster(self: Any, name: str, *arguments: Any, **others: Any) -> Any:
        cluster = create(self, name, *arguments, **others)
        # One of its own and always the same: trust policies of IRSA name it.
        issuer = hashlib.sha256(cluster.arn.encode()).hexdigest()[:32].upper()
        cluster.identity = {"oidc": {"issuer": f"https://oidc.eks.{self.region_name}.amazonaws.com/id/{issuer}"}}
        cluster.version = others.get("version") or KUBERNETES_VERSION
        return _connected(cluster, kubeconfig)

    def describe_cluster(self: Any, name: str) -> Any:
        return _connected(describe(self, name), kubeconfig)

    def delete_cluster(self: Any, name: str) -> Any:
        cluster = remove(self, name)
        _associations(self).pop(name, None)
        return cluster

    models.EKSBackend.create_cluster = create_cluster
    models.EKSBackend.describe_cluster = describe_cluster
    models.EKSBackend.delete_cluster = delete_cluster


def _connected(cluster: Any, kubeconfig: Path) -> Any:
    if kubeconfig.is_file():
        content = yaml.safe_load(kubeconfig.read_text())
        context = next(entry["context"] for entry in content["contexts"] if entry["name"] == content["current-context"])
        kubernetes = next(entry["cluster"] for entry in content["clusters"] if entry["name"] == context["cluster"])
        cluster.endpoint = kubernetes["server"]
        cluster.certificate_authority = {"data": kubernetes.get("certificate-authority-data", "")}
    return cluster


# --- Pod identity associations ----------------------------------------------------------------------------------------


def _create(self: Any) -> ActionResult:
    backend, cluster = self.eks_backend, self._get_param("name")
    models.EKSBackend.describe_cluster(backend, cluster)
    given = {name: self._get_param(name) for name in ("namespace", "serviceAccount", *_CHANGEABLE)}
    _require_role(cluster, given["roleArn"])
    existing = _associations(backend).setdefault(cluster, {})
    token = self._get_param("clientRequestToken")
    for association in list(existing.values()):
        if token and association["clientRequestToken"] == token:
            return ActionResult({"association": association})
        if all(association[name] == given[name] for name in ("namespace", "serviceAccount")):
            text = f"Association already exists: {association['associationId']}"
            raise ResourceInUseException(clusterName=cluster, nodegroupName=None, addonName=None, message=text)
    number = next(backend.__dict__.setdefault("association_numbers", itertools.count(1)))
    identifier = f"a-{_text_of(f'{cluster}/{number}')}"
    now = datetime.now(UTC)
    association = {
        **{name: value for name, value in given.items() if value is not None},
        "clusterName": cluster,
        "associationId": identifier,
        "associationArn": f"arn:aws:eks:{self.region}:{self.current_account}:podidentityassociation/{cluster}/{identifier}",
        "tags": self._get_param("tags") or {},
        "disableSessionTags": bool(given["disableSessionTags"]),
        "createdAt": now,
        "modifiedAt": now,
        "clientRequestToken": token,
    }
    existing[identifier] = association
    return ActionResult({"association": association})


def _describe(self: Any) -> ActionResult:
    return ActionResult({"association": _existing(self)})


def _list(self: Any) -> ActionResult:
    cluster = self._get_param("name")
    models.EKSBackend.describe_cluster(self.eks_backend, cluster)
    wanted = {name: value for name in ("namespace", "serviceAccount") if (value := self._get_param(name))}
    found = [
        {name: association[name] for name in _SUMMARY}
        for association in list(_associations(self.eks_backend).get(cluster, {}).values())
        if all(association[name] == value for name, value in wanted.items())
    ]
    start, size = int(self._get_param("nextToken") or 0), int(self._get_param("maxResults") or 100)
    following = start + size
    page = {"associations": found[start:following]}
    return ActionResult({**page, "nextToken": str(following)} if following < len(found) else page)


def _update(self: Any) -> ActionResult:
    association = _existing(self)
    given = {name: value for name in _CHANGEABLE if (value := self._get_param(name)) is not None}
    if "roleArn" in given:
        _require_role(association["clusterName"], given["roleArn"])
    association.update(given, modifiedAt=datetime.now(UTC))
    return ActionResult({"association": association})


def _delete(self: Any) -> ActionResult:
    association = _existing(self)
    del _associations(self.eks_backend)[association["clusterName"]][association["associationId"]]
    return ActionResult({"association": association})


def _existing(self: Any) -> Association:
    cluster, identifier = self._get_param("name"), self._get_param("associationId")
    models.EKSBackend.describe_cluster(self.eks_backend, cluster)
    found = _associations(self.eks_backend).get(cluster, {}).get(identifier)
    if found is None:
        raise _not_found(f"The association {identifier} was not found in cluster {cluster}", cluster)
    return found


def _require_role(cluster: str, arn: Any) -> None:
    if not isinstance(arn, str) or not _ROLE_ARN.fullmatch(arn):
        raise InvalidParameterException(
            clusterName=cluster, nodegroupName=None, fargateProfileName=None, addonName=None, message=f"Invalid role ARN: {arn}"
        )


def _associations(backend: Any) -> dict[str, dict[str, Association]]:
    """By cluster and id; kept in moto's backend, so that a reset forgets them."""
    kept: dict[str, dict[str, Association]] = backend.__dict__.setdefault("pod_identity_associations", {})
    return kept


def _text_of(seed: str) -> str:
    digest = hashlib.sha256(seed.encode()).digest()
    return "".join(_ALPHABET[byte % len(_ALPHABET)] for byte in digest[:17])


def _not_found(message: str, cluster: str | None = None) -> ResourceNotFoundException:
    return ResourceNotFoundException(clusterName=cluster, nodegroupName=None, fargateProfileName=None, addonName=None, message=message)


# --- Their tags -------------------------------------------------------------------------------------------------------


def _tag_associations() -> None:
    """The API's three tag operations, for associations; moto has them for clusters."""
    response = responses.EKSResponse
    tag, untag, listed = response.tag_resource, response.untag_resource, response.list_tags_for_resource

    def tag_resource(self: Any) -> Any:
        if (association := _tagged(self)) is None:
            return tag(self)
        association["tags"].update(self._get_param("tags"))
        return EmptyResult()

    def untag_resource(self: Any) -> Any:
        if (association := _tagged(self)) is None:
            return untag(self)
        keys = self._get_param("tagKeys")
        for key in keys if isinstance(keys, list) else [keys]:
            association["tags"].pop(key, None)
        return EmptyResult()

    def list_tags_for_resource(self: Any) -> Any:
        association = _tagged(self)
        return listed(self) if association is None else ActionResult({"tags": association["tags"]})

    response.tag_resource, response.untag_resource, response.list_tags_for_resource = tag_resource, untag_resource, list_tags_for_resource


def _tagged(self: Any) -> Association | None:
    """The association whose tags are meant; None when it is something that moto knows."""
    arn = self._extract_arn_from_path()
    if ":podidentityassociation/" not in arn:
        return None
    for association in _all(self.eks_backend):
        if association["associationArn"] == arn:
            return association
    raise _not_found(f"Resource not found: {json.dumps(arn)}")


def _all(backend: Any) -> Iterator[Association]:
    for by_id in list(_associations(backend).values()):
        yield from list(by_id.values())
