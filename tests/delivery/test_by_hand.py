"""What somebody added by hand is found, and nothing that the cluster or the runbook adds.

fixtures/by-hand.live.json is what a kube-apiserver 1.35 and its controllers made of inputs of the program for prod, without
`status` and `managedFields`; by-hand.state.json is the state with these inputs. Each test breaks one thing of them.
"""

import copy
import json

import pytest

from delivery.by_hand.__main__ import main, render
from delivery.by_hand.additions import additions
from delivery.by_hand.check import look
from delivery.by_hand.cluster import CouldNotLookError
from delivery.by_hand.state import HIDDEN, read_state
from delivery.drift import COULD_NOT_LOOK
from delivery.redaction import redact

from .conftest import PROJECT

PASSWORD = "a-password-that-nobody-may-see"
"""The value of every secret in the fixtures."""
TEMPLATE = ("spec", "template", "spec")
CRON_TEMPLATE = ("spec", "jobTemplate", *TEMPLATE)
SIGNATURE = "4dabf18193072939515e22adb298388d"
RUN = "materialize-1777639472"


class Cluster:
    """A cluster in memory, beside the state of the stack that made it."""

    def __init__(self, live, state):
        self.live, self.state, self.forbidden, self.asked = live, state, (), []

    def of(self, kind, name=""):
        return next(o for o in self.live if o["kind"] == kind and o["metadata"]["name"].startswith(name))

    def add(self, kind, name="by-hand", api="v1", **parts):
        metadata = {"name": name, "namespace": "feast", "uid": f"uid-of-{name}"} | parts.pop("metadata", {})
        self.live.append({"apiVersion": api, "kind": kind, "metadata": metadata, **parts})

    def get(self, kind, namespace, names):
        self.asked.append((kind.name, namespace, tuple(names)))
        if kind.name in self.forbidden:
            raise CouldNotLookError(f"{kind.name} in {namespace}: forbidden")
        return [
            o
            for o in self.live
            if (o["kind"], o["metadata"].get("namespace", "")) == (kind.name, namespace) and (not names or o["metadata"]["name"] in names)
        ]

    def look(self):
        (cluster,) = read_state(json.dumps(self.state))
        return look(cluster.objects, self.get)

    @property
    def grave(self):
        return [str(finding) for finding in self.look().grave]

    @property
    def said(self):
        return [str(finding) for finding in self.look().said]


@pytest.fixture
def cluster(fixture):
    return Cluster(json.loads(fixture("by-hand.live.json")), json.loads(fixture("by-hand.state.json")))


def inside(thing, path):
    for step in path:
        thing = thing[step]
    return thing


def test_what_was_made_and_what_the_cluster_fills_in_is_no_addition(cluster):
    report = cluster.look()
    assert (report.findings, report.unseen) == ([], [])


