"""The two kinds of the Prometheus Operator that the program makes, as far as an API server needs to know them."""

import json
from contextlib import contextmanager

GROUP = "monitoring.coreos.com"
KINDS = {"servicemonitors": "ServiceMonitor", "prometheusrules": "PrometheusRule"}


@contextmanager
def installed(cloud):
    """Has the cluster know the kinds, and removes those that it did not know before, with every object of them."""
    known = cloud.output("kubectl", "get", "customresourcedefinitions", "--output=name").split()
    missing = [plural for plural in KINDS if _resource(plural) not in known]
    try:
        for plural in missing:
            _kubectl(cloud, json.dumps(_definition(plural)), "apply", "--server-side", "--filename=-")
        for plural in KINDS:
            cloud.output("kubectl", "wait", "--for=condition=Established", "--timeout=180s", _resource(plural))
        yield
    finally:
        if missing:
            names = [_resource(plural) for plural in missing]
            cloud.output("kubectl", "delete", "--ignore-not-found", "--timeout=180s", *names)


def _resource(plural):
    return f"customresourcedefinition.apiextensions.k8s.io/{plural}.{GROUP}"


def _definition(plural):
    anything = {"type": "object", "x-kubernetes-preserve-unknown-fields": True}
    schema = {"type": "object", "required": ["spec"], "properties": {"spec": anything, "status": anything}}
    version = {"name": "v1", "served": True, "storage": True, "schema": {"openAPIV3Schema": schema}}
    kind = KINDS[plural]
    names = {"plural": plural, "singular": kind.lower(), "kind": kind, "listKind": f"{kind}List"}
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": f"{plural}.{GROUP}"},
        "spec": {"group": GROUP, "scope": "Namespaced", "names": names, "versions": [version]},
    }


def _kubectl(cloud, manifest, *arguments):
    done = cloud.run("bash", "-c", 'printf %s "$MANIFEST" | kubectl "$@"', "kubectl", *arguments, MANIFEST=manifest)
    assert done.returncode == 0, done.stdout
