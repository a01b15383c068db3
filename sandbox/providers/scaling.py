"""Whether somebody scaled a workload by hand whose replicas an autoscaler owns.

The API server does not tell: it records who sets `replicas` only where somebody owned the field before, and the program
leaves it out for the autoscaler. So the autoscaler is asked what it last decided.
"""

from typing import Any

from sandbox.providers import wire
from sandbox.providers.api_server import ApiServer

Object = dict[str, Any]

SCALED_KINDS = frozenset({"Deployment", "StatefulSet"})


def decided_replicas(api: ApiServer, live: Object) -> int | None:
    """How many replicas the workload's autoscaler last decided on; None without one, or before its first decision."""
    metadata = live["metadata"]
    for autoscaler in api.items(f"/apis/autoscaling/v2/namespaces/{metadata['namespace']}/horizontalpodautoscalers"):
        target = autoscaler["spec"]["scaleTargetRef"]
        if (target["kind"], target["name"]) == (live["kind"], metadata["name"]):
            return (autoscaler.get("status") or {}).get("desiredReplicas") or None
    return None


def with_drift(api: ApiServer, live: Object, inputs: Object) -> Object:
    """The inputs, with the live number of replicas where it is not the autoscaler's."""
    if live.get("kind") not in SCALED_KINDS or "replicas" in _spec(inputs):
        return inputs
    replicas = live["spec"].get("replicas")
    if decided_replicas(api, live) in (None, replicas):
        return inputs
    spec = inputs["spec"]
    if isinstance(spec, wire.Secret):  # a secret in a pod makes all of it one
        return {**inputs, "spec": wire.Secret({**spec.value, "replicas": replicas})}
    return {**inputs, "spec": {**spec, "replicas": replicas}}


def handed_back(api: ApiServer, live: Object, inputs: Object) -> Object:
    """The live object, scaled back to what its autoscaler decided where the program leaves that to it."""
    if live.get("kind") not in SCALED_KINDS or "replicas" in _spec(inputs):
        return live
    decided = decided_replicas(api, live)
    if decided in (None, live["spec"].get("replicas")):
        return live
    return api.patch(live, [{"op": "replace", "path": "/spec/replicas", "value": decided}])


def _spec(inputs: Object) -> Object:
    return dict(wire.reveal(inputs.get("spec")) or {})