ADDED = [
    # where, what is put there, what is said
    ("Deployment", (*TEMPLATE, "containers"), {"name": "debug", "image": "busybox"}, "spec.template.spec.containers[debug]"),
    ("Deployment", TEMPLATE, {"initContainers": [{"name": "first"}]}, "spec.template.spec.initContainers"),
    ("Deployment", (*TEMPLATE, "containers", 0), {"command": ["sh"]}, "spec.template.spec.containers[feature-server].command"),
    ("Deployment", (*TEMPLATE, "containers", 0, "args"), "--debug", "spec.template.spec.containers[feature-server].args[15]"),
    ("Deployment", (*TEMPLATE, "containers", 0, "env"), {"name": "LD_PRELOAD", "value": "/tmp/x"}, "env[LD_PRELOAD]"),
    ("Deployment", (*TEMPLATE, "containers", 0), {"envFrom": [{"secretRef": {"name": "feast-redis-auth"}}]}, "[feature-server].envFrom"),
    ("Deployment", (*TEMPLATE, "containers", 0, "securityContext"), {"privileged": True}, "securityContext.privileged"),
    (
        "Deployment",
        (*TEMPLATE, "containers", 0, "securityContext", "capabilities"),
        {"add": ["SYS_ADMIN"]},
        "securityContext.capabilities.add",
    ),
    ("Deployment", (*TEMPLATE, "containers", 0, "volumeMounts"), {"name": "tmp", "mountPath": "/x"}, "volumeMounts[tmp]"),
    ("Deployment", (*TEMPLATE, "volumes"), {"name": "root", "hostPath": {"path": "/", "type": ""}}, "spec.template.spec.volumes[root]"),
    ("Deployment", (*TEMPLATE, "volumes"), {"name": "empty", "emptyDir": {}}, "spec.template.spec.volumes[empty]"),
    ("Deployment", TEMPLATE, {"hostNetwork": True}, "spec.template.spec.hostNetwork"),
    ("Deployment", TEMPLATE, {"hostPID": True}, "spec.template.spec.hostPID"),
    ("Deployment", TEMPLATE, {"shareProcessNamespace": True}, "spec.template.spec.shareProcessNamespace"),
    ("Deployment", TEMPLATE, {"serviceAccount": "apply"}, "spec.template.spec.serviceAccount"),
    ("Deployment", TEMPLATE, {"dnsPolicy": "Default"}, "spec.template.spec.dnsPolicy"),
    ("Deployment", ("spec", "template", "metadata", "labels"), {"feast.dev/more": "true"}, "labels[feast.dev/more]"),
    (
        "Deployment",
        ("spec", "template", "metadata"),
        {"annotations": {"sidecar.istio.io/inject": "true"}},
        "annotations[sidecar.istio.io/inject]",
    ),
    ("StatefulSet", TEMPLATE, {"hostIPC": True}, "spec.template.spec.hostIPC"),
    ("StatefulSet", (*TEMPLATE, "containers"), {"name": "debug"}, "spec.template.spec.containers[debug]"),
    ("CronJob", (*CRON_TEMPLATE, "containers"), {"name": "debug"}, "spec.jobTemplate.spec.template.spec.containers[debug]"),
    ("CronJob", ("spec",), {"suspend": True}, "spec.suspend"),
    ("CronJob", ("spec", "jobTemplate", "spec"), {"suspend": True}, "spec.jobTemplate.spec.suspend"),
    ("Service", ("spec",), {"externalIPs": ["203.0.113.7"]}, "spec.externalIPs"),
    ("Service", ("spec",), {"loadBalancerSourceRanges": ["0.0.0.0/0"]}, "spec.loadBalancerSourceRanges"),
    ("Service", ("spec", "ports"), {"name": "more", "port": 22, "targetPort": 22, "protocol": "TCP"}, "spec.ports[more]"),
    ("Service", ("spec", "ports", 0), {"nodePort": 30000}, "spec.ports[http].nodePort"),
    ("Service", ("spec", "selector"), {"app": "other"}, "spec.selector.app"),
    (
        "Service",
        ("metadata",),
        {"annotations": {"service.beta.kubernetes.io/aws-load-balancer-scheme": "internet-facing"}},
        "load-balancer-scheme",
    ),
    ("NetworkPolicy", ("spec",), {"ingress": [{}]}, "spec.ingress"),
    (
        "ServiceAccount",
        ("metadata",),
        {"annotations": {"eks.amazonaws.com/role-arn": "arn:aws:iam::1:role/x"}},
        "eks.amazonaws.com/role-arn",
    ),
    ("Secret", ("data",), {"more": "eA=="}, "data.more"),
    ("ConfigMap", ("data",), {"more.conf": "x"}, "data[more.conf]"),
    ("ConfigMap", (), {"binaryData": {"more": "eA=="}}, "binaryData"),
    ("HorizontalPodAutoscaler", ("spec", "metrics"), {"type": "Resource", "resource": {"name": "cpu"}}, "spec.metrics[1]"),
    ("HorizontalPodAutoscaler", ("spec", "behavior", "scaleDown"), {"selectPolicy": "Disabled"}, "spec.behavior.scaleDown.selectPolicy"),
    ("PodDisruptionBudget", ("spec",), {"unhealthyPodEvictionPolicy": "AlwaysAllow"}, "spec.unhealthyPodEvictionPolicy"),
    (
        "Namespace",
        ("metadata", "labels"),
        {"pod-security.kubernetes.io/audit-version": "v1.20"},
        "pod-security.kubernetes.io/audit-version",
    ),
    ("Namespace", ("metadata", "labels"), {"feast.dev/feature-client": "true"}, "feast.dev/feature-client"),
]
NAMES = {
    "NetworkPolicy": "default-deny",
    "ServiceAccount": "feature-server",
    "ConfigMap": "feast-postgresql-read",
    "Secret": "feast-redis-auth",
}


