"""One shape for every pod of ours: labels given once, Pod Security `restricted`, the feature repo mounted.

Pure: plain values in, plain Kubernetes objects out.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

PART_OF = "feast-eks"
USER_ID = 1001
"""What the runtime image and the charts' images run as."""

FEATURE_REPO_PATH = "/etc/feast/repo"

Object = dict[str, Any]


@dataclass(frozen=True, kw_only=True)
class Resources:
    """What a container may use: CPU request in thousandths of a core, memory request and limit in MiB.

    Memory is reserved in full, so that a pod is never ended for memory its node promised twice. CPU has no limit.
    """

    cpu_millicores: int
    memory_mib: int

    def to_kubernetes(self) -> Object:
        """The `resources` of a container."""
        memory = f"{self.memory_mib}Mi"
        return {"requests": {"cpu": f"{self.cpu_millicores}m", "memory": memory}, "limits": {"memory": memory}}


@dataclass(frozen=True, kw_only=True)
class Container:
    """A container of the runtime image: one verb of its command line."""

    name: str
    image: str
    args: Sequence[str]
    environment: Sequence[Object]
    resources: Resources
    ports: Mapping[str, int] | None = None
    lifecycle: Mapping[str, Any] | None = None

    def to_kubernetes(self) -> Object:
        """The container, locked down, with a writable /tmp and the feature repo."""
        container: Object = {
            "name": self.name,
            "image": self.image,
            "imagePullPolicy": "IfNotPresent",
            "args": list(self.args),
            "env": [
                {"name": "FEATURE_REPO_DIR_ENV_VAR", "value": FEATURE_REPO_PATH},
                {"name": "HOME", "value": "/tmp"},
                *self.environment,
            ],
            "resources": self.resources.to_kubernetes(),
            "securityContext": {
                "allowPrivilegeEscalation": False,
                "readOnlyRootFilesystem": True,
                "capabilities": {"drop": ["ALL"]},
            },
            "volumeMounts": [
                {"name": "feature-repo", "mountPath": FEATURE_REPO_PATH, "readOnly": True},
                {"name": "tmp", "mountPath": "/tmp"},
            ],
            "terminationMessagePolicy": "FallbackToLogsOnError",
        }
        if self.ports:
            container["ports"] = [{"name": name, "containerPort": port} for name, port in self.ports.items()]
        if self.lifecycle:
            container["lifecycle"] = dict(self.lifecycle)
        return container


@dataclass(frozen=True, kw_only=True)
class Workload:
    """Pods of one kind: their name, labels, identity and containers."""

    name: str
    service_account: str
    definitions: Object | None
    """The volume that is the feature repo; None for pods that read none."""
    containers: Sequence[Object]
    client_labels: Mapping[str, str]
    """Labels by which the stores' network policies know their clients."""
    restart_policy: str = "Never"
    extra: Mapping[str, Any] | None = None

    @property
    def selector(self) -> dict[str, str]:
        """The labels that find these pods, and nothing else."""
        return selector(self.name)

    def template(self, annotations: Mapping[str, str] | None = None) -> Object:
        """The pod template."""
        spec: Object = {
            "serviceAccountName": self.service_account,
            "automountServiceAccountToken": False,
            "enableServiceLinks": False,
            "restartPolicy": self.restart_policy,
            "securityContext": {
                "runAsNonRoot": True,
                "runAsUser": USER_ID,
                "runAsGroup": USER_ID,
                "fsGroup": USER_ID,
                "seccompProfile": {"type": "RuntimeDefault"},
            },
            "containers": list(self.containers),
            "volumes": [
                {"name": "feature-repo", **(self.definitions or {"emptyDir": {}})},
                {"name": "tmp", "emptyDir": {}},
            ],
            **(self.extra or {}),
        }
        metadata: Object = {"labels": {**labels(self.name), **self.client_labels}}
        if annotations:
            metadata["annotations"] = dict(annotations)
        return {"metadata": metadata, "spec": spec}


def selector(name: str) -> dict[str, str]:
    """The labels that find the pods of a workload."""
    return {"app.kubernetes.io/name": name, "app.kubernetes.io/part-of": PART_OF}


def labels(name: str) -> dict[str, str]:
    """The labels on everything that belongs to a workload."""
    return {**selector(name), "app.kubernetes.io/managed-by": "pulumi"}
