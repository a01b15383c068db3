"""What somebody adds by hand to what a program made, under the real engine and a real API server: it is found, and nothing else."""

import json
import subprocess

import pytest

from delivery.drift import COULD_NOT_LOOK
from delivery.engine import drift_commands
from tests.sandbox.programs import PROJECT

ADDED = "nothing was added to it by hand"
PROGRAM = """
import os
import pulumi
import pulumi_kubernetes as k8s
from pulumi_kubernetes.helm.v4 import Chart

namespace = k8s.core.v1.Namespace("namespace", metadata={"name": os.environ["NAMESPACE"]})
here = {"namespace": namespace.metadata.name}
labels = {"app.kubernetes.io/name": "server"}
pods = {
    "terminationGracePeriodSeconds": 0,
    "automountServiceAccountToken": False,
    "containers": [
        {
            "name": "server",
            "image": os.environ["IMAGE"],
            "command": ["sleep", "infinity"],
            "env": [{"name": "EMPTY", "value": ""}, {"name": "NODE", "valueFrom": {"fieldRef": {"fieldPath": "spec.nodeName"}}}],
            "resources": {"requests": {"cpu": "0.001", "memory": "0.5Mi"}, "limits": {"cpu": "1000m"}},
            "ports": [{"containerPort": 80}],
            "readinessProbe": {"exec": {"command": ["true"]}},
        }
    ],
}
template = {"metadata": {"labels": labels}, "spec": pods}
server = k8s.apps.v1.Deployment(
    "server", metadata={"name": "server", **here}, spec={"selector": {"matchLabels": labels}, "template": template}
)
k8s.core.v1.Service("server", metadata={"name": "server", **here}, spec={"selector": labels, "ports": [{"port": 80}]})
k8s.core.v1.ConfigMap("settings", metadata={"name": "settings", **here}, data={"mode": "first"})
k8s.core.v1.Secret("auth", metadata={"name": "auth", **here}, string_data=pulumi.Output.secret({"password": "given-in-the-clear"}))
k8s.core.v1.ServiceAccount("server", metadata={"name": "server", **here}, automount_service_account_token=False)
k8s.networking.v1.NetworkPolicy(
    "deny", metadata={"name": "deny", **here}, spec={"podSelector": {}, "policyTypes": ["Ingress", "Egress"]}
)
k8s.networking.v1.NetworkPolicy(
    "edge",
    metadata={"name": "edge", **here},
    spec={"podSelector": {"matchLabels": labels}, "egress": [{"ports": [{"port": 53}], "to": [{"podSelector": {"matchLabels": labels}}]}]},
)
k8s.policy.v1.PodDisruptionBudget(
    "server", metadata={"name": "server", **here}, spec={"maxUnavailable": 1, "selector": {"matchLabels": labels}}
)
k8s.autoscaling.v2.HorizontalPodAutoscaler(
    "server",
    metadata={"name": "server", **here},
    spec={
        "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "server"},
        "maxReplicas": 2,
        "behavior": {"scaleDown": {"stabilizationWindowSeconds": 300}},
    },
)
k8s.batch.v1.CronJob(
    "load",
    metadata={"name": "load", **here},
    spec={
        "schedule": "0 0 1 1 *",
        "jobTemplate": {"spec": {"template": {"metadata": {"labels": {"app": "load"}}, "spec": {**pods, "restartPolicy": "Never"}}}},
    },
)
Chart("tiny", chart="./tiny", namespace=os.environ["NAMESPACE"], opts=pulumi.ResourceOptions(depends_on=[namespace]))
"""
CONTAINERS = "/spec/template/spec/containers"


@pytest.fixture(scope="module")
def deployed(make_program):
    program = make_program(PROGRAM)
    program.up()
    return program


def look(program, **environment):
    """The exit status of the check in `delivery.engine drift`, and what it says."""
    done = subprocess.run(
        drift_commands("test")[ADDED],
        cwd=program.directory,
        env=program.environment | {"PYTHONPATH": str(PROJECT)} | environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
        timeout=300,
    )
    return done.returncode, done.stdout


def create(program, kind, name, api="v1", **parts):
    thing = {"apiVersion": api, "kind": kind, "metadata": {"name": name, "namespace": program.namespace}, **parts}
    (program.directory / "thing.json").write_text(json.dumps(thing))
    program.kubectl("create", "--filename", str(program.directory / "thing.json"))


def patch(program, thing, *operations):
    program.kubectl("patch", thing, "--type=json", "--patch", json.dumps(operations))


def add(path, value):
    return {"op": "add", "path": path, "value": value}