@pytest.mark.parametrize(("kind", "path", "what", "said"), ADDED, ids=[f"{kind}-{said.rpartition('.')[2]}" for kind, _, _, said in ADDED])
def test_what_was_added_to_an_object_is_named(cluster, kind, path, what, said):
    thing = cluster.of(kind, NAMES.get(kind, ""))
    place = inside(thing, path)
    if isinstance(place, list):
        place.append(what)
    else:
        place.update(what)
    (finding, *more) = [found for found in cluster.grave if not found.startswith("Pod ")]
    assert finding.startswith(f"{kind} ")
    assert thing["metadata"]["name"] in finding
    assert said in finding
    assert more == []


def test_a_rule_that_allows_more_is_found_wherever_it_stands(cluster):
    egress = cluster.of("NetworkPolicy", "feature-server-to-registry")["spec"]["egress"]
    egress.insert(0, {"to": [{"ipBlock": {"cidr": "0.0.0.0/0"}}]})
    assert ["spec.egress[0]" in finding for finding in cluster.grave] == [True]
    egress.pop(0)
    egress[0]["to"].append({"ipBlock": {"cidr": "0.0.0.0/0"}})
    assert ["spec.egress[0].to[1]" in finding for finding in cluster.grave] == [True]


def test_an_empty_selector_is_everything_and_no_default(cluster):
    peer = cluster.of("NetworkPolicy", "feature-server-to-registry")["spec"]["egress"][0]["to"][0]
    peer["namespaceSelector"] = {}
    assert ["spec.egress[0].to[0].namespaceSelector" in finding for finding in cluster.grave] == [True]


def test_a_second_item_of_one_name_is_an_addition(cluster):
    """The last variable of a name is what a container gets."""
    env = cluster.of("Deployment")["spec"]["template"]["spec"]["containers"][0]["env"]
    env.append({"name": env[0]["name"], "value": "/tmp/mine"})
    (finding,) = cluster.grave
    assert f"env[{env[0]['name']}]" in finding


def test_another_order_is_no_addition(cluster):
    for kind in ("Deployment", "StatefulSet"):
        for container in cluster.of(kind)["spec"]["template"]["spec"]["containers"]:
            for name in ("env", "volumeMounts", "ports"):
                container.get(name, []).reverse()
    assert cluster.grave == []


@pytest.mark.parametrize(
    ("wanted", "live", "found"),
    [
        ({"a": 1}, {"a": 2}, []),
        ({"a": None}, {"a": [1]}, [("a",)]),
        ({}, {"a": None}, []),
        ([], [{}], [(0,)]),
        ([{}], [{}, {}], [(1,)]),
        ([{"to": ["x"]}], [{"to": ["x"], "ports": [1]}, {"to": ["x"]}], [(0,)]),
        ([{"name": "a", "value": 1}], [{"name": "b"}, {"name": "a", "value": 2}], [(0,)]),
        ([{"n": 1}], [{"n": 2}, {"n": 1, "more": 1}], [(0,), (1, "more")]),
        ([{"n": 1, "password": HIDDEN}], [{"n": 2}, {"n": 1, "password": "x", "more": 1}], [(0,), (1, "more")]),
        (["ALL"], ["ALL", "X"], [(1,)]),
        (["a"], ["b"], []),
    ],
)
def test_only_what_is_more_is_an_addition(wanted, live, found):
    assert list(additions(wanted, live)) == found


