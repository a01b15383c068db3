"""`helm.sh/v4:Chart`: renders a chart with helm and registers every object of it with the engine.

The objects are ordinary resources below the chart, so previews, policies and transforms see each of them.
"""

import json
import os
import shutil
import subprocess
import tempfile
from collections.abc import Mapping
from concurrent import futures
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc
import yaml
from pulumi.runtime.proto import provider_pb2, resource_pb2, resource_pb2_grpc

from sandbox.providers import plugin, wire
from sandbox.providers.api_server import ApiServer, Object
from sandbox.providers.plugin import InvalidInput, ProviderError

TYPE = "kubernetes:helm.sh/v4:Chart"

_SKIP_AWAIT = "pulumi.com/skipAwait"
_RESOURCE_POLICY = "helm.sh/resource-policy"
_UNSUPPORTED = ("verify", "keyring", "postRenderer", "plainHttp")
_KNOWN = [
    "chart",
    "version",
    "name",
    "namespace",
    "values",
    "valueYamlFiles",
    "repositoryOpts",
    "dependencyUpdate",
    "devel",
    "skipAwait",
    "skipCrds",
    "resourcePrefix",
]
# What other objects of a chart live in or are made of.
_FIRST = ("Namespace", "CustomResourceDefinition")
_HELM_TIMEOUT_SECONDS = 300


@dataclass(frozen=True)
class Chart:
    """The inputs of one chart."""

    chart: str
    release: str
    namespace: str
    prefix: str
    version: str
    values: Mapping[str, Any]
    value_files: tuple[wire.Asset, ...]
    repository: Mapping[str, Any]
    dependency_update: bool
    devel: bool
    skip_await: bool
    skip_crds: bool


def construct(request: Any, api: ApiServer, engine: plugin.Engine, version: str, default_namespace: str) -> Any:
    """Answers the engine's Construct: registers the chart, then its objects, and returns when they are done."""
    inputs = wire.read(request.inputs)
    chart = None
    if not wire.has_unknown(inputs):
        chart = read_inputs(request.name, wire.reveal(inputs), default_namespace)
    with grpc.insecure_channel(request.monitorEndpoint, options=plugin.CHANNEL_OPTIONS) as channel:
        monitor = resource_pb2_grpc.ResourceMonitorStub(channel)
        urn = _register_component(monitor, request)
        resources: list[wire.ResourceReference] = []
        if chart is None:
            engine.warning(urn, "Some inputs of the chart are only known during the update: its objects are not shown.")
        else:
            rendered = render(chart, api)
            named = [(child_name(chart, item), item) for item in objects(chart, rendered, api)]
            try:
                resources = _Registration(monitor, request, urn, version).all(named)
            except _EngineStopped:
                return provider_pb2.ConstructResponse(urn=urn)
        outputs = wire.write({"resources": resources})
        monitor.RegisterResourceOutputs(resource_pb2.RegisterResourceOutputsRequest(urn=urn, outputs=outputs))
    return provider_pb2.ConstructResponse(urn=urn, state=outputs)


def read_inputs(name: str, inputs: Mapping[str, Any], default_namespace: str) -> Chart:
    """The chart's inputs, checked. Raises InvalidInput naming the property."""
    for key, value in inputs.items():
        if key in _UNSUPPORTED and value:
            raise InvalidInput(key, "is not supported by the sandbox's Kubernetes provider")
        if key not in _KNOWN and key not in _UNSUPPORTED:
            raise InvalidInput(key, f"is no input of a chart; those are {', '.join(_KNOWN)}")
    location = inputs.get("chart")
    if not isinstance(location, str) or not location:
        raise InvalidInput("chart", "must say where the chart is: a directory, an archive, oci://… or a name in a repository")
    values = inputs.get("values") or {}
    if not isinstance(values, Mapping):
        raise InvalidInput("values", f"must be a map, not {type(values).__name__}")
    files = inputs.get("valueYamlFiles") or []
    if not all(isinstance(file, wire.Asset) for file in files):
        raise InvalidInput("valueYamlFiles", "must be a list of assets")
    return Chart(
        chart=location,
        release=inputs.get("name") or name,
        namespace=inputs.get("namespace") or default_namespace,
        prefix=inputs.get("resourcePrefix") or name,
        version=inputs.get("version") or "",
        values=values,
        value_files=tuple(files),
        repository=inputs.get("repositoryOpts") or {},
        dependency_update=bool(inputs.get("dependencyUpdate")),
        devel=bool(inputs.get("devel")),
        skip_await=bool(inputs.get("skipAwait")),
        skip_crds=bool(inputs.get("skipCrds")),
    )


