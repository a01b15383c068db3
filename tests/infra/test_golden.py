"""What is rendered, by golden files whose every byte is reviewed. UPDATE_GOLDEN=1 writes them anew; their diff is the review."""

import json
import os

import pytest
import yaml

from feast_eks import aws_policies, network
from feast_eks.addresses import feature_server_url, online_store_domain
from feast_eks.feature_store_yaml import client_feature_store_yaml, feature_store_yaml
from feast_eks.identities import IDENTITIES, redis_acl, store_environment
from feast_eks.kubeconfig import eks_kubeconfig
from feast_eks.offline_store import offline_store_environment
from feast_eks.online_store import online_store_values
from feast_eks.registry import registry_values
from tests.infra.engine import ISSUER, KEY_ARN, PROJECT
from tests.infra.modes import CONTRACT, MODES, settings

GOLDEN = PROJECT / "tests" / "infra" / "golden"
REGION = "eu-west-1"
CLUSTER_ARN = "arn:aws:eks:eu-west-1:123456789012:cluster/somewhere"


class PlainDumper(yaml.SafeDumper):
    """Without `&id001`: what stands in two places is written in both."""

    def ignore_aliases(self, data):
        return True


def as_yaml(document):
    return yaml.dump(document, Dumper=PlainDumper, sort_keys=False, width=140)


def connections(mode):
    """The network matrix as one reads it."""

    def side(peer):
        (kind,) = peer.kubernetes[0]
        return {"podSelector": f"{peer.name}", "namespaceSelector": f"namespace of {peer.name}", "ipBlock": f"{peer.name} (outside)"}[kind]

    lines = [
        f"{side(source):28} -> {side(target):32} {', '.join(map(str, ports))}" for source, target, ports in network.edges(settings(mode))
    ]
    return "\n".join([f"# {mode}", *lines]) + "\n"


def environments(mode):
    """How each identity's pods reach the three stores."""

    def environment(identity):
        offline = offline_store_environment(identity, settings(mode), "history", sources=CONTRACT.sources)
        return [*store_environment(identity, settings(mode)), *offline]

    return as_yaml({i.name: environment(i) for i in IDENTITIES if i.pods})


def documents():
    read = aws_policies.read_sources(bucket="history", sources=["employee_attrition.parquet", "pay/history"], region=REGION)
    return {
        "aws.trust.pod_identity.json": aws_policies.pod_identity_trust(
            cluster_arn=CLUSTER_ARN, namespace="feast", service_account="materialize"
        ),
        "aws.trust.irsa.json": aws_policies.irsa_trust(
            cluster_arn=CLUSTER_ARN, issuer=ISSUER, namespace="feast", service_account="materialize"
        ),
        "aws.read_sources.json": read,
        "aws.decrypt.json": aws_policies.decrypt(key_arn=KEY_ARN, region=REGION),
        "aws.tls_only.json": aws_policies.tls_only(bucket="history", region=REGION),
        "kubeconfig.json": eks_kubeconfig(
            name="somewhere", region=REGION, endpoint="https://cluster.example.com", certificate_authority="Y2VydGlmaWNhdGU="
        ),
    }


RENDERED = {
    **{f"feature_store.{mode}.yaml": lambda mode=mode: feature_store_yaml(settings(mode), CONTRACT) for mode in MODES},
    "feature_store.client.yaml": lambda: client_feature_store_yaml(CONTRACT, feature_server_url("feast")),
    "network_policies.yaml": lambda: as_yaml(network.network_policies(settings("highly-available"))),
    "connections.txt": lambda: "\n".join(connections(mode) for mode in MODES),
    **{
        f"environment.{mode}.yaml": lambda mode=mode: environments(mode)
        for mode in ("standalone", "highly-available", "external", "s3-compatible")
    },
    "redis.standalone.values.yaml": lambda: as_yaml(online_store_values(settings().online_store, monitored_from="monitoring")),
    "redis.sentinel.values.yaml": lambda: as_yaml(
        online_store_values(settings("highly-available").online_store, domain=online_store_domain("features"), monitored_from="monitoring")
    ),
    "postgresql.standalone.values.yaml": lambda: as_yaml(registry_values(settings().registry, monitored=True)),
    "postgresql.replication.values.yaml": lambda: as_yaml(registry_values(settings("highly-available").registry, monitored=True)),
    "users.acl": lambda: redis_acl({**{i.online_store_user: i.name.encode().hex() for i in IDENTITIES}, "default": "00"}),
    **{name: lambda text=text: json.dumps(json.loads(text), indent=2) + "\n" for name, text in documents().items()},
}


@pytest.mark.parametrize("name", RENDERED)
def test_rendered_text_is_what_was_reviewed(name):
    path = GOLDEN / name
    if os.environ.get("UPDATE_GOLDEN"):
        path.write_text(RENDERED[name]())
    assert RENDERED[name]() == path.read_text()