def test_no_name_of_a_manager_excuses_an_addition(cluster):
    thing = cluster.of("Deployment")
    thing["spec"]["template"]["spec"]["hostNetwork"] = True
    for manager in ("pulumi-kubernetes-1a2b3c4d", "kube-controller-manager", "kubelet"):
        fields = {"f:spec": {"f:template": {"f:spec": {"f:hostNetwork": {}}}}}
        thing["metadata"]["managedFields"] = [{"manager": manager, "operation": "Update", "fieldsType": "FieldsV1", "fieldsV1": fields}]
        assert len(cluster.grave) == 1, "anybody may write under any name"


def test_who_wrote_it_is_told_as_the_api_server_has_it(cluster):
    """The entries are those that a kube-apiserver wrote."""
    thing = cluster.of("Deployment")
    thing["spec"]["template"]["spec"]["containers"].append({"name": "debug", "image": "busybox"})
    written = {"k:" + json.dumps({"name": "debug"}): {".": {}, "f:image": {}, "f:name": {}}}
    made = {"k:" + json.dumps({"name": "feature-server"}): {".": {}, "f:image": {}, "f:name": {}}}
    thing["metadata"]["managedFields"] = [
        {"manager": manager, "time": time, "fieldsV1": {"f:spec": {"f:template": {"f:spec": {"f:containers": fields}}}}, **more}
        for manager, time, fields, more in (
            ("pulumi-kubernetes-1a2b3c4d", "2026-05-01T10:00:00Z", made, {}),
            ("k9s", "2026-05-02T11:00:00Z", written, {}),
            ("kube-controller-manager", "2026-05-02T11:00:01Z", {}, {"subresource": "status"}),
        )
    ]
    (finding,) = cluster.grave
    assert finding.endswith("spec.template.spec.containers[debug] (k9s 2026-05-02T11:00:00Z)")


def test_what_the_cluster_and_the_autoscaler_write_is_no_addition(cluster):
    cluster.of("Deployment")["spec"]["replicas"] = 7
    cluster.of("Deployment")["status"] = {"replicas": 7}
    for kind in ("Deployment", "Service", "CronJob"):
        cluster.of(kind)["metadata"].setdefault("annotations", {})["kubectl.kubernetes.io/last-applied-configuration"] = "{}"
    report = cluster.look()
    assert report.findings == []


def test_a_restart_as_the_runbook_asks_for_is_said_and_no_failure(cluster):
    metadata = cluster.of("Deployment")["spec"]["template"]["metadata"]
    metadata["annotations"] = {"kubectl.kubernetes.io/restartedAt": "2026-05-02T11:00:00Z"}
    assert cluster.grave == []
    assert "restartedAt" in cluster.said[0]
    metadata["annotations"]["sidecar.istio.io/inject"] = "true"
    assert len(cluster.grave) == 1, "nothing hides behind it"


@pytest.mark.parametrize("kind", ["Namespace", "Deployment", "Service", "ConfigMap", "NetworkPolicy", "ServiceAccount", "Secret"])
def test_labels_and_annotations_of_other_tools_are_said_and_no_failure(cluster, kind):
    metadata = cluster.of(kind, NAMES.get(kind, ""))["metadata"]
    metadata.setdefault("labels", {})["argocd.argoproj.io/instance"] = "x"
    metadata.setdefault("annotations", {})["cost-center"] = "1"
    assert cluster.grave == []
    assert len(cluster.said) == 2


