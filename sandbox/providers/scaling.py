"""Whether somebody scaled a workload by hand whose replicas an autoscaler owns.

The API server does not tell: it records who sets `replicas` only where somebody owned the field before, and the program
leaves it out for the autoscaler. So the autoscaler is asked what it last decided.
"""

from typing import Any

from sandbox.providers.api_server import ApiServer

Object = dict[str, Any]

SCALED_KINDS = frozenset({"Deployment", "StatefulSet"})


def decided_replicas(api: ApiServer, live: Object) -> int | None:
    """How many replicas the workload's autoscaler last decided on; None without one, or before its first decision."""
    if live.get("kind") not in SCALED_KINDS:
        return None
    metadata = live["metadata"]
    for autoscaler in api.items(f"/apis/autoscaling/v2/namespaces/{metadata['namespace']}/horizontalpodautoscalers"):
        target = autoscaler["spec"]["scaleTargetRef"]
        if (target["kind"], target["name"]) == (live["kind"], metadata["name"]):
            return (autoscaler.get("status") or {}).get("desiredReplicas") or None
    return None


def with_drift(api: ApiServer, live: Object, inputs: Object) -> Object:
    """The inputs, with the live number of replicas where it is not the autoscaler's."""
    replicas = live.get("spec", {}).get("replicas")
    if "replicas" in inputs.get("spec", {}) or decided_replicas(api, live) in (None, replicas):
        return inputs
    return {**inputs, "spec": {**inputs["spec"], "replicas": replicas}}


def handed_back(api: ApiServer, live: Object, inputs: Object) -> Object:
    """The live object, scaled back to what its autoscaler decided where the program leaves that to it."""
    decided = decided_replicas(api, live)
    if "replicas" in inputs.get("spec", {}) or decided in (None, live["spec"].get("replicas")):
        return live
    return api.patch(live, [{"op": "replace", "path": "/spec/replicas", "value": decided}])