def render(chart: Chart, api: ApiServer) -> str:
    """The chart's manifests, as `helm template` prints them for this cluster. Raises ProviderError with helm's message."""
    helm = shutil.which("helm")
    if helm is None:
        raise ProviderError("helm is not on PATH, so charts cannot be rendered; `make up` installs it, `make env` finds it")
    with ExitStack() as stack:
        kubeconfig = stack.enter_context(api.kubeconfig.as_file())
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="chart-")))
        command = _command(helm, chart, api, directory)
        environment = {**os.environ, "KUBECONFIG": str(kubeconfig)}
        try:
            done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=_HELM_TIMEOUT_SECONDS, check=False)
        except subprocess.TimeoutExpired:
            raise ProviderError(f"helm did not render {chart.chart} within {_HELM_TIMEOUT_SECONDS} s") from None
    if done.returncode != 0:
        message = "\n".join(line for line in done.stderr.splitlines() if not line.startswith("WARNING:")).strip()
        raise ProviderError(f"helm cannot render the chart {chart.chart}: {message.removeprefix('Error: ')}")
    return done.stdout


def objects(chart: Chart, rendered: str, api: ApiServer) -> list[Object]:
    """The rendered objects, each in its namespace; what helm would not install is left out."""
    found: list[Object] = []
    try:
        documents = list(yaml.load_all(rendered, Loader=_StringsForDates))
    except yaml.YAMLError as error:
        raise ProviderError(f"the chart {chart.chart} renders to something that is not YAML: {error}") from None
    for document in documents:
        items = document.get("items") or [] if _is_list(document) else [document]
        found += [_placed(item, chart, api) for item in items if item]
    return found


def child_name(chart: Chart, item: Object) -> str:
    """The name under which the engine knows an object of the chart; the official provider's, so state carries over."""
    metadata = item["metadata"]
    name = f"{metadata['namespace']}/{metadata['name']}" if metadata.get("namespace") else metadata["name"]
    return f"{chart.prefix}:{name}"


# --- Rendering --------------------------------------------------------------------------------------------------------


def _command(helm: str, chart: Chart, api: ApiServer, directory: Path) -> list[str]:
    values = directory / "values.yaml"
    values.touch(mode=0o600)
    # JSON is YAML that no parser reads as anything but what it says.
    values.write_text(json.dumps(dict(chart.values)))
    command = [helm, "template", chart.release, chart.chart, "--namespace", chart.namespace]
    for number, asset in enumerate(chart.value_files):
        file = directory / f"values-{number}.yaml"
        file.write_bytes(asset.read())
        command += ["--values", str(file)]
    command += ["--values", str(values), "--no-hooks", "--skip-tests"]
    # Rendered for the real cluster: `lookup` works, and charts see its version and its kinds.
    command += ["--dry-run=server", "--validate=false", "--kube-context", api.kubeconfig.context]
    command += ["--kube-version", api.version()]
    for api_version in api.api_versions():
        command += ["--api-versions", api_version]
    for given, flags in (
        (not chart.skip_crds, ["--include-crds"]),
        (chart.version, ["--version", chart.version]),
        (chart.devel, ["--devel"]),
        (chart.dependency_update, ["--dependency-update"]),
    ):
        command += flags if given else []
    return [*command, *_repository_flags(chart.repository, directory)]


def _repository_flags(repository: Mapping[str, Any], directory: Path) -> list[str]:
    flags = []
    for option, flag in (("repo", "--repo"), ("username", "--username"), ("password", "--password")):
        if repository.get(option):
            flags += [flag, str(repository[option])]
    for option, flag in (("caFile", "--ca-file"), ("certFile", "--cert-file"), ("keyFile", "--key-file")):
        credential = repository.get(option)
        if isinstance(credential, wire.Asset):
            file = directory / option
            file.touch(mode=0o600)
            file.write_bytes(credential.read())
            flags += [flag, str(file)]
    return flags


class _StringsForDates(getattr(yaml, "CSafeLoader", yaml.SafeLoader)):  # type: ignore[misc]
    """YAML as Kubernetes reads it: a date is a text."""


_StringsForDates.yaml_implicit_resolvers = {
    letter: [entry for entry in resolvers if entry[0] != "tag:yaml.org,2002:timestamp"]
    for letter, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}


def _is_list(document: Any) -> bool:
    return isinstance(document, dict) and str(document.get("kind", "")).endswith("List") and "items" in document