POD = {"containers": [{"name": "shell", "image": "busybox"}]}
STRANGERS = [
    ("Pod", "v1", {"spec": POD}),
    ("Deployment", "apps/v1", {"spec": {"template": {"spec": POD}}}),
    ("StatefulSet", "apps/v1", {"spec": {"template": {"spec": POD}}}),
    ("DaemonSet", "apps/v1", {"spec": {"template": {"spec": POD}}}),
    ("ReplicaSet", "apps/v1", {"spec": {"template": {"spec": POD}}}),
    ("ReplicationController", "v1", {"spec": {"template": {"spec": POD}}}),
    ("Job", "batch/v1", {"spec": {"template": {"spec": POD}}}),
    ("CronJob", "batch/v1", {"spec": {"jobTemplate": {"spec": {"template": {"spec": POD}}}}}),
    ("Service", "v1", {"spec": {"type": "LoadBalancer"}}),
    ("Ingress", "networking.k8s.io/v1", {"spec": {}}),
    ("NetworkPolicy", "networking.k8s.io/v1", {"spec": {"podSelector": {}, "egress": [{}]}}),
    ("ServiceAccount", "v1", {}),
    (
        "RoleBinding",
        "rbac.authorization.k8s.io/v1",
        {"subjects": [{"kind": "ServiceAccount", "name": "feature-server", "namespace": "feast"}]},
    ),
    ("RoleBinding", "rbac.authorization.k8s.io/v1", {"subjects": [{"kind": "Group", "name": "system:authenticated"}]}),
    ("Secret", "v1", {"type": "kubernetes.io/service-account-token", "data": {"token": "eA=="}}),
    ("EndpointSlice", "discovery.k8s.io/v1", {"endpoints": [{"addresses": ["10.9.9.9"]}]}),
]


@pytest.mark.parametrize(("kind", "api", "parts"), STRANGERS, ids=[f"{number}-{row[0]}" for number, row in enumerate(STRANGERS)])
def test_an_object_that_the_program_did_not_make_is_named(cluster, kind, api, parts):
    cluster.add(kind, api=api, **copy.deepcopy(parts))
    (finding,) = cluster.grave
    assert finding.startswith(f"{kind} feast/by-hand - the program did not make it")


def test_an_owner_that_is_not_there_is_not_believed(cluster):
    reference = {"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "x", "uid": "nobody", "controller": True}
    cluster.add("Pod", spec=POD, metadata={"ownerReferences": [reference]})
    assert len(cluster.grave) == 1
    reference |= {"kind": "ConfigMap", "uid": cluster.of("ConfigMap")["metadata"]["uid"]}
    assert len(cluster.grave) == 1, "it is none that makes pods"


def test_an_owner_is_not_believed_where_the_pod_is_another(cluster):
    owner = cluster.of("StatefulSet")
    reference = {"apiVersion": "apps/v1", "kind": "StatefulSet", "name": "x", "uid": owner["metadata"]["uid"], "controller": True}
    cluster.add("Pod", spec=POD, metadata={"ownerReferences": [reference]})
    (finding,) = cluster.grave
    assert finding == "Pod feast/by-hand - spec.containers[shell]"


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (
            lambda pod: pod["spec"]["containers"][0].update(image="busybox"),
            "spec.containers[feature-server].image is not that of its ReplicaSet",
        ),
        (lambda pod: pod["spec"]["containers"][0].update(command=["sh"]), "spec.containers[feature-server].command is not that of"),
        (lambda pod: pod["spec"].update(ephemeralContainers=[{"name": "debugger"}]), "spec.ephemeralContainers[debugger]"),
        (lambda pod: pod["spec"]["containers"].append({"name": "proxy", "image": "x"}), "spec.containers[proxy]"),
        (
            lambda pod: pod["metadata"]["labels"].update({"feast-redis-client": "more"}),
            "metadata.labels[feast-redis-client] is not that of",
        ),
    ],
)
def test_a_running_pod_that_was_changed_is_named(cluster, change, said):
    change(cluster.of("Pod", "feature-server"))
    (finding,) = cluster.grave
    assert said in finding


def test_what_the_cluster_adds_to_pods_is_no_addition(cluster):
    pod = cluster.of("Pod", "feature-server")
    pod["metadata"]["labels"]["topology.kubernetes.io/zone"] = "eu-west-1a"
    pod["spec"]["nodeName"] = "node"
    pod["spec"]["containers"][0]["env"].append(
        {"name": "AWS_CONTAINER_CREDENTIALS_FULL_URI", "value": "http://169.254.170.23/v1/credentials"}
    )
    assert cluster.look().findings == []


def again(cluster, name="again"):
    """The load that somebody started by hand, once more."""
    run = copy.deepcopy(cluster.of("Job", RUN))
    run["metadata"] |= {"name": name, "uid": f"uid-of-{name}"}
    cluster.live.append(run)
    return run