def test_nothing_was_added_to_what_was_just_made(deployed):
    assert look(deployed) == (0, "Nothing was added by hand.\n")


def test_what_the_runbook_asks_for_was_not_added_by_hand(deployed):
    deployed.kubectl("rollout", "restart", "deployment/server")
    deployed.kubectl("scale", "deployment/server", "--replicas=2")
    deployed.kubectl("create", "job", "--from=cronjob/load", "load-now")
    deployed.kubectl("rollout", "status", "deployment/server", "--timeout=120s")
    try:
        status, said = look(deployed)
        assert status == 0, said
        assert "kubectl.kubernetes.io/restartedAt" in said
    finally:
        deployed.kubectl("delete", "--cascade=foreground", "job/load-now")


def test_where_nobody_may_look_nothing_is_clean(deployed):
    kubeconfig = deployed.directory / "nobody"
    kubeconfig.write_text("apiVersion: v1\nkind: Config\n")
    status, said = look(deployed, KUBECONFIG=str(kubeconfig))
    assert status == COULD_NOT_LOOK, said
    for kind in ("Pod", "NetworkPolicy", "RoleBinding", "Secret"):
        assert f"{kind} in {deployed.namespace}: " in said


def test_everything_that_was_added_by_hand_is_named_until_it_is_gone(deployed):
    token = {"name": "token", "projected": {"sources": [{"serviceAccountToken": {"path": "token"}}]}}
    debug = {"name": "debug", "image": deployed.environment["IMAGE"], "command": ["sleep", "infinity"]}
    patch(
        deployed,
        "deployment/server",
        add(f"{CONTAINERS}/-", debug),
        add("/spec/template/spec/volumes", [token]),
        add(f"{CONTAINERS}/0/volumeMounts", [{"name": "token", "mountPath": "/var/run/token"}]),
    )
    patch(deployed, "networkpolicy/edge", add("/spec/egress/-", {}))
    patch(deployed, "networkpolicy/deny", add("/spec/ingress", [{}]))
    patch(deployed, "configmap/settings", add("/data/by-hand", "yes"))
    patch(deployed, "configmap/tiny-config", add("/data/by-hand", "yes"))
    patch(deployed, "secret/auth", add("/data/by-hand", "eWVz"))
    patch(deployed, "service/server", add("/spec/externalIPs", ["203.0.113.7"]))
    create(deployed, "NetworkPolicy", "allow-all", "networking.k8s.io/v1", spec={"podSelector": {}, "ingress": [{}], "egress": [{}]})
    create(
        deployed, "Service", "open", spec={"type": "NodePort", "selector": {"app.kubernetes.io/name": "server"}, "ports": [{"port": 80}]}
    )
    subject = {"kind": "ServiceAccount", "name": "server", "namespace": deployed.namespace}
    role = {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "view"}
    create(deployed, "RoleBinding", "pods-may-see", "rbac.authorization.k8s.io/v1", subjects=[subject], roleRef=role)
    create(deployed, "Pod", "shell", spec={"containers": [debug], "terminationGracePeriodSeconds": 0})

    status, said = look(deployed)

    assert status == 1, said
    here = deployed.namespace
    for line in (
        f"Deployment {here}/server - spec.template.spec.containers[debug] (kubectl-patch ",
        f"Deployment {here}/server - spec.template.spec.containers[server].volumeMounts",
        f"Deployment {here}/server - spec.template.spec.volumes",
        f"NetworkPolicy {here}/edge - spec.egress[1]",
        f"NetworkPolicy {here}/deny - spec.ingress",
        f"ConfigMap {here}/settings - data.by-hand",
        f"ConfigMap {here}/tiny-config - data.by-hand",
        f"Secret {here}/auth - data.by-hand",
        f"Service {here}/server - spec.externalIPs",
        f"NetworkPolicy {here}/allow-all - the program did not make it",
        f"Service {here}/open - the program did not make it",
        f"RoleBinding {here}/pods-may-see - the program did not make it",
        f"Pod {here}/shell - the program did not make it",
    ):
        assert f"\n  {line}" in said, said
    for secret in ("given-in-the-clear", "eWVz"):
        assert secret not in said

    beside = ("networkpolicy/allow-all", "service/open", "rolebinding/pods-may-see", "pod/shell")
    ours = ("deployment/server", "networkpolicy/edge", "networkpolicy/deny", "service/server", "secret/auth", "configmap/settings")
    deployed.kubectl("delete", "--cascade=foreground", *beside, *ours, "configmap/tiny-config")
    deployed.pulumi("up", "--refresh", "--yes", "--skip-preview", "--non-interactive")
    status, said = look(deployed)
    assert status == 0, said