def _placed(item: Any, chart: Chart, api: ApiServer) -> Object:
    if not isinstance(item, dict) or not {"apiVersion", "kind", "metadata"} <= item.keys():
        raise ProviderError(f"the chart {chart.chart} renders an object without apiVersion, kind or metadata: {item!r:.200}")
    metadata = dict(item["metadata"] or {})
    if not metadata.get("name"):
        raise ProviderError(f"the chart {chart.chart} renders a {item['kind']} without a name")
    if api.is_namespaced(item["apiVersion"], item["kind"]):
        metadata["namespace"] = metadata.get("namespace") or chart.namespace
    if chart.skip_await:
        metadata["annotations"] = {_SKIP_AWAIT: "true", **(metadata.get("annotations") or {})}
    return {**item, "metadata": metadata}


# --- Registering ------------------------------------------------------------------------------------------------------


def _register_component(monitor: resource_pb2_grpc.ResourceMonitorStub, request: Any) -> str:
    registration = resource_pb2.RegisterResourceRequest(
        type=request.type,
        name=request.name,
        parent=request.parent,
        object=request.inputs,
        protect=request.protect,
        dependencies=list(request.dependencies),
        propertyDependencies={
            key: resource_pb2.RegisterResourceRequest.PropertyDependencies(urns=list(dependencies.urns))
            for key, dependencies in request.inputDependencies.items()
        },
        providers=dict(request.providers),
        aliases=list(request.aliases),
        aliasSpecs=True,
        acceptSecrets=True,
        acceptResources=True,
        supportsPartialValues=True,
        retainOnDelete=request.retainOnDelete,
        deletedWith=request.deletedWith,
        ignoreChanges=list(request.ignoreChanges),
        replaceOnChanges=list(request.replaceOnChanges),
        additionalSecretOutputs=list(request.additionalSecretOutputs),
    )
    return str(_registered(monitor, registration).urn)


class _Registration:
    """Registers the objects of one chart as children of it."""

    def __init__(self, monitor: resource_pb2_grpc.ResourceMonitorStub, request: Any, urn: str, version: str) -> None:
        self._monitor = monitor
        self._request = request
        self._urn = urn
        self._version = version

    def all(self, items: list[tuple[str, Object]]) -> list[wire.ResourceReference]:
        first = [(name, item) for name, item in items if item["kind"] in _FIRST]
        then = [(name, item) for name, item in items if item["kind"] not in _FIRST]
        done = self._together(first, [])
        return done + self._together(then, [reference.urn for reference in done])

    def _together(self, items: list[tuple[str, Object]], after: list[str]) -> list[wire.ResourceReference]:
        """All at once: an awaited object often needs another one of the same chart to become ready."""
        if not items:
            return []
        with futures.ThreadPoolExecutor(len(items)) as pool:
            return list(pool.map(lambda named: self._one(named[0], named[1], after), items))

    def _one(self, name: str, item: Object, after: list[str]) -> wire.ResourceReference:
        request = self._request
        keep = (item["metadata"].get("annotations") or {}).get(_RESOURCE_POLICY) == "keep"
        group, _, version = item["apiVersion"].rpartition("/")
        registration = resource_pb2.RegisterResourceRequest(
            type=f"kubernetes:{group or 'core'}/{version}:{item['kind']}",
            name=name,
            parent=self._urn,
            custom=True,
            object=wire.write(item),
            provider=request.providers.get("kubernetes", ""),
            version=self._version,
            dependencies=[*request.dependencies, *after],
            # None of the values came from another resource: the chart as a whole waited for those.
            propertyDependencies={key: resource_pb2.RegisterResourceRequest.PropertyDependencies(urns=[]) for key in item},
            protect=request.protect,
            retainOnDelete=request.retainOnDelete or keep,
            deletedWith=request.deletedWith,
            additionalSecretOutputs=["data", "stringData"] if item["kind"] == "Secret" else [],
            acceptSecrets=True,
            acceptResources=True,
            supportsPartialValues=True,
            aliasSpecs=True,
        )
        answer = _registered(self._monitor, registration)
        return wire.ResourceReference(urn=answer.urn, id=answer.id)


class _EngineStopped(Exception):
    """The deployment has ended while the chart was being registered; nobody waits for an answer."""


def _registered(monitor: resource_pb2_grpc.ResourceMonitorStub, registration: Any) -> Any:
    try:
        return monitor.RegisterResource(registration)
    except grpc.RpcError as error:
        if error.code() in (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.CANCELLED):
            raise _EngineStopped from None
        # The engine has already shown why; this only ends the chart.
        raise ProviderError(f"its {registration.name.partition(':')[2]} could not be made ready, see there") from None