def test_a_load_that_the_runbook_tells_to_start_is_none_of_it(cluster):
    run = again(cluster)
    run["spec"]["template"]["spec"]["containers"][0]["args"] = ["materialize", "--overlap-hours", "168"]
    del run["metadata"]["ownerReferences"], run["metadata"]["annotations"]
    assert cluster.look().findings == []


@pytest.mark.parametrize(
    "change",
    [
        lambda template: template["spec"]["containers"][0].update(image="busybox"),
        lambda template: template["spec"]["containers"][0].update(command=["sh"]),
        lambda template: template["spec"].update(serviceAccountName="apply"),
        lambda template: template["spec"]["containers"][0]["env"].append({"name": "LD_PRELOAD", "value": "x"}),
        lambda template: template["metadata"]["labels"].update({"feast.dev/registry-client": "more"}),
    ],
)
def test_a_job_in_the_name_of_ours_that_runs_something_else_is_named(cluster, change):
    change(again(cluster)["spec"]["template"])
    (finding,) = cluster.grave
    assert finding.startswith("Job feast/again - the program did not make it")


def test_a_load_is_not_accused_of_what_was_added_to_its_cron_job_later(cluster):
    cluster.of("CronJob")["spec"]["jobTemplate"]["spec"]["template"]["spec"]["containers"].append({"name": "debug"})
    (finding,) = cluster.grave
    assert finding.startswith("CronJob ")
    run = again(cluster)
    run["spec"]["template"]["spec"]["containers"].append({"name": "debug"})
    assert [finding.partition(" ")[0] for finding in cluster.grave] == ["CronJob", "Job"]


def test_a_job_that_ended_before_the_last_update_is_of_an_older_version(cluster):
    run = again(cluster)
    run["spec"]["template"]["spec"]["containers"][0]["image"] = "an-older-one"
    run["status"] = {"conditions": [{"type": "Complete", "status": "True"}]}
    run["metadata"]["creationTimestamp"] = "2026-04-30T02:00:00Z"
    assert cluster.grave == []
    run["metadata"]["creationTimestamp"] = "2026-05-02T02:00:00Z"
    assert len(cluster.grave) == 1, "made after the update, it should be what the program says"
    run["metadata"]["creationTimestamp"] = "2026-04-30T02:00:00Z"
    run["status"] = {}
    assert len(cluster.grave) == 1, "it still runs"


def test_a_policy_that_only_denies_and_rights_of_people_are_said_and_no_failure(cluster):
    cluster.add("NetworkPolicy", "deny", "networking.k8s.io/v1", spec={"podSelector": {}, "policyTypes": ["Ingress"]})
    cluster.add("RoleBinding", "team", "rbac.authorization.k8s.io/v1", subjects=[{"kind": "Group", "name": "developers"}])
    assert cluster.grave == []
    assert len(cluster.said) == 2


def test_the_service_account_of_every_namespace_is_empty(cluster):
    cluster.of("ServiceAccount", "default")["metadata"]["annotations"] = {"eks.amazonaws.com/role-arn": "arn:aws:iam::1:role/x"}
    (finding,) = cluster.grave
    assert "default - metadata.annotations[eks.amazonaws.com/role-arn]" in finding


def test_an_object_that_is_going_is_no_stranger(cluster):
    cluster.add("Pod", spec=POD, metadata={"deletionTimestamp": "2026-05-02T02:00:00Z"})
    assert cluster.grave == []


def test_an_object_of_the_program_in_another_namespace_is_compared(cluster):
    for resource in cluster.state["deployment"]["resources"]:
        if resource["type"].endswith(":ConfigMap"):
            resource["id"] = resource["id"].replace("feast/", "monitoring/")
    dashboard = cluster.of("ConfigMap", "feast-postgresql-read")
    dashboard["metadata"]["namespace"] = "monitoring"
    cluster.add("ConfigMap", "of-others", metadata={"namespace": "monitoring"}, data={"a": "b"})
    assert cluster.grave == []
    name = dashboard["metadata"]["name"]
    assert [asked for asked in cluster.asked if asked[1] == "monitoring"] == [("ConfigMap", "monitoring", (name,))], (
        "the drift role reads it alone"
    )
    dashboard["data"]["more"] = "x"
    assert len(cluster.grave) == 1


