"""The cloud in order: everything that the program is rolled out onto, brought up, described and taken down.

`bring_up` may be cut at any point: each part looks at what is there and does what is missing, and the next run finishes.
`take_down` works on whatever it finds, half-made or another clone's.
"""

import os
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from sandbox import addresses as at
from sandbox import (
    certificates,
    cgroups,
    control_plane,
    daemons,
    dns,
    image,
    machine,
    network,
    node,
    pause,
    plugins,
    s3,
    state,
    storage,
)
from sandbox.kubectl import Kubectl
from sandbox.progress import Progress, SandboxError, Step, wait_until
from sandbox.tools import TOOLS, Downloads, Tool, Toolbox

STEPS = 10
STEPS_BORROWED = 4
OWN = "own"
START_AGAIN = "`make down`, then `make up`"
# In the order in which requests pass them; `status` shows them so.
DAEMONS = (
    "etcd",
    "kube-apiserver",
    "kube-controller-manager",
    "kube-scheduler",
    "containerd",
    "kubelet",
    "kube-proxy",
    "coredns",
    "s3",
)
KUBERNETES_PROVIDER = "pulumi-resource-kubernetes"
TOOLS_OF_OWN_CLUSTER = (
    "kube-apiserver",
    "kube-controller-manager",
    "kube-scheduler",
    "kubelet",
    "kube-proxy",
    "etcd",
    "coredns",
    "pause",
)


@dataclass(frozen=True)
class Cloud:
    """What the program can rely on once the cloud is up."""

    kubeconfig: Path
    own_cluster: bool
    """False when KUBECONTEXT names somebody else's."""
    s3_is_empty: bool
    """The program's buckets are gone with an earlier S3 server: the rollout has to refresh before it updates."""


def bring_up(progress: Progress, context: str = "") -> Cloud:
    """Bring up everything but the program. `context` names a kube context to use instead of a cluster of our own.

    The caller holds the lock.
    """
    downloads = Downloads.chosen(os.environ)
    _take_over(progress, context or OWN)
    toolbox = Toolbox(state.CACHE / "tools", state.LOGS / "tools.log", _tools(context), _path_without_ours(), downloads)
    try:
        with progress.step("This machine") as step:
            _prepare_machine(step, own_cluster=not context)
            toolbox.start()
            machine.require_space(building=bool(toolbox.missing))
        if context:
            return _bring_up_on(progress, toolbox, context)
        return _bring_up_own(progress, toolbox)
    finally:
        toolbox.stop()


def _bring_up_own(progress: Progress, toolbox: Toolbox) -> Cloud:
    with progress.step("Container images") as step:
        try:
            images = image.build(state.CACHE, state.LOGS / "images.log", step.says)
        except image.ImageBuildError as error:
            raise SandboxError(str(error)) from None
        step.ends_with(", ".join(built.reference for built in images))
    with progress.step("Network and certificates"):
        _ensure_network()
        certificates.ensure()
    with progress.step("Kubernetes control plane") as step:
        _start_control_plane(step, toolbox)
    kubectl = Kubectl(toolbox.path("kubectl"))
    with progress.step("Container runtime") as step:
        node.containerd().ensure()
        archives = [(pause.archive(toolbox.path("pause", step.says), state.STATE / "images"), at.PAUSE_IMAGE)]
        archives += [(built.archive, built.reference) for built in images]
        loaded = []
        for archive, reference in archives:
            step.says(f"importing {reference}")
            loaded += [reference] if node.load_image(archive, reference) else []
        step.ends_with(f"imported {', '.join(loaded)}" if loaded else "images are there")
    with progress.step("Kubernetes node") as step:
        _start_node(step, toolbox, kubectl)
    with progress.step("Cluster DNS") as step:
        dns.publish(kubectl)
        step.says("starting coredns")
        dns.server(toolbox.path("coredns", step.says)).ensure()
    with progress.step("Storage") as step:
        renewed = storage.ensure(kubectl)
        step.ends_with(f"{storage.STOCK} volumes" + (f", {renewed} renewed" if renewed else ""))
    with progress.step("S3") as step:
        _start_s3(step)
    with progress.step("Pulumi") as step:
        _install_pulumi(step, toolbox)
    return Cloud(state.KUBECONFIG, own_cluster=True, s3_is_empty=s3.is_empty_for_the_program())


