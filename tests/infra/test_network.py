"""Who may talk to whom: allowed at both ends, and nothing else."""

import ipaddress

import pytest

from feast_eks import network
from feast_eks.identities import IDENTITIES
from feast_eks.workload import selector
from tests.infra.modes import MODES, settings

modes = pytest.mark.parametrize("mode", MODES)


def reached(mode, target):
    return {source.name: ports for source, found, ports in network.edges(settings(mode)) if found.name == target}


@modes
def test_every_connection_is_allowed_at_both_ends(mode):
    policies = network.network_policies(settings(mode))
    for source, target, ports in network.edges(settings(mode)):
        if source.selected:
            egress = policies[f"{source.name}-to-{target.name}"]["egress"][0]
            assert [p["port"] for p in egress["ports"]] == ports
            assert egress["to"] == target.kubernetes
        if target.selected:
            assert policies[f"{target.name}-from-{source.name}"]["ingress"][0]["from"] == source.kubernetes


@modes
def test_no_two_connections_share_a_policy(mode):
    edges = network.edges(settings(mode))
    ends = sum(bool(end.selected) for s, t, _ in edges for end in (s, t))
    assert len(network.network_policies(settings(mode))) == ends + 2 + 1, "one policy would have overwritten another"


@modes
def test_pods_that_need_nobody_have_a_policy_that_says_so(mode):
    nobody = network.network_policies(settings(mode))["image-check-to-nobody"]
    assert nobody == {"podSelector": {"matchLabels": selector("image-check")}, "policyTypes": ["Ingress", "Egress"]}


@modes
def test_whoever_has_a_right_in_a_store_reaches_it_and_nobody_else_does(mode):
    among = {"registry", "online-store", "monitoring"}
    for store, right in (("registry", "registry"), ("online-store", "online_store"), ("offline-store", "offline_store")):
        entitled = {pods for identity in IDENTITIES for pods in identity.pods if getattr(identity, right)}
        assert set(reached(mode, store)) - among == entitled, f"the network and the table of identities disagree about the {store}"


@modes
def test_only_clients_monitoring_and_who_compares_reach_the_server(mode):
    watched = {"monitoring"} if settings(mode).monitoring.enabled else set()
    assert set(reached(mode, "feature-server")) == {"smoke-test", "skew-probe", "clients"} | watched


@modes
def test_clients_ask_over_http_and_grpc(mode):
    assert reached(mode, "feature-server")["clients"] == [6566, 6567]
    assert reached(mode, "feature-server")["smoke-test"] == reached(mode, "feature-server")["skew-probe"] == [6566]


@modes
def test_no_pod_may_ask_for_the_credentials_of_its_node(mode):
    for name, policy in network.network_policies(settings(mode)).items():
        for rule in policy.get("egress", []):
            for peer in rule.get("to", []):
                if "ipBlock" in peer and peer["ipBlock"]["cidr"] not in network.POD_IDENTITY_AGENT:
                    assert peer["ipBlock"]["except"] == [network.INSTANCE_METADATA[peer["ipBlock"]["cidr"]]], name


@modes
def test_what_is_outside_is_reached_in_both_families_of_addresses(mode):
    for name, policy in network.network_policies(settings(mode)).items():
        for rule in policy.get("egress", []):
            versions = [ipaddress.ip_network(peer["ipBlock"]["cidr"]).version for peer in rule.get("to", []) if "ipBlock" in peer]
            assert versions in ([], [4, 6]), name


def test_only_who_has_a_role_reaches_the_agent_that_hands_it_out():
    entitled = {pods for identity in IDENTITIES if identity.offline_store for pods in identity.pods}
    assert reached("standalone", "pod-identity-agent") == {pods: [80] for pods in entitled}
    assert not reached("irsa", "pod-identity-agent"), "these pods get their role from STS"
    assert not reached("s3-compatible", "pod-identity-agent"), "these pods have a key, and no role"


@pytest.mark.parametrize(
    ("endpoint", "port"), [("https://s3.example.com", 443), ("http://10.0.0.1:9000", 9000), ("http://s3.example.com", 80)]
)
def test_an_offline_store_is_reached_on_its_port_only(endpoint, port):
    chosen = settings("s3-compatible", offline_store={"endpoint_url": endpoint, "encryption": "s3"})
    found = [ports for source, target, ports in network.edges(chosen) if (source.name, target.name) == ("materialize", "offline-store")]
    assert found == [[port]]


def test_an_external_store_is_reached_on_its_port_only():
    external = {"mode": "external", "external": {"host": "db.example.com", "port": 6432}}
    chosen = settings("external", registry=external)
    assert [ports for _, target, ports in network.edges(chosen) if target.name == "registry"] == [[6432]] * 6


def test_nodes_of_a_store_reach_each_other_only_where_there_are_several():
    assert reached("highly-available", "registry")["registry"] == [5432]
    assert reached("highly-available", "online-store")["online-store"] == [6379, 26379], "Sentinels watch the nodes and each other"
    assert not {"registry", "online-store"} & (set(reached("standalone", "registry")) | set(reached("standalone", "online-store")))


def test_prometheus_is_let_in_from_the_namespace_that_the_stack_file_names():
    chosen = settings(monitoring={"namespace": "observability"})
    (peers,) = {str(source.kubernetes) for source, _, _ in network.edges(chosen) if source.name == "monitoring"}
    assert peers == "[{'namespaceSelector': {'matchLabels': {'kubernetes.io/metadata.name': 'observability'}}}]"