@pytest.mark.parametrize("kind", ["RoleBinding", "Secret", "ReplicaSet", "Job", "Deployment", "NetworkPolicy"])
def test_a_kind_that_cannot_be_listed_is_named_and_nobody_accused_for_it(cluster, kind):
    cluster.forbidden = (kind,)
    report = cluster.look()
    assert report.unseen == [f"{kind} in feast: forbidden"]
    assert report.findings == []


def test_a_state_without_objects_is_not_clean(cluster):
    cluster.state["deployment"]["resources"] = []
    with pytest.raises(ValueError, match="no Kubernetes object"):
        cluster.look()


@pytest.mark.parametrize("text", ["", "{}", "[]", '{"deployment": {"resources": 1}}', '{"deployment": {"resources": [1]}}'])
def test_what_is_no_state_is_refused(text):
    with pytest.raises(ValueError, match="no state of a stack"):
        read_state(text)


def test_a_state_whose_secrets_are_closed_is_refused(cluster):
    for resource in cluster.state["deployment"]["resources"]:
        for secret in (resource.get("inputs") or {}).values():
            if isinstance(secret, dict) and SIGNATURE in secret:
                secret["ciphertext"] = secret.pop("plaintext")
    with pytest.raises(ValueError, match="not opened"):
        cluster.look()


def test_a_provider_that_the_state_lacks_is_refused(cluster):
    resources = cluster.state["deployment"]["resources"]
    cluster.state["deployment"]["resources"] = [r for r in resources if r["type"] != "pulumi:providers:kubernetes"]
    with pytest.raises(ValueError, match="lacks the provider"):
        cluster.look()


def test_what_waits_for_its_deletion_is_not_the_programs_any_more(cluster):
    for resource in cluster.state["deployment"]["resources"]:
        if resource["type"].endswith(":Service"):
            resource["delete"] = True
    (finding,) = cluster.grave
    assert finding.startswith("Service feast/feature-server - the program did not make it")


def test_no_value_of_a_secret_is_kept_or_said(cluster):
    cluster.of("Secret")["data"] |= {"more": "c2VjcmV0LW9mLXNvbWVib2R5"}
    cluster.of("Deployment")["spec"]["template"]["spec"]["containers"][0]["env"].append({"name": "KEY", "value": PASSWORD})
    text = render(cluster.look())
    assert "data.more" in text
    assert "env[KEY]" in text
    for secret in (PASSWORD, "c2VjcmV0LW9mLXNvbWVib2R5"):
        assert secret not in text
    (made,) = read_state(json.dumps(cluster.state))
    assert PASSWORD not in repr(made), "values are dropped as the state is read"


def test_an_issue_shows_what_was_found_though_it_hides_what_looks_like_a_secret(cluster):
    cluster.add("Secret", "robot-token", type="kubernetes.io/service-account-token")
    cluster.of("Secret")["data"]["password"] = "eA=="
    text = render(cluster.look())
    assert redact(text) == text


def test_names_that_hide_what_they_are_are_shown_as_text(cluster):
    cluster.of("ConfigMap", "feast")["data"]["a\u202e\x1b[2Jb"] = ""
    (finding,) = cluster.grave
    assert "\u202e" not in finding
    assert "\x1b" not in finding


@pytest.fixture
def pulumi(tmp_path, monkeypatch, fixture):
    """A pulumi that exports a state: the fixture's, or what a test makes of it."""
    directory = tmp_path / "pulumi"
    directory.mkdir()
    command = directory / "pulumi"
    command.write_text('#!/bin/sh\necho "$@" > "$(dirname "$0")/asked"\ncat "$(dirname "$0")/state"\n')
    command.chmod(0o755)
    monkeypatch.setenv("PATH", str(directory), prepend=":")

    def export(change=lambda provider: None):
        state = json.loads(fixture("by-hand.state.json"))
        change(next(r["inputs"] for r in state["deployment"]["resources"] if r["type"] == "pulumi:providers:kubernetes"))
        (directory / "state").write_text(json.dumps(state))

    export()
    export.asked = lambda: (directory / "asked").read_text().split()
    return export