def _bring_up_on(progress: Progress, toolbox: Toolbox, context: str) -> Cloud:
    with progress.step(f"Cluster of the context {context}") as step:
        problem = control_plane.borrow(toolbox.path("kubectl", step.says), context)
        if problem is not None:
            raise SandboxError(
                f"KUBECONTEXT={context}: {problem}",
                remedy=f"`kubectl --context={context} get nodes` must work; without KUBECONTEXT a cluster is made here",
            )
        state.take_ownership(context)
    with progress.step("S3") as step:
        network.ensure_address_only()
        _start_s3(step)
        step.ends_with(f"pods must reach {at.S3_URL}: they do when the cluster runs on this machine")
    with progress.step("Pulumi") as step:
        _install_pulumi(step, toolbox)
    progress.say("No image was built: the cluster must be able to pull the runtime image that the stack file names.")
    return Cloud(state.KUBECONFIG, own_cluster=False, s3_is_empty=s3.is_empty_for_the_program())


def _take_over(progress: Progress, mode: str) -> None:
    """Make what is there ours: another clone's sandbox is gone on with, one that cannot be is taken down first."""
    owner = state.owner()
    if owner.get("mode", mode) != mode:
        raise SandboxError(
            f"the sandbox is up with {_described(owner['mode'])}, not with {_described(mode)}",
            remedy="`make down` first",
        )
    if owner.get("format", str(state.FORMAT)) != str(state.FORMAT):
        progress.say("The sandbox here was made by another version: taking it down first.")
        take_down_everything()
    elif owner.get("clone", str(state.CLONE)) != str(state.CLONE):
        progress.say(f"Taking over the sandbox of {owner['clone']}.")
    state.forget_last_boot()
    state.make_directories()
    if mode == OWN:
        state.take_ownership(mode)  # a context is recorded when it has been found to work


def _described(mode: str) -> str:
    return "a cluster of its own" if mode == OWN else f"the cluster of the context {mode}"


def _prepare_machine(step: Step, *, own_cluster: bool) -> None:
    machine.require_memory()
    missing = machine.missing_packages() if own_cluster else []
    if missing:
        step.says(f"installing {', '.join(missing)}")
        machine.install(missing, state.LOGS / "packages.log")
        step.ends_with(f"installed {', '.join(missing)}")
    if own_cluster:
        machine.require_no_other_kubelet()
        machine.require_free_network()
        machine.require_free_ports()


def _ensure_network() -> None:
    created = network.ensure()
    if created:
        # Pods of a network that is gone reach nobody: the runtime starts without them, and the kubelet makes them again.
        node.stop_daemons()
        node.remove_pods()


def _start_control_plane(step: Step, toolbox: Toolbox) -> None:
    etcd = control_plane.etcd(toolbox.path("etcd", step.says))
    api_server = control_plane.api_server(toolbox.path("kube-apiserver", step.says))
    controllers = control_plane.controller_manager(toolbox.path("kube-controller-manager", step.says))
    scheduler = control_plane.scheduler(toolbox.path("kube-scheduler", step.says))
    started = []
    for daemon in (etcd, api_server, controllers, scheduler):
        step.says(f"starting {daemon.name}")
        started += [daemon.name] if daemon.ensure() else []
    kubectl = Kubectl(toolbox.path("kubectl", step.says))
    step.says("waiting for the default service account")
    wait_until(lambda: _exists(kubectl, "serviceaccount", "default"), what="the default service account is", seconds=60)
    step.ends_with(f"started {', '.join(started)}" if started else "runs")


def _start_node(step: Step, toolbox: Toolbox, kubectl: Kubectl) -> None:
    kubelet, proxy = toolbox.path("kubelet", step.says), toolbox.path("kube-proxy", step.says)
    step.says("starting kubelet and kube-proxy")
    started = [
        name
        for name, was_started in (
            ("kubelet", node.start_kubelet(kubelet)),
            ("kube-proxy", node.proxy(proxy).ensure()),
        )
        if was_started
    ]
    step.says("waiting for the node to be ready")
    wait_until(
        lambda: node.is_ready(kubectl),
        what="the node is ready",
        seconds=120,
        log=state.LOGS / "kubelet.log",
        remedy=START_AGAIN,
    )
    step.ends_with(f"started {', '.join(started)}" if started else "runs")


def _start_s3(step: Step) -> None:
    step.ends_with("started, empty" if s3.ensure() else "runs")


def _install_pulumi(step: Step, toolbox: Toolbox) -> None:
    for tool in toolbox.tools:
        executable = toolbox.path(tool.name, step.says)
        if tool.name != KUBERNETES_PROVIDER:  # a plugin, and nobody's command
            _link(executable, state.BIN / tool.name)
    step.says("installing the plugins")
    installed = plugins.install(state.PULUMI_HOME, state.BIN, toolbox.path(KUBERNETES_PROVIDER))
    step.ends_with(f"tools: {toolbox.summary()}; plugins: {', '.join(map(str, installed))}")


