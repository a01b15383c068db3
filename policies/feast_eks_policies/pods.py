"""Pods that could take over their node: Pod Security `restricted`, said before the API server says it, and a little more."""

from collections.abc import Iterator, Mapping
from typing import Any

from feast_eks_policies.objects import volumes
from feast_eks_policies.rule import Resource, ResourceRule, Rule
from feast_eks_policies.values import UNKNOWN, WORKLOADS, as_list, containers, get, items, mapping, pod_specs

SECCOMP_PROFILES = ("RuntimeDefault", "Localhost")
ADDABLE_CAPABILITIES = ("NET_BIND_SERVICE",)
VOLUME_TYPES = frozenset(
    {"configMap", "csi", "downwardAPI", "emptyDir", "ephemeral", "image", "persistentVolumeClaim", "projected", "secret"}
)
"""What Pod Security `restricted` lets a pod mount: nothing of the node."""

SAFE_SYSCTLS = frozenset(
    {
        *("kernel.shm_rmid_forced", "net.ipv4.ip_local_port_range", "net.ipv4.ip_unprivileged_port_start", "net.ipv4.tcp_syncookies"),
        *("net.ipv4.ping_group_range", "net.ipv4.ip_local_reserved_ports", "net.ipv4.tcp_keepalive_time"),
        *("net.ipv4.tcp_fin_timeout", "net.ipv4.tcp_keepalive_intvl", "net.ipv4.tcp_keepalive_probes", "net.ipv4.tcp_rmem"),
        "net.ipv4.tcp_wmem",
    }
)


def _each_container(resource: Resource) -> Iterator[tuple[str, Mapping[str, Any], Mapping[str, Any]]]:
    """(path, pod spec, container) of every container."""
    for path, _, spec in pod_specs(resource):
        for within, container in containers(spec):
            yield f"{path}.{within}", spec, container


def _security(container: Mapping[str, Any], *field: str) -> Any:
    return get(container, "securityContext", *field)


def _effective(spec: Mapping[str, Any], container: Mapping[str, Any], *field: str) -> Any:
    """A security field of the container, or of its pod where the container has none."""
    own = _security(container, *field)
    return get(spec, "securityContext", *field) if own is None else own


def _nonroot(resource: Resource) -> Iterator[str]:
    for path, spec, container in _each_container(resource):
        if _effective(spec, container, "runAsNonRoot") not in (True, UNKNOWN):
            yield f"{path}.securityContext.runAsNonRoot is not true, neither there nor on the pod: the image may run as root"
        if _effective(spec, container, "runAsUser") == 0:
            yield f"{path}.securityContext.runAsUser is 0, which is root"


def _privileges(resource: Resource) -> Iterator[str]:
    for path, _, container in _each_container(resource):
        if _security(container, "privileged") is True:
            yield f"{path}.securityContext.privileged is true: the container owns its node"
        if _security(container, "allowPrivilegeEscalation") not in (False, UNKNOWN):
            yield f"{path}.securityContext.allowPrivilegeEscalation is not false: a setuid program makes the process root"
        if _security(container, "procMount") not in (None, "Default", UNKNOWN):
            yield f"{path}.securityContext.procMount is not Default: the masked parts of /proc are readable"


def _capabilities(resource: Resource) -> Iterator[str]:
    for path, _, container in _each_container(resource):
        capabilities = _security(container, "capabilities")
        dropped = as_list(get(capabilities, "drop"))
        if UNKNOWN not in dropped and "ALL" not in dropped:
            yield f"{path}.securityContext.capabilities.drop lacks ALL"
        for added in items(get(capabilities, "add")):
            if added is not UNKNOWN and added not in ADDABLE_CAPABILITIES:
                yield f"{path}.securityContext.capabilities.add gives {added}"


def _seccomp(resource: Resource) -> Iterator[str]:
    for path, spec, container in _each_container(resource):
        profile = _effective(spec, container, "seccompProfile", "type")
        if profile is not UNKNOWN and profile not in SECCOMP_PROFILES:
            yield f"{path}.securityContext.seccompProfile.type is {profile or 'missing'}, there and on the pod: every system call is open"