def test_nothing_is_asked_but_to_see(pulumi, kubectl, capsys):
    assert main(["--stack", "prod"]) == 0
    assert capsys.readouterr().out == "Nothing was added by hand.\n"
    assert pulumi.asked() == ["stack", "export", "--stack", "prod", "--show-secrets"]
    for asked in kubectl.asked:
        verbs = {"get", "apply", "create", "patch", "replace", "edit", "delete", "label", "annotate", "exec"} & set(asked["arguments"])
        assert verbs == {"get"}


def test_the_providers_kubeconfig_is_a_file_of_ours_alone_and_gone_afterwards(pulumi, kubectl):
    main(["--stack", "prod"])
    for asked in kubectl.asked:
        assert json.loads(asked["kubeconfig"])["kind"] == "Config"
        assert asked["mode"] == "0o600"
    path = kubectl.asked[0]["arguments"][1]
    assert not (PROJECT / path).exists()


def test_a_kubeconfig_that_is_secret_is_opened(pulumi, kubectl):
    pulumi(lambda provider: provider.update(kubeconfig={SIGNATURE: "1b47061264138c4ac30d75fd1eb44270", "plaintext": json.dumps("{}")}))
    main(["--stack", "prod"])
    assert kubectl.asked[0]["kubeconfig"] == "{}"


def test_a_path_and_a_context_are_given_to_kubectl_as_they_are(pulumi, kubectl):
    pulumi(lambda provider: provider.update(kubeconfig="/some/kubeconfig", context="sandbox"))
    main(["--stack", "prod"])
    assert kubectl.asked[0]["arguments"][:4] == ["--kubeconfig", "/some/kubeconfig", "--context", "sandbox"]
    pulumi(lambda provider: (provider.pop("kubeconfig"), provider.update(context="sandbox")))
    main(["--stack", "prod"])
    assert kubectl.asked[-1]["arguments"][:2] == ["--context", "sandbox"]


def test_what_was_added_fails_and_what_could_not_be_seen_fails_otherwise(pulumi, kubectl, capsys):
    kubectl.tell(forbidden=["Secret"])
    assert main(["--stack", "prod"]) == COULD_NOT_LOOK
    assert "Could not look:\n  Secret in feast: Error from server (Forbidden): Secret is forbidden\n" in capsys.readouterr().out
    pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "shell", "namespace": "feast"}, "spec": POD}
    kubectl.tell(pod, forbidden=["Secret"])
    assert main(["--stack", "prod"]) == 1
    said = capsys.readouterr().out
    assert "Could not look:" in said
    assert said.index("Pod feast/shell") > said.index("Could not look:"), "what is graver stands where a cut log ends"
    assert said.endswith("docs/operations.md#drift says how they go.\n")


def test_without_a_state_or_without_kubectl_nothing_is_clean(pulumi, kubectl, tmp_path, monkeypatch, capsys):
    (tmp_path / "kubectl" / "kubectl").write_text("#!/bin/sh\necho no answer\n")
    assert main(["--stack", "prod"]) == COULD_NOT_LOOK
    (tmp_path / "kubectl" / "kubectl").unlink()
    monkeypatch.setenv("PATH", f"{tmp_path / 'pulumi'}:/bin")
    (tmp_path / "pulumi" / "state").write_text("")
    assert main(["--stack", "prod"]) == COULD_NOT_LOOK
    said = capsys.readouterr().out
    assert "Pod in feast: " in said
    assert "NetworkPolicy in feast: " in said, "one answer that is none does not end the search"
    assert "no state of a stack" in said


@pytest.mark.parametrize("stack", ["../x", "prod --yes", ""])
def test_a_stack_that_is_no_name_is_refused(pulumi, stack):
    with pytest.raises(SystemExit):
        main(["--stack", stack])