def _link(executable: Path, place: Path) -> None:
    """Put a tool into the sandbox's bin directory.

    One from the cache becomes a file there and not a symbolic link: the engine looks for its language hosts beside the file
    that it really is. One found on PATH stays where it is, with the language hosts that came with it.
    """
    if place.exists() and place.samefile(executable):
        return
    partial = place.with_name(f".{place.name}.partial")
    partial.unlink(missing_ok=True)
    if state.CACHE not in executable.parents:
        partial.symlink_to(executable)
    else:
        try:
            os.link(executable, partial)
        except OSError:  # another file system
            if place.exists() and not place.is_symlink() and place.stat().st_mtime_ns == executable.stat().st_mtime_ns:
                return
            shutil.copy2(executable, partial)
    partial.replace(place)


def _tools(context: str) -> list[Tool]:
    return [tool for tool in TOOLS if not context or tool.name not in TOOLS_OF_OWN_CLUSTER]


def _path_without_ours() -> str:
    entries = os.environ.get("PATH", os.defpath).split(os.pathsep)
    return os.pathsep.join(entry for entry in entries if entry != str(state.BIN))


def _exists(kubectl: Kubectl, *arguments: str) -> bool:
    try:
        kubectl.get(*arguments)
    except SandboxError:
        return False
    return True


def take_down_everything(progress: Progress | None = None) -> None:
    """Remove every process, mount, network namespace, interface, cgroup and file of the sandbox except the cache.

    Raises SandboxError saying what could not be removed. The caller holds the lock.
    """
    for title, remove in DOWN_STEPS:
        if progress is None:
            remove()
        else:
            with progress.step(title):
                remove()
    left = leftovers()
    if left:
        raise SandboxError(f"could not remove: {'; '.join(left)}", remedy="end what uses them and run `make down` again")


def _remove_files() -> None:
    daemons.kill_everything_marked()
    node.unmount_everything()
    node.restore_kernel_settings()
    mounted = state.mounts_below(state.STATE, state.RUNTIME)
    if mounted:
        raise SandboxError(f"still mounted: {', '.join(map(str, mounted))}", remedy="end what uses it, then `make down` again")
    state.remove_places()


DOWN_STEPS: tuple[tuple[str, Callable[[], None]], ...] = (
    ("S3", lambda: daemons.stop("s3")),
    ("Cluster DNS", dns.stop_server),
    ("Kubernetes node", node.stop_daemons),
    ("Kubernetes control plane", control_plane.stop_all),
    ("Pods and container runtime", node.remove_pods),
    ("Control groups", cgroups.remove),
    ("Network", network.remove),
    ("Files", _remove_files),
)


def leftovers() -> list[str]:
    """What of the sandbox is still on this machine, in words; empty when nothing is."""
    left = [f"process {process.pid} ({name})" for name, process in daemons.marked_processes()]
    left += [f"process {shim.pid} (containerd-shim)" for shim in node.shims()]
    left += [f"process {pid} in a pod" for pid in sorted(cgroups.processes())]
    left += [f"mount {point}" for point in state.mounts_below(state.STATE, state.RUNTIME)]
    left += [f"network namespace {at.NETWORK_NAMESPACE}"] if network.NAMESPACE_FILE.exists() else []
    left += [f"interface {at.HOST_INTERFACE}"] if Path("/sys/class/net", at.HOST_INTERFACE).exists() else []
    left += ["cgroups"] if cgroups.exists() else []
    for place in (state.STATE, state.RUNTIME):
        left += [f"directory {directory}" for directory in (place, *state.removed_places(place)) if directory.exists()]
    return left


def status() -> tuple[bool, list[str]]:
    """Whether all of the sandbox runs, and one line per part."""
    owner = state.owner()
    if not owner:
        left = leftovers()
        return False, ["The sandbox is down." if not left else f"The sandbox is down, but there is left: {'; '.join(left)}"]
    lines = [f"brought up by {owner['clone']}, with {_described(owner['mode'])}"]
    wanted = DAEMONS if owner["mode"] == OWN else ("s3",)
    processes = {name: daemons.running(name) for name in wanted}
    for name, process in processes.items():
        lines.append(f"{name:25} " + (f"runs as process {process.pid}" if process else "does not run"))
    lines.append(f"{'kubeconfig':25} {state.KUBECONFIG}")
    lines.append(f"{'S3':25} {at.S3_URL}")
    return all(processes.values()), lines