def _root_file_system(resource: Resource) -> Iterator[str]:
    for path, _, container in _each_container(resource):
        if _security(container, "readOnlyRootFilesystem") not in (True, UNKNOWN):
            yield f"{path}.securityContext.readOnlyRootFilesystem is not true: an intruder can change the program that runs"


def _host(resource: Resource) -> Iterator[str]:
    for path, _, spec in pod_specs(resource):
        yield from (f"{path}.{fault}" for fault in _shared_by_pod(spec))
    for path, _, container in _each_container(resource):
        if _security(container, "windowsOptions", "hostProcess") is True:
            yield f"{path}.securityContext.windowsOptions.hostProcess is true"
        for index, port in enumerate(items(container.get("ports"))):
            if mapping(port).get("hostPort") not in (None, 0, UNKNOWN):
                yield f"{path}.ports[{index}].hostPort opens a port of the node, past every network policy"


def _shared_by_pod(spec: Mapping[str, Any]) -> Iterator[str]:
    for field in ("hostNetwork", "hostPID", "hostIPC"):
        if get(spec, field) is True:
            yield f"{field} is true: the pod shares that with its node"
    for within, volume in volumes(spec):
        for mounted in sorted(set(volume) - {"name"} - VOLUME_TYPES):
            if volume[mounted] is not None:
                yield f"{within} mounts a {mounted}"
    for index, setting in enumerate(items(get(spec, "securityContext", "sysctls"))):
        changed = get(setting, "name")
        if changed is not UNKNOWN and changed not in SAFE_SYSCTLS:
            yield f"securityContext.sysctls[{index}] changes {changed}, which the whole node shares"
    if get(spec, "securityContext", "windowsOptions", "hostProcess") is True:
        yield "securityContext.windowsOptions.hostProcess is true"


RULES: tuple[Rule, ...] = (
    ResourceRule(
        name="pod-nonroot",
        description="No container runs as root.",
        harm="workloads",
        severity="high",
        controls=("CKV_K8S_23", "CKV_K8S_40"),
        remedy="set runAsNonRoot: true and a runAsUser other than 0 on the pod",
        types=WORKLOADS,
        check=_nonroot,
    ),
    ResourceRule(
        name="pod-no-privesc",
        description="No process gains more rights than it started with.",
        harm="workloads",
        severity="high",
        controls=("CKV_K8S_20", "CKV_K8S_16"),
        remedy="set allowPrivilegeEscalation: false on every container; the default is true",
        types=WORKLOADS,
        check=_privileges,
    ),
    ResourceRule(
        name="pod-drop-all",
        description="Containers drop all Linux capabilities.",
        harm="workloads",
        severity="high",
        controls=("CKV_K8S_37", "CKV_K8S_28", "CKV_K8S_25"),
        remedy="set capabilities: {drop: [ALL]} and add at most NET_BIND_SERVICE",
        types=WORKLOADS,
        check=_capabilities,
    ),
    ResourceRule(
        name="pod-seccomp",
        description="Containers may make the usual system calls only.",
        harm="workloads",
        severity="medium",
        controls=("CKV_K8S_31",),
        remedy="set seccompProfile: {type: RuntimeDefault} on the pod",
        types=WORKLOADS,
        check=_seccomp,
    ),
    ResourceRule(
        name="pod-readonly-rootfs",
        description="Containers cannot write to their image.",
        harm="workloads",
        severity="medium",
        controls=("CKV_K8S_22",),
        remedy="set readOnlyRootFilesystem: true and mount an emptyDir where the program writes",
        types=WORKLOADS,
        check=_root_file_system,
    ),
    ResourceRule(
        name="pod-host-isolation",
        description="Pods share neither network, processes, files nor ports with their node.",
        harm="workloads",
        severity="critical",
        controls=("CKV_K8S_17", "CKV_K8S_18", "CKV_K8S_19", "CKV_K8S_26", "CKV_K8S_27"),
        remedy="remove the field; use a Service for ports and a persistent volume claim for files",
        types=WORKLOADS,
        check=_host,
    ),
)
